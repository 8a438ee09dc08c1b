"""Commands on many pictures: a few in memory at a time, bad ones left out, and the same results as all at once."""

import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_codec import load, write_weights

import arlib
from arlib import checkpoints, data, tokenset
from arlib.cli import coding, listing, sources
from arlib.storage import DataError, Notice

FRAMES = data.files("supertuxkart", "valid")[:9]
BAD = (1, 4, 5)  # of the nine: in the middle of a batch of two or three, and two in a row
GOLDEN = Path(__file__).resolve().parent / "golden" / "digits-scales-raster" / "00.ptb"
TINY = ["--prior", "tiny"]


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """Nine files, three of which are no pictures, and a tiny codec."""
    (tmp_path / "data").mkdir()
    write_weights(tmp_path / "data")
    index = {name: load(tmp_path / "data", name).hash for name in ("tiny", "other")}
    (tmp_path / "data" / "weights" / "codecs.json").write_text(str(index).replace("'", '"'))
    monkeypatch.setenv("ARLIB_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "files", "again"):
        Path(name).mkdir()
    for number, frame in enumerate(FRAMES):
        path = Path("pictures", f"{number}.webp")
        path.write_bytes(b"no picture" if number in BAD else frame.read_bytes())
    return tmp_path


class Alive:
    """How many of the tensors that a function takes or gives are alive, and how many have been at once."""

    def __init__(self) -> None:
        self.now, self.most, self.all = 0, 0, 0

    def count(self, tensor: torch.Tensor) -> torch.Tensor:
        self.now, self.all = self.now + 1, self.all + 1
        self.most = max(self.most, self.now)
        weakref.finalize(tensor, self.gone)
        return tensor

    def gone(self) -> None:
        self.now -= 1


@pytest.fixture
def read(monkeypatch) -> Alive:
    """Counts the pictures that are read."""
    alive, plain = Alive(), data.read_image
    monkeypatch.setattr(data, "read_image", lambda *given, **named: alive.count(plain(*given, **named)))
    return alive


def test_batches_are_what_reading_all_at_once_gives(pictures):
    paths = data.folder_files("pictures")
    with pytest.warns(Notice, match=r"3 of 9 files are left out\. The first: pictures/1\.webp"):
        known, images = data.read_images(paths)
    batches: list[tuple[list[Path], torch.Tensor]] = []
    with pytest.warns(Notice, match=r"3 of 9 files are left out\. The first: pictures/1\.webp"):
        batches += data.read_batches(paths, 4, 100, 150)
    assert [len(good) for good, _ in batches] == [4, 2]  # bad files don't make a batch smaller
    assert [path for good, _ in batches for path in good] == known
    assert torch.equal(torch.cat([some for _, some in batches]), images)


def test_no_more_than_a_batch_is_in_memory(pictures, read):
    with pytest.warns(Notice):
        assert sum(len(good) for good, _ in data.read_batches(data.folder_files("pictures"), 2, 100, 150)) == 6
    assert (read.all, read.most) == (6, 2)


def test_a_folder_of_bad_files_alone_is_an_error(pictures):
    paths = [Path("pictures", f"{number}.webp") for number in BAD]
    with pytest.raises(DataError, match=r"pictures/1\.webp is not an image"):
        list(data.read_batches(paths, 2, 100, 150))


@pytest.mark.parametrize("mirror", [[], ["--mirror"]])
def test_tokenize_reads_a_batch_at_a_time_and_writes_what_all_at_once_gives(run, pictures, read, monkeypatch, mirror):
    monkeypatch.setattr(sources, "BATCH", 2)
    code, out, err = run("tokenize", "pictures", "a.tokens", "--tokenizer", "tiny", *mirror)
    assert (code, err.count("\n")) == (0, 1)
    assert "3 of 9 files are left out" in err
    assert (read.all, read.most) == (6, 2)
    model = arlib.load_tokenizer("tiny")
    images = torch.stack([data.read_image(FRAMES[number]) for number in range(9) if number not in BAD])
    grids = torch.cat([model.encode(some.flip(2) if mirror else some) for some in images.split(2)])
    digest = checkpoints.sha256(checkpoints.find("tokenizer", "tiny"))
    tokenset.write("known.tokens", grids, model.codebook_size, digest)
    assert Path("a.tokens").read_bytes() == Path("known.tokens").read_bytes()
    said = " ".join(out.split())
    size = sum(FRAMES[number].stat().st_size for number in range(9) if number not in BAD)
    assert f"6 pictures in {Path('a.tokens').stat().st_size} bytes" in said
    assert f"smaller than the {size:,} bytes of WEBP" in said
    assert f"{len(grids.unique()) / model.codebook_size:.1%} of {model.codebook_size:,} codes occur" in said
    assert re.search(r"occur\. [\d.,]+ pictures a second\.", said)


def test_a_set_of_tokens_is_not_written_where_no_picture_is_good(run, pictures):
    for number in range(9):
        Path("pictures", f"{number}.webp").write_bytes(b"no picture")
    code, out, err = run("tokenize", "pictures", "a.tokens", "--tokenizer", "tiny")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pictures/0.webp is not an image" in err
    assert not [path for path in pictures.iterdir() if "tokens" in path.name or "partial" in path.name]


def test_an_interrupt_of_tokenize_leaves_nothing(run, pictures, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 2)
    plain = arlib.ImageTokenizer.encode

    def encode(self: arlib.ImageTokenizer, *given: Any) -> torch.Tensor:
        if sum(path.suffix == ".partial" for path in Path().iterdir()):  # the first batch is on its way
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, *given)

    monkeypatch.setattr(arlib.ImageTokenizer, "encode", encode)
    before = sorted(pictures.rglob("*"))
    code, out, err = run("tokenize", "pictures", "a.tokens", "--tokenizer", "tiny")
    assert (code, out, err) == (130, "", "arlib: interrupted.\n")
    assert sorted(pictures.rglob("*")) == before


