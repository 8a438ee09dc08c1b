// The range coder: symbols become bytes, in almost as many bits as their probabilities ask for (arlib/rangecoder.py,
// chapter 10). The interval is [low, low + range), in units of 2^-64: BigInt, which is fast enough for a few thousand
// symbols.
"use strict";
((ptb) => {
  const MAX_TOTAL = 1 << 24;
  const FULL = 1n << 64n;
  const LEAST = 1n << 56n;
  const MASK = FULL - 1n;
  const LIMB = 1 << 20;

  ptb.MAX_TOTAL = MAX_TOTAL;

  /** Weights (integers below 2^39, not all 0) to cumulative frequencies `(V + 1,)`: each symbol gets one count and its
   *  share, rounded down, of those that are left; what rounding leaves over goes to the first of the largest. */
  ptb.cumulate = (weights) => {
    const size = weights.length;
    const shared = MAX_TOTAL - size;
    let sum = 0;
    let largest = 0;
    for (let i = 0; i < size; i++) {
      sum += weights[i];
      if (weights[i] > weights[largest]) largest = i;
    }
    const counts = new Float64Array(size);
    let given = 0;
    for (let i = 0; i < size; i++) given += counts[i] = 1 + quotient(weights[i], shared, sum);
    counts[largest] += MAX_TOTAL - given;
    const cumulative = new Float64Array(size + 1);
    for (let i = 0; i < size; i++) cumulative[i + 1] = cumulative[i] + counts[i];
    return cumulative;
  };

  /** weight · shared / sum rounded down, where the product may reach 2^63: a proposal by floats, which the remainder,
   *  in two limbs, accepts or corrects. */
  function quotient(weight, shared, sum) {
    const proposed = Math.floor((weight * shared) / sum);
    const high = Math.floor(weight / LIMB);
    const sumHigh = Math.floor(sum / LIMB);
    const low = weight - high * LIMB;
    const sumLow = sum - sumHigh * LIMB;
    const remainder = (high * shared - sumHigh * proposed) * LIMB + (low * shared - sumLow * proposed);
    return proposed + (remainder < 0 ? -1 : remainder >= sum ? 1 : 0);
  }

  /** Where in a range a symbol's part begins, and how wide it is; the last symbol gets what the division left over. */
  function part(range, symbol, cumulative) {
    const total = cumulative[cumulative.length - 1];
    const count = range / BigInt(total);
    const start = count * BigInt(cumulative[symbol]);
    const end = cumulative[symbol + 1];
    return [start, end < total ? count * BigInt(end - cumulative[symbol]) : range - start];
  }

  /** Narrows the interval symbol by symbol, and collects the bytes that are as good as known. */
  ptb.Encoder = class Encoder {
    constructor() {
      this.low = 0n;
      this.range = FULL;
      this.shifted = [];
    }

    encode(symbol, cumulative) {
      const [start, width] = part(this.range, symbol, cumulative);
      this.low += start;
      this.range = width;
      if (this.low >= FULL) {
        this.low -= FULL;
        carry(this.shifted);
      }
      while (this.range < LEAST) {
        this.shifted.push(Number(this.low >> 56n));
        this.low = (this.low << 8n) & MASK;
        this.range <<= 8n;
      }
    }

    /** -log2 of the interval's width, for reports. */
    get bits() {
      return 64 + 8 * this.shifted.length - Math.log2(Number(this.range));
    }

    /** The fewest bytes that, followed by zeros for ever, are a fraction inside the interval. */
    finish() {
      const payload = this.shifted.slice();
      if (this.low > 0n && this.low + this.range > FULL) carry(payload);
      else if (this.low > 0n) payload.push(Number((this.low + LEAST - 1n) >> 56n));
      while (payload[payload.length - 1] === 0) payload.pop();
      return Uint8Array.from(payload);
    }
  };

  function carry(digits) {
    let position = digits.length - 1;
    while (digits[position] === 255) digits[position--] = 0;
    digits[position]++;
  }

  /** Follows the encoder's intervals; past the payload's end it reads zeros. */
  ptb.Decoder = class Decoder {
    constructor(payload) {
      this.payload = payload;
      this.range = FULL;
      this.shifts = 0;
      this.offset = 0n;
      for (let i = 0; i < 8; i++) this.offset = (this.offset << 8n) | BigInt(payload[i] ?? 0);
    }

    decode(cumulative) {
      const total = cumulative[cumulative.length - 1];
      const count = Math.min(Number(this.offset / (this.range / BigInt(total))), total - 1);
      let symbol = 0;
      for (let end = cumulative.length - 1; end - symbol > 1; ) {
        const middle = (symbol + end) >> 1;
        if (cumulative[middle] <= count) symbol = middle;
        else end = middle;
      }
      const [start, width] = part(this.range, symbol, cumulative);
      this.offset -= start;
      this.range = width;
      while (this.range < LEAST) {
        this.offset = (this.offset << 8n) | BigInt(this.payload[this.shifts + 8] ?? 0);
        this.range <<= 8n;
        this.shifts++;
      }
      return symbol;
    }

    /** Whether the payload is the one that `Encoder.finish` gives for these symbols, as far as can be told. */
    finish() {
      const { payload, offset, range } = this;
      const last = payload.length ? payload[payload.length - 1] : 1;
      const added = payload.length - this.shifts;
      const one = added === 1 && offset < LEAST && range <= offset + BigInt(256 - last) * LEAST;
      return last !== 0 && (added <= 0 || one);
    }
  };
})((globalThis.ptb ??= {}));
