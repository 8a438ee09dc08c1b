"""The pages "Train your own" and "Beyond one machine": their commands run, and their tables are counted again."""

import json
import re
import shlex
import sys
import warnings

import pytest
import torch
from conftest import ROOT, write_noise

from arlib import checkpoints, data
from arlib.cli.learning import tell_of_overfitting
from arlib.storage import Notice

sys.path.append(str(ROOT / "benchmarks"))

from throughput import operations

OWN = (ROOT / "book" / "your-own.md").read_text(encoding="utf-8")
BEYOND = (ROOT / "book" / "beyond.md").read_text(encoding="utf-8")
QUICK = {
    "tokenizer": "--steps 3 --batch-size 2 --width 8 --depth 1",
    "prior": "--steps 3 --batch-size 2 --width 8 --depth 1",
}


def commands(page: str) -> list[list[str]]:
    """The commands of a page, as lists of arguments."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_the_commands_of_train_your_own_run_one_after_the_other(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_noise(tmp_path / "mine" / "train", 5, 80, 100)
    write_noise(tmp_path / "mine" / "valid", 2, 96, 64)
    listed = commands(OWN)
    assert len(listed) == 9
    for command in listed:
        assert command[:3] == ["python", "-m", "arlib"]
        quick = QUICK[command[4]].split() if command[3] == "train" else []
        code, _, err = run(*command[3:], *quick, *(["--heads", "2"] if command[4] == "prior" else []))
        assert code == 0, (command, err)
    assert data.read_image("again.png", 64, 96).shape == (64, 96, 3)
    assert checkpoints.read_header("runs/prior/prior-mine.safetensors")["grid"] == "16×24"
    assert len(list((tmp_path / "new").iterdir())) == 4
    assert (tmp_path / "runs" / "prior" / "moments").is_dir()


def test_the_commands_of_beyond_one_machine_have_options_that_there_are(run, tmp_path, monkeypatch):
    """There is no GPU here: each command gets as far as to say so, or that its processes don't share its batch."""
    monkeypatch.chdir(tmp_path)
    listed = commands(BEYOND)
    assert len(listed) == 3
    for command in listed:
        arguments = command[command.index("arlib") + 1 :]
        code, _, err = run(*arguments)
        if torch.cuda.is_available():
            assert "train.tokens" in err
        else:
            assert (code, "There is no accelerator 'cuda' here" in err) == (2, True), err
    assert listed[2][:7] == ["torchrun", "--nnodes", "4", "--nproc-per-node", "8", "--node-rank", "0"]


def test_what_to_expect_is_what_was_measured():
    measured = json.loads((ROOT / "book" / "_static" / "own.json").read_text(encoding="utf-8"))
    rows = [
        f"| {row['pictures']:,} | {row['PSNR']:.2f} dB | {row['loss']:.2f} | {row['best bits']:.2f} | "
        f"{row['best after']:.0%} | {row['last bits']:.2f} |".replace("%", " %")
        for row in measured["rows"]
    ]
    table = OWN.split("<!-- from own.json -->")[1].split("\n\n")[0]
    found = [line.replace(" of the run", "") for line in table.splitlines()[3:]]
    assert found == rows
    assert f"the same {measured['steps']:,} steps of {measured['batch size']} pictures" in OWN
    first, *_, last = measured["rows"]
    assert measured["steps"] * measured["batch size"] / (2 * first["pictures"]) == 320
    assert f"gains {last['PSNR'] - first['PSNR']:.1f} dB" in OWN
    assert max(row["tokenizer seconds"] for row in measured["rows"]) < 120
    assert max(row["prior seconds"] for row in measured["rows"]) < 180


def test_imagenet_is_counted_right():
    pictures, length, width, depth, rate = 1_281_167, 1024, 768, 14, 147_000
    tokens, each = pictures * length, operations(width, depth, length)
    days = 300 * tokens / rate / 86400
    counted = {
        "tokens in one pass": f"{tokens / 1e9:.2f} · 10⁹",
        "their file": f"{tokens * 10 / 8 / 1e9:.2f} GB",
        "parameters of the blocks": f"{12 * width**2 * depth / 1e6:.1f} million",
        "operations a token": f"{each / 1e6:.0f} million",
        "one pass": f"{tokens * each / 1e17:.2f} · 10¹⁷ operations",
        "300 passes": f"{300 * tokens * each / 1e20:.2f} · 10²⁰",
        "one pass on it": f"{tokens / rate / 3600:.1f} hours",
        "300 passes on it": f"{days:.0f} days",
        "300 passes on eight": f"{days / 8:.1f} days",
    }
    table = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", BEYOND, re.MULTILINE))
    assert {name: table[name] for name in counted} == counted
    assert f"{rate * each / 1e12:.0f} · 10¹² operations a second" in BEYOND
    assert f"a step of 32 sequences takes {32 * length / rate * 1000:.0f}" in BEYOND
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (width, 4 * width)]
    muon = depth * sum(5 * (4 * small**2 * large + 2 * small**3) for small, large in shapes)
    assert 0.005 < muon / (256 * length * each) < 0.015


def test_overfitting_is_told_and_nothing_else():
    with pytest.warns(Notice, match=r"fewest bits, 3\.000, after 50% of what was followed, and 3\.500 at the end"):
        tell_of_overfitting([4.0, 3.0, 3.2, 3.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_of_overfitting([4.0, 3.0, 3.05])
        tell_of_overfitting([])
