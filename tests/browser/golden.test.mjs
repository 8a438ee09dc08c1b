// The golden files of the book, written by Python: the same logits, tokens and bytes from JavaScript.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { test } from "node:test";

import { loadCodec, ptb } from "../../arlib/browser/ptb.mjs";
import { NAMES, golden } from "./shared.mjs";

/** Hash all logits that a twin gives, each as eight bytes, the lowest first. */
function hashed(twin) {
  const sha = crypto.createHash("sha256");
  const ask = twin.ask.bind(twin);
  twin.ask = (...question) => {
    const answers = ask(...question);
    for (const logits of answers) sha.update(BigInt64Array.from(logits, BigInt));
    return answers;
  };
  return sha;
}

for (const name of NAMES) {
  test(`${name}: tokens become the golden files again, by the same logits`, () => {
    const { files, tokens, labels, logits } = golden(name);
    const model = loadCodec(name);
    const sha = hashed(model.codec.twin);
    files.forEach((file, i) => assert.deepEqual(model.codec.compress(tokens[i], labels[i]).file, file, `file ${i}`));
    assert.equal(sha.digest("hex"), logits);
  });

  test(`${name}: the golden files become their tokens and pictures again`, async () => {
    const { files, tokens, labels, pictures } = golden(name);
    const model = loadCodec(name);
    for (const [i, file] of files.entries()) {
      const decoded = model.decode(file);
      assert.deepEqual(decoded.tokens, tokens[i], `tokens of file ${i}`);
      assert.equal(model.codec.label(file), labels[i]);
      if (!pictures.length) continue; // those in WebP are compared by tests/test_browser.py
      const expected = await ptb.readPng(pictures[i], model.channels);
      assert.equal(decoded.picture.data.length, expected.data.length);
      decoded.picture.data.forEach((level, at) => assert.ok(Math.abs(level - expected.data[at]) <= 1, `${i}: ${at}`));
    }
  });
}
