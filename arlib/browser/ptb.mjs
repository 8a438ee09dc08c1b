// The codec in Node 20 and newer, without any package: `import { ptb, loadCodec } from "./ptb.mjs"`, or as a command:
//
//   node arlib/browser/ptb.mjs compress IN.png OUT.ptb [--prior NAME] [--quality N] [--label N] [--fit] [--force]
//   node arlib/browser/ptb.mjs decompress IN.ptb OUT.png [--force]
//   node arlib/browser/ptb.mjs info IN.ptb
//
// It reads the weights of the folder `data` of the checkout, or of the one that ARLIB_DATA names. Whatever is wrong
// with what it was given is one line on standard error, in the words of `python -m arlib`, and exit code 2.
import fs from "node:fs";
import path from "node:path";
import url from "node:url";
import util from "node:util";
import vm from "node:vm";

const FOLDER = path.dirname(url.fileURLToPath(import.meta.url));

/** The scripts in the order in which they build on each other: that of a page's script elements, too. */
export const SCRIPTS = fs.readFileSync(path.join(FOLDER, "scripts.txt"), "utf8").trim().split("\n");

for (const name of SCRIPTS) {
  const file = path.join(FOLDER, name);
  vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
}

export const ptb = globalThis.ptb;
const { CodecError } = ptb;

const weightsFolder = () => path.join(process.env.ARLIB_DATA || path.join(FOLDER, "..", "..", "data"), "weights");

/** The bytes of a file. Throws `CodecError` where it cannot be read. */
export function readFile(file) {
  try {
    return new Uint8Array(fs.readFileSync(file));
  } catch (error) {
    if (error.code === "ENOENT") throw new CodecError(`There is no file ${file}.`);
    throw new CodecError(`${file} cannot be read: ${reason(error)}.`);
  }
}

/** What the operating system says of an error, as Python quotes it: "Is a directory". */
function reason({ errno, message }) {
  const words = util.getSystemErrorMap().get(errno)?.[1] ?? message;
  const known = { "illegal operation on a directory": "is a directory" }[words] ?? words;
  return known[0].toUpperCase() + known.slice(1);
}

/** The hash of each shipped codec by its name. */
export function shipped() {
  const file = path.join(weightsFolder(), "codecs.json");
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : {};
}

/** The names of the shipped weights of a kind, sorted. */
function namesOf(kind) {
  const files = fs.existsSync(weightsFolder()) ? fs.readdirSync(weightsFolder()).sort() : [];
  const [begin, end] = [`${kind}-`, ".safetensors"];
  const chosen = files.filter((file) => file.startsWith(begin) && file.endsWith(end));
  return chosen.map((file) => file.slice(begin.length, -end.length));
}

function weights(kind, name) {
  if (namesOf(kind).includes(name)) return readFile(path.join(weightsFolder(), `${kind}-${name}.safetensors`));
  throw missing(kind, name);
}

function missing(kind, name) {
  const names = namesOf(kind).join(", ") || "none";
  return new CodecError(`There is no ${kind} '${name}' in ${weightsFolder()}; there are: ${names}.`);
}

/** The codec of a shipped prior by its name: a model of `ptb.loadModels`, with its tokenizer. Throws `CodecError`. */
export function loadCodec(name = "book") {
  const prior = weights("prior", name);
  const wanted = ptb.readWeights(prior, `prior-${name}.safetensors`).tokenizer;
  for (const each of namesOf("tokenizer")) {
    const tokenizer = weights("tokenizer", each);
    if (`sha256:${ptb.hex(ptb.sha256([tokenizer]))}`.startsWith(wanted)) {
      return ptb.loadModels({ prior, tokenizer, shipped: shipped() });
    }
  }
  throw missing("tokenizer", wanted);
}

/** A PNG file as the picture that a model takes, with `fit` of any size. Throws `CodecError`. */
export async function readPicture(file, model, fit = false) {
  const bytes = readFile(file);
  let picture;
  try {
    picture = await ptb.readPng(bytes, model.channels);
  } catch (error) {
    throw error instanceof CodecError ? new CodecError(`${file}: ${error.message}`) : error;
  }
  const [height, width] = model.size;
  if (!fit && (picture.height !== height || picture.width !== width)) {
    throw new CodecError(
      `${file} has ${picture.width}×${picture.height} pixels, not ${width}×${height}. ` +
        "Ask for it to be fitted (--fit): scaled to cover that size, then cut to its centre.",
    );
  }
  return ptb.fit(picture, height, width);
}

