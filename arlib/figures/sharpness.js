// Chapter 16: between two decoders of the same tokens. Pixels are mixed, and two measures disagree about the result.
// Data: names (of the frames), ways (to sharpen), width, height; originals and plain (a frame each, RGB bytes), and sharp
// (a frame for each way: all frames of the first way, then all of the second, …).
const STEPS = 20;

export default {
  render({ model, el }) {
    const [names, ways, width, height] = ["names", "ways", "width", "height"].map((key) => model.get(key));
    const [originals, plain, sharp] = ["originals", "plain", "sharp"].map((key) => unpack(model.get(key)));
    const size = 3 * width * height;
    let [frame, way, share] = [0, 0, STEPS / 2];

    const shows = {
      psnr: readout("psnr", "PSNR"),
      gradient: readout("gradient", "gradient energy, 1 is the original's"),
    };
    const mixed = picture(width, height, "the mixed picture");
    const original = picture(width, height, "the original");
    const part = (bytes, number) => bytes.subarray(number * size, (number + 1) * size);

    function gradient(rgb) {
      const gray = Float64Array.from({ length: width * height }, (_, at) =>
        0.299 * rgb[3 * at] + 0.587 * rgb[3 * at + 1] + 0.114 * rgb[3 * at + 2]);
      let [across, down] = [0, 0];
      for (let at = 0; at < gray.length; at++) {
        if ((at + 1) % width) across += (gray[at + 1] - gray[at]) ** 2;
        if (at + width < gray.length) down += (gray[at + width] - gray[at]) ** 2;
      }
      return across / (height * (width - 1)) + down / (width * (height - 1));
    }

    function draw() {
      const [from, to] = [part(plain, frame), part(sharp, way * names.length + frame)];
      const real = part(originals, frame);
      const rgb = from.map((value, at) => Math.round(value + ((to[at] - value) * share) / STEPS));
      mixed.paint(rgb);
      original.paint(real);
      const error = rgb.reduce((sum, value, at) => sum + (value - real[at]) ** 2, 0) / size;
      shows.psnr.value = `${(10 * Math.log10(255 ** 2 / error)).toFixed(2)} dB`;
      shows.gradient.value = (gradient(rgb) / gradient(real)).toFixed(2);
    }

    const framed = (words, canvas) => {
      const box = element("div", {}, element("div", {}, words), canvas);
      box.style.cssText = "flex: 1 1 14em; min-width: 10em";
      return box;
    };
    const row = element("div", {}, framed("mixed", mixed), framed("original", original));
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.6em 1em; margin-top: 0.4em";
    el.append(
      choice("frame", names, frame, (index) => { frame = index; draw(); }),
      choice("sharpened by", ways, way, (index) => { way = index; draw(); }),
      slider("share", STEPS, share, (value) => `${(100 * value) / STEPS} %`, (value) => { share = value; draw(); }),
      row,
      ...Object.values(shows).map((one) => one.line),
    );
  },
};
