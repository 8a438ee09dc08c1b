// The page "Try it": its worker, which does one task at a time. To cancel is to end it; the next task begins a new one.
const { status, bar, stop, work, ask } = (() => {
  const here = document.querySelector('script[src*="try/page.js"]').src;
  const status = element("p", { class: "try-status", role: "status", "aria-live": "polite" }, "Choose a frame, or a picture of your own.");
  const bar = element("progress", { hidden: true, "aria-label": "progress" });
  const stop = button("Cancel", cancel, { hidden: true });
  let worker = null;
  let pending = null;
  let loaded = {}; // what the worker says of the models that it has

  function begin() {
    worker = new Worker(URL.createObjectURL(new Blob([TRY.source], { type: "text/javascript" })));
    worker.onmessage = ({ data: { kind, ...news } }) => {
      if (!pending) return;
      if (kind === "done") finish(null, news.result);
      else if (kind === "error") finish(new ptb.CodecError(news.message));
      else pending[kind]?.(news);
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
      pending = { ...heard, resolve, reject };
      worker.postMessage(message);
    });
  }

  function cancel() {
    worker?.terminate();
    worker = null;
    loaded = {};
    if (pending) finish(new ptb.CodecError("Cancelled."));
  }

  /** The weights of a codec: a script that is asked for now, and goes to the worker once. */
  async function load(codec) {
    if (loaded[codec]) return loaded[codec];
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
    return (loaded[codec] = facts);
  }

  /** Run a task with its words, its bar and its way out: its result, or null. `heard` are what its news go to. */
  async function work(words, codec, task, heard = {}) {
    if (pending) cancel();
    stop.hidden = false;
    bar.hidden = false;
    bar.removeAttribute("value");
    const started = performance.now();
    const progress = ({ done, total }) => {
      bar.max = total;
      bar.value = done;
    };
    try {
      const model = await load(codec);
      say(status, `${words} …`);
      const result = await ask({ ...task, codec }, { progress, ...heard });
      say(status, `${words}: done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
      return { ...result, model };
    } catch (error) {
      say(status, error.message);
      if (!(error instanceof ptb.CodecError)) throw error;
      return null;
    } finally {
      stop.hidden = true;
      bar.hidden = true;
    }
  }

  return { status, bar, stop, work, ask };
})();
