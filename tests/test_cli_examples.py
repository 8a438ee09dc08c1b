"""What models are trained on: pictures that move a little, and data sets of tokens with their labels."""

import math
from pathlib import Path

import pytest
import torch

from arlib import checkpoints, data, tokenset
from arlib.cli import cards, common, examples


def test_digits_moved_by_known_amounts():
    digits = data.load("digits", "valid")[:3]
    none, same, still = torch.zeros(3), torch.ones(3), torch.zeros(3, 2)

    def moved(angles=none, scales=same, shifts=still) -> torch.Tensor:
        return examples.affine(digits, angles, scales, shifts)

    assert torch.equal(moved(), digits)
    right = moved(shifts=torch.tensor([[1.0, 0.0]]).expand(3, 2))
    assert torch.equal(right[:, :, 1:], digits[:, :, :-1])
    assert not right[:, :, 0].any()
    down = moved(shifts=torch.tensor([[0.0, 2.0]]).expand(3, 2))
    assert torch.equal(down[:, 2:], digits[:, :-2])
    turned = moved(angles=torch.full((3,), torch.pi / 2))
    assert torch.equal(turned, digits.rot90(1, dims=(1, 2)))
    # Halved, a pixel is the mean of the four in the middle of which it lies.
    halved = moved(scales=same / 2)[:, 7:21, 7:21].float()
    means = digits.float().unflatten(1, (14, 2)).unflatten(3, (14, 2)).mean(dim=(2, 4))
    assert (halved - means).abs().max() <= 0.5 + 1e-3
    both = moved(angles=torch.full((3,), torch.pi / 2), scales=same / 2)[:, 7:21, 7:21].float()
    assert (both - means.rot90(1, dims=(1, 2))).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("name", "header", "mirrored"),
    [("digits", {"data": "digits"}, False), ("cifar10", {"data": "cifar10"}, True), ("supertuxkart", {}, True)],
)
def test_the_pictures_of_a_data_set(monkeypatch, name, header, mirrored):
    """Digits are never mirrored: a mirrored 2 is no digit."""
    height, width, channels = shape = common.SHAPES[name]
    sets = {split: torch.randint(256, (3, *shape), dtype=torch.uint8) for split in ("train", "valid")}
    monkeypatch.setattr(data, "load", lambda source, split: {name: sets}[source][split])
    dataset = examples.pictures(name, None, None, math.gcd(height, width))
    train = sets["train"]
    expected = torch.cat([train, train.flip(2)]) if mirrored else train
    assert torch.equal(dataset.learned[torch.arange(len(dataset.learned))], expected)
    assert torch.equal(dataset.held_out, sets["valid"])
    assert (dataset.source, dataset.header, dataset.channels) == (name, header, channels)
    assert dataset.described == cards.LEARNED_FROM[name]
    for patch_size in (height, width):
        if height != width:
            with pytest.raises(ValueError, match=f"{height} pixels high and {width} wide"):
                examples.pictures(name, None, None, patch_size)
    for valid, size in ((Path("valid"), None), (None, "28x28")):
        with pytest.raises(data.DataError, match="are for a folder of images"):
            examples.pictures(name, valid, size, 1)


