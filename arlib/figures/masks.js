// Chapter 7: what each place reads under a mask, and what each row of the logits knows by it.
// Data: panels, each with a name; reads and knows, a string of digits for every row; later, for every row the share of
// its weight that lies on later places, in words; holds, the token at every place.

const CELL = 15;
const MARGIN = 32;

// Numbers in a row as words: [0, 1, 2, 5] is "0–2, 5", and none is "none".
function ranges(numbers) {
  const parts = [];
  for (const number of numbers) {
    const last = parts[parts.length - 1];
    if (last && last[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ") || "none";
}

function where(digits, wanted) {
  return [...digits].flatMap((digit, index) => (wanted(digit, index) ? [index] : []));
}

// A patch of a legend, painted as the cells are, and what it says.
function legend(paint, words) {
  const svg = element("svg:svg", { viewBox: "0 0 15 15", width: 15, height: 15, "aria-hidden": "true" });
  svg.append(...cell(0, 0, paint));
  return element("span", { style: "display: inline-flex; align-items: center; gap: 0.35em" }, svg, words);
}

// One cell at (x, y): a square, and a cross where there is to be one.
function cell(x, y, { cross, ...paint }) {
  const made = [element("svg:rect", {
    x: x + 0.75, y: y + 0.75, width: CELL - 1.5, height: CELL - 1.5, rx: 2, ...paint,
  })];
  if (cross) made.push(element("svg:path", { d: `M${x + 4} ${y + 4}l7 7m0 -7l-7 7`, stroke: "white", "stroke-width": 1.6 }));
  return made;
}

// A square of cells with numbered rows; `paint(panel)` fills it, `mark(row)` frames a row.
function square(title, below, length, fill) {
  const size = length * CELL;
  // A phone shows two squares side by side: every second number, in letters that can be read.
  const phone = matchMedia("(max-width: 600px)").matches;
  const down = phone ? 5 : 0;
  const svg = element("svg:svg", {
    viewBox: `0 0 ${size + MARGIN + 4} ${size + MARGIN + 18 + 2 * down}`, role: "img", "aria-label": title,
    style: "flex: 1 1 200px; max-width: 300px; min-width: 0",
  });
  const text = (words, x, y, more = {}) => {
    const made = element("svg:text", { x, y, "font-size": 9, "text-anchor": "middle", ...more }, words);
    if (phone) made.style.fontSize = "15.5px";
    svg.append(made);
    return made;
  };
  text(title, MARGIN + size / 2, 9 + 0.6 * down, { "font-size": 10.5 });
  text(below, MARGIN + size / 2, size + MARGIN + 14 + 2 * down);
  const middle = MARGIN - 6 + size / 2;
  text("row", 9, middle, { transform: `rotate(-90 9 ${middle})` });
  const heads = [];
  for (let index = 0; index < length; index++) {
    const hidden = phone && index % 2 ? { visibility: "hidden" } : {};
    text(index, MARGIN - 9, MARGIN + 10 + index * CELL - 6 + 0.3 * down, hidden);
    heads.push(text("", MARGIN + (index + 0.5) * CELL, size + MARGIN + 3 + 0.8 * down, hidden));
  }
  const cells = element("svg:g");
  const frame = element("svg:rect", {
    x: MARGIN - 1, width: size + 2, height: CELL + 1, fill: "none", stroke: "currentColor", "stroke-width": 1.6,
  });
  svg.append(cells, frame);
  return {
    svg,
    paint(panel, labels) {
      labels.forEach((label, index) => { heads[index].textContent = label; });
      cells.replaceChildren();
      for (let row = 0; row < length; row++) {
        for (let column = 0; column < length; column++) {
          cells.append(...cell(MARGIN + column * CELL, MARGIN - 6 + row * CELL, fill(panel, row, column)));
        }
      }
    },
    mark(row) { frame.setAttribute("y", MARGIN - 6.5 + row * CELL); },
  };
}

const EMPTY = { fill: "none", stroke: "currentColor", "stroke-opacity": 0.25 };
const PALE = { fill: COLORS[0], opacity: 0.4 };
const FULL = { fill: COLORS[0] };
const MAY = { fill: COLORS[2] };
const MUST_NOT = { fill: COLORS[4], cross: true };

export default {
  render({ model, el }) {
    const panels = model.get("panels");
    const length = panels[0].reads.length;
    let chosen = 0;
    let row = 5;
    const left = square("reads these places", "what the place holds", length, (panel, y, x) => (
      { 0: EMPTY, 1: PALE, 2: FULL }[panel.reads[y][x]]
    ));
    const right = square("knows these tokens", "token", length, (panel, y, x) => {
      if (panel.knows[y][x] === "0") return EMPTY;
      return x < y ? MAY : MUST_NOT;
    });
    const holds = readout("holds", "the places that it reads hold");
    const reads = readout("reads", "the row reads places");
    const later = readout("later", "its weight on later places, for equal scores");
    const knows = readout("knows", "the row knows tokens");
    const leaks = readout("leaks", "of these it must not know");
    const all = readout("model", "rows of this model that leak");

    const say = () => {
      const panel = panels[chosen];
      left.mark(row);
      right.mark(row);
      const places = where(panel.reads[row], (digit) => digit !== "0");
      reads.value = ranges(places);
      const held = places.map((place) => panel.holds[place]).sort((a, b) => a - b);
      const real = held.filter((token) => token >= 0);
      const kinds = held[0] === -1 ? ["start"] : [];
      if (real.length) kinds.push(`${real.length > 1 ? "tokens" : "token"} ${ranges(real)}`);
      holds.value = kinds.join(", ");
      later.value = panel.later[row];
      knows.value = ranges(where(panel.knows[row], (digit) => digit !== "0"));
      leaks.value = ranges(where(panel.knows[row], (digit, token) => digit !== "0" && token >= row));
      const leaking = panel.knows.map((digits, at) => digits.slice(at).includes("1"));
      all.value = ranges(where(leaking.map((leak) => (leak ? "1" : "0")), (digit) => digit === "1"));
    };
    el.append(
      choice("model", panels.map((panel) => panel.name), chosen, (index) => {
        chosen = index;
        left.paint(panels[index], panels[index].holds.map((token) => (token < 0 ? "s" : token)));
        right.paint(panels[index], panels[index].holds.map((_, token) => token));
        say();
      }),
      slider("row", length - 1, row, (value) => `${value}`, (value) => { row = value; say(); }),
      reads.line, holds.line, later.line, knows.line, leaks.line, all.line,
      element("div", { style: "display: flex; flex-wrap: wrap; gap: 0.5em 1.5em; margin: 0.5em 0" },
        left.svg, right.svg),
      element("div", { style: "display: flex; flex-wrap: wrap; gap: 0.2em 1.2em; font-size: 0.9em" },
        legend(FULL, "reads, the row's largest weight"), legend(PALE, "reads, a smaller weight"),
        legend(MAY, "knows, and may"), legend(MUST_NOT, "knows, and must not"), legend(EMPTY, "does not")),
    );
  },
};
