"""`evaluate-samples`: each cell of its table from the library, and what it asks for before any work."""

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import rows_of
from rich.table import Table

import arlib
from arlib import data, evaluation, metrics, orders, sampling
from arlib.cli import samples, scoring
from arlib.data import DataError

COLUMNS = ["measure", "samples", "reconstructions", "real pictures", "what it cannot see"]
BLIND = evaluation.BLIND


@pytest.fixture
def printed(monkeypatch) -> list[Any]:
    """What the command prints; it samples for four seconds."""
    shown: list[Any] = []

    def status(words: str) -> contextlib.nullcontext:
        shown.append(words)
        return contextlib.nullcontext()

    monkeypatch.setattr(samples, "console", SimpleNamespace(print=shown.append, status=status))
    monkeypatch.setattr(samples, "time", SimpleNamespace(perf_counter=iter([10.0, 14.0]).__next__))
    return shown


def test_samples_next_to_reconstructions_and_real_pictures(run, printed, monkeypatch):
    """A prior of any order, with classes, of which nothing is left as it is by default."""
    monkeypatch.setattr(samples, "MOST_DECODED", 150)
    how = ["--seed", 3, "--temperature", 0.9, "--top-k", 50, "--top-p", 0.95, "--guidance", 1.5, "--at-once", 8]
    named = ["--prior", "cifar-any", "--tokenizer", "cifar", "--order", "random"]
    assert run("evaluate-samples", *named, "--count", 100, *how)[0] == 0
    assert printed[:2] == ["sampling 100 pictures", "judging them"]
    (table,) = printed[2:]
    assert [column.header for column in table.columns] == COLUMNS
    assert table.title == "100 samples of cifar-any, judged by cifar10"

    prior, decoder, grid = arlib.load_pipeline("cifar-any")
    judge, reference = evaluation.load_judge("cifar10")
    order = orders.random(100, 64, torch.Generator().manual_seed(3))
    labels = reference.labels[:100]
    spoken: dict[str, Any] = {"order": order, "label": labels, "guidance": 1.5, "at_once": 8}
    tokens = sampling.generate(prior, 100, 3, 0.9, 50, 0.95, **spoken)
    images = decoder.decode(orders.unraster(tokens, *grid))
    found = evaluation.real_tokens("cifar10", decoder, arlib.checkpoints.sha256(weights("cifar")), 150)
    assert found is not None
    real = decoder.decode(found[0])
    expected = Table(*COLUMNS)
    again = evaluation.score(judge, reference, real[:100], found[1][:100])
    scores = evaluation.score(judge, reference, images, labels)
    scoring.add_scores(expected, "cifar10", scores, again, evaluation.score_real(reference, 100))
    distance = f"{metrics.frechet(judge.features(images), judge.features(real)):.2f}"
    kinds, bits = scoring.token_figures(prior, tokens, order, labels)
    rest = scoring.token_figures(prior, found[0][:100].flatten(1), order, found[1][:100])
    assert rows_of(table) == [
        *rows_of(expected),
        ["Fréchet distance to decoded tokens", distance, "", "", BLIND["decoded"]],
        ["distinct", kinds, rest[0], "", BLIND["distinct"]],
        ["bits a picture", bits, rest[1], "", BLIND["bits"]],
        ["pictures a second", "25.0", "", "", BLIND["speed"]],
    ]


def weights(tokenizer: str):
    return arlib.checkpoints.find("tokenizer", tokenizer)


