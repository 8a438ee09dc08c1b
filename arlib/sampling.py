"""Sampling: new sequences of tokens from a prior, one token at a time (chapter 8).

Each token is drawn by turning a uniform random number into a symbol, the way an arithmetic decoder turns bits into one:
the number falls into the interval that the symbol's probability owns.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from arlib import orders, scales


class SteppingPrior(Protocol):
    """What sampling needs of a prior: its sizes, and steps with a cache, as `arlib.Prior` has them."""

    vocabulary: int
    length: int

    def new_cache(self, *args: Any, **kwargs: Any) -> Any: ...

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


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): logits u + guidance · (c - u).

    In this convention 0 ignores the label, 1 is the prior with the label, unguided, and larger numbers exaggerate what
    the label changes. The paper's own w is this number less one, and libraries differ. It is no likelihood any more.
    """
    return unconditional + guidance * (conditional - unconditional)


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
    *,
    known: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
    label: int | torch.Tensor | None = None,
    guidance: float = 1.0,
    at_once: int = 1,
) -> torch.Tensor:
    """Sample `count` sequences, `(count, length) int64` by place, with the KV cache, `batch_size` at a time.

    The same seed gives the same sequences whatever the batch size, up to the last bits of float arithmetic.

    What is kept: `beginning`, `(t,)` for all or `(count, t)` for each, the first tokens; or `known`, `(T,)` or
    `(count, T)`, tokens by place with -1 where one is to be drawn. A prior of any order reads all that is known first,
    wherever it lies. A prior of one order meets it on its way: what it draws before that knows nothing of it.

    How it is spoken: `order`, `(T,)` or `(count, T)`, for a prior of any order (raster order without it); `label`, a
    class for all or `(count,)` of them, -1 for none; `guidance` as in `guide`; `at_once`, how many places a prior of
    any order draws in one pass, each without the others of that pass. A prior of scales draws each scale in one pass.

    Raises `ValueError` for a count below 1, kept tokens of the wrong shape or foreign ones, settings as in
    `probabilities`, and what the prior refuses: an order, a label, several places at once.
    """
    check_settings(temperature, top_k, top_p)
    if count < 1 or at_once < 1:
        raise ValueError(f"The count of sequences is at least 1, and so is at_once, not {min(count, at_once)}.")
    labels = torch.full((count,), label) if isinstance(label, int) else label
    if guidance != 1 and labels is None:
        raise ValueError("Guidance exaggerates what a label changes: name a label, or leave guidance at 1.")
    kept, order = check_kept(beginning, known, count, prior), None if order is None else order.expand(count, -1)
    if known is not None and getattr(prior, "config", {}).get("any_order"):
        order = orders.known_first(kept, torch.arange(prior.length).expand(count, -1) if order is None else order)
        kept = orders.arrange(kept, order)
    # float32 numbers end at 1 - 2^-24, so that their float64 products stay below the last interval's end.
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, prior.length, generator=generator, dtype=torch.float32).double()

    def drawn(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Logits `(B, n, V)` to tokens `(B, n)`, with numbers of that shape."""
        shares = probabilities(logits.flatten(0, 1), temperature, top_k, top_p)
        return draw(shares, numbers.flatten()).view(numbers.shape)

    parts = []
    for first in range(0, count, batch_size):
        batch = slice(first, first + batch_size)
        named = {"order": order, "label": labels}
        conditions = {name: value[batch] for name, value in named.items() if value is not None}
        if getattr(prior, "scales", None):
            parts.append(speak_scales(prior, kept[batch], uniform[batch], drawn, guidance, conditions))
        else:
            parts.append(speak(prior, kept[batch], uniform[batch], drawn, guidance, conditions, at_once))
    tokens = torch.cat(parts)
    return tokens if order is None else orders.restore(tokens, order)


def speak(
    prior: SteppingPrior,
    kept: torch.Tensor,
    uniform: torch.Tensor,
    drawn: Callable,
    guidance: float,
    conditions: dict,
    at_once: int,
) -> torch.Tensor:
    """Complete `kept (B, T)`, in reading order, -1 where a token is missing, drawing token t with `uniform[:, t]`."""
    tokens = kept.clamp(min=0)
    length, given = prior.length, int((kept >= 0).all(dim=0).long().cumprod(dim=0).sum())
    caches = [prior.new_cache(len(kept), **conditions)]
    if guidance != 1:
        caches.append(prior.new_cache(len(kept), **{name: conditions[name] for name in conditions if name != "label"}))

    def put(logits: list[torch.Tensor], first: int) -> None:
        """Draw the tokens from number `first` on, from logits `(B, n, V)` of each cache."""
        shares, *without_label = (each.cpu() for each in logits)
        places = slice(first, first + shares.shape[1])
        for unconditional in without_label:
            shares = guide(shares, unconditional, guidance)
        new = drawn(shares, uniform[:, places])
        tokens[:, places] = torch.where(kept[:, places] < 0, new, kept[:, places])

    if at_once == 1:
        for position in range(length):
            last = tokens[:, position - 1] if position else None
            logits = [prior.step(last, cache)[:, None] for cache in caches]
            if position >= given:
                put(logits, position)
        return tokens
    if given:
        for cache in caches:
            prior.ask(None, cache, 1)  # type: ignore[attr-defined]
    unread = tokens[:, :given] if given else None
    for position in range(given, length, at_once):
        count = min(at_once, length - position)
        put([prior.ask(unread, cache, count) for cache in caches], position)  # type: ignore[attr-defined]
        unread = tokens[:, position : position + count]
    return tokens


def speak_scales(
    prior, kept: torch.Tensor, uniform: torch.Tensor, drawn: Callable, guidance: float, conditions: dict
) -> torch.Tensor:
    """The same for a prior of scales: one pass of `forward` a scale, in which its tokens do not see each other."""
    tokens, first = kept.clamp(min=0), 0
    for end in scales.ends(prior.scales):
        logits = prior(tokens[:, :end], **conditions)[:, first:].cpu()
        if guidance != 1:
            logits = guide(logits, prior(tokens[:, :end])[:, first:].cpu(), guidance)
        new, places = drawn(logits, uniform[:, first:end]), slice(first, end)
        tokens[:, places] = torch.where(kept[:, places] < 0, new, kept[:, places])
        first = end
    return tokens


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise `ValueError` for settings that make no distribution."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"The temperature is a number above 0, not {temperature}. For the greedy choice use top_k=1.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is at least 1, not {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p lies above 0 and up to 1, not at {top_p}.")


def check_kept(
    beginning: torch.Tensor | None, known: torch.Tensor | None, count: int, prior: SteppingPrior
) -> torch.Tensor:
    """What is kept of every sequence, `(count, T) int64`, -1 where a token is missing; raises as `generate` does."""
    length, kept = prior.length, torch.full((count, prior.length), -1)
    if beginning is not None and known is not None:
        raise ValueError("A beginning or known tokens are kept, not both: put the beginning among those known.")
    if known is not None:
        if known.shape not in ((length,), (count, length)) or known.dtype != torch.int64:
            raise ValueError(
                f"What is known of {count} sequences is ({length},) or ({count}, {length}) int64, -1 where nothing is, "
                f"not {tuple(known.shape)} {str(known.dtype).removeprefix('torch.')}."
            )
        if not -1 <= known.min() <= known.max() < prior.vocabulary:
            raise ValueError(f"Tokens lie in [0, {prior.vocabulary}), or are -1 where none is known; here is another.")
        return known.expand(count, -1).clone()
    if beginning is None:
        return kept
    if beginning.dim() == 1:
        beginning = beginning.expand(count, -1)
    if beginning.dim() != 2 or len(beginning) != count or beginning.shape[1] > length:
        raise ValueError(
            f"A beginning for {count} sequences of {length} tokens is (t,) or ({count}, t) with t at most "
            f"{length}, not {tuple(beginning.shape)}."
        )
    if beginning.numel() and not 0 <= beginning.min() <= beginning.max() < prior.vocabulary:
        raise ValueError(f"Tokens lie in [0, {prior.vocabulary}); the beginning holds one that does not.")
    kept[:, : beginning.shape[1]] = beginning
    return kept
