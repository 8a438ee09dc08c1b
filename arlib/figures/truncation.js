// Chapter 8: a distribution at one place, and what temperature, top-k and top-p leave of it, in this order.
// Data: unit, what divides the logits; places, each with name, logits (whole numbers, one a code), came (the token that
// was there) and patches (5 × 5 pixels for each of the 40 codes that were likeliest at first).

const SHOWN = 40;
const SIDE = 5;
const ROWS = 2;
const KS = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1024];

// The codes, the most probable first; of equal ones the smaller number.
function ranking(shares) {
  return Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
}

function scaled(shares) {
  const sum = shares.reduce((total, share) => total + share, 0);
  return shares.map((share) => share / sum);
}

function tempered(logits, unit, temperature) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  return scaled(logits.map((logit) => Math.exp((logit - largest) / unit / temperature)));
}

// As arlib.sampling.probabilities: k = 1024 and p = 1 cut nothing.
function truncated(logits, unit, temperature, k, p) {
  let shares = tempered(logits, unit, temperature);
  if (k < shares.length) {
    const least = shares[ranking(shares)[k - 1]];
    shares = scaled(shares.map((share) => (share < least ? 0 : share)));
  }
  if (p < 1) {
    const left = new Array(shares.length).fill(0);
    let sum = 0;
    for (const code of ranking(shares)) {
      if (sum >= p) break;
      left[code] = shares[code];
      sum += shares[code];
    }
    shares = scaled(left);
  }
  return shares;
}

export default {
  render({ model, el }) {
    const places = model.get("places");
    const unit = model.get("unit");
    let [place, temperature, k, p] = [1, 1, 1024, 1];

    const phone = matchMedia("(max-width: 600px)").matches; // there the drawing is half as large, its letters are not
    const [width, height, room] = [600, 170, 8];
    const [margin, letters] = phone ? [68, 22] : [50, 14];
    const bar = (width - margin) / SHOWN;
    const below = room + height + 24 + letters; // where the patches begin
    const svg = element("svg:svg", {
      viewBox: `0 0 ${width} ${below + (ROWS * ROWS * (width - margin)) / SHOWN + 4}`, width, role: "img",
      "aria-label": "bars of the 40 codes that were likeliest at first, before and after",
    });
    const strip = element("svg:g");
    const drawn = element("svg:g");
    svg.append(strip, drawn);

    const shows = {
      entropy: readout("entropy", "entropy of what is left, in bits"),
      kept: readout("kept", "codes kept, of 1024"),
      mass: readout("mass", "mass kept (at this temperature, before scaling up)"),
      likeliest: readout("likeliest", "probability of the likeliest"),
      came: readout("came", "probability of the token that came"),
      outside: readout("outside", "what all codes beyond these 40 have together"),
    };

    // The patches below the bars, half of the ranks in a row; what is cut off fades in draw().
    const across = SHOWN / ROWS;
    const square = (width - margin) / across;
    const corner = (rank) => [margin + (rank % across) * square + 1.5, below + Math.floor(rank / across) * square + 1.5];

    function patches() {
      strip.replaceChildren();
      const bytes = unpack(places[place].patches);
      const size = square - 3;
      for (let rank = 0; rank < SHOWN; rank++) {
        const [x, y] = corner(rank);
        const group = element("svg:g", { "shape-rendering": "crispEdges" }); // no seams between the pixels
        for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
          const from = 3 * (rank * SIDE * SIDE + pixel);
          group.append(element("svg:rect", {
            x: x + ((pixel % SIDE) * size) / SIDE, y: y + (Math.floor(pixel / SIDE) * size) / SIDE,
            width: size / SIDE + 0.15, height: size / SIDE + 0.15,
            fill: `rgb(${bytes[from]},${bytes[from + 1]},${bytes[from + 2]})`,
          }));
        }
        strip.append(group);
      }
    }

    function draw() {
      const { logits, came } = places[place];
      const before = tempered(logits, unit, 1);
      const warm = tempered(logits, unit, temperature);
      const after = truncated(logits, unit, temperature, k, p);
      const order = ranking(before).slice(0, SHOWN);
      const kept = after.filter((share) => share > 0);
      const inside = order.reduce((sum, code) => sum + after[code], 0);
      shows.entropy.value = (-kept.reduce((sum, share) => sum + share * Math.log2(share), 0) + 0).toFixed(2);
      shows.kept.value = String(kept.length);
      shows.mass.value = warm.reduce((sum, share, code) => sum + (after[code] ? share : 0), 0).toFixed(3);
      shows.likeliest.value = after.reduce((a, b) => Math.max(a, b)).toFixed(3);
      shows.came.value = after[came] ? after[came].toFixed(4) : "0, it is cut off";
      shows.outside.value = Math.max(0, 1 - inside).toFixed(3);

      drawn.replaceChildren();
      const add = (name, attributes, ...text) => drawn.append(element(`svg:${name}`, attributes, ...text));
      const top = Math.max(0.05, ...order.map((code) => Math.max(before[code], after[code])));
      const floor = room + height;
      const tall = (share) => ((height - 12) * share) / top;
      for (const part of [0, 0.5, 1]) {
        const y = floor - tall(part * top);
        add("line", { x1: margin - 3, x2: width, y1: y, y2: y, stroke: "currentColor", "stroke-opacity": part ? 0.2 : 0.8 });
        add("text", { x: margin - 6, y: y + 0.3 * letters, "text-anchor": "end", "font-size": letters }, (part * top).toFixed(3));
      }
      order.forEach((code, rank) => {
        const x = margin + rank * bar + 1;
        add("rect", {
          x, y: floor - tall(after[code]), width: bar - 2, height: tall(after[code]),
          fill: code === came ? COLORS[1] : COLORS[0],
        });
        add("rect", {
          x, y: floor - tall(before[code]), width: bar - 2, height: tall(before[code]),
          fill: "none", stroke: "currentColor", "stroke-opacity": 0.7, "stroke-width": 1,
        });
        const [left, above] = corner(rank);
        strip.children[rank].setAttribute("opacity", after[code] ? 1 : 0.12);
        if (code === came) {
          add("rect", {
            x: left - 1, y: above - 1, width: square - 1, height: square - 1, fill: "none", stroke: COLORS[1],
            "stroke-width": 3,
          });
        }
      });
      add("text", { x: margin, y: floor + 4 + letters, "font-size": letters }, phone
        ? "the likeliest codes, and their patches:"
        : "codes, the likeliest at the left; their patches in the same order:");
      add("text", { x: width, y: room + 14 + letters, "text-anchor": "end", "font-size": letters }, "probability");
    }

    el.append(
      choice("place", places.map((each) => each.name), place, (index) => { place = index; patches(); draw(); }),
      slider("temperature", 29, 9, (value) => ((value + 1) / 10).toFixed(1), (value) => {
        temperature = (value + 1) / 10;
        draw();
      }),
      slider("top-k", KS.length - 1, KS.length - 1, (value) => (KS[value] < 1024 ? String(KS[value]) : "all"), (value) => {
        k = KS[value];
        draw();
      }),
      slider("top-p", 19, 19, (value) => ((value + 1) / 20).toFixed(2), (value) => {
        p = (value + 1) / 20;
        draw();
      }),
      ...Object.values(shows).map((one) => one.line),
      svg,
    );
  },
};
