"""Choosing tokens by what they cost and what they do to the picture, in the encoder alone (chapter 16).

An encoder's net gives each patch the token that it was taught to give. But which token is best depends on the whole
picture: the decoder lets neighbors mend what one token leaves wrong, and the prior makes some tokens dear and others
almost free. So the signs of all patches are moved together: each round asks the decoder in which direction the error
falls (its gradient), and the prior what each sign's other value would cost, and every sign that has been pressed hard
enough flips. Nothing is trained, and the decoder need not know: it reads tokens as before.

Sources: J. Campos et al., "Content adaptive optimization for neural image compression" (2019, arXiv 1906.01223) for the
search per picture; P. Chou, T. Lookabaugh and R. Gray (1989) for the price of a bit in the choice of a code.
"""

import math

import torch
import torch.nn.functional as F

from arlib import orders
from arlib.quantizers import BSQ, Product
from arlib.tokenizer import ImageTokenizer, to_float
from arlib.transformer import Prior

ROUNDS = 12
PACE = 0.1  # how far the average sign is moved in the first round, signs being ±1; the last round moves none
TURNS_ABOVE = 20  # rounds: in a longer search, neighbors take turns
GRIP = 2.0  # how strongly the price of a bit follows a file that is too large or too small


def quick() -> torch.autocast:
    """A context in which nets compute in bfloat16, if the processor does that fast: a search can do with it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16")))


def choose(
    prior: Prior,
    tokenizer: ImageTokenizer,
    images: torch.Tensor,
    latent: torch.Tensor,
    labels: torch.Tensor | None,
    budget: torch.Tensor,
    price: torch.Tensor,
    rounds: int = ROUNDS,
) -> torch.Tensor:
    """Tokens `(N, h, w, c)` of at most `budget (N,)` bits that make better pictures than those of the latents.

    `images (N, H, W, C) uint8` are the pictures, `latent (N, h, w, bits)` what the encoder says of them. A bit a patch
    is worth `price (N,)` at first, in mean squared error; that follows the budget. Where no round stays within it, the
    tokens of the smallest are returned. Raises `ValueError` for a tokenizer whose codes are not signs.
    """
    pixels, parts = to_float(images), sign_parts(tokenizer)
    near = torch.cat([F.normalize(part, dim=-1) * part.shape[-1] ** 0.5 for part in latent.split(parts, -1)], -1)
    best, best_error = None, torch.full((len(images),), math.inf)
    fewest = torch.full((len(images),), math.inf)
    places = near.shape[1] * near.shape[2]
    for number in range(rounds):
        signs = torch.where(near >= 0, 1.0, -1.0).float()
        tokens = tokenizer.quantizer.encode(signs)  # type: ignore[union-attr]
        error, slope = error_slope(tokenizer, pixels, signs)
        bits, dearer = flip_costs(prior, tokens, labels, parts)
        fits = bits <= budget
        better = torch.where(fits, error < best_error, (best_error == math.inf) & (bits < fewest))
        fewest = torch.minimum(fewest, bits)
        best_error = torch.where(fits & better, error, best_error)
        best = tokens if best is None else torch.where(better.view(-1, *[1] * (tokens.dim() - 1)), tokens, best)
        price = price * (GRIP * (bits / budget - 1)).clamp(-1, 1).exp()
        # A sign's derivative of the rate: half of what flipping it would cost, away from where it is.
        pressure = slope - price[:, None, None, None] / places * dearer * signs / 2
        pressure = pressure / pressure.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-30)
        if rounds > TURNS_ABOVE:
            pressure = pressure * turn(number, pressure.shape)
        near = near - PACE * (1 - number / rounds) * pressure
    assert best is not None
    return best


def turn(number: int, shape: torch.Size) -> torch.Tensor:
    """Which signs of latents of this shape `(N, h, w, bits)` may move in a round: half of them, 0 or 1, `(h, w, bits)`.

    It is a checkerboard, and the next round has the other half, so two neighbors never mend the same fault at once.
    That also halves the speed: a search of few rounds is better without it (log/2026-11-half-a-kilobyte.md).
    """
    row, column, bit = torch.meshgrid(*(torch.arange(length) for length in shape[1:]), indexing="ij")
    return ((row + column + bit + number) % 2 == 0).float()


def sign_parts(tokenizer: ImageTokenizer) -> list[int]:
    """How many signs each of a patch's codes has; raises `ValueError` for codes that are none."""
    quantizer = tokenizer.quantizer
    parts = quantizer.each if isinstance(quantizer, Product) else [quantizer]
    if not all(isinstance(part, BSQ) for part in parts):
        raise ValueError("Only codes of signs, those of BSQ, can be moved sign by sign.")
    return [part.latent_dim for part in parts]  # type: ignore[union-attr]


def error_slope(
    tokenizer: ImageTokenizer, pixels: torch.Tensor, signs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of each picture `(N,)`, and its derivative by each sign `(N, h, w, bits)`."""
    corner = torch.cat([torch.full((part,), part**-0.5) for part in sign_parts(tokenizer)]).to(pixels)  # of its sphere
    signs = signs.clone().requires_grad_()
    with torch.enable_grad():
        error = (tokenizer.paint(signs * corner) - pixels).square().mean(dim=(1, 2, 3))
        (slope,) = torch.autograd.grad(error.sum(), signs)
    return error.detach(), slope


@torch.no_grad()
def flip_costs(
    prior: Prior, tokens: torch.Tensor, labels: torch.Tensor | None, parts: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bits of each picture's tokens `(N,)`, and how many more each sign's flip would cost, `(N, h, w, bits)`.

    Only the flipped token's own bits are counted; what it changes for those after it is seen in the next round.
    """
    sequences = orders.raster(tokens)
    shares = prior(sequences, label=labels).float().log_softmax(-1) / math.log(2)
    own = shares.gather(-1, sequences[..., None])
    flips = sequences[..., None] ^ (1 << torch.arange(parts[0]))  # codes of one vocabulary have as many signs each
    dearer = own - shares.gather(-1, flips)
    return -own.sum((1, 2)), dearer.view(*tokens.shape[:3], -1)
