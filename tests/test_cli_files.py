"""`compress`, `decompress` and `info`: what they make, and the one line they say of every wrong input."""

import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from test_codec import load, random_grids, repair, write_weights

from arlib import data
from arlib.cli import coding, options
from arlib.codec import Ledger

FRAMES = data.files("supertuxkart", "valid")[:3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_weights(folder)
    index = {name: load(folder, name).hash for name in ("tiny", "other")}
    (folder / "weights" / "codecs.json").write_text(str(index).replace("'", '"'))
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch) -> Path:
    """The working folder: good files, and things that look like some."""
    monkeypatch.setenv("ARLIB_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    file = load(folder, "tiny").compress_tokens(random_grids(1)[0])
    Path("good.ptb").write_bytes(file)
    Path("other.ptb").write_bytes(load(folder, "other").compress_tokens(random_grids(1)[0]))
    Path("foreign.ptb").write_bytes(repair(file[:4] + b"\1\2\3\4" + file[8:]))
    Path("damaged.ptb").write_bytes(file[:-1])
    Path("short.ptb").write_bytes(file[:10])
    Path("later.ptb").write_bytes(repair(file[:3] + b"\2" + file[4:]))
    Path("repaired.ptb").write_bytes(repair(file + b"\0"))
    Path("empty.ptb").write_bytes(b"")
    for name in ("text.png", "text.ptb"):
        Path(name).write_text("I am a text")
    Image.new("RGB", (64, 64), "red").save("small.png")
    for name in ("nothing", "out", "twice", "twice/below"):
        Path(name).mkdir()
    for name in ("twice/a.png", "twice/below/a.png"):
        Image.new("RGB", (150, 100), "red").save(name)
    return tmp_path


TINY = ["--prior", "tiny"]
WRONG: dict[str, tuple[list[object], str]] = {
    "compress a missing file": (["compress", "none.png", "x.ptb", *TINY], "There is no file none.png"),
    "compress a text": (["compress", "text.png", "x.ptb", *TINY], "text.png is not an image"),
    "compress another size": (["compress", "small.png", "x.ptb", *TINY], "--fit"),
    "compress to another ending": (["compress", FRAMES[0], "x.png", *TINY], "x.png does not end in .ptb"),
    "compress to no folder": (["compress", FRAMES[0], "none/x.ptb", *TINY], "none/x.ptb cannot be written"),
    "compress many to a missing folder": (["compress", *FRAMES, "none", *TINY], "none is not a folder.*make it"),
    "compress many to a file": (["compress", *FRAMES, "good.ptb", *TINY], "good.ptb is not a folder"),
    "compress a folder to a file": (["compress", "twice", "good.ptb", *TINY], "good.ptb is not a folder"),
    "compress an empty folder": (["compress", "nothing", "out", *TINY], "holds no image"),
    "compress two of one name": (["compress", "twice", "out", *TINY], "a.png and .*a.png would both become out/a.ptb"),
    "compress with no such prior": (["compress", FRAMES[0], "x.ptb", "--prior", "none"], "there are: other, tiny"),
    "compress with no such tokenizer": (
        ["compress", FRAMES[0], "x.ptb", *TINY, "--tokenizer", "no"],
        "there are: tiny",
    ),
    "compress to nowhere": (["compress", FRAMES[0]], "OUT|IN"),
    "decompress a missing file": (["decompress", "none.ptb", "x.png"], "There is no file none.ptb"),
    "decompress a folder of none": (["decompress", "nothing", "out"], "nothing holds no .ptb"),
    "decompress a text": (["decompress", "text.ptb", "x.png"], "text.ptb: This is not a .ptb file"),
    "decompress nothing": (["decompress", "empty.ptb", "x.png"], "empty.ptb: This is not a .ptb file"),
    "decompress too little": (["decompress", "short.ptb", "x.png"], "short.ptb: .* too short"),
    "decompress damage": (["decompress", "damaged.ptb", "x.png"], "damaged.ptb: .* is damaged"),
    "decompress a later version": (["decompress", "later.ptb", "x.png"], "later.ptb: .* version 2"),
    "decompress an unknown model": (["decompress", "foreign.ptb", "x.png"], "01020304, which is not among"),
    "decompress another model": (["decompress", "other.ptb", "x.png", *TINY], "the shipped 'other'"),
    "decompress what was repaired": (["decompress", "repaired.ptb", "x.png"], "other tokens than were compressed"),
    "decompress to a text": (["decompress", "good.ptb", "x.txt"], "x.txt does not end in .* image format"),
    "decompress to no folder": (["decompress", "good.ptb", "none/x.png"], "none/x.png cannot be written"),
    "decompress many to no folder": (["decompress", "good.ptb", "other.ptb", "none"], "none is not a folder"),
    "info of a missing file": (["info", "none.ptb"], "There is no file none.ptb"),
    "info of a folder": (["info", "nothing"], "nothing cannot be read"),
    "info of a text": (["info", "text.ptb"], "text.ptb: This is not a .ptb file"),
    "info of damage": (["info", "damaged.ptb"], "damaged.ptb: .* is damaged"),
    "info of a later version": (["info", "later.ptb"], "version 2"),
    "info of an unknown model": (["info", "foreign.ptb"], "01020304, which is not among"),
    "info of another model": (["info", "other.ptb", *TINY], "the shipped 'other'"),
    "info of what was repaired": (["info", "repaired.ptb"], "other tokens"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_code_two_and_leaves_nothing(run, place, case):
    before = sorted(place.rglob("*"))
    arguments, words = WRONG[case]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("arlib: ")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert sorted(place.rglob("*")) == before


def test_one_picture_becomes_a_file_and_the_file_the_picture(run, place, folder):
    code, out, err = run("compress", FRAMES[0], "x.ptb", *TINY)
    assert (code, err) == (0, "")
    codec = load(folder, "tiny")
    frame = data.read_image(FRAMES[0])
    assert Path("x.ptb").read_bytes() == codec.compress(frame)
    assert f"{Path('x.ptb').stat().st_size} bytes" in out
    code, out, err = run("decompress", "x.ptb", "x.png")
    assert (code, err) == (0, "")
    assert torch.equal(data.read_image("x.png"), codec.tokenizer.reconstruct(frame[None])[0])
    assert run("decompress", "x.ptb", "y.webp", *TINY, "--tokenizer", "tiny")[0] == 0
    assert torch.equal(data.read_image("y.webp"), data.read_image("x.png"))


def test_a_picture_of_another_size_is_fitted_on_demand(run, place):
    Image.fromarray(np.full((300, 500, 3), 128, np.uint8)).save("large.png")
    assert run("compress", "large.png", "x.ptb", *TINY, "--fit")[0] == 0
    assert Path("x.ptb").is_file()


def test_many_pictures_and_folders_go_to_a_folder(run, place, monkeypatch):
    monkeypatch.setattr(coding, "BATCH", 2)
    Path("mine").mkdir()
    for number, path in enumerate(FRAMES):
        data.write_image(f"mine/{number}.png", data.read_image(path))
    code, out, err = run("compress", "mine", FRAMES[0], "out", *TINY)
    assert (code, err) == (0, "")
    sources = [*Path("mine").iterdir(), FRAMES[0]]
    before, after = (sum(path.stat().st_size for path in files) for files in (sources, Path("out").glob("*.ptb")))
    said = f"out: {after:,} bytes in 4 files, {before / after:.1f} times smaller than {before:,}. "
    assert " ".join(out.split()).startswith(said)
    names = ["0", "1", "2", FRAMES[0].stem]
    assert sorted(path.stem for path in Path("out").glob("*.ptb")) == sorted(names)
    assert Path("out/0.ptb").read_bytes() == Path("out", FRAMES[0].stem + ".ptb").read_bytes()
    Path("again").mkdir()
    code, out, _ = run("decompress", "out", "again")
    assert code == 0
    assert "again: 4 pictures. " in out
    assert run("decompress", "out/0.ptb", "one.png")[1].startswith("one.png: one picture. ")
    assert sorted(path.name for path in Path("again").iterdir()) == sorted(f"{name}.png" for name in names)


def test_a_bad_one_of_many_does_not_keep_the_others(run, place):
    code, out, err = run("decompress", ".", "out")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "7 of 9 files failed, the others are written. The first: damaged.ptb: This .ptb file is damaged" in err
    assert sorted(path.name for path in Path("out").iterdir()) == ["good.png", "other.png"]
    code, _, err = run("compress", "text.png", FRAMES[0], "small.png", "out", *TINY)
    assert code == 2
    assert err.startswith("arlib: 2 of 3 files failed, the others are written. The first: text.png is not an image")
    assert Path("out", FRAMES[0].stem + ".ptb").is_file()
    assert run("compress", "small.png", FRAMES[0], "out", *TINY, "--force")[2].startswith("arlib: 1 of 2 files failed")
    assert run("compress", "text.png", "x.ptb", *TINY)[2].startswith("arlib: text.png is not an image")


def test_a_failed_write_leaves_the_old_file_whole(run, place, monkeypatch):
    Path("x.ptb").write_bytes(b"old")

    def fill_the_disk(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    before = sorted(place.rglob("*"))
    code, _, err = run("compress", FRAMES[0], "x.ptb", *TINY, "--force")
    assert code == 2
    assert "No space left" in err
    assert Path("x.ptb").read_bytes() == b"old"
    assert sorted(place.rglob("*")) == before


def test_info_shows_the_header_and_the_ledger(run, place, folder):
    code, out, err = run("info", "good.ptb")
    assert (code, err) == (0, "")
    codec, file = load(folder, "tiny"), Path("good.ptb").read_bytes()
    assert f"{codec.hash} (tiny)" in out
    for row, bits in {**codec.ledger(file), "file": 8 * len(file)}.items():
        assert re.search(rf"{row} .*{bits:,.3f} ", out), row
    assert header_shown(out) == {
        "header": "",
        "version": "1",
        "model": f"{codec.hash} (tiny)",
        "checksum of the tokens": file[11:7:-1].hex(),
        "checksum of the file": file[15:11:-1].hex(),
    }
    assert out.split()[0] == "good.ptb"


def header_shown(out: str) -> dict[str, str]:
    """The rows of the first table that `info` prints."""
    lines = itertools.takewhile(lambda line: "└" not in line, out.splitlines())
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if re.search("[│┃]", line)]
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize(
    ("prior", "row", "options", "shown"),
    [
        ("digits-4x4", "label", ["--label", "7"], "7"),
        ("digits-4x4", "label", [], "none"),
        ("cifar-raster", "label", ["--label", "dog"], "dog"),
        ("fine", "quality", ["--quality", 2], "2"),
    ],
)
def test_info_shows_what_a_file_says_of_its_picture(run, tmp_path, monkeypatch, prior, row, options, shown):
    monkeypatch.chdir(tmp_path)
    frame = data.read_image(FRAMES[0])
    data.write_image("a.png", {"digits-4x4": frame[:28, :28, :1], "cifar-raster": frame[:32, :32]}.get(prior, frame))
    named = [] if prior == "fine" else ["--prior", prior]
    assert run("compress", "a.png", "a.ptb", *named, *options)[0] == 0
    for again in ([], ["--prior", prior]):
        assert header_shown(run("info", "a.ptb", *again)[1])[row] == shown


def test_the_ledger_adds_up_line_by_line():
    bits = Ledger({"ideal": 1100.0, "table": 0.5, "coder": 0.0, "padding": 0.25, "header": 64.0, "checksums": 64.0})
    said = io.StringIO()
    Console(file=said, width=100).print(coding.ledger_table(bits))
    lines = [line for line in said.getvalue().splitlines() if re.search(r"\w", line)]
    assert [re.findall(r"[^\s│┃]+", line) for line in lines] == [
        ["ledger", "bits", "bytes", "share"],
        ["ideal", "1,100.000", "137.500", "89.52%"],
        ["table", "0.500", "0.062", "0.04%"],
        ["coder", "0.000", "0.000", "0.00%"],
        ["padding", "0.250", "0.031", "0.02%"],
        ["header", "64.000", "8.000", "5.21%"],
        ["checksums", "64.000", "8.000", "5.21%"],
        ["file", "1,228.750", "153.594", "100.00%"],
    ]
    first, second = lines[1], lines[2]
    for one, other in (("1,100.000", "0.500"), ("137.500", "0.062"), ("89.52%", "0.04%")):  # ends below one another
        assert first.index(one) + len(one) == second.index(other) + len(other)


def test_a_size_is_two_numbers_of_pixels():
    assert options.parse_size("64x96") == (64, 96)
    assert options.parse_size("1×1") == (1, 1)
    assert options.parse_size("4096x4096") == (4096, 4096)
    for size in ("64", "64x", "0x5", "5x0", "4097x5", "5x4097", "-5x5", "5 x 5", "64x96x3", "٦٤x96"):
        with pytest.raises(data.DataError, match=re.escape(repr(size))):
            options.parse_size(size)
