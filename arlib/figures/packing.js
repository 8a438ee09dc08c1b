// Chapter 5: three tokens as bits, the bits as bytes, and what a reader makes of them.
// Data: tokens (three, below 1024, to begin with), widths (bits a token to choose from, 16 at most), names (of them) and
// count (how many tokens the whole data set has).
export default {
  render({ model, el }) {
    const [widths, names, count] = ["widths", "names", "count"].map((key) => model.get(key));
    const tokens = [...model.get("tokens")];
    let width = widths[1];
    let reversed = false;

    const shows = {
      bytes: readout("bytes", "bytes in the file"),
      read: readout("read", "read back"),
      verdict: readout("verdict", "verdict"),
      size: readout("size", "all of train"),
    };
    const phone = matchMedia("(max-width: 600px)").matches;
    const [wide, high] = [400, 70]; // drawn larger on a wide page, smaller on a phone, where the letters are not
    const [small, large] = phone ? [14, 15] : [11, 13];
    const svg = element("svg:svg", {
      viewBox: `-1 0 ${wide + 2} ${high}`, width: 620, role: "img",
      "aria-label": "the bits of three tokens in a row, the lowest bit of each first, and the bytes that they fill",
    });

    // Bit by bit as they lie in the file: the lowest bit of the first token first, zeros up to a whole byte.
    function bitsOf() {
      const bits = tokens.flatMap((token) => Array.from({ length: width }, (_, bit) => (token >> bit) & 1));
      while (bits.length % 8) bits.push(0);
      return bits;
    }

    const inBytes = (bits) => Array.from({ length: bits.length / 8 }, (_, byte) => bits.slice(8 * byte, 8 * byte + 8));
    const value = (bits) => bits.reduce((sum, bit, place) => sum + bit * 2 ** place, 0);
    const hex = (byte) => value(byte).toString(16).padStart(2, "0");

    function draw() {
      const bits = bitsOf();
      const bytes = inBytes(bits);
      // A reader that takes the bits of each byte from its highest one on sees the byte turned round.
      const seen = reversed ? bytes.flatMap((byte) => [...byte].reverse()) : bits;
      const back = tokens.map((_, index) => value(seen.slice(index * width, (index + 1) * width)));
      const side = wide / bits.length;
      svg.replaceChildren();
      bits.forEach((bit, place) => {
        const token = Math.floor(place / width);
        svg.append(element("svg:rect", {
          x: place * side, y: 8, width: side - 0.6, height: 20, stroke: "none",
          fill: token < tokens.length ? COLORS[token] : "currentColor",
          "fill-opacity": token < tokens.length ? (bit ? 1 : 0.35) : 0.15,
        }));
        svg.append(element("svg:text", {
          x: (place + 0.5) * side, y: 18 + 0.36 * small, "text-anchor": "middle", "font-size": Math.min(small, (phone ? 1.7 : 1.4) * side),
          style: token < tokens.length && bit ? "fill: white" : "fill: currentColor",
        }, `${bit}`));
      });
      bytes.forEach((byte, index) => {
        const [left, right] = [8 * index * side, 8 * (index + 1) * side - 0.6];
        svg.append(
          element("svg:path", { d: `M${left + 1} 32v5h${right - left - 2}v-5`, fill: "none", stroke: "currentColor" }),
          element("svg:text", { x: (left + right) / 2, y: 52, "text-anchor": "middle", "font-size": large }, hex(byte)),
        );
      });
      const lost = tokens.filter((token, index) => token !== back[index]).length;
      shows.bytes.value = `${bytes.length}: ${bytes.map(hex).join(" ")}`;
      shows.read.value = back.join(", ");
      const seenBy = back.every((one) => one < 1024) ? "and nothing complains" : "and decode refuses them";
      shows.verdict.value = lost ? `${lost} of ${tokens.length} wrong, ${seenBy}` : "all three are right";
      shows.size.value = `${(count * width / 8e6).toFixed(1)} MB`;
    }

    el.append(
      ...tokens.map((token, index) => slider(`token ${index}`, 1023, token, (now) => `${now}`,
        (now) => { tokens[index] = now; draw(); })),
      choice("bits a token", names, 1, (index) => { width = widths[index]; draw(); }),
      choice("the reader takes of each byte", ["the lowest bit first", "the highest bit first"], 0,
        (index) => { reversed = index === 1; draw(); }),
      svg,
      ...Object.values(shows).map((one) => one.line),
    );
  },
};
