// Layer by layer: what PyTorch's tiny twin and tiny tokenizer give, so that a mistake is found in the layer where it is.
import assert from "node:assert/strict";
import { test } from "node:test";

import { bytesOf, cases, drawn, tinyCodec } from "./shared.mjs";

const { hash, twin, tokenizer, files } = cases("layers.json");

test("the twin's weights are the same integers, and so is the codec's name", () => {
  const model = tinyCodec();
  assert.equal(model.codec.twin.digest(), twin.digest);
  assert.equal(model.hash, hash);
});

test("every row of every layer of the twin is the same", () => {
  const own = tinyCodec().codec.twin;
  const cache = own.newCache(null, twin.label);
  let seen = [];
  own.trace = (name, vector) => seen.push({ name, row: Array.from(vector) });
  twin.tokens.forEach((_, place) => {
    seen = [];
    const [logits] = own.ask(twin.tokens, cache);
    seen.push({ name: "logits", row: Array.from(logits) });
    assert.equal(seen.length, twin.layers.length);
    twin.layers.forEach(({ name, rows }, layer) => {
      assert.equal(seen[layer].name, name);
      assert.ok(
        rows[place].length === seen[layer].row.length && rows[place].every((x, i) => x === seen[layer].row[i]),
        `${name}, layer ${layer}, place ${place}: ${seen[layer].row} instead of ${rows[place]}`,
      );
    });
  });
});

test("rows that are known ahead, many at once, give the same logits", () => {
  const own = tinyCodec().codec.twin;
  const { rows } = twin.layers.find(({ name }) => name === "logits");
  const cache = own.newCache(null, twin.label);
  const ahead = own.ask(twin.tokens, cache, twin.tokens.length);
  assert.equal(ahead.length, Math.min(rows.length, 32));
  ahead.forEach((logits, place) => assert.deepEqual(Array.from(logits), rows[place], `place ${place}`));
  assert.deepEqual(Array.from(own.ask(twin.tokens, own.newCache(null, twin.label), 2)[2]), rows[2]);
});

test("every layer of the tokenizer gives the same numbers, to float32's last digits", () => {
  const own = tinyCodec().codec.tokenizer;
  const seen = {};
  own.trace = (name, grid) => (seen[name] = grid.data);
  const tokens = own.encode(drawn(...tokenizer.size, 3), tokenizer.quality);
  const painted = own.decode(Int32Array.from(tokenizer.tokens), ...tokenizer.grid);
  for (const { name, numbers } of tokenizer.layers) {
    assert.equal(seen[name].length, numbers.length, name);
    const largest = Math.max(...numbers.map(Math.abs));
    numbers.forEach((x, i) => assert.ok(Math.abs(x - seen[name][i]) < 1e-5 * largest, `${name}: ${seen[name][i]} is not ${x}`));
  }
  assert.equal(Object.keys(seen).length, tokenizer.layers.length);
  assert.deepEqual(Array.from(tokens), tokenizer.tokens);
  const expected = bytesOf(tokenizer.picture);
  painted.data.forEach((level, i) => assert.ok(Math.abs(level - expected[i]) <= 1, `gray level ${i}`));
});

test("tokens become Python's files, and come back", () => {
  const model = tinyCodec();
  for (const { tokens, label, file } of files) {
    assert.deepEqual(model.codec.compress(Int32Array.from(tokens), label).file, bytesOf(file));
    assert.deepEqual(Array.from(model.decode(bytesOf(file)).tokens), tokens);
    assert.equal(model.codec.label(bytesOf(file)), label);
  }
});
