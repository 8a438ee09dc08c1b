"""Resuming a run: with its own settings alone, from a whole checkpoint, and to one curve; one run in a folder."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from arlib import runs
from arlib.data import DataError, Notice
from arlib.training import NextTokenLoss, Settings, fit
from arlib.transformer import Prior

TOKENS = torch.zeros(4, 6, dtype=torch.int64)
SETTINGS: dict[str, Any] = {"steps": 6, "batch_size": 2, "learning_rate": 1e-3, "checkpoint_seconds": 0.0}


class Killed(Exception):
    pass


class Mortal(NextTokenLoss):
    """Dies before the given step."""

    left = 100

    def forward(self, tokens, labels=None):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().forward(tokens, labels)


def loss(left: int = 100, **changed: Any) -> Mortal:
    torch.manual_seed(0)
    size: dict[str, Any] = {"vocabulary": 4, "length": 6, "width": 8, "depth": 1, "heads": 1, **changed}
    made = Mortal(Prior(**size))
    made.left = left
    return made


@pytest.fixture
def killed(tmp_path):
    with pytest.raises(Killed):
        fit(loss(4), TOKENS, Settings(**SETTINGS), tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": 7}, r"steps 6 \(now 7\)"),
        ({"batch_size": 4}, r"batch_size 2 \(now 4\)"),
        ({"learning_rate": 1e-2}, r"learning_rate 0.001 \(now 0.01\)"),
        ({"seed": 1}, r"seed 0 \(now 1\)"),
    ],
)
def test_other_settings_are_named_and_refused(killed, changed, words):
    before = {path: path.read_bytes() for path in killed.iterdir() if path.is_file()}
    with pytest.raises(DataError, match=words):
        fit(loss(), TOKENS, Settings(**{**SETTINGS, **changed}), killed, resume=True)
    assert {path: path.read_bytes() for path in killed.iterdir() if path.is_file()} == before


def test_other_shapes_kinds_and_examples_are_named_and_refused(killed):
    with pytest.raises(DataError, match=r"width 8 \(now 16\)"):
        fit(loss(width=16), TOKENS, Settings(**SETTINGS), killed, resume=True)
    with pytest.raises(DataError, match=r"examples .*4, 6.*now .*3, 6"):
        fit(loss(), TOKENS[:3], Settings(**SETTINGS), killed, resume=True)
    other = loss()
    other.model = nn.Linear(2, 2)  # type: ignore[assignment]
    with pytest.raises(DataError, match=r"kind of model Prior \(now Linear\)"):
        fit(other, TOKENS, Settings(**SETTINGS), killed, resume=True)
    assert runs.begun_with(nn.Linear(2, 2), (), Settings(**SETTINGS))["kind of model"] == "Linear"  # a loss of its own


def test_other_prices_are_named_and_refused_and_the_same_ones_go_on(tmp_path):
    def priced(*prices: float, left: int = 100) -> Mortal:
        made = loss(left)
        made.register_buffer("prices", torch.tensor(prices, dtype=torch.float32), persistent=False)
        made.smoothing = 0.5  # type: ignore[assignment]
        return made

    with pytest.raises(Killed):
        fit(priced(1, 2.5, left=4), TOKENS, Settings(**SETTINGS), tmp_path)
    with pytest.raises(DataError, match=r"with other settings: prices \[1\.0, 2\.5\] \(now \[1\.0, 2\.0\]\)\."):
        fit(priced(1, 2), TOKENS, Settings(**SETTINGS), tmp_path, resume=True)
    with pytest.raises(DataError, match=r"prices \[1\.0, 2\.5\] \(now None\), smoothing 0\.5 \(now None\)\."):
        fit(loss(), TOKENS, Settings(**SETTINGS), tmp_path, resume=True)
    fit(priced(1, 2.5), TOKENS, Settings(**SETTINGS), tmp_path, resume=True)


@pytest.mark.parametrize("damage", [b"", b"garbage" * 9, None])
def test_one_damaged_checkpoint_loses_a_step_and_not_the_run(killed, damage):
    last = killed / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-500] if damage is None else damage)
    with pytest.warns(Notice, match=r"last\.ckpt is damaged"):
        fit(loss(), TOKENS, Settings(**SETTINGS), killed, resume=True)
    assert torch.load(last)["step"] == 6
    for name in runs.CHECKPOINTS:
        (killed / name).write_bytes(b"")
    with pytest.warns(Notice), pytest.raises(DataError, match=r"No checkpoint in .* is whole"):
        fit(loss(), TOKENS, Settings(**SETTINGS), killed, resume=True)


class Command:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_no_code_in_a_checkpoint_is_run(killed, tmp_path):
    last = killed / "last.ckpt"
    torch.save({**torch.load(last), "seconds": Command(tmp_path / "made")}, last)
    with pytest.warns(Notice, match=r"last\.ckpt is damaged"):
        fit(loss(), TOKENS, Settings(**SETTINGS), killed, resume=True)
    assert not (tmp_path / "made").exists()


def test_the_curve_of_a_killed_and_resumed_run_has_every_step_once(killed):
    last, previous = (killed / name for name in runs.CHECKPOINTS)
    assert (torch.load(last)["step"], torch.load(previous)["step"]) == (4, 3)
    previous.replace(last)  # as if the kill had come between two checkpoints
    fit(loss(), TOKENS, Settings(**SETTINGS), killed, resume=True)
    events = EventAccumulator(str(killed / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(6))


def test_two_runs_in_one_folder_are_one_too_many(tmp_path):
    with runs.alone_in(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run").is_dir()
    with runs.alone_in(tmp_path), pytest.raises(DataError, match="Another run is using"):
        fit(loss(), TOKENS, Settings(**SETTINGS), tmp_path)
    fit(loss(), TOKENS, Settings(**SETTINGS), tmp_path)
