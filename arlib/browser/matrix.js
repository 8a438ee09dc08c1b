// Matrix products, where nearly all of the time goes. A processor that adds to one sum can begin with the next before
// it is done, so we add to many at once: of eight rows of a matrix, which are packed side by side, with one vector, or
// of four rows with four vectors, which reads each number of the matrix a quarter as often.
//
// JavaScript has no word for a processor's vectors, WebAssembly has. So the kernels, the innermost loops, are written in
// it (kernels.wat), and matrices lie in its memory. Where there is none, and for a matrix that float32 does not hold,
// JavaScript computes the same sums in the same order.
"use strict";
((ptb) => {
  const ROWS = 8;
  const STORE = 1 << 24; // bytes
  const kernels = compiled(ptb.KERNELS);
  let store = { size: 0, used: 0 }; // the memory of an instance of the kernels, where the next matrix goes

  function compiled(base64) {
    try {
      return new WebAssembly.Module(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
    } catch {
      return null;
    }
  }

  /** Some bytes of a store, a new one where the last is full: where they begin, in which memory, and its kernels. */
  function reserve(bytes) {
    if (store.used + bytes > store.size) {
      const { one, four, memory } = new WebAssembly.Instance(kernels).exports;
      memory.grow(Math.ceil(Math.max(bytes, STORE) / 65536)); // pages
      store = { one, four, buffer: memory.buffer, size: memory.buffer.byteLength, used: 0 };
    }
    const at = store.used;
    store.used += 16 * Math.ceil(bytes / 16);
    return { ...store, at };
  }

  /** A matrix of rows × columns numbers, row by row in `data`, packed for `multiplyAll`: in half the memory, which is
   *  faster to read, where float32 holds them all. */
  ptb.packed = (data, rows, columns) => {
    const Numbers = data.every((x) => Math.fround(x) === x) ? Float32Array : Float64Array;
    const matrix = ptb.emptyMatrix(rows, columns, Numbers);
    for (let row = 0; row < rows; row++) ptb.setRow(matrix, row, data.subarray(row * columns, (row + 1) * columns));
    return matrix;
  };

  /** A packed matrix of zeros, whose rows or columns `setRow` and `setColumn` set. Of `{ ...matrix, rows, columns }`,
   *  with less of either, `multiplyAll` multiplies the first rows and columns alone. */
  ptb.emptyMatrix = (rows, columns, Numbers = Float32Array) => {
    const matrix = { rows, columns, stride: ROWS * columns }; // so many numbers from one eight of rows to the next
    const padded = ROWS * Math.ceil(rows / ROWS);
    if (!kernels || Numbers !== Float32Array) return { ...matrix, packed: new Numbers(padded * columns) };
    // Behind it lies what it is multiplied with, and what comes of it: up to four vectors of each.
    const { buffer, at, one, four } = reserve(4 * padded * columns + 8 * 4 * (columns + padded));
    const packed = new Float32Array(buffer, at, padded * columns);
    const x = new Float64Array(buffer, at + packed.byteLength, 4 * columns);
    const out = new Float64Array(buffer, x.byteOffset + x.byteLength, 4 * padded);
    return { ...matrix, packed, x, out, one, four };
  };

  const place = (row, column, stride) => ((row - (row % ROWS)) / ROWS) * stride + ROWS * column + (row % ROWS);

  ptb.setRow = ({ packed, columns, stride }, row, vector) => {
    for (let column = 0; column < columns; column++) packed[place(row, column, stride)] = vector[column];
  };

  ptb.setColumn = ({ packed, rows, stride }, column, vector) => {
    for (let row = 0; row < rows; row++) packed[place(row, column, stride)] = vector[row];
  };

  /** A packed matrix times each of a list of vectors, to a list of vectors. Each sum is summed column by column, so
   *  that it is the same number whatever vectors come with it. Where all is integers whose sums stay below 2^53, every
   *  sum is exact, in any order. */
  ptb.multiplyAll = (matrix, vectors) => {
    if (!matrix.one) return vectors.map((x) => multiplied(matrix, x));
    const together = vectors.length - (vectors.length % 4);
    const all = [];
    for (let first = 0; first < together; first += 4) all.push(...byFour(matrix, vectors.slice(first, first + 4)));
    for (let i = together; i < vectors.length; i++) all.push(byOne(matrix, vectors[i]));
    return all;
  };

  function byOne({ packed, rows, columns, stride, x, out, one }, vector) {
    for (let i = 0; i < columns; i++) x[i] = vector[i];
    one(packed.byteOffset, x.byteOffset, out.byteOffset, Math.ceil(rows / ROWS), columns, 4 * stride);
    return out.slice(0, rows);
  }

  /** Four vectors, interleaved, and so are their products. */
  function byFour({ packed, rows, columns, stride, x, out, four }, vectors) {
    vectors.forEach((vector, v) => {
      for (let i = 0; i < columns; i++) x[4 * i + v] = vector[i];
    });
    four(packed.byteOffset, x.byteOffset, out.byteOffset, Math.ceil(rows / ROWS), columns, 4 * stride);
    return vectors.map((_, v) => {
      const sums = new Float64Array(rows);
      for (let i = 0; i < rows; i++) sums[i] = out[4 * i + v];
      return sums;
    });
  }

  /** What the kernel `one` computes, in JavaScript. */
  function multiplied({ packed, rows, columns, stride }, x) {
    const out = new Float64Array(rows);
    for (let row = 0; row < rows; row += ROWS) {
      let p = (row / ROWS) * stride;
      let [a, b, c, d, e, f, g, h] = [0, 0, 0, 0, 0, 0, 0, 0];
      for (let column = 0; column < columns; column++, p += ROWS) {
        const value = x[column];
        a += packed[p] * value;
        b += packed[p + 1] * value;
        c += packed[p + 2] * value;
        d += packed[p + 3] * value;
        e += packed[p + 4] * value;
        f += packed[p + 5] * value;
        g += packed[p + 6] * value;
        h += packed[p + 7] * value;
      }
      [a, b, c, d, e, f, g, h].forEach((sum, i) => (out[row + i] = sum)); // beyond its end nothing is written
    }
    return out;
  }
})((globalThis.ptb ??= {}));
