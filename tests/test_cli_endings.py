"""How commands end: nothing is replaced unasked, an interrupt is no success, and a failed write tells why."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from arlib import checkpoints, codec, data, sampling, training
from arlib.cli import listing, report
from arlib.data import DataError
from arlib.storage import write_atomically
from arlib.training import NextTokenLoss, Settings, fit
from arlib.transformer import Prior

FRAME = data.files("supertuxkart", "valid")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["reconstruct", FRAME, "there.png"],
        ["tokenize", "valid", "there.png"],
        ["generate", "--out", "new", "--count", 3],
        ["compress", FRAME, "there.ptb"],
        ["compress", FRAME, "new"],
        ["decompress", "there.ptb", "there.png"],
    ],
)
def test_what_is_there_is_replaced_only_by_force(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("new").mkdir()
    for name in ("there.png", "there.ptb", "new/0001.png", f"new/{FRAME.stem}.ptb"):
        Path(name).write_text("an original")
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "would be replaced" in err
    assert all(path.read_text() == "an original" for path in Path().rglob("*.p*"))


def test_force_replaces(run, tmp_path):
    out = tmp_path / "a.png"
    out.write_text("an original")
    assert run("reconstruct", FRAME, out, "--force")[0] == 0
    assert data.read_image(out).shape == (100, 150, 3)


def test_the_reason_of_a_failed_write_is_the_one_that_is_told(tmp_path):
    (tmp_path / "x.webp").write_bytes(b"a file")
    picture = torch.zeros(4, 4, 3, dtype=torch.uint8)
    for path, words in {
        tmp_path / "x.webp" / "o.png": "Not a directory",
        tmp_path / "none" / "o.png": "No such file or directory",
        tmp_path / ("n" * 252 + ".png"): "name too long",
    }.items():
        with pytest.raises(DataError, match=f"cannot be written: .*{words}"):
            data.write_image(path, picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="directory"):
        data.write_image(tmp_path / "folder.png", picture)
    data.write_image(tmp_path / ("n" * 246 + ".png"), picture)  # a name of 250 characters is one
    assert sorted(len(path.name) for path in tmp_path.iterdir()) == [6, 10, 250]


def test_threads_write_the_same_file_without_getting_in_each_others_way(tmp_path):
    path, errors, barrier = tmp_path / "a", [], threading.Barrier(8)

    def work(number: int) -> None:
        def write(partial: Path) -> None:
            barrier.wait()
            partial.write_bytes(bytes([number]) * 1000)

        try:
            write_atomically(path, write)
        except Exception as error:  # reported below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_trained_weights_get_the_permissions_of_the_users_umask(tmp_path):
    checkpoints.save(tmp_path / "prior-a.safetensors", "prior", Prior(4, 4, 8, 1, 1))
    (tmp_path / "plain").touch()
    assert (tmp_path / "prior-a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


TOKENS = torch.zeros(4, 6, dtype=torch.int64)


def small() -> NextTokenLoss:
    torch.manual_seed(0)
    return NextTokenLoss(Prior(4, 6, 8, 1, 1))


def test_a_full_disk_in_training_is_one_error_and_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(self, path, state):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Fabric, "save", full)
    with pytest.raises(DataError, match=r"last\.ckpt cannot be written: No space left"):
        fit(small(), TOKENS, Settings(1, 2, 1e-3), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]


def test_weights_that_were_trained_are_not_replaced_by_a_new_run(tmp_path):
    (tmp_path / "prior-old.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="holds the weights of a trained model"):
        fit(small(), TOKENS, Settings(1, 2, 1e-3), tmp_path)


@pytest.mark.parametrize(
    ("place", "name", "arguments"),
    [
        (sampling, "generate", ["generate", "--out", "new"]),
        (codec.Codec, "compress_batch", ["compress", FRAME, "x.ptb"]),
        (training, "fit", ["train", "judge", "--name", "x", "--out", "run"]),
        (report, "evaluation_tables", ["evaluate"]),
    ],
)
def test_an_interrupt_is_one_line_and_no_success(run, tmp_path, monkeypatch, place, name, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, name, lambda *rest, **options: os.kill(os.getpid(), signal.SIGINT))
    code, out, err = run(*arguments)
    assert (code, out, err.strip()) == (130, "", "arlib: interrupted.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_ends_with_the_step_and_keeps_the_checkpoint_of_before(tmp_path, value):
    class Diverging(NextTokenLoss):
        steps = 0

        def forward(self, tokens, labels=None):
            self.steps += 1
            return super().forward(tokens, labels) * (value if self.steps == 3 else 1)

    loss = Diverging(Prior(4, 6, 8, 1, 1))
    with pytest.raises(DataError, match=f"the loss of step 3 is {value}"):
        fit(loss, TOKENS, Settings(5, 2, 1e-3, checkpoint_seconds=0.0), tmp_path)
    assert torch.load(tmp_path / "last.ckpt")["step"] == 2
    assert all(weight.isfinite().all() for weight in loss.parameters())


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_learning_rate_is_a_number_above_0(rate):
    with pytest.raises(DataError, match="learning rate is a number above 0"):
        Settings(1, 1, rate)


RUN = ["--name", "x", "--out", "run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "tokenizer", "--name", "a/b", "--out", "run"], "--name 'a/b' cannot be a part of a file's name"),
        (["train", "tokenizer", "--name", "", "--out", "run"], "--name ''"),
        (["train", "judge", "--name", "x", "--out", "a file"], "a file is a file"),
        (["train", "prior", "--name", "x", "--out", "a file/run"], "a file is a file"),
        (["train", "tokenizer", *RUN, "--width", -3], "--width"),
        (["train", "tokenizer", *RUN, "--depth", -1], "--depth"),
        (["train", "autoencoder", *RUN, "--patch-size", -5], "--patch-size"),
        (["train", "prior", *RUN, "--heads", 0], "--heads"),
        (["train", "tokenizer", *RUN, "--seed", 2**63], "--seed"),
        (["train", "tokenizer", *RUN, "--seed", -1], "--seed"),
        (["train", "tokenizer", *RUN, "--accelerator", "tpu"], "no accelerator 'tpu' here; there are cpu"),
        (["train", "tokenizer", *RUN, "--learning-rate", "inf"], "learning rate is a number above 0"),
        (["generate", "--out", "new", "--count", 10**12], "at most 100,000"),
        (["generate", "--out", "new", "--seed", 2**63], "--seed"),
    ],
)
def test_an_option_that_cannot_be_is_one_line_before_any_work(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


@pytest.mark.parametrize("name", ["a[b].png", "a:car:b.png", "[red]x.png"])
def test_names_of_files_are_shown_as_they_are(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("reconstruct", FRAME, name)
    assert code == 0
    assert name in out


def test_what_a_folder_holds_and_is_not_read_is_counted_and_said(tmp_path):
    data.write_image(tmp_path / "a.png", torch.zeros(4, 4, 3, dtype=torch.uint8))
    (tmp_path / "b.tif").touch()
    (tmp_path / "y.png").mkdir()
    with pytest.warns(data.Notice, match=r"holds 2 more that are not read, as .*b\.tif"):
        assert data.folder_files(tmp_path) == [tmp_path / "a.png"]


def test_an_ending_in_capitals_is_one_too(tmp_path):
    (tmp_path / "A.PTB").touch()
    assert listing.ptb_files(tmp_path) == [tmp_path / "A.PTB"]


def test_a_terminal_of_ascii_gets_a_question_mark(tmp_path):
    command = [sys.executable, "-m", "arlib", "reconstruct", "ñ.png", "o.png"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stderr) == (2, "arlib: There is no file ?.png.\n")
