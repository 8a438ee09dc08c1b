"""What options stand for: data sets with the sizes of their pictures, classes by their names, quantizers."""

from collections.abc import Sequence
from pathlib import Path

import torch

from arlib import checkpoints, data
from arlib.cli.options import parse_size
from arlib.patches import check_divides
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer, Quantizer
from arlib.transformer import Prior

MOST_GUIDANCE = 100
SHAPES = {"supertuxkart": (data.HEIGHT, data.WIDTH, 3), "digits": (28, 28, 1), "cifar10": (32, 32, 3)}


def data_of(tokenizer: str) -> str:
    """The data set whose pictures a tokenizer has learned, from its weights header.

    Where that names none, the first set whose pictures have its number of channels and are tiled by its patches: frames
    for the tokenizers that have learned a folder, which is read in their size.
    """
    header = checkpoints.read_header(checkpoints.find("tokenizer", tokenizer))
    patch_size, channels = header["config"]["patch_size"], header["config"].get("channels", 3)
    fitting = (
        name
        for name, (height, width, colors) in SHAPES.items()
        if colors == channels and not height % patch_size and not width % patch_size
    )
    return header["data"] if header.get("data") in SHAPES else next(fitting, "supertuxkart")


def shape_of(tokenizer: str) -> tuple[int, int, int]:
    """Height, width and channels of the pictures that a tokenizer has learned, from its weights header.

    Raises `CheckpointError` where the header names a size that is none, or that patches do not tile.
    """
    path = checkpoints.find("tokenizer", tokenizer)
    header = checkpoints.read_header(path)
    if "size" not in header:
        return SHAPES[data_of(tokenizer)]
    try:
        height, width = parse_size(str(header["size"]))
        check_divides(height, width, header["config"]["patch_size"])
    except ValueError as error:
        raise checkpoints.CheckpointError(f"The size in the header of {path} is wrong: {error}") from None
    return height, width, header["config"].get("channels", 3)


def read_picture(path: Path, tokenizer: str, fit: bool) -> torch.Tensor:
    """A picture as a tokenizer knows them: `(H, W, C) uint8`. Raises `DataError` as `data.read_image` does."""
    height, width, channels = shape_of(tokenizer)
    return data.read_image(path, height, width, fit, channels)


def check_fits(model: ImageTokenizer, name: str) -> None:
    """Raise `DataError` unless a tokenizer takes pictures like those of a data set; said before any is loaded."""
    height, width, channels = SHAPES[name]
    if channels != model.channels or height % model.patch_size or width % model.patch_size:
        kinds = {1: "gray", 3: "color"}
        raise data.DataError(
            f"The pictures of {name} are {kinds[channels]}, {height}×{width} pixels; this tokenizer takes "
            f"{kinds[model.channels]} ones in patches of {model.patch_size}×{model.patch_size}. Name another --data."
        )


def check_spoken(model: Prior, guidance: float, at_once: int) -> None:
    """Raise `ValueError` for a guidance that is no number to compute with, and where --at-once would do nothing."""
    if not abs(guidance) <= MOST_GUIDANCE:
        raise ValueError(f"--guidance lies between -{MOST_GUIDANCE} and {MOST_GUIDANCE}, not at {guidance}.")
    if at_once > 1 and model.scales is not None:
        raise ValueError("This prior draws all tokens of a scale at once: leave --at-once out.")


def counted(count: int, thing: str) -> str:
    """ "1 file", "2,000 files"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def check_out(out: Path, force: bool) -> None:
    """Raise `DataError` where a file cannot be written, as there is no folder for it, or where it is there already."""
    if not out.parent.is_dir():
        raise data.DataError(f"{out} cannot be written: there is no folder {out.parent}.")
    check_unwritten([out], force)


def check_unwritten(paths: Sequence[Path], force: bool) -> None:
    """Raise `DataError` where a file that would be written is there, as it may be an original; with `force` never."""
    there = [path for path in paths if path.exists()]
    if there and not force:
        others = f" and {counted(len(there) - 1, 'other file')}" if len(there) > 1 else ""
        raise data.DataError(
            f"{there[0]}{others} would be replaced. Name another place, or replace what is there: --force."
        )


def label_number(label: str | None, classes: int, name: str) -> int | None:
    """The number of a class that a user calls by name or number; `name` is the data set.

    Raises `DataError` for a class that is not among them, and for any where the model knows none.
    """
    if label is None:
        return None
    if not classes:
        raise data.DataError("This prior has learned no classes: leave --label out.")
    names = data.CLASSES.get(name, ())
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < classes:
        return int(label)
    raise data.DataError(f"There is no class {label!r}; there are {', '.join(names) or f'0 to {classes - 1}'}.")


def numbers(text: str) -> list[float]:
    """ "8e-4,4e-4" as numbers; raises `DataError` where one is none."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise data.DataError(f"{text!r} is not a list of numbers with commas between them, like 8e-4,4e-4.") from None


def class_name(label: int, name: str) -> str:
    """What a data set calls its class of that number, or the number where it has no name."""
    names = data.CLASSES.get(name, ())
    return names[label] if label < len(names) else str(label)


def make_quantizer(
    name: str, bits: int, codebooks: int, residual: bool, latent_dim: int, scales: str | None, cut: float
) -> Quantizer:
    """The quantizer that the options describe; raises `ValueError` for options that do not go together."""
    if name not in ("bsq", "vq"):
        raise ValueError(f"The quantizer is bsq or vq, not {name}.")
    if not 1 <= bits <= 18 or codebooks < 1 or latent_dim < 1:
        raise ValueError("A token has 1 to 18 bits, and there is at least one codebook of vectors of one number.")

    def one(numbers: int) -> BSQ | VQ:
        return BSQ(bits) if name == "bsq" else VQ(2**bits, numbers)

    if scales is not None:
        if name != "vq" or codebooks > 1 or not all(side.isdecimal() for side in scales.split(",")):
            raise ValueError("--scales names sides like 1,2,4, and goes with --quantizer vq and one codebook.")
        if not 0 <= cut <= 1:
            raise ValueError(f"--cut is a share of the pictures, between 0 and 1, not {cut}.")
        return Pyramid(VQ(2**bits, latent_dim), [int(side) for side in scales.split(",")], cut)
    if codebooks == 1:
        return one(latent_dim)
    if residual:
        return Residual([one(latent_dim) for _ in range(codebooks)])
    if name == "vq" and latent_dim % codebooks:
        raise ValueError(f"{codebooks} codebooks cannot share {latent_dim} numbers equally.")
    return Product([one(latent_dim // codebooks) for _ in range(codebooks)])
