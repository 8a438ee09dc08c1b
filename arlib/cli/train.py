"""`python -m arlib train …`: the models of the book, all trained by `arlib.training.fit`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from arlib.cli.options import Depth, Name, Out, PictureSize, Resume, Size, Source, Valid, takes_settings
from arlib.settings import Settings
from arlib.storage import DataError

app = typer.Typer(help="Train a model; its folder can be watched with TensorBoard and resumed.")


@app.command()
@takes_settings(steps=1000, batch_size=16, learning_rate=2e-3)
def autoencoder(
    name: Name,
    out: Out,
    patch_size: Size = 5,
    latent_dim: Annotated[int, typer.Option(help="How many numbers stand for a patch.", min=1)] = 10,
    depth: Annotated[int, typer.Option(help="Residual blocks on each side; 0 is the linear code.", min=0)] = 1,
    width: Size = 64,
    source: Source = "supertuxkart",
    valid: Valid = None,
    picture_size: PictureSize = None,
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train a patch auto-encoder: a tokenizer without a quantizer."""
    import torch

    from arlib.cli import examples, learning
    from arlib.tokenizer import ImageTokenizer
    from arlib.training import ReconstructionLoss

    pictures = examples.pictures(source, valid, picture_size, patch_size)
    torch.manual_seed(settings.seed)
    model = ImageTokenizer(patch_size, width, depth, latent_dim=latent_dim, channels=pictures.channels)
    learning.from_pictures("autoencoder", name, ReconstructionLoss(model), pictures, out, settings, resume)


