// Chapter 10: one bit of a payload is flipped. The picture that comes out, and which of its tokens are right.
export default {
  render({ model, el }) {
    const shown = model.get("bytes"); // the bytes that can be chosen, by their place in the payload
    const [size, old, first] = [model.get("size"), model.get("old"), model.get("first")];
    const [maps, pictures] = [model.get("maps"), model.get("pictures")];
    let [place, high] = [3, 0];

    const change = readout("change", "the byte");
    const wrong = readout("first-wrong", "first wrong token");
    const right = readout("right", "right tokens");
    const image = element("img", { alt: "what the damaged payload decodes to" });
    const canvas = picture(30, 20, "each of the 20 rows of 30 tokens, right or wrong");
    image.style.cssText = "width: 100%; aspect-ratio: 3 / 2";
    canvas.style.cssText += "; aspect-ratio: 3 / 2";
    const column = (width, ...inside) => {
      const box = element("div", {}, ...inside);
      box.style.cssText = `flex: 1 1 ${width}; min-width: 0; max-width: 20em`;
      return box;
    };
    // What is read off stands next to the map where there is room.
    const row = element("div", {},
      column("15em", image), column("9em", canvas), column("9em", change.line, wrong.line, right.line));
    row.style.cssText = "display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0.6em; margin-top: 0.4em";

    const color = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [good, bad] = [color(COLORS[0]), color(COLORS[1])];
    const binary = (byte) => byte.toString(2).padStart(8, "0");

    function draw() {
      const ruin = 2 * place + high;
      const map = unpack(maps[ruin]);
      const tokens = Array.from({ length: 600 }, (_, token) => (map[token >> 3] >> (7 - (token & 7))) & 1);
      change.value = `${binary(old[place])} becomes ${binary(old[place] ^ (high ? 128 : 1))}`;
      wrong.value = String(first[ruin]);
      right.value = `${tokens.reduce((sum, one) => sum + one)} of 600`;
      canvas.paint(tokens.flatMap((one) => (one ? good : bad)));
      image.src = `data:image/webp;base64,${pictures[ruin]}`;
    }

    const bytes = slider("byte", shown.length - 1, place, (index) => `${shown[index]} of ${size}`, (index) => {
      place = index;
      draw();
    });
    const bits = choice("bit", ["lowest", "highest"], high, (index) => {
      high = index;
      draw();
    });
    el.append(bytes, bits, row);
  },
};
