// Sampling: new tokens from a prior (arlib/sampling.py, chapter 8). A seed gives the same random numbers as in PyTorch.
"use strict";
((ptb) => {
  const SIZE = 624;
  const MIDDLE = 397;

  /** PyTorch's generator on the CPU, the Mersenne Twister (Matsumoto and Nishimura 1998): `rand` is its `torch.rand`,
   *  a number in [0, 1) of 24 bits. */
  ptb.Generator = class Generator {
    constructor(seed = 0) {
      this.state = new Uint32Array(SIZE);
      this.state[0] = seed;
      for (let i = 1; i < SIZE; i++) {
        const before = this.state[i - 1];
        this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
      }
      this.next = SIZE;
    }

    rand() {
      if (this.next === SIZE) this.twist();
      let y = this.state[this.next++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      y ^= y >>> 18;
      return (y & 0xffffff) / 16777216;
    }

    twist() {
      const { state } = this;
      for (let i = 0; i < SIZE; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
        state[i] = state[(i + MIDDLE) % SIZE] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.next = 0;
    }
  };

  /** The distribution to draw from: a twin's logits `(V,)` to probabilities. First the temperature divides, then
   *  `topK` keeps the k most probable tokens, and more only where the k-th ties with others. */
  ptb.probabilities = (logits, temperature = 1, topK = null) => {
    let most = -Infinity;
    for (const logit of logits) if (logit > most) most = logit;
    let shares = Float64Array.from(logits, (logit) => {
      const below = (most - logit) / (1024 * temperature);
      return below < 700 ? ptb.exp(-below) : 0;
    });
    shares = scaled(shares);
    if (topK === null || topK >= shares.length) return shares;
    const least = shares.slice().sort()[shares.length - topK];
    return scaled(shares.map((share) => (share < least ? 0 : share)));
  };

  function scaled(shares) {
    let sum = 0;
    for (const share of shares) sum += share;
    return shares.map((share) => share / sum);
  }

  /** The token whose interval a number in [0, 1) falls into. */
  ptb.draw = (shares, uniform) => {
    let sum = 0;
    const ends = shares.map((share) => (sum += share));
    return ends.findIndex((end) => end > uniform * sum);
  };

  /** Raise `CodecError` for settings that make no distribution. */
  ptb.checkSettings = (temperature, topK) => {
    if (!(temperature > 0 && temperature < Infinity)) {
      throw new ptb.CodecError(
        `The temperature is a number above 0, not ${temperature}. For the greedy choice use top_k=1.`,
      );
    }
    if (topK !== null && !(topK >= 1)) throw new ptb.CodecError(`top_k is at least 1, not ${topK}.`);
  };
})((globalThis.ptb ??= {}));
