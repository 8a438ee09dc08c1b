// Chapter 1: a frame as PCA of its patches paints it again, for each patch size and how many numbers a patch keeps.
export default {
  render({ model, el }) {
    const [sizes, kept] = [model.get("sizes"), model.get("kept")]; // kept: the numbers a patch that can be chosen
    const [height, width] = [model.get("height"), model.get("width")];
    let [size, count] = [model.get("size"), model.get("count")];

    const grid = readout("grid", "grid");
    const numbers = readout("numbers", "numbers");
    const frame = readout("psnr", "this frame");
    const valid = readout("mse", "all frames of valid");
    const image = element("img", { alt: "" });
    image.style.cssText = "width: 100%; max-width: 34em; display: block; image-rendering: pixelated; margin: 0.4em 0";

    const shown = () => sizes[size].settings[count];
    const all = () => 3 * sizes[size].side ** 2;
    const words = (value) => `${kept[value]}${kept[value] === all() ? ", all there are" : ` of ${all()}`}`;

    function draw() {
      const { side } = sizes[size];
      const patches = (height / side) * (width / side);
      const total = patches * shown().kept;
      grid.value = `${height / side} rows of ${width / side} patches`;
      numbers.value = `${shown().kept} a patch, ${total.toLocaleString("en")} a frame`;
      frame.value = shown().psnr === null ? "equal" : `${shown().psnr.toFixed(1)} dB`;
      valid.value = `mean squared error ${shown().mse.toFixed(5)}`;
      image.src = `data:image/webp;base64,${shown().picture}`;
      image.alt = `the frame from ${total} numbers`;
    }

    const amount = slider("numbers a patch", kept.length - 1, count, words, (value) => {
      count = value;
      draw();
    });
    const side = slider("patch size", sizes.length - 1, size, (value) => `${sizes[value].side} × ${sizes[value].side} pixels`, (value) => {
      size = value;
      const input = amount.querySelector("input");
      input.max = sizes[size].settings.length - 1; // a small patch has fewer settings; the browser moves the value down
      input.dispatchEvent(new Event("input")); // its words depend on the size
    });
    el.append(side, amount, grid.line, numbers.line, frame.line, valid.line, image);
  },
};
