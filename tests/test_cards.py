"""The page of the trained models shows every card, its table says what the cards say, and their commands are true."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import rows_of_card

from arlib import checkpoints, data, realism, training
from arlib.cli import cards, examples
from arlib.cli.common import SHAPES
from arlib.settings import Settings
from arlib.tokenset import TokenSet
from arlib.transformer import Prior

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "model-cards.md").read_text(encoding="utf-8")
CARDS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "data" / "weights").glob("*.md")}
FIGURES = {"%": "accuracy", " dB": "PSNR", " bits per token": "bits"}


def test_every_card_is_on_the_page_once() -> None:
    assert sorted(re.findall(r"{include} \.\./data/weights/(.*)\.md", PAGE)) == sorted(CARDS)


def test_the_table_says_what_the_cards_say() -> None:
    rows = re.findall(
        r"^\| \[(.*?)\]\(#\1\) \| .* \| ([\d,]+) \| ([\d.]+)(?:(%) right|( dB| bits per token)) \|$", PAGE, re.M
    )
    assert sorted(name for name, *_ in rows) == sorted(CARDS)
    for name, parameters, figure, *units in rows:
        unit = "".join(units)
        assert f"| parameters | {parameters}, stored" in CARDS[name]
        assert re.search(rf"\| valid {FIGURES[unit]} \| {re.escape(figure)}[ %]", CARDS[name])
        assert ("| test accuracy | " in CARDS[name]) == name.startswith("judge-")


@pytest.fixture
def nothing_to_learn(monkeypatch, tmp_path) -> None:
    """Black pictures and tokens of zeros in the place of the data sets, whose loading would take a while."""
    monkeypatch.chdir(tmp_path)

    def pictures(name: str) -> torch.Tensor:
        return torch.zeros(10, *SHAPES[name], dtype=torch.uint8)

    monkeypatch.setattr(data, "load", lambda name, split: pictures(name))
    monkeypatch.setattr(data, "labels", lambda name, split: torch.arange(10))
    monkeypatch.setattr(realism, "fresh_judge", lambda *sets: 0.5)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_the_command_on_a_card_makes_a_model_of_that_kind(run, nothing_to_learn, monkeypatch, name) -> None:
    """Name, sizes, quantizer, order and data set: the training itself is left out."""
    header = checkpoints.read_header(ROOT / "data" / "weights" / f"{name}.safetensors")
    command = re.search(r"trained by \| `python -m arlib ([^`]*)`", CARDS[name])
    assert command is not None
    if header["kind"] == "prior":
        weights = checkpoints.find("tokenizer", header["tokenizer"])
        bits = (header["config"]["vocabulary"] - 1).bit_length()
        grids = torch.zeros(10, *checkpoints.parse_grid(header["grid"]), dtype=torch.int64)
        classes = header["config"].get("classes")
        labels = torch.arange(10) % classes if classes else None
        learned = TokenSet(grids, bits, checkpoints.sha256(weights)[:24], labels)
        monkeypatch.setattr(examples, "tokens", lambda paths, valid: (learned, None))

    def fit(loss, learned, settings, folder, *rest) -> float:
        folder.mkdir(parents=True)
        return 1.0

    monkeypatch.setattr(training, "fit", fit)
    here = re.sub(r"--accelerator \w+", "--accelerator cpu", command[1])  # this machine may have no GPU
    code, _, err = run(*shlex.split(here))
    assert (code, err) == (0, "")
    (path,) = Path().rglob("*.safetensors")
    assert path.name == f"{name}.safetensors"
    made = checkpoints.read_header(path)
    assert (made["kind"], made["config"]) == (header["kind"], header["config"])
    for key in ("grid", "order"):
        assert made.get(key) == header.get(key)
    assert header.get("data") in (made.get("data"), None)
    if header["kind"] in ("prior", "decoder"):
        assert made["tokenizer"].startswith(header["tokenizer"])


@pytest.mark.parametrize(("source", "right"), [("digits", "CC BY-SA 3.0"), (None, "that of the pictures it learned")])
def test_a_card_tells_how_the_model_was_made(monkeypatch, tmp_path, capsys, source, right):
    monkeypatch.setattr("sys.argv", ["arlib", "train", "prior", "--name", "a b", "--resume"])
    monkeypatch.setattr(cards, "peak_memory", lambda: 2_340_000_000)
    path = tmp_path / "prior-x.safetensors"
    path.write_bytes(b"abc")
    cards.write(path, Prior(8, 6, 8, 1, 2), 900.0, Settings(9, 20, 0.1, seed=7), {"valid bits": "1.5"}, "dice", source)
    rows = rows_of_card(path)
    assert rows.pop("license").startswith(right)
    assert int(rows.pop("parameters").removesuffix(", stored as float16").replace(",", "")) > 100
    assert rows == {
        "trained by": "`python -m arlib train prior --name 'a b'`",
        "seed": "7",
        "time": f"15.0 minutes on a CPU, threads: {torch.get_num_threads()}",
        "memory": "2.3 GB at most, pictures and all",
        "valid bits": "1.5",
        "learned from": "dice",
        "size": "3 bytes",
        "SHA-256": "`ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad`",  # of FIPS 180's own example
    }
    assert "\n0.2 examples a second" in capsys.readouterr().out  # 9 steps of 20 in 900 seconds


def test_the_memory_of_a_process_is_in_bytes():
    block = torch.ones(25_000_000)  # 100 MB
    assert block.nbytes < cards.peak_memory() < 64e9
