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
      verdict: readout("verdict", "can it be decoded?"),
    };
    const [width, height] = [640, 64];
    const svg = element("svg:svg", {
      viewBox: `0 0 ${width} ${height}`, width, role: "img",
      "aria-label": "the words as parts of a line from 0 to 1, each as wide as what it takes of the budget",
    });
    const lines = names.map((name, index) => {
      const line = element("p", { class: "ptb-readout" });
      line.style.borderLeft = `0.8em solid ${COLOURS[index % COLOURS.length]}`;
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
          x: first * scale, y: 4, width: part * scale, height: 34, fill: COLOURS[index % COLOURS.length],
          "fill-opacity": word === null ? 0.35 : 1, stroke: "currentColor", "stroke-width": 0.8,
        }));
        if (word !== null && part * scale > 11 * word.length) {
          const text = element("svg:text", { x: (first + part / 2) * scale, y: 27, "text-anchor": "middle",
            "font-size": 16, style: "fill: white" }, word);
          svg.append(text);
        }
        lines[index].textContent =
          `${names[index]}, p = ${p[index]}: ${word ?? "no room for a word"} (takes 1/${2 ** lengths[index]})`;
      });
      const end = whole * scale;
      svg.append(
        element("svg:line", { x1: end, x2: end, y1: 0, y2: 46, stroke: "currentColor", "stroke-width": 2 }),
        element("svg:text", { x: 2, y: 60, "font-size": 15 }, "0"),
        element("svg:text", { x: end - 2, y: 60, "font-size": 15, "text-anchor": "end" }, "1, the whole budget"),
      );
      const shared = gcd(spent, whole);
      shows.spent.value = spent === whole ? "all of it" : `${spent / shared}/${whole / shared}`;
      shows.mean.value = `${p.reduce((sum, share, index) => sum + share * lengths[index], 0).toFixed(3)} bits`;
      shows.entropy.value = `${p.reduce((sum, share) => sum - share * Math.log2(share), 0).toFixed(3)} bits`;
      shows.verdict.value = spent > whole ? "no: it spends too much" : "yes";
    }

    el.append(
      choice("source", sources.map((one) => one.name), source, (index) => { source = index; draw(); }),
      ...names.map((name, index) => slider(name, longest - 1, lengths[index] - 1,
        (value) => `${value + 1} ${value ? "bits" : "bit"}`,
        (value) => { lengths[index] = value + 1; draw(); })),
      svg,
      ...lines,
      ...Object.values(shows).map((one) => one.line),
    );
  },
};

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
