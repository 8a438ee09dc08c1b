// Chapter 10: one bit of a file is flipped. What the codec says to it, and what it would decode to without checksums.
export default {
  render({ model, el }) {
    const shown = model.get("bytes"); // the bytes that can be chosen, by their place in the file
    const [old, answers, first] = [model.get("old"), model.get("answers"), model.get("first")];
    const [messages, maps, pictures] = [model.get("messages"), model.get("maps"), model.get("pictures")];
    const HEADER = 16;
    let [place, high] = [shown.findIndex((byte) => byte >= HEADER) + 5, 0];

    const says = readout("says", "the codec");
    const change = readout("change", "the byte");
    const wrong = readout("first-wrong", "first wrong token, the checksums aside");
    const right = readout("right", "right tokens");
    const image = element("img", { alt: "what the damaged payload decodes to" });
    image.style.cssText = "flex: 1 1 16em; min-width: 0; max-width: 22em; aspect-ratio: 3 / 2";
    const canvas = picture(30, 20, "each of the 20 rows of 30 tokens, right or wrong");
    canvas.style.cssText += "; flex: 1 1 16em; min-width: 0; max-width: 22em; aspect-ratio: 3 / 2";
    const both = element("div", {}, image, canvas); // side by side where there is room
    both.style.cssText = "display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0.6em; margin-top: 0.4em";

    const part = (byte) =>
      byte < 3 ? "magic" : byte < 4 ? "version" : byte < 8 ? "model" : byte < 12 ? "checksum of the tokens"
        : byte < HEADER ? "checksum of the file" : "payload";
    const colour = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [good, bad] = [colour(COLOURS[0]), colour(COLOURS[1])];
    const binary = (byte) => byte.toString(2).padStart(8, "0");

    function draw() {
      const byte = shown[place];
      const bit = high ? 7 : 0;
      change.value = `${binary(old[place])} becomes ${binary(old[place] ^ (1 << bit))}`;
      says.value = messages[answers[place][high]];
      const ruin = byte < HEADER ? -1 : 2 * shown.filter((other) => other >= HEADER && other < byte).length + high;
      const map = ruin < 0 ? null : unpack(maps[ruin]);
      const isRight = (token) => map === null || (map[token >> 3] >> (7 - (token & 7))) & 1;
      const tokens = Array.from({ length: 600 }, (_, token) => (isRight(token) ? 1 : 0));
      wrong.value = ruin < 0 ? "none, the payload is whole" : String(first[ruin]);
      right.value = `${tokens.reduce((sum, one) => sum + one)} of 600`;
      canvas.paint(tokens.flatMap((one) => (one ? good : bad)));
      image.src = `data:image/webp;base64,${ruin < 0 ? pictures[pictures.length - 1] : pictures[ruin]}`;
    }

    const bytes = slider("byte", shown.length - 1, place, (index) => `${shown[index]}, ${part(shown[index])}`, (index) => {
      place = index;
      draw();
    });
    const bits = choice("bit", ["lowest", "highest"], high, (index) => {
      high = index;
      draw();
    });
    el.append(bytes, bits, change.line, says.line, wrong.line, right.line, both);
  },
};
