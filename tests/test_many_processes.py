"""Training on more than one machine: two processes on loopback, each a node of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arlib import checkpoints, tokenset

STEPS = 30
# `train prior` with a pause before each step, so that there is time to kill it, and a checkpoint after each.
SLOWLY = """
import time
from arlib import cli, losses, settings
plain = losses.NextTokenLoss.forward
check = settings.Settings.__post_init__
def often(self):
    self.checkpoint_seconds = 0.0
    check(self)
settings.Settings.__post_init__ = often
def forward(self, *batch):
    time.sleep(0.3)
    return plain(self, *batch)
losses.NextTokenLoss.forward = forward
cli.main()
"""


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def learn(tmp_path) -> list[str]:
    """The options of a small prior on tokens that repeat."""
    tokens = torch.randint(16, (40, 3), generator=torch.Generator().manual_seed(1)).repeat(1, 8).view(40, 4, 6)
    tokenset.write(tmp_path / "t.tokens", tokens, 16, "ab" * 32)
    small = ["--width", "16", "--depth", "1", "--heads", "2", "--learning-rate", "1e-2", "--batch-size", "8"]
    return ["train", "prior", "--name", "x", "--tokens", "t.tokens", *small, "--steps", str(STEPS)]


def start(tmp_path: Path, *command: str, **environment: str) -> subprocess.Popen:
    everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env=everything,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def curve(folder: Path) -> dict[int, float]:
    events = EventAccumulator(str(folder / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def test_two_nodes_give_the_loss_of_one_process_and_the_first_alone_writes(tmp_path, learn):
    """Started by torchrun, as on the page "Beyond one machine"."""
    whole = start(tmp_path, "-m", "arlib", *learn, "--out", "one")
    at = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", free_port()]
    torchrun = ["-m", "torch.distributed.run", *at]
    nodes = [
        start(tmp_path, *torchrun, "--node-rank", str(rank), "-m", "arlib", *learn, "--out", "two", "--nodes", "2")
        for rank in range(2)
    ]
    told = [process.communicate(timeout=200) for process in (whole, *nodes)]
    assert [process.returncode for process in (whole, *nodes)] == [0, 0, 0], told
    assert [sum("prior-x.md" in line for line in out.splitlines()) for out, _ in told] == [1, 1, 0]
    expected, found = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert list(found) == list(expected) == list(range(STEPS))
    assert expected[STEPS - 1] < expected[0] - 0.5  # it learned
    assert found == pytest.approx(expected, rel=1e-3)
    assert len(list((tmp_path / "two" / "curves").iterdir())) == 1
    one, two = (checkpoints.read_header(tmp_path / name / "prior-x.safetensors") for name in ("one", "two"))
    assert one == two


def test_a_process_that_dies_ends_the_run_in_words_and_fewer_go_on(tmp_path, learn):
    (tmp_path / "slowly.py").write_text(SLOWLY)
    whole = start(tmp_path, "-m", "arlib", *learn, "--out", "one")
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    nodes = [
        start(tmp_path, "slowly.py", *learn, "--out", "two", "--nodes", "2", NODE_RANK=str(rank), **where)
        for rank in range(2)
    ]
    folder, deadline = tmp_path / "two", time.monotonic() + 120
    while not (folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    nodes[1].send_signal(signal.SIGKILL)
    _, err = nodes[0].communicate(timeout=100)
    assert nodes[0].returncode == 2
    assert "arlib: Another process of this run has ended or cannot be reached" in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert nodes[1].wait(100) == -signal.SIGKILL
    assert not list(folder.glob("*.safetensors"))
    assert len(curve(folder)) < STEPS

    alone = start(tmp_path, "-m", "arlib", *learn, "--out", "two", "--resume")
    told = [process.communicate(timeout=100) for process in (whole, alone)]
    assert (whole.returncode, alone.returncode) == (0, 0), told
    expected = curve(tmp_path / "one")
    assert curve(folder) == pytest.approx(expected, rel=1e-3)
    assert expected[STEPS - 1] < expected[0] - 0.5