def test_without_real_pictures_there_are_no_reconstructions(run, printed, monkeypatch):
    """The order is that of the prior's own header, here a shuffled one."""
    monkeypatch.setattr(evaluation, "real_tokens", lambda *them: None)
    headers = arlib.checkpoints.read_header
    monkeypatch.setattr(arlib.checkpoints, "read_header", lambda path: headers(path) | {"order": "shuffled 7"})
    assert run("evaluate-samples", "--prior", "cifar-any", "--count", 100, "--at-once", 16)[0] == 0
    table, rest = printed[2:]
    prior, _, _ = arlib.load_pipeline("cifar-any")
    labels, order = evaluation.load_reference("cifar10").labels[:100], orders.shuffled(64, 7)
    tokens = sampling.generate(prior, 100, order=order, label=labels, at_once=16)
    kinds, bits = scoring.token_figures(prior, tokens, order, labels)
    cells = {row[0]: row[1:4] for row in rows_of(table)}
    assert cells["distinct"] == [kinds, "–", ""]
    assert cells["bits a picture"] == [bits, "–", ""]
    assert cells["Fréchet distance to decoded tokens"] == ["–", "", ""]
    assert cells["class seen as asked"][1] == "–"
    assert rest == "Reconstructions need the pictures of cifar10 (make cifar10), or their tokens with labels."


def test_more_samples_than_decoded_tokens_are_compared_with_as_many(run, printed, monkeypatch):
    """And a prior without classes has none to be seen, nor to teach."""
    asked = []

    def real_tokens(name, decoder, digest, count) -> None:
        asked.append((name, digest, count))

    monkeypatch.setattr(evaluation, "real_tokens", real_tokens)
    monkeypatch.setattr(samples, "MOST_DECODED", 110)
    load = arlib.load_pipeline

    def without_classes(prior, tokenizer):
        model, decoder, grid = load(prior, tokenizer)
        model.classes = None
        return model, decoder, grid

    monkeypatch.setattr(arlib, "load_pipeline", without_classes)
    named = ["--prior", "digits-4x4", "--tokenizer", "digits-4x4"]
    assert run("evaluate-samples", *named, "--count", 120)[0] == 0
    assert asked == [("digits", arlib.checkpoints.sha256(weights("digits-4x4")), 120)]
    assert {row[0]: row[1] for row in rows_of(printed[2])}["class seen as asked"] == "–"
    code, _, err = run("evaluate-samples", *named, "--count", 120, "--usefulness")
    assert code == 2
    assert "Only samples of a prior with classes can teach a judge" in err


def test_what_samples_teach_a_judge(run, printed, monkeypatch):
    monkeypatch.setattr(evaluation, "real_tokens", lambda *them: None)
    taught = []

    def usefulness(name, images, labels, steps, seed):
        taught.append((name, len(images), labels.tolist(), steps, seed))
        return {"samples": 0.5, "real": 0.75, "both": 0.875}

    monkeypatch.setattr(evaluation, "usefulness", usefulness)
    how = ["--count", 100, "--usefulness", "--steps", 7, "--seed", 4]
    assert run("evaluate-samples", "--prior", "digits-4x4", *how)[0] == 0
    assert taught == [("digits", 100, evaluation.load_reference("digits").labels[:100].tolist(), 7, 4)]
    assert [row[1] for row in rows_of(printed[-1])] == ["50.0%", "75.0%", "87.5%"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--count", 99], "--count is at least 100"),
        (["--count", 100_001], "--count is at most 100,000"),
        (["--temperature", 0], "above 0"),
        (["--top-k", 0], "at least 1"),
        (["--top-p", 1.5], "up to 1"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(run, monkeypatch, options, words):
    monkeypatch.setattr(arlib, "load_pipeline", None)
    code, _, err = run("evaluate-samples", "--prior", "digits-4x4", *options)
    assert (code, words in err) == (2, True)


def test_missing_pictures_are_told_before_any_sampling(run, monkeypatch):
    def load(name, split):
        raise DataError(f"no {split} of {name}")

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(sampling, "generate", None)
    assert "no train of digits" in run("evaluate-samples", "--prior", "digits-4x4", "--usefulness")[2]


def test_the_most_samples_and_the_fewest_can_be_asked_for(run, monkeypatch):
    class Reached(ValueError):
        pass

    def load(prior, tokenizer):
        raise Reached("reached")

    monkeypatch.setattr(arlib, "load_pipeline", load)
    for count in (100, 100_000):
        assert "reached" in run("evaluate-samples", "--prior", "digits-4x4", "--count", count)[2]
