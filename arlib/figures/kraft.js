// Chapter 9: code words spend a budget of 1. The length of each word is set; the words are laid on a line from 0 to 1.
// Data: names (of the tokens), sources (each with name and p, a probability for each token), lengths (to begin with) and
// longest (the longest word that a slider can ask for).
export default {
  render({ model, el }) {
    const [names, sources, longest] = ["names", "sources", "longest"].map((key) => model.get(key));
    const lengths = [...model.get("lengths")];
    const whole = 2 ** longest; // the budget in the smallest parts there are
    let source = 1;

    const shows = {
      spent: readout("spent", "budget spent"),
      mean: readout("mean", "mean length"),
      entropy: readout("entropy", "entropy of the source"),
      verdict: readout("verdict", "decodable"),
    };
    const letters = matchMedia("(max-width: 600px)").matches ? 14.5 : 12;
    const [width, height] = [400, 50]; // drawn larger on a wide page, smaller on a phone, where the letters are not
    const svg = element("svg:svg", {
      viewBox: `-1 0 ${width + 2} ${height}`, width: 560, role: "img",
      "aria-label": "the words as parts of a line from 0 to 1, each as wide as what it takes of the budget",
    });
    const lines = names.map((name, index) => {
      const line = element("p", { class: "ptb-readout" });
      line.style.borderLeft = `0.8em solid ${COLORS[index % COLORS.length]}`;
      line.style.paddingLeft = "0.5em";
      return line;
    });

    // Each word gets the leftmost free part, the shortest word first: [word or null, where its part begins].
    function handOut() {
      const words = names.map(() => [null, 0]);
      let free = 0;
      const order = names.map((_, index) => index).sort((a, b) => lengths[a] - lengths[b] || a - b);
      for (const index of order) {
        const part = whole >> lengths[index];
        const fits = free + part <= whole;
        words[index] = [fits ? (free / part).toString(2).padStart(lengths[index], "0") : null, free];
        free += part;
      }
      return [words, free];
    }

    function draw() {
      const [words, spent] = handOut();
      const p = sources[source].p;
      const scale = width / Math.max(whole, spent);
      svg.replaceChildren();
      words.forEach(([word, first], index) => {
        const part = whole >> lengths[index];
        svg.append(element("svg:rect", {
          x: first * scale, y: 3, width: part * scale, height: 24, fill: COLORS[index % COLORS.length],
          "fill-opacity": word === null ? 0.35 : 1, stroke: "currentColor", "stroke-width": 0.8,
        }));
        if (word !== null && part * scale > 9 * word.length) {
          const text = element("svg:text", { x: (first + part / 2) * scale, y: 20, "text-anchor": "middle",
            "font-size": letters + 1, style: "fill: white" }, word);
          svg.append(text);
        }
        lines[index].textContent =
          `${names[index]}, p = ${p[index]}: ${word ?? "no room for a word"} (takes 1/${2 ** lengths[index]})`;
      });
      const end = whole * scale;
      svg.append(
        element("svg:line", { x1: end, x2: end, y1: 0, y2: 33, stroke: "currentColor", "stroke-width": 1.5 }),
        element("svg:text", { x: 0, y: 46, "font-size": letters }, "0"),
        element("svg:text", { x: end, y: 46, "font-size": letters, "text-anchor": "end" }, "1, the whole budget"),
      );
      const shared = gcd(spent, whole);
      shows.spent.value = spent === whole ? "all of it" : `${spent / shared}/${whole / shared}`;
      shows.mean.value = `${p.reduce((sum, share, index) => sum + share * lengths[index], 0).toFixed(3)} bits`;
      shows.entropy.value = `${p.reduce((sum, share) => sum - share * Math.log2(share), 0).toFixed(3)} bits`;
      shows.verdict.value = spent > whole ? "no: it spends too much" : "yes";
    }

    const control = (index) => {
      const made = slider(names[index], longest - 1, lengths[index] - 1,
        (value) => `${value + 1} ${value ? "bits" : "bit"}`,
        (value) => { lengths[index] = value + 1; draw(); });
      made.firstChild.style.minWidth = "3em"; // so that the sliders begin below each other
      return made;
    };
    const column = (...inside) => {
      const box = element("div", {}, ...inside);
      box.style.cssText = "flex: 1 1 15em; min-width: 0";
      return box;
    };
    const row = element("div", {}, column(...lines), column(...Object.values(shows).map((one) => one.line)));
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.2em 1em; margin-top: 0.4em";
    el.append(
      choice("source", sources.map((one) => one.name), source, (index) => { source = index; draw(); }),
      ...names.map((_, index) => control(index)),
      svg,
      row,
    );
  },
};

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
