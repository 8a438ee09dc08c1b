"""Weights files: there and back, by name, by hash, by path, and what happens to damaged ones."""

import hashlib
import json
import re
import threading

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import arlib
from arlib import checkpoints, data, evaluation
from arlib.checkpoints import CheckpointError
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

SHIPPED = sorted((data.root() / "weights").glob("*.safetensors"))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    prior = Prior(16, 12, 16, 1, 2, positions=False)
    path = tmp_path / "prior-mine.safetensors"
    checkpoints.save(path, "prior", prior, tokenizer="book", grid="3×4")
    return path, prior


def test_a_model_comes_back_to_the_precision_of_float16(saved):
    path, prior = saved
    again = arlib.load_prior(str(path))
    assert again.config == prior.config
    assert not again.training
    for name, weight in prior.state_dict().items():
        loaded = again.state_dict()[name]
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, weight.half().float())
    header = checkpoints.read_header(path)
    assert (header["tokenizer"], header["grid"]) == ("book", "3×4")


def test_loading_and_saving_again_changes_no_byte(saved, tmp_path):
    path, _ = saved
    again = tmp_path / "again.safetensors"
    checkpoints.save(again, "prior", arlib.load_prior(str(path)), tokenizer="book", grid="3×4")
    assert again.read_bytes() == path.read_bytes()


def test_the_order_in_which_a_header_is_told_changes_no_byte(saved, tmp_path):
    path, prior = saved
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, "prior", prior, grid="3×4", tokenizer="book")
    assert other.read_bytes() == path.read_bytes()


def test_a_tokenizer_comes_back_with_its_quantizer(tmp_path):
    path = tmp_path / "tokenizer-mine.safetensors"
    checkpoints.save(path, "tokenizer", ImageTokenizer(25, 8, 1, quantizer=BSQ(12)))
    assert arlib.load_tokenizer(str(path)).codebook_size == 4096


def test_the_grid_of_a_header():
    assert checkpoints.parse_grid("20×30") == (20, 30)
    assert checkpoints.parse_grid("2×2×2") == (2, 2, 2)
    assert checkpoints.parse_grid("21") == (21,)
    assert checkpoints.parse_grid("65536") == (65536,)
    nonsense = ("", "×", "20×", "0×30", "-1×30", "20x30", "20 × 30", "1×1×1×1", "²×2", "3.0", "twenty", None, 21)
    for grid in (*nonsense, "100000"):
        with pytest.raises(CheckpointError, match="is no grid of tokens"):
            checkpoints.parse_grid(grid)


def test_what_cannot_be_loaded_is_told(saved, tmp_path):
    path, _ = saved
    with pytest.raises(CheckpointError, match="There is no file"):
        arlib.load_prior("none.safetensors")
    with pytest.raises(CheckpointError, match="kind 'prior', not 'tokenizer'"):
        arlib.load_tokenizer(str(path))
    whole = path.read_bytes()
    for damage in (b"", whole[:50], whole[:-10], b"\xff" * 100, b"hello"):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match="damaged"):
            arlib.load_prior(str(path))
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="not one that arlib wrote"):
        arlib.load_prior(str(foreign))
    header = json.dumps({"kind": "prior", "config": Prior(16, 12, 16, 2, 2).config})
    save_file({"a": torch.zeros(1)}, foreign, metadata={"arlib": header})
    with pytest.raises(CheckpointError, match="do not fit"):
        arlib.load_prior(str(foreign))


