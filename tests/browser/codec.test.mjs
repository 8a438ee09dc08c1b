// The interface of a model: what it gives, what it tells on the way, and what it refuses.
import assert from "node:assert/strict";
import { test } from "node:test";

import { loadCodec, ptb } from "../../arlib/browser/ptb.mjs";
import { bytesOf, cases, golden, tinyCodec } from "./shared.mjs";

const WEIGHTS = cases("layers.json").weights;
const weights = (kind) => bytesOf(WEIGHTS[`${kind}-tiny`]);
const model = tinyCodec();
const [height, width] = model.size;
const picture = {
  height,
  width,
  channels: 3,
  data: Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * i * 31) % 251),
};

test("what encoding gives is what decoding gives back", () => {
  const heard = [];
  const { file, tokens, bits, ledger: known, reconstruction } = model.encode(picture, {
    label: 1,
    onProgress: (...news) => heard.push(news),
  });
  assert.deepEqual(heard, Array.from(tokens, (_, i) => [i + 1, model.length]));
  assert.deepEqual(model.decode(file), { tokens, picture: reconstruction });
  assert.deepEqual(reconstruction, model.paint(tokens));
  assert.deepEqual(tokens, model.tokens(picture, 1));
  const { ledger, label, size } = model.info(file);
  assert.deepEqual(known, ledger);
  assert.equal(label, 1);
  assert.equal(size, file.length);
  const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);
  assert.ok(Math.abs(sum(Object.values(ledger)) - 8 * size) < 1e-6);
  assert.ok(Math.abs(sum(Array.from(bits)) - ledger.ideal - ledger.table) < 1e-6);
});

test("tokens become known one after the other, and decoding may be given up", () => {
  const { file, tokens } = model.encode(picture);
  const known = [];
  model.decode(file, {
    onToken: (some, done) => {
      assert.deepEqual(Array.from(some), Array.from(tokens, (token, i) => (i < done ? token : -1)));
      known.push(done);
    },
  });
  assert.deepEqual(known, Array.from(tokens, (_, i) => i + 1));
  for (const some of model.progress(file)) {
    assert.equal(some[0], tokens[0]);
    break;
  }
});

test("the tokens of a pyramid become known a scale at a time", () => {
  const known = [];
  loadCodec("digits-scales").decode(golden("digits-scales").files[0], { onToken: (_, done) => known.push(done) });
  assert.deepEqual(known, [1, 5, 21]);
});

const refused = (act, words) => assert.throws(act, (error) => error instanceof ptb.CodecError && words.test(error.message));

test("pictures, labels and tokens that a model does not know are refused", () => {
  refused(() => model.encode({ ...picture, height: height + 1 }), /pixels \(height × width\), not of/);
  refused(() => model.encode({ ...picture, channels: 1 }), /not 1 channels/);
  for (const label of [-2, 1.5, model.classes, NaN, "1"]) {
    refused(() => model.encode(picture, { label }), /Labels lie in|A quality lies between/);
  }
  const tokens = model.tokens(picture);
  for (const bad of [-1, 16, NaN, undefined]) {
    refused(() => model.codec.compress([bad, ...tokens.subarray(1)]), /Tokens lie in \[0, 16\)/);
  }
  refused(() => model.codec.compress(tokens.subarray(1)), /tokens, not/);
  refused(() => model.paint(Int32Array.from(tokens).fill(16)), /Tokens lie in \[0, 16\)/);
  const book = loadCodec("book");
  refused(() => book.sample({ label: 1 }), /has learned no classes/);
});

test("a damaged weights file, one of another kind, and one of another tokenizer are refused", () => {
  const [prior, tokenizer] = [weights("prior"), weights("tokenizer")];
  for (const length of [0, 7, 8, 100, prior.length - 1]) {
    refused(() => ptb.loadModels({ prior: prior.subarray(0, length), tokenizer }), /damaged or is no safetensors/);
  }
  refused(() => ptb.loadModels({ prior, tokenizer: prior }), /of a prior and of a tokenizer, in this order/);
  const other = tokenizer.slice();
  other[other.length - 1] ^= 1;
  refused(() => ptb.loadModels({ prior, tokenizer: other }), /another tokenizer/);
  assert.equal(ptb.loadModels({ prior: prior.slice().buffer, tokenizer: tokenizer.slice().buffer }).hash, model.hash);
});

test("a prior whose sums could pass 2^53 has no twin", () => {
  for (const bits of [0x7bff, 0x7e00, 0x7c00]) { // 65504, NaN, infinity
    const prior = weights("prior");
    const view = new DataView(prior.buffer);
    const size = Number(view.getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(prior.subarray(8, 8 + size)));
    const [first] = header["head.weight"].data_offsets;
    view.setUint16(8 + size + first, bits, true);
    refused(() => ptb.loadModels({ prior, tokenizer: weights("tokenizer") }), /has no twin: head\.weight could reach/);
  }
});
