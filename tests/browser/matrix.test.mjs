// Matrix products: the kernels, and JavaScript where there are none, against sums written out column by column.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import vm from "node:vm";

import { loadCodec, ptb, SCRIPTS } from "../../arlib/browser/ptb.mjs";
import { golden, SOURCES } from "./shared.mjs";

/** Numbers with all of float64's digits, or of float32's, so that another order of a sum shows. */
const random = (length, seed, round = (x) => x) => {
  let state = seed;
  return Float64Array.from({ length }, () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return round(((state / 2 ** 32 - 0.5) * 10) / 3);
  });
};

/** Row by row, each sum begun with 0 and summed column by column. */
function expected(data, width, rows, columns, vectors) {
  return vectors.map((x) =>
    Array.from({ length: rows }, (_, row) => {
      let sum = 0;
      for (let column = 0; column < columns; column++) sum += data[row * width + column] * x[column];
      return sum;
    }),
  );
}

/** The codec's scripts once more, in a world without WebAssembly. */
function withoutWebAssembly() {
  const context = vm.createContext({ TextEncoder, TextDecoder });
  vm.runInContext("delete globalThis.WebAssembly", context);
  for (const name of SCRIPTS) vm.runInContext(fs.readFileSync(path.join(SOURCES, name), "utf8"), context);
  return context.ptb;
}

const plain = withoutWebAssembly();

for (const [what, own] of [["the kernels", ptb], ["plain JavaScript", plain]]) {
  test(`${what}: products are the same bits as sums column by column, whatever comes with them`, () => {
    for (const [rows, columns] of [[1, 1], [3, 5], [8, 8], [9, 1], [17, 33], [32, 100], [75, 64]]) {
      for (const round of [Math.fround, (x) => x]) {
        const data = random(rows * columns, rows + columns, round);
        const matrix = own.packed(data, rows, columns);
        assert.equal("one" in matrix, own === ptb && round === Math.fround);
        for (const count of [0, 1, 3, 4, 5, 9]) {
          const vectors = Array.from({ length: count }, (_, i) => random(columns, 100 + i));
          const products = own.multiplyAll(matrix, vectors).map((sums) => Array.from(sums));
          assert.deepEqual(products, expected(data, columns, rows, columns, vectors));
        }
      }
    }
  });

  test(`${what}: the first rows and columns alone, set as rows and as columns`, () => {
    const [rows, columns] = [19, 21];
    const data = random(rows * columns, 7, Math.fround);
    const byRow = own.emptyMatrix(rows, columns);
    const byColumn = own.emptyMatrix(rows, columns);
    for (let row = 0; row < rows; row++) own.setRow(byRow, row, data.subarray(row * columns, (row + 1) * columns));
    for (let column = 0; column < columns; column++) {
      own.setColumn(byColumn, column, Array.from({ length: rows }, (_, row) => data[row * columns + column]));
    }
    const vectors = Array.from({ length: 6 }, (_, i) => random(columns, i));
    for (const part of [{ rows: 1, columns: 1 }, { rows: 8, columns: 13 }, { rows: 18, columns: 20 }, { rows, columns }]) {
      for (const matrix of [byRow, byColumn]) {
        const products = own.multiplyAll({ ...matrix, ...part }, vectors).map((sums) => Array.from(sums));
        assert.deepEqual(products, expected(data, columns, part.rows, part.columns, vectors));
      }
    }
  });
}

test("matrices do not overlap, also where a store is full or one matrix is larger than a store", () => {
  const [rows, columns] = [1000, 1500]; // 6 MB each; a store has 16
  const ones = new Float64Array(columns).fill(1);
  const matrices = Array.from({ length: 7 }, (_, i) => ptb.packed(new Float64Array(rows * columns).fill(i), rows, columns));
  const large = ptb.packed(new Float64Array(5 * rows * columns).fill(9), 5 * rows, columns);
  matrices.forEach((matrix, i) => {
    const sums = ptb.multiplyAll(matrix, [ones, ones, ones, ones, ones]);
    assert.ok(sums.every((each) => each.length === rows && each.every((sum) => sum === i * columns)), `matrix ${i}`);
  });
  assert.ok(ptb.multiplyAll(large, [ones])[0].every((sum) => sum === 9 * columns));
  assert.ok(new Set([...matrices, large].map(({ packed }) => packed.buffer)).size > 2, "all lie in one store");
});

test("a product is the caller's: the next one leaves it alone", () => {
  const matrix = ptb.packed(Float64Array.of(1, 2, 3, 4), 2, 2);
  const first = ptb.multiplyAll(matrix, [[1, 1]])[0];
  ptb.multiplyAll(matrix, [[5, 5], [5, 5], [5, 5], [5, 5]]);
  assert.deepEqual(Array.from(first), [3, 7]);
});

test("without WebAssembly a golden file decodes to the same tokens, and they become the same file", async () => {
  const weights = (name) => fs.readFileSync(path.join(SOURCES, "..", "..", "data", "weights", `${name}.safetensors`));
  const model = plain.loadModels({ prior: weights("prior-book"), tokenizer: weights("tokenizer-book") });
  const { files, tokens } = golden("book");
  const decoded = model.decode(files[0]);
  assert.deepEqual(Array.from(decoded.tokens), Array.from(tokens[0]));
  const picture = (await loadCodec("book")).decode(files[0]).picture;
  assert.deepEqual(Array.from(decoded.picture.data), Array.from(picture.data));
  assert.deepEqual(Array.from(model.codec.compress(decoded.tokens).file), Array.from(files[0]));
});
