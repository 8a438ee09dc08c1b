// PNG files of every kind are read as Pillow reads them, and pictures of another size fitted as Pillow fits them.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { test } from "node:test";

import { ptb } from "../../arlib/browser/ptb.mjs";
import { bytesOf, cases, drawn } from "./shared.mjs";

const { read, fitted } = cases("pictures.json");

for (const { name, size, channels, png, pixels } of read) {
  test(`a PNG file, ${name}, as ${channels === 3 ? "colors" : "gray"}`, async () => {
    const picture = await ptb.readPng(bytesOf(png), channels);
    assert.deepEqual([picture.height, picture.width, picture.channels], [...size, channels]);
    assert.deepEqual(Array.from(picture.data), Array.from(bytesOf(pixels)));
  });
}

for (const { from, to, sha256 } of fitted) {
  test(`${from.join("×")} fitted to ${to.join("×")}`, () => {
    const picture = ptb.fit(drawn(...from), ...to);
    assert.deepEqual([picture.height, picture.width, picture.channels], [...to, from[2]]);
    assert.equal(crypto.createHash("sha256").update(picture.data).digest("hex"), sha256);
  });
}

for (const channels of [1, 3]) {
  test(`a picture of ${channels} channels is written and read again`, async () => {
    const picture = drawn(7, 5, channels);
    assert.deepEqual(await ptb.readPng(await ptb.writePng(picture), channels), picture);
  });
}

test("a damaged PNG file is refused, wherever it is cut or changed", async () => {
  const file = bytesOf(read[0].png);
  for (let length = 0; length < file.length; length++) {
    await assert.rejects(ptb.readPng(file.subarray(0, length)), ptb.CodecError, `cut to ${length} bytes`);
  }
  for (let at = 0; at < file.length; at++) {
    const changed = file.slice();
    changed[at] ^= 4;
    await assert.rejects(ptb.readPng(changed), ptb.CodecError, `byte ${at} changed`);
  }
});
