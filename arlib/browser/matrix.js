// Matrix products, where nearly all of the time goes: eight rows of a matrix are stored interleaved, and summed at once:
// a processor that adds to one sum can begin with the next before it is done.
"use strict";
((ptb) => {
  const ROWS = 8;

  /** A matrix of rows × columns numbers, row by row in `data`, packed for `multiply`: in half the memory, which is
   *  faster to read, where float32 holds them all. */
  ptb.packed = (data, rows, columns) => {
    const Numbers = data.every((x) => Math.fround(x) === x) ? Float32Array : Float64Array;
    const packed = new Numbers(Math.ceil(rows / ROWS) * ROWS * columns);
    for (let row = 0; row < rows; row++) {
      const first = (row - (row % ROWS)) * columns + (row % ROWS);
      for (let column = 0; column < columns; column++) packed[first + ROWS * column] = data[row * columns + column];
    }
    return { packed, rows, columns };
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
})((globalThis.ptb ??= {}));
