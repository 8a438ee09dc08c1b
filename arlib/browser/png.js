// PNG files, read as arlib/data.py and Pillow read them, and written. A page must not read pixels back from a canvas:
// browsers change them, some on purpose.
"use strict";
((ptb) => {
  const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
  const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // a pixel's numbers by its color type
  const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
  const MOST_PIXELS = 178956970; // where Pillow refuses a picture, too
  // Adam7, the seven passes of an interlaced picture: first column and row, and the steps between them.
  const PASSES = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
  ];

  const broken = (why) => new ptb.CodecError(`The PNG file cannot be read: ${why}.`);
  const word = (bytes, at) => ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
  const isPng = (bytes) => SIGNATURE.every((byte, i) => bytes[i] === byte);

  /** Bytes through a stream that (de)compresses. */
  async function through(stream, bytes) {
    return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
  }

  /** A PNG file (a promise of a picture): transparent parts become white, a rotation mark is obeyed, and with
   *  `channels = 1` colors become gray by their brightness. Throws `CodecError` for what is no PNG, or damaged. */
  ptb.readPng = async (bytes, channels = 3) => {
    if (!isPng(bytes)) throw new ptb.CodecError("The file is not a PNG image.");
    const chunks = chunksOf(bytes);
    const head = header(chunks.IHDR);
    if (!chunks.IDAT) throw broken("it has no pixels");
    let packed;
    try {
      packed = await through(new DecompressionStream("deflate"), chunks.IDAT);
    } catch {
      throw broken("its pixels are damaged");
    }
    const colors = colored(samples(packed, head), head, chunks);
    return onWhite(turned(colors, orientation(chunks.eXIf)), channels);
  };

  /** The chunks by their names; those of the pixels are joined. */
  function chunksOf(bytes) {
    const chunks = {};
    const pixels = [];
    for (let at = 8; !("IEND" in chunks); ) {
      const end = at + 12 + word(bytes, at);
      if (at + 12 > bytes.length || end > bytes.length) throw broken("it is cut off");
      const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      const checksum = ptb.crc32(bytes.subarray(at + 4, end - 4));
      if (checksum !== word(bytes, end - 4)) throw broken(`its part ${name} is damaged`);
      const content = bytes.subarray(at + 8, end - 4);
      if (name === "IDAT") pixels.push(content);
      else chunks[name] ??= content;
      at = end;
    }
    if (pixels.length) chunks.IDAT = joined(pixels);
    return chunks;
  }

  function joined(parts) {
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  function header(chunk) {
    if (chunk?.length !== 13) throw broken("it has no header");
    const [width, height] = [word(chunk, 0), word(chunk, 4)];
    const [depth, type, , , interlaced] = chunk.subarray(8);
    if (!DEPTHS[type]?.includes(depth) || interlaced > 1 || !width || !height) throw broken("its header is none");
    if (width * height > MOST_PIXELS) throw broken(`it has ${width}×${height} pixels, which is too many`);
    return { width, height, depth, type, interlaced, count: SAMPLES[type] };
  }

  /** The numbers of all pixels, `count` a pixel, of `depth` bits each. */
  function samples(packed, head) {
    const { width, height, count, depth, interlaced } = head;
    const out = new (depth === 16 ? Uint16Array : Uint8Array)(width * height * count);
    const step = Math.ceil((count * depth) / 8);
    let at = 0;
    for (const [left, top, across, down] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
      const columns = Math.ceil((width - left) / across);
      const rows = Math.ceil((height - top) / down);
      if (columns <= 0 || rows <= 0) continue;
      const length = Math.ceil((columns * count * depth) / 8);
      let above = new Uint8Array(length);
      for (let row = 0; row < rows; row++, at += length + 1) {
        if (at + length + 1 > packed.length) throw broken("its pixels are cut off");
        const line = packed.subarray(at + 1, at + 1 + length);
        unfilter(packed[at], line, above, step);
        let place = ((top + row * down) * width + left) * count;
        for (let i = 0; i < columns * count; place += across * count) {
          for (let j = 0; j < count; j++) out[place + j] = sample(line, i++, depth);
        }
        above = line;
      }
    }
    return out;
  }

  function sample(line, i, depth) {
    if (depth === 8) return line[i];
    if (depth === 16) return (line[2 * i] << 8) | line[2 * i + 1];
    const first = i * depth;
    return (line[first >> 3] >> (8 - depth - (first & 7))) & ((1 << depth) - 1);
  }

  /** Take the filter from a line: 0 none, 1 the pixel before, 2 the one above, 3 their mean, 4 Paeth's choice. */
  function unfilter(filter, line, above, step) {
    if (filter > 4) throw broken("its pixels are damaged");
    for (let i = 0; filter && i < line.length; i++) {
      const left = i < step ? 0 : line[i - step];
      if (filter === 1) line[i] += left;
      else if (filter === 2) line[i] += above[i];
      else if (filter === 3) line[i] += (left + above[i]) >> 1;
      else line[i] += paeth(left, above[i], i < step ? 0 : above[i - step]);
    }
  }

  function paeth(left, above, corner) {
    const a = Math.abs(above - corner);
    const b = Math.abs(left - corner);
    const c = Math.abs(left + above - 2 * corner);
    return a <= b && a <= c ? left : b <= c ? above : corner;
  }

  /** Numbers to red, green, blue and alpha: `{height, width, channels: 4, data}`, with Pillow's ways: of 16 bits it
   *  takes the upper eight, and a color that is named as transparent it compares by its lower eight. */
  function colored(numbers, { width, height, depth, type, count }, { PLTE: palette = [], tRNS: clear = null }) {
    const data = new Uint8Array(width * height * 4);
    const most = (1 << Math.min(depth, 8)) - 1;
    const level = (x) => (depth === 16 ? x >> 8 : (x * 255) / most);
    const hidden = clear && type !== 3 ? [0, 1, 2].slice(0, count).map((i) => clear[2 * i + 1]) : null;
    if (hidden && depth === 1) hidden[0] *= 255;
    for (let i = 0, p = 0, q = 0; i < width * height; i++, p += count, q += 4) {
      if (type === 3) {
        for (let j = 0; j < 3; j++) data[q + j] = palette[3 * numbers[p] + j] ?? 0;
        data[q + 3] = clear?.[numbers[p]] ?? 255;
        continue;
      }
      for (let j = 0; j < 3; j++) data[q + j] = level(numbers[count < 3 ? p : p + j]);
      if (count % 2 === 0) data[q + 3] = level(numbers[p + count - 1]);
      else data[q + 3] = hidden?.every((x, j) => x === data[q + j]) ? 0 : 255;
    }
    return { height, width, channels: 4, data };
  }

  /** What a camera's mark says of the first row and column (EXIF, tag 274): 1 to 8. */
  function orientation(exif) {
    if (!exif || exif.length < 8) return 1;
    const view = new DataView(exif.buffer, exif.byteOffset, exif.length);
    const little = exif[0] === 73;
    const first = view.getUint32(4, little);
    if (first + 2 > exif.length) return 1;
    for (let i = 0; i < view.getUint16(first, little); i++) {
      const entry = first + 2 + 12 * i;
      if (entry + 12 > exif.length) return 1;
      if (view.getUint16(entry, little) === 274) return view.getUint16(entry + 8, little);
    }
    return 1;
  }

  /** The picture as it should be seen: mark 2 is mirrored, 3 upside down, 5 to 8 lie on a side. */
  function turned(picture, mark) {
    if (!(mark >= 2 && mark <= 8)) return picture;
    const [height, width] = mark >= 5 ? [picture.width, picture.height] : [picture.height, picture.width];
    const data = new Uint8Array(picture.data.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let [row, column] = mark >= 5 ? [x, y] : [y, x];
        if ([2, 3, 7, 8].includes(mark)) column = picture.width - 1 - column;
        if ([3, 4, 6, 7].includes(mark)) row = picture.height - 1 - row;
        const from = 4 * (row * picture.width + column);
        data.set(picture.data.subarray(from, from + 4), 4 * (y * width + x));
      }
    }
    return { height, width, channels: 4, data };
  }

  /** Red, green, blue and alpha (as `ImageData` has them) on white, in Pillow's integers. */
  function onWhite({ height, width, data }, channels) {
    const out = new Uint8Array(height * width * channels);
    const over = (color, alpha) => {
      const sum = 128 * (color * alpha + 255 * (255 - alpha)) + (128 << 7);
      return (((sum >> 8) + sum) >> 8) >> 7;
    };
    for (let i = 0; i < height * width; i++) {
      const alpha = data[4 * i + 3];
      const red = over(data[4 * i], alpha);
      const green = over(data[4 * i + 1], alpha);
      const blue = over(data[4 * i + 2], alpha);
      if (channels === 1) {
        out[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
        continue;
      }
      out[3 * i] = red;
      out[3 * i + 1] = green;
      out[3 * i + 2] = blue;
    }
    return { height, width, channels, data: out };
  }

  ptb.onWhite = onWhite;

  /** A picture as the bytes of a PNG file (a promise). */
  ptb.writePng = async ({ height, width, channels, data }) => {
    const lines = new Uint8Array(height * (width * channels + 1));
    for (let row = 0; row < height; row++) {
      const line = data.subarray(row * width * channels, (row + 1) * width * channels);
      const first = row * (line.length + 1);
      lines[first] = 1;
      for (let i = 0; i < line.length; i++) lines[first + 1 + i] = line[i] - (i < channels ? 0 : line[i - channels]);
    }
    const head = new DataView(new ArrayBuffer(13));
    head.setUint32(0, width);
    head.setUint32(4, height);
    head.setUint16(8, 0x800 + (channels === 3 ? 2 : 0)); // 8 bits a number; colors or gray
    const packed = await through(new CompressionStream("deflate"), lines);
    return joined([
      Uint8Array.from(SIGNATURE),
      chunk("IHDR", new Uint8Array(head.buffer)),
      chunk("IDAT", packed),
      chunk("IEND", new Uint8Array(0)),
    ]);
  };

  function chunk(name, content) {
    const bytes = new Uint8Array(content.length + 12);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, content.length);
    bytes.set(Array.from(name, (letter) => letter.charCodeAt(0)), 4);
    bytes.set(content, 8);
    view.setUint32(content.length + 8, ptb.crc32(bytes.subarray(4, content.length + 8)));
    return bytes;
  }

})((globalThis.ptb ??= {}));
