// The integer twin of a prior: logits that are the same integers on every machine (arlib/fixedpoint.py, chapter 11, has
// the rule and its reasons). Numbers are float64 that hold integers: as long as no part of a sum passes 2^53, each is
// exact, in whatever order it is summed.
"use strict";
((ptb) => {
  const TO_UNIT = 1 / (1 << 16); // from a product's units of 2^-30 to an activation's, 2^-14
  const TO_LOGIT = 1 / (1 << 20); // and to a logit's, 2^-10
  const TO_SCORE = 1 / (1 << 18); // from units of 2^-28 to the step of the tables, 2^-10
  const TO_NORM = 1 / (1 << 24) / 1024; // from units of 2^-48 to an activation's
  const SAID = "speaker.said.weight"; // what is added for each code of a place that has been said
  const { rint, LARGEST } = ptb;

  const saturated = (x) => (x > LARGEST ? LARGEST : x < -LARGEST ? -LARGEST : x);

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
      this.trace = null;
      Object.assign(this, ptb.twinSizes(config));
      this.integers = ptb.integersOf({ config, weights });
      this.matrices = {};
      for (const [name, { shape, data }] of Object.entries(this.integers)) {
        if (ptb.isMatrix(name)) this.matrices[name] = ptb.packed(data, ...shape);
      }
      const { data } = this.integers["head.weight"];
      const size = this.vocabulary * config.width;
      this.heads = Array.from({ length: this.codebooks }, (_, book) =>
        ptb.packed(data.subarray(book * size, (book + 1) * size), this.vocabulary, config.width),
      );
    }

    digest() {
      return ptb.digestOf(this.config, this.integers);
    }

    /** An empty cache; `order` is the place of each token in reading order, `label` a class or -1. */
    newCache(order = null, label = -1) {
      const { width, depth } = this.config;
      const empty = () => Array.from({ length: depth }, () => new Float64Array((this.rows + 3) * width));
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

    /** Add a token that was said to what the next row will read, and to what the next code of its place is told. */
    hear(token, cache) {
      const before = (cache.read - 1) % this.codebooks;
      const said = cache.order?.[cache.read - 1] ?? cache.read - 1;
      const row = token + before * this.vocabulary;
      if (before === 0) cache.place = new Float64Array(this.config.width);
      add(cache.place, this.integers["embedding.weight"], row);
      if (cache.read % this.codebooks) add(cache.heard, this.integers[SAID], row);
      if ("places" in this.integers) add(cache.place, this.integers.places, said);
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
          const split = this.product(name + "attention.query_key_value.weight", this.normalise(x));
          this.trace?.(name + "attention.query_key_value", split);
          keys.set(split.subarray(width, 2 * width), (first + i) * width);
          values.set(split.subarray(2 * width), (first + i) * width);
          return split;
        });
        rows = rows.map((x, i) => {
          const attended = this.attend(queries[i], keys, values, cache.rows);
          this.trace?.(name + "attention", attended);
          const next = this.perceptron(this.product(name + "attention.out.weight", attended, x), name);
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
        const y = hidden[i];
        hidden[i] = y > 0 ? y - gelu[Math.min(end, rint(y / 16))] : 0 - gelu[Math.min(end, rint(-y / 16))];
      }
      this.trace?.(name + "gelu", hidden);
      return this.product(name + "down.weight", hidden, x);
    }

    logits(x, book) {
      const logits = ptb.multiply(this.heads[book], this.normalise(x), new Float64Array(this.vocabulary));
      for (let i = 0; i < logits.length; i++) logits[i] = rint(logits[i] * TO_LOGIT);
      return logits;
    }

    /** A matrix times activations, added to others where there are any: activations, saturated. */
    product(name, x, added = null) {
      const matrix = this.matrices[name];
      const sums = ptb.multiply(matrix, x, new Float64Array(matrix.rows));
      for (let i = 0; i < sums.length; i++) {
        const sum = rint(sums[i] * TO_UNIT);
        sums[i] = saturated(added === null ? sum : sum + added[i]);
      }
      return sums;
    }

    /** x · √width / √(sum of squares): a root and a quotient both rounded down. */
    normalise(x) {
      let square = this.epsilon;
      for (let i = 0; i < x.length; i++) square += x[i] * x[i];
      const factor = floored(this.rootWidth, rooted(square)) * TO_NORM;
      const out = new Float64Array(x.length);
      for (let i = 0; i < x.length; i++) out[i] = rint(x[i] * factor);
      this.trace?.("norm", out);
      return out;
    }

    /** Attention of one query over the first `count` rows of keys and values, head by head. Four rows are read at a
     *  time; those beyond `count` weigh nothing. */
    attend(query, keys, values, count) {
      const { headWidth } = this;
      const { width } = this.config;
      const attended = new Float64Array(width);
      const powers = new Float64Array(4 * Math.ceil(count / 4));
      for (let head = 0; head < width; head += headWidth) {
        for (let row = 0; row < count; row += 4) {
          let [a, b, c, d] = [0, 0, 0, 0];
          for (let i = head, p = row * width + head; i < head + headWidth; i++, p++) {
            const x = query[i];
            a += x * keys[p];
            b += x * keys[p + width];
            c += x * keys[p + 2 * width];
            d += x * keys[p + 3 * width];
          }
          powers[row] = a;
          powers[row + 1] = b;
          powers[row + 2] = c;
          powers[row + 3] = d;
        }
        const total = exponentiate(powers, count);
        for (let row = 0; row < count; row += 4) {
          const [a, b, c, d] = [powers[row], powers[row + 1], powers[row + 2], powers[row + 3]];
          if (a + b + c + d === 0) continue;
          for (let i = head, p = row * width + head; i < head + headWidth; i++, p++) {
            const sum = a * values[p] + b * values[p + width] + c * values[p + 2 * width];
            attended[i] += sum + d * values[p + 3 * width];
          }
        }
        for (let i = head; i < head + headWidth; i++) attended[i] = floored(attended[i], total);
      }
      return attended;
    }
  };

  /** The first `count` scores to exp(score - largest) in units of 2^-20, the others to 0; gives their sum. */
  function exponentiate(scores, count) {
    const { attention } = ptb.tables();
    const end = attention.length - 1;
    let most = -Infinity;
    for (let row = 0; row < count; row++) most = Math.max(most, scores[row]);
    let total = 0;
    for (let row = 0; row < count; row++) {
      scores[row] = attention[Math.min(end, rint((most - scores[row]) * TO_SCORE))];
      total += scores[row];
    }
    scores.fill(0, count);
    return total;
  }

  /** What each symbol weighs, exp(logit - largest logit) in units of 2^-36. */
  ptb.weigh = (logits) => {
    const { coding } = ptb.tables();
    let most = -Infinity;
    for (const logit of logits) if (logit > most) most = logit;
    return logits.map((logit) => coding[Math.min(coding.length - 1, most - logit)]);
  };

  /** An integer by a positive integer, rounded down. Below 2^53 what is no integer is never rounded to one: it is at
   *  least 1 / divisor away from it, and JavaScript's ÷ errs by less. (Torch's may err by more: Python corrects it.) */
  function floored(number, divisor) {
    return Math.floor(number / divisor);
  }

  /** The root of an integer below 2^53, rounded down: √ itself may round up to an integer. */
  function rooted(square) {
    const root = Math.floor(Math.sqrt(square));
    return root * root > square ? root - 1 : root;
  }

  Object.assign(ptb, { floored, rooted });

  /** How many tokens maps of these sides hold. */
  const total = (sides) => sides.reduce((sum, side) => sum + side * side, 0);

  /** Which token each row of a scale reads: its parent, the cell above it one scale coarser; the first reads none. */
  function parents(sides, scale) {
    if (scale === 0) return [-1];
    const [side, coarser] = [sides[scale], sides[scale - 1]];
    const first = total(sides.slice(0, scale - 1));
    const above = (cell) => Math.floor((cell * coarser) / side);
    const parent = (row, column) => first + above(row) * coarser + above(column);
    return Array.from({ length: side * side }, (_, i) => parent(Math.floor(i / side), i % side));
  }

})((globalThis.ptb ??= {}));
