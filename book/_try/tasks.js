// The page "Try it": its work, which two workers do: one reads pictures, the other has the models. The page does one
// thing at a time; to begin another is to cancel it. To cancel is to end the worker; the next task begins a new one.
const { status, bar, stop, reader, during, work, ask } = (() => {
  const here = document.querySelector('script[src*="try/page.js"]').src;
  const status = element("p", { class: "try-status", role: "status", "aria-live": "polite" }, "Choose a frame, or a picture of your own.");
  const bar = element("progress", { hidden: true, "aria-label": "progress" });
  const stop = button("Cancel", () => current?.cancel(), { hidden: true, "aria-keyshortcuts": "Escape" });
  document.addEventListener("keydown", ({ key }) => key === "Escape" && current?.cancel());
  const canceled = () => new ptb.CodecError("Canceled.");

  /** A worker that does one task at a time. */
  class Desk {
    worker = null;
    pending = null;
    loaded = {}; // what the worker says of the models that it has

    /** What a task gives (a promise). What it has to say on the way goes to `heard`; `given` is no longer the page's. */
    ask(message, heard = {}, given = []) {
      if (!this.worker) this.begin();
      return new Promise((resolve, reject) => {
        this.pending = { ...heard, resolve, reject };
        this.worker.postMessage(message, given);
      });
    }

    begin() {
      const worker = new Worker(URL.createObjectURL(new Blob([TRY.source], { type: "text/javascript" })));
      this.worker = worker;
      worker.onmessage = ({ data: { kind, ...news } }) => {
        if (worker !== this.worker) return;
        if (kind === "done") this.finish(null, news.result);
        else if (kind === "error") this.finish(new ptb.CodecError(news.message));
        else this.pending?.[kind]?.(news);
      };
      worker.onerror = (event) => this.finish(new ptb.CodecError(`The worker stopped: ${event.message}.`));
    }

    finish(error, result) {
      const { resolve, reject } = this.pending ?? {};
      this.pending = null;
      if (error) reject?.(error);
      else resolve?.(result);
    }

    end() {
      this.worker?.terminate();
      this.worker = null;
      this.loaded = {};
      this.finish(canceled());
    }
  }

  const reader = new Desk();
  const coder = new Desk();
  let current = null;

  /** Do what takes a while, under the bar and its way out: its result, or null. `act` asks `desk` by the function it gets,
   *  which asks nothing more once the work is canceled. */
  async function during(words, desk, act) {
    current?.cancel();
    let over = false;
    const asked = (...task) => {
      if (over) throw canceled();
      return desk.ask(...task);
    };
    const job = {};
    const called = new Promise((_, reject) => {
      job.cancel = () => {
        over = true;
        if (desk.pending) desk.end();
        reject(canceled());
      };
    });
    current = job;
    stop.hidden = bar.hidden = false;
    bar.removeAttribute("value");
    say(status, words);
    try {
      return await Promise.race([act(asked), called]);
    } catch (error) {
      if (current === job) say(status, error.message);
      if (!(error instanceof ptb.CodecError)) throw error;
      return null;
    } finally {
      if (current === job) {
        current = null;
        stop.hidden = bar.hidden = true;
      }
    }
  }

  /** The weights of a codec: a script that is asked for now, and goes to the worker once. */
  async function load(codec, asked) {
    if (coder.loaded[codec]) return coder.loaded[codec];
    if (!TRY.weights[codec]) {
      say(status, `Loading the models, ${(TRY.sizes[codec] / 1e6).toFixed(1)} MB …`);
      await new Promise((resolve, reject) => {
        const script = element("script", { src: new URL(`weights-${codec}.js`, here).href });
        script.onload = resolve;
        script.onerror = () => reject(new ptb.CodecError("The models could not be loaded."));
        document.head.append(script);
      });
    }
    const facts = asked({ task: "load", codec, ...TRY.weights[codec], shipped: TRY.shipped });
    say(status, "Preparing the models …");
    return (coder.loaded[codec] = await facts);
  }

  /** Let the codec run a task: its result, or null. */
  function work(words, codec, task, heard = {}) {
    const started = performance.now();
    const progress = ({ done, total }) => {
      bar.max = total;
      bar.value = done;
    };
    return during(`${words} …`, coder, async (asked) => {
      const model = await load(codec, asked);
      say(status, `${words} …`);
      const result = await asked({ ...task, codec }, { progress, ...heard });
      say(status, `${words}: done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
      return { ...result, model };
    });
  }

  return { status, bar, stop, reader, during, work, ask: (message) => coder.ask(message) };
})();
