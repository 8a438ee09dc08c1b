// Chapter 11: the same eight products added in four orders, in three kinds of arithmetic.
// Data: terms ([x, weight] each, of which the products are added).
export default {
  render({ model, el }) {
    const terms = model.get("terms");
    const leaves = terms.map((_, index) => index);
    const chain = (nodes) => nodes.reduce((left, right) => [left, right]);
    const halves = (nodes) => nodes.length === 1
      ? nodes[0] : [halves(nodes.slice(0, nodes.length / 2)), halves(nodes.slice(nodes.length / 2))];
    const orders = [
      ["left to right", chain(leaves)],
      ["right to left", chain([...leaves].reverse())],
      ["two lanes", [chain(leaves.filter((i) => i % 2 === 0)), chain(leaves.filter((i) => i % 2 === 1))]],
      ["pairs", halves(leaves)],
    ];
    const fixed = (x, unit) => Math.round(x * 2 ** unit);
    const arithmetics = [
      { name: "float32", term: ([x, w]) => Math.fround(Math.fround(x) * Math.fround(w)),
        add: (a, b) => Math.fround(a + b), show: (sum) => sum.toPrecision(9) },
      { name: "float64", term: ([x, w]) => x * w, add: (a, b) => a + b, show: (sum) => sum.toPrecision(17) },
      { name: "fixed point", term: ([x, w]) => fixed(x, 14) * fixed(w, 16), add: (a, b) => a + b,
        show: (sum) => `${sum} units of 2^-30` },
    ];
    let [order, arithmetic] = [0, 0];

    const sum = (node, how) => Array.isArray(node)
      ? how.add(sum(node[0], how), sum(node[1], how)) : how.term(terms[node]);
    const shows = {
      sum: readout("sum", "sum in this order"),
      count: readout("count", "different sums of the four orders"),
      all: readout("all", "all four"),
    };
    const letters = matchMedia("(max-width: 600px)").matches ? 14 : 10; // a phone makes the drawing smaller
    const [width, height] = [400, 190];
    const svg = element("svg:svg", { viewBox: `0 0 ${width} ${height}`, width: 560, role: "img" });

    // A node's place; its line goes up to the sum that it is a part of.
    function place(node) {
      if (!Array.isArray(node)) {
        const x = ((node + 0.5) * width) / terms.length;
        svg.append(
          element("svg:circle", { cx: x, cy: 165, r: 4, fill: COLORS[0] }),
          element("svg:text", { x, y: 175 + 0.9 * letters, "text-anchor": "middle", "font-size": letters },
            (terms[node][0] * terms[node][1]).toFixed(3)),
        );
        return { x, level: 0 };
      }
      const parts = node.map(place);
      const it = { x: (parts[0].x + parts[1].x) / 2, level: Math.max(parts[0].level, parts[1].level) + 1 };
      for (const part of parts) {
        svg.append(element("svg:line", { x1: part.x, y1: 165 - 21 * part.level, x2: it.x, y2: 165 - 21 * it.level,
          stroke: "currentColor", "stroke-width": 1.2 }));
      }
      svg.append(element("svg:circle", { cx: it.x, cy: 165 - 21 * it.level, r: 4, fill: COLORS[1] }));
      return it;
    }

    function draw() {
      const [name, tree] = orders[order];
      svg.replaceChildren();
      svg.setAttribute("aria-label", `a tree of additions over eight products: ${name}`);
      place(tree);
      const how = arithmetics[arithmetic];
      const all = orders.map(([, each]) => how.show(sum(each, how)));
      shows.sum.value = all[order];
      shows.count.value = `${new Set(all).size}`;
      shows.all.value = how.name === "fixed point" ? [...new Set(all)].join(", ") : all.join(", ");
    }

    el.append(
      choice("order", orders.map(([name]) => name), order, (index) => { order = index; draw(); }),
      choice("arithmetic", arithmetics.map((one) => one.name), arithmetic, (index) => { arithmetic = index; draw(); }),
      svg,
      ...Object.values(shows).map((one) => one.line),
    );
  },
};
