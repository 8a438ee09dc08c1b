// What may differ between browsers is not used: the standard leaves the last bits of Math.exp, Math.sin and their kind to
// whoever writes the engine.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { SCRIPTS } from "../../arlib/browser/ptb.mjs";
import { SOURCES } from "./shared.mjs";

const EXACT = ["abs", "ceil", "floor", "fround", "imul", "max", "min", "sqrt", "trunc"];
const REPORTING = ["log2"]; // bits of a token, for reports: no token and no byte depends on them

const codeOf = (name) => fs.readFileSync(path.join(SOURCES, name), "utf8").replace(/\/\*[^]*?\*\/|\/\/.*/g, "");

for (const name of SCRIPTS) {
  test(`${name} uses nothing of Math that may differ between browsers`, () => {
    const code = codeOf(name);
    const used = [...code.matchAll(/\bMath\b(?:\.(\w+))?/g)].map(([, what]) => what);
    assert.deepEqual(used.filter((what) => ![...EXACT, ...REPORTING].includes(what)), []);
    assert.doesNotMatch(code, /[^*]\*\*[^*]/, "x ** y is Math.pow");
  });

  test(`${name} is a classic script that adds to one global and asks for nothing`, () => {
    const code = codeOf(name);
    assert.match(code.trim(), /^"use strict";\s*\(\(ptb\) => \{[^]*\}\)\(\(globalThis\.ptb \?\?= \{\}\)\);$/);
    assert.doesNotMatch(code, /\b(import|export|require|fetch|XMLHttpRequest|process|document|window|eval)\b/);
  });
}

test("what tokens and bytes depend on takes no logarithm", () => {
  for (const name of ["tables.js", "matrix.js", "fixedpoint.js", "quantizers.js", "tokenizer.js", "images.js"]) {
    assert.doesNotMatch(codeOf(name), /Math\.log2/, name);
  }
});
