// The book's codec in plain JavaScript, but for its innermost loops (kernels.wat): no dependency, no bundler. The files
// of this folder are classic scripts that add to one global object, `ptb`; scripts.txt names them in the order in which
// they build on each other. In a page they are script elements in that order; in a worker, one Blob of their texts
// joined; in Node, `import { ptb, loadCodec } from "./ptb.mjs"`, which is also the command line.
//
// A picture is {height, width, channels, data: Uint8Array}, row by row, the channels of a pixel side by side: 3 are
// red, green and blue, 1 is gray. Tokens are an Int32Array in raster order. Bytes are Uint8Arrays. All of it can be
// posted to a worker and back. Whatever is wrong with what a function was given is a `ptb.CodecError`, whose message is
// one sentence or two in the words of the Python library, fit to be shown. All is synchronous and takes seconds, so
// call it in a worker; only readPng and writePng are promises.
//
//   ptb.loadModels({ prior, tokenizer, shipped })    -> model
//       bytes of two weights files (Uint8Array or ArrayBuffer), and, if at hand, data/weights/codecs.json as an object,
//       so that errors can name codecs. About a second.
//   model.hash, model.grid ([20, 30]), model.size ([height, width]), model.length (600), model.channels,
//   model.classes, model.qualities (0 where there is no dial)
//
//   model.encode(picture, { label, onProgress })     -> { file, tokens, bits, ledger, reconstruction }
//       `file` is what a .ptb file holds, `bits` what each token costs (Float64Array, by place), `ledger` as in
//       info, `reconstruction` the picture that decoding gives. The picture has the model's size: see ptb.fit.
//       `label` is a class, or the dial's setting, or null. `onProgress(done, length)` is called after each token
//       is coded.
//   model.decode(file, { onToken })                  -> { tokens, picture }
//       `onToken(tokens, done)` is called after each pass, with the tokens known so far, -1 for those still to come:
//       the same array each time, so copy what you keep. Throws for a file that is damaged, or not this model's.
//   model.info(file)         -> { version, model, tokensChecksum, fileChecksum, size, label, ledger }
//       `ledger` is where the bits went: {ideal, table, coder, padding, header, checksums} (and label first, if the
//       model knows classes), which sum to 8 · size. Decodes the file.
//   model.sample({ seed, temperature, topK, keepRows, tokens, label, onToken }) -> { tokens, picture, bits }
//       tokens that nobody has chosen: drawn from the prior, as arlib.sampling.generate draws them with the same seed.
//       With `keepRows`, the first so many rows of the grid are those of `tokens`. All settings may be left out.
//   model.decodeRandom(payload, { onToken })         -> { tokens, picture, bits, label }
//       any bytes at all as what the range coder wrote, without header and checksums: random ones are another way to
//       sample, those of a file show what a changed bit does.
//   model.paint(tokens) -> picture, model.tokens(picture, label) -> tokens: the tokenizer alone
//   model.progress(file): a generator of what `onToken` gets, for pages that want to stop between two tokens
//
//   ptb.fit(picture, height, width)                  -> picture     scaled (Lanczos) and cut, exactly as --fit does
//   ptb.readPng(bytes, channels = 3)                 -> promise of a picture; transparent parts become white
//   ptb.writePng(picture)                            -> promise of bytes
//   ptb.onWhite({height, width, data}, channels)     -> picture     of RGBA data, like a canvas's ImageData
//   ptb.readHeader(file), ptb.find(file, shipped): what the header says, and the name of the shipped codec
"use strict";
((ptb) => {
  ptb.loadModels = ({ prior, tokenizer, shipped = {} }) => {
    const read = (bytes, name) => ptb.readWeights(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes), name);
    const weights = [read(prior, "The file of the prior"), read(tokenizer, "The file of the tokenizer")];
    return new Model(new ptb.Codec(...weights, shipped));
  };

  class Model {
    constructor(codec) {
      this.codec = codec;
      const { hash, grid, size, length, classes } = codec;
      const { channels, qualities } = codec.tokenizer;
      Object.assign(this, { hash, grid, size, length, classes, channels, qualities });
    }

    encode(picture, { label = null, onProgress } = {}) {
      const tokens = this.tokens(picture, label);
      return { tokens, ...this.codec.compress(tokens, label, onProgress), reconstruction: this.paint(tokens) };
    }

    decode(file, { onToken } = {}) {
      const tokens = last(this.progress(file), onToken);
      return { tokens, picture: this.paint(tokens) };
    }

    progress(file) {
      return this.codec.progressiveTokens(file);
    }

    info(file) {
      return { ...ptb.readHeader(file), size: file.length, ...this.codec.ledger(file) };
    }

    sample({ seed = 0, temperature = 1, topK = null, keepRows = 0, tokens = null, label = null, onToken } = {}) {
      ptb.checkSettings(temperature, topK);
      this.codec.checkLabel(label);
      const kept = (keepRows * this.length) / this.grid[0];
      if (kept && !(kept <= this.length && tokens?.length === this.length)) {
        throw new ptb.CodecError(`Rows to keep are 0 to ${this.grid[0]}, of ${this.length} tokens that are given.`);
      }
      const generator = new ptb.Generator(seed);
      return this.speak(label, onToken, (logits, place) => {
        const drawn = ptb.draw(ptb.probabilities(logits, temperature, topK), generator.rand());
        return place < kept ? tokens[place] : drawn;
      });
    }

    decodeRandom(payload, { onToken } = {}) {
      const decoder = new ptb.Decoder(payload);
      const label = this.codec.readLabel(decoder);
      const decoded = (logits) => decoder.decode(ptb.cumulate(ptb.weigh(logits)));
      return { label, ...this.speak(label, onToken, decoded) };
    }

    tokens(picture, label = null) {
      return this.codec.tokens(picture, label);
    }

    paint(tokens) {
      return this.codec.paint(tokens);
    }

    /** The tokens that `choose` chooses, what each costs in bits, and their picture. */
    speak(label, onToken, choose) {
      const bits = new Float64Array(this.length);
      const counted = (logits, place) => {
        const token = choose(logits, place);
        bits[place] = ptb.idealBits(logits, token);
        return token;
      };
      const tokens = last(this.codec.spoken(label, counted), onToken);
      return { tokens, bits, picture: this.paint(tokens) };
    }
  }

  /** The last of what a generator of tokens gives. */
  function last(generator, onToken = () => {}) {
    let tokens;
    for (tokens of generator) onToken(tokens, tokens.reduce((known, token) => known + (token >= 0), 0));
    return tokens;
  }
})((globalThis.ptb ??= {}));
