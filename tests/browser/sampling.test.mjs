// What is drawn: with the same seed the same tokens as in Python, and numbers that PyTorch's generator gives.
import assert from "node:assert/strict";
import { test } from "node:test";

import { loadCodec, ptb } from "../../arlib/browser/ptb.mjs";
import { cases } from "./shared.mjs";

for (const { codec, settings, tokens, drawn } of cases("sampled.json")) {
  test(`${codec} says the same tokens as in Python: ${JSON.stringify(settings)}`, () => {
    const model = loadCodec(codec);
    const sample = model.sample({ ...settings, tokens: Int32Array.from(tokens) });
    assert.deepEqual(Array.from(sample.tokens), drawn);
    assert.deepEqual(sample.picture, model.paint(sample.tokens));
    assert.ok(sample.bits.every((bits) => bits >= 0 && bits < 40));
  });
}

test("the first numbers of seed 0 are torch.rand's", () => {
  const generator = new ptb.Generator(0);
  const numbers = Array.from({ length: 3 }, () => generator.rand());
  assert.deepEqual(numbers.map(Math.fround), [0.49625658988952637, 0.7682217955589294, 0.08847743272781372].map(Math.fround));
});

test("a token of probability 0 is never drawn, and an interval owns its lower end", () => {
  assert.equal(ptb.draw(Float64Array.of(0, 0.5, 0, 0.5), 0), 1);
  assert.equal(ptb.draw(Float64Array.of(0, 0.5, 0, 0.5), 0.5), 3);
  assert.equal(ptb.draw(Float64Array.of(0.5, 0.5, 0, 0), 1 - 2 ** -24), 1);
});

test("what makes no distribution is refused", () => {
  const model = loadCodec("digits-4x4");
  for (const temperature of [0, -1, NaN, Infinity]) assert.throws(() => model.sample({ temperature }), ptb.CodecError);
  assert.throws(() => model.sample({ topK: 0 }), /top_k is at least 1, not 0/);
  assert.throws(() => model.sample({ label: 10 }), /Labels lie in \[0, 10\)/);
  assert.throws(() => model.sample({ keepRows: 5, tokens: new Int32Array(16) }), /Rows to keep are 0 to 4/);
  assert.throws(() => model.sample({ keepRows: 1 }), ptb.CodecError);
});

test("any bytes are a picture: a payload says its own tokens, and random ones others", () => {
  const model = loadCodec("digits-7x7");
  const tokens = Int32Array.from({ length: 49 }, (_, i) => (i * 37) % 256);
  const { file } = model.codec.compress(tokens);
  const { bits, ...said } = model.decodeRandom(file.subarray(16));
  assert.deepEqual(said, { label: null, tokens, picture: model.paint(tokens) });
  assert.ok(Math.abs(bits.reduce((sum, each) => sum + each, 0) - 8 * (file.length - 16)) < 16);
  for (const payload of [new Uint8Array(0), new Uint8Array(100).fill(255), Uint8Array.of(1, 2, 3)]) {
    const random = model.decodeRandom(payload);
    assert.ok(random.tokens.every((token) => token >= 0 && token < 256));
    assert.deepEqual(model.decodeRandom(payload).tokens, random.tokens);
  }
});
