// The tables of integers that an integer twin reads, and the functions that a browser may not be asked for
// (arlib/tables.py, chapter 11). Math.exp, Math.sin and Math.pow differ between browsers in their last bits: all here
// is made of + - × ÷ √ and whole numbers, which do not.
"use strict";
((ptb) => {
  const PLACES = 128n; // binary places of the fixed-point numbers below
  const ONE = 1n << PLACES;
  const STEP = 10n; // the tables' step is 2^-10
  const ROOT_2PI = 39894228040143267793994605993438186847585863116493n; // 1/√(2π), 50 decimal digits
  let made = null;

  /** The three tables: entry n belongs to x = n / 1024, and the last entry, a 0, to all that follows.
   *  attention: exp(-x) · 2^20; coding: exp(-x) · 2^36; gelu: x · Φ(-x) · 2^14. Float64Arrays of integers. */
  ptb.tables = () => {
    made ??= { attention: exponentials(20n), coding: exponentials(36n), gelu: gaps() };
    return made;
  };

  /** exp(-2^-bits) as a fixed-point number, by its series. */
  function tinyExponential(bits) {
    let term = ONE;
    let sum = ONE;
    for (let n = 1n; term !== 0n; n++) {
      term = -(term >> bits) / n;
      sum += term;
    }
    return sum;
  }

  function rounded(number) {
    return Number((number + (ONE >> 1n)) >> PLACES);
  }

  function exponentials(bits) {
    const ratio = tinyExponential(STEP);
    const entries = [];
    for (let power = ONE << bits; ; power = (power * ratio) >> PLACES) {
      entries.push(rounded(power));
      if (entries[entries.length - 1] === 0) return Float64Array.from(entries);
    }
  }

  /** The gap between ReLU and GELU; Φ(x) = 1/2 + φ(x) · (x + x³/3 + x⁵/(3·5) + …). */
  function gaps() {
    const ratio = tinyExponential(2n * STEP + 1n); // exp(-x²/2) at the first step
    const square = (ratio * ratio) >> PLACES;
    const entries = [0];
    let bell = ONE; // exp(-x²/2), whose next value is its last one times ratio, ratio³, ratio⁵, …
    let factor = ratio;
    const height = (ROOT_2PI << PLACES) / 100000000000000000000000000000000000000000000000000n;
    for (let n = 1n; ; n++) {
      bell = (bell * factor) >> PLACES;
      factor = (factor * square) >> PLACES;
      const x = (n << PLACES) >> STEP;
      let term = x;
      let total = x;
      for (let odd = 3n; term > 1n << 20n; odd += 2n) {
        term = ((term * n * n) >> (2n * STEP)) / odd;
        total += term;
      }
      const density = (height * bell) >> PLACES;
      const below = (ONE >> 1n) - ((density * total) >> PLACES);
      entries.push(rounded((x * below) >> (PLACES - 14n)));
      if (entries[entries.length - 1] === 0) return Float64Array.from(entries);
    }
  }

  const BIG = 6755399441055744; // 1.5 · 2^52: numbers next to it have no binary places left

  /** Rounded to the nearest integer, ties to the even one, for |x| < 2^51. (Math.round sends ties up.) */
  ptb.rint = (x) => x + BIG - BIG;

  /** exp(x) for |x| < 700, to about 2^-52 of itself. */
  ptb.exp = (x) => {
    const n = ptb.rint(x * 1.4426950408889634);
    const rest = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10; // x - n · ln 2, in two parts
    let sum = 1;
    for (let k = 15; k > 0; k--) sum = 1 + (sum * rest) / k;
    for (let k = n; k > 0; k--) sum *= 2;
    for (let k = n; k < 0; k++) sum /= 2;
    return sum;
  };

  const decays = { whole: null, part: null };

  /** exp(-n / 1024) for an integer n >= 0, of which 1024ths are taken apart: two tables, and one product. */
  ptb.decay = (n) => {
    decays.whole ??= Float64Array.from({ length: 700 }, (_, i) => ptb.exp(-i));
    decays.part ??= Float64Array.from({ length: 1024 }, (_, i) => ptb.exp(-i / 1024));
    return n < 700 * 1024 ? decays.whole[n >> 10] * decays.part[n & 1023] : 0;
  };

  /** sin(πx), by its series around the nearest integer. */
  ptb.sinPi = (x) => {
    const n = ptb.rint(x);
    const angle = (x - n) * 3.141592653589793;
    const square = angle * angle;
    let sum = 1;
    for (let k = 22; k > 0; k -= 2) sum = 1 - (sum * square) / (k * (k + 1));
    return n % 2 === 0 ? angle * sum : -angle * sum;
  };

  // Φ and φ of the normal distribution at multiples of 1/64, between which a series of five terms continues.
  const GRID = 64;
  const REACH = 9;
  let normal = null;

  function normalTable() {
    const below = new Float64Array(2 * REACH * GRID + 1);
    const density = new Float64Array(2 * REACH * GRID + 1);
    for (let n = 0; n <= REACH * GRID; n++) {
      const x = n / GRID;
      const bell = ptb.exp((-x * x) / 2) * 0.3989422804014327;
      let term = x;
      let total = x;
      for (let odd = 3; term > 1e-18 * total; odd += 2) total += term *= (x * x) / odd;
      density[REACH * GRID + n] = density[REACH * GRID - n] = bell;
      below[REACH * GRID + n] = 0.5 + bell * total;
      below[REACH * GRID - n] = 0.5 - bell * total;
    }
    return { below, density };
  }

  /** GELU(x) = x · Φ(x), to about 10^-12. */
  ptb.gelu = (x) => {
    normal ??= normalTable();
    if (x >= REACH - 1) return x;
    if (x <= 1 - REACH) return 0;
    const place = ptb.rint(x * GRID);
    const a = place / GRID;
    const h = x - a;
    const slope = normal.density[place + REACH * GRID];
    const fourth = (3 * a - a * a * a) / 24;
    const series = h * (1 + h * (-a / 2 + h * ((a * a - 1) / 6 + h * fourth)));
    return x * (normal.below[place + REACH * GRID] + slope * series);
  };
})((globalThis.ptb ??= {}));
