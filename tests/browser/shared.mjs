// What the tests of arlib/browser share: the golden files, and files of cases beside this one. (`node --test tests/browser/`)
import fs from "node:fs";
import path from "node:path";
import url from "node:url";

import { ptb, shipped } from "../../arlib/browser/ptb.mjs";

const HERE = path.dirname(url.fileURLToPath(import.meta.url));
const GOLDEN = path.join(HERE, "..", "golden");

export const SOURCES = path.join(HERE, "..", "..", "arlib", "browser");

export const cases = (name) => JSON.parse(fs.readFileSync(path.join(HERE, name), "utf8"));
export const bytesOf = (base64) => new Uint8Array(Buffer.from(base64, "base64"));

/** The codecs that have golden files; those of `book` lie beside the folders of the others. */
export const NAMES = ["book", ...fs.readdirSync(GOLDEN).filter((name) => fs.statSync(path.join(GOLDEN, name)).isDirectory())];

/** The golden files of a codec: `{files, tokens, labels, logits, pictures}`, the last the names of its PNG files. */
export function golden(name) {
  const folder = name === "book" ? GOLDEN : path.join(GOLDEN, name);
  const named = (suffix) => fs.readdirSync(folder).filter((each) => each.endsWith(suffix)).sort();
  const read = (each) => new Uint8Array(fs.readFileSync(path.join(folder, each)));
  return {
    files: named(".ptb").map(read),
    pictures: named(".png").map(read),
    logits: fs.readFileSync(path.join(folder, "logits.sha256"), "utf8").trim(),
    ...tokenSet(read("golden.tokens")),
  };
}

/** A data set of tokens (arlib/tokenset.py has its format): a list of grids in raster order, and of their labels. */
function tokenSet(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [version, bits, count] = [view.getUint16(4, true), view.getUint16(6, true), view.getUint32(8, true)];
  const sides = version === 1 ? [12, 14] : [12, 14, 16];
  const length = sides.map((at) => view.getUint16(at, true)).reduce((product, side) => product * (side || 1), 1);
  let at = version === 1 ? 32 : 36;
  let labels = Array(count).fill(null);
  if (version === 2 && view.getUint16(18, true)) {
    labels = labels.map((_, i) => (bytes[at + i] === 255 ? null : bytes[at + i]));
    at += count;
  }
  const token = (number) => {
    let value = 0;
    for (let bit = 0; bit < bits; bit++) {
      const place = number * bits + bit;
      value += ((bytes[at + (place >> 3)] >> (place & 7)) & 1) << bit;
    }
    return value;
  };
  const tokens = labels.map((_, grid) => Int32Array.from({ length }, (__, i) => token(grid * length + i)));
  return { tokens, labels };
}

/** The codec `tiny` of layers.json. */
export function tinyCodec() {
  const { weights } = cases("layers.json");
  const [prior, tokenizer] = ["prior-tiny", "tokenizer-tiny"].map((name) => bytesOf(weights[name]));
  return ptb.loadModels({ prior, tokenizer, shipped: shipped() });
}

/** The picture that tools/browser_pictures.py draws by the same formula. */
export function drawn(height, width, channels) {
  const data = Uint8Array.from({ length: height * width * channels }, (_, i) => (i * i * 31 + 7 * i) % 251);
  return { height, width, channels, data };
}
