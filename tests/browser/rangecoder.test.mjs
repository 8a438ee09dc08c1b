// The range coder by itself: its frequencies against exact fractions, and symbols that come back.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ptb } from "../../arlib/browser/ptb.mjs";

const TOTAL = 1 << 24;

/** Numbers that look random, the same each time (the shuffle's generator of arlib/orders.py). */
function* lots(seed = 1) {
  for (let state = seed; ; ) {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** A table of `size` weights below 2^36, most of them small. */
function tableOf(size, next) {
  return Float64Array.from({ length: size }, () => Math.floor(2 ** (36 * next.next().value)));
}

/** What arlib/rangecoder.py makes of weights, in whole numbers of any size. */
function exact(weights) {
  const sum = weights.reduce((total, weight) => total + BigInt(weight), 0n);
  const shared = BigInt(TOTAL - weights.length);
  const counts = Array.from(weights, (weight) => 1 + Number((BigInt(weight) * shared) / sum));
  const given = counts.reduce((total, count) => total + count, 0);
  counts[weights.indexOf(Math.max(...weights))] += TOTAL - given;
  return counts;
}

test("frequencies are those of exact fractions, for weights whose product passes 2^53", () => {
  const next = lots();
  for (const size of [1, 2, 3, 16, 1024, 5000]) {
    for (let i = 0; i < 20; i++) {
      const weights = tableOf(size, next);
      if (i === 0) weights.fill(2 ** 36); // all alike
      if (i === 1) weights.fill(0).fill(2 ** 36, size - 1); // the last alone
      const cumulative = ptb.cumulate(weights);
      assert.equal(cumulative[size], TOTAL);
      assert.deepEqual(Array.from(weights, (_, symbol) => cumulative[symbol + 1] - cumulative[symbol]), exact(weights));
    }
  }
});

/** 1 / x modulo an integer that has no factor in common with it. */
function inverse(x, modulus) {
  let [a, b, u, v] = [x % modulus, modulus, 1n, 0n];
  while (a > 1n) [a, b, u, v] = [b % a, a, v - (b / a) * u, u];
  return ((u % modulus) + modulus) % modulus;
}

test("a quotient that floats would round up is rounded down", () => {
  let rounded = 0;
  for (let sum = 2 ** 38 + 1; sum < 2 ** 38 + 2000; sum += 2) {
    const shared = BigInt(TOTAL - 2);
    if (gcd(shared, BigInt(sum)) > 1n) continue;
    const weight = Number(BigInt(sum) - inverse(shared, BigInt(sum))); // one less than a multiple of the sum
    const weights = Float64Array.of(weight, sum - weight);
    rounded += Math.floor((weight * (TOTAL - 2)) / sum) > Number((BigInt(weight) * shared) / BigInt(sum));
    const cumulative = ptb.cumulate(weights);
    assert.deepEqual([cumulative[1], TOTAL - cumulative[1]], exact(weights));
  }
  assert.ok(rounded > 100);
});

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

test("symbols come back, in no more bytes than their probabilities ask for", () => {
  const next = lots(2);
  for (const size of [1, 2, 7, 1024]) {
    const tables = Array.from({ length: 300 }, () => ptb.cumulate(tableOf(size, next)));
    // Often the last symbol, which gets what the division leaves over, and often an improbable one, which carries.
    const symbols = tables.map(() => (next.next().value < 0.3 ? size - 1 : Math.floor(next.next().value * size)));
    const encoder = new ptb.Encoder();
    symbols.forEach((symbol, i) => encoder.encode(symbol, tables[i]));
    const payload = encoder.finish();
    const bits = symbols.reduce((sum, symbol, i) => sum + 24 - Math.log2(tables[i][symbol + 1] - tables[i][symbol]), 0);
    assert.ok(payload.length <= Math.ceil((bits + 0.01) / 8), `${payload.length} bytes for ${bits} bits`);
    const decoder = new ptb.Decoder(payload);
    assert.deepEqual(tables.map((table) => decoder.decode(table)), symbols);
    assert.ok(decoder.finish());
  }
});

test("a payload with bytes added is told, and nothing is read past the end of one that is cut", () => {
  const table = ptb.cumulate(Float64Array.of(3, 1, 5, 2));
  const encoder = new ptb.Encoder();
  const symbols = Array.from({ length: 100 }, (_, i) => (i * i) % 4);
  symbols.forEach((symbol) => encoder.encode(symbol, table));
  const payload = encoder.finish();
  for (const bytes of [[...payload, 0], [...payload, 7], [...payload, 1, 2, 3]]) {
    const decoder = new ptb.Decoder(Uint8Array.from(bytes));
    symbols.forEach(() => decoder.decode(table));
    assert.ok(!decoder.finish());
  }
  for (let length = 0; length < payload.length; length++) {
    const decoder = new ptb.Decoder(payload.subarray(0, length));
    symbols.forEach(() => assert.ok(decoder.decode(table) < 4));
  }
});
