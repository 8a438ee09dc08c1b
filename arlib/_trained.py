"""Trained models by their names, and pictures to files and back by the shipped ones: functions of `arlib` itself."""

import torch

from arlib import checkpoints, codec, dial, judges, sharp
from arlib.codec import Codec
from arlib.judges import Judge
from arlib.sharp import SharpDecoder
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior


def load_tokenizer(name: str = "book") -> ImageTokenizer:
    """A trained image tokenizer by its permanent name, its hash, or the path of its file (see `checkpoints.load`)."""
    return checkpoints.load("tokenizer", name, ImageTokenizer.from_config)


def load_autoencoder(name: str) -> ImageTokenizer:
    """A trained patch auto-encoder, which is a tokenizer without a quantizer: "linear-5", "conv-25", …"""
    return checkpoints.load("autoencoder", name, ImageTokenizer.from_config)


def load_prior(name: str = "book") -> Prior:
    """A trained prior by its permanent name, its hash, or the path of its file (see `checkpoints.load`)."""
    return checkpoints.load("prior", name, Prior.from_config)


def load_decoder(name: str = "book-adversarial", tokenizer: str | None = None) -> SharpDecoder:
    """A sharp decoder by its permanent name ("book-adversarial", "book-statistics"), its hash or its file.

    It comes with the tokenizer whose tokens it decodes. Raises `CheckpointError` where `tokenizer`, by name, hash or
    path, is another.
    """
    return sharp.load(name, tokenizer)


def load_judge(name: str = "digits") -> Judge:
    """A trained judge of pictures by its permanent name ("digits", "cifar10"), its hash, or the path of its file."""
    return judges.load(name)


def load_pipeline(name: str = "book", tokenizer: str | None = None) -> tuple[Prior, ImageTokenizer, tuple[int, ...]]:
    """A prior, the very tokenizer whose tokens it has learned, and the shape of a picture's tokens.

    The shape is `(h, w)`, `(h, w, c)` for c codebooks, or `(T,)` for a pyramid.

    A tokenizer that is not among the shipped ones has to be named. Raises `CheckpointError` where there is none, or
    where the one named is not the prior's.
    """
    prior = load_prior(name)  # first, as it says of another kind of model that it is none
    header = checkpoints.read_header(checkpoints.find("prior", name))
    grid = checkpoints.parse_grid(header["grid"])
    weights = checkpoints.find("tokenizer", tokenizer or header["tokenizer"])
    if not f"sha256:{checkpoints.sha256(weights)}".startswith(header["tokenizer"]):
        raise checkpoints.CheckpointError(
            f"The prior {name} has learned the tokens of another tokenizer than {weights}."
        )
    return prior, load_tokenizer(str(weights)), grid


def load_codec(name: str = "book", tokenizer: str | None = None) -> Codec:
    """The codec of a trained prior, by the prior's name, hash or path, and its tokenizer (see `load_pipeline`).

    It codes in the order that the prior's weights file names ("order"), or else in raster order. Raises what
    `load_pipeline` and `Codec` raise.
    """
    prior, decoder, grid = load_pipeline(name, tokenizer)
    header = checkpoints.read_header(checkpoints.find("prior", name))
    weights = checkpoints.find("tokenizer", tokenizer or header["tokenizer"])
    order = codec.named_order(header["order"], prior.length) if "order" in header else None
    return Codec(prior, decoder, checkpoints.sha256(weights), grid, order)


def compress(frame: torch.Tensor, max_bytes: int | None = None, quality: int | None = None) -> bytes:
    """A frame `(100, 150, 3) uint8` to the bytes of a `.ptb` file: by `book`, or by a codec with a dial.

    `max_bytes` asks for the best picture in a file of at most that many bytes, `quality` for a setting of the dial, 0
    to 7. Raises `codec.CodecError` where no file is that small, or the picture has another size, and `ValueError` for
    both at once, a quality that the dial does not have, or a picture of another dtype.
    """
    if max_bytes is not None and quality is not None:
        raise ValueError("Give max_bytes or quality, not both.")
    if max_bytes is not None:
        return dial.compress(frame, max_bytes)
    return dial.load(dial.PLAIN if quality is None else dial.DIALLED).compress(frame, quality)


def decompress(data: bytes) -> torch.Tensor:
    """The bytes of a `.ptb` file to its picture, `(H, W, C) uint8`, by the shipped model that the file names.

    Raises `codec.CodecError` as `codec.find` and `Codec.decompress` do.
    """
    return load_codec(codec.find(data)).decompress(data)
