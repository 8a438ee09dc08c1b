// Chapter 6: where each attention head of a prior looks, on average, seen from the token that is asked for.
// Data: heads (each with name and weights, base64 of rows × columns bytes, 255 for the largest share `most`), rows and
// columns of the window (the asked token is in its last row, in the middle), rest (the share outside of it, per head).
export default {
  render({ model, el }) {
    const [heads, rows, columns] = ["heads", "rows", "columns"].map((key) => model.get(key));
    const middle = (columns - 1) / 2;
    const size = 20;
    const shows = {
      most: readout("most", "looks most at"),
      share: readout("share", "with a share of"),
      rest: readout("rest", "outside of the window"),
    };
    const svg = element("svg:svg", {
      viewBox: `0 0 ${columns * size} ${rows * size}`, width: 420, role: "img",
      "aria-label": "the tokens around the one that is asked for, darker where the head looks more",
    });

    function place(row, column) {
      const up = rows - 1 - row;
      const side = column - middle;
      const words = [];
      if (up) words.push(up === 1 ? "above" : `${up} rows up`);
      if (side) words.push(`${Math.abs(side)} to the ${side < 0 ? "left" : "right"}`);
      return words.length ? `the token ${words.join(", ")}` : "the asked token";
    }

    function draw(index) {
      const head = heads[index];
      const weights = unpack(head.weights);
      svg.replaceChildren();
      let best = 0;
      weights.forEach((weight, cell) => {
        const [row, column] = [Math.floor(cell / columns), cell % columns];
        const asked = row === rows - 1 && column >= middle;
        if (weight > weights[best]) best = cell;
        svg.append(element("svg:rect", {
          x: column * size + 0.5, y: row * size + 0.5, width: size - 1, height: size - 1,
          fill: asked ? "none" : COLORS[0], "fill-opacity": asked ? 1 : 0.06 + (0.94 * weight) / 255,
          stroke: "currentColor", "stroke-width": row === rows - 1 && column === middle ? 2 : 0.15,
        }));
      });
      svg.append(element("svg:text", {
        x: (middle + 0.5) * size, y: (rows - 0.25) * size, "text-anchor": "middle", "font-size": 14,
      }, "?"));
      shows.most.value = place(Math.floor(best / columns), best % columns);
      shows.share.value = `${Math.round(100 * head.most)} %`;
      shows.rest.value = `${Math.round(100 * head.rest)} %`;
    }

    el.append(
      slider("head", heads.length - 1, 0, (index) => heads[index].name, draw),
      svg,
      ...Object.values(shows).map((one) => one.line),
    );
  },
};
