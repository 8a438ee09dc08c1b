// The codec at work next to the page: what the page asks for, one thing at a time. To cancel is to end the worker.
"use strict";
{
  const models = {};
  let original = null; // the picture that was read last, in its own size

  // The rows of places that are known, painted by the codec; the rest of the picture is gray.
  const soFar = (model, tokens, rows) => {
    const [height, width] = model.grid;
    const top = model.codec.tokenizer.decode(tokens.slice(0, (tokens.length / height) * rows), rows, width);
    const data = new Uint8Array((top.data.length / rows) * height).fill(128);
    data.set(top.data);
    return { ...top, height: (top.height / rows) * height, data };
  };

  const bytesOf = (base64) => Uint8Array.fromBase64?.(base64) ?? Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  const tasks = {
    /** From the bytes of a file; from pixels, where the page had to read them itself. */
    async read({ bytes, pixels }) {
      original = pixels ? ptb.onWhite(pixels, 3) : await reading.read(bytes);
      return { width: original.width, height: original.height };
    },
    fit({ height, width, share }) {
      return reading.cropped(original, height, width, share);
    },
    load({ codec, prior, tokenizer, shipped }) {
      models[codec] = ptb.loadModels({ prior: bytesOf(prior), tokenizer: bytesOf(tokenizer), shipped });
      const { hash, grid, size, length, qualities } = models[codec];
      return { hash, grid, size, length, qualities };
    },
    encode({ codec, picture, label }, tell) {
      return models[codec].encode(picture, { label, onProgress: tell.progress });
    },
    decode({ codec, file }, tell) {
      return models[codec].decode(file, { onToken: tell.tokens(models[codec]) });
    },
    sample({ codec, settings }, tell) {
      return models[codec].sample({ ...settings, onToken: tell.tokens(models[codec]) });
    },
    random({ codec, payload }, tell) {
      return models[codec].decodeRandom(payload, { onToken: tell.tokens(models[codec]) });
    },
    sha256({ tokens }) {
      return ptb.hex(ptb.sha256([new Uint8Array(Int32Array.from(tokens).buffer)]));
    },
  };

  addEventListener("message", async ({ data }) => {
    const tell = {
      progress: (done, total) => done % 20 === 0 && postMessage({ kind: "progress", done, total }),
      // Each place as soon as its first token is known, and twice what the codec makes of the rows so far, which takes
      // time.
      tokens: (model) => (tokens, done) => {
        const codebooks = model.length / (model.grid[0] * model.grid[1]);
        const place = Math.floor((done - 1) / codebooks);
        if ((done - 1) % codebooks === 0) postMessage({ kind: "token", place, token: tokens[done - 1] });
        if (done % 20 === 0) postMessage({ kind: "progress", done, total: model.length });
        const [height] = model.grid;
        const rows = done / (model.length / height);
        if (rows === Math.round(height / 3) || rows === Math.round((2 * height) / 3)) {
          postMessage({ kind: "picture", picture: soFar(model, tokens, rows) });
        }
      },
    };
    try {
      postMessage({ kind: "done", result: await tasks[data.task](data, tell) });
    } catch (error) {
      if (!(error instanceof ptb.CodecError)) console.error(error);
      postMessage({ kind: "error", message: error.message });
    }
  });
}
