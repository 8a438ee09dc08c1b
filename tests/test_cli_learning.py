"""What is done around a training: what it learns and is followed by, what is kept, and what the card tells."""

import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import noise, rows_of_card, surprise

import arlib
from arlib import checkpoints, data, orders, sampling, tokenset, training
from arlib.cli import learning
from arlib.cli.examples import Dataset
from arlib.judges import ClassificationLoss, Judge
from arlib.quantizers import BSQ
from arlib.rate import RateDistortionLoss
from arlib.settings import Settings
from arlib.storage import Notice
from arlib.tokenizer import ImageTokenizer
from arlib.tokenset import TokenSet
from arlib.training import NextTokenLoss, ReconstructionLoss
from arlib.transformer import Prior

SETTINGS = Settings(5, 2, 0.1)


@pytest.fixture
def fitted(monkeypatch) -> SimpleNamespace:
    """What `training.fit` is asked for. It trains nothing, and follows once what it is told to follow."""
    seen = SimpleNamespace(first=True, followed=[])

    def fit(loss, examples, settings, out, validate=None, resume=False, keep=None) -> float:
        seen.__dict__.update(loss=loss, examples=examples, settings=settings, resume=resume)
        (out / "curves").mkdir(parents=True, exist_ok=True)
        loss.eval()
        if validate is not None:
            seen.followed.append(validate())
        if keep is not None:
            keep(7)
        return 60.0

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(training, "first_process", lambda: seen.first)
    return seen


def error(images: torch.Tensor, model: ImageTokenizer) -> float:
    return ((model.reconstruct(images).double() - images.double()) / 255).square().mean().item()


@pytest.mark.parametrize(("count", "side", "every"), [(600, 60, 2), (255, 60, 1), (70, 64, 2), (31, 64, 1)])
def test_a_tokenizer_is_followed_on_a_sample_and_reported_on_all(fitted, tmp_path, count, side, every):
    """Some 256 held-out pictures are enough on the way, and some 32 that are 64 pixels high."""
    held_out, learned = noise(count, side, 66, 3), noise(4, side, 66, 3)
    pictures = Dataset(learned, held_out, "digits", {"size": "a×b"}, "noise")
    loss = ReconstructionLoss(ImageTokenizer(2, 8, 0, BSQ(4)))
    learning.from_pictures("tokenizer", "x", loss, pictures, tmp_path, SETTINGS, True)
    assert (fitted.loss, fitted.settings, fitted.resume) == (loss, SETTINGS, True)
    assert fitted.examples is learned
    few = held_out[::every]
    assert fitted.followed == [{"valid mean squared error": pytest.approx(error(few, loss.model))}]
    assert (tmp_path / "moments" / "reconstructions-0000007.png").exists()
    path = tmp_path / "tokenizer-x.safetensors"
    assert checkpoints.read_header(path)["size"] == "a×b"
    stored = checkpoints.load("tokenizer", str(path), ImageTokenizer.from_config)
    card = rows_of_card(path)
    assert card["valid MSE"] == f"{error(held_out, stored):.5f} (pixels in [0, 1])"
    assert (card["learned from"], card["time"][:11]) == ("noise", "1.0 minutes")
    assert card["license"] == "CC BY-SA 3.0, that of MNIST"
    assert card["parameters"].startswith(f"{sum(weight.numel() for weight in stored.parameters()):,},")


def test_a_tokenizer_that_pays_for_its_bits_is_followed_on_an_eighth_of_that(fitted, tmp_path):
    held_out = noise(40, 12, 12, 3)
    torch.manual_seed(0)
    loss = RateDistortionLoss(ImageTokenizer(4, 8, 1, BSQ(4), qualities=2), [8e-4, 4e-4])
    pictures = Dataset(held_out, held_out, "folder", {}, "noise")
    learning.from_pictures("tokenizer", "x", loss, pictures, tmp_path, SETTINGS, False)
    assert fitted.followed == [pytest.approx(loss.validate(held_out[::8]))]
    assert fitted.resume is False


