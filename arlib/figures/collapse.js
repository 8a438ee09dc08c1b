// Chapter 4: which of 1024 codes are in use during training, by vector quantization and by BSQ.
// Data: steps; vq and bsq, for each step a byte for each code, 0 where it is not in use and then 1 more for each
// doubling of its count; errors, of both at each step; patches, how many were counted.

const SIDE = 32;
const CODES = SIDE * SIDE;

// A canvas of 32 × 32 codes; an unused one is a faint grey, which is seen on a light and on a dark page.
function board(colour, top, alt) {
  const canvas = element("canvas", { width: SIDE * 8, height: SIDE * 8, role: "img", "aria-label": alt });
  canvas.style.cssText = "width: 100%; display: block";
  const pen = canvas.getContext("2d");
  canvas.paint = (levels) => {
    pen.clearRect(0, 0, SIDE * 8, SIDE * 8);
    levels.forEach((level, code) => {
      pen.fillStyle = level ? colour : "#7a7f87";
      pen.globalAlpha = level ? 0.45 + 0.55 * (level / top) : 0.16;
      pen.fillRect((code % SIDE) * 8 + 0.5, Math.floor(code / SIDE) * 8 + 0.5, 7, 7);
    });
  };
  return canvas;
}

export default {
  render({ model, el }) {
    const steps = model.get("steps");
    const errors = model.get("errors");
    const top = 1 + Math.floor(Math.log2(model.get("patches"))); // where all patches have one code
    const sides = ["vq", "bsq"].map((key, side) => {
      const name = key.toUpperCase();
      const canvas = board(COLOURS[side], top, `the 1024 codes of ${name}, those in use in colour`);
      const used = readout(`${key}-used`, "in use");
      const error = readout(`${key}-error`, "error");
      const box = element("div", { style: "flex: 1 1 130px; min-width: 0; max-width: 272px" },
        element("p", { class: "ptb-readout" }, name), used.line, error.line, canvas);
      return { levels: unpack(model.get(key)), canvas, used, error, box };
    });
    const control = slider("step", steps.length - 1, 0, (at) => `${steps[at]}`, (at) => {
      sides.forEach(({ levels, canvas, used, error }, side) => {
        const now = levels.subarray(at * CODES, (at + 1) * CODES);
        canvas.paint(now);
        used.value = `${now.reduce((sum, level) => sum + (level > 0 ? 1 : 0), 0)} of ${CODES}`;
        error.value = errors[side][at].toFixed(4);
      });
    });
    el.append(control, element("div", { style: "display: flex; gap: 1em 1.5em; margin-top: 0.5em" },
      ...sides.map(({ box }) => box)));
  },
};
