"""The codec in JavaScript in a page that is opened from a file, as classic scripts and in a worker made of a Blob."""

import base64
import importlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import arlib
from arlib import data, sampling

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "arlib" / "browser"
GOLDEN = ROOT / "tests" / "golden" / "digits-7x7"

WORKER = """
onmessage = ({ data: { weights, file } }) => {
  const model = ptb.loadModels(weights);
  const { tokens, picture } = model.decode(file);
  const again = model.encode(picture, { label: model.info(file).label });
  const sample = model.sample({ seed: 1, topK: 20 });
  postMessage([tokens, again.tokens, again.file, sample.tokens].map((each) => Array.from(each)));
};
"""

# What a page does with the weights that a script element has brought: here, and in a worker.
ASK = """
async ([weights, file, source]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const task = { weights: { prior: bytes(weights[0]), tokenizer: bytes(weights[1]) }, file: bytes(file) };
  const worker = new Worker(URL.createObjectURL(new Blob([source])));
  const answer = await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(task);
  });
  const model = ptb.loadModels(task.weights);
  const { picture } = model.decode(task.file);
  const back = await ptb.readPng(await ptb.writePng(picture), 1);
  return { answer, picture: Array.from(picture.data), back: Array.from(back.data), size: model.size };
}
"""


@pytest.mark.browser
def test_a_page_from_a_file_and_its_worker_decode_what_node_and_python_do(browser: Browser, tmp_path: Path) -> None:
    names = (SCRIPTS / "scripts.txt").read_text().split()
    elements = "".join(f'<script src="{(SCRIPTS / name).as_uri()}"></script>' for name in names)
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset='utf-8'>{elements}", encoding="utf-8")
    source = "\n".join((SCRIPTS / name).read_text(encoding="utf-8") for name in names) + WORKER
    weights = [encoded(data.root() / "weights" / f"{kind}-digits-7x7.safetensors") for kind in ("prior", "tokenizer")]
    page, faults = browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    told = page.evaluate(ASK, [weights, encoded(GOLDEN / "00.ptb"), source])
    page.close()

    codec, file = arlib.load_codec("digits-7x7"), (GOLDEN / "00.ptb").read_bytes()
    tokens, seen, again, drawn = told["answer"]
    assert faults == []
    assert tokens == codec.decompress_tokens(file).flatten().tolist()
    picture = codec.decompress(file)
    assert max(abs(one - other) for one, other in zip(told["picture"], picture.flatten().tolist(), strict=True)) <= 1
    assert told["back"] == told["picture"]
    assert bytes(again) == codec.compress_tokens(codec.tokenizer.encode(picture[None])[0], codec.label(file))
    assert seen == codec.tokenizer.encode(picture[None]).flatten().tolist()
    assert drawn == sampling.generate(codec.twin, 1, seed=1, temperature=1024.0, top_k=20)[0].tolist()
    assert told["size"] == list(codec.size)


def test_what_javascript_must_draw_is_what_python_draws_today(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    today = importlib.import_module("make_browser_samples").samples()
    assert today == json.loads((ROOT / "tests" / "browser" / "sampled.json").read_text(encoding="utf-8"))


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
