// The integer twin of a prior: logits that are the same integers on every machine (arlib/fixedpoint.py, chapter 11, has
// the rule and its reasons). Numbers are float64 that hold integers: as long as no part of a sum passes 2^53, each is
// exact, in whatever order it is summed.
"use strict";
((ptb) => {
  const EXACT = 9007199254740992; // 2^53
  const LARGEST = (1 << 22) - 1; // where activations, in units of 2^-14, saturate
  const UNIT = 1 << 14;
  const FINE = 1 << 24;
  const SCALE = 1 << 22;
  const TO_WEIGHT = 1 / (1 << 30); // from units of 2^-(24 + 22) to those of a weight, 2^-16
  const TO_UNIT = 1 / (1 << 16); // from a product's units of 2^-30 to an activation's
  const TO_LOGIT = 1 / (1 << 20); // and to a logit's, 2^-10
  const TO_SCORE = 1 / (1 << 18); // from units of 2^-28 to the table's
  const TO_NORM = 1 / (FINE * 1024); // from units of 2^-48 to an activation's
  const ADDED = ["start", "embedding.weight", "positions", "classes", "places"];
  const SAID = "speaker.said.weight";
  const { rint } = ptb;

  const saturated = (x) => Math.max(-LARGEST, Math.min(LARGEST, x));

  /** The root of a BigInt, rounded down. */
  function wholeRoot(square) {
    let root = BigInt(Math.floor(Math.sqrt(Number(square))));
    while (root * root > square) root--;
    while ((root + 1n) * (root + 1n) <= square) root++;
    return root;
  }

  /** A vector of a table, added to x. */
  function add(x, table, row = 0) {
    for (let i = 0; i < x.length; i++) x[i] += table.data[row * x.length + i];
  }

  /** The twin of a prior, made of what `readWeights` gives: `config` and `weights`. Throws `CodecError` for a prior
   *  that has none. `trace(name, vector)`, where it is set, is shown every layer's result. */
  ptb.Twin = class Twin {
    constructor({ config, weights }) {
      this.config = config;
      this.codebooks = config.codebooks ?? 1;
      this.vocabulary = config.vocabulary;
      this.length = config.length;
      this.rows = config.length / this.codebooks;
      this.headWidth = config.width / config.heads;
      this.trace = null;
      const width = BigInt(config.width);
      this.epsilon = Number((width << 28n) / 100000n);
      this.rootWidth = Number(wholeRoot(width << 96n));
      this.bound("attended values", this.rows * (1 << 20) * LARGEST);
      this.bound("differences of scores", 2 * this.headWidth * LARGEST * LARGEST);
      this.bound("squares in a norm", config.width * LARGEST * LARGEST + this.epsilon);
      this.integers = this.rounded(weights);
      this.matrices = {};
      for (const [name, { shape, data }] of Object.entries(this.integers)) {
        if (!ADDED.includes(name) && name !== SAID) this.matrices[name] = ptb.packed(data, ...shape);
      }
      const { data } = this.integers["head.weight"];
      const size = this.vocabulary * config.width;
      this.heads = Array.from({ length: this.codebooks }, (_, book) =>
        ptb.packed(data.subarray(book * size, (book + 1) * size), this.vocabulary, config.width),
      );
    }

    bound(name, largest, limit = EXACT) {
      if (largest < limit) return;
      throw new ptb.CodecError(
        `This prior has no twin: ${name} could reach ${Math.floor(largest).toLocaleString("en-US")}, and must stay ` +
          `below ${limit.toLocaleString("en-US")}. Its weights are too large, or it is too wide or too long.`,
      );
    }

    /** The weights as integers, by name `{shape, data}`: what an input is a sum of as activations, then the matrices,
     *  with the gain of the norm before them and, in the rows that make the query, 1/√head_width. */
    rounded(weights) {
      const integers = {};
      const added = ADDED.filter((name) => name in weights);
      const terms = Math.max("positions" in weights && added.length > 3 ? 3 : 2, this.codebooks + 1);
      for (const name of [...added, SAID].filter((each) => each in weights)) {
        const { shape, data } = weights[name];
        integers[name] = { shape, data: data.map((x) => rint(x * UNIT)) };
        const largest = integers[name].data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        this.bound(name, terms * largest, LARGEST + 1);
      }
      for (const name of Object.keys(weights)) {
        if (!(name in integers) && !name.includes("norm")) integers[name] = this.matrix(weights, name);
      }
      return integers;
    }

    matrix(weights, name) {
      const norm = name
        .replace("attention.query_key_value", "attention_norm")
        .replace("up", "mlp_norm")
        .replace("head", "norm");
      const { shape, data } = weights[name];
      const [rows, columns] = shape;
      const gains = norm === name ? null : weights[norm].data;
      const narrow = Number(wholeRoot((1n << 44n) / BigInt(this.headWidth)));
      const integers = new Float64Array(data.length);
      for (let row = 0; row < rows; row++) {
        const scale = name.includes("query") && row < Math.floor(rows / 3) ? narrow : SCALE;
        let sum = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) {
          const fine = rint(data[i] * (gains ? gains[i - row * columns] : 1) * FINE);
          this.bound(name, Math.abs(fine) * SCALE);
          integers[i] = rint(fine * scale * TO_WEIGHT);
          sum += Math.abs(integers[i]);
        }
        this.bound(name, sum * LARGEST);
      }
      return { shape, data: integers };
    }

    /** The SHA-256 of all that fixes the frequencies, as `Twin.digest` of the Python library has it. */
    digest() {
      const tables = Object.entries(ptb.tables()).map(([name, data]) => [name, { shape: [data.length], data }]);
      const all = [...tables, ...Object.entries(this.integers)].sort(([one], [other]) => (one < other ? -1 : 1));
      const parts = [text(`arlib.fixedpoint, rule 1: ${python(this.config)}`)];
      for (const [name, { shape, data }] of all) {
        parts.push(text(`\n${name} [${shape.join(", ")}]: `), eightBytes(data));
      }
      return ptb.hex(ptb.sha256(parts));
    }

    /** An empty cache; `order` is the place of each token in reading order, `label` a class or -1. */
    newCache(order = null, label = -1) {
      const { width, depth } = this.config;
      const empty = () => Array.from({ length: depth }, () => new Float64Array(this.rows * width));
      return { keys: empty(), values: empty(), read: 0, order, label, heard: null, place: null };
    }

    /** The logits of the next tokens, an array `(V,)` for each: all of the next scale for a prior of scales, else one.
     *  `tokens` are those before them, in reading order. */
    ask(tokens, cache) {
      if (!this.config.scales) return [this.step(cache.read ? tokens[cache.read - 1] : null, cache)];
      const first = cache.read;
      const scale = this.config.scales.findIndex((side, i, sides) => first === total(sides.slice(0, i)));
      const rows = parents(this.config.scales, scale).map((source, i) => {
        const x = source < 0 ? this.start(cache.label) : new Float64Array(this.config.width);
        if (source >= 0) add(x, this.integers["embedding.weight"], tokens[source]);
        add(x, this.integers.positions, first + i);
        return x;
      });
      cache.read += rows.length;
      return this.pass(rows, cache).map((x) => this.logits(x, 0));
    }

    /** Read one token (null at first) and give the logits `(V,)` of the next: integers in units of 2^-10. */
    step(token, cache) {
      const [place, book] = [Math.floor(cache.read / this.codebooks), cache.read % this.codebooks];
      if (token === null) cache.place = this.start(cache.label);
      else this.hear(token, cache);
      if (book === 0) {
        const x = cache.place.slice();
        if ("positions" in this.integers) add(x, this.integers.positions, cache.order?.[place] ?? place);
        [cache.heard] = this.pass([x], cache);
      }
      cache.read++;
      if (this.codebooks === 1) return this.logits(cache.heard, 0);
      return this.logits(this.perceptron(cache.heard.map(saturated), "speaker."), book);
    }

    /** Add a token that was said to what the next row will read, and to what the next code of its place is asked with. */
    hear(token, cache) {
      const before = (cache.read - 1) % this.codebooks;
      const row = token + before * this.vocabulary;
      if (before === 0) cache.place = new Float64Array(this.config.width);
      add(cache.place, this.integers["embedding.weight"], row);
      if (cache.read % this.codebooks) add(cache.heard, this.integers[SAID], row);
      if ("places" in this.integers) add(cache.place, this.integers.places, cache.order?.[cache.read - 1] ?? cache.read - 1);
    }

    start(label) {
      const x = new Float64Array(this.config.width);
      add(x, this.integers.start);
      if (label >= 0) add(x, this.integers.classes, label);
      return x;
    }

    /** New rows (vectors) through all blocks. Each looks at those in the cache, and at all that come with it. */
    pass(rows, cache) {
      const { width, depth } = this.config;
      const first = cache.rows ?? 0;
      cache.rows = first + rows.length;
      for (let block = 0; block < depth; block++) {
        const name = `blocks.${block}.`;
        const [keys, values] = [cache.keys[block], cache.values[block]];
        const queries = rows.map((x, i) => {
          const split = this.product(name + "attention.query_key_value.weight", this.normalise(x)).map(saturated);
          this.trace?.(name + "attention.query_key_value", split);
          keys.set(split.subarray(width, 2 * width), (first + i) * width);
          values.set(split.subarray(2 * width), (first + i) * width);
          return split.subarray(0, width);
        });
        rows = rows.map((x, i) => {
          const attended = this.attend(queries[i], keys, values, cache.rows);
          this.trace?.(name + "attention", attended);
          const out = this.product(name + "attention.out.weight", attended);
          const next = this.perceptron(out.map((y, j) => saturated(y + x[j])), name);
          this.trace?.(name, next);
          return next;
        });
      }
      return rows;
    }

    /** What a block's perceptron, or the speaker's, adds to activations. */
    perceptron(x, name) {
      const { gelu } = ptb.tables();
      const end = gelu.length - 1;
      const hidden = this.product(name + "up.weight", this.normalise(x));
      for (let i = 0; i < hidden.length; i++) {
        const y = saturated(hidden[i]);
        hidden[i] = (y > 0 ? y : 0) - gelu[Math.min(end, rint(Math.abs(y) / 16))];
      }
      this.trace?.(name + "gelu", hidden);
      return this.product(name + "down.weight", hidden).map((y, i) => saturated(y + x[i]));
    }

    logits(x, book) {
      const logits = ptb.multiply(this.heads[book], this.normalise(x), new Float64Array(this.vocabulary));
      for (let i = 0; i < logits.length; i++) logits[i] = rint(logits[i] * TO_LOGIT);
      return logits;
    }

    product(name, x) {
      const matrix = this.matrices[name];
      const sums = ptb.multiply(matrix, x, new Float64Array(matrix.rows));
      for (let i = 0; i < sums.length; i++) sums[i] = rint(sums[i] * TO_UNIT);
      return sums;
    }

    /** x · √width / √(sum of squares): a root and a quotient rounded down, whatever the last bits of √ and ÷ are. */
    normalise(x) {
      let square = this.epsilon;
      for (let i = 0; i < x.length; i++) square += x[i] * x[i];
      let root = Math.floor(Math.sqrt(square));
      if (root * root > square) root--;
      else if ((root + 1) * (root + 1) <= square) root++;
      const factor = floored(this.rootWidth, root) * TO_NORM;
      const out = new Float64Array(x.length);
      for (let i = 0; i < x.length; i++) out[i] = rint(x[i] * factor);
      this.trace?.("norm", out);
      return out;
    }

    /** Attention of one query `(width,)` over the first `count` rows of keys and values, head by head. */
    attend(query, keys, values, count) {
      const { attention } = ptb.tables();
      const end = attention.length - 1;
      const { headWidth } = this;
      const { width } = this.config;
      const attended = new Float64Array(width);
      const scores = new Float64Array(count);
      for (let head = 0; head < width; head += headWidth) {
        let most = -Infinity;
        for (let row = 0; row < count; row++) {
          let score = 0;
          for (let i = head; i < head + headWidth; i++) score += query[i] * keys[row * width + i];
          scores[row] = score;
          if (score > most) most = score;
        }
        let total = 0;
        for (let row = 0; row < count; row++) {
          const power = attention[Math.min(end, rint((most - scores[row]) * TO_SCORE))];
          if (power === 0) continue;
          total += power;
          for (let i = head; i < head + headWidth; i++) attended[i] += power * values[row * width + i];
        }
        for (let i = head; i < head + headWidth; i++) attended[i] = floored(attended[i], total);
      }
      return attended;
    }
  };

  /** What each symbol weighs, exp(logit - largest logit) in units of 2^-36. */
  ptb.weigh = (logits) => {
    const { coding } = ptb.tables();
    let most = -Infinity;
    for (const logit of logits) if (logit > most) most = logit;
    return logits.map((logit) => coding[Math.min(coding.length - 1, most - logit)]);
  };

  /** An integer by a positive integer, rounded down, whatever the last bit of ÷ is. */
  function floored(number, divisor) {
    const quotient = Math.floor(number / divisor);
    return quotient * divisor > number ? quotient - 1 : quotient;
  }

  /** How many tokens maps of these sides hold. */
  const total = (sides) => sides.reduce((sum, side) => sum + side * side, 0);

  /** Which token each row of a scale reads: its parent, the cell above it one scale coarser; the first reads none. */
  function parents(sides, scale) {
    if (scale === 0) return [-1];
    const [side, coarser] = [sides[scale], sides[scale - 1]];
    const first = total(sides.slice(0, scale - 1));
    const above = (cell) => Math.floor((cell * coarser) / side);
    return Array.from({ length: side * side }, (_, i) => first + above(Math.floor(i / side)) * coarser + above(i % side));
  }

  const text = (words) => new TextEncoder().encode(words);

  /** Integers as eight bytes each, the lowest first. */
  function eightBytes(data) {
    const view = new DataView(new ArrayBuffer(8 * data.length));
    data.forEach((x, i) => {
      const high = Math.floor(x / 4294967296);
      view.setUint32(8 * i, x - high * 4294967296, true);
      view.setInt32(8 * i + 4, high, true);
    });
    return new Uint8Array(view.buffer);
  }

  /** JSON as Python writes it, with sorted keys and blanks. */
  function python(value) {
    if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
    if (value === null || typeof value !== "object") return JSON.stringify(value);
    const keys = Object.keys(value).sort();
    return `{${keys.map((key) => `${JSON.stringify(key)}: ${python(value[key])}`).join(", ")}}`;
  }
})((globalThis.ptb ??= {}));
