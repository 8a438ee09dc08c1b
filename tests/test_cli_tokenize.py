"""What `tokenize` writes and says, for each kind of tokenizer and each kind of source."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_cli_many import FRAMES

import arlib
from arlib import data, tokenset


@pytest.fixture
def frames(tmp_path, monkeypatch) -> torch.Tensor:
    """Two frames of the book, in the folder "frames" of the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    for number, frame in enumerate(FRAMES[:2]):
        Path("frames", f"{number}.webp").write_bytes(frame.read_bytes())
    return data.load_folder("frames")


@pytest.mark.parametrize(("named", "quality"), [([], 7), (["--quality", 7], 7), (["--quality", 2], 2)])
def test_tokens_of_a_tokenizer_with_a_dial_have_its_setting_as_their_label(run, frames, named, quality):
    assert run("tokenize", "frames", "a.tokens", "--tokenizer", "fine", *named)[0] == 0
    written = tokenset.read("a.tokens")
    assert written.labels is not None
    assert written.labels.tolist() == [quality, quality]
    assert torch.equal(written.grids, arlib.load_tokenizer("fine").encode(frames, quality))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tokenizer", "fine", "--quality", 8], "A quality lies between 0 and 7"),
        (["--quality", 3], "This tokenizer has no dial: leave the quality out."),
        (["--precision", "16-mixed"], "The precision is 32-true or bf16-mixed, not 16-mixed."),
        (["--data", "digits", "--tokenizer", "digits-4x4"], "There is no split 'frames' of digits"),
    ],
)
def test_what_tokenize_refuses(run, frames, arguments, words):
    code, out, err = run("tokenize", "frames", "a.tokens", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not Path("a.tokens").exists()


def test_a_lower_precision_makes_a_few_other_tokens(run, frames):
    for precision in ("32-true", "bf16-mixed"):
        assert run("tokenize", "frames", f"{precision}.tokens", "--precision", precision)[0] == 0
    exact, rounded = (tokenset.read(f"{precision}.tokens").grids for precision in ("32-true", "bf16-mixed"))
    assert torch.equal(exact, arlib.load_tokenizer("book").encode(frames))
    assert 0 < (exact != rounded).double().mean() < 0.1


@pytest.mark.parametrize("named", [[], ["--data", "supertuxkart"]])
def test_a_folder_is_a_folder_also_where_frames_are_named(run, frames, named):
    assert run("tokenize", "frames", "a.tokens", *named)[0] == 0
    assert torch.equal(tokenset.read("a.tokens").grids, arlib.load_tokenizer("book").encode(frames))


def test_a_folder_is_read_for_a_tokenizer_of_digits_too(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Image.effect_noise((28, 28), 50).save("mine/0.png")
    assert run("tokenize", "mine", "a.tokens", "--tokenizer", "digits-4x4")[0] == 0
    (picture,) = data.load_folder("mine", 28, 28, 1)
    assert torch.equal(tokenset.read("a.tokens").grids, arlib.load_tokenizer("digits-4x4").encode(picture[None]))


def test_what_it_says_of_a_split(run, tmp_path):
    """A split has no files of its own: its pixels are what the tokens are compared with."""
    file = tmp_path / "a.tokens"
    code, out, _ = run("tokenize", "valid", file, "--tokenizer", "digits-4x4")
    after, said = file.stat().st_size, " ".join(out.split())
    pictures = len(data.load("digits", "valid"))
    before = pictures * 28 * 28
    assert code == 0
    assert re.search(rf"{pictures:,} pictures in {after:,} bytes, {before / after:.1f} times smaller than the ", said)
    assert f" {before:,} bytes of pixels. " in said
