// Weights files: a header in JSON, and numbers of 16 bits (arlib/checkpoints.py); and the SHA-256 that names them.
"use strict";
((ptb) => {
  /** What cannot be read, coded or decoded; the message says why, in the words of the Python library. */
  ptb.CodecError = class CodecError extends Error {};

  /** A weights file `Uint8Array`: `{kind, config, …}` of its header, `weights` by name `{shape, data: Float64Array}`,
   *  and its `sha256()`. Throws `CodecError` for a file that is damaged or that arlib did not write. */
  ptb.readWeights = (bytes, path = "The file") => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const damaged = (why) => new ptb.CodecError(`${path} is damaged or is no safetensors file: ${why}.`);
    const size = bytes.length < 8 ? NaN : Number(view.getBigUint64(0, true));
    if (!(size <= bytes.length - 8)) throw damaged("it ends in its header");
    let header;
    try {
      header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + size)));
    } catch {
      throw damaged("its header is no JSON");
    }
    const { __metadata__: metadata = {}, ...tensors } = header;
    if (!("arlib" in metadata)) {
      throw new ptb.CodecError(`${path} is a safetensors file, but not one that arlib wrote.`);
    }
    const weights = {};
    for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(tensors)) {
      const [first, end] = offsets.map((offset) => 8 + size + offset);
      const count = shape.reduce((product, side) => product * side, 1);
      if (dtype !== "F16" || end > bytes.length || end - first !== 2 * count) throw damaged(`${name} is cut or no F16`);
      weights[name] = { shape, data: floats(view, first, count) };
    }
    return { ...JSON.parse(metadata.arlib), weights, sha256: () => ptb.hex(ptb.sha256([bytes])) };
  };

  /** What each of the 65,536 numbers of 16 bits (IEEE 754 binary16) is. */
  const HALVES = new Float64Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const digits = bits & 1023;
    let size = exponent ? 1024 + digits : digits; // in units of 2^-24, doubled for each exponent above 1
    for (let e = 1; e < exponent; e++) size *= 2;
    const value = exponent === 31 ? (digits ? NaN : Infinity) : size / 16777216;
    HALVES[bits] = bits & 0x8000 ? -value : value;
  }

  function floats(view, first, count) {
    const data = new Float64Array(count);
    for (let i = 0; i < count; i++) data[i] = HALVES[view.getUint16(first + 2 * i, true)];
    return data;
  }

  /** The first 32 binary places of the cube roots (or, by `square`, of the square roots) of the first primes. */
  function roots(count, square) {
    const places = [];
    for (let prime = 2n; places.length < count; prime++) {
      if (smallestFactor(prime) !== prime) continue;
      const wanted = prime << (square ? 64n : 96n);
      let root = 0n;
      for (let bit = 1n << 40n; bit > 0n; bit >>= 1n) {
        const larger = root + bit;
        if ((square ? larger * larger : larger * larger * larger) <= wanted) root = larger;
      }
      places.push(Number(root & 0xffffffffn));
    }
    return Int32Array.from(places, (place) => place | 0);
  }

  function smallestFactor(number) {
    let factor = 2n;
    while (number % factor) factor++;
    return factor;
  }

  const CONSTANTS = roots(64, false);
  const START = roots(8, true);

  /** The SHA-256 (FIPS 180-4) of some `Uint8Array`s, one after the other: 32 bytes. */
  ptb.sha256 = (parts) => {
    const state = START.slice();
    const block = new Uint8Array(64);
    let filled = 0;
    let length = 0;
    const add = (bytes) => {
      for (let read = 0; read < bytes.length; ) {
        const taken = Math.min(64 - filled, bytes.length - read);
        block.set(bytes.subarray(read, read + taken), filled);
        read += taken;
        filled += taken;
        if (filled === 64) {
          mix(state, block);
          filled = 0;
        }
      }
      length += bytes.length;
    };
    parts.forEach(add);
    const bits = 8 * length;
    add(Uint8Array.of(0x80, ...new Uint8Array((119 - filled) % 64)));
    const end = new DataView(new ArrayBuffer(8));
    end.setUint32(0, Math.floor(bits / 4294967296));
    end.setUint32(4, bits % 4294967296);
    add(new Uint8Array(end.buffer));
    const digest = new DataView(new ArrayBuffer(32));
    state.forEach((word, i) => digest.setInt32(4 * i, word));
    return new Uint8Array(digest.buffer);
  };

  const words = new Int32Array(64);
  const turn = (x, by) => (x >>> by) | (x << (32 - by));

  function mix(state, block) {
    for (let i = 0; i < 16; i++) {
      words[i] = (block[4 * i] << 24) | (block[4 * i + 1] << 16) | (block[4 * i + 2] << 8) | block[4 * i + 3];
    }
    for (let i = 16; i < 64; i++) {
      const x = words[i - 15];
      const y = words[i - 2];
      const small = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
      words[i] = words[i - 16] + small + words[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const first = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + CONSTANTS[i] + words[i]) | 0;
      const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => {
      state[i] += value;
    });
  }

  ptb.hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
})((globalThis.ptb ??= {}));
