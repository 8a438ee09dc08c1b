"""Sampling: new sequences of tokens from a prior, one token at a time (chapter 8).

Each token is drawn by turning a uniform random number into a symbol, the way an arithmetic decoder turns bits into one:
the number falls into the interval that the symbol's probability owns.
"""

from typing import Any, Protocol

import torch


class SteppingPrior(Protocol):
    """What sampling needs of a prior: its sizes, and steps with a cache, as `arlib.Prior` has them."""

    vocabulary: int
    length: int

    def new_cache(self, batch_size: int) -> Any: ...

    def step(self, token: torch.Tensor | None, cache: Any) -> torch.Tensor: ...


def probabilities(
    logits: torch.Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> torch.Tensor:
    """The distribution to draw from: logits `(..., V)` to probabilities `(..., V) float64`.

    First the temperature divides the logits; then `top_k` keeps the k most probable tokens (Fan et al. 2018), and more
    only where the k-th ties with others; then `top_p` keeps the fewest most probable tokens whose probabilities reach p
    together (nucleus sampling, Holtzman et al. 2020). What is dropped gets 0, the rest is scaled up to a sum of 1.
    Raises `ValueError` for a temperature that is not above 0, a top_k below 1 or a top_p outside (0, 1].
    """
    check_settings(temperature, top_k, top_p)
    shares = (logits.double() / temperature).softmax(dim=-1)
    if top_k is not None and top_k < shares.shape[-1]:
        least = shares.topk(top_k, dim=-1).values[..., -1:]
        shares = torch.where(shares < least, 0.0, shares)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    if top_p is not None and top_p < 1:  # at 1 all are kept, those too that rounding would leave beyond a sum of 1
        ordered, places = shares.sort(dim=-1, descending=True, stable=True)
        # A token stays where those before it have not reached p yet, so the most probable one always stays.
        before = ordered.cumsum(dim=-1) - ordered
        ordered = torch.where(before < top_p, ordered, 0.0)
        shares = torch.zeros_like(shares).scatter(-1, places, ordered)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return shares


def draw(shares: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token whose interval the number falls into: probabilities `(B, V)`, numbers `(B,)` in [0, 1), to `(B,)`."""
    upper_ends = shares.cumsum(dim=-1)
    places = uniform[:, None] * upper_ends[:, -1:]
    # right=True finds the first interval that ends above the number: a token of probability 0 is never drawn.
    return torch.searchsorted(upper_ends, places, right=True)[:, 0]


@torch.no_grad()
def generate(
    prior: SteppingPrior,
    count: int,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beginning: torch.Tensor | None = None,
    batch_size: int = 64,
) -> torch.Tensor:
    """Sample `count` sequences, `(count, length) int64`, with the KV cache, `batch_size` at a time.

    `beginning`, `(t,)` for all or `(count, t)` for each, is kept as it is and completed. The same seed gives the same
    sequences whatever the batch size, up to the last bits of float arithmetic. Raises `ValueError` for a count below 1,
    a beginning of the wrong shape or with foreign tokens, and settings as in `probabilities`.
    """
    check_settings(temperature, top_k, top_p)
    if count < 1:
        raise ValueError(f"The count of sequences is at least 1, not {count}.")
    start = check_beginning(beginning, count, prior)
    # float32 numbers end at 1 - 2^-24, so that their float64 products stay below the last interval's end.
    uniform = torch.rand(count, prior.length, generator=torch.Generator().manual_seed(seed)).double()
    batches = zip(start.split(batch_size), uniform.split(batch_size), strict=True)
    return torch.cat([continue_batch(prior, *batch, temperature, top_k, top_p) for batch in batches])


def continue_batch(
    prior: SteppingPrior,
    start: torch.Tensor,
    uniform: torch.Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> torch.Tensor:
    """Complete `start (B, t)` to `(B, length)`, drawing token i with the numbers `uniform[:, i]`."""
    tokens = torch.zeros(uniform.shape, dtype=torch.int64)
    given = start.shape[1]
    tokens[:, :given] = start
    cache = prior.new_cache(len(tokens))
    for position in range(prior.length):
        logits = prior.step(tokens[:, position - 1] if position else None, cache).cpu()
        if position >= given:
            tokens[:, position] = draw(probabilities(logits, temperature, top_k, top_p), uniform[:, position])
    return tokens


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise `ValueError` for settings that make no distribution."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"The temperature is a number above 0, not {temperature}. For the greedy choice use top_k=1.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is at least 1, not {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p lies above 0 and up to 1, not at {top_p}.")


def check_beginning(beginning: torch.Tensor | None, count: int, prior: SteppingPrior) -> torch.Tensor:
    """The beginning of every sequence, `(count, t) int64`; raises `ValueError` where it cannot be one."""
    if beginning is None:
        return torch.zeros((count, 0), dtype=torch.int64)
    if beginning.dim() == 1:
        beginning = beginning.expand(count, -1)
    if beginning.dim() != 2 or len(beginning) != count or beginning.shape[1] > prior.length:
        raise ValueError(
            f"A beginning for {count} sequences of {prior.length} tokens is (t,) or ({count}, t) with t at most "
            f"{prior.length}, not {tuple(beginning.shape)}."
        )
    if beginning.numel() and not 0 <= beginning.min() <= beginning.max() < prior.vocabulary:
        raise ValueError(f"Tokens lie in [0, {prior.vocabulary}); the beginning holds one that does not.")
    return beginning
