"""The command line: what it makes, and the one line it says of every wrong input."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import arlib
from arlib import data, tokenset

FRAME = data.files("supertuxkart", "valid")[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures and things that look like pictures."""
    (tmp_path / "text.png").write_text("I am no picture")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "small.png")
    (tmp_path / "cut.webp").write_bytes(FRAME.read_bytes()[:2000])
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("")
    return tmp_path


WRONG: dict[str, tuple[list[object], str]] = {
    "a missing file": (["reconstruct", "none.png", "out.png"], "no file"),
    "a text file": (["reconstruct", "text.png", "out.png"], "not an image"),
    "a cut file": (["reconstruct", "cut.webp", "out.png"], "cannot be read"),
    "a folder for a file": (["reconstruct", "empty", "out.png"], "cannot be read"),
    "another size": (["reconstruct", "small.png", "out.png"], "--fit"),
    "no image format": (["reconstruct", FRAME, "out.txt"], "image format"),
    "a folder that is not there": (["reconstruct", FRAME, "nowhere/out.png"], "cannot be written"),
    "an unknown tokenizer": (["reconstruct", FRAME, "out.png", "--tokenizer", "none"], "there are: book"),
    "weights that are none": (["reconstruct", FRAME, "out.png", "--tokenizer", "text.safetensors"], "no file"),
    "temperature zero": (["generate", "--out", "new", "--temperature", 0], "above 0"),
    "a temperature below": (["generate", "--out", "new", "--temperature", -1], "above 0"),
    "a temperature in words": (["generate", "--out", "new", "--temperature", "hot"], "valid number"),
    "no pictures": (["generate", "--out", "new", "--count", 0], "at least 1"),
    "top-k zero": (["generate", "--out", "new", "--top-k", 0], "at least 1"),
    "top-p above one": (["generate", "--out", "new", "--top-p", 1.5], "up to 1"),
    "an unknown prior": (["generate", "--out", "new", "--prior", "none"], "there are: "),
    "a file for a folder": (["generate", "--out", "a file"], "is a file"),
    "from without rows": (["generate", "--out", "new", "--from", FRAME], "go together"),
    "rows without from": (["generate", "--out", "new", "--keep-rows", 3], "go together"),
    "too many rows": (["generate", "--out", "new", "--from", FRAME, "--keep-rows", 21], "between 0 and 20"),
    "from another size": (["generate", "--out", "new", "--from", "small.png", "--keep-rows", 3], "--fit"),
    "from a text": (["generate", "--out", "new", "--from", "text.png", "--keep-rows", 3], "not an image"),
    "no out": (["generate"], "--out"),
    "an unknown split": (["tokenize", "test", "out.tokens"], "not a folder"),
    "an empty folder": (["tokenize", "empty", "out.tokens"], "no image"),
    "tokens of no file": (["train", "prior", "--name", "x", "--out", "run", "--tokens", "none"], "cannot be read"),
    "tokens of a text": (["train", "prior", "--name", "x", "--out", "run", "--tokens", "text.png"], "not a data set"),
    "19 bits": (["train", "tokenizer", "--name", "x", "--out", "run", "--bits", 19], "1 to 18"),
    "a patch that does not fit": (["train", "tokenizer", "--name", "x", "--out", "run", "--patch-size", 7], "divides"),
    "no steps": (["train", "tokenizer", "--name", "x", "--out", "run", "--steps", 0], "steps"),
    "an odd precision": (["train", "tokenizer", "--name", "x", "--out", "run", "--precision", "8"], "precision"),
    "a missing folder": (["train", "tokenizer", "--name", "x", "--out", "run", "--data", "nowhere"], "not a folder"),
    "resume nothing": (["train", "tokenizer", "--name", "x", "--out", "run", "--resume"], "no checkpoint"),
    "an unknown model": (["train", "diffusion"], "No such command"),
    "an unknown command": (["paint"], "No such command"),
    "no command": ([], "Missing command"),
    "no model to train": (["train"], "Missing command"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_code_two_and_leaves_nothing(run, folder, monkeypatch, case):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    arguments, words = WRONG[case]
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("arlib: ")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert sorted(folder.rglob("*")) == before


def test_reconstruct_writes_what_the_library_gives(run, tmp_path):
    code, out, err = run("reconstruct", FRAME, tmp_path / "out.png")
    assert (code, err) == (0, "")
    frame = data.read_image(FRAME)
    again = arlib.load_tokenizer("book").reconstruct(frame[None])[0]
    assert torch.equal(data.read_image(tmp_path / "out.png"), again)
    assert "dB" in out


def test_a_picture_of_another_size_is_fitted_on_demand(run, tmp_path):
    Image.fromarray(np.full((300, 500, 3), 128, np.uint8)).save(tmp_path / "in.png")
    assert run("reconstruct", tmp_path / "in.png", tmp_path / "out.jpg", "--fit")[0] == 0
    assert data.read_image(tmp_path / "out.jpg").shape == (100, 150, 3)


def test_tokenize_writes_a_split_and_a_folder_of_ones_own(run, tmp_path):
    mine = tmp_path / "pictures"
    mine.mkdir()
    for number in range(3):
        Image.effect_noise((200 + number, 120), 50).save(mine / f"{number}.jpg")
    code, out, _ = run("tokenize", mine, tmp_path / "mine.tokens")
    assert code == 0
    assert "times smaller" in out
    grids = tokenset.read(tmp_path / "mine.tokens").grids
    assert torch.equal(grids, arlib.load_tokenizer("book").encode(data.load_folder(mine)))
    code, out, _ = run("tokenize", "valid", tmp_path / "valid.tokens")
    assert f"{256 * 750 + 32:,} bytes" in " ".join(out.split())
    mirrored = tmp_path / "mirrored.tokens"
    assert run("tokenize", mine, mirrored, "--mirror")[0] == 0
    assert torch.equal(
        tokenset.read(mirrored).grids, arlib.load_tokenizer("book").encode(data.load_folder(mine).flip(2))
    )


def test_generate_is_seeded_and_completes_a_given_top(run, tmp_path):
    common = ("--count", 2, "--seed", 5, "--top-p", 0.9)
    assert run("generate", "--out", tmp_path / "a", *common)[0] == 0
    assert run("generate", "--out", tmp_path / "b", *common)[0] == 0
    first = [path.read_bytes() for path in sorted((tmp_path / "a").iterdir())]
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == ["0000.png", "0001.png"]
    assert first == [path.read_bytes() for path in sorted((tmp_path / "b").iterdir())]
    assert first[0] != first[1]
    run("generate", "--out", tmp_path / "c", "--count", 1, "--from", FRAME, "--keep-rows", 14)
    completed = data.read_image(tmp_path / "c" / "0000.png")
    whole = arlib.load_tokenizer("book").reconstruct(data.read_image(FRAME)[None])[0]
    # Near the seam the decoder sees new tokens too; above its reach the picture is the given one.
    assert torch.equal(completed[:50], whole[:50])
    assert not torch.equal(completed[75:], whole[75:])


def test_a_small_model_is_trained_and_used_through_every_command(run, tmp_path):
    """A reader's own pictures, from the first command to the last."""
    mine = tmp_path / "pictures"
    mine.mkdir()
    for number in range(6):
        Image.effect_noise((150, 100), 10 + 20 * number).convert("RGB").save(mine / f"{number}.png")
    quick = ("--steps", 3, "--batch-size", 2)
    tokenizer = ("--name", "mine", "--out", tmp_path / "tokenizer", "--data", mine, "--patch-size", 25, "--bits", 4)
    assert run("train", "tokenizer", *tokenizer, "--width", 8, "--depth", 1, *quick)[0] == 0
    weights = tmp_path / "tokenizer" / "tokenizer-mine.safetensors"
    card = weights.with_suffix(".md").read_text(encoding="utf-8")
    assert "python -m arlib train tokenizer --name mine" in card
    assert "pictures of one's own" in card
    assert run("tokenize", mine, tmp_path / "mine.tokens", "--tokenizer", weights)[0] == 0
    prior = ("--name", "mine", "--out", tmp_path / "prior", "--tokens", tmp_path / "mine.tokens", "--width", 8)
    assert run("train", "prior", *prior, "--depth", 1, "--heads", 1, *quick)[0] == 0
    model = arlib.load_prior(str(tmp_path / "prior" / "prior-mine.safetensors"))
    assert (model.vocabulary, model.length) == (16, 24)
    assert run("reconstruct", FRAME, tmp_path / "out.png", "--tokenizer", weights)[0] == 0
    new = (
        "generate",
        "--out",
        tmp_path / "new",
        "--count",
        2,
        "--prior",
        tmp_path / "prior" / "prior-mine.safetensors",
    )
    assert run(*new, "--tokenizer", weights)[0] == 0
    assert len(list((tmp_path / "new").iterdir())) == 2
    assert run(*new)[0] == 2  # it cannot know where that tokenizer lies
    assert "another tokenizer" in run(*new, "--tokenizer", "book")[2]
    code, _, err = run("train", "tokenizer", *tokenizer, *quick)
    assert code == 2
    assert "--resume" in err


def test_it_is_a_program_of_its_own(tmp_path):
    command = [sys.executable, "-m", "arlib", "reconstruct", str(tmp_path / "none.png"), str(tmp_path / "out.png")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"arlib: There is no file {tmp_path / 'none.png'}.\n"
