"""The training loop: the same curve after a kill, the same loss in two processes, and never a held-out example."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from arlib import data, tokenset, training
from arlib.cli import train as train_cli
from arlib.cli.examples import refuse_held_out
from arlib.data import DataError
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.training import NextTokenLoss, ReconstructionLoss, Settings, fit
from arlib.transformer import Prior

# A whole run in a few lines, for processes of its own: a small prior on tokens that repeat.
RUN = """
import sys, time, torch
from arlib.training import NextTokenLoss, Settings, fit
from arlib.transformer import Prior
folder, resume, devices, pause = sys.argv[1], sys.argv[2] == "resume", int(sys.argv[3]), float(sys.argv[4])
torch.manual_seed(0)
tokens = torch.randint(16, (40, 3), generator=torch.Generator().manual_seed(1)).repeat(1, 8)
settings = Settings(steps=40, batch_size=8, learning_rate=1e-2, devices=devices, checkpoint_seconds=0.0)
class Slow(NextTokenLoss):
    def forward(self, tokens):
        time.sleep(pause)
        return super().forward(tokens)
fit(Slow(Prior(16, 24, width=16, depth=1, heads=2)), tokens, settings, folder, resume=resume)
"""


def run(folder: Path, resume: bool = False, devices: int = 1, pause: float = 0.0) -> subprocess.Popen:
    script = folder.with_suffix(".py")
    script.write_text(RUN)
    command = [sys.executable, str(script), str(folder), "resume" if resume else "new", str(devices), str(pause)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def curve(folder: Path) -> dict[int, float]:
    """The last loss written for each step."""
    events = EventAccumulator(str(folder / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def test_a_killed_run_resumes_to_the_same_curve_and_two_processes_give_the_loss_of_one(tmp_path):
    whole, killed, shared = (
        run(tmp_path / "whole"),
        run(tmp_path / "killed", pause=0.2),
        run(tmp_path / "two", devices=2),
    )
    checkpoint = tmp_path / "killed" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    resumed = run(tmp_path / "killed", resume=True)
    assert [process.wait(120) for process in (whole, resumed, shared)] == [0, 0, 0]

    expected = curve(tmp_path / "whole")
    assert list(expected) == list(range(40))
    assert expected[39] < expected[0] - 1  # it learned
    assert curve(tmp_path / "killed") == expected  # to the last bit
    assert len(list((tmp_path / "killed" / "curves").iterdir())) == 2  # it really took two runs
    for step, loss in curve(tmp_path / "two").items():
        assert loss == pytest.approx(expected[step], rel=1e-3), step


def test_a_folder_with_a_run_is_not_overwritten_and_an_empty_one_cannot_be_resumed(tmp_path):
    settings = Settings(steps=2, batch_size=2, learning_rate=1e-3)
    loss, tokens = NextTokenLoss(Prior(4, 6, 8, 1, 1)), torch.zeros(4, 6, dtype=torch.int64)
    with pytest.raises(DataError, match="no checkpoint"):
        fit(loss, tokens, settings, tmp_path, resume=True)
    fit(loss, tokens, settings, tmp_path)
    with pytest.raises(DataError, match="--resume, or name another folder"):
        fit(loss, tokens, settings, tmp_path)
    with pytest.raises(DataError, match="shared equally"):
        fit(loss, tokens, Settings(steps=2, batch_size=3, learning_rate=1e-3, devices=2), tmp_path / "new")


def test_an_epoch_shows_every_example_once_and_each_epoch_in_another_order():
    settings = Settings(steps=10, batch_size=4, learning_rate=1.0, seed=3)
    seen = torch.cat([training.batch_indices(10, step, settings) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    other = Settings(steps=10, batch_size=4, learning_rate=1.0, seed=4)
    assert training.batch_indices(10, 0, settings).tolist() != training.batch_indices(10, 0, other).tolist()


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    settings = Settings(steps=1000, batch_size=1, learning_rate=2.0)
    rates = [training.learning_rate(step, settings) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(2.0, rel=0.01)
    assert 20 <= rates.index(max(rates)) <= 40
    assert rates[500] == pytest.approx(2.0 * (0.02 + 0.98 / 2), rel=1e-6)  # half way down the cosine
    assert rates[-1] == pytest.approx(0.04, rel=0.01)


def test_the_losses_by_hand():
    tokens = torch.randint(8, (3, 5))
    prior = Prior(8, 5, 8, 1, 1)
    nn.init.zeros_(prior.head.weight)
    assert NextTokenLoss(prior)(tokens.to(torch.int32)).item() == pytest.approx(3.0)  # 8 equal chances: 3 bits

    tokenizer = ImageTokenizer(5, 8, 1, quantizer=BSQ(4))
    images = torch.randint(256, (2, 10, 15, 3), dtype=torch.uint8)
    pixels = images.float() / 255 - 0.5
    error = (tokenizer(pixels)[0] - pixels).square().mean()
    assert torch.allclose(ReconstructionLoss(tokenizer)(images), error)


def test_neighbour_distance_by_hand():
    right, up = [1.0, 0.0], [0.0, 3.0]
    grid = torch.tensor([[[right, right], [up, up]]])
    # Down: both pairs are at a right angle, squared distance 2. To the right: all equal, 0.
    assert training.neighbour_distance(grid).item() == pytest.approx(2.0)


def test_the_smoothness_term_makes_neighbours_equal_more_often():
    frames = data.load("supertuxkart", "valid")[::64]
    agreements = []
    for smoothness in (0.0, 0.1):
        torch.manual_seed(0)
        tokenizer = ImageTokenizer(10, 16, 1, quantizer=BSQ(6))
        loss = ReconstructionLoss(tokenizer, smoothness)
        optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
        for _ in range(30):
            optimizer.zero_grad()
            loss(frames).backward()
            optimizer.step()
        grid = tokenizer.encode(frames)
        agreements.append((grid[:, :, 1:] == grid[:, :, :-1]).double().mean().item())
    assert agreements[1] > agreements[0] + 0.1


class Spy(nn.Module):
    """Passes on what it is given and remembers every example that it was trained on."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss
        self.model = loss.model
        self.seen: set[bytes] = set()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        assert self.training
        self.seen |= {example.numpy().tobytes() for example in batch}
        return self.loss(batch)


