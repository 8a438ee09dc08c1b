// The `.ptb` file (arlib/container.py, chapter 12): a header of 16 bytes, the magic "PTB", a byte for the version, 4
// bytes that name the model, the CRC-32 of the tokens and that of all the rest; then what the range coder wrote.
"use strict";
((ptb) => {
  const HEADER = 16;
  const VERSION = 1;

  const CRC = new Uint32Array(256).map((_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });

  /** CRC-32 (RFC 1952) of bytes, or of those before them and these. */
  ptb.crc32 = (bytes, before = 0) => {
    let crc = ~before;
    for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    return ~crc >>> 0;
  };

  const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const checksum = (file) => ptb.crc32(file.subarray(HEADER), ptb.crc32(file.subarray(0, 12)));

  /** CRC-32 of tokens in raster order, each as four bytes. */
  ptb.tokensChecksum = (tokens) => {
    const view = new DataView(new ArrayBuffer(4 * tokens.length));
    tokens.forEach((token, i) => view.setInt32(4 * i, token, true));
    return ptb.crc32(new Uint8Array(view.buffer));
  };

  /** The header of a file whose checksum is right: `{version, model, tokensChecksum, fileChecksum}`.
   *  Throws `CodecError` where the file is of another kind or version, too short, or damaged. */
  ptb.readHeader = (file) => {
    if (!(file[0] === 80 && file[1] === 84 && file[2] === 66)) {
      throw new ptb.CodecError("This is not a .ptb file, which would begin with the letters PTB.");
    }
    if (file.length < HEADER) {
      throw new ptb.CodecError(
        `This .ptb file is too short: it has ${file.length} of the ${HEADER} bytes of a header.`,
      );
    }
    if (file[3] !== VERSION) {
      throw new ptb.CodecError(
        `This .ptb file says that it is of version ${file[3]}; this library reads version ${VERSION}.`,
      );
    }
    const view = viewOf(file);
    if (checksum(file) !== view.getUint32(12, true)) {
      throw new ptb.CodecError("This .ptb file is damaged: its bytes do not match its checksum.");
    }
    return {
      version: file[3],
      model: ptb.hex(file.subarray(4, 8)),
      tokensChecksum: view.getUint32(8, true),
      fileChecksum: view.getUint32(12, true),
    };
  };

  /** The name of the shipped codec that wrote a file; `shipped` has the hash of each by its name. */
  ptb.find = (file, shipped) => {
    const { model } = ptb.readHeader(file);
    const name = Object.keys(shipped).find((each) => shipped[each] === model);
    if (name !== undefined) return name;
    throw new ptb.CodecError(`This .ptb file wants the model ${model}, which is not among the shipped ones.`);
  };

  /** The whole file: the model as 8 hex digits, the tokens for their checksum, and what the range coder wrote. */
  ptb.writeFile = (model, tokens, payload) => {
    const file = new Uint8Array(HEADER + payload.length);
    const view = viewOf(file);
    file.set([80, 84, 66, VERSION, ...model.match(/../g).map((byte) => parseInt(byte, 16))]);
    view.setUint32(8, ptb.tokensChecksum(tokens), true);
    file.set(payload, HEADER);
    view.setUint32(12, checksum(file), true);
    return file;
  };
})((globalThis.ptb ??= {}));
