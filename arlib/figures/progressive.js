// Chapter 15: a coarse-to-fine file is read pass by pass. What is known of its tokens, the picture they make, the bytes
// read so far. Data: sides; digits, each with label, tokens, and for each pass bytes, whole, error and seen (the judge's
// class); pictures (a digit after each pass, 28 × 28 bytes each) and originals.
const SIZE = 28;

export default {
  render({ model, el }) {
    const [sides, digits] = [model.get("sides"), model.get("digits")];
    const [pictures, originals] = [unpack(model.get("pictures")), unpack(model.get("originals"))];
    const passes = sides.length;
    const cells = SIZE * SIZE;
    let [digit, pass] = [digits.length - 1, 1];

    const shows = {
      bytes: readout("bytes", "bytes read"),
      tokens: readout("tokens", "tokens known"),
      error: readout("error", "MSE"),
      seen: readout("seen", "the judge sees"),
    };
    const decoded = picture(SIZE, SIZE, "the picture that the tokens known so far make");
    const original = picture(SIZE, SIZE, "the digit as it was");
    const map = 64;
    const gap = 12;
    const svg = element("svg:svg", {
      viewBox: `-1 -1 ${passes * (map + gap) - gap + 2} ${map + 2}`, width: passes * (map + gap), role: "img",
      "aria-label": "the token maps from coarse to fine, filled where they are known",
    });

    const gray = (bytes, first) => Array.from({ length: 3 * cells }, (_, at) => bytes[first + Math.floor(at / 3)]);
    const color = (token) => `hsl(${(token * 137.5) % 360} 55% ${40 + (token % 5) * 8}%)`;

    function draw() {
      const one = digits[digit];
      original.paint(gray(originals, digit * cells));
      decoded.paint(pass ? gray(pictures, (digit * passes + pass - 1) * cells) : new Array(3 * cells).fill(122));
      svg.replaceChildren();
      let token = 0;
      sides.forEach((side, scale) => {
        const cell = map / side;
        for (let place = 0; place < side * side; place++, token++) {
          svg.append(element("svg:rect", {
            x: scale * (map + gap) + (place % side) * cell, y: Math.floor(place / side) * cell, width: cell, height: cell,
            fill: scale < pass ? color(one.tokens[token]) : "none", stroke: "currentColor", "stroke-opacity": 0.5,
          }));
        }
      });
      const known = sides.slice(0, pass).reduce((sum, side) => sum + side * side, 0);
      shows.tokens.value = `${known} of ${one.tokens.length}`;
      shows.bytes.value = `${pass ? one.bytes[pass - 1] : 16} of ${one.whole}`;
      shows.error.value = pass ? one.error[pass - 1].toFixed(3) : "no picture yet";
      shows.seen.value = pass ? `a ${one.seen[pass - 1]}, right is ${one.label}` : "nothing yet";
    }

    const framed = (words, ...inside) => {
      const box = element("div", {}, element("div", {}, words), ...inside);
      box.style.cssText = "flex: 0 1 8.5em; min-width: 6em";
      return box;
    };
    const text = element("div", {}, ...Object.values(shows).map((one) => one.line), svg);
    text.style.cssText = "flex: 1 1 14em; min-width: 0";
    const row = element("div", {}, framed("decoded", decoded), framed("original", original), text);
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.6em 1em; margin-top: 0.4em";
    el.append(
      choice("digit", digits.map((one) => String(one.label)), digit, (index) => { digit = index; draw(); }),
      slider("passes", passes, pass, (value) => `${value} of ${passes}`, (value) => { pass = value; draw(); }),
      row,
    );
  },
};
