"""`python -m arlib evaluate-samples`: what a prior's samples are worth, next to reconstructions and real pictures."""

import time
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

import arlib
from arlib import checkpoints, codec, data, evaluation, metrics, orders, sampling
from arlib.cli.common import MOST_COUNT, MOST_SEED, check_spoken
from arlib.evaluation import BLIND, Scores
from arlib.transformer import Prior

app = typer.Typer()
console = Console(markup=False, emoji=False)  # names of files are as they are

LEAST = 100  # pictures: the Fréchet distance of fewer is mostly its own error
MOST_DECODED = 2000  # reconstructions for the distance to decoded tokens, if not more samples are asked for


@app.command()
def evaluate_samples(
    prior: Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")],
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out.")] = None,
    count: Annotated[int, typer.Option(help="How many pictures to sample.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: Annotated[float, typer.Option(help="u + s · (c - u); 1 is none.")] = 1.0,
    order: Annotated[
        str | None, typer.Option(help="raster, or random: each sample its own (any-order priors).")
    ] = None,
    at_once: Annotated[int, typer.Option(help="Places drawn in one pass (any-order priors).")] = 1,
    usefulness: Annotated[bool, typer.Option("--usefulness", help="Train judges on the samples as well.")] = False,
    steps: Annotated[int, typer.Option(help="Steps of each of those judges.")] = 300,
) -> None:
    """Measure a prior's samples, next to reconstructions of real pictures and to real pictures."""
    sampling.check_settings(temperature, top_k, top_p)
    if count > MOST_COUNT:
        raise ValueError(f"--count is at most {MOST_COUNT:,}, not {count}.")
    if count < LEAST:
        raise ValueError(f"--count is at least {LEAST}: distances between fewer pictures are mostly error.")
    header = checkpoints.read_header(checkpoints.find("prior", prior))
    model, decoder, grid = arlib.load_pipeline(prior, tokenizer)
    check_spoken(model, guidance, at_once)
    name = name_of_data(decoder.decode(torch.zeros(1, *grid, dtype=torch.int64)))
    judge, reference = evaluation.load_judge(name)
    if usefulness:
        if model.classes is None:
            raise ValueError("Only samples of a prior with classes can teach a judge: the others have no labels.")
        data.load(name, "train")  # says at once what is missing, not after minutes of sampling
    places = order_of(order or header.get("order", "raster"), count, model.length, seed)
    labels = reference.labels[torch.arange(count) % len(reference.labels)] if model.classes is not None else None

    with console.status(f"sampling {count:,} pictures"):
        begun = time.perf_counter()
        settings = (seed, temperature, top_k, top_p)
        spoken = {"order": places, "label": labels, "guidance": guidance, "at_once": at_once}
        tokens = sampling.generate(model, count, *settings, **spoken)  # type: ignore[arg-type]
        images = decoder.decode(orders.unraster(tokens, *grid))
        speed = count / (time.perf_counter() - begun)
    with console.status("judging them"):
        weights = checkpoints.sha256(checkpoints.find("tokenizer", tokenizer or header["tokenizer"]))
        found = evaluation.real_tokens(name, decoder, weights, max(count, MOST_DECODED))
        samples = evaluation.score(judge, reference, images, labels)
        again, decoded, rest = None, "–", ("–", "–")
        if found is not None:
            decoded_images, truth = decoder.decode(found[0]), found[1]
            again = evaluation.score(judge, reference, decoded_images[:count], truth[:count])
            decoded = f"{metrics.frechet(judge.features(images), judge.features(decoded_images)):.2f}"
            rest = token_figures(model, orders.raster(found[0][:count]), places, truth[:count])
        kinds, bits = zip(token_figures(model, tokens, places, labels), rest, strict=True)
    table = Table("measure", "samples", "reconstructions", "real pictures", "what it cannot see")
    table.title = f"{count:,} samples of {prior}, judged by {name}"
    add_scores(table, name, samples, again, evaluation.score_real(reference, count))
    table.add_row("Fréchet distance to decoded tokens", decoded, "", "", BLIND["decoded"])
    table.add_row("distinct", *kinds, "", BLIND["distinct"])
    table.add_row("bits a picture", *bits, "", BLIND["bits"])
    table.add_row("pictures a second", f"{speed:,.1f}", "", "", BLIND["speed"])
    console.print(table)
    if found is None:
        console.print(f"Reconstructions need the pictures of {name} (make {name}), or their tokens with labels.")
    if usefulness and labels is not None:
        console.print(usefulness_table(name, images, labels, steps, seed))


def name_of_data(image: torch.Tensor) -> str:
    """The data set whose pictures have this shape, `(1, H, W, C)`; `DataError` where there is no judge for them."""
    shapes = {"28×28×1": "digits", "32×32×3": "cifar10"}
    sides = "×".join(map(str, image.shape[1:]))
    if sides not in shapes:
        raise data.DataError(f"There is no judge for pictures of {sides}; there is one for digits and one for cifar10.")
    return shapes[sides]


def order_of(name: str, count: int, length: int, seed: int) -> torch.Tensor | None:
    """The order that "raster", "random" or "shuffled 7" stands for: None, `(count, length)` or `(length,)`."""
    if name == "raster":
        return None
    if name == "random":
        return orders.random(count, length, torch.Generator().manual_seed(seed))
    return codec.named_order(name, length)


def token_figures(
    prior: Prior, tokens: torch.Tensor, order: torch.Tensor | None, labels: torch.Tensor | None
) -> tuple[str, str]:
    """Of tokens `(N, T)` by place: how many sequences are distinct, and the mean surprise of one in bits.

    The n-th is read in the n-th of the orders `(M, T)`, M ≥ N, if they differ.
    """
    kinds = f"{metrics.distinct(tokens):,} of {len(tokens):,}"
    if order is not None:
        order = order if order.dim() == 1 else order[: len(tokens)]
        tokens = orders.arrange(tokens, order)
    bits = metrics.bits(prior, tokens, 64, order, None if prior.classes is None else labels)
    return kinds, f"{bits.sum(1).mean():,.1f}"


def add_scores(table: Table, name: str, samples: Scores, again: Scores | None, real: Scores) -> None:
    """The rows that samples, reconstructions and real pictures share."""

    def row(title: str, key: str, form: str) -> None:
        values = [getattr(scores, key) if scores is not None else None for scores in (samples, again, real)]
        table.add_row(title, *["–" if value is None else format(value, form) for value in values], BLIND[key])

    row("class seen as asked", "accuracy", ".1%")
    worst = [scores.worst if scores is not None else None for scores in (samples, again)]
    classes = data.CLASSES[name]
    table.add_row(
        "… of the worst class", *["–" if one is None else f"{one[1]:.1%} ({classes[one[0]]})" for one in worst], "", ""
    )
    numbers = f"{samples.count:,}" if samples.count == real.count else f"{samples.count:,}; real: {real.count:,}"
    row(f"Fréchet distance to real (n = {numbers})", "distance", ".2f")
    row("… for endlessly many", "limit", ".2f")
    row("precision", "precision", ".2f")
    row("recall", "recall", ".2f")


def usefulness_table(name: str, images: torch.Tensor, labels: torch.Tensor, steps: int, seed: int) -> Table:
    """Three fresh judges and how many real test pictures each gets right."""
    accuracies = evaluation.usefulness(name, images, labels, steps, seed=seed)
    title = f"A fresh judge after {steps:,} steps, tested on real pictures"
    table = Table("learned from", "right", title=title, caption="It cannot see what a larger budget would change.")
    rows = {
        "samples": f"{len(images):,} samples",
        "real": f"{len(images):,} real pictures",
        "both": f"{len(images):,} of each",
    }
    for lesson, title in rows.items():
        table.add_row(title, f"{accuracies[lesson]:.1%}")
    return table