def test_a_name_that_is_not_there_is_told_with_those_that_are(tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    monkeypatch.setenv("ARLIB_DATA", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"no prior 'mine' in .*; there are: none\.$"):
        arlib.load_prior("mine")
    (tmp_path / "weights").mkdir()
    for name in ("prior-small", "prior-book", "tokenizer-fine"):
        (tmp_path / "weights" / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no prior 'mine' in .*; there are: book, small\.$"):
        arlib.load_prior("mine")


@pytest.mark.parametrize(
    ("raised", "told"),
    [(ValueError("That is..."), "ValueError, That is."), (KeyError(), "KeyError, nothing is said about why.")],
)
def test_whatever_a_model_cannot_be_built_for_is_told_in_a_sentence(saved, raised, told):
    def build(config):
        raise raised

    with pytest.raises(CheckpointError, match=f": {re.escape(told)}$"):
        checkpoints.load("prior", str(saved[0]), build)


def test_only_what_is_built_for_a_file_counts_against_its_weights(saved):
    """Another thread's model may be larger, and what has no bias has none to count."""
    path, prior = saved

    def build(config):
        other = threading.Thread(target=lambda: made.append(nn.Linear(1000, 1000)))
        other.start()
        other.join()
        made.append(nn.Linear(1, 1, bias=False))
        return Prior(**config)

    made: list[nn.Linear] = []
    count = checkpoints.parameter_count(prior)
    with pytest.raises(CheckpointError, match=f"The {count:,} weights .* asks for more"):
        checkpoints.load("prior", str(path), build)  # one weight more than the file has
    assert [checkpoints.parameter_count(it) for it in made] == [1_001_000, 1]


def test_a_failed_write_leaves_the_old_weights_whole(saved, monkeypatch):
    path, prior = saved
    whole = path.read_bytes()

    def full(weights, partial, metadata):
        data.Path(partial).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(data.DataError, match="No space left"):
        checkpoints.save(path, "prior", prior)
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_has_its_size_and_a_true_card(path):
    assert path.stat().st_size < 10_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert checkpoints.sha256(path) in card
    for fact in ("trained by | `python -m arlib train", "seed", "minutes on", "valid", "license"):
        assert fact in card
    assert "/work" not in card


def test_a_card_is_a_table_of_facts_with_the_hash_of_its_file(tmp_path):
    path = tmp_path / "prior-mine.safetensors"
    path.write_bytes(bytes(1234))
    card = checkpoints.write_card(path, {"seed": "7", "grid": "3×4"})
    assert card == tmp_path / "prior-mine.md"
    hexadecimal = hashlib.sha256(bytes(1234)).hexdigest()
    rows = f"| seed | 7 |\n| grid | 3×4 |\n| size | 1,234 bytes |\n| SHA-256 | `{hexadecimal}` |\n"
    assert card.read_bytes().decode("utf-8") == f"# prior-mine\n\n| | |\n|---|---|\n{rows}"


def test_features_of_real_pictures_need_no_config():
    for path in (data.root() / "judges").glob("*.safetensors"):
        assert checkpoints.read_header(path).keys() == {"kind", "name", "count", "accuracy", "judge"}


def test_shipped_models_are_found_by_name_and_by_hash():
    path = checkpoints.find("tokenizer", "book")
    assert checkpoints.find("tokenizer", f"sha256:{checkpoints.sha256(path)[:24]}") == path
    prior, tokenizer, (height, width) = arlib.load_pipeline("book")
    assert (prior.length, prior.vocabulary) == (height * width, tokenizer.codebook_size)


CIFAR10 = {"train": 45000, "valid": 5000, "test": 10000}
shipped_cifar10 = pytest.mark.skipif(
    not (data.root() / "tokens" / "cifar10-test.tokens").exists(), reason="no tokens of CIFAR-10 are shipped"
)


@shipped_cifar10
@pytest.mark.parametrize("split", CIFAR10)
def test_the_data_sets_of_tokens_of_cifar10(split):
    """Sizes, tokenizer and labels; where the pictures are at hand, that they are theirs."""
    shipped = arlib.tokenset.read(data.root() / "tokens" / f"cifar10-{split}.tokens")
    assert shipped.grids.shape == (CIFAR10[split], 8, 8)
    assert checkpoints.sha256(checkpoints.find("tokenizer", "cifar")).startswith(shipped.tokenizer)
    assert shipped.labels is not None
    assert ((shipped.labels.bincount(minlength=10) / len(shipped.labels) - 0.1).abs() < 0.01).all()
    if (data.root() / "cifar10").is_dir():
        assert torch.equal(shipped.labels, data.labels("cifar10", split))
        chosen = slice(0, None, CIFAR10[split] // 100)
        grids = arlib.load_tokenizer("cifar").encode(data.load("cifar10", split)[chosen])
        assert (grids == shipped.grids[chosen]).double().mean() > 0.999


@shipped_cifar10
def test_the_evaluation_finds_the_test_tokens_of_cifar10(monkeypatch):
    monkeypatch.setattr(data, "load", None)  # it does without the pictures
    digest = checkpoints.sha256(checkpoints.find("tokenizer", "cifar"))
    found = evaluation.real_tokens("cifar10", arlib.load_tokenizer("cifar"), digest, 1000)
    assert found is not None
    assert found[0].shape == (1000, 8, 8)


def test_the_data_sets_of_tokens_are_what_the_tokenizer_gives():
    """A few frames of each split; another machine may choose another token where a latent lies on an edge."""
    tokenizer = arlib.load_tokenizer("book")
    digest = checkpoints.sha256(checkpoints.find("tokenizer", "book"))
    for split in data.SPLITS:
        shipped = arlib.tokenset.read(data.root() / "tokens" / f"{split}.tokens")
        paths = data.files("supertuxkart", split)
        assert len(shipped.grids) == len(paths)
        assert digest.startswith(shipped.tokenizer)
        chosen = range(0, len(paths), len(paths) // 8)
        grids = tokenizer.encode(torch.stack([data.read_image(paths[place]) for place in chosen]))
        assert (grids == shipped.grids[list(chosen)]).double().mean() > 0.999
