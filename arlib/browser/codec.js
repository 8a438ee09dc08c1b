// The codec (arlib/codec.py, chapter 12): a picture becomes tokens, the tokens a file, and back. Errors are said in the
// words of the Python library.
"use strict";
((ptb) => {
  const HEADER = 16;
  const times = (sides) => sides.join("×");

  /** The order that a prior's header names, like "shuffled 7" (arlib/orders.py). */
  function namedOrder(name, length) {
    const [kind, seed] = name.split(" ");
    if (kind !== "shuffled" || !/^[0-9]+$/.test(seed)) {
      throw new ptb.CodecError(`'${name}' is no order of tokens; one is called like 'shuffled 7'.`);
    }
    const order = Array.from({ length }, (_, place) => place);
    let state = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let last = length - 1; last > 0; last--) {
      state = (Math.imul(1664525, state) + 1013904223) >>> 0;
      const other = ((state >>> 16) * (last + 1)) >>> 16;
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  /** -log2 of a token's probability by a twin's logits: for reports, never for coding. */
  ptb.idealBits = (logits, token) => {
    let [most, sum] = [-Infinity, 0];
    for (const logit of logits) if (logit > most) most = logit;
    for (const logit of logits) sum += ptb.decay(most - logit);
    return Math.log2(sum) + ((most - logits[token]) / 1024) * 1.4426950408889634;
  };

  /** A prior and the tokenizer whose tokens it has learned, as `readWeights` gives them. `grid` is the shape of a
   *  picture's tokens, `size` its height and width, `classes` how many labels the prior knows. Throws
   *  `CodecError`. */
  ptb.Codec = class Codec {
    constructor(prior, tokenizer, shipped = {}) {
      if (prior.kind !== "prior" || tokenizer.kind !== "tokenizer") {
        throw new ptb.CodecError("A codec is made of the weights of a prior and of a tokenizer, in this order.");
      }
      if (!prior.config.shift) {
        throw new ptb.CodecError(
          "This prior reads the token that it should predict (shift=False): no decoder can do that.",
        );
      }
      const sha256 = tokenizer.sha256();
      if (!`sha256:${sha256}`.startsWith(prior.tokenizer)) {
        throw new ptb.CodecError("The prior has learned the tokens of another tokenizer than this one.");
      }
      this.shipped = shipped;
      this.twin = new ptb.Twin(prior);
      this.tokenizer = new ptb.Tokenizer(tokenizer);
      this.grid = prior.grid.split("×").map(Number);
      this.length = prior.config.length;
      this.passes = prior.config.scales?.length ?? this.length;
      this.classes = prior.config.classes ?? 0;
      this.order = "order" in prior ? namedOrder(prior.order, this.length) : null;
      const sides = this.tokenizer.quantizer.sides;
      this.places = sides ? [sides[sides.length - 1], sides[sides.length - 1]] : this.grid.slice(0, 2);
      this.size = this.places.map((side) => side * this.tokenizer.patchSize);
      const hashed = [this.twin.digest(), sha256, ...(this.order ?? [])].join(" ");
      this.hash = ptb.hex(ptb.sha256([new TextEncoder().encode(hashed)])).slice(0, 8);
    }

    /** A picture to its tokens, in raster order. */
    tokens(picture, label = null) {
      const [height, width] = this.size;
      if (picture.height !== height || picture.width !== width) {
        throw new ptb.CodecError(
          `This codec knows pictures of ${times(this.size)} pixels (height × width), not of ` +
            `${picture.height}×${picture.width}.`,
        );
      }
      if (picture.channels !== this.tokenizer.channels) {
        const { channels } = this.tokenizer;
        throw new ptb.CodecError(`encode takes (B, H, W, ${channels}) uint8, not ${picture.channels} channels.`);
      }
      return this.tokenizer.encode(picture, this.tokenizer.qualities ? label : null);
    }

    /** Tokens in raster order to their picture. */
    paint(tokens) {
      return this.tokenizer.decode(Int32Array.from(tokens), ...this.places);
    }

    /** Tokens to a file, the bits of each token, and where the file's bits went: `{file, bits, ledger}`.
     *  `onToken(done, length)` hears of the progress. */
    compress(tokens, label = null, onToken = () => {}) {
      if (tokens.length !== this.length) {
        throw new ptb.CodecError(`This codec knows grids of ${times(this.grid)} tokens, not ${tokens.length} tokens.`);
      }
      if (tokens.some((token) => !(token >= 0 && token < this.twin.vocabulary))) {
        throw new ptb.CodecError(`Tokens lie in [0, ${this.twin.vocabulary}); here is one that does not.`);
      }
      this.checkLabel(label);
      const encoder = new ptb.Encoder();
      const bits = new Float64Array(this.length);
      let [ideal, done] = [0, 0];
      if (this.classes) encoder.encode((label ?? -1) + 1, this.labelTable);
      const choose = (logits, place) => {
        const table = ptb.cumulate(ptb.weigh(logits));
        const token = tokens[place];
        encoder.encode(token, table);
        bits[place] = 24 - Math.log2(table[token + 1] - table[token]);
        ideal += ptb.idealBits(logits, token);
        onToken(++done, this.length);
        return token;
      };
      for (const _ of this.spoken(label, choose, tokens));
      const payload = encoder.finish();
      const coded = bits.reduce((sum, each) => sum + each, 0);
      const named = Math.log2(this.classes + 1);
      const rows = { ideal, table: coded - ideal, coder: encoder.bits - coded - named };
      Object.assign(rows, { padding: 8 * payload.length - encoder.bits, header: 64, checksums: 64 });
      const ledger = this.classes ? { label: named, ...rows } : rows;
      return { file: ptb.writeFile(this.hash, tokens, payload), bits, ledger };
    }

    /** What is known of a file's tokens after each pass of the twin, `Int32Array` in raster order, -1 for a token still
     *  to come; the last is the whole grid. Throws `CodecError` before the first or in place of the last. */
    *progressiveTokens(file) {
      this.check(file);
      const decoder = new ptb.Decoder(file.subarray(HEADER));
      const label = this.readLabel(decoder);
      let tokens;
      for (tokens of this.spoken(label, (logits) => decoder.decode(ptb.cumulate(ptb.weigh(logits))))) {
        if (tokens.includes(-1)) yield tokens;
      }
      if (!decoder.finish() || ptb.tokensChecksum(tokens) !== ptb.readHeader(file).tokensChecksum) {
        throw new ptb.CodecError(
          "This .ptb file decodes to other tokens than were compressed, as their checksum tells: someone has changed " +
            "it and repaired its checksum, or this machine computes other probabilities, a defect of the library.",
        );
      }
      yield tokens;
    }

    /** The label in a file, or null; the tokens are not decoded. Throws `CodecError`. */
    label(file) {
      this.check(file);
      return this.readLabel(new ptb.Decoder(file.subarray(HEADER)));
    }

    /** The tokens that the twin speaks, after each of its passes: `choose(logits, place)` says which each of them is.
     *  The same `Int32Array` each time, by place, -1 where none is yet. An encoder knows them all, by place: with
     *  `known` the twin takes many at once. */
    *spoken(label, choose, known = null) {
      const cache = this.twin.newCache(this.order, label ?? -1);
      const tokens = new Int32Array(this.length).fill(-1);
      const read = new Int32Array(this.length);
      if (known) read.forEach((_, i) => (read[i] = known[this.order?.[i] ?? i]));
      for (let done = 0; done < this.length; ) {
        for (const logits of this.twin.ask(read, cache, known ? this.length : done)) {
          const place = this.order?.[done] ?? done;
          read[done++] = tokens[place] = choose(logits, place);
        }
        yield tokens;
      }
    }

    /** Where the bits of a file went, and its label: `{ledger, label}`. Throws as decoding does. */
    ledger(file) {
      let tokens;
      for (tokens of this.progressiveTokens(file));
      const label = this.label(file);
      return { label, ledger: this.compress(tokens, label).ledger };
    }

    get labelTable() {
      return Array.from({ length: this.classes + 2 }, (_, i) => i);
    }

    readLabel(decoder) {
      const label = this.classes ? decoder.decode(this.labelTable) - 1 : -1;
      return label < 0 ? null : label;
    }

    checkLabel(label) {
      if (label === null) return;
      if (!this.classes) throw new ptb.CodecError("This prior has learned no classes: leave the label out.");
      if (!(Number.isInteger(label) && label >= -1 && label < this.classes)) {
        throw new ptb.CodecError(`Labels lie in [0, ${this.classes}), or are -1 for none; here is another one.`);
      }
    }

    check(file) {
      const { model } = ptb.readHeader(file);
      if (model === this.hash) return;
      const names = Object.keys(this.shipped).filter((name) => this.shipped[name] === model);
      const which = names.length ? ` (${names.map((name) => `the shipped '${name}'`).join(", ")})` : "";
      throw new ptb.CodecError(`This .ptb file wants another model, ${model}${which}; this codec is ${this.hash}.`);
    }
  };
})((globalThis.ptb ??= {}));
