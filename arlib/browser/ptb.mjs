// The codec in Node: `import { ptb, loadCodec } from "./ptb.mjs"`, or on the command line
//   node arlib/browser/ptb.mjs compress IN.png OUT.ptb | decompress IN.ptb OUT.png | info IN.ptb
import fs from "node:fs";
import path from "node:path";
import url from "node:url";
import vm from "node:vm";

const FOLDER = path.dirname(url.fileURLToPath(import.meta.url));

/** The scripts in the order in which they build on each other: that of a page's script elements, too. */
export const SCRIPTS = fs.readFileSync(path.join(FOLDER, "scripts.txt"), "utf8").trim().split("\n");

for (const name of SCRIPTS) {
  const file = path.join(FOLDER, name);
  vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
}

export const ptb = globalThis.ptb;
