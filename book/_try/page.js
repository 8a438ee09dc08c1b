// The page "Try it" itself: a picture in and its file out, a file in and its picture out, any bytes, samples, a proof.
(() => {
  const root = document.getElementById("try");
  const fitTask = (share) => ({ task: "fit", height: 100, width: 150, share });
  const bytesOf = (file) => file.arrayBuffer().then((buffer) => new Uint8Array(buffer), () => null);
  const UNREADABLE = "This could not be read: is it a folder?";
  const palettes = Object.fromEntries(Object.entries(TRY.data.palettes).map(([codec, text]) => [codec, base64Bytes(text)]));
  const NAMES = { book: "book: one file a picture", fine: "fine: with a dial for the size" };
  const state = { codec: "book", picture: null, source: null, coded: null };

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
  const upload = chooser("image/*", take);
  const part = range("Which part", { min: 0, max: 100, value: 50 }, (value) => (value === 50 ? "the middle" : `${value} %`), (value) => fit(value / 100));
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
    if (await show(base64Bytes(frame.png))) await encode();
  }

  async function take(file) {
    const bytes = await bytesOf(file);
    if (!bytes) return say(status, UNREADABLE);
    if (/\.ptb$/i.test(file.name) || String.fromCharCode(...bytes.subarray(0, 3)) === "PTB") return decode(bytes);
    state.source = null;
    await show(bytes);
  }

  /** Read a picture file and fit it, while the page lives on: has it become a picture? The worker keeps it in its own size. */
  async function show(bytes) {
    state.picture = null;
    compress.disabled = part.hidden = true;
    blank(fitted);
    reader.end(); // what it still does for the picture before, and its memory
    const read = await during("Reading the picture …", reader, async (asked) => {
      const pixels = reading.OWN || reading.isPng(bytes) ? null : await reading.pixelsOf(bytes);
      const given = pixels ? { pixels } : { bytes };
      const size = await asked({ task: "read", ...given }, {}, [(pixels?.data ?? bytes).buffer]);
      return { ...size, picture: await asked(fitTask(0.5)) };
    });
    if (!read) return false;
    const { width, height } = read;
    fitsNow(read.picture);
    part.hidden = width * 100 === height * 150;
    part.input.value = 50;
    part.tell();
    say(status, `The picture of ${width} × ${height} pixels is fitted to 150 × 100.`);
    return true;
  }

  function fitsNow(picture) {
    state.picture = picture;
    draw(fitted, picture);
    compress.disabled = false;
  }

  /** Another part of the picture. While one is being fitted, only the last wish is remembered. */
  let wish = null;
  let fitting = false;
  async function fit(share) {
    if (!state.picture) return;
    wish = share;
    if (fitting) return;
    fitting = true;
    try {
      while (wish !== null) {
        compress.disabled = true;
        const now = wish;
        wish = null;
        fitsNow(await reader.ask(fitTask(now)));
      }
    } catch (error) {
      if (!(error instanceof ptb.CodecError)) throw error; // else another picture has come
    } finally {
      fitting = false;
    }
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
  const over = canvas("how surprising each token was", 30, 20);
  const overlay = element("input", { type: "checkbox" });
  overlay.addEventListener("change", () => (over.hidden = !overlay.checked));
  over.hidden = true;
  over.style.opacity = 0.6;
  const stack = element("div", { class: "try-stack" }, after, before, over, line);
  const view = element("div", { class: "try-scroll", tabindex: 0, role: "group", "aria-label": "the two pictures" }, stack);
  const sizes = element("select", {}, ...[["", "as it fits"], ["150px", "100 %"], ["600px", "400 %"]].map(([value, words]) => element("option", { value }, words)));
  sizes.addEventListener("change", () => (stack.style.width = sizes.value));
  const map = canvas("how surprising each token was, bright where it took many bits", 30, 20);
  const numbers = element("dl", { class: "try-numbers" });
  const peers = element("div");
  const save = element("a", { class: "try-main", download: "picture.ptb" }, "Download the .ptb");
  const out = element("div", { hidden: true },
    element("div", { class: "try-row" },
      element("div", {}, view, divider, field("Size", sizes), field("Surprise over the picture", overlay), flip),
      element("figure", {}, map, element("figcaption", {}, "Surprise: bright tokens took many bits."))),
    numbers, save, peers);

  async function encode() {
    const { codec, picture } = state;
    const label = codec === "fine" ? Number(dial.input.value) : null;
    const done = await work("Compressing", codec, { task: "encode", picture, label });
    if (!done) return;
    const { file, reconstruction, bits, ledger, model } = done;
    state.coded = { ...done, codec };
    draw(before, picture);
    draw(after, reconstruction);
    for (const onto of [map, over]) draw(onto, heat(bits, model.grid));
    list(numbers, {
      file: `${file.length} bytes`,
      "smaller by": `${Math.round(picture.data.length / file.length)} times`,
      quality: `${psnr(picture, reconstruction).toFixed(2)} dB PSNR`,
      "bits a token": ((8 * file.length) / model.length).toFixed(2),
      "where its bits went": Object.entries(ledger).map(([name, part]) => `${name} ${part.toFixed(1)}`).join(" · "),
    });
    URL.revokeObjectURL(save.href);
    save.href = URL.createObjectURL(new Blob([file], { type: "application/octet-stream" }));
    out.hidden = false;
    again.disabled = spoil.disabled = false;
    peers.replaceChildren(...(await others(fitted, codec === "book" ? state.source?.peers : null)));
  }

  // ---- A file in ----

  const painted = canvas("the picture of the file, as far as it is decoded");
  const file = chooser(".ptb", (chosen) => bytesOf(chosen).then(decode));
  const again = button("Decode the file from above", () => decode(state.coded.file), { disabled: true });
  const bit = element("input", { type: "number", min: 0, value: 200, inputmode: "numeric" });
  const spoil = button("Flip this bit and decode", () => {
    const spoiled = state.coded.file.slice();
    const index = Math.min(Math.max(0, Math.floor(Number(bit.value)) || 0), 8 * spoiled.length - 1);
    bit.value = index;
    spoiled[index >> 3] ^= 128 >> (index & 7);
    decode(spoiled);
  }, { disabled: true });

  /** Token by token as flat patches of each token's own color, and now and then as the codec paints what is known. */
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const paint = (codec) => ({
    picture: ({ picture }) => draw(painted, picture),
    token: ({ place, token }) => still.matches || patch(painted, place, palettes[codec].subarray(3 * token, 3 * token + 3)),
  });

  /** The picture of a task appears while the task is at work. */
  async function appear(words, codec, task) {
    blank(painted);
    const done = await work(words, codec, task, paint(codec));
    if (done) draw(painted, done.picture);
    return done;
  }

  async function decode(bytes) {
    if (!bytes) return say(status, UNREADABLE);
    let codec = "book";
    try {
      const name = ptb.find(bytes, TRY.shipped);
      if (!(name in NAMES)) throw new ptb.CodecError(`This file was written with the codec ${name}, which this page does not bring along.`);
      codec = name;
    } catch (error) {
      return say(status, error.message);
    }
    await appear("Decoding", codec, { task: "decode", file: bytes });
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

  const random = (payload) => appear("Decoding bytes that nobody wrote", "book", { task: "random", payload });

  async function sample() {
    const keepRows = Number(keep.input.value);
    if (keepRows && state.coded?.codec !== "book") return say(status, "Compress a picture with book first: its rows are to be kept.");
    const settings = {
      seed: Math.floor(Number(seed.value)) || 0,
      temperature: Number(temperature.input.value) / 10,
      topK: Number(top.value) || null,
      keepRows,
      tokens: keepRows ? state.coded.tokens : null,
    };
    await appear("Drawing", "book", { task: "sample", settings });
  }

  // ---- The proof ----

  const proof = element("p", { class: "try-proof", role: "status" });
  const prove = button("Decode a golden file on this machine", async () => {
    const done = await appear("Decoding a golden file", "book", { task: "decode", file: base64Bytes(TRY.data.golden.file) });
    if (!done) return;
    const found = await ask({ task: "sha256", tokens: done.tokens });
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
    section("Its file out", element("p", {}, "Choose a picture above; here you see it next to what comes back from its file."), out),
    section("A file in, a picture out",
      element("div", { class: "try-row try-decoding" },
        element("div", {}, field("A .ptb file", file), again, field("Bit to flip", bit), spoil,
          element("h3", {}, "Bytes that nobody wrote"),
          element("p", {}, "Any bytes decode to some picture: the coder run backwards is a way to sample."),
          field("Letters", text), typed, rolled,
          element("h3", {}, "A new frame"),
          field("Seed", seed), temperature, field("Top k (0: all)", top), keep, draws),
        element("div", { class: "try-painting" }, painted))),
    section("The same integers", element("p", {}, "Every machine has to find exactly these tokens in this file."), prove, proof),
    element("div", { class: "try-bar" }, status, bar, stop),
  );

  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    else say(status, "There is no file in what you dropped.");
  });
  document.addEventListener("paste", (event) => event.clipboardData.files[0] && take(event.clipboardData.files[0]));
})();
