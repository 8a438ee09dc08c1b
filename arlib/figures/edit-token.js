// Chapter 13: a digit of 2 × 2 × 2 tokens, one of which is given another code.
// Data: label, the digit's class; for each of the 8 tokens, in raster order, codes (the token's own one first, then from
// likely to unlikely), bits (of the whole digit with that code) and seen (what the judge sees); pictures, 28 × 28 gray
// bytes for each of them, one after the other.

const SIDE = 28;
const EDIT_NAMES = ["upper left", "upper right", "lower left", "lower right"];

function grayAsColors(bytes) {
  const colors = new Uint8Array(3 * bytes.length);
  bytes.forEach((value, pixel) => colors.fill(value, 3 * pixel, 3 * pixel + 3));
  return colors;
}

// What an edit has changed: orange where it became brighter, blue where darker.
function changeAsColors(after, before) {
  const colors = new Uint8Array(3 * after.length);
  after.forEach((value, pixel) => {
    const change = value - before[pixel];
    const hue = change > 0 ? [224, 123, 57] : [59, 130, 196];
    const share = Math.min(1, Math.abs(change) / 160);
    hue.forEach((part, channel) => { colors[3 * pixel + channel] = Math.round(part * share); });
  });
  return colors;
}

export default {
  render({ model, el }) {
    const codes = model.get("codes");
    const bits = model.get("bits");
    const seen = model.get("seen");
    const pictures = unpack(model.get("pictures"));
    let [place, tried] = [0, 0];
    const of = (token, which) => {
      const first = (token * codes[0].length + which) * SIDE * SIDE;
      return pictures.subarray(first, first + SIDE * SIDE);
    };

    const digit = picture(SIDE, SIDE, "the digit with this code");
    const change = picture(SIDE, SIDE, "what the code has changed");
    const boxed = (canvas, words) => element("div", { style: "flex: 1 1 7em; max-width: 10em" }, canvas,
      element("div", { style: "font-size: 0.85em; opacity: 0.85" }, words));
    const shows = {
      code: readout("code", "code"),
      bits: readout("bits", "bits of the digit under the prior"),
      seen: readout("seen", "the judge sees a"),
    };

    function draw() {
      const now = of(place, tried);
      digit.paint(grayAsColors(now));
      change.paint(changeAsColors(now, of(place, 0)));
      shows.code.value = String(codes[place][tried]);
      shows.bits.value = bits[place][tried].toFixed(1);
      shows.seen.value = String(seen[place][tried]);
    }

    const names = codes.map((_, token) => `${EDIT_NAMES[token >> 1]}, book ${(token % 2) + 1}`);
    el.append(
      choice("token", names, place, (index) => { place = index; draw(); }),
      slider("code", codes[0].length - 1, tried, (value) => (value ? `${value}` : "the digit's own"), (value) => {
        tried = value;
        draw();
      }),
      element("div", { style: "display: flex; flex-wrap: wrap; gap: 0.8em; align-items: flex-start" },
        boxed(digit, "the digit"), boxed(change, "change: brighter orange, darker blue"),
        element("div", { style: "flex: 1 1 11em" }, ...Object.values(shows).map((one) => one.line))),
    );
  },
};
