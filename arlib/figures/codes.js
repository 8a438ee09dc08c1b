// Chapter 3: a VQ-VAE in the plane, trained in the page. Points x, z = x Aᵀ, the nearest code q, and back by q Dᵀ; the
// gradient goes straight through. Data: points, noise (the far and tiny starts), picks (which points revival takes).

const STEPS = 200;
const RATE = 0.05;
const STARTS = ["far", "tiny", "data"];
const BETAS = [0, 0.25, 1];

// v Mᵀ and v M for a 2 × 2 matrix [a, b, c, d].
const timesT = (v, m) => [v[0] * m[0] + v[1] * m[1], v[0] * m[2] + v[1] * m[3]];
const times = (v, m) => [v[0] * m[0] + v[1] * m[2], v[0] * m[1] + v[1] * m[3]];

function nearestOf(z, codes) {
  let [best, least] = [0, Infinity];
  codes.forEach((code, index) => {
    const gap = (z[0] - code[0]) ** 2 + (z[1] - code[1]) ** 2;
    if (gap < least) [best, least] = [index, gap];
  });
  return best;
}

// For each step the latents, the codes, how many latents chose each, and the mean squared error.
function simulate(x, noise, picks, start, ema, revival, beta) {
  const [size, n] = [noise.length, x.length];
  let encoder = [0.1, 0, 0, 0.1];
  let decoder = [1, 0, 0, 1];
  let codes = {
    far: () => noise.map((v) => v.map((a) => 3 * a)),
    tiny: () => noise.map((v) => v.map((a) => a / size)),
    data: () => picks[0].map((pick) => x[pick].map((a) => 0.1 * a)),
  }[start]();
  let count = new Array(size).fill(1);
  let total = codes.map((code) => [...code]);
  const path = [];
  for (let step = 0; step <= STEPS; step++) {
    const latents = x.map((point) => timesT(point, encoder));
    const index = latents.map((z) => nearestOf(z, codes));
    const chosen = new Array(size).fill(0);
    const sums = codes.map(() => [0, 0]);
    const [ofEncoder, ofDecoder] = [[0, 0, 0, 0], [0, 0, 0, 0]];
    let error = 0;
    latents.forEach((z, i) => {
      const q = codes[index[i]];
      const painted = timesT(q, decoder);
      const off = [painted[0] - x[i][0], painted[1] - x[i][1]];
      error += (off[0] ** 2 + off[1] ** 2) / n;
      chosen[index[i]] += 1;
      sums[index[i]][0] += (z[0] * size) / n;
      sums[index[i]][1] += (z[1] * size) / n;
      const ofQ = [2 * off[0], 2 * off[1]];
      const back = times(ofQ, decoder);
      const ofZ = [back[0] + 2 * beta * (z[0] - q[0]), back[1] + 2 * beta * (z[1] - q[1])];
      for (let row = 0; row < 2; row++) {
        for (let column = 0; column < 2; column++) {
          ofEncoder[2 * row + column] += (ofZ[row] * x[i][column]) / n;
          ofDecoder[2 * row + column] += (ofQ[row] * q[column]) / n;
        }
      }
    });
    path.push({ latents, codes, chosen, error });
    const share = chosen.map((times) => (times * size) / n);
    count = count.map((old, k) => 0.95 * old + 0.05 * share[k]);
    total = total.map((old, k) => old.map((a, axis) => 0.95 * a + 0.05 * sums[k][axis]));
    codes = codes.map((code, k) => code.map((a, axis) => (
      ema ? total[k][axis] / count[k] : a - RATE * 2 * (share[k] * a - sums[k][axis])
    )));
    if (revival) {
      for (let k = 0; k < size; k++) {
        if (count[k] >= 0.1) continue;
        codes[k] = [...latents[picks[(step + 1) % picks.length][k]]];
        total[k] = [...codes[k]];
        count[k] = 1;
      }
    }
    encoder = encoder.map((weight, at) => weight - RATE * ofEncoder[at]);
    decoder = decoder.map((weight, at) => weight - RATE * ofDecoder[at]);
  }
  return path;
}

export default {
  render({ model, el }) {
    const [points, noise, picks] = ["points", "noise", "picks"].map((key) => model.get(key));
    let [start, ema, revival, beta, step] = [0, 0, 0, 1, 0];
    let path = [];
    const size = 340;
    const svg = element("svg:svg", {
      viewBox: `0 0 ${size} ${size}`, width: size, role: "img", "aria-label": "latents and codes in the plane",
    });
    svg.style.flex = "0 1 auto";
    const shows = {
      used: readout("used", `codes used, of ${noise.length}`),
      error: readout("error", "error"),
      zero: readout("never", "never chosen so far"),
    };

    function draw() {
      if (!path.length) return;
      const { latents, codes, chosen, error } = path[step];
      // The dead codes of a far start stay in view, those farthest out at the edge.
      const reach = Math.max(start === 0 ? 4 : 1.7, ...path[STEPS].latents.flat().map((a) => 1.25 * Math.abs(a)));
      const inside = (v) => v.map((a) => Math.max(-0.96 * reach, Math.min(0.96 * reach, a)));
      const at = (v) => v.map((a, axis) => size / 2 + ((axis ? -a : a) * size) / 2 / reach);
      svg.replaceChildren();
      for (const z of latents) {
        const [cx, cy] = at(z);
        svg.append(element("svg:circle", { cx, cy, r: 2, fill: COLORS[0], "fill-opacity": 0.7 }));
      }
      codes.forEach((code, k) => {
        const trail = [];
        let pen = "M";
        for (let past = 0; past <= step; past++) {
          const before = path[Math.max(0, past - 1)].codes[k];
          const here = path[past].codes[k];
          // A revived code jumps: its path begins anew.
          if (Math.hypot(here[0] - before[0], here[1] - before[1]) > 0.35) pen = "M";
          trail.push(`${pen}${at(inside(here)).map((a) => a.toFixed(1)).join(" ")}`);
          pen = "L";
        }
        const color = chosen[k] ? COLORS[1] : COLORS[4];
        svg.append(element("svg:path", { d: trail.join(""), fill: "none", stroke: color, "stroke-opacity": 0.6 }));
        const [x, y] = at(inside(code));
        svg.append(chosen[k]
          ? element("svg:rect", { x: x - 4, y: y - 4, width: 8, height: 8, fill: color })
          : element("svg:path", {
            d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`, stroke: color, "stroke-width": 2, fill: "none",
          }));
      });
      const never = codes.filter((_, k) => path.slice(0, step + 1).every((one) => !one.chosen[k]));
      shows.used.value = String(chosen.filter((times) => times > 0).length);
      shows.error.value = error.toFixed(3);
      shows.zero.value = String(never.length);
    }

    function train() {
      path = simulate(points, noise, picks, STARTS[start], ema === 1, revival === 1, BETAS[beta]);
      draw();
    }

    const side = element("div", {}, ...Object.values(shows).map((one) => one.line));
    side.style.flex = "1 1 9em";
    const row = element("div", {}, svg, side);
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.3em 1em; align-items: center";
    el.append(
      choice("codes begin", ["far away", "tiny", "on latents"], start, (index) => { start = index; train(); }),
      choice("moved by", ["gradients", "EMA"], ema, (index) => { ema = index; train(); }),
      choice("revival", ["off", "on"], revival, (index) => { revival = index; train(); }),
      choice("β", BETAS.map(String), beta, (index) => { beta = index; train(); }),
      slider("step", STEPS, STEPS, String, (value) => { step = value; draw(); }),
      row,
    );
  },
};