@pytest.mark.parametrize("which", ["pictures", "tokens", "classes"])
def test_of_several_processes_the_first_alone_writes(fitted, tmp_path, monkeypatch, which):
    fitted.first = False
    if which == "pictures":
        pictures = Dataset(noise(2, 8, 8, 3), noise(2, 8, 8, 3), "folder", {}, "noise")
        loss = ReconstructionLoss(ImageTokenizer(4, 8, 0, BSQ(4)))
        learning.from_pictures("tokenizer", "x", loss, pictures, tmp_path, SETTINGS, False)
    elif which == "tokens":
        train = mapped(tmp_path, torch.zeros(2, 2, 2, dtype=torch.int64))
        learning.from_tokens("x", Prior(16, 4, 8, 1, 1), train, None, None, None, tmp_path, SETTINGS, False)
    else:
        monkeypatch.setattr(data, "load", lambda name, split: noise(2, 28, 28, 1))
        monkeypatch.setattr(data, "labels", lambda name, split: torch.arange(2))
        learning.from_classes("x", ClassificationLoss(Judge(1, 28, 10, 8)), "digits", tmp_path, SETTINGS, False)
    assert not [*tmp_path.glob("*.safetensors"), *tmp_path.glob("*.md")]


def mapped(folder: Path, grids: torch.Tensor, labels: torch.Tensor | None = None, weights: str = "ab" * 32):
    """Tokens below 16 in a file, as `train prior` reads them."""
    tokenset.write(folder / "t.tokens", grids, 16, weights, labels)
    return tokenset.mapped(folder / "t.tokens")


def tokens(count: int, *shape: int) -> torch.Tensor:
    return torch.randint(16, (count, *shape), generator=torch.Generator().manual_seed(3))


