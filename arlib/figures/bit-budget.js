// Chapter 2: a frame from k of PCA's ten numbers a patch, each in b bits. Data: columns and rows of patches; side p;
// mean (3p² numbers), directions (ten rows of as many), deviations (ten), range (so many deviations either way);
// codes, a byte for each patch and number, its value in eight bits; original, the frame's bytes.
// The last bits of a code only refine it, so fewer bits are the same byte, shifted to the right.
export default {
  render({ model, el }) {
    const [columns, rows, side, range] = ["columns", "rows", "side", "range"].map((key) => model.get(key));
    const [mean, directions, deviations] = ["mean", "directions", "deviations"].map((key) => model.get(key));
    const [codes, original] = [unpack(model.get("codes")), unpack(model.get("original"))];
    const [width, height, most] = [columns * side, rows * side, directions.length];
    const shows = {
      bits: readout("bits", "bits a patch"),
      psnr: readout("psnr", "PSNR, dB"),
    };
    const made = picture(width, height, "the frame, reconstructed from so many numbers in so many bits");
    const frame = picture(width, height, "the frame as it was");
    frame.paint(original);
    let [numbers, bits] = [most, 8];

    function draw() {
      const levels = 2 ** bits;
      const rgb = new Uint8Array(original.length);
      let squares = 0;
      for (let patch = 0; patch < columns * rows; patch++) {
        const values = mean.slice();
        for (let k = 0; k < numbers; k++) {
          const code = codes[patch * most + k] >> (8 - bits);
          const latent = (((code + 0.5) / levels) * 2 - 1) * range * deviations[k];
          directions[k].forEach((weight, at) => { values[at] += latent * weight; });
        }
        const corner = (Math.floor(patch / columns) * width + (patch % columns)) * side * 3;
        values.forEach((value, at) => {
          const place = corner + Math.floor(at / (3 * side)) * width * 3 + (at % (3 * side));
          const byte = Math.min(255, Math.max(0, Math.round((value + 0.5) * 255)));
          rgb[place] = byte;
          squares += (byte - original[place]) ** 2;
        });
      }
      made.paint(rgb);
      shows.bits.value = String(numbers * bits);
      shows.psnr.value = (10 * Math.log10((255 ** 2 * original.length) / squares)).toFixed(1);
    }

    const framed = (words, inside) => {
      const box = element("div", {}, element("div", {}, words), inside);
      box.style.cssText = "flex: 1 1 13em; min-width: 0";
      return box;
    };
    const row = element("div", {}, framed("reconstructed", made), framed("original", frame));
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.6em 1em; margin-top: 0.4em";
    el.append(
      slider("numbers a patch", most, numbers, (value) => String(value), (value) => { numbers = value; draw(); }),
      slider("bits a number", 7, bits - 1, (value) => String(value + 1), (value) => { bits = value + 1; draw(); }),
      shows.bits.line, shows.psnr.line, row,
    );
  },
};
