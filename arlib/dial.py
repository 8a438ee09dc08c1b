"""A dial for the size of a file: the best picture in so many bytes (chapter 16).

The codec "fine" has a dial. To fit a picture into a budget, the dial is turned up as far as the budget allows, found by
halving, as sizes rise with it; from a little further up, `arlib.choice` then finds better tokens of the right size.
"""

import functools
import math

import torch

import arlib
from arlib import choice, codec, metrics, orders, realism
from arlib.codec import Codec, CodecError
from arlib.container import HEADER
from arlib.tokenizer import to_float, to_uint8

PLAIN, DIALLED = "book", "fine"
HALVINGS = 5  # of the dial's span, to find a setting
AHEAD = 0.5  # how far above it the choice of tokens begins
BACK = 0.3  # and how far below it the picture is taken where no choice fits
BLURS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)  # pixels: what is blurred first has fewer bits
PRICES = (1.2e-3, 0.6)  # of a bit a patch in the choice, at setting 0, and how it falls from each to the next
BYTES_A_ROUND = 40  # of the budget: a large file has more to choose
SPARE = 3  # bytes: for the coder's last one, and for what floats and integers differ in


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
    if max_bytes <= HEADER.size:  # said at once: to find out how small a file could be takes a while
        reason = f"This picture does not fit into {max_bytes} bytes: the header of a file alone has {HEADER.size}."
        return [CodecError(reason)] * len(frames)
    model, results = load(DIALLED), []
    for some in frames.split(codec.BATCH):
        with choice.quick():
            low = highest(model, some, max_bytes)
            grids, labels = chosen_from(model, some, low, max_bytes)
        files = model.compress_tokens_batch(grids, labels)
        for number, content in enumerate(files):
            if len(content) > max_bytes:
                files[number] = simpler(model, some[number], low[number], max_bytes)
        results += files
    return [content if len(content) <= max_bytes else refusal(max_bytes, len(content)) for content in results]


def refusal(max_bytes: int, smallest: int) -> CodecError:
    return CodecError(f"This picture does not fit into {max_bytes} bytes: its smallest file has {smallest}.")


def simpler(model: Codec, frame: torch.Tensor, low: torch.Tensor, max_bytes: int) -> bytes:
    """The file of a picture that does not fit as it is: blurred more and more until it does; else the most blurred."""
    content = b""
    for sigma in BLURS:
        setting = (low - BACK).clamp(min=0)[None] if sigma == 0 else torch.zeros(1)
        labels, image = setting.round().long(), blurred(frame[None], sigma)
        with choice.quick():
            latent = model.tokenizer.latents(image, setting)
            grid = model.tokenizer.quantizer.encode(latent)  # type: ignore[union-attr]
            fits = sizes(model, grid, labels).item() <= max_bytes - SPARE
            if fits:
                grid = chosen(model, frame[None], latent, labels, setting, max_bytes)
        if fits or sigma == BLURS[-1]:
            (content,) = model.compress_tokens_batch(grid, labels)
            if len(content) <= max_bytes:
                break
    return content


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Pictures `(N, H, W, 3) uint8` through a Gaussian filter of `sigma` pixels; 0 leaves them as they are."""
    if sigma == 0:
        return images
    return to_uint8(realism.blur(to_float(images).permute(0, 3, 1, 2), sigma).permute(0, 2, 3, 1))


def highest(model: Codec, frames: torch.Tensor, max_bytes: int) -> torch.Tensor:
    """The highest settings `(N,)` of the dial at which files are estimated to fit; 0 where none is."""
    low = torch.zeros(len(frames), dtype=torch.float32)
    high = torch.full_like(low, model.tokenizer.qualities - 1.0)
    settings = high
    for _ in range(HALVINGS + 1):
        fits = sizes(model, *tokens_at(model, frames, settings)) <= max_bytes - SPARE
        low, high = torch.where(fits, settings, low), torch.where(fits, high, settings)
        settings = (low + high) / 2
    return low


def chosen_from(
    model: Codec, frames: torch.Tensor, low: torch.Tensor, max_bytes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens for a budget, and their labels `(N,) int64`: chosen from a little above the settings `low (N,)`.

    Where the choice has found nothing better, they are those of the settings themselves.
    """
    settings = (low + AHEAD).clamp(max=model.tokenizer.qualities - 1)
    labels = settings.round().long()
    grids = chosen(model, frames, model.tokenizer.latents(frames, settings), labels, settings, max_bytes)
    plain, plain_labels = tokens_at(model, frames, low)
    errors = [metrics.mse(frames, model.tokenizer.decode(each)) for each in (plain, grids)]
    worse = (errors[0] < errors[1]) & (low > 0)  # at 0 it may be too large
    return torch.where(worse.view(-1, 1, 1, 1), plain, grids), torch.where(worse, plain_labels, labels)


def chosen(
    model: Codec,
    frames: torch.Tensor,
    latent: torch.Tensor,
    labels: torch.Tensor,
    settings: torch.Tensor,
    max_bytes: int,
) -> torch.Tensor:
    """Tokens `(N, *grid)` for a budget in bytes, chosen from latents at about these settings of the dial."""
    bits = 8 * (max_bytes - SPARE - HEADER.size) - math.log2(model.classes + 1)
    budget = torch.full((len(frames),), max(bits, 1.0))
    price = PRICES[0] * PRICES[1] ** settings
    rounds = min(max(max_bytes // BYTES_A_ROUND, 8), 32)
    return choice.choose(model.prior, model.tokenizer, frames, latent, labels, budget, price, rounds)


def tokens_at(model: Codec, frames: torch.Tensor, settings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(N, *grid)` at settings `(N,)` of the dial, and their labels `(N,) int64`: the settings, rounded."""
    return model.tokenizer.encode(frames, settings), settings.round().long()


def sizes(model: Codec, grids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """About how many bytes files will have, `(N,)`: by the prior's floats, header and label included."""
    bits = metrics.bits(model.prior, orders.raster(grids), codec.BATCH, label=labels).sum(1)
    return HEADER.size + ((bits + math.log2(model.classes + 1)) / 8).ceil()
