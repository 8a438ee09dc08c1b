// Cut, changed, lengthened, foreign and random files are refused in the very words of the Python library, and so are
// those whose checksum was repaired. tests/test_browser.py asks Python for the words, of the same errors.json.
import assert from "node:assert/strict";
import { test } from "node:test";

import { loadCodec, ptb, shipped } from "../../arlib/browser/ptb.mjs";
import { bytesOf, cases, tinyCodec } from "./shared.mjs";

const MODELS = { tiny: tinyCodec, book: () => loadCodec("book") };

for (const [name, sentences] of Object.entries(cases("errors.json"))) {
  const model = MODELS[name]();
  for (const [sentence, files] of Object.entries(sentences)) {
    test(`${name}: ${sentence}`, () => {
      for (const file of files) {
        assert.throws(
          () => model.decode(bytesOf(file)),
          (error) => error instanceof ptb.CodecError && error.message === sentence,
          file,
        );
      }
    });
  }
}

test("a bad file is refused before any decoding, unless its checksum was repaired", () => {
  const model = tinyCodec();
  model.codec.twin.ask = () => assert.fail("the twin was asked");
  for (const [sentence, files] of Object.entries(cases("errors.json").tiny)) {
    const asked = sentence.includes("other tokens");
    for (const file of files) {
      assert.throws(() => model.decode(bytesOf(file)), asked ? { code: "ERR_ASSERTION" } : { message: sentence });
    }
  }
});

test("a file finds its shipped codec, and one of no codec is told", () => {
  const file = bytesOf(Object.entries(cases("errors.json").book).find(([words]) => words.includes("'fine'"))[1][0]);
  assert.equal(ptb.find(file, shipped()), "fine");
  assert.throws(() => ptb.find(file, { book: "3a5cc0a4" }), {
    message: "This .ptb file wants the model 53a939e7, which is not among the shipped ones.",
  });
});
