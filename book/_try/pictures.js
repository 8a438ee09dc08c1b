// The page "Try it": from any file of the visitor's to a picture of the codec, and what the browser's own encoders make.
const { readPicture, cropped, psnr, others, heat, bytesOf, base64Bytes } = (() => {
  const base64Bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const bytesOf = (file) => file.arrayBuffer().then((buffer) => new Uint8Array(buffer), () => null);
  const isPng = (bytes) => bytes[0] === 137 && bytes[1] === 80 && bytes[2] === 78;

  /** Does the browser give back the pixels that it was given? Some don't, to keep their users from being recognized. */
  function canvasIsTrue() {
    const [width, height] = [16, 16];
    const context = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
    const given = new ImageData(width, height);
    for (let i = 0; i < given.data.length; i++) given.data[i] = i % 4 === 3 ? 255 : (i * 37 + (i >> 3) * 11) % 256;
    context.putImageData(given, 0, 0);
    const back = context.getImageData(0, 0, width, height).data;
    return given.data.every((value, i) => value === back[i]);
  }

  /** Bytes of any picture file. PNG is read by our own reader, everything else by the browser, if it can be trusted. */
  async function readPicture(bytes) {
    if (isPng(bytes)) return ptb.readPng(bytes);
    let bitmap;
    try {
      bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    } catch {
      throw new ptb.CodecError("This is no picture that the browser can read.");
    }
    if (!canvasIsTrue()) {
      throw new ptb.CodecError("This browser changes the pixels that a page reads, to protect you from being recognized. A PNG file works all the same.");
    }
    // A picture of very many pixels is made smaller by the browser first: phones have little memory.
    const scale = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height)));
    const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
    const context = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    return ptb.onWhite({ height, width, data }, 3);
  }

  /** The part of a picture that has the shape of the frame, `share` from 0 (left or top) to 1; then fitted as Python does. */
  function cropped(picture, height, width, share) {
    const { data } = picture;
    const wide = picture.width * height > picture.height * width;
    const cut = {
      width: wide ? Math.max(1, Math.round((picture.height * width) / height)) : picture.width,
      height: wide ? picture.height : Math.max(1, Math.round((picture.width * height) / width)),
    };
    if (share === 0.5 || (cut.width === picture.width && cut.height === picture.height)) return ptb.fit(picture, height, width);
    const [left, top] = [Math.round((picture.width - cut.width) * share), Math.round((picture.height - cut.height) * share)];
    const part = new Uint8Array(cut.width * cut.height * 3);
    for (let row = 0; row < cut.height; row++) {
      const first = 3 * ((top + row) * picture.width + left);
      part.set(data.subarray(first, first + 3 * cut.width), 3 * row * cut.width);
    }
    return ptb.fit({ ...cut, channels: 3, data: part }, height, width);
  }

  /** Peak signal to noise ratio of two pictures in dB. */
  function psnr(picture, other) {
    const sum = picture.data.reduce((total, value, i) => total + (value - other.data[i]) ** 2, 0);
    return sum ? 10 * Math.log10((255 * 255 * picture.data.length) / sum) : Infinity;
  }

  /** The smallest file that this browser makes of a canvas in a format; null where it can't write it, or writes others. */
  async function smallest(from, type) {
    if (!canvasIsTrue()) return null;
    const blob = await new Promise((made) => from.toBlob(made, type, 0));
    return blob?.type === type ? blob : null;
  }

  /** What other formats make of the pixels on a canvas: measured ones, where there are any, and what this browser writes. */
  async function others(from, measured) {
    const made = await Promise.all(["webp", "jpeg"].map(async (name) => [name, await smallest(from, `image/${name}`)]));
    const shown = ([name, file]) => {
      const caption = file ? `${name}: ${file.size} bytes` : `${name}: this browser writes none, or none to be trusted`;
      const picture = file ? [element("img", { src: URL.createObjectURL(file), alt: `the picture as the smallest ${name}` })] : [];
      return element("figure", {}, ...picture, element("figcaption", {}, caption));
    };
    const line = ([name, { bytes, psnr }]) => element("li", {}, `${name}: ${bytes} bytes, ${psnr.toFixed(1)} dB`);
    const table = measured
      ? [element("p", {}, "The best files of other formats that are no larger, or their smallest:"), element("ul", {}, ...Object.entries(measured).map(line))]
      : [];
    const words = element("p", {}, "The smallest files that this browser itself makes of the same pixels:");
    return [...table, words, element("div", { class: "try-row" }, ...made.map(shown))];
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

  return { readPicture, cropped, psnr, others, heat, bytesOf, base64Bytes };
})();