@app.command()
@takes_settings(steps=1000, batch_size=16, learning_rate=1e-3)
def tokenizer(
    name: Name,
    out: Out,
    patch_size: Size = 5,
    quantizer: Annotated[str, typer.Option(help="bsq or vq.")] = "bsq",
    bits: Annotated[int, typer.Option(help="Bits per token, 1 to 18: a codebook has 2^bits codes.")] = 10,
    codebooks: Annotated[int, typer.Option(help="Tokens per patch, each with a codebook of its own.")] = 1,
    residual: Annotated[
        bool, typer.Option("--residual/--product", help="Codebooks that share a latent: each what is left, or a part.")
    ] = False,
    latent_dim: Annotated[int, typer.Option(help="Numbers that stand for a patch before vq makes codes of them.")] = 32,
    scales: Annotated[
        str | None, typer.Option(help="Sides of token maps from coarse to fine, like 1,2,4: a pyramid; with vq.")
    ] = None,
    cut: Annotated[float, typer.Option(help="In training, the share of pictures that keep a few maps alone.")] = 0.5,
    depth: Annotated[int, typer.Option(help="Residual blocks on each side.", min=0)] = 2,
    width: Size = 128,
    smoothness: Annotated[float, typer.Option(help="How strongly neighboring patches attract each other.")] = 1e-3,
    refine: Annotated[int, typer.Option(help="Residual blocks on pixels, after the last patch is painted.", min=0)] = 0,
    prices: Annotated[
        str | None,
        typer.Option(help="The price of a bit a patch at each quality, falling: 8e-4,4e-4; in place of --smoothness."),
    ] = None,
    source: Source = "supertuxkart",
    valid: Valid = None,
    picture_size: PictureSize = None,
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train an image tokenizer, by default with binary spherical quantization."""
    import torch

    from arlib.cli import examples, learning
    from arlib.cli.common import make_quantizer, numbers
    from arlib.rate import RateDistortionLoss
    from arlib.tokenizer import ImageTokenizer
    from arlib.training import ReconstructionLoss

    torch.manual_seed(settings.seed)
    chosen = make_quantizer(quantizer, bits, codebooks, residual, latent_dim, scales, cut)
    paid = [] if prices is None else numbers(prices)
    pictures = examples.pictures(source, valid, picture_size, patch_size)
    model = ImageTokenizer(
        patch_size, width, depth, chosen, channels=pictures.channels, refine=refine, qualities=len(paid)
    )
    loss = RateDistortionLoss(model, paid) if paid else ReconstructionLoss(model, smoothness)
    learning.from_pictures("tokenizer", name, loss, pictures, out, settings, resume)


@app.command()
@takes_settings(steps=1000, batch_size=8, learning_rate=2e-3)
def prior(
    name: Name,
    out: Out,
    tokens: Annotated[
        list[Path] | None,
        typer.Option(help="Data sets of tokens (repeat it; a.tokens:4 is four times a.tokens); the book's own."),
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="Held-out tokens to follow; the book's own for those.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="For the samples: the tokens' own, if left out.")] = None,
    width: Size = 128,
    depth: Depth = 6,
    heads: Size = 4,
    order: Annotated[
        str,
        typer.Option(help="raster, places (all codes of a patch at once), random (any order), scales (a pyramid's)."),
    ] = "raster",
    classes: Annotated[bool, typer.Option("--classes", help="Learn the labels in the data sets of tokens.")] = False,
    positions: Annotated[bool, typer.Option(help="Position embeddings.")] = True,
    shift: Annotated[bool, typer.Option(help="Without the shift, row t reads token t: the classic mistake.")] = True,
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train a causal prior on tokens."""
    import torch

    import arlib
    from arlib.cli import examples, learning
    from arlib.scales import Pyramid
    from arlib.transformer import Prior

    train, held_out = examples.tokens(tokens, valid)
    weights = examples.weights_of(train, tokenizer)
    decoder = None if weights is None else arlib.load_tokenizer(str(weights))
    if order not in ("raster", "places", "random", "scales"):
        raise DataError(f"The order is raster, places, random or scales, not {order}.")
    if order == "places" and len(train.grids.shape) != 4:
        raise DataError("The order places is for tokens with several codebooks; these have one.")
    if order == "scales" and (decoder is None or not isinstance(decoder.quantizer, Pyramid)):
        raise DataError("The order scales needs the tokens of a pyramid, and --tokenizer to know its scales.")
    if classes and train.labels is None:
        raise DataError("Some of these tokens have no labels. Write them with 'tokenize --data digits' or cifar10.")

    torch.manual_seed(settings.seed)
    options = {
        "classes": examples.classes_of(train, held_out) if classes else 0,
        "any_order": order == "random",
        "codebooks": train.grids.shape[-1] if order == "places" else 1,
        "scales": decoder.quantizer.sides if order == "scales" else None,  # type: ignore[union-attr]
    }
    length = math.prod(train.grids.shape[1:])
    model = Prior(2**train.bits, length, width, depth, heads, positions, shift, **options)  # type: ignore[arg-type]
    learning.from_tokens(name, model, train, held_out, decoder, weights, out, settings, resume)


@app.command()
@takes_settings(steps=3000, batch_size=256, learning_rate=1.5e-3)
def judge(
    name: Name,
    out: Out,
    width: Annotated[
        int, typer.Option(help="Channels of the first convolution; the features are four times as many.")
    ] = 16,
    shift: Annotated[int, typer.Option(help="By how many pixels a picture may move.")] = 2,
    source: Annotated[str, typer.Option("--data", help="digits or cifar10.")] = "digits",
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train a classifier that judges samples; of CIFAR-10 it sees mirror images too."""
    import torch

    from arlib import data
    from arlib.cli import learning
    from arlib.cli.common import SHAPES
    from arlib.judges import ClassificationLoss, Judge

    if source not in data.CLASSES:
        raise DataError(f"A judge learns classes: those of {' or '.join(data.CLASSES)}, not of {source}.")
    torch.manual_seed(settings.seed)
    model = Judge(SHAPES[source][2], SHAPES[source][0], len(data.CLASSES[source]), width)
    loss = ClassificationLoss(model, shift, flips=source == "cifar10")
    learning.from_classes(name, loss, source, out, settings, resume)
