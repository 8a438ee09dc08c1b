// The image tokenizer: encoder, quantizer and decoder (arlib/tokenizer.py, chapters 2 to 4), in float64. A grid is
// `{height, width, channels, data}`, its numbers place by place, and so is a picture, with bytes. The layers are
// functions from a grid to a grid, each a gathering of numbers and a matrix product.
"use strict";
((ptb) => {
  const EPSILON = 1e-5;

  ptb.gridOf = (height, width, channels, data = new Float64Array(height * width * channels)) => ({
    height,
    width,
    channels,
    data,
  });

  /** What a function makes of the vector at each place, in a list. */
  ptb.eachPlace = ({ height, width, channels, data }, change) =>
    Array.from({ length: height * width }, (_, i) => change(data.subarray(i * channels, (i + 1) * channels)));

  /** A matrix applied to a vector that `gather(grid, row, column, into)` finds for each place of height × width. */
  function gathered(matrix, bias, height, width, grid, gather) {
    const out = ptb.gridOf(height, width, matrix.rows);
    const vectors = Array.from({ length: width }, () => new Float64Array(matrix.columns));
    for (let row = 0; row < height; row++) {
      vectors.forEach((vector, column) => gather(grid, row, column, vector));
      ptb.multiplyAll(matrix, vectors).forEach((sums, column) => {
        for (let i = 0; i < sums.length; i++) out.data[(row * width + column) * matrix.rows + i] = sums[i] + bias[i];
      });
    }
    return out;
  }

  /** The weights of a convolution, `(out, in, k, k)`, as a matrix of `out` × (k, k, in). */
  function matrixOf({ shape, data }) {
    const [rows, channels, side] = shape;
    const area = side * side;
    const moved = new Float64Array(data.length);
    for (let row = 0; row < rows; row++)
      for (let channel = 0; channel < channels; channel++)
        for (let place = 0; place < area; place++)
          moved[(row * area + place) * channels + channel] = data[(row * channels + channel) * area + place];
    return ptb.packed(moved, rows, area * channels);
  }

  /** A convolution that keeps the size of the grid, beyond which all is 0: 1×1 or 3×3. */
  ptb.convolution = (weights, name) => {
    const weight = weights[`${name}.weight`];
    const matrix = matrixOf(weight);
    const side = weight.shape[2];
    const reach = (side - 1) / 2;
    const gather = ({ height, width, channels, data }, row, column, vector) => {
      let p = 0;
      for (let y = row - reach; y <= row + reach; y++) {
        for (let x = column - reach; x <= column + reach; x++, p += channels) {
          const first = (y * width + x) * channels;
          const inside = y >= 0 && y < height && x >= 0 && x < width;
          for (let i = 0; i < channels; i++) vector[p + i] = inside ? data[first + i] : 0;
        }
      }
    };
    return (grid) => gathered(matrix, weights[`${name}.bias`].data, grid.height, grid.width, grid, gather);
  };

  /** The strided convolution that sees each patch once. */
  function patches(weights, name, size) {
    const matrix = matrixOf(weights[`${name}.weight`]);
    const gather = ({ width, channels, data }, row, column, vector) => {
      for (let y = 0, p = 0; y < size; y++) {
        const first = ((row * size + y) * width + column * size) * channels;
        for (let i = 0; i < size * channels; i++) vector[p++] = data[first + i];
      }
    };
    return (grid) =>
      gathered(matrix, weights[`${name}.bias`].data, grid.height / size, grid.width / size, grid, gather);
  }

  /** Its transpose, `(in, out, k, k)`: a vector becomes a patch. */
  function painted(weights, name, size) {
    const { shape, data } = weights[`${name}.weight`];
    const [channels, colors] = shape;
    const area = size * size;
    const moved = new Float64Array(data.length);
    for (let channel = 0; channel < channels; channel++)
      for (let color = 0; color < colors; color++)
        for (let place = 0; place < area; place++)
          moved[(place * colors + color) * channels + channel] = data[(channel * colors + color) * area + place];
    const matrix = ptb.packed(moved, area * colors, channels);
    const bias = weights[`${name}.bias`].data;
    return (grid) => {
      const out = ptb.gridOf(grid.height * size, grid.width * size, colors);
      const patches = ptb.multiplyAll(matrix, ptb.eachPlace(grid, (vector) => vector));
      patches.forEach((patch, i) => {
        const [top, left] = [Math.floor(i / grid.width) * size, (i % grid.width) * size];
        patch.forEach((value, j) => {
          const [y, x] = [top + Math.floor(j / (size * colors)), left + (Math.floor(j / colors) % size)];
          out.data[(y * out.width + x) * colors + (j % colors)] = value + bias[j % colors];
        });
      });
      return out;
    };
  }

  /** LayerNorm over the channels, at each place by itself. */
  function channelNorm(weights, name) {
    const [gain, bias] = [weights[`${name}.weight`].data, weights[`${name}.bias`].data];
    return ({ height, width, channels, data }) => {
      const out = ptb.gridOf(height, width, channels);
      for (let first = 0; first < data.length; first += channels) {
        let mean = 0;
        for (let i = 0; i < channels; i++) mean += data[first + i];
        mean /= channels;
        let variance = 0;
        for (let i = 0; i < channels; i++) variance += (data[first + i] - mean) * (data[first + i] - mean);
        const scale = 1 / Math.sqrt(variance / channels + EPSILON);
        for (let i = 0; i < channels; i++) out.data[first + i] = (data[first + i] - mean) * scale * gain[i] + bias[i];
      }
      return out;
    };
  }

  /** x + conv1×1(GELU(conv3×3(norm(x)))). */
  function residualBlock(weights, name) {
    const norm = channelNorm(weights, `${name}.norm`);
    const conv = ptb.convolution(weights, `${name}.conv`);
    const mix = ptb.convolution(weights, `${name}.mix`);
    return (grid) => {
      const hidden = conv(norm(grid));
      for (let i = 0; i < hidden.data.length; i++) hidden.data[i] = ptb.gelu(hidden.data[i]);
      const out = mix(hidden);
      for (let i = 0; i < out.data.length; i++) out.data[i] += grid.data[i];
      return out;
    };
  }

  ptb.Tokenizer = class Tokenizer {
    /** A tokenizer of what `readWeights` gives. `trace(name, grid)`, where it is set, is shown every layer's result. */
    constructor({ config, weights }) {
      const { patch_size: size, depth, quantizer, channels = 3, refine = 0, qualities = 0 } = config;
      if (!quantizer || !depth) {
        throw new ptb.CodecError("This tokenizer has no quantizer or no blocks: it is no codec's.");
      }
      this.patchSize = size;
      this.channels = channels;
      this.qualities = qualities;
      this.dial = weights.dial;
      this.quantizer = ptb.quantizer(quantizer, weights);
      this.trace = null;
      const blocks = (side, first, count) =>
        Array.from({ length: count }, (_, i) => residualBlock(weights, `${side}.${first + i}`));
      this.encoder = [
        patches(weights, "encoder.0", size),
        ...blocks("encoder", 1, depth),
        channelNorm(weights, `encoder.${depth + 1}`),
        ptb.convolution(weights, `encoder.${depth + 2}`),
      ];
      this.decoder = [
        ptb.convolution(weights, "decoder.0"),
        ...blocks("decoder", 1, depth),
        channelNorm(weights, `decoder.${depth + 1}`),
        painted(weights, `decoder.${depth + 2}`, size),
        ...blocks("decoder", depth + 3, refine),
        ...(refine ? [ptb.convolution(weights, `decoder.${depth + 3 + refine}`)] : []),
      ];
    }

    /** A picture, `{height, width, channels, data: Uint8Array}`, to its tokens, `Int32Array` in raster order. `quality`
     *  is the dial's setting, the best where it is left out. */
    encode(picture, quality = null) {
      const pixels = ptb.gridOf(picture.height, picture.width, picture.channels);
      for (let i = 0; i < pixels.data.length; i++) pixels.data[i] = picture.data[i] / 255 - 0.5;
      const setting = this.checkQuality(quality);
      const latent = this.through("encoder", pixels, (grid, layer) => {
        if (layer === 0 && this.dial) turned(grid, this.dial, setting);
      });
      if (this.quantizer.encodeGrid) return Int32Array.from(this.quantizer.encodeGrid(latent));
      return Int32Array.from(ptb.eachPlace(latent, (vector) => this.quantizer.encode(vector)).flat());
    }

    /** Tokens `(height · width · codebooks,)` to their picture. Throws `CodecError` for a token in no codebook. */
    decode(tokens, height, width) {
      const { quantizer } = this;
      if (tokens.some((token) => !(token >= 0 && token < quantizer.codebookSize))) {
        throw new ptb.CodecError(`Tokens lie in [0, ${quantizer.codebookSize}); here is one that does not.`);
      }
      const grid = quantizer.decodeGrid?.(tokens) ?? vectors(tokens, height, width, quantizer);
      const pixels = this.through("decoder", grid);
      return { ...pixels, data: Uint8Array.from(pixels.data, grayLevel) };
    }

    /** The dial's setting; throws `CodecError` for one that it does not have. */
    checkQuality(quality) {
      if (!this.qualities) {
        if (quality === null) return 0;
        throw new ptb.CodecError("This tokenizer has no dial: leave the quality out.");
      }
      const setting = quality ?? this.qualities - 1;
      if (setting >= 0 && setting <= this.qualities - 1) return setting;
      throw new ptb.CodecError(`A quality lies between 0 and ${this.qualities - 1}; here is another one.`);
    }

    through(side, grid, after = () => {}) {
      this[side].forEach((layer, number) => {
        grid = layer(grid);
        after(grid, number);
        this.trace?.(`${side}.${number}`, grid);
      });
      return grid;
    }
  };

  /** Add the dial's vector to every place; what lies between two settings is their mixture. */
  function turned({ channels, data }, { shape, data: dial }, setting) {
    const below = Math.min(Math.floor(setting), shape[0] - 2);
    for (let i = 0; i < data.length; i++) {
      const first = below * channels + (i % channels);
      data[i] += dial[first] + (setting - below) * (dial[first + channels] - dial[first]);
    }
  }

  function vectors(tokens, height, width, quantizer) {
    const { codebooks, latentDim } = quantizer;
    const grid = ptb.gridOf(height, width, latentDim);
    for (let i = 0; i < height * width; i++) {
      grid.data.set(quantizer.decode(Array.from(tokens.subarray(i * codebooks, (i + 1) * codebooks))), i * latentDim);
    }
    return grid;
  }

  /** A number in [-0.5, 0.5] to the nearest gray level. */
  function grayLevel(x) {
    return Math.max(0, Math.min(255, ptb.rint((x + 0.5) * 255)));
  }
})((globalThis.ptb ??= {}));
