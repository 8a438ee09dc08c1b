"""A dial for the size of a file: the best picture in so many bytes (chapter 16).

The codec "fine" has a dial, "book" has none. To fit a picture into a budget, the dial is turned up as far as the budget
allows, found by halving, as sizes rise with it; `arlib.choice` then finds better tokens of that size; and the better of
the two codecs' pictures is taken.
"""

import functools
import math

import torch

import arlib
from arlib import choice, codec, metrics, orders
from arlib.codec import Codec, CodecError
from arlib.container import HEADER

DIALLED, PLAIN = "fine", "book"
HALVINGS = 6  # of the dial's span, to find a setting
AHEAD = 0.5  # how far above it the choice of tokens begins
SPARE = 2  # bytes: for the coder's last byte, and for what floats and integers differ in


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
        choices = zip(turned(load(DIALLED), some, max_bytes), load(PLAIN).compress_batch(some), strict=True)
        for frame, files in zip(some, choices, strict=True):
            fitting = [content for content in files if len(content) <= max_bytes]
            smallest = min(map(len, files))
            results.append(
                max(fitting, key=functools.partial(closeness, frame))
                if fitting
                else CodecError(f"This picture does not fit into {max_bytes} bytes: its smallest file has {smallest}.")
            )
    return results


def closeness(frame: torch.Tensor, content: bytes) -> float:
    """PSNR in dB of what a shipped codec's file decodes to."""
    return metrics.psnr(frame[None], load(codec.find(content)).decompress(content)[None]).item()


def turned(model: Codec, frames: torch.Tensor, max_bytes: int) -> list[bytes]:
    """Pictures `(N, H, W, C) uint8` to files of a codec with a dial, each the best found in at most `max_bytes`.

    The dial is turned up as far as the budget allows. From a little further up, tokens are then chosen that the budget
    allows as well. Where nothing fits, it is the smallest file found.
    """
    low = highest(model, frames, max_bytes)
    plain, chosen = tokens_at(model, frames, low), chosen_at(model, frames, low, max_bytes)
    files = zip(model.compress_tokens_batch(*plain), model.compress_tokens_batch(*chosen), strict=True)
    errors = torch.stack([metrics.mse(frames, model.tokenizer.decode(grids)) for grids, _ in (plain, chosen)], 1)
    best = []
    for pair, error in zip(files, errors.tolist(), strict=True):
        fitting = [number for number in (0, 1) if len(pair[number]) <= max_bytes]
        best.append(pair[min(fitting, key=error.__getitem__)] if fitting else min(pair, key=len))
    return best


def highest(model: Codec, frames: torch.Tensor, max_bytes: int) -> torch.Tensor:
    """The highest settings `(N,)` of the dial at which files are estimated to fit; 0 where none is."""
    low, high = torch.zeros(len(frames)), torch.full((len(frames),), model.tokenizer.qualities - 1.0)
    settings = high
    for _ in range(HALVINGS):
        fits = sizes(model, *tokens_at(model, frames, settings)) <= max_bytes - SPARE
        low, high = torch.where(fits, settings, low), torch.where(fits, high, settings)
        settings = (low + high) / 2
    return low


def chosen_at(
    model: Codec, frames: torch.Tensor, low: torch.Tensor, max_bytes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens chosen by rate and distortion, from a little above the settings `low`, and their labels."""
    settings = (low + AHEAD).clamp(max=model.tokenizer.qualities - 1)
    labels = settings.round().long()
    bits = 8 * (max_bytes - SPARE - HEADER.size) - math.log2(model.classes + 1)
    budget = torch.full((len(frames),), max(bits, 1.0))
    latent = model.tokenizer.latents(frames, settings)
    return choice.choose(model.prior, model.tokenizer, frames, latent, labels, budget), labels


def tokens_at(model: Codec, frames: torch.Tensor, settings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(N, *grid)` at settings `(N,)` of the dial, and their labels `(N,) int64`: the settings, rounded."""
    return model.tokenizer.encode(frames, settings), settings.round().long()


def sizes(model: Codec, grids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """About how many bytes files will have, `(N,)`: by the prior's floats, header and label included."""
    bits = metrics.bits(model.prior, orders.raster(grids), codec.BATCH, label=labels).sum(1)
    return HEADER.size + ((bits + math.log2(model.classes + 1)) / 8).ceil()
