"""`python -m arlib generate`: new pictures from a prior, or what it makes of a part of one."""

import itertools
import time
from pathlib import Path
from typing import Annotated

import typer

from arlib.cli.options import MOST_COUNT, Compiled, Force, Seed, checked_out
from arlib.cli.terminal import console, pace
from arlib.storage import DataError

app = typer.Typer()


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="The folder for the new pictures.", callback=checked_out)],
    count: Annotated[int, typer.Option(help="How many pictures.")] = 4,
    seed: Seed = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    label: Annotated[str | None, typer.Option(help="A class, by name or number, for a prior that knows some.")] = None,
    guidance: Annotated[float, typer.Option(help="Exaggerate what the label changes: 1 is not at all.")] = 1.0,
    begin: Annotated[Path | None, typer.Option("--from", help="An image to complete.")] = None,
    keep_rows: Annotated[int | None, typer.Option(help="Rows of tokens of that image to keep, from the top.")] = None,
    keep: Annotated[
        str | None, typer.Option(help="What to keep of it: its half top, bottom, left or right, or all outside a hole.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="An image of that size: what is white is drawn anew.")] = None,
    order: Annotated[
        str | None, typer.Option(help="raster, random, or 'shuffled 7', for a prior of any order.")
    ] = None,
    at_once: Annotated[int, typer.Option(help="Places that a prior of any order draws in one pass.")] = 1,
    prior: Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")] = "book",
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out.")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut images of another size.")] = False,
    machine_code: Compiled = False,
    force: Force = False,
) -> None:
    """Sample new pictures, or complete a part of a given one."""
    if not 1 <= count <= MOST_COUNT:
        raise ValueError(f"--count is at least 1 and at most {MOST_COUNT:,}, not {count}.")
    if (begin is None) != ((keep_rows, keep, mask) == (None, None, None)) or (keep_rows, keep, mask).count(None) < 2:
        raise ValueError(
            "--from and --keep-rows go together, an image and how many of its rows of tokens to keep; "
            "or --from and --keep, or --from and --mask."
        )
    import torch

    import arlib
    from arlib import checkpoints, data, metrics, orders, sampling
    from arlib.cli.common import check_spoken, check_unwritten, counted, data_of, label_number, read_picture
    from arlib.cli.completing import places_in, to_draw
    from arlib.cli.scoring import order_of
    from arlib.tokenizer import BATCH

    sampling.check_settings(temperature, top_k, top_p)
    model, decoder, grid = arlib.load_pipeline(prior, tokenizer)
    check_spoken(model, guidance, at_once)
    header = checkpoints.read_header(checkpoints.find("prior", prior))
    weights = tokenizer or header["tokenizer"]
    number = label_number(label, model.config.get("classes", 0), data_of(weights))
    check_unwritten([picture_of(out, place) for place in range(count)], force)
    known = None
    if begin is not None:
        image = read_picture(begin, weights, fit)
        drawn = to_draw(image, decoder.patch_size, keep_rows, keep, mask, fit)
        tokens = orders.raster(decoder.encode(image[None]))[0]
        known = torch.where(places_in(drawn, decoder, grid), -1, tokens)
    spoken = order_of(order or header.get("order", "raster"), count, model.length, seed)
    begun = time.perf_counter()
    with console.status(f"sampling {count} pictures"):
        speaker = model
        if machine_code:
            torch.set_num_threads(1)  # see arlib.compiled
            speaker = arlib.compiled.CompiledPrior.of(model)
        options = {"known": known, "order": spoken, "label": number, "guidance": guidance, "at_once": at_once}
        tokens = sampling.generate(speaker, count, seed, temperature, top_k, top_p, **options)  # type: ignore[arg-type]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} cannot be made: {error.strerror}.") from None
    parts = (decoder.decode(orders.unraster(some, *grid)) for some in tokens.split(BATCH))
    for place, image in enumerate(itertools.chain.from_iterable(parts)):
        data.write_image(picture_of(out, place), image)
    seconds = time.perf_counter() - begun
    labels = None if number is None else torch.full((count,), number)
    read = tokens if spoken is None else orders.arrange(tokens, spoken)
    bits = metrics.bits(model, read, order=spoken, label=labels).sum(1).mean()
    console.print(f"{out}: {counted(count, 'new picture')}, {bits:,.0f} bits each on average. {pace(count, seconds)}.")


def picture_of(out: Path, place: int) -> Path:
    """The file of the picture of that place in the batch."""
    return out / f"{place:04}.png"
