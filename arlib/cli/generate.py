"""`python -m arlib generate`: new pictures from a prior."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import arlib
from arlib import data, metrics, orders, sampling

app = typer.Typer()
console = Console()


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="The folder for the new pictures.")],
    count: Annotated[int, typer.Option(help="How many pictures.")] = 4,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    begin: Annotated[Path | None, typer.Option("--from", help="An image to complete.")] = None,
    keep_rows: Annotated[int | None, typer.Option(help="Rows of tokens of that image to keep.")] = None,
    prior: Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")] = "book",
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out.")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut an image of another size.")] = False,
) -> None:
    """Sample new pictures, or complete the top of a given one."""
    sampling.check_settings(temperature, top_k, top_p)
    if count < 1:
        raise ValueError(f"--count is at least 1, not {count}.")
    if (begin is None) != (keep_rows is None):
        raise ValueError("--from and --keep-rows go together: an image, and how many of its rows of tokens to keep.")
    if out.exists() and not out.is_dir():
        raise data.DataError(f"{out} is a file. Name a folder.")
    model, decoder, (height, width) = arlib.load_pipeline(prior, tokenizer)
    beginning = None
    if begin is not None and keep_rows is not None:
        if not 0 <= keep_rows <= height:
            raise ValueError(f"--keep-rows lies between 0 and {height}, the rows of tokens of a picture.")
        image = data.read_image(begin, height * decoder.patch_size, width * decoder.patch_size, fit)
        beginning = orders.raster(decoder.encode(image[None]))[0, : keep_rows * width]
    with console.status(f"sampling {count} pictures"):
        tokens = sampling.generate(model, count, seed, temperature, top_k, top_p, beginning)
        images = decoder.decode(orders.unraster(tokens, height, width))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise data.DataError(f"{out} cannot be made: {error.strerror}.") from None
    for number, image in enumerate(images):
        data.write_image(out / f"{number:04}.png", image)
    console.print(
        f"{out}: {count} new pictures, {metrics.bits(model, tokens).sum(1).mean():,.0f} bits each on the mean."
    )
