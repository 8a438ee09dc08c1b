// The codec in Node 20 and newer, without any package: `import { ptb, loadCodec } from "./ptb.mjs"`, or as a command:
//
//   node arlib/browser/ptb.mjs compress IN.png OUT.ptb [--prior NAME] [--quality N] [--label CLASS] [--fit] [--force]
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
      `${file} is ${picture.height} pixels high and ${picture.width} wide, not ${height} and ${width}. ` +
        "Ask for it to be fitted (--fit): scaled to cover that size, then cut to its center.",
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

function quality(text) {
  if (/^[0-9]+$/.test(text)) return Number(text);
  throw misused("Invalid value for '--quality': Input should be a valid integer, unable to parse string as an integer.");
}

/** What the classes are called of a prior that knows some, by the side of its pictures: digits, or CIFAR-10. */
const CLASSES = {
  28: Array.from({ length: 10 }, (_, digit) => `${digit}`),
  32: ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};
const classesOf = (model) => CLASSES[model.size[0]] ?? [];

/** The number of a class that is called by its name or number. */
function labelNumber(text, model) {
  if (text === undefined) return null;
  if (!model.classes) throw new CodecError("This prior has learned no classes: leave --label out.");
  const names = classesOf(model);
  if (names.includes(text)) return names.indexOf(text);
  if (/^[0-9]+$/.test(text) && Number(text) < model.classes) return Number(text);
  throw new CodecError(`There is no class '${text}'; there are ${names.join(", ") || `0 to ${model.classes - 1}`}.`);
}

const COMMANDS = {
  async compress([source, target], options) {
    const dialled = options.quality !== undefined;
    if (dialled && (options.prior || options.label)) {
      throw new CodecError(
        "--max-bytes and --quality choose the model: name one of them, and no other model or label.",
      );
    }
    checkTarget(target, ".ptb", options);
    const model = loadCodec(dialled ? "fine" : (options.prior ?? "book"));
    const label = dialled ? options.quality : labelNumber(options.label, model);
    if (dialled) model.codec.tokenizer.checkQuality(label);
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
      const codec = ptb.find(file, shipped());
      const model = loadCodec(codec);
      const { ledger, label, ...head } = model.info(file);
      const eight = (crc) => crc.toString(16).padStart(8, "0");
      const lines = [`version ${head.version}`, `model ${head.model} (${codec})`];
      const name = model.qualities ? label : (classesOf(model)[label] ?? label);
      if (model.classes) lines.push(`${model.qualities ? "quality" : "label"} ${name ?? "none"}`);
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
  help: { type: "boolean" },
};
const USAGE = `compress IN.png OUT.ptb [--prior NAME] [--quality N] [--label CLASS] [--fit] [--force]
decompress IN.ptb OUT.png [--force]
info FILE.ptb`;

const misused = (why) => new CodecError(`${why} --help behind a command tells what it takes.`);

/** What was asked for: the name of a command, its files and options. Throws `CodecError` in the words of Python's. */
function parsed(args) {
  let given;
  try {
    given = util.parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    const [, unknown] = /^Unknown option '(.*?)'/.exec(error.message) ?? [];
    const [, bare] = /^Option '(--\w+) <value>' argument missing/.exec(error.message) ?? [];
    const why = bare ? `Option '${bare}' requires an argument.` : `${error.message.split(".")[0]}.`;
    throw misused(unknown ? `No such option: ${unknown}.` : why);
  }
  const { positionals, values } = given;
  const [name, ...files] = positionals;
  if (values.help) return { name, files, values };
  if (name === undefined) throw misused("Missing command.");
  if (!Object.hasOwn(COMMANDS, name)) throw misused(`No such command '${name}'.`);
  const count = name === "info" ? 1 : 2;
  if (files.length < count) throw misused(`Missing argument '${name === "info" ? "FILE" : "IN..."}'.`);
  if (files.length > count) throw misused(`Got unexpected extra argument(s) (${files.slice(count).join(" ")}).`);
  if (values.quality !== undefined) values.quality = quality(values.quality);
  return { name, files, values };
}

/** The command line: prints what was done, or one line of what is wrong, and gives the exit code. */
export async function main(args) {
  try {
    const { name, files, values } = parsed(args);
    console.log(values.help ? USAGE : await COMMANDS[name](files, values));
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