function writeFile(file, bytes) {
  const folder = path.dirname(file);
  if (!fs.existsSync(folder)) throw new CodecError(`${file} cannot be written: there is no folder ${folder}.`);
  const partial = path.join(folder, `.${path.basename(file)}.${process.pid}.partial`);
  try {
    fs.writeFileSync(partial, bytes);
    fs.renameSync(partial, file);
  } catch (error) {
    throw new CodecError(`${file} cannot be written: ${reason(error)}.`);
  } finally {
    fs.rmSync(partial, { force: true });
  }
}

function checkTarget(file, suffix, { force }) {
  if (!file.endsWith(suffix)) throw new CodecError(`${file} does not end in ${suffix}.`);
  if (fs.existsSync(file) && !force) {
    throw new CodecError(`${file} would be replaced. Name another place, or replace what is there: --force.`);
  }
}

/** What a function returns; its `CodecError` gets the name of the file that it is about. */
function about(file, act) {
  try {
    return act();
  } catch (error) {
    throw error instanceof CodecError ? new CodecError(`${file}: ${error.message}`) : error;
  }
}

function number(text, what) {
  if (text === undefined) return null;
  if (/^[0-9]+$/.test(text)) return Number(text);
  throw new CodecError(`--${what} is a number, not '${text}'.`);
}

const COMMANDS = {
  async compress([source, target], options) {
    if (options.quality && (options.prior || options.label)) {
      throw new CodecError("--quality chooses the model: name no other model or label.");
    }
    checkTarget(target, ".ptb", options);
    const model = loadCodec(options.quality ? "fine" : (options.prior ?? "book"));
    const label = number(options.quality ?? options.label, options.quality ? "quality" : "label");
    if (options.quality) model.codec.tokenizer.checkQuality(label);
    const { file } = model.encode(await readPicture(source, model, options.fit), { label });
    writeFile(target, file);
    const before = fs.statSync(source).size;
    const smaller = `${(before / file.length).toFixed(1)} times smaller than ${counted(before)}`;
    return `${target}: ${counted(file.length)} bytes in 1 file, ${smaller}.`;
  },

  async decompress([source, target], options) {
    checkTarget(target, ".png", options);
    const file = readFile(source);
    const { picture } = about(source, () => loadCodec(ptb.find(file, shipped())).decode(file));
    writeFile(target, await ptb.writePng(picture));
    return `${target}: one picture.`;
  },

  async info([source]) {
    const file = readFile(source);
    return about(source, () => {
      const name = ptb.find(file, shipped());
      const model = loadCodec(name);
      const { ledger, label, ...head } = model.info(file);
      const eight = (crc) => crc.toString(16).padStart(8, "0");
      const lines = [`version ${head.version}`, `model ${head.model} (${name})`];
      if (model.classes) lines.push(`${model.qualities ? "quality" : "label"} ${label ?? "none"}`);
      lines.push(`checksum of the tokens ${eight(head.tokensChecksum)}`);
      lines.push(`checksum of the file ${eight(head.fileChecksum)}`);
      for (const [row, bits] of [...Object.entries(ledger), ["file", 8 * file.length]]) {
        const share = ((100 * bits) / (8 * file.length)).toFixed(2).padStart(7);
        const columns = [`${thousandths(bits).padStart(12)} bits`, `${thousandths(bits / 8).padStart(10)} bytes`];
        lines.push([row.padEnd(9), ...columns, `${share}%`].join(" "));
      }
      return lines.join("\n");
    });
  },
};

const counted = (count) => count.toLocaleString("en-US");
const thousandths = (x) => x.toLocaleString("en-US", { minimumFractionDigits: 3, maximumFractionDigits: 3 });

const OPTIONS = {
  prior: { type: "string" },
  quality: { type: "string" },
  label: { type: "string" },
  fit: { type: "boolean" },
  force: { type: "boolean" },
};
const USAGE = "Give compress IN.png OUT.ptb, decompress IN.ptb OUT.png, or info IN.ptb.";

/** The command line: prints what was done, or one line of what is wrong, and gives the exit code. */
export async function main(args) {
  try {
    let parsed;
    try {
      parsed = util.parseArgs({ args, options: OPTIONS, allowPositionals: true });
    } catch (error) {
      throw new CodecError(`${error.message.split(".")[0]}. ${USAGE}`);
    }
    const [name, ...files] = parsed.positionals;
    if (!Object.hasOwn(COMMANDS, name ?? "") || files.length !== (name === "info" ? 1 : 2)) throw new CodecError(USAGE);
    console.log(await COMMANDS[name](files, parsed.values));
    return 0;
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    console.error(`arlib: ${error.message.split(/\s+/).join(" ")}`);
    return 2;
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === url.fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2));
}
