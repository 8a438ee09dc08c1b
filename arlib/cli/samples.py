"""`python -m arlib evaluate-samples`: what a prior's samples are worth, next to reconstructions and real pictures."""

import time
from typing import Annotated

import typer
from rich.table import Table

from arlib.cli.options import MOST_COUNT, Seed
from arlib.cli.terminal import console

app = typer.Typer()

LEAST = 100  # pictures: the Fréchet distance of fewer is mostly its own error
MOST_DECODED = 2000  # reconstructions for the distance to decoded tokens, if not more samples are asked for


@app.command()
def evaluate_samples(
    prior: Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")],
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out.")] = None,
    count: Annotated[int, typer.Option(help="How many pictures to sample.")] = 1000,
    seed: Seed = 0,
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
    if count > MOST_COUNT:
        raise ValueError(f"--count is at most {MOST_COUNT:,}, not {count}.")
    if count < LEAST:
        raise ValueError(f"--count is at least {LEAST}: distances between fewer pictures are mostly error.")
    import torch

    import arlib
    from arlib import checkpoints, data, evaluation, metrics, orders, sampling
    from arlib.cli.common import check_spoken
    from arlib.cli.scoring import add_scores, name_of_data, order_of, token_figures, usefulness_table
    from arlib.evaluation import BLIND

    sampling.check_settings(temperature, top_k, top_p)
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