def test_the_loop_trains_on_the_examples_it_is_given_and_on_nothing_else(tmp_path):
    spy = Spy(NextTokenLoss(Prior(256, 4, 8, 1, 1)))
    examples = torch.randint(256, (10, 4), generator=torch.Generator().manual_seed(0))
    validated = []

    def validate() -> dict[str, float]:
        validated.append(spy.training)
        return {"figure": 0.0}

    fit(spy, examples, Settings(5, 4, 1e-3), tmp_path, validate)
    assert spy.seen == {example.numpy().tobytes() for example in examples}
    assert validated == [False] * 5  # called, and in eval mode


def test_the_commands_train_on_no_frame_of_valid_or_unseen(tmp_path, monkeypatch):
    """What each command hands to the loop, against the frames and the tokens of the two held-out splits."""
    given: list[torch.Tensor] = []

    def record(loss, examples, *rest):
        given.append(examples)
        raise KeyboardInterrupt  # before anything is trained

    monkeypatch.setattr(training, "fit", record)
    with pytest.raises(KeyboardInterrupt):
        train_cli.tokenizer("spy", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_cli.autoencoder("spy", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_cli.prior("spy", tmp_path)
    frames = {row.numpy().tobytes() for split in ("valid", "unseen") for row in data.load("supertuxkart", split)}
    tokens = {
        row.flatten().to(torch.int32).numpy().tobytes()
        for split in ("valid", "unseen")
        for row in tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids
    }
    assert [len(examples) for examples in given] == [2 * 7156, 2 * 7156, 7156]
    for examples, held_out in zip(given, (frames, frames, tokens), strict=True):
        assert all(example.numpy().tobytes() not in held_out for example in examples)


def test_held_out_examples_are_refused():
    frames = data.load("supertuxkart", "valid")
    mine = torch.zeros(3, 100, 150, 3, dtype=torch.uint8)
    refuse_held_out(mine, frames)
    with pytest.raises(DataError, match="1 of these examples belong to the splits valid or unseen"):
        refuse_held_out(torch.cat([mine, frames[9:10]]), frames)
