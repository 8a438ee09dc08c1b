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
  const AHEAD = 32; // how many rows that are known ahead go through the blocks together
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
      const { depth, heads } = this.config;
      const each = (make) => Array.from({ length: depth }, () => Array.from({ length: heads }, make));
      const keys = each(() => ptb.emptyMatrix(this.rows, this.headWidth)); // float32 holds activations
      const values = each(() => ptb.emptyMatrix(this.headWidth, this.rows));
      return { keys, values, rows: 0, read: 0, order, label, heard: null };
    }

    /** The logits of the next tokens, integers in units of 2^-10, an array `(V,)` for each: all of the next scale for a
     *  prior of scales, else one, or up to AHEAD where more tokens are known than were read. `tokens` are in
     *  reading order, and the first `known` of them are known. */
    ask(tokens, cache, known = cache.read) {
      if (this.codebooks > 1) return [this.say(tokens, cache)];
      const { scales } = this.config;
      const first = cache.read;
      const ahead = Math.min(known - first + 1, AHEAD, this.length - first);
      const sources = scales ? parents(scales, first) : Array.from({ length: ahead }, (_, i) => first + i - 1);
      const rows = sources.map((source, i) => this.row(first + i, source, tokens, cache));
      cache.read += rows.length;
      return this.logits(this.pass(rows, cache), 0);
    }

    /** The logits of the next token where each place has several: its row, and what is said there. */
    say(tokens, cache) {
      const [place, book] = [Math.floor(cache.read / this.codebooks), cache.read % this.codebooks];
      if (book === 0) [cache.heard] = this.pass([this.row(place, place - 1, tokens, cache)], cache);
      else add(cache.heard, this.integers[SAID], tokens[cache.read - 1] + (book - 1) * this.vocabulary);
      cache.read++;
      return this.logits(this.perceptron([cache.heard.map(saturated)], "speaker."), book)[0];
    }

    /** What the row of a place reads: the tokens of another, its source, or the start where that is -1. */
    row(place, source, tokens, { order, label }) {
      const { "embedding.weight": embedding, places, positions } = this.integers;
      const x = source < 0 ? this.start(label) : new Float64Array(this.config.width);
      for (let book = 0; source >= 0 && book < this.codebooks; book++) {
        add(x, embedding, tokens[source * this.codebooks + book] + book * this.vocabulary);
      }
      if (source >= 0 && places) add(x, places, order?.[source] ?? source);
      if (positions) add(x, positions, order?.[place] ?? place);
      return x;
    }

    start(label) {
      const x = new Float64Array(this.config.width);
      add(x, this.integers.start);
      if (label >= 0) add(x, this.integers.classes, label);
      return x;
    }

    /** New rows (vectors) through all blocks. Each looks at itself and those before it, and at all of its scale for a
     *  prior of scales. */
    pass(rows, cache) {
      const { width, depth, scales } = this.config;
      const first = cache.rows;
      cache.rows += rows.length;
      const seen = rows.map((_, i) => (scales ? cache.rows : first + i + 1));
      for (let block = 0; block < depth; block++) {
        const name = `blocks.${block}.`;
        const [keys, values] = [cache.keys[block], cache.values[block]];
        const queries = this.product(name + "attention.query_key_value.weight", this.normalized(rows));
        queries.forEach((split, i) => {
          this.trace?.(name + "attention.query_key_value", split);
          const from = (at, head) => split.subarray(at + head * this.headWidth);
          keys.forEach((key, head) => ptb.setRow(key, first + i, from(width, head)));
          values.forEach((value, head) => ptb.setColumn(value, first + i, from(2 * width, head)));
        });
        const attended = this.attend(queries, keys, values, seen);
        attended.forEach((x) => this.trace?.(name + "attention", x));
        rows = this.perceptron(this.product(name + "attention.out.weight", attended, rows), name);
        rows.forEach((x) => this.trace?.(name, x));
      }
      return rows;
    }

    /** Rows, and what a block's perceptron, or the speaker's, adds to them. */
    perceptron(rows, name) {
      const { gelu } = ptb.tables();
      const end = gelu.length - 1;
      const hidden = this.product(name + "up.weight", this.normalized(rows));
      for (const row of hidden) {
        for (let i = 0; i < row.length; i++) {
          const y = row[i];
          row[i] = y > 0 ? y - gelu[Math.min(end, rint(y / 16))] : 0 - gelu[Math.min(end, rint(-y / 16))];
        }
        this.trace?.(name + "gelu", row);
      }
      return this.product(name + "down.weight", hidden, rows);
    }

    logits(rows, book) {
      const logits = ptb.multiplyAll(this.heads[book], this.normalized(rows));
      for (const row of logits) for (let i = 0; i < row.length; i++) row[i] = rint(row[i] * TO_LOGIT);
      return logits;
    }

    /** A matrix times each row of activations, added to other rows where there are any: activations, saturated. */
    product(name, rows, added = null) {
      return ptb.multiplyAll(this.matrices[name], rows).map((sums, row) => {
        for (let i = 0; i < sums.length; i++) {
          const sum = rint(sums[i] * TO_UNIT);
          sums[i] = saturated(added === null ? sum : sum + added[row][i]);
        }
        return sums;
      });
    }

    normalized(rows) {
      return rows.map((row) => this.normalize(row));
    }

    /** x · √width / √(sum of squares): a root and a quotient both rounded down. */
    normalize(x) {
      let square = this.epsilon;
      for (let i = 0; i < x.length; i++) square += x[i] * x[i];
      const factor = floored(this.rootWidth, rooted(square)) * TO_NORM;
      const out = new Float64Array(x.length);
      for (let i = 0; i < x.length; i++) out[i] = rint(x[i] * factor);
      this.trace?.("norm", out);
      return out;
    }

    /** Attention of each query over the first keys and values; `seen` says how many. Keys and values are a matrix for
     *  each head: the keys are its rows, the values its columns. */
    attend(queries, keys, values, seen) {
      const attended = queries.map(() => new Float64Array(this.config.width));
      const most = seen[seen.length - 1];
      keys.forEach((key, number) => {
        const head = number * this.headWidth;
        const parts = queries.map((query) => query.subarray(head, head + this.headWidth));
        const powers = ptb.multiplyAll({ ...key, rows: most }, parts);
        const totals = powers.map((scores, i) => exponentiate(scores, seen[i]));
        ptb.multiplyAll({ ...values[number], columns: most }, powers).forEach((sums, i) => {
          for (let j = 0; j < sums.length; j++) attended[i][head + j] = floored(sums[j], totals[i]);
        });
      });
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

  /** Which token each row of a scale reads: its parent, the cell above it one scale coarser; the first reads none. The
   *  scale is that which begins with token `first`. */
  function parents(sides, first) {
    if (first === 0) return [-1];
    const scale = sides.findIndex((_, i) => first === total(sides.slice(0, i)));
    const [side, coarser] = [sides[scale], sides[scale - 1]];
    const above = (cell) => Math.floor((cell * coarser) / side);
    const parent = (row, column) => first - coarser * coarser + above(row) * coarser + above(column);
    return Array.from({ length: side * side }, (_, i) => parent(Math.floor(i / side), i % side));
  }
})((globalThis.ptb ??= {}));
