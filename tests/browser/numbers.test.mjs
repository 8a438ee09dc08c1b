// Numbers: tables, functions made of + - × ÷ √, hashes and checksums, against those of Node; and the range coder's edges.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { test } from "node:test";
import zlib from "node:zlib";

import { ptb } from "../../arlib/browser/ptb.mjs";

const bytes = (length) => Uint8Array.from({ length }, (_, i) => (i * i * 31 + 7 * i) % 256);

test("the tables are exp and GELU, rounded, and end with their first 0", () => {
  const { attention, coding, gelu } = ptb.tables();
  assert.deepEqual([attention, coding, gelu].map(({ length }) => length), [14907, 26263, 4449]);
  for (const [table, bits] of [[attention, 20], [coding, 36]]) {
    table.forEach((entry, n) => assert.ok(Math.abs(entry - Math.exp(-n / 1024) * 2 ** bits) <= 0.5 + 1e-4, `${n}`));
    assert.equal(table.indexOf(0), table.length - 1);
  }
  gelu.forEach((entry, n) => assert.ok(Math.abs(entry - (n / 1024 - ptb.gelu(n / 1024)) * 16384) <= 0.5 + 1e-4, `${n}`));
});

test("exp and the sine are as good as the browser's own", () => {
  for (let i = -2000; i <= 2000; i++) {
    const x = i * 0.3456789;
    if (Math.abs(x) < 690) assert.ok(Math.abs(ptb.exp(x) / Math.exp(x) - 1) < 1e-13, `exp(${x})`);
    assert.ok(Math.abs(ptb.sinPi(i / 333) - Math.sin((i / 333) * Math.PI)) < 1e-13, `sin(π · ${i / 333})`);
  }
});

test("decay is exp of the 1024ths below 0, and 0 where no number is left", () => {
  for (const n of [0, 1, 1023, 1024, 1025, 5000, 26262, 123456, 700 * 1024 - 1]) {
    assert.ok(Math.abs(ptb.decay(n) / Math.exp(-n / 1024) - 1) < 1e-13, `decay(${n})`);
  }
  assert.equal(ptb.decay(700 * 1024), 0);
  assert.equal(ptb.decay(2 ** 40), 0);
});

test("GELU is x · Φ(x), without steps between the entries of its table", () => {
  const density = (t) => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
  for (const x of [-8.5, -7.03, -5.3, -2.007, -1.0001, -0.0078, 0, 0.0078124, 0.5, 1.23456, 3.3, 7.01, 12]) {
    let below = 0.5; // Simpson's rule
    const step = x / 2000;
    for (let i = 0; i < 2000; i += 2) {
      below += (step / 3) * (density(i * step) + 4 * density((i + 1) * step) + density((i + 2) * step));
    }
    assert.ok(Math.abs(ptb.gelu(x) - x * below) < 1e-11, `${x}: ${ptb.gelu(x)} and not ${x * below}`);
  }
});

test("rint goes to the nearest integer, and to the even one from halfway", () => {
  const cases = [[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, 0], [-1.5, -2], [2.4999, 2], [-2.51, -3], [1e15 + 0.5, 1e15]];
  for (const [x, rounded] of cases) assert.equal(ptb.rint(x) + 0, rounded);
});

test("roots are rounded down where √ rounds up to an integer, and quotients as BigInt's", () => {
  let corrected = 0;
  for (let root = 94906265; root > 94906265 - 1000; root--) {
    const square = root * root - 1; // below 2^53, where the nearest float64 to its root is the integer above
    assert.equal(ptb.rooted(square), root - 1);
    assert.equal(ptb.rooted(root * root), root);
    corrected += Math.floor(Math.sqrt(square)) === root;
  }
  for (let divisor = 3; divisor < 2000; divisor += 2) {
    const number = 2 ** 53 - 1 - ((2 ** 53 - 1) % divisor) - 1; // one less than a multiple
    for (const each of [number, number + 1, -number, -number - 1]) {
      const [whole, parts] = [BigInt(each), BigInt(divisor)];
      const right = Number((whole - (((whole % parts) + parts) % parts)) / parts);
      assert.equal(ptb.floored(each, divisor), right, `${each} / ${divisor}`);
    }
  }
  assert.ok(corrected > 10, "nothing was corrected, so that nothing is shown");
});