def test_pictures_moved_by_chance():
    digits = data.load("digits", "valid")[:200]
    moved = examples.moved(digits, "digits", 1)
    assert torch.equal(moved, examples.moved(digits, "digits", 1))
    assert not torch.equal(moved, examples.moved(digits, "digits", 2))
    assert (moved.dtype, moved.shape) == (digits.dtype, digits.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "MOVED_AT_ONCE", 70)
        assert torch.equal(moved, examples.moved(digits, "digits", 1))
    # Its mass stays, up to a tenth in each direction, and its center moves by little more than a pixel.
    mass, before = (images.double().sum(dim=(1, 2, 3)) for images in (moved, digits))
    assert 0.78 < (mass / before).min() < 0.9
    assert 1.1 < (mass / before).max() < 1.25
    places = torch.arange(28.0)[:, None, None]
    centers = [
        (images * places).double().sum(dim=(1, 2, 3)) / images.double().sum(dim=(1, 2, 3)) for images in (moved, digits)
    ]
    assert 0.8 < (centers[0] - centers[1]).abs().max() < 1.7
    colors = torch.randint(256, (40, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shifted = examples.moved(colors, "cifar10", 1)
    inner = shifted[:, 2:-2, 2:-2]

    def found(image: torch.Tensor, part: torch.Tensor) -> bool:
        return any(
            torch.equal(image[row : row + 28, column : column + 28], part) for row in range(5) for column in range(5)
        )

    plain = [found(image, part) for image, part in zip(colors, inner, strict=True)]
    mirrored = [found(image.flip(1), part) for image, part in zip(colors, inner, strict=True)]
    assert all(one != other for one, other in zip(plain, mirrored, strict=True))
    assert 10 < sum(mirrored) < 30
    assert torch.equal(shifted, examples.moved(colors, "cifar10", 1))
    assert not torch.equal(shifted, examples.moved(colors, "cifar10", 2))
    corners = [
        torch.equal(image[4:, 4:], part) or torch.equal(image.flip(1)[4:, 4:], part)
        for image, part in zip(colors, inner, strict=True)
    ]
    assert any(corners)  # as far as two pixels, in both directions at once


def test_classes_and_weights_of_tokens(tmp_path):
    """Held-out tokens may have a class that the others lack; the tokenizer is the one whose hash they carry."""
    book = checkpoints.find("tokenizer", "book")
    for name, labels in {"a": [0, 4], "b": [7, 1], "c": None}.items():
        many = None if labels is None else torch.tensor(labels)
        tokenset.write(tmp_path / name, torch.zeros(2, 4, dtype=torch.int64), 16, checkpoints.sha256(book), many)
    train = tokenset.mapped(tmp_path / "a")
    assert examples.classes_of(train, tokenset.read(tmp_path / "b")) == 8
    assert examples.classes_of(train, tokenset.read(tmp_path / "c")) == examples.classes_of(train, None) == 5
    assert examples.weights_of(train, None) == examples.weights_of(train, "book") == book
    with pytest.raises(checkpoints.CheckpointError, match="were made by another tokenizer"):
        examples.weights_of(train, "fine")
    tokenset.write(tmp_path / "d", torch.zeros(2, 4, dtype=torch.int64), 16, "ab" * 32)
    assert examples.weights_of(tokenset.mapped(tmp_path / "d"), None) is None


def test_a_data_set_of_tokens_may_be_taken_several_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.tokens", "b.tokens")):
        tokenset.write(name, torch.full((2, 4), number), 16, "ab" * 32, torch.tensor([5, 6]))
    train, held_out = examples.tokens([Path("a.tokens:3"), Path("b.tokens")], None)
    assert train.labels is not None
    assert (train.grids[torch.arange(4)][:, 0].tolist(), train.labels.tolist()) == ([0] * 3 + [1], [5] * 4)
    assert held_out is not None  # of so few tokens the last ones, once
    assert held_out.labels is not None
    assert (held_out.grids[:, 0].tolist(), held_out.labels.tolist()) == ([0, 1], [6, 6])
    Path("a.tokens:3").write_bytes(Path("b.tokens").read_bytes())  # a file of that very name is that file
    assert examples.tokens([Path("a.tokens:3")], None)[0].grids[torch.tensor([0])][:, 0].tolist() == [1]
    with pytest.raises(data.DataError, match="to be held out"):
        examples.tokens([Path("b.tokens:2")], Path("b.tokens"))


def test_held_out_tokens_must_be_others_of_the_same_tokenizer(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokens = torch.randint(16, (4, 2, 2))
    tokenset.write("a.tokens", tokens, 16, "ab" * 32)
    tokenset.write("b.tokens", tokens, 16, "cd" * 32)
    common = ["train", "prior", "--name", "x", "--out", "run", "--tokens", "a.tokens"]
    assert "is to be learned and to be held out" in run(*common, "--valid", "a.tokens")[2]
    assert "b.tokens come from another tokenizer" in run(*common, "--valid", "b.tokens")[2]
    assert "made by another tokenizer" in run(*common, "--tokenizer", "book")[2]
    assert "come from different tokenizers" in run(*common, "--tokens", "b.tokens")[2]
    assert not Path("run").exists()


def test_the_tokens_of_training_must_not_be_held_out(run, tmp_path):
    held_out = data.root() / "tokens" / "valid.tokens"
    quick = ["--steps", 1, "--batch-size", 1, "--width", 8, "--depth", 1, "--heads", 1]
    code, _, err = run("train", "prior", "--name", "x", "--out", tmp_path / "run", "--tokens", held_out, *quick)
    assert code == 2
    assert "256 of these examples belong to the splits valid or unseen" in err


def test_data_sets_of_tokens_that_are_not_of_one_kind(tmp_path):
    """Another tokenizer, other bits, or other grids: none of them can be learned together."""
    shapes = {"a": (2, 3), "b": (4, 3), "c": (2, 6), "d": (2, 3, 1), "e": (2, 3), "f": (2, 3)}
    for name, shape in shapes.items():
        codes, digest = 32 if name == "e" else 16, "cd" if name == "f" else "ab"
        tokenset.write(tmp_path / name, torch.zeros(20, *shape, dtype=torch.int64), codes, digest * 32)
    for name in "bcdef":
        with pytest.raises(data.DataError, match="come from different tokenizers"):
            examples.tokens([tmp_path / "a", tmp_path / name], None)
        with pytest.raises(data.DataError, match="come from another tokenizer"):
            examples.tokens([tmp_path / "a"], tmp_path / name)


def test_with_held_out_tokens_all_others_are_learned(tmp_path):
    for name, first in (("a", 0), ("valid", 100)):
        tokenset.write(tmp_path / name, first + torch.arange(25).view(25, 1, 1), 256, "ab" * 32)
    train, held_out = examples.tokens([tmp_path / "a"], tmp_path / "valid")
    assert train.grids[torch.arange(len(train.grids))].flatten().tolist() == list(range(25))
    assert held_out is not None
    assert held_out.grids.flatten().tolist() == list(range(100, 125))


def test_one_class_alone_is_one_and_grids_without_labels_have_none(tmp_path):
    for name, label in (("first", 0), ("none", -1)):
        tokenset.write(
            tmp_path / name, torch.zeros(20, 1, 2, dtype=torch.int64), 16, "ab" * 32, torch.full((20,), label)
        )
    labels = examples.tokens([tmp_path / "first"], None)[0].labels
    assert labels is not None
    assert labels.tolist() == [0] * 18
    assert examples.tokens([tmp_path / "first", tmp_path / "none"], None)[0].labels is None


def test_digits_of_another_script_are_part_of_a_name():
    assert examples.repeated([Path("a.tokens:٣"), Path("a.tokens:2")]) == [
        Path("a.tokens:٣"),
        Path("a.tokens"),
        Path("a.tokens"),
    ]
