// Chapter 10: a point in [0, 1) and the message whose interval holds it. Everything is in whole numbers below 2^53:
// the point in millionths, an interval after d symbols in units of total^-d.
const POINTS = 1_000_000;

export default {
  render({ model, el }) {
    const letters = model.get("letters");
    const cumulative = model.get("cumulative");
    const total = cumulative[cumulative.length - 1];
    const deepest = model.get("deepest");
    let point = model.get("point");
    let depth = model.get("letters_shown");

    const [row, gap, margin, top] = [38, 26, 14, 28]; // `top` and `margin` leave room for the ring around the handle
    let width = 600; // less on a narrow page, so that letters keep their size
    const svg = element("svg:svg");
    const drawn = element("svg:g");
    const handle = element("svg:circle", {
      cy: 14, r: 8, fill: COLORS[4], stroke: "currentColor", tabindex: 0, role: "slider", "aria-label": "point",
      "aria-valuemin": 0, "aria-valuemax": 0.999999, "data-name": "handle", style: "cursor: ew-resize; touch-action: none",
    });
    svg.append(drawn, handle);

    const shows = {
      point: readout("point", "point"),
      message: readout("message", "message"),
      interval: readout("interval", "its interval"),
      width: readout("width", "its width"),
      surprise: readout("surprise", "surprise, bits"),
      word: readout("word", "bits written"),
      bits: readout("bits", "how many"),
      value: readout("value", "as a number"),
    };

    // The nested parts that hold the point: for each symbol its number, and low and width in units of total^-depth.
    function locate() {
      const steps = [];
      let [low, wide, unit] = [0, 1, 1];
      for (let d = 0; d < depth; d++) {
        low *= total;
        wide *= total;
        unit *= total;
        const part = wide / total; // the width of one count
        let symbol = letters.length - 1;
        while (symbol > 0 && point * unit < (low + part * cumulative[symbol]) * POINTS) symbol--;
        steps.push({ symbol, before: low, whole: wide, unit });
        low += part * cumulative[symbol];
        wide = part * (cumulative[symbol + 1] - cumulative[symbol]);
      }
      return { steps, low, wide, unit };
    }

    // The fewest bits n, and the smallest number of n bits, whose binary fraction lies in the interval.
    function shortest(low, wide, unit) {
      for (let n = 0; ; n++) {
        const number = Math.ceil((low * 2 ** n) / unit);
        if (number * unit < (low + wide) * 2 ** n) return { n, number };
      }
    }

    const decimal = (whole, unit) => String(Number((whole / unit).toFixed(Math.round(Math.log10(unit)))));
    const across = (part) => margin + width * part;

    function draw() {
      const { steps, low, wide, unit } = locate();
      const { n, number } = shortest(low, wide, unit);
      const word = n ? number.toString(2).padStart(n, "0") : "";
      shows.point.value = (point / POINTS).toFixed(6);
      shows.message.value = steps.map(({ symbol }) => letters[symbol]).join("");
      shows.interval.value = `${decimal(low, unit)} to ${decimal(low + wide, unit)}`;
      shows.width.value = decimal(wide, unit);
      shows.surprise.value = (-Math.log2(wide / unit) + 0).toFixed(2);
      shows.word.value = word || "none";
      shows.bits.value = String(n);
      shows.value.value = String(number / 2 ** n);
      handle.setAttribute("aria-valuenow", point / POINTS);
      handle.setAttribute("aria-valuetext", `${shows.point.value}, message ${shows.message.value}, ${n} bits`);

      width = Math.min(600, Math.max(240, control.clientWidth - 2 * margin));
      const height = top + depth * (row + gap) + row + 24;
      svg.setAttribute("viewBox", `0 0 ${width + 2 * margin} ${height}`);
      svg.setAttribute("width", width + 2 * margin);
      handle.setAttribute("cx", across(point / POINTS));
      drawn.replaceChildren();
      const add = (name, attributes, ...text) => drawn.append(element(`svg:${name}`, attributes, ...text));
      steps.forEach(({ symbol, before, whole: span, unit: units }, d) => {
        const y = top + d * (row + gap);
        for (let s = 0; s < letters.length; s++) {
          const [from, to] = [cumulative[s] / total, cumulative[s + 1] / total];
          add("rect", {
            x: across(from), y, width: width * (to - from), height: row, fill: COLORS[s % COLORS.length],
            "fill-opacity": s === symbol ? 0.75 : 0.25, stroke: "currentColor", "stroke-width": 1,
          });
          const whole = shows.message.value.slice(0, d) + letters[s];
          const name = 9 * whole.length < width * (to - from) ? whole : letters[s];
          add("text", { x: across((from + to) / 2), y: y + 18, "text-anchor": "middle", "font-size": 14 }, name);
        }
        // What was chosen is drawn again below, as wide as the figure.
        const [from, to] = [cumulative[symbol] / total, cumulative[symbol + 1] / total];
        const below = y + row + gap;
        add("path", {
          d: `M${across(from)} ${y + row} L${across(0)} ${below} L${across(1)} ${below} L${across(to)} ${y + row} Z`,
          fill: COLORS[symbol % COLORS.length], "fill-opacity": 0.12,
        });
        const place = ((point * units) / POINTS - before) / span;
        const upright = (y1, y2) => add("line", {
          x1: across(place), x2: across(place), y1, y2, stroke: "currentColor", "stroke-width": 2,
        });
        if (d === 0) upright(14, y);
        upright(y + 25, y + row); // below the names
      });
      const y = top + depth * (row + gap);
      add("rect", {
        x: across(0), y, width, height: row, stroke: "currentColor", "stroke-width": 1,
        fill: COLORS[steps[depth - 1].symbol % COLORS.length], "fill-opacity": 0.12,
      });
      const at = ((number * unit) / 2 ** n - low) / wide;
      add("line", { x1: across(at), x2: across(at), y1: y + 25, y2: y + row + 5, stroke: COLORS[1], "stroke-width": 3 });
      const [whole, letter] = [n ? `0.${word} = ${shows.value.value}` : "0", 9.5]; // no letter is wider
      const text = letter * whole.length < width ? whole : `0.${word}`;
      const half = (letter * text.length) / 2; // no text passes the edge
      const x = Math.min(Math.max(across(at), half), width + 2 * margin - half);
      add("text", { x, y: y + row + 19, "text-anchor": "middle", "font-size": 14, "data-name": "written" }, text);
      const label = `the message ${shows.message.value}: ${shows.interval.value}`;
      add("text", { x: across(0.5), y: y + 18, "text-anchor": "middle", "font-size": 14 }, label);
    }

    function move(to) {
      point = Math.min(Math.max(Math.round(to), 0), POINTS - 1);
      draw();
    }

    handle.addEventListener("keydown", (event) => {
      const small = event.shiftKey ? 10 : 1000;
      const steps = { ArrowRight: small, ArrowUp: small, ArrowLeft: -small, ArrowDown: -small, PageUp: 50_000, PageDown: -50_000 };
      if (event.key in steps) move(point + steps[event.key]);
      else if (event.key === "Home") move(0);
      else if (event.key === "End") move(POINTS - 1);
      else return;
      event.preventDefault();
    });
    const follow = (event) => {
      const box = svg.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * (width + 2 * margin);
      move(((place - margin) / width) * POINTS);
    };
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) follow(event);
    });
    // A click in any of the rows moves the point to that place of that row's interval.
    let held = false; // a drag of the handle may end in any row, and is no click there
    svg.addEventListener("pointerdown", (event) => (held = event.target === handle));
    svg.addEventListener("click", (event) => {
      if (held) return;
      const box = svg.getBoundingClientRect();
      const scale = (width + 2 * margin) / box.width;
      const y = (event.clientY - box.top) * scale - top;
      const d = Math.max(Math.floor(y / (row + gap)), 0);
      if (y - d * (row + gap) > row || d > depth) return;
      const place = Math.min(Math.max(((event.clientX - box.left) * scale - margin) / width, 0), 0.999);
      const { steps, low, wide, unit } = locate();
      const { before, whole, unit: units } = d < depth ? steps[d] : { before: low, whole: wide, unit };
      move(Math.floor(((before + whole * place) / units) * POINTS + 1e-6));
    });

    const control = slider("letters", deepest - 1, depth - 1, (value) => String(value + 1), (value) => {
      depth = value + 1;
      draw();
    });
    window.addEventListener("resize", draw);
    const grid = element("div", {}, ...Object.values(shows).map((one) => one.line));
    grid.style.cssText = "display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5em, 1fr)); gap: 0 1em";
    el.append(control, svg, grid);
  },
};
