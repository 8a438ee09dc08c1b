// A prior's weights as the integers of its twin, and the digest that names them (a part of arlib/fixedpoint.py).
"use strict";
((ptb) => {
  const EXACT = 9007199254740992; // 2^53: float64 holds every integer up to here
  const LARGEST = (1 << 22) - 1; // where activations, in units of 2^-14, saturate
  const UNIT = 1 << 14;
  const FINE = 1 << 24; // weights are rounded to units of 2^-24 first,
  const SCALE = 1 << 22; // multiplied by a scale in units of 2^-22,
  const TO_WEIGHT = 1 / (1 << 30); // and rounded to units of 2^-16
  const ADDED = ["start", "embedding.weight", "positions", "classes", "places"]; // of which a prior's input is a sum
  const SAID = "speaker.said.weight";
  const { rint } = ptb;

  ptb.LARGEST = LARGEST;
  ptb.isMatrix = (name) => !ADDED.includes(name) && name !== SAID;

  /** The root of a BigInt, rounded down. */
  function wholeRoot(square) {
    let root = BigInt(Math.floor(Math.sqrt(Number(square))));
    while (root * root > square) root--;
    while ((root + 1n) * (root + 1n) <= square) root++;
    return root;
  }

  /** Refuse a prior where a part of a sum could reach the limit. */
  function bound(name, largest, limit = EXACT) {
    if (largest < limit) return;
    const words = [Math.floor(largest), limit].map((number) => number.toLocaleString("en-US"));
    throw new ptb.CodecError(
      `This prior has no twin: ${name} could reach ${words[0]}, and must stay below ${words[1]}. ` +
        "Its weights are too large, or it is too wide or too long.",
    );
  }

  /** The numbers of a norm and of the attention that depend on the prior's sizes alone. */
  ptb.twinSizes = ({ width, heads, length, codebooks = 1 }) => {
    const sizes = {
      rows: length / codebooks,
      headWidth: width / heads,
      epsilon: Number((BigInt(width) << 28n) / 100000n), // the prior's 1e-5, as part of a sum of squares
      rootWidth: Number(wholeRoot(BigInt(width) << 96n)),
    };
    bound("squares in a norm", width * LARGEST * LARGEST + sizes.epsilon);
    bound("normalized values", sizes.rootWidth + Math.sqrt(width) * LARGEST + 2);
    bound("differences of scores", 2 * sizes.headWidth * LARGEST * LARGEST);
    bound("attended values", length * (1 << 20) * LARGEST);
    return sizes;
  };

  /** A prior's weights as integers, by name `{shape, data}`: what an input is a sum of as activations, then the
   *  matrices, with the gain of the norm before them and, in the rows that make the query, 1/√head_width. Throws
   *  `CodecError` for a prior that has no twin. */
  ptb.integersOf = ({ config, weights }) => {
    const integers = {};
    const added = ADDED.filter((name) => name in weights);
    const terms = Math.max("positions" in weights && added.length > 3 ? 3 : 2, (config.codebooks ?? 1) + 1);
    for (const name of [...added, SAID].filter((each) => each in weights)) {
      const { shape, data } = weights[name];
      integers[name] = { shape, data: data.map((x) => rint(x * UNIT)) };
      const largest = integers[name].data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      bound(name, terms * largest, LARGEST + 1);
    }
    const { headWidth } = ptb.twinSizes(config);
    for (const name of Object.keys(weights)) {
      if (!(name in integers) && !name.includes("norm")) integers[name] = matrixOf(weights, name, headWidth);
    }
    return integers;
  };

  function matrixOf(weights, name, headWidth) {
    const norm = name
      .replace("attention.query_key_value", "attention_norm")
      .replace("up", "mlp_norm")
      .replace("head", "norm");
    const { shape, data } = weights[name];
    const [rows, columns] = shape;
    const gains = norm === name ? null : weights[norm].data;
    const narrow = Number(wholeRoot((1n << 44n) / BigInt(headWidth)));
    const integers = new Float64Array(data.length);
    for (let row = 0; row < rows; row++) {
      const scale = name.includes("query") && row < Math.floor(rows / 3) ? narrow : SCALE;
      let sum = 0;
      for (let i = row * columns; i < (row + 1) * columns; i++) {
        const fine = rint(data[i] * (gains ? gains[i - row * columns] : 1) * FINE);
        bound(name, Math.abs(fine) * SCALE);
        integers[i] = rint(fine * scale * TO_WEIGHT);
        sum += Math.abs(integers[i]);
      }
      bound(name, sum * LARGEST);
    }
    return { shape, data: integers };
  }

  /** The SHA-256 of all that fixes the frequencies, as `Twin.digest` of the Python library has it. */
  ptb.digestOf = (config, integers) => {
    const tables = Object.entries(ptb.tables()).map(([name, data]) => [name, { shape: [data.length], data }]);
    const all = [...tables, ...Object.entries(integers)].sort(([one], [other]) => (one < other ? -1 : 1));
    const parts = [text(`arlib.fixedpoint, rule 1: ${python(config)}`)];
    for (const [name, { shape, data }] of all) {
      parts.push(text(`\n${name} [${shape.join(", ")}]: `), eightBytes(data));
    }
    return ptb.hex(ptb.sha256(parts));
  };

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
