// Matrix products, where nearly all of the time goes. A processor that adds to one sum can begin with the next before
// it is done, so we add to many at once: of eight rows of a matrix, which are stored interleaved, with one vector, or
// of four rows with four vectors, which reads each number of the matrix a quarter as often.
"use strict";
((ptb) => {
  const ROWS = 8;

  /** A matrix of rows × columns numbers, row by row in `data`, packed for `multiply`: in half the memory, which is
   *  faster to read, where float32 holds them all. */
  ptb.packed = (data, rows, columns) => {
    const Numbers = data.every((x) => Math.fround(x) === x) ? Float32Array : Float64Array;
    const matrix = ptb.emptyMatrix(rows, columns, Numbers);
    for (let row = 0; row < rows; row++) ptb.setRow(matrix, row, data.subarray(row * columns, (row + 1) * columns));
    return matrix;
  };

  /** A packed matrix of zeros, whose rows `setRow` sets. */
  ptb.emptyMatrix = (rows, columns, Numbers = Float32Array) => ({
    packed: new Numbers(Math.ceil(rows / ROWS) * ROWS * columns),
    rows,
    columns,
  });

  ptb.setRow = ({ packed, columns }, row, vector) => {
    const first = (row - (row % ROWS)) * columns + (row % ROWS);
    for (let column = 0; column < columns; column++) packed[first + ROWS * column] = vector[column];
  };

  /** A packed matrix times each of a list of vectors, to a list of vectors. Each sum is summed column by column, so
   *  that it is the same number whatever vectors come with it. */
  ptb.multiplyAll = (matrix, vectors) => {
    const out = vectors.map(() => new Float64Array(matrix.rows));
    const together = vectors.length - (vectors.length % 4);
    for (let first = 0; first < together; first += 4) four(matrix, vectors, out, first);
    for (let i = together; i < vectors.length; i++) ptb.multiply(matrix, vectors[i], out[i]);
    return out;
  };

  /** A packed matrix times the vector x, into the vector `out`. Where all is integers whose sums stay below 2^53, every
   *  sum is exact, in any order. */
  ptb.multiply = ({ packed, rows, columns }, x, out) => {
    let p = 0;
    for (let row = 0; row < rows; row += ROWS) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let e = 0;
      let f = 0;
      let g = 0;
      let h = 0;
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
      out[row] = a; // what lies beyond the end of a typed array is not written
      out[row + 1] = b;
      out[row + 2] = c;
      out[row + 3] = d;
      out[row + 4] = e;
      out[row + 5] = f;
      out[row + 6] = g;
      out[row + 7] = h;
    }
    return out;
  };

  /** A packed matrix times four of a list of vectors, which are interleaved, too. */
  function four({ packed, rows, columns }, vectors, out, first) {
    const x = interleaved(vectors, first, columns);
    const [o0, o1, o2, o3] = [out[first], out[first + 1], out[first + 2], out[first + 3]];
    for (let row = 0; row < rows; row += 4) {
      let v0a = 0;
      let v0b = 0;
      let v0c = 0;
      let v0d = 0;
      let v1a = 0;
      let v1b = 0;
      let v1c = 0;
      let v1d = 0;
      let v2a = 0;
      let v2b = 0;
      let v2c = 0;
      let v2d = 0;
      let v3a = 0;
      let v3b = 0;
      let v3c = 0;
      let v3d = 0;
      let p = (row - (row % ROWS)) * columns + (row % ROWS);
      for (let i = 0; i < x.length; i += 4, p += ROWS) {
        const v0 = x[i];
        const v1 = x[i + 1];
        const v2 = x[i + 2];
        const v3 = x[i + 3];
        const a = packed[p];
        v0a += a * v0;
        v1a += a * v1;
        v2a += a * v2;
        v3a += a * v3;
        const b = packed[p + 1];
        v0b += b * v0;
        v1b += b * v1;
        v2b += b * v2;
        v3b += b * v3;
        const c = packed[p + 2];
        v0c += c * v0;
        v1c += c * v1;
        v2c += c * v2;
        v3c += c * v3;
        const d = packed[p + 3];
        v0d += d * v0;
        v1d += d * v1;
        v2d += d * v2;
        v3d += d * v3;
      }
      o0[row] = v0a;
      o1[row] = v1a;
      o2[row] = v2a;
      o3[row] = v3a;
      o0[row + 1] = v0b;
      o1[row + 1] = v1b;
      o2[row + 1] = v2b;
      o3[row + 1] = v3b;
      o0[row + 2] = v0c;
      o1[row + 2] = v1c;
      o2[row + 2] = v2c;
      o3[row + 2] = v3c;
      o0[row + 3] = v0d;
      o1[row + 3] = v1d;
      o2[row + 3] = v2d;
      o3[row + 3] = v3d;
    }
  }

  function interleaved(vectors, first, length) {
    const all = new Float64Array(4 * length);
    for (let v = 0; v < 4; v++) {
      const vector = vectors[first + v];
      for (let i = 0; i < length; i++) all[4 * i + v] = vector[i];
    }
    return all;
  }
})((globalThis.ptb ??= {}));
