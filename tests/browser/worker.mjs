// What tests/test_browser.py asks of JavaScript: jobs in JSON on standard input, their results on standard output. Bytes
// are in base64. A job names a codec and has pictures to encode, with their labels, and files to decode.
import fs from "node:fs";

import { loadCodec } from "../../arlib/browser/ptb.mjs";
import { bytesOf } from "./shared.mjs";

const base64Of = (bytes) => Buffer.from(bytes).toString("base64");

/** The tokens of each picture, and of the first few, `coded`, their files. */
function encoded(model, { pictures, labels, coded }) {
  const [height, width] = model.size;
  return pictures.map((pixels, i) => {
    const tokens = model.tokens({ height, width, channels: model.channels, data: bytesOf(pixels) }, labels[i]);
    const file = i < coded ? base64Of(model.codec.compress(tokens, labels[i]).file) : null;
    return { tokens: Array.from(tokens), file };
  });
}

function decoded(model, files) {
  return files.map((file) => {
    const { tokens, picture } = model.decode(bytesOf(file));
    return { tokens: Array.from(tokens), pixels: base64Of(picture.data) };
  });
}

const jobs = JSON.parse(fs.readFileSync(0, "utf8"));
const results = jobs.map((job) => {
  const model = loadCodec(job.codec);
  return { encoded: encoded(model, job), decoded: decoded(model, job.files) };
});
console.log(JSON.stringify(results));
