"""`python -m arlib train …`: the models of the book, all trained by `arlib.training.fit`."""

import os
import re
from pathlib import Path
from typing import Annotated

import torch
import typer

import arlib
from arlib import checkpoints, data, judges, metrics, orders, training
from arlib.cli import cards, examples, moments
from arlib.cli.common import SHAPES, data_of, make_quantizer, numbers
from arlib.cli.report import accuracy, bits_of, judge_figures, prior_figures, tokenizer_figures
from arlib.judges import ClassificationLoss, Judge
from arlib.patches import check_divides
from arlib.rate import RateDistortionLoss
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.training import MOST_SEED, NextTokenLoss, ReconstructionLoss, Settings
from arlib.transformer import Prior

VALIDATED = 256  # how many held-out examples are measured on the way
FILE_ORDER = "shuffled 7"  # in which a prior of any order speaks files, and samples where nothing else is asked for

app = typer.Typer(help="Train a model; its folder can be watched with TensorBoard and resumed.")


def checked_name(name: str) -> str:
    """The name, if it can be a part of a file's; else `DataError`, before any work begins."""
    if not re.fullmatch(r"[\w.+-]{1,100}", name):
        raise data.DataError(
            f"--name {name!r} cannot be a part of a file's name: letters, digits, '.', '-' and '_' can."
        )
    return name


def checked_out(out: Path) -> Path:
    """The folder, if it can be made and written to; else `DataError`, before any work begins."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise data.DataError(f"{there} is a file. Name a folder.")
    if not os.access(there, os.W_OK):
        raise data.DataError(f"{there} cannot be written to. Name another folder.")
    return out


Name = Annotated[str, typer.Option(help="The name of the new model.", callback=checked_name)]
Out = Annotated[
    Path,
    typer.Option(help="The folder for curves, checkpoints, pictures and the trained weights.", callback=checked_out),
]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED)]
Size = Annotated[int, typer.Option(min=1)]
Depth = Annotated[int, typer.Option(min=0)]
Source = Annotated[
    str, typer.Option("--data", help="supertuxkart, digits or cifar10 (the train split), or a folder of images.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Precision = Annotated[str, typer.Option(help="32-true, or bf16-mixed for matrix products in bfloat16.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]
Devices = Annotated[int, typer.Option(help="How many processes share each batch.")]


@app.command()
def autoencoder(
    name: Name,
    out: Out,
    patch_size: Size = 5,
    latent_dim: Annotated[int, typer.Option(help="How many numbers stand for a patch.")] = 10,
    depth: Annotated[int, typer.Option(help="Residual blocks on each side; 0 is the linear code.", min=0)] = 1,
    width: Size = 64,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 2e-3,
    seed: Seed = 0,
    source: Source = "supertuxkart",
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train a patch auto-encoder: a tokenizer without a quantizer."""
    torch.manual_seed(seed)
    model = ImageTokenizer(patch_size, width, depth, latent_dim=latent_dim, channels=examples.channels_of(source))
    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    train_on_images("autoencoder", name, ReconstructionLoss(model), source, settings, out, resume)


