// The page "Try it": pictures as numbers, as heat, and as the files that the browser itself makes of them.
const { psnr, others, heat, base64Bytes } = (() => {
  const base64Bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /** Peak signal to noise ratio of two pictures in dB. */
  function psnr(picture, other) {
    const sum = picture.data.reduce((total, value, i) => total + (value - other.data[i]) ** 2, 0);
    return sum ? 10 * Math.log10((255 * 255 * picture.data.length) / sum) : Infinity;
  }

  /** The smallest file that this browser makes of a canvas in a format; null where it can't write it, or writes others. */
  async function smallest(from, type) {
    if (!reading.isTrue(element("canvas", { width: 16, height: 16 }))) return null;
    const blob = await new Promise((made) => from.toBlob(made, type, 0));
    return blob?.type === type ? blob : null;
  }

  /** What other formats make of the pixels on a canvas: the best files there are, where they are at hand, and what this
   *  browser writes. `measured` has bytes, PSNR, type and base64 by name. */
  async function others(from, measured) {
    const own = await Promise.all(["webp", "jpeg"].map(async (name) => [name, await smallest(from, `image/${name}`)]));
    const shown = (address, words, alt) => element("figure", {}, ...(address ? [element("img", { src: address, alt })] : []), element("figcaption", {}, words));
    const peer = ([name, { bytes, psnr, type, file }]) =>
      shown(`data:${type};base64,${file}`, `${name}: ${bytes} bytes, ${psnr.toFixed(1)} dB`, `the picture as the best ${name} of ${bytes} bytes`);
    const made = ([name, file]) =>
      file
        ? shown(URL.createObjectURL(file), `${name}: ${file.size} bytes`, `the picture as the smallest ${name}`)
        : shown(null, `${name}: this browser writes none, or none to be trusted`);
    const row = (words, figures) => [element("p", {}, words), element("div", { class: "try-peers" }, ...figures)];
    return [
      ...(measured ? row("The best files of other formats that are no larger, or else their smallest:", Object.entries(measured).map(peer)) : []),
      ...row("The smallest files that this browser itself makes of the same pixels:", own.map(made)),
    ];
  }

  /** Surprises in bits as a picture: dark for what was expected. */
  function heat(bits, [height, width]) {
    const codebooks = bits.length / (height * width);
    const data = new Uint8Array(height * width * 3);
    for (let place = 0; place < height * width; place++) {
      let sum = 0;
      for (let book = 0; book < codebooks; book++) sum += bits[place * codebooks + book];
      const share = Math.min(1, sum / (12 * codebooks));
      data.set([255 * Math.min(1, 1.8 * share), 255 * Math.max(0, 1.7 * share - 0.7), 60 + 120 * share], 3 * place);
    }
    return { height, width, channels: 3, data };
  }

  return { psnr, others, heat, base64Bytes };
})();
