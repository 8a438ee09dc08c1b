// Quantizers: a vector becomes a code, and the code a vector (arlib/quantizers.py and scales.py, chapters 3, 4 and 15).
// A quantizer has `encode(vector)` and `decode(codes)`, which give an array of `codebooks` codes and a vector of
// `latentDim` numbers; a pyramid works on whole grids, see its class.
"use strict";
((ptb) => {
  /** Binary spherical quantization: bit i of a code is 1 where dimension i is positive or zero. */
  class BSQ {
    constructor({ bits }) {
      this.latentDim = bits;
      this.codebookSize = 1 << bits;
      this.codebooks = 1;
    }

    encode(vector) {
      let code = 0;
      for (let i = 0; i < this.latentDim; i++) if (vector[i] >= 0) code += 1 << i;
      return [code];
    }

    decode([code]) {
      const size = 1 / Math.sqrt(this.latentDim);
      return Float64Array.from({ length: this.latentDim }, (_, i) => ((code >> i) & 1 ? size : -size));
    }
  }

  /** Vector quantization: the nearest of a table of vectors. */
  class VQ {
    constructor({ codebook_size: size, latent_dim: latentDim }, weights, name) {
      this.latentDim = latentDim;
      this.codebookSize = size;
      this.codebooks = 1;
      this.codes = weights[`${name}.codes`].data;
    }

    encode(vector) {
      let nearest = 0;
      let least = Infinity;
      for (let code = 0; code < this.codebookSize; code++) {
        let distance = 0;
        for (let i = 0; i < this.latentDim; i++) {
          const difference = vector[i] - this.codes[code * this.latentDim + i];
          distance += difference * difference;
        }
        if (distance < least) [nearest, least] = [code, distance];
      }
      return [nearest];
    }

    decode([code]) {
      return this.codes.slice(code * this.latentDim, (code + 1) * this.latentDim);
    }
  }

  class Several {
    constructor({ quantizers }, weights, name) {
      this.each = quantizers.map((config, i) => ptb.quantizer(config, weights, `${name}.quantizers.${i}`));
      this.codebookSize = this.each[0].codebookSize;
      this.codebooks = this.each.length;
    }
  }

  /** The latent is cut into parts, and each part has its own codebook. */
  class Product extends Several {
    constructor(...options) {
      super(...options);
      this.latentDim = this.each.reduce((sum, { latentDim }) => sum + latentDim, 0);
    }

    encode(vector) {
      let first = 0;
      return this.each.flatMap((each) => each.encode(vector.slice(first, (first += each.latentDim))));
    }

    decode(codes) {
      return Float64Array.from(this.each.flatMap((each, i) => [...each.decode([codes[i]])]));
    }
  }

  /** Each codebook says what those before it left. */
  class Residual extends Several {
    constructor(...options) {
      super(...options);
      this.latentDim = this.each[0].latentDim;
    }

    encode(vector) {
      let left = vector;
      return this.each.flatMap((each) => {
        const code = each.encode(left);
        const vectorOf = each.decode(code);
        left = left.map((x, i) => x - vectorOf[i]);
        return code;
      });
    }

    decode(codes) {
      const vectors = this.each.map((each, i) => each.decode([codes[i]]));
      return vectors[0].map((_, i) => vectors.reduce((sum, vector) => sum + vector[i], 0));
    }
  }

  /** Residual quantization over scales: `encodeGrid` and `decodeGrid` take whole grids of latents and all their tokens,
   *  the maps from coarse to fine. */
  class Pyramid {
    constructor({ quantizer, sides }, weights, name) {
      this.inner = ptb.quantizer(quantizer, weights, `${name}.quantizer`);
      this.sides = sides;
      this.latentDim = this.inner.latentDim;
      this.codebookSize = this.inner.codebookSize;
      this.codebooks = 1;
      this.smooth = sides.map((_, scale) => ptb.convolution(weights, `${name}.smooth.${scale}`));
    }

    encodeGrid(grid) {
      const left = ptb.gridOf(grid.height, grid.width, grid.channels, grid.data.slice());
      return this.sides.flatMap((side, scale) => {
        const codes = ptb.eachPlace(averaged(left, side), (vector) => this.inner.encode(vector)).flat();
        const enlarged = this.enlarge(codes, scale);
        left.data.forEach((x, i) => {
          left.data[i] = x - enlarged.data[i];
        });
        return codes;
      });
    }

    decodeGrid(tokens) {
      const finest = this.sides[this.sides.length - 1];
      const sum = ptb.gridOf(finest, finest, this.latentDim);
      let first = 0;
      this.sides.forEach((side, scale) => {
        if (first >= tokens.length) return;
        const enlarged = this.enlarge(tokens.slice(first, (first += side * side)), scale);
        enlarged.data.forEach((x, i) => {
          sum.data[i] += x;
        });
      });
      return sum;
    }

    /** A map of codes at the size of the grid: h / 2 + conv(h) / 2. */
    enlarge(codes, scale) {
      const [side, finest] = [this.sides[scale], this.sides[this.sides.length - 1]];
      const map = ptb.gridOf(side, side, this.latentDim);
      Array.from(codes).forEach((code, i) => map.data.set(this.inner.decode([code]), i * this.latentDim));
      const large = interpolated(map, finest);
      const smooth = this.smooth[scale](large);
      smooth.data.forEach((x, i) => {
        smooth.data[i] = large.data[i] / 2 + x / 2;
      });
      return smooth;
    }
  }

  /** A square grid averaged down to side × side, as adaptive_avg_pool2d does. */
  function averaged(grid, side) {
    const small = ptb.gridOf(side, side, grid.channels);
    const edges = Array.from({ length: side }, (_, i) => [
      Math.floor((i * grid.height) / side),
      Math.ceil(((i + 1) * grid.height) / side),
    ]);
    edges.forEach(([top, bottom], row) =>
      edges.forEach(([left, right], column) => {
        const count = (bottom - top) * (right - left);
        for (let channel = 0; channel < grid.channels; channel++) {
          let sum = 0;
          for (let y = top; y < bottom; y++)
            for (let x = left; x < right; x++) sum += grid.data[(y * grid.width + x) * grid.channels + channel];
          small.data[(row * side + column) * grid.channels + channel] = sum / count;
        }
      }),
    );
    return small;
  }

  /** A square grid enlarged to side × side, bilinearly, corners not aligned. */
  function interpolated(grid, side) {
    if (grid.height === side) return grid;
    const large = ptb.gridOf(side, side, grid.channels);
    const last = grid.height - 1;
    const steps = Array.from({ length: side }, (_, i) => {
      const place = Math.max(0, ((i + 0.5) * grid.height) / side - 0.5);
      const near = Math.floor(place);
      return [near, Math.min(near + 1, last), place - near];
    });
    steps.forEach(([top, bottom, down], row) =>
      steps.forEach(([left, right, across], column) => {
        for (let channel = 0; channel < grid.channels; channel++) {
          const at = (y, x) => grid.data[(y * grid.width + x) * grid.channels + channel];
          const above = at(top, left) * (1 - across) + at(top, right) * across;
          const below = at(bottom, left) * (1 - across) + at(bottom, right) * across;
          large.data[(row * side + column) * grid.channels + channel] = above * (1 - down) + below * down;
        }
      }),
    );
    return large;
  }

  const KINDS = { BSQ, VQ, Product, Residual, Pyramid };

  /** The quantizer that a `config` describes, whose weights begin with `name`. */
  ptb.quantizer = (config, weights, name = "quantizer") => {
    if (!(config.name in KINDS)) throw new ptb.CodecError(`There is no quantizer '${config.name}'.`);
    return new KINDS[config.name](config, weights, name);
  };
})((globalThis.ptb ??= {}));
