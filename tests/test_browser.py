"""The codec in JavaScript, arlib/browser: its own tests, by Node's test runner, and both languages against each other.

Without Node 20 or newer they are skipped; with REQUIRE_NODE in the environment that is a failure.
"""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_codec import repair

import arlib
from arlib import codec, data
from arlib.codec import Codec, CodecError

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "browser"
COMMAND = ROOT / "arlib" / "browser" / "ptb.mjs"
GOLDEN = ROOT / "tests" / "golden"
MINUTES = 20  # the golden files alone take two minutes of a quiet core


def version_of(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", told)
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def node() -> str:
    """The command that runs JavaScript."""
    found = shutil.which("node")
    if found is None or version_of(found) < 20:
        reason = "there is no Node 20 or newer on this machine, and these tests run the codec in JavaScript with it"
        if os.environ.get("REQUIRE_NODE"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run_node(node: str, *arguments: object, content: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [node, *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, text=True, timeout=60 * MINUTES, check=False)


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.test.mjs")), ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_the_tests_in_javascript_pass(node, path):
    ended = run_node(node, "--test", "--test-reporter=tap", path)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr
    counts = {
        name: int(number) for name, number in re.findall(r"^# (pass|fail|skipped|todo) (\d+)$", ended.stdout, re.M)
    }
    assert counts.pop("pass") > 0
    assert set(counts.values()) == {0}


# ---- errors ----


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Codec:
    """The codec whose weights are in layers.json."""
    folder, weights = tmp_path_factory.mktemp("weights"), json.loads((TESTS / "layers.json").read_text())["weights"]
    for name, content in weights.items():
        (folder / f"{name}.safetensors").write_bytes(base64.b64decode(content))
    return arlib.load_codec(*(str(folder / f"{kind}-tiny.safetensors") for kind in ("prior", "tokenizer")))


@pytest.mark.parametrize("name", ["tiny", "book"])
def test_python_says_of_the_bad_files_what_is_written_down_for_javascript(tiny, name):
    model = tiny if name == "tiny" else arlib.load_codec(name)
    sentences = json.loads((TESTS / "errors.json").read_text(encoding="utf-8"))[name]
    for sentence, files in sentences.items():
        errors = model.decompress_tokens_batch([base64.b64decode(file) for file in files])
        assert all(isinstance(error, CodecError) for error in errors)
        assert {str(error) for error in errors} == {sentence}
    # All that can be wrong with a file: kind, length, version, damage, another model, known or not, and the tokens.
    words = (
        "not a .ptb",
        "too short",
        "version 2",
        "damaged",
        "model, 3a5cc0a4" if name == "tiny" else "fine",
        "other",
    )
    assert all(any(word in sentence for sentence in sentences) for word in words)


def wrong_commands() -> dict[str, list[str]]:
    """Commands that say the same in both languages: of each the arguments."""
    reading = {
        f"{command} {name}": [command, f"{name}.ptb", *(["x.png"] if command == "decompress" else [])]
        for command in ("decompress", "info")
        for name in ("missing", "text", "empty", "short", "damaged", "later", "foreign", "repaired")
    }
    return reading | {
        "compress a missing file": ["compress", "missing.png", "x.ptb"],
        "compress another size": ["compress", "small.png", "x.ptb"],
        "compress to another ending": ["compress", "frame.png", "x.png"],
        "compress to no folder": ["compress", "frame.png", "none/x.ptb"],
        "compress onto a file": ["compress", "frame.png", "short.ptb"],
        "compress by no such prior": ["compress", "frame.png", "x.ptb", "--prior", "none"],
        "compress by a prior without the shift": ["compress", "frame.png", "x.ptb", "--prior", "no-shift"],
        "compress with a quality that is none": ["compress", "frame.png", "x.ptb", "--quality", "8"],
        "decompress to no folder": ["decompress", "good.ptb", "none/x.png"],
        "decompress onto a file": ["decompress", "good.ptb", "small.png"],
        "info of a folder": ["info", "folder.png"],
        "compress with a quality that is no number": ["compress", "frame.png", "x.ptb", "--quality", "much"],
        "compress with two models": ["compress", "frame.png", "x.ptb", "--quality", "0", "--prior", "book"],
        "compress with a label that nobody learned": ["compress", "frame.png", "x.ptb", "--label", "1"],
        "compress with no such digit": ["compress", "small.png", "x.ptb", "--prior", "digits-4x4", "--label", "11"],
        "compress with no such class": ["compress", "small.png", "x.ptb", "--prior", "cifar-raster", "--label", "kart"],
        "no command": [],
        "no such command": ["shrink", "frame.png"],
        "no such option": ["info", "good.ptb", "--loud"],
        "no value of an option": ["compress", "frame.png", "x.ptb", "--prior"],
        "no file": ["info"],
        "too many files": ["info", "good.ptb", "short.ptb", "text.ptb"],
        "no target": ["compress", "frame.png"],
        "nothing to decompress": ["decompress"],
    }


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working folder: a good file and pictures, and things that look like some."""
    monkeypatch.chdir(tmp_path)
    file = (GOLDEN / "05.ptb").read_bytes()
    contents = {
        "good": file,
        "text": b"I am a text",
        "empty": b"",
        "short": file[:10],
        "damaged": file[:-1],
        "later": repair(file[:3] + b"\2" + file[4:]),
        "foreign": repair(file[:4] + b"\1\2\3\4" + file[8:]),
        "repaired": repair(file + b"\0"),
    }
    for name, content in contents.items():
        Path(f"{name}.ptb").write_bytes(content)
    data.write_image("frame.png", data.read_image(data.files("supertuxkart", "valid")[0]))
    data.write_image("small.png", torch.zeros(64, 48, 3, dtype=torch.uint8))
    Path("folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("case", wrong_commands())
def test_a_wrong_command_is_the_same_line_and_exit_code_two(node, run, place, case):
    arguments, before = wrong_commands()[case], sorted(place.rglob("*"))
    ended = run_node(node, COMMAND, *arguments)
    code, out, err = run(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, out, err)
    assert code == 2
    assert sorted(place.rglob("*")) == before


def test_the_command_line_makes_what_pythons_makes(node, run, place):
    for options in ([], ["--quality", "2"]):
        assert run("compress", "frame.png", "python.ptb", "--force", *options)[0] == 0
        ended = run_node(node, COMMAND, "compress", "frame.png", "node.ptb", "--force", *options)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert Path("node.ptb").read_bytes() == Path("python.ptb").read_bytes()
        assert ended.stdout.startswith(f"node.ptb: {Path('node.ptb').stat().st_size:,} bytes")
        assert run("decompress", "node.ptb", "python.png", "--force")[0] == 0
        assert run_node(node, COMMAND, "decompress", "python.ptb", "node.png", "--force").returncode == 0
        apart = data.read_image("node.png").int() - data.read_image("python.png").int()
        assert apart.abs().max() <= 1
        file, told = Path("node.ptb").read_bytes(), run_node(node, COMMAND, "info", "node.ptb").stdout
        assert f"{codec.read_header(file).model} ({codec.find(file)})" in told
        for row, bits in arlib.load_codec(codec.find(file)).ledger(file).items():
            found = re.search(rf"^{row} +([-\d,.]+) bits", told, re.MULTILINE)
            assert found is not None, row
            assert float(found[1].replace(",", "")) == pytest.approx(bits, abs=2e-3), row


def test_the_command_line_fits_as_python_fits(node, run, place):
    data.write_image("large.png", torch.randint(256, (123, 240, 3), generator=torch.Generator().manual_seed(0)).byte())
    assert run("compress", "large.png", "python.ptb", "--fit")[0] == 0
    assert run_node(node, COMMAND, "compress", "large.png", "node.ptb", "--fit").returncode == 0
    assert Path("node.ptb").read_bytes() == Path("python.ptb").read_bytes()


# ---- tokens, pixels and files from one language to the other ----


def pictures_of(model: Codec) -> torch.Tensor:
    """Real pictures of the size that a codec takes: frames, digits, or, for CIFAR-10, parts of frames."""
    if model.size == (100, 150):
        return data.load("supertuxkart", "valid")[:: 8 if model.classes == 0 else 32]
    if model.size == (28, 28):
        return data.load("digits", "test")[:200]
    frames = data.load("supertuxkart", "valid")[::8]
    return torch.cat([frames[:, 30:62, left : left + 32] for left in (0, 59, 118)])


def golden_of(name: str, model: Codec) -> list[tuple[bytes, torch.Tensor]]:
    """The first and the last golden file of a codec, with their pictures."""
    folder = GOLDEN if name == "book" else GOLDEN / name
    paths = sorted([*folder.glob("*.webp"), *folder.glob("*.png")])
    channels = model.tokenizer.channels
    return [
        (path.with_suffix(".ptb").read_bytes(), data.read_image(path, *model.size, channels=channels))
        for path in (paths[0], paths[-1])
    ]


CODECS = sorted(name for name in codec.shipped() if name == "book" or (GOLDEN / name).is_dir())


@pytest.fixture(scope="module")
def compared(node) -> dict[str, dict[str, Any]]:
    """For each codec: pictures and labels, Python's tokens and files, and what JavaScript makes of both."""
    jobs, known = [], {}
    for name in CODECS:
        model = arlib.load_codec(name)
        pictures, golden = pictures_of(model), golden_of(name, model)
        labels = torch.arange(len(pictures)) % model.classes if model.classes else None
        tokens = model.tokenizer.encode(pictures, labels if model.tokenizer.qualities else None)
        own = model.compress_tokens_batch(tokens[-1:], None if labels is None else labels[-1:])
        known[name] = {"model": model, "tokens": tokens, "golden": golden}
        jobs.append(
            {
                "codec": name,
                "pictures": [base64_of(picture.numpy().tobytes()) for picture in pictures],
                "labels": [None] * len(pictures) if labels is None else labels.tolist(),
                "coded": 2,
                "files": [base64_of(file) for file in [*own, *(file for file, _ in golden)]],
            }
        )
    ended = run_node(node, TESTS / "worker.mjs", content=json.dumps(jobs))
    assert ended.returncode == 0, ended.stderr
    return {name: known[name] | result for name, result in zip(CODECS, json.loads(ended.stdout), strict=True)}


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def tokens_of(results: list[dict]) -> torch.Tensor:
    return torch.tensor([each["tokens"] for each in results])


def test_at_most_one_token_in_ten_thousand_differs_from_pytorchs(compared):
    apart = {name: int((tokens_of(it["encoded"]) != it["tokens"].flatten(1)).sum()) for name, it in compared.items()}
    total = sum(it["tokens"].numel() for it in compared.values())
    assert total > 40_000
    assert sum(apart.values()) <= total / 10_000, apart


@pytest.mark.parametrize("name", CODECS)
def test_files_from_python_decode_in_javascript(compared, name):
    it = compared[name]
    last = it["tokens"][-1:]
    assert torch.equal(tokens_of(it["decoded"][:1]), last.flatten(1))
    expected = [it["model"].tokenizer.decode(last)[0], *(picture for _, picture in it["golden"])]
    for result, picture in zip(it["decoded"], expected, strict=True):
        pixels = np.frombuffer(base64.b64decode(result["pixels"]), np.uint8).reshape(picture.shape)
        assert np.abs(pixels.astype(int) - picture.numpy()).max() <= 1


@pytest.mark.parametrize("name", CODECS)
def test_files_from_javascript_decode_in_python(compared, name):
    it = compared[name]
    files = [base64.b64decode(result["file"]) for result in it["encoded"][:2]]
    grids = it["model"].decompress_tokens_batch(files)
    assert all(isinstance(grid, torch.Tensor) for grid in grids)
    assert torch.equal(torch.stack(grids).flatten(1), tokens_of(it["encoded"][:2]))
    assert [it["model"].label(file) for file in files] == ([0, 1] if it["model"].classes else [None, None])