def test_files_are_coded_a_batch_at_a_time_and_are_those_of_each_picture_alone(run, pictures, read, monkeypatch):
    monkeypatch.setattr(coding, "BATCH", 2)
    code, _, err = run("compress", "pictures", "files", *TINY)
    assert (code, err.count("\n")) == (2, 1)
    assert "3 of 9 files failed, the others are written. The first: pictures/1.webp is not an image" in err
    assert read.all == 6
    assert read.most <= 4  # those of a batch, while the ones before are let go
    codec = load(pictures / "data", "tiny")
    good = [number for number in range(9) if number not in BAD]
    assert sorted(path.name for path in Path("files").iterdir()) == [f"{number}.ptb" for number in good]
    for number in good:
        assert Path("files", f"{number}.ptb").read_bytes() == codec.compress(data.read_image(FRAMES[number]))
    for number in BAD:
        Path("files", f"{number}.ptb").write_bytes(b"no file")
    written, plain = Alive(), data.write_image
    monkeypatch.setattr(data, "write_image", lambda path, image: plain(path, written.count(image)))
    code, _, err = run("decompress", "files", "again", *TINY)
    assert (code, err.count("\n")) == (2, 1)
    assert "3 of 9 files failed, the others are written. The first: files/1.ptb: This is not a .ptb file" in err
    assert written.all == 6
    assert written.most <= 4
    for number in good:
        known = codec.decompress(Path("files", f"{number}.ptb").read_bytes())
        assert torch.equal(data.read_image(Path("again", f"{number}.png")), known)


def test_pictures_that_could_not_be_written_are_let_go(run, pictures, monkeypatch):
    monkeypatch.setattr(coding, "BATCH", 2)
    file = load(pictures / "data", "tiny").compress(data.read_image(FRAMES[0]))
    for number in range(9):
        Path("files", f"{number}.ptb").write_bytes(file)
    written = Alive()

    def refuse(path: Path, image: torch.Tensor) -> None:
        written.count(image)
        raise DataError(f"{path} cannot be written: No space left on device.")

    monkeypatch.setattr(data, "write_image", refuse)
    code, _, err = run("decompress", "files", "again", *TINY)
    assert (code, written.all) == (2, 9)
    assert "9 of 9 files failed" in err
    assert written.most <= 4


def test_the_pace_is_told(run, pictures):
    for number in BAD:
        Path("pictures", f"{number}.webp").unlink()
    for command in (["compress", "pictures", "files", *TINY], ["decompress", "files", "again", *TINY]):
        code, out, _ = run(*command)
        assert code == 0
        assert re.search(r"[1-9][\d.,]* pictures a second\.$", " ".join(out.split())), out
    code, out, _ = run("generate", "--out", "new", "--count", 2, *TINY)
    assert code == 0
    assert re.search(r"bits each on average\. [\d.,]+ pictures a second\.$", " ".join(out.split()))


def row(out: str, name: str) -> list[str]:
    found = next(line for line in out.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in found.split("│")[1:-1]]


def test_evaluate_measures_a_folder_as_it_would_its_pictures(run, pictures, read, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 2)
    Path("pictures").rename("[red]x")  # a name that is no markup
    code, out, err = run("evaluate", "--prior", "tiny", "--data", "[red]x")
    assert (code, err.count("\n")) == (0, 1)
    assert "3 of 9 files are left out" in err
    assert (read.all, read.most) == (6, 2)
    model, prior = arlib.load_tokenizer("tiny"), arlib.load_prior("tiny")
    images = torch.stack([data.read_image(FRAMES[number]) for number in range(9) if number not in BAD])
    grids = model.encode(images)
    bits = arlib.metrics.bits(prior, grids.flatten(1)).double().sum(1).mean()
    assert re.search(r"[\d.,]+ pictures a second\.", " ".join(out.split()))
    assert row(out, "[red]x")[1:] == [
        "6",
        f"{arlib.metrics.mse(images, model.decode(grids)).mean():.5f}",
        f"{arlib.metrics.psnr(images, model.decode(grids)).mean():.2f} dB",
        f"{len(grids.unique()) / model.codebook_size:.1%}",
        f"{bits / prior.length:.3f}",
        f"{bits:,.1f}",
    ]


