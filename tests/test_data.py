"""Frames, folders of images, and files that are none."""

import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

import arlib
from arlib import data


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randint(256, (100, 150, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("split", data.SPLITS)
def test_the_card_tells_the_number_the_bytes_and_the_hash_of_each_split(split):
    contents = [path.read_bytes() for path in data.files("supertuxkart", split)]
    card = (data.root() / "README.md").read_text(encoding="utf-8")
    row = f"| {split} | {len(contents):,} |"
    assert row in card
    assert f"{sum(map(len, contents)):,}" in next(line for line in card.splitlines() if line.startswith(row))
    assert re.search(rf"\| {split} \| `{hashlib.sha256(b''.join(contents)).hexdigest()}` \|", card)


def test_the_list_of_frames_names_every_file_and_keeps_the_splits_apart():
    with (data.root() / "frames" / "frames.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    listed = Counter(row["file"] for row in rows)
    files = [path for split in data.SPLITS for path in data.files("supertuxkart", split)]
    assert listed == Counter(path.relative_to(data.root() / "frames").as_posix() for path in files)
    tracks = {split: {row["track"] for row in rows if row["file"].startswith(split)} for split in data.SPLITS}
    assert tracks["valid"] == tracks["train"]
    assert tracks["unseen"].isdisjoint(tracks["train"])
    contents = [hashlib.sha256((data.root() / "frames" / file).read_bytes()).digest() for file in listed]
    assert len(set(contents)) == len(contents)


def test_a_split_is_a_tensor_of_the_very_pixels():
    frames = arlib.data.load("supertuxkart", "valid")
    assert frames.shape == (256, 100, 150, 3)
    assert frames.dtype == torch.uint8
    with Image.open(data.files("supertuxkart", "valid")[7]) as image:
        assert np.array_equal(frames[7].numpy(), np.asarray(image.convert("RGB")))


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(data.DataError, match="supertuxkart"):
        data.load("mario", "valid")
    with pytest.raises(data.DataError, match="train, valid, unseen"):
        data.load("supertuxkart", "test")


def test_without_its_checkout_arlib_asks_for_arlib_data(monkeypatch, tmp_path):
    monkeypatch.setenv("ARLIB_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match="ARLIB_DATA"):
        data.load("supertuxkart", "valid")


def test_outside_its_checkout_too(tmp_path):
    # A copy of the package alone, as an installed wheel would be.
    copy = f"import shutil; shutil.copytree({str(data.Path(data.__file__).parent)!r}, {str(tmp_path / 'arlib')!r})"
    subprocess.run([sys.executable, "-c", copy], check=True)
    code = "import arlib; print(arlib.__file__); arlib.data.load('supertuxkart', 'valid')"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert str(tmp_path) in run.stdout
    assert "set the environment variable ARLIB_DATA" in run.stderr


def test_a_folder_is_fitted_to_cover_and_cut_to_the_centre(tmp_path):
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 75:225] = 200  # exactly the centre that remains
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    images = data.load_folder(tmp_path)
    assert images.shape == (2, 100, 150, 3)
    assert (images[0, :, 2:-2] == 200).all()
    assert (images[1].int() - 90).abs().max() <= 1


def test_transparent_grey_palette_and_turned_pictures_are_read(tmp_path):
    Image.new("RGBA", (150, 100), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (data.read_image(tmp_path / "clear.png") == 255).all()
    Image.new("L", (150, 100), 77).save(tmp_path / "grey.png")
    assert (data.read_image(tmp_path / "grey.png") == 77).all()
    Image.new("P", (150, 100)).save(tmp_path / "palette.png")
    assert data.read_image(tmp_path / "palette.png").shape == (100, 150, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (100, 150)).save(tmp_path / "turned.jpg", exif=exif)
    assert data.read_image(tmp_path / "turned.jpg").shape == (100, 150, 3)


def test_what_is_no_picture_is_refused_in_words(tmp_path, picture):
    (tmp_path / "text.png").write_text("hello")
    data.write_image(tmp_path / "whole.png", picture)
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (10, 10)).save(tmp_path / "small.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, words in {
        "none.png": "no file",
        "text.png": "not an image",
        "cut.png": "cannot be read",
        "small.png": "10×10 pixels, not 150×100",
        "": "cannot be read",
    }.items():
        with pytest.raises(data.DataError, match=words):
            data.read_image(tmp_path / name)
    with pytest.raises(data.DataError, match="no image"):
        data.load_folder(empty)
    with pytest.raises(data.DataError, match="not a folder"):
        data.load_folder(tmp_path / "whole.png")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_lossless_formats_give_the_pixels_back(tmp_path, picture, name):
    data.write_image(tmp_path / name, picture)
    assert torch.equal(data.read_image(tmp_path / name), picture)


def test_a_failed_write_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(partial):
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(data.DataError, match="No space left"):
        data.write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(data.DataError, match="cannot be written"):
        data.write_image(tmp_path / "no folder" / "a.png", picture)
    with pytest.raises(data.DataError, match="image format"):
        data.write_image(tmp_path / "a.txt", picture)
