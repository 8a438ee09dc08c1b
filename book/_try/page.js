// The page "Try it" itself: a picture in and its file out, a file in and its picture out, any bytes, samples, a proof.
(() => {
  const root = document.getElementById("try");
  const NAMES = { book: "book: one file a picture", fine: "fine: with a dial for the size" };
  const state = { codec: "book", picture: null, source: null, share: 0.5, coded: null, loaded: {} };

  // ---- The worker: one task at a time; to cancel is to end it, and the next task begins a new one ----

  let worker = null;
  let pending = null;

  function begin() {
    worker = new Worker(URL.createObjectURL(new Blob([TRY.source], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => {
      if (!pending) return;
      if (data.kind === "progress") pending.progress?.(data.done, data.total);
      else if (data.kind === "picture") pending.picture?.(data.picture);
      else finish(data.kind === "done" ? null : new ptb.CodecError(data.message), data.result);
    };
    worker.onerror = (event) => finish(new ptb.CodecError(`The worker stopped: ${event.message}.`));
  }

  function finish(error, result) {
    const { resolve, reject } = pending;
    pending = null;
    if (error) reject(error);
    else resolve(result);
  }

  function ask(message, heard = {}) {
    if (!worker) begin();
    return new Promise((resolve, reject) => {
      pending = { resolve, reject, ...heard };
      worker.postMessage(message);
    });
  }

  function cancel() {
    worker?.terminate();
    worker = null;
    state.loaded = {}; // with the worker went its models
    if (pending) finish(new ptb.CodecError("Cancelled."));
  }

  /** The weights of a codec: a script that is asked for now, and goes to the worker once. */
  async function load(codec) {
    if (state.loaded[codec]) return state.loaded[codec];
    if (!TRY.weights[codec]) {
      say(status, `Loading the models, ${(TRY.sizes[codec] / 1e6).toFixed(1)} MB …`);
      await new Promise((resolve, reject) => {
        const script = element("script", { src: new URL(`weights-${codec}.js`, here).href });
        script.onload = resolve;
        script.onerror = () => reject(new ptb.CodecError("The models could not be loaded."));
        document.head.append(script);
      });
    }
    const { prior, tokenizer } = TRY.weights[codec];
    say(status, "Preparing the models …");
    const facts = await ask({ task: "load", codec, prior: base64Bytes(prior), tokenizer: base64Bytes(tokenizer), shipped: TRY.shipped });
    return (state.loaded[codec] = facts);
  }

  /** Run a task with its words, its bar and its way out. */
  async function work(words, task, heard = {}, codec = state.codec) {
    if (pending) cancel();
    stop.hidden = false;
    bar.hidden = false;
    bar.removeAttribute("value");
    const started = performance.now();
    try {
      const model = await load(codec);
      say(status, `${words} …`);
      const progress = (done, total) => {
        bar.max = total;
        bar.value = done;
      };
      const result = await ask({ ...task(model), codec }, { progress, ...heard });
      say(status, `${words}: done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
      return { result, model };
    } catch (error) {
      say(status, error.message);
      if (!(error instanceof ptb.CodecError)) throw error;
      return null;
    } finally {
      stop.hidden = true;
      bar.hidden = true;
    }
  }

  // ---- What stays in sight ----

  const here = document.querySelector('script[src*="try/page.js"]').src;
  const status = element("p", { class: "try-status", role: "status", "aria-live": "polite" }, "Choose a frame, or a picture of your own.");
  const bar = element("progress", { hidden: true, "aria-label": "progress" });
  const stop = button("Cancel", cancel, { hidden: true });

  // ---- A picture in ----

  const thumbnails = TRY.data.frames.map((frame, index) =>
    element(
      "button",
      { type: "button", class: "try-frame", onclick: () => choose(index) },
      element("img", {
        src: `data:image/png;base64,${frame.png}`, alt: `frame ${index + 1} of ${TRY.data.frames.length}, ${frame.name}`,
        width: 150, height: 100,
      }),
    ),
  );
  const upload = element("input", { type: "file", accept: "image/*" });
  upload.addEventListener("change", () => upload.files[0] && take(upload.files[0]));
  const part = range("Which part", { min: 0, max: 100, value: 50 }, (value) => (value === 50 ? "the middle" : `${value} %`), (value) => {
    state.share = value / 100;
    fit();
  });
  part.hidden = true;
  const fitted = canvas("the picture as the codec gets it, 150 × 100 pixels");
  const codecs = element("select", {}, ...Object.entries(NAMES).map(([name, words]) => element("option", { value: name }, `${words} (${(TRY.sizes[name] / 1e6).toFixed(1)} MB to load)`)));
  codecs.addEventListener("change", () => {
    state.codec = codecs.value;
    dial.hidden = state.codec !== "fine";
  });
  const dial = range("Quality", { min: 0, max: 7, value: 4 }, (value) => `${value} of 7`, () => {});
  dial.hidden = true;
  const compress = button("Compress it", encode, { class: "try-main", disabled: true });

  async function choose(index) {
    const frame = TRY.data.frames[index];
    state.source = frame;
    await show(base64Bytes(frame.png));
    if (state.picture) await encode();
  }

  async function take(file) {
    state.source = null;
    const bytes = await bytesOf(file);
    if (/\.ptb$/i.test(file.name) || String.fromCharCode(...bytes.subarray(0, 3)) === "PTB") return decode(bytes);
    await show(bytes);
  }

  async function show(bytes) {
    try {
      state.original = await readPicture(bytes);
      say(status, "");
    } catch (error) {
      state.original = state.picture = null;
      compress.disabled = true;
      say(status, error.message);
      if (!(error instanceof ptb.CodecError)) throw error;
      return;
    }
    part.hidden = state.original.width * 100 === state.original.height * 150;
    part.input.value = 50;
    part.moved();
  }

  function fit() {
    if (!state.original) return;
    state.picture = cropped(state.original, 100, 150, state.share);
    draw(fitted, state.picture);
    compress.disabled = false;
  }

  // ---- Its file out ----

  const before = canvas("the original");
  const after = canvas("the picture from the file");
  const divider = range("Original | from the file", { min: 0, max: 100, value: 50 }, (value) => `${value} % original`, (value) => {
    before.style.clipPath = `inset(0 ${100 - value}% 0 0)`;
    line.style.left = `${value}%`;
  });
  const line = element("div", { class: "try-line" });
  const flip = button("Swap", () => {
    divider.input.value = Number(divider.input.value) < 50 ? 100 : 0;
    divider.moved();
  });
  const map = canvas("how surprising each token was, bright where it took many bits", 30, 20);
  const numbers = element("dl", { class: "try-numbers" });
  const peers = element("div");
  const save = element("a", { class: "try-main", download: "picture.ptb" }, "Download the .ptb");
  const out = element("div", { hidden: true },
    element("div", { class: "try-row" },
      element("div", {}, element("div", { class: "try-stack" }, after, before, line), divider, flip),
      element("figure", {}, map, element("figcaption", {}, "Surprise: bright tokens took many bits."))),
    numbers, save, peers);

  const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];

  async function encode() {
    const label = state.codec === "fine" ? Number(dial.input.value) : null;
    const picture = state.picture;
    const done = await work("Compressing", () => ({ task: "encode", picture, label }));
    if (!done) return;
    const { result, model } = done;
    state.coded = { ...result, picture, codec: state.codec };
    draw(before, picture);
    draw(after, result.reconstruction);
    draw(map, heat(result.bits, model.grid));
    const raw = picture.data.length;
    numbers.replaceChildren(
      ...fact("file", `${result.file.length} bytes`),
      ...fact("smaller by", `${Math.round(raw / result.file.length)} times`),
      ...fact("quality", `${psnr(picture, result.reconstruction).toFixed(2)} dB PSNR`),
      ...fact("bits a token", ((8 * result.file.length) / model.length).toFixed(2)),
    );
    save.href = URL.createObjectURL(new Blob([result.file], { type: "application/octet-stream" }));
    out.hidden = false;
    again.disabled = spoil.disabled = false;
    await compare(result.file.length);
    const { ledger } = await ask({ task: "info", codec: state.codec, file: result.file }).catch(() => ({ ledger: {} }));
    const where = Object.entries(ledger).map(([name, bits]) => `${name} ${bits.toFixed(1)}`);
    if (where.length) numbers.append(...fact("where its bits went", where.join(" · ")));
  }

  async function compare(size) {
    const rows = state.source && state.codec === "book"
      ? Object.entries(state.source.peers).map(([name, { bytes, psnr }]) => `${name}: ${bytes} bytes, ${psnr.toFixed(1)} dB`)
      : await Promise.all(["image/webp", "image/jpeg"].map(async (type) => {
          const bytes = await smallest(fitted, type);
          return `${type.slice(6)}: ${bytes === null ? "this browser writes none" : `${bytes} bytes`}`;
        }));
    const words = state.source && state.codec === "book"
      ? "The best files of other formats that are no larger, or their smallest:"
      : "The smallest files that this browser itself makes of the same pixels:";
    peers.replaceChildren(element("p", {}, words), element("ul", {}, ...rows.map((row) => element("li", {}, row))));
  }

  // ---- A file in ----

  const painted = canvas("the picture of the file, as far as it is decoded");
  const file = element("input", { type: "file", accept: ".ptb" });
  file.addEventListener("change", async () => file.files[0] && decode(await bytesOf(file.files[0])));
  const again = button("Decode the file from above", () => decode(state.coded.file), { disabled: true });
  const bit = element("input", { type: "number", min: 0, value: 200, inputmode: "numeric" });
  const spoil = button("Flip this bit and decode", () => {
    const spoiled = state.coded.file.slice();
    const index = Math.min(Math.max(0, Math.floor(Number(bit.value)) || 0), 8 * spoiled.length - 1);
    bit.value = index;
    spoiled[index >> 3] ^= 128 >> (index & 7);
    decode(spoiled);
  }, { disabled: true });

  const paint = { picture: (picture) => draw(painted, picture) };

  async function decode(bytes) {
    let codec = "book";
    try {
      const name = ptb.find(bytes, TRY.shipped);
      if (!(name in NAMES)) throw new ptb.CodecError(`This file was written with the codec ${name}, which this page does not bring along.`);
      codec = name;
    } catch (error) {
      say(status, error.message);
      return;
    }
    const done = await work("Decoding", () => ({ task: "decode", file: bytes }), paint, codec);
    if (done) draw(painted, done.result.picture);
  }

  // ---- Any bytes in, and samples ----

  const text = element("input", { type: "text", value: "your name" });
  const typed = button("Decode these letters", () => random(new TextEncoder().encode(text.value)));
  const rolled = button("Roll 300 bytes and decode them", () => random(crypto.getRandomValues(new Uint8Array(300))));
  const seed = element("input", { type: "number", min: 0, max: 4294967295, value: 1, inputmode: "numeric" });
  const temperature = range("Temperature", { min: 1, max: 15, value: 10 }, (value) => (value / 10).toFixed(1), () => {});
  const top = element("input", { type: "number", min: 0, max: 1024, value: 0, inputmode: "numeric" });
  const keep = range("Rows to keep of the picture above", { min: 0, max: 20, value: 0 }, (value) => (value ? `${value} of 20` : "none"), () => {});
  const draws = button("Draw a frame", sample, { class: "try-main" });

  async function random(payload) {
    const done = await work("Decoding bytes that nobody wrote", () => ({ task: "random", payload }), paint, "book");
    if (done) draw(painted, done.result.picture);
  }

  async function sample() {
    const keepRows = Number(keep.input.value);
    if (keepRows && state.coded?.codec !== "book") {
      say(status, "Compress a picture with book first: its rows are to be kept.");
      return;
    }
    const settings = {
      seed: Math.floor(Number(seed.value)) || 0,
      temperature: Number(temperature.input.value) / 10,
      topK: Number(top.value) || null,
      keepRows,
      tokens: keepRows ? state.coded.tokens : null,
    };
    const done = await work("Drawing", () => ({ task: "sample", settings }), paint, "book");
    if (done) draw(painted, done.result.picture);
  }

  // ---- The proof ----

  const proof = element("p", { class: "try-proof", role: "status" });
  const prove = button("Decode a golden file on this machine", async () => {
    const done = await work("Decoding a golden file", () => ({ task: "decode", file: base64Bytes(TRY.data.golden.file) }), paint, "book");
    if (!done) return;
    draw(painted, done.result.picture);
    const found = await ask({ task: "sha256", tokens: done.result.tokens });
    const right = await ask({ task: "sha256", tokens: TRY.data.golden.tokens });
    say(proof, `SHA-256 of the 600 tokens here: ${found}. It should be: ${right}. ${found === right ? "Equal, to the last bit." : "DIFFERENT: please tell us your browser."}`);
  });

  // ---- Put together ----

  const section = (title, ...inside) => element("section", {}, element("h2", {}, title), ...inside);
  root.replaceChildren(
    section("A picture in",
      element("div", { class: "try-frames" }, ...thumbnails),
      element("div", { class: "try-row" },
        element("div", {}, field("Your own picture", upload), element("p", {}, "You can drop or paste one anywhere on this page, and a .ptb file too."), part,
          field("Codec", codecs), dial, compress),
        fitted)),
    element("div", { class: "try-bar" }, status, bar, stop),
    section("Its file out", element("p", {}, "Choose a picture above; here you see it next to what comes back from its file."), out),
    section("A file in, a picture out",
      element("div", { class: "try-row" },
        element("div", {}, field("A .ptb file", file), again, field("Bit to flip", bit), spoil,
          element("h3", {}, "Bytes that nobody wrote"),
          element("p", {}, "Any bytes decode to some picture: the coder run backwards is a way to sample."),
          field("Letters", text), typed, rolled,
          element("h3", {}, "A new frame"),
          field("Seed", seed), temperature, field("Top k (0: all)", top), keep, draws),
        painted)),
    section("The same integers", element("p", {}, "Every machine has to find exactly these tokens in this file."), prove, proof),
  );

  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => event.clipboardData.files[0] && take(event.clipboardData.files[0]));
})();