@pytest.mark.parametrize(
    ("arguments", "names", "title"),
    [
        (["--split", "valid"], ["valid"], "Prior book and its tokenizer"),
        (["--tokenizer", "book"], ["train", "valid", "unseen"], "Tokenizer book"),
        (["--prior", "small", "--split", "unseen"], ["unseen"], "Prior small and its tokenizer"),
        ([], ["train", "valid", "unseen", "linear-5", "conv-25"], "Prior book and its tokenizer"),
    ],
)
def test_evaluate_measures_what_was_asked_for_and_no_more(run, monkeypatch, arguments, names, title):
    monkeypatch.setattr(data, "files", lambda name, split: FRAMES[:2])
    code, out, _ = run("evaluate", *arguments)
    assert code == 0
    assert title in " ".join(out.split())
    for name in ("train", "valid", "unseen", "linear-5", "conv-25"):
        assert (f"│ {name} " in out) == (name in names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "test"], "There is no split 'test' of supertuxkart; there are train, valid, unseen"),
        (["--data", "pictures", "--split", "valid", *TINY], "pictures is a folder, which has no splits"),
        (["--data", "nowhere", *TINY], "There is no data set 'nowhere'"),
        (["--data", "files", *TINY], "files holds no image"),
    ],
)
def test_what_evaluate_cannot_measure(run, pictures, monkeypatch, arguments, words):
    if arguments[0] == "--split":
        monkeypatch.delenv("ARLIB_DATA")
    code, out, err = run("evaluate", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.fixture
def locked(monkeypatch) -> Callable[[str], None]:
    """Folders of that name cannot be read, whoever asks: the superuser could read any."""
    plain = os.scandir

    def lock(name: str) -> None:
        def scandir(path: Any = ".") -> Any:
            if Path(os.fsdecode(path)).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return plain(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return lock


def test_folders_that_cannot_be_read_are_counted_and_said(tmp_path, locked):
    for name in ("a/1.png", "secret/2.png", "b/secret/3.png", "a/1.ptb"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    locked("secret")
    for files_of, ending in ((listing.image_files, "png"), (listing.ptb_files, "ptb")):
        with pytest.warns(Notice, match="2 of the folders in .* cannot be read, as .*secret: Permission denied"):
            assert files_of(tmp_path) == [tmp_path / "a" / f"1.{ending}"]
        with pytest.raises(DataError, match="secret cannot be read: Permission denied"):
            files_of(tmp_path / "secret")


@pytest.mark.parametrize(("files_of", "ending"), [(listing.image_files, "png"), (listing.ptb_files, "ptb")])
def test_what_is_called_like_a_file_and_is_none_is_counted_and_said(tmp_path, files_of, ending):
    (tmp_path / f"a.{ending}").touch()
    os.mkfifo(tmp_path / f"b.{ending}")  # whoever read it would wait forever
    (tmp_path / f"c.{ending}").symlink_to("nowhere")  # when it's read, it is told with its name
    with pytest.warns(Notice, match=r"holds 1 more that are not read, as .*b\..*: it is no file"):
        assert files_of(tmp_path) == [tmp_path / f"a.{ending}", tmp_path / f"c.{ending}"]
    for name in ("a", "c"):
        (tmp_path / f"{name}.{ending}").unlink()
    with pytest.warns(Notice), pytest.raises(DataError, match="holds no"):
        files_of(tmp_path)
    (tmp_path / f"d.{ending}").mkdir()
    with pytest.warns(Notice), pytest.raises(DataError, match="holds no"):
        files_of(tmp_path)


def info(stdout: Any, **environment: str) -> subprocess.CompletedProcess:
    """`python -m arlib info` in a process of its own, whose standard output is written in blocks."""
    everything = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | environment
    command = [sys.executable, "-m", "arlib", "info", str(GOLDEN)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=everything)


def test_a_terminal_of_no_width_gets_the_whole_table():
    ended = info(subprocess.PIPE, COLUMNS="0")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(word in ended.stdout for word in ("ideal", "padding", "checksums", "100.00%"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_one_line_and_no_success():
    with Path("/dev/full").open("w") as full:
        ended = info(full)
    assert (ended.returncode, ended.stderr) == (2, "arlib: No space left on device.\n")


def test_a_closed_pipe_is_no_traceback_and_no_success():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = info(pipe)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("\n") <= 1