@app.command()
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
    smoothness: Annotated[float, typer.Option(help="How strongly neighbouring patches attract each other.")] = 1e-3,
    refine: Annotated[int, typer.Option(help="Residual blocks on pixels, after the last patch is painted.", min=0)] = 0,
    prices: Annotated[
        str | None,
        typer.Option(help="The price of a bit a patch at each quality, falling: 8e-4,4e-4; in place of --smoothness."),
    ] = None,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: Seed = 0,
    source: Source = "supertuxkart",
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train an image tokenizer, by default with binary spherical quantization."""
    torch.manual_seed(seed)
    chosen = make_quantizer(quantizer, bits, codebooks, residual, latent_dim, scales, cut)
    paid = [] if prices is None else numbers(prices)
    channels = examples.channels_of(source)
    model = ImageTokenizer(patch_size, width, depth, chosen, channels=channels, refine=refine, qualities=len(paid))
    loss = RateDistortionLoss(model, paid) if paid else ReconstructionLoss(model, smoothness)
    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    train_on_images("tokenizer", name, loss, source, settings, out, resume)


@app.command()
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
    steps: int = 1000,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    seed: Seed = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train a causal prior on tokens."""
    train, held_out = examples.tokens(tokens, valid)
    weights = examples.weights_of(train, tokenizer)
    decoder = None if weights is None else arlib.load_tokenizer(str(weights))
    if order not in ("raster", "places", "random", "scales"):
        raise data.DataError(f"The order is raster, places, random or scales, not {order}.")
    if order == "places" and train.grids.dim() != 4:
        raise data.DataError("The order places is for tokens with several codebooks; these have one.")
    if order == "scales" and (decoder is None or not isinstance(decoder.quantizer, Pyramid)):
        raise data.DataError("The order scales needs the tokens of a pyramid, and --tokenizer to know its scales.")
    if classes and train.labels is None:
        raise data.DataError(
            "Some of these tokens have no labels. Write them with 'tokenize --data digits' or cifar10."
        )
    labels = train.labels if classes else None

    torch.manual_seed(seed)
    shape = tuple(train.grids.shape[1:])
    options = {
        "classes": 0 if labels is None else int(labels.max()) + 1,
        "any_order": order == "random",
        "codebooks": train.grids.shape[-1] if order == "places" else 1,
        "scales": decoder.quantizer.sides if order == "scales" else None,  # type: ignore[union-attr]
    }
    length = train.grids[0].numel()
    model = Prior(2**train.bits, length, width, depth, heads, positions, shift, **options)  # type: ignore[arg-type]

    def validate() -> dict[str, float]:
        assert held_out is not None
        few = slice(None, None, max(1, len(held_out.grids) // VALIDATED))
        labels = None if held_out.labels is None else held_out.labels[few]
        return {"valid bits per token": bits_of(model, held_out.grids[few], labels).mean().item()}

    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    sequences = orders.raster(train.grids).to(torch.int32)
    learned = sequences if labels is None else (sequences, labels)
    follow = None if held_out is None else validate
    keep = None if decoder is None else moments.samples(out, model, decoder, shape)
    seconds = training.fit(NextTokenLoss(model), learned, settings, out, follow, resume, keep)
    extra = {"tokenizer": f"sha256:{train.tokenizer}", "grid": "×".join(map(str, shape))}
    extra |= {"order": FILE_ORDER} if order == "random" else {}
    path = cards.save(out, "prior", name, model, **extra)
    figures = {} if held_out is None else prior_figures(arlib.load_prior(str(path)), held_out.grids, held_out.labels)
    source = None if weights is None else data_of(str(weights))
    cards.write(path, model, seconds, settings, figures, "the data sets of tokens that the command names", source)


@app.command()
def judge(
    name: Name,
    out: Out,
    width: Annotated[
        int, typer.Option(help="Channels of the first convolution; the features are four times as many.")
    ] = 16,
    shift: Annotated[int, typer.Option(help="By how many pixels a picture may move.")] = 2,
    steps: int = 3000,
    batch_size: int = 256,
    learning_rate: float = 1.5e-3,
    seed: Seed = 0,
    source: Annotated[str, typer.Option("--data", help="digits or cifar10.")] = "digits",
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train a classifier that judges samples; of CIFAR-10 it sees mirror images too."""
    if source not in data.CLASSES:
        raise data.DataError(f"A judge learns classes: those of {' or '.join(data.CLASSES)}, not of {source}.")
    torch.manual_seed(seed)
    model = Judge(SHAPES[source][2], SHAPES[source][0], len(data.CLASSES[source]), width)
    loss = ClassificationLoss(model, shift, flips=source == "cifar10")
    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    held_out, truth = data.load(source, "valid")[: 2 * VALIDATED], data.labels(source, "valid")[: 2 * VALIDATED]

    def validate() -> dict[str, float]:
        return {"valid accuracy": accuracy(model, held_out, truth)}

    pictures = (data.load(source, "train"), data.labels(source, "train"))
    seconds = training.fit(loss, pictures, settings, out, validate, resume)
    path = cards.save(out, "judge", name, model, data=source)
    figures = judge_figures(judges.load(str(path)), source)
    cards.write(path, model, seconds, settings, figures, cards.LEARNED_FROM[source], source)


def train_on_images(
    kind: str,
    name: str,
    loss: ReconstructionLoss | RateDistortionLoss,
    source: str,
    settings: Settings,
    out: Path,
    resume: bool,
) -> None:
    """Train on the pictures of `source`; follow the error on held-out ones."""
    images, held_out = examples.pictures(source)
    check_divides(images.shape[1], images.shape[2], loss.model.patch_size)
    few = held_out[:: max(1, len(held_out) // VALIDATED)] if source in cards.LICENCES else held_out[::8]

    def validate() -> dict[str, float]:
        if isinstance(loss, RateDistortionLoss):
            return loss.validate(few[::8])
        return {"valid mean squared error": metrics.mse(few, loss.model.reconstruct(few)).mean().item()}

    keep = moments.reconstructions(out, loss.model, few)
    seconds = training.fit(loss, images, settings, out, validate, resume, keep)
    known = source in SHAPES
    extra = {"data": source} if known and source != "supertuxkart" else {}
    path = cards.save(out, kind, name, loss.model, **extra)
    stored = checkpoints.load(kind, str(path), ImageTokenizer.from_config)
    learned_from = cards.LEARNED_FROM[source] if known else "pictures of one's own"
    cards.write(path, loss.model, seconds, settings, tokenizer_figures(stored, held_out), learned_from, source)
