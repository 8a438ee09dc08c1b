// Pictures of another size, scaled and cut as arlib/data.py and Pillow do it. A picture is `{height, width, channels,
// data: Uint8Array}`: 3 channels are red, green and blue, 1 is gray.
"use strict";
((ptb) => {
  /** A picture scaled (Lanczos) until it covers height × width, then cut to its center: --fit, in Pillow's integers. */
  ptb.fit = (picture, height, width) => {
    if (picture.height === height && picture.width === width) return picture;
    const [own, wanted] = [picture.width / picture.height, width / height];
    const across = own > wanted ? wanted * picture.height : picture.width;
    const down = own < wanted ? picture.width / wanted : picture.height;
    const [left, top] = [(picture.width - across) * 0.5, (picture.height - down) * 0.5];
    const { channels } = picture;
    const columns = resampling(picture.width, Math.fround(left), Math.fround(left + across), width);
    const rows = resampling(picture.height, Math.fround(top), Math.fround(top + down), height);
    // The first pass is rounded before the second, so that their order changes pixels. This is the rule of Pillow 13.
    const upright = picture.height > height && picture.height - height > 2 * (picture.width - width);
    if (upright) return resampledAcross(resampledDown(picture, rows), columns);
    return resampledDown(resampledAcross(picture, columns), rows);
  };

  function resampledAcross(picture, columns) {
    if (!columns) return picture;
    const { height, channels } = picture;
    const out = { height, width: columns.length, channels, data: new Uint8Array(height * columns.length * channels) };
    for (let y = 0; y < height; y++) {
      const [source, target] = [y * picture.width * channels, y * out.width * channels];
      for (let i = 0; i < channels; i++) resample(picture.data, out.data, columns, source + i, target + i, channels);
    }
    return out;
  }

  function resampledDown(picture, rows) {
    if (!rows) return picture;
    const { width, channels } = picture;
    const out = { height: rows.length, width, channels, data: new Uint8Array(rows.length * width * channels) };
    for (let i = 0; i < width * channels; i++) resample(picture.data, out.data, rows, i, i, width * channels);
    return out;
  }

  const UNIT = 1 << 22; // what a weight of 1 is

  /** For each new pixel the first old one that it is made of, and the weights of that and the next ones; null where the
   *  pixels stay what they are. */
  function resampling(size, first, end, count) {
    if (first === 0 && end === size && size === count) return null;
    const scale = Math.fround(end - first) / count;
    const stretch = Math.max(scale, 1);
    return Array.from({ length: count }, (_, i) => {
      const center = first + (i + 0.5) * scale;
      const low = Math.max(0, Math.trunc(center - 3 * stretch + 0.5));
      const high = Math.min(size, Math.trunc(center + 3 * stretch + 0.5));
      const weights = Array.from({ length: high - low }, (__, j) => lanczos((j + low - center + 0.5) * (1 / stretch)));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      return [low, weights.map((weight) => Math.trunc((weight / sum) * UNIT + (weight / sum < 0 ? -0.5 : 0.5)))];
    });
  }

  function lanczos(x) {
    if (!(x >= -3 && x < 3)) return 0;
    const sinc = (y) => (y === 0 ? 1 : ptb.sinPi(y) / (y * 3.141592653589793));
    return sinc(x) * sinc(x / 3);
  }

  /** One line of new numbers, `step` from one to the next in either picture. */
  function resample(from, to, weighted, source, target, step) {
    for (let i = 0; i < weighted.length; i++) {
      const [low, weights] = weighted[i];
      let sum = UNIT / 2;
      for (let j = 0; j < weights.length; j++) sum += from[source + (low + j) * step] * weights[j];
      to[target + i * step] = Math.max(0, Math.min(255, Math.floor(sum / UNIT)));
    }
  }
})((globalThis.ptb ??= {}));
