"""Scores of samples against references without pictures, and the command that prints them."""

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from arlib import checkpoints, data, evaluation, metrics, tokenset, training
from arlib.cli import samples, scoring
from arlib.evaluation import Reference
from arlib.judges import Judge
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    return data.load("digits", "test")[:600], data.labels("digits", "test")[:600]


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(1, 28, width=8).eval()


@pytest.fixture(scope="module")
def reference(digits, judge) -> Reference:
    return evaluation.make_reference("digits", judge, "ab" * 32, *digits)


def test_a_reference_knows_all_pictures_and_half_of_them_one_by_one(digits, judge, reference):
    features = judge.features(digits[0])
    assert reference.count == 600
    assert reference.features.shape == (300, 32)
    assert torch.allclose(reference.features, features[:300], rtol=1e-3, atol=1e-6)  # float16
    assert metrics.frechet(features, reference.moments) == pytest.approx(0, abs=1e-6)
    assert reference.accuracy == (judge.classify(digits[0]) == digits[1]).double().mean().item()


def test_the_rest_are_the_pictures_that_are_not_stored(digits, judge, reference):
    mean, covariance = reference.rest()
    expected_mean, expected_covariance = metrics.moments(judge.features(digits[0][300:]))
    scale = expected_covariance.diagonal().max()
    assert torch.allclose(mean, expected_mean, atol=1e-3 * scale.sqrt().item())
    assert torch.allclose(covariance, expected_covariance, atol=1e-2 * scale.item())


class Seen:
    """A judge that has seen these features, and the class 0 everywhere."""

    def __init__(self, features: torch.Tensor):
        self.features = features

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.features[: len(images)], torch.zeros(len(images), dtype=torch.int64)


