"""A dial for the size of a file: the best picture in so many bytes (chapter 16).

The codec "fine" has a dial, "book" has none. To fit a picture into a budget, the dial is turned up as far as the budget
allows, found by halving, as sizes rise with it; `arlib.choice` then finds better tokens of that size; and the better of
the two codecs' pictures is taken.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

import arlib
from arlib import choice, codec, metrics, orders
from arlib.codec import Codec, CodecError
from arlib.container import HEADER

DIALLED, PLAIN = "fine", "book"
HALVINGS = 6  # of the dial's span, to find a setting
AHEAD = 0.5  # how far above it the choice of tokens begins
SPARE = 2  # bytes: for the coder's last byte, and for what floats and integers differ in


class Try(NamedTuple):
    """A file, and the mean squared error of its picture."""

    content: bytes
    error: float


@functools.cache
def load(name: str) -> Codec:
    """A shipped codec, loaded once, as many pictures are searched for with it."""
    return arlib.load_codec(name)


def compress(frame: torch.Tensor, max_bytes: int) -> bytes:
    """The best picture that fits: `(100, 150, 3) uint8` to a `.ptb` file of at most `max_bytes` bytes.

    Raises `CodecError` where no file is that small, and says how small one can be; otherwise as `Codec.compress` does.
    """
    (content,) = compress_batch(frame[None], max_bytes)
    if isinstance(content, CodecError):
        raise content
    return content


def compress_batch(frames: torch.Tensor, max_bytes: int) -> list[bytes | CodecError]:
    """`compress` for many pictures `(N, 100, 150, 3) uint8`; a `CodecError` in place of each file that cannot be."""
    results: list[bytes | CodecError] = []
    for some in frames.split(codec.BATCH):
        plain = load(PLAIN)
        tries = [*turned(load(DIALLED), some, max_bytes), tried(plain, some, plain.tokenizer.encode(some), None)]
        results += [best(each, max_bytes) for each in zip(*tries, strict=True)]
    return results


def best(tries: Sequence[Try], max_bytes: int) -> bytes | CodecError:
    """The file with the smallest error among those that fit, or what to say where none does."""
    fitting = [each for each in tries if len(each.content) <= max_bytes]
    if fitting:
        return min(fitting, key=lambda each: each.error).content
    smallest = min(len(each.content) for each in tries)
    return CodecError(f"This picture does not fit into {max_bytes} bytes: its smallest file has {smallest}.")


def turned(model: Codec, frames: torch.Tensor, max_bytes: int) -> list[list[Try]]:
    """Files of a codec with a dial for pictures `(N, H, W, C) uint8`: N as they come, and N of chosen tokens.

    The dial is turned up as far as the budget allows. From a little further up, tokens are then chosen that the budget
    allows as well.
    """
    low = highest(model, frames, max_bytes)
    further = (low + AHEAD).clamp(max=model.tokenizer.qualities - 1)
    labels = further.round().long()
    bits = 8 * (max_bytes - SPARE - HEADER.size) - math.log2(model.classes + 1)
    budget = torch.full((len(frames),), max(bits, 1.0))
    latent = model.tokenizer.latents(frames, further)
    chosen = choice.choose(model.prior, model.tokenizer, frames, latent, labels, budget)
    return [tried(model, frames, *tokens_at(model, frames, low)), tried(model, frames, chosen, labels)]


def tried(model: Codec, frames: torch.Tensor, grids: torch.Tensor, labels: torch.Tensor | None) -> list[Try]:
    """The file of each picture's tokens, and how far from the picture they are."""
    errors = metrics.mse(frames, model.tokenizer.decode(grids)).tolist()
    return [Try(*each) for each in zip(model.compress_tokens_batch(grids, labels), errors, strict=True)]


def highest(model: Codec, frames: torch.Tensor, max_bytes: int) -> torch.Tensor:
    """The highest settings `(N,)` of the dial at which files are estimated to fit; 0 where none is."""
    low, high = torch.zeros(len(frames)), torch.full((len(frames),), model.tokenizer.qualities - 1.0)
    settings = high
    for _ in range(HALVINGS):
        fits = sizes(model, *tokens_at(model, frames, settings)) <= max_bytes - SPARE
        low, high = torch.where(fits, settings, low), torch.where(fits, high, settings)
        settings = (low + high) / 2
    return low


def tokens_at(model: Codec, frames: torch.Tensor, settings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(N, *grid)` at settings `(N,)` of the dial, and their labels `(N,) int64`: the settings, rounded."""
    return model.tokenizer.encode(frames, settings), settings.round().long()


def sizes(model: Codec, grids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """About how many bytes files will have, `(N,)`: by the prior's floats, header and label included."""
    bits = metrics.bits(model.prior, orders.raster(grids), codec.BATCH, label=labels).sum(1)
    return HEADER.size + ((bits + math.log2(model.classes + 1)) / 8).ceil()
