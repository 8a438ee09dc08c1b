// Chapter 14: a file in a shuffled order is read pass by pass. The tokens known so far, and the prior's guess at the rest.
// Data: names, order (the place of each token), stages (after how many tokens a guess was made), bits (for each picture,
// the bits spent after each token), label (the label's bits), pictures (32 × 32 × 3 bytes each) and guesses (one a stage).
const SIZE = 32;
const CELL = 4;
const BYTES = 3 * SIZE * SIZE;

export default {
  render({ model, el }) {
    const [names, order, stages, bits] = ["names", "order", "stages", "bits"].map((key) => model.get(key));
    const [pictures, guesses] = [unpack(model.get("pictures")), unpack(model.get("guesses"))];
    const across = SIZE / CELL;
    let [number, passes] = [0, 16];

    const shows = {
      tokens: readout("tokens", "tokens known"),
      bits: readout("bits", "bits read, with the label"),
      last: readout("last", "last place"),
    };
    const known = picture(SIZE, SIZE, "the tokens known so far, all others gray");
    const guess = picture(SIZE, SIZE, "the whole picture as the prior guesses it");

    function draw() {
      const there = new Set(order.slice(0, passes));
      const whole = pictures.subarray(number * BYTES, (number + 1) * BYTES);
      const cell = (pixel) => Math.floor(pixel / SIZE / CELL) * across + Math.floor((pixel % SIZE) / CELL);
      known.paint(whole.map((value, at) => (there.has(cell(Math.floor(at / 3))) ? value : 128)));
      const stage = stages.filter((count) => count <= passes).length - 1;
      const first = (number * stages.length + stage) * BYTES;
      guess.paint(guesses.subarray(first, first + BYTES));
      const place = order[passes - 1];
      shows.tokens.value = `${passes} of ${order.length}`;
      shows.bits.value = (passes ? bits[number][passes - 1] : model.get("label")).toFixed(1);
      shows.last.value = passes ? `row ${Math.floor(place / across)}, column ${place % across}` : "none yet";
    }

    const framed = (words, canvas) => {
      const box = element("div", {}, element("div", {}, words), canvas);
      box.style.cssText = "flex: 1 1 8em; min-width: 7em; max-width: 12em";
      return box;
    };
    const text = element("div", {}, ...Object.values(shows).map((one) => one.line));
    text.style.cssText = "flex: 1 1 12em; min-width: 0";
    const row = element("div", {}, framed("known", known), framed("a guess", guess), text);
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.6em 1em; margin-top: 0.4em";
    el.append(
      choice("picture", names, number, (index) => { number = index; draw(); }),
      slider("passes", order.length, passes, (value) => `${value} of ${order.length}`, (value) => {
        passes = value;
        draw();
      }),
      row,
    );
  },
};
