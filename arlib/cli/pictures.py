"""`python -m arlib tokenize`, `reconstruct` and `evaluate`: pictures and their tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arlib.cli.options import Force
from arlib.cli.terminal import Meter, console, metered
from arlib.storage import DataError

if TYPE_CHECKING:
    import torch

app = typer.Typer()

TokenizerName = Annotated[str, typer.Option("--tokenizer", help="Name, hash or file of the tokenizer.")]
DATA_SET = "supertuxkart, digits or cifar10; what the tokenizer has learned, if left out."


@app.command()
def tokenize(
    source: Annotated[str, typer.Argument(metavar="IN", help="A split (train, valid, …), or a folder of images.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data set of tokens to write.")],
    tokenizer: TokenizerName = "book",
    name: Annotated[str | None, typer.Option("--data", help=f"Whose split IN is: {DATA_SET}")] = None,
    mirror: Annotated[bool, typer.Option(help="Mirror every picture, left to right, first.")] = False,
    moved: Annotated[
        int | None,
        typer.Option(help="Move every picture of digits or cifar10 a little first, by chance: the seed of the moves."),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="The setting of a tokenizer's dial, which becomes the label; the best one.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="32-true, or bf16-mixed: faster, and about one token in seventy is another one.")
    ] = "32-true",
    force: Force = False,
) -> None:
    """Turn pictures into a bit-packed data set of tokens, with the labels that they have."""
    if mirror and moved is not None:
        raise DataError("--moved mirrors the pictures that may be mirrored: leave --mirror out.")
    if precision not in ("32-true", "bf16-mixed"):
        raise DataError(f"The precision is 32-true or bf16-mixed, not {precision}.")
    import torch

    import arlib
    from arlib import checkpoints, data, tokenset
    from arlib.cli import sources
    from arlib.cli.common import check_fits, check_out, counted, data_of, shape_of
    from arlib.cli.report import Codes

    check_out(out, force)
    weights = checkpoints.find("tokenizer", tokenizer)
    model = arlib.load_tokenizer(tokenizer)
    model.check_quality(quality, 1)
    named, name = name is not None, name or data_of(tokenizer)
    from_set = source in data.SETS.get(name, ()) or (named and name != "supertuxkart")
    if moved is not None and not (from_set and name in data.CLASSES):
        raise DataError("--moved is for the splits of digits and cifar10 alone.")
    if from_set:
        data.check_split(name, source)
        check_fits(model, name)
        pictures = sources.of_set(name, source, moved)
    else:
        pictures = sources.of_folder(source, *shape_of(tokenizer))
    codes, before = Codes(model), 0
    kinds: set[str] = set()
    setting = model.qualities - 1 if quality is None else quality

    def grids(meter: Meter) -> "Iterator[tuple[torch.Tensor, torch.Tensor | None]]":
        nonlocal before
        for batch in pictures.batches():
            images = batch.images.flip(2) if mirror else batch.images
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                tokens = model.encode(images, quality)
            codes.see(tokens)
            before += sum(path.stat().st_size for path in batch.paths) if batch.paths else images.numel()
            kinds.update(path.suffix.lstrip(".").upper() for path in batch.paths)
            meter.advance(len(images))
            yield tokens, torch.full((len(images),), setting) if model.qualities else batch.labels

    with metered("tokenizing", pictures.count) as meter:
        tokenset.write_batches(out, grids(meter), model.codebook_size, checkpoints.sha256(weights))
    after = out.stat().st_size
    console.print(
        f"{out}: {counted(meter.count, 'picture')} in {after:,} bytes, {before / after:.1f} times smaller than the "
        f"{before:,} bytes of {'/'.join(sorted(kinds)) or 'pixels'}. {codes.share:.1%} of {model.codebook_size:,} "
        f"codes occur. {meter.pace}."
    )


@app.command()
def reconstruct(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The image to write.")],
    tokenizer: TokenizerName = "book",
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut an image of another size.")] = False,
    force: Force = False,
) -> None:
    """Send a picture through the tokenizer and back."""
    import arlib
    from arlib import data, metrics
    from arlib.cli.common import check_out, read_picture

    data.check_suffix(out)
    check_out(out, force)
    model = arlib.load_tokenizer(tokenizer)  # first, as it checks the header that the picture's size is read from
    image = read_picture(source, tokenizer, fit)
    again = model.reconstruct(image[None])[0]
    data.write_image(out, again)
    error = metrics.mse(image[None], again[None]).item()
    console.print(f"{out}: mean squared error {error:.4f}, {metrics.psnr(image[None], again[None]).item():.1f} dB.")


@app.command()
def evaluate(
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out; alone without --prior.")] = None,
    prior: Annotated[str | None, typer.Option(help="Name, hash or file of the prior; book without both.")] = None,
    name: Annotated[str | None, typer.Option("--data", help=f"{DATA_SET[:-1]}; or a folder of images.")] = None,
    split: Annotated[str | None, typer.Option(help="One split of the data set alone.")] = None,
) -> None:
    """Measure a tokenizer, and a prior with it, on every split of a data set, or on a folder of images.

    Without any option: the book's own, and its auto-encoders.
    """
    import arlib
    from arlib import checkpoints, data
    from arlib.cli import sources
    from arlib.cli.common import check_fits, data_of, shape_of
    from arlib.cli.report import evaluation_tables

    folder = name if name is not None and name not in data.SETS and Path(name).is_dir() else None
    if folder is None and name is not None and name not in data.SETS:
        raise DataError(f"There is no data set {name!r}; there are {', '.join(data.SETS)}, and folders of images.")
    if folder is not None and split is not None:
        raise DataError(f"{folder} is a folder, which has no splits: leave --split out.")
    everything = (tokenizer, prior, name, split) == (None, None, None, None)
    if tokenizer is not None and prior is None:
        model, language, title, weights = arlib.load_tokenizer(tokenizer), None, f"Tokenizer {tokenizer}", tokenizer
    else:
        language, model, _ = arlib.load_pipeline(prior or "book", tokenizer)
        title = f"Prior {prior or 'book'} and its tokenizer"
        weights = tokenizer or checkpoints.read_header(checkpoints.find("prior", prior or "book"))["tokenizer"]
    if folder is not None:
        parts = {Path(folder).resolve().name: sources.of_folder(folder, *shape_of(weights))}
    else:
        name = name or data_of(weights)
        check_fits(model, name)
        if split is not None:
            data.check_split(name, split)
        parts = {each: sources.of_set(name, each) for each in ([split] if split else data.SETS[name])}
    for table in evaluation_tables(parts, model, language, title, everything):
        console.print(table)