test("SHA-256 and CRC-32 are Node's, of whatever length and however cut", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const whole = bytes(length);
    const sha = crypto.createHash("sha256").update(whole).digest("hex");
    for (const cut of [0, 1, Math.floor(length / 2), length]) {
      assert.equal(ptb.hex(ptb.sha256([whole.subarray(0, cut), whole.subarray(cut)])), sha);
    }
    if (zlib.crc32) assert.equal(ptb.crc32(whole), zlib.crc32(whole));
  }
  assert.equal(ptb.crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

/** Pairs of weights of which the share of the first is a hair below an integer: float64 alone takes it for that one. */
function almostEven() {
  const pairs = [];
  const shared = 2n ** 24n - 2n;
  for (let sum = 2n ** 38n + 1n; pairs.length < 100; sum += 2n) {
    let [a, b, inverse, next] = [sum, shared, 0n, 1n]; // Euclid's algorithm
    while (b) [a, b, inverse, next] = [b, a % b, next, inverse - (a / b) * next];
    const weight = (((-inverse % sum) + sum) % sum) * a; // weight · shared = -1 modulo sum
    if (a === 1n) pairs.push([Number(weight), Number(sum - weight)]);
  }
  return pairs;
}

test("frequencies sum to 2^24, are at least 1, and are BigInt's", () => {
  const rows = [...almostEven(), [1], [1, 1, 1], [2 ** 36, 0, 0, 1], bytes(1000), Array.from(bytes(4096), (x) => x * x * x * 4096 + 1)];
  for (const weights of rows) {
    const table = ptb.cumulate(Float64Array.from(weights));
    const shared = BigInt(2 ** 24 - weights.length);
    const sum = weights.reduce((total, weight) => total + BigInt(weight), 0n);
    const counts = Array.from(weights, (weight) => 1 + Number((BigInt(weight) * shared) / sum));
    counts[weights.indexOf(Math.max(...weights))] += 2 ** 24 - counts.reduce((total, count) => total + count, 0);
    assert.deepEqual(Array.from(weights, (_, i) => table[i + 1] - table[i]), counts);
    assert.equal(table[weights.length], 2 ** 24);
  }
});

test("what the range coder wrote comes back: improbable symbols, carries, nothing at all", () => {
  const tables = [
    [0, 1, 2 ** 24],
    [0, 2 ** 24 - 1, 2 ** 24],
    [0, 1, 2, 3],
    [0, 7],
    Array.from({ length: 1025 }, (_, i) => i * 16384),
  ];
  let state = 1;
  const chance = (below) => Math.floor(((state = (state * 48271) % 2147483647) / 2147483647) * below);
  for (let message = 0; message < 300; message++) {
    const chosen = Array.from({ length: chance(60) }, () => tables[chance(tables.length)]);
    const symbols = chosen.map((table) => chance(table.length - 1));
    const encoder = new ptb.Encoder();
    symbols.forEach((symbol, i) => encoder.encode(symbol, chosen[i]));
    const payload = encoder.finish();
    const decoder = new ptb.Decoder(payload);
    assert.deepEqual(chosen.map((table) => decoder.decode(table)), symbols);
    assert.ok(decoder.finish());
    assert.ok(payload.length <= Math.ceil((encoder.bits + 0.01) / 8)); // arlib/rangecoder.py proves it
    const longer = new ptb.Decoder(Uint8Array.from([...payload, 0]));
    chosen.forEach((table) => longer.decode(table));
    assert.ok(!longer.finish());
  }
});
