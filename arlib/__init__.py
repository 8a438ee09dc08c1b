"""The library of *Pixels, Tokens, Bytes*: pictures become tokens, a transformer learns them, and they become bytes."""

from arlib import (
    causality,
    checkpoints,
    data,
    metrics,
    orders,
    patches,
    quantizers,
    sampling,
    tokenizer,
    tokenset,
    transformer,
)
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


def load_pipeline(name: str = "book") -> tuple[Prior, ImageTokenizer, tuple[int, int]]:
    """A prior, the very tokenizer whose tokens it has learned, and the grid's height and width in tokens."""
    header = checkpoints.read_header(checkpoints.find("prior", name))
    height, width = header["grid"].split("×")
    return load_prior(name), load_tokenizer(header["tokenizer"]), (int(height), int(width))


__all__ = [
    "ImageTokenizer",
    "Prior",
    "causality",
    "checkpoints",
    "data",
    "load_autoencoder",
    "load_pipeline",
    "load_prior",
    "load_tokenizer",
    "metrics",
    "orders",
    "patches",
    "quantizers",
    "sampling",
    "tokenizer",
    "tokenset",
    "transformer",
]
