// Chapter 4: the ten bits of a code, and the patch that the decoder paints for it.
// Data: patches, 1024 times 5 × 5 × 3 bytes; times, how often each code comes in the training frames; start, a code.

const BITS = 10;
const BYTES = 75;

export default {
  render({ model, el }) {
    const patches = unpack(model.get("patches"));
    const times = model.get("times");
    const all = times.reduce((sum, count) => sum + count, 0);
    let code = model.get("start");
    const pixels = (index) => patches.subarray(index * BYTES, (index + 1) * BYTES);

    const index = readout("index", "index");
    const sum = readout("sum", "as a sum");
    const mean = readout("color", "mean color of the patch (red, green, blue)");
    const seen = readout("times", "times in the training frames");
    const large = picture(5, 5, "the patch of this code");
    large.style.maxWidth = "9em";
    large.style.flex = "0 0 9em";

    const row = element("div", { role: "group", "aria-label": "the bits of the code" });
    row.style.cssText = "display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.5em; "
      + "flex: 1 1 17em; min-width: 0; max-width: 22em";
    const bits = Array.from({ length: BITS }, (_, bit) => {
      const button = element("button", { type: "button", "data-bit": bit });
      button.style.cssText = "width: 100%; padding: 0.15em 0";
      const small = picture(5, 5, `the patch of the code with bit ${bit} flipped`);
      small.style.marginTop = "0.25em";
      button.addEventListener("click", () => {
        code ^= 1 << bit;
        draw();
      });
      const name = element("div", { "aria-hidden": "true" }, `bit ${bit}`);
      name.style.cssText = "font-size: 0.8em; text-align: center; opacity: 0.8";
      row.append(element("div", {}, name, button, small));
      return { button, small };
    });

    function draw() {
      bits.forEach(({ button, small }, bit) => {
        const one = (code >> bit) & 1;
        button.textContent = `${one}`;
        button.setAttribute("aria-pressed", one ? "true" : "false");
        button.setAttribute("aria-label", `bit ${bit}, which counts ${1 << bit}, is ${one}`);
        button.title = `bit ${bit} counts ${1 << bit}`;
        small.paint(pixels(code ^ (1 << bit)));
      });
      large.paint(pixels(code));
      index.value = `${code}`;
      const parts = Array.from({ length: BITS }, (_, bit) => 1 << bit).filter((power) => code & power);
      sum.value = parts.join(" + ") || "0";
      const total = [0, 0, 0];
      pixels(code).forEach((value, at) => { total[at % 3] += value; });
      mean.value = total.map((value) => Math.floor(value / 25 + 0.5)).join(", ");
      seen.value = `${times[code].toLocaleString("en")} of ${all.toLocaleString("en")}`;
    }

    el.append(
      index.line, sum.line,
      element("div", { style: "display: flex; flex-wrap: wrap; gap: 0.8em 1.4em; align-items: flex-start" }, large, row),
      mean.line, seen.line,
    );
    draw();
  },
};