def bits_of(prior: Prior, grids: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Bits of each token; a prior of any order reads each grid in an order of its own, always the same ones."""
    places = (len(grids), math.prod(grids.shape[1:]))
    order = None if prior.places is None else orders.random(*places, torch.Generator().manual_seed(0))
    return surprise(prior, grids.flatten(1), order, labels)


@pytest.mark.parametrize(("count", "every"), [(600, 2), (255, 1)])
@pytest.mark.parametrize("kind", ["plain", "classes", "any order"])
def test_a_prior_learns_sequences_and_is_followed_on_held_out_ones(fitted, tmp_path, kind, count, every):
    grids, held_out = tokens(20, 2, 3), tokens(count, 2, 3)
    labels, truth = torch.arange(20) % 4, torch.arange(count) % 4
    options: dict[str, Any] = {"plain": {}, "classes": {"classes": 4}, "any order": {"any_order": True}}[kind]  # type: ignore[assignment]
    torch.manual_seed(0)
    prior = Prior(16, 6, 8, 1, 1, **options)
    train, rest = mapped(tmp_path, grids, labels), TokenSet(held_out, 4, "ab" * 12, truth)
    learning.from_tokens("x", prior, train, rest, None, None, tmp_path, SETTINGS, True)
    assert type(fitted.loss) is NextTokenLoss
    assert (fitted.loss.model, fitted.settings, fitted.resume) == (prior, SETTINGS, True)
    learned, known = fitted.examples if kind == "classes" else (fitted.examples, None)
    assert (len(learned), learned.shape) == (20, (20, 6))
    some = learned[torch.tensor([4, 0])]
    assert (some.dtype, some.tolist()) == (torch.int32, grids[[4, 0]].flatten(1).tolist())
    assert known is None or known.tolist() == labels.tolist()

    told = truth if kind == "classes" else None
    mean = bits_of(prior, held_out[::every], None if told is None else told[::every]).mean().item()
    assert fitted.followed == [{"valid bits per token": pytest.approx(mean, abs=1e-5)}]
    path = tmp_path / "prior-x.safetensors"
    header = checkpoints.read_header(path)
    assert (header["tokenizer"], header["grid"]) == (f"sha256:{'ab' * 12}", "2×3")
    assert header.get("order") == ("shuffled 7" if kind == "any order" else None)
    bits = bits_of(arlib.load_prior(str(path)), held_out, told)
    how = {"plain": "", "classes": " (with their labels)", "any order": " (in random orders)"}[kind]
    card = rows_of_card(path)
    assert card["valid bits"] == f"{bits.mean():.3f} per token, {bits.sum(1).mean():,.1f} per picture{how}"
    assert card["time"].startswith("1.0 minutes")
    assert card["learned from"] == "the data sets of tokens that the command names"
    assert card["license"] == "that of the pictures it learned from"
    assert not (tmp_path / "moments").exists()


def test_held_out_tokens_may_lack_labels_or_be_missing(fitted, tmp_path):
    prior = Prior(16, 6, 8, 1, 1, classes=4)
    train = mapped(tmp_path, tokens(20, 2, 3), torch.arange(20) % 4)
    rest = TokenSet(tokens(5, 2, 3), 4, "ab" * 12, None)
    learning.from_tokens("x", prior, train, rest, None, None, tmp_path, SETTINGS, False)
    bits = bits_of(prior, rest.grids, None).mean().item()
    assert fitted.followed.pop() == {"valid bits per token": pytest.approx(bits, abs=1e-5)}
    learning.from_tokens("y", prior, train, None, None, None, tmp_path, SETTINGS, False)
    assert (fitted.followed, "valid bits" in rows_of_card(tmp_path / "prior-y.safetensors")) == ([], False)


def test_samples_of_a_prior_are_kept_where_its_tokenizer_is_there(fitted, tmp_path):
    decoder = ImageTokenizer(14, 8, 0, BSQ(4), channels=1)
    weights = tmp_path / "tokenizer-t.safetensors"
    checkpoints.save(weights, "tokenizer", decoder, data="digits")
    prior, train = Prior(16, 4, 8, 1, 1), mapped(tmp_path, tokens(20, 2, 2))
    learning.from_tokens("x", prior, train, None, decoder, weights, tmp_path, SETTINGS, False)
    page = data.read_image(tmp_path / "moments" / "samples-0000007.png", 4 * 28 + 3 * 2, 10 * 28 + 9 * 2, channels=1)
    first = decoder.decode(orders.unraster(sampling.generate(prior, 40, seed=0), 2, 2))[0]
    assert torch.equal(page[:28, :28], first)
    assert rows_of_card(tmp_path / "prior-x.safetensors")["license"] == "CC BY-SA 3.0, that of MNIST"


def test_a_prior_that_knows_its_examples_by_heart_is_told_of(monkeypatch, tmp_path):
    prior, train = Prior(16, 4, 8, 1, 1), mapped(tmp_path, tokens(20, 2, 2))
    rest = TokenSet(tokens(5, 2, 2), 4, "ab" * 12, None)

    def fit(loss, examples, settings, out, validate, *others) -> float:
        loss.eval()
        validate()
        with torch.no_grad():
            prior.head.weight.mul_(50)
        validate()
        return 1.0

    monkeypatch.setattr(training, "fit", fit)
    with pytest.warns(Notice, match="after 50% of what was followed"):
        learning.from_tokens("x", prior, train, rest, None, None, tmp_path, SETTINGS, False)


def test_bits_of_a_fiftieth_more_are_no_overfitting():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learning.tell_of_overfitting([4.0, 1.0, 1.02])
        learning.tell_of_overfitting([2.0, 2.03])
    with pytest.warns(Notice, match=r"1\.000, after 33% .* 1\.021 at the end: .* fewer --steps, or on more of them\.$"):
        learning.tell_of_overfitting([1.0, 4.0, 1.021])


def test_a_judge_is_followed_on_some_and_reported_on_all(fitted, tmp_path, monkeypatch):
    images = {"train": noise(30, 28, 28, 1), "valid": noise(600, 28, 28, 1), "test": noise(20, 28, 28, 1)}
    torch.manual_seed(0)
    loss = ClassificationLoss(Judge(1, 28, 10, 8))
    seen = {split: loss.model.eval().classify(images[split]) for split in images}
    truth = {split: torch.where(torch.arange(len(some)) % 4 > 0, some, some + 1) for split, some in seen.items()}
    truth["valid"][512:] = seen["valid"][512:] + 1  # all of these are wrong
    monkeypatch.setattr(data, "load", lambda name, split: images[split])
    monkeypatch.setattr(data, "labels", lambda name, split: truth[split])
    learning.from_classes("x", loss, "digits", tmp_path, SETTINGS, True)
    assert (fitted.loss, fitted.settings, fitted.resume) == (loss, SETTINGS, True)
    learned, classes = fitted.examples
    assert learned is images["train"]
    assert classes is truth["train"]
    assert fitted.followed == [{"valid accuracy": 0.75}]
    path = tmp_path / "judge-x.safetensors"
    assert checkpoints.read_header(path)["data"] == "digits"
    stored, card = arlib.load_judge(str(path)), rows_of_card(path)
    right = (stored.classify(images["valid"]) == truth["valid"]).double().mean().item()
    assert card["valid accuracy"] == f"{right:.2%}"
    assert card["learned from"] == "the train split of MNIST (LeCun, Cortes and Burges 1998; data/README.md)"
    assert (card["license"], card["time"][:11]) == ("CC BY-SA 3.0, that of MNIST", "1.0 minutes")
