"""Frames, folders of images, and files that are none."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import write_noise
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
    with pytest.raises(data.DataError, match="train, valid, test"):
        data.labels("digits", "unseen")
    with pytest.raises(data.DataError, match="no labels; those of digits and cifar10 have"):
        data.labels("supertuxkart", "train")


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


def test_the_digits_as_published():
    (path,) = data.files("digits", "valid")
    card = (data.root() / "README.md").read_text(encoding="utf-8")
    assert f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`" in card
    with np.load(path) as arrays:
        assert arrays["y_train"][:5].tolist() == [5, 0, 4, 1, 9]
        assert arrays["y_test"][:5].tolist() == [7, 2, 1, 0, 4]
        # The first digit, a 5, begins with a stroke at the top right and has its upper left corner empty.
        assert arrays["x_train"][0, 5, 12:24].tolist() == [3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127]
        assert not arrays["x_train"][0, :5].any()


def split_up(name: str, shape: tuple[int, ...]) -> dict[str, list[tuple[bytes, int]]]:
    """The pictures of each split with their labels, after a check of shapes, types and fair shares of the classes."""
    splits = {}
    for split in data.SETS[name]:
        images, labels = data.load(name, split), data.labels(name, split)
        assert images.shape[1:] == shape
        assert (images.dtype, labels.dtype, labels.shape) == (torch.uint8, torch.int64, images.shape[:1])
        for some in (labels, labels[: len(labels) // 2]):
            assert ((some.bincount(minlength=10) / len(some) - 0.1).abs() < 0.03).all()
        splits[split] = [(image.numpy().tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True)]
    return splits


def test_the_splits_of_the_digits_are_the_published_digits_shuffled():
    splits = split_up("digits", (28, 28, 1))
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 55000,
        "valid": 5000,
        "test": 10000,
    }
    with np.load(data.root() / "digits" / "mnist.npz") as arrays:
        for part, examples in (("train", splits["train"] + splits["valid"]), ("test", splits["test"])):
            published = zip(arrays[f"x_{part}"], arrays[f"y_{part}"].tolist(), strict=True)
            assert Counter(examples) == Counter((image.tobytes(), label) for image, label in published)
    # MNIST has no digit twice, so equal pictures would be one picture in two splits.
    assert len({image for examples in splits.values() for image, _ in examples}) == 70000


def test_the_shuffle_never_changes():
    """What a token set, a card or a chapter says of the first pictures of a split depends on it."""
    assert data.labels("digits", "train")[:12].tolist() == [6, 6, 3, 2, 7, 0, 0, 8, 2, 7, 2, 6]
    assert data.labels("digits", "valid")[:12].tolist() == [4, 8, 5, 1, 5, 1, 4, 5, 0, 1, 6, 1]
    assert data.labels("digits", "test")[:12].tolist() == [7, 1, 3, 9, 3, 2, 8, 0, 0, 4, 8, 1]


CIFAR10 = data.root() / "cifar10"
cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10 is not here; 'make cifar10' fetches it")


@cifar10
def test_the_splits_of_cifar10_are_disjoint():
    splits = split_up("cifar10", (32, 32, 3))
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 45000,
        "valid": 5000,
        "test": 10000,
    }
    # CIFAR-10 itself has a few pictures twice, but they are less than one in a thousand.
    assert len({image for examples in splits.values() for image, _ in examples}) > 59_940
    # Published batch 1 begins with a frog, a truck, a truck and a deer.
    assert json.loads((CIFAR10 / "train_lables.json").read_text())[:4] == [6, 9, 9, 4]


@pytest.fixture(scope="module")
def sheets(tmp_path_factory) -> data.Path:
    """A data folder whose CIFAR-10 has pictures of one color, which is their number, and labels that fit."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "frames").mkdir()
    (folder / "cifar10").mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        colors = np.array([(number, row // 256, row % 256) for row in range(10000)], np.uint8)
        sheet = Image.fromarray(colors[:, None].repeat(1024, axis=1))
        sheet.save(folder / "cifar10" / f"{name}.png", compress_level=1)
    for part, batches in (("train", range(5)), ("test", [5])):
        labels = [(batch + row) % 10 for batch in batches for row in range(10000)]
        (folder / "cifar10" / f"{part}_lables.json").write_text(json.dumps(labels))
    return folder


def test_a_row_of_a_sheet_is_a_picture_and_keeps_its_label(sheets, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(sheets))
    paths = (sheets / "cifar10").iterdir()
    monkeypatch.setattr(data, "HASHES", {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths})
    seen = set()
    for split, count in (("train", 45000), ("valid", 5000), ("test", 10000)):
        images, labels = data.load("cifar10", split), data.labels("cifar10", split)
        assert images.shape == (count, 32, 32, 3)
        assert (images == images[:, :1, :1]).all()
        batch, high, low = images[:, 0, 0].long().unbind(1)
        assert torch.equal(labels, (batch + 256 * high + low) % 10)
        assert split != "test" or (batch == 5).all()
        seen |= set((10000 * batch + 256 * high + low).tolist())
    assert seen == set(range(60000))


def test_missing_and_damaged_files_of_a_published_set_are_told_and_so_is_how_to_get_them(sheets, tmp_path, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(sheets))
    with pytest.raises(data.DataError, match=r"data_batch_1.png is damaged or is another file.*make cifar10"):
        data.load("cifar10", "valid")
    (tmp_path / "frames").mkdir()
    monkeypatch.setenv("ARLIB_DATA", str(tmp_path))
    for read in (data.load, data.labels):
        with pytest.raises(
            data.DataError, match=r"cannot be read: No such file.*no license: 'make cifar10' fetches it"
        ):
            read("cifar10", "test")
        with pytest.raises(data.DataError, match=r"mnist.npz cannot be read.*git checkout data/digits"):
            read("digits", "test")
    (tmp_path / "digits").mkdir()
    shutil.copy(data.Path(__file__).parent.parent / "data" / "digits" / "mnist.npz", tmp_path / "digits")
    with (tmp_path / "digits" / "mnist.npz").open("r+b") as file:
        file.truncate(5_000_000)
    with pytest.raises(data.DataError, match=r"mnist.npz is damaged or is another file"):
        data.load("digits", "train")


def test_a_folder_is_fitted_to_cover_and_cut_to_the_center(tmp_path):
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 75:225] = 200  # exactly the center that remains
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    images = data.load_folder(tmp_path)
    assert images.shape == (2, 100, 150, 3)
    assert (images[0, :, 2:-2] == 200).all()
    assert (images[1].int() - 90).abs().max() <= 1


def test_fitting_is_lanczos(tmp_path, picture):
    large = Image.fromarray(picture.numpy()).resize((225, 150), Image.Resampling.NEAREST)
    large.save(tmp_path / "a.png")
    expected = large.resize((150, 100), Image.Resampling.LANCZOS)
    assert np.array_equal(data.read_image(tmp_path / "a.png", fit=True).numpy(), np.asarray(expected))


def test_bad_files_are_left_out_counted_and_the_first_is_told(tmp_path):
    images = write_noise(tmp_path, 7, 8, 12)
    for number in (1, 4):
        (tmp_path / f"{number:02}.png").write_bytes(b"no picture")
    paths = data.folder_files(tmp_path)
    with pytest.warns(data.Notice, match=r"^2 of 7 files are left out\. The first: \S*01\.png is not an image"):
        batches = list(data.read_batches(paths, 2, 8, 12))
    assert [good for good, _ in batches] == [[paths[0], paths[2]], [paths[3], paths[5]], [paths[6]]]
    assert torch.equal(torch.cat([batch for _, batch in batches]), images[[0, 2, 3, 5, 6]])
    with pytest.warns(data.Notice):
        good, read = data.read_images(paths, 8, 12)
    assert good == [paths[0], paths[2], paths[3], paths[5], paths[6]]
    assert torch.equal(read, images[[0, 2, 3, 5, 6]])
    with pytest.raises(data.DataError, match=r"^\S*01\.png is not an image"):
        data.read_images([paths[1], paths[4]], 8, 12)


def test_what_a_folder_holds_besides_is_counted_and_the_first_is_told(tmp_path):
    write_noise(tmp_path / "more", 1, 8, 12)
    (tmp_path / "LOUD.PNG").write_bytes((tmp_path / "more" / "00.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no kind of picture at all")
    kinds = "images are files in .bmp, .jpeg, .jpg, .png, .webp"
    Image.new("L", (12, 8)).save(tmp_path / "moving.gif")
    (tmp_path / "named.png").mkdir()
    with pytest.warns(data.Notice, match=rf"holds 2 more that are not read, as \S*moving\.gif: {kinds}\."):
        assert data.folder_files(tmp_path) == [tmp_path / "LOUD.PNG", tmp_path / "more" / "00.png"]


def test_transparent_gray_palette_and_turned_pictures_are_read(tmp_path):
    Image.new("RGBA", (150, 100), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (data.read_image(tmp_path / "clear.png") == 255).all()
    Image.new("L", (150, 100), 77).save(tmp_path / "gray.png")
    assert (data.read_image(tmp_path / "gray.png") == 77).all()
    Image.fromarray(np.full((100, 150), 77 * 256 + 200, np.uint16)).save(tmp_path / "sixteen bits.png")
    assert (data.read_image(tmp_path / "sixteen bits.png") == 77).all()
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
        "small.png": "is 10 pixels high and 10 wide, not 100 and 150",
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


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
def test_a_gray_picture_is_written_gray_and_read_with_one_channel_or_three(tmp_path, name):
    digit = data.load("digits", "valid")[0]
    data.write_image(tmp_path / name, digit)
    with Image.open(tmp_path / name) as image:
        assert image.mode == "L"
    assert torch.equal(data.read_image(tmp_path / name, 28, 28, channels=1), digit)
    assert torch.equal(data.read_image(tmp_path / name, 28, 28), digit.expand(-1, -1, 3))
    assert torch.equal(data.load_folder(tmp_path, 28, 28, channels=1), digit[None])


def test_colors_become_gray_by_their_brightness(tmp_path):
    Image.new("RGB", (28, 28), (0, 255, 0)).save(tmp_path / "green.png")
    assert (data.read_image(tmp_path / "green.png", 28, 28, channels=1) == 150).all()  # 0.587 of 255
    Image.new("RGBA", (28, 28), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (data.read_image(tmp_path / "clear.png", 28, 28, channels=1) == 255).all()


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