@pytest.fixture(scope="module")
def numbers() -> tuple[torch.Tensor, Reference]:
    """600 features of real pictures, and a reference that holds the first 300 of them one by one."""
    features = torch.randn(600, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    labels = torch.zeros(300, dtype=torch.int64)
    return features, Reference("digits", metrics.moments(features), features[:300], labels, 600, 0.9, "ab" * 32)


def test_the_rest_by_its_definition(numbers):
    features, reference = numbers
    for ours, theirs in zip(reference.rest(), metrics.moments(features[300:]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "neighbors", "near"), [(200, 1000, 150), (100, 1000, 100), (200, 40, 40)])
def test_samples_are_compared_with_all_real_pictures_and_neighbors_with_half_of_those_stored(
    numbers, monkeypatch, count, neighbors, near
):
    _, reference = numbers
    monkeypatch.setattr(evaluation, "NEIGHBORS", neighbors)
    fakes = 1.1 * torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    scores = evaluation.score(Seen(fakes), reference, torch.zeros(count, 2, 2, 1))  # type: ignore[arg-type]
    assert (scores.count, scores.accuracy, scores.worst) == (count, None, None)
    assert scores.distance == metrics.frechet(fakes, reference.moments)
    assert scores.limit == metrics.frechet_extrapolated(fakes, reference.moments)
    expected = metrics.precision_recall(fakes[:near], reference.features[:near])
    assert (scores.precision, scores.recall) == expected
    assert expected != metrics.precision_recall(fakes, reference.features)


@pytest.mark.parametrize(
    ("asked", "neighbors", "count", "near"),
    [(200, 1000, 200, 150), (10_000, 1000, 300, 150), (100, 1000, 100, 100), (200, 40, 200, 40)],
)
def test_real_pictures_are_compared_with_the_others_alone(numbers, monkeypatch, asked, neighbors, count, near):
    """The last of those stored: with the first, so that none is its own neighbor, and with those not stored."""
    features, reference = numbers
    monkeypatch.setattr(evaluation, "NEIGHBORS", neighbors)
    rest = metrics.moments(features[300:])
    scores = evaluation.score_real(reference, asked)
    assert (scores.count, scores.accuracy, scores.worst) == (count, 0.9, None)
    assert scores.distance == pytest.approx(metrics.frechet_floor(features[:300], count, rest), rel=1e-3)
    assert scores.limit == pytest.approx(
        metrics.frechet_extrapolated(features[300 - count : 300], rest), rel=1e-3, abs=1e-4
    )
    expected = metrics.precision_recall(features[300 - near : 300], features[:near])
    assert (scores.precision, scores.recall) == expected


def test_a_saved_reference_comes_back_for_its_judge_alone(reference, tmp_path):
    path = tmp_path / "digits-test.safetensors"
    evaluation.save_reference(path, reference)
    again = evaluation.load_reference(str(path), reference.judge)
    assert evaluation.load_reference(str(path)).judge == reference.judge  # whoever does not say which judge it has
    with safe_open(path, framework="pt") as stored:
        assert stored.get_tensor("features").dtype == torch.float16
    assert torch.equal(again.features, reference.features)
    assert torch.equal(again.labels, reference.labels)
    assert all(map(torch.equal, again.moments, reference.moments))
    assert (again.name, again.count, again.accuracy) == ("digits", 600, reference.accuracy)
    with pytest.raises(data.DataError, match="another judge"):
        evaluation.load_reference(str(path), "cd" * 32)
    with pytest.raises(data.DataError, match=r"make_references\.py"):
        evaluation.load_reference(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_saving_a_shipped_reference_again_changes_no_byte(name, tmp_path):
    path = tmp_path / f"{name}-test.safetensors"
    evaluation.save_reference(path, evaluation.load_reference(name))
    assert path.read_bytes() == (data.root() / "judges" / path.name).read_bytes()


def test_what_another_judge_has_seen_is_not_taken_for_what_this_one_has(shelf, tmp_path, monkeypatch):
    for name in ("frames", "judges"):
        (tmp_path / name).symlink_to(shelf / name)
    (tmp_path / "weights").mkdir()
    checkpoints.save(tmp_path / "weights" / "judge-digits.safetensors", "judge", Judge(1, 28, width=8))
    monkeypatch.setenv("ARLIB_DATA", str(shelf))
    assert evaluation.load_judge("digits")[1].count == 600
    monkeypatch.setenv("ARLIB_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match="another judge"):
        evaluation.load_judge("digits")


def test_a_file_that_is_no_reference_is_refused(judge, tmp_path):
    path = tmp_path / "judge-tiny.safetensors"
    checkpoints.save(path, "judge", judge)
    with pytest.raises(data.DataError, match="does not hold the features"):
        evaluation.load_reference(str(path))


def test_scores_of_real_pictures_noise_and_one_digit_drawn_again_and_again(digits, judge, reference):
    images, labels = digits
    real = evaluation.score_real(reference, 200)
    assert real.accuracy == reference.accuracy
    good = evaluation.score(judge, reference, images[300:500], labels[300:500])
    generator = torch.Generator().manual_seed(0)
    noise = evaluation.score(judge, reference, torch.randint(256, (200, 28, 28, 1), generator=generator).byte())
    collapsed = evaluation.score(judge, reference, images[:1].repeat(200, 1, 1, 1))
    assert good.distance < 0.1 * collapsed.distance
    assert good.distance < 0.1 * noise.distance
    assert good.limit < good.distance
    assert noise.accuracy is None
    assert noise.recall < 0.5 * good.recall
    assert collapsed.precision == 1  # which is why recall stands next to it
    assert collapsed.recall < 0.05 < good.recall
    assert good.distance < 2 * real.distance


def test_accuracy_and_the_worst_class_are_those_of_the_labels_asked_for(digits, judge, reference):
    images, _ = digits
    seen = judge.classify(images[:100])
    assert evaluation.score(judge, reference, images[:100], seen).accuracy == 1
    common = int(seen.mode().values)
    asked = seen.clone()
    asked[(seen == common).nonzero()[0]] = (common + 1) % 10  # a class of which few or no pictures are seen
    scores = evaluation.score(judge, reference, images[:100], asked)
    assert scores.accuracy == pytest.approx(0.99)
    assert scores.worst is not None
    assert scores.worst[0] == (common + 1) % 10
    assert scores.worst[1] < 1


def test_a_judge_learns_from_samples_what_they_hold(monkeypatch):
    """Dark pictures are class 0, bright ones class 1; samples with the labels exchanged teach the opposite."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(128, (64, 28, 28, 1), generator=generator) + 127 * labels[:, None, None, None]
    monkeypatch.setattr(data, "load", lambda name, split: images.byte())
    monkeypatch.setattr(data, "labels", lambda name, split: labels)
    right = evaluation.usefulness("digits", images.byte(), labels, steps=12, width=8)
    wrong = evaluation.usefulness("digits", images.byte(), 1 - labels, steps=12, width=8)
    assert right["samples"] == right["real"] == wrong["real"] == 1
    assert wrong["samples"] == 0


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_judges_learn_from_samples_from_as_many_real_pictures_and_from_both(monkeypatch, name):
    """In that order, all else being equal; and no digit is mirrored."""
    size = 28 if name == "digits" else 32
    pictures = {split: torch.full((40, size, size, 1), value).byte() for split, value in (("train", 1), ("test", 2))}
    classes = {"train": torch.arange(40) % 10, "test": torch.arange(40) % 10}
    monkeypatch.setattr(data, "load", lambda name, split: pictures[split])
    monkeypatch.setattr(data, "labels", lambda name, split: classes[split])
    lessons, starts = [], []

    def fit(loss, examples, settings, folder):
        lessons.append((*examples, loss.flips, settings.steps, settings.seed))
        starts.append(loss.model.head.weight.detach().clone())

    monkeypatch.setattr(training, "fit", fit)
    samples, labels = torch.zeros(30, size, size, 1).byte(), torch.arange(30) % 10
    accuracies = evaluation.usefulness(name, samples, labels, steps=7, width=8, seed=5)
    assert list(accuracies) == ["samples", "real", "both"]
    assert all(torch.equal(start, starts[0]) for start in starts)
    learned = [it[0][:, 0, 0, 0].tolist() for it in lessons]
    assert learned == [[0] * 30, [1] * 30, [0] * 30 + [1] * 30]
    for _, asked, *rest in lessons:
        assert torch.equal(asked, labels.repeat(len(asked) // 30))
        assert rest == [name == "cifar10", 7, 5]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, digits, judge) -> Path:
    """A data folder with an untrained judge, tokenizer and prior of the digits, and the judge's reference."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("frames", "digits"):
        (folder / name).symlink_to(data.root() / name)
    for name in ("weights", "judges", "tokens"):
        (folder / name).mkdir()
    torch.manual_seed(1)
    tokenizer = ImageTokenizer(14, 8, 1, BSQ(4), channels=1)
    checkpoints.save(folder / "weights" / "judge-digits.safetensors", "judge", judge)
    checkpoints.save(folder / "weights" / "tokenizer-tiny.safetensors", "tokenizer", tokenizer)
    tokenizer_hash = checkpoints.sha256(folder / "weights" / "tokenizer-tiny.safetensors")
    extra = {"tokenizer": f"sha256:{tokenizer_hash[:24]}", "grid": "2×2"}
    for name, options in {"tiny": {"classes": 10}, "any": {"any_order": True}}.items():
        prior = Prior(16, 4, 16, 1, 2, **options)  # type: ignore[arg-type]
        checkpoints.save(folder / "weights" / f"prior-{name}.safetensors", "prior", prior, **extra)
    tokenset.write(folder / "tokens" / "tiny-test.tokens", tokenizer.encode(digits[0]), 16, tokenizer_hash, digits[1])
    judge_hash = checkpoints.sha256(folder / "weights" / "judge-digits.safetensors")
    reference = evaluation.make_reference("digits", judge, judge_hash, *digits)
    evaluation.save_reference(folder / "judges" / "digits-test.safetensors", reference)
    return folder


@pytest.fixture
def evaluate(shelf, monkeypatch):
    """Call the command; its output, a word between any two others, or the exception that it raised."""
    monkeypatch.setenv("ARLIB_DATA", str(shelf))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(samples.console, "width", 200, raising=False)

    def call(*arguments: str) -> str | BaseException:
        result = CliRunner().invoke(samples.app, arguments)
        return result.exception or re.sub(r"\s+", " ", result.output)

    return call


def test_the_command_prints_every_measure_and_the_same_ones_again(evaluate):
    arguments = ("--prior", "tiny", "--count", "150", "--guidance", "2", "--temperature", "0.8", "--top-k", "9")
    output = evaluate(*arguments)
    for title in (
        "class seen as asked",
        "of the worst class",
        "distance to real (n = 150)",
        "for endlessly many",
        "precision",
        "recall",
        "distance to decoded tokens",
        "distinct",
        "bits a picture",
        "pictures a second",
    ):
        assert title in output
    for blind in evaluation.BLIND.values():
        assert blind.split(":")[0] in output

    def without_speed(text: object) -> str:
        return re.sub(r"pictures a second │ +[\d.,]+", "", str(text))

    assert without_speed(evaluate(*arguments)) == without_speed(output)


def test_a_prior_without_classes_has_no_accuracy_and_any_order_has_its_options(evaluate):
    output = evaluate("--prior", "any", "--count", "100", "--order", "random", "--at-once", "2")
    assert re.search(r"class seen as asked │ – │ [\d.]+% │", output)
    assert "learned from" not in output
    output = evaluate("--prior", "any", "--count", "100", "--usefulness")
    assert "the others have no labels" in str(output)


def test_what_cannot_be_measured_is_refused(evaluate):
    assert "--count is at least 100" in str(evaluate("--prior", "tiny", "--count", "99"))
    assert "temperature" in str(evaluate("--prior", "tiny", "--temperature", "0"))
    assert "is no order of tokens" in str(evaluate("--prior", "any", "--order", "snake"))


def test_usefulness_is_printed_for_samples_real_pictures_and_both(evaluate, monkeypatch):
    accuracies = {"samples": 0.125, "real": 0.5, "both": 0.75}
    monkeypatch.setattr(evaluation, "usefulness", lambda name, images, labels, steps, seed: accuracies)
    output = evaluate("--prior", "tiny", "--count", "100", "--usefulness", "--steps", "2")
    for row in ("100 samples │ 12.5%", "100 real pictures │ 50.0%", "100 of each │ 75.0%"):
        assert row in output


def test_pictures_of_no_judge_are_refused():
    with pytest.raises(data.DataError, match="no judge for pictures of 100×150×3"):
        scoring.name_of_data(torch.zeros(1, 100, 150, 3))


def test_orders_have_names():
    assert scoring.order_of("raster", 5, 4, 0) is None
    assert scoring.order_of("random", 5, 4, 0).shape == (5, 4)  # type: ignore[union-attr]
    assert sorted(scoring.order_of("shuffled 7", 5, 4, 0).tolist()) == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_real_tokens_come_from_a_token_set_or_from_the_pictures_or_not_at_all(shelf, digits, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(shelf))
    path = shelf / "weights" / "tokenizer-tiny.safetensors"
    tokenizer = checkpoints.load("tokenizer", str(path), ImageTokenizer.from_config)
    stored = evaluation.real_tokens("digits", tokenizer, checkpoints.sha256(path), 50)
    assert stored is not None
    assert stored[0].shape == (50, 2, 2)
    assert torch.equal(stored[1], digits[1][-50:])
    encoded = evaluation.real_tokens("digits", tokenizer, "cd" * 32, 50)  # no set of that tokenizer's tokens
    assert encoded is not None
    assert torch.equal(encoded[0], tokenizer.encode(data.load("digits", "test")[-50:]))
    assert torch.equal(encoded[1], data.labels("digits", "test")[-50:])
    every = evaluation.real_tokens("digits", tokenizer, checkpoints.sha256(path), 10_000)
    assert every is not None
    assert torch.equal(every[1], digits[1])
    assert evaluation.real_tokens("cifar10", tokenizer, "cd" * 32, 50) is None


def test_what_needs_pictures_that_are_not_shipped_says_how_to_get_them(shelf, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(shelf))
    with pytest.raises(data.DataError, match="make cifar10"):
        evaluation.usefulness("cifar10", torch.zeros(10, 32, 32, 3, dtype=torch.uint8), torch.zeros(10).long())


def test_reconstructions_are_left_out_where_they_cannot_be_made(evaluate, monkeypatch):
    monkeypatch.setattr(evaluation, "real_tokens", lambda *arguments: None)
    output = str(evaluate("--prior", "tiny", "--count", "100"))
    assert "Fréchet distance to decoded tokens │ – │" in output
    assert "Reconstructions need the pictures of digits" in output
