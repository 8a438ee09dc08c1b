"""The exact leak check (chapter 7): does row t of a prior's logits know the tokens before t, and those alone?

Edit one token of one sequence, run the prior again, compare bit for bit. An edit of token t has to change row t + 1 of
its sequence, may change rows after that, and nothing else. This works for anything that maps tokens `(B, T) int64` to
logits `(B, T, vocabulary)`: it looks at what a prior does, never at how it is built.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Each symptom that a report names, and the mistakes that show it. Which rows change is exact; what stands in brackets
# is judged by how much they change, and is the likeliest of several.
CAUSES = {
    "raises": "the prior itself stopped with this error",
    "wrong shape": "logits are one tensor (B, T, vocabulary)",
    "NaN": "a mask that leaves a row nothing to look at (upside down? True for False?), or a number that overflowed",
    "not reproducible": "it keeps something from call to call, or draws random numbers past torch's seed",
    "batch and time swapped": "it works along the batch, as an encoder with batch_first=False does on (B, T, D)",
    "leaks across the batch": "batch normalisation, a state that sequences share, or a view that mixes batch and time",
    "missing shift": "row t reads token t, which it has to predict; put a start token in front and drop the last token",
    "wraps around": "the shift puts the last token in front, as torch.roll does",
    "anti-causal": "a mask upside down (triu for tril, True for False), or a reversed sequence",
    "inverted mask": "attention looks at later tokens alone; token t itself reaches row t + 1 past the attention",
    "looks ahead": "a shift or a mask that is off by a few tokens, or a convolution padded at its end",
    "sees the future (fading)": "something reads from the end too, such as a bidirectional LSTM",
    "sees the future (no mask)": "nothing masks the attention, or something averages over time",
    "sees the future (0/1 mask added)": "tril(ones) added to the scores, or another mask that is far too weak",
    "sees the future (mask after softmax)": "the softmax has seen every score; a weak mask, -4 say, looks the same",
    "sees the future (finite mask)": "a mask of -10 leaves exp(-10), not zero; use -inf, and before the softmax",
    "sees the future (outgrown mask)": "scores have grown past a finite mask such as -1e4, or the mask has holes",
    "ignores its input": "no token reaches the logits, or the head's weights are all zero",
    "shifted too far": "the sequence is shifted twice, or a step reads its token too late",
    "misses a token": "a row does not know the token just before it",
    "cache disagrees": "a position off by one, a cache that loses something, or a forward pass without its shift",
}


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` saw in each mode that it ran: the symptom's name, "" where all is well, and what happened."""

    symptoms: dict[str, str]
    seen: dict[str, str]
    tried: str

    @property
    def ok(self) -> bool:
        return not any(self.symptoms.values())

    @property
    def reason(self) -> str:
        """For each symptom one line: the modes, the symptom's name, what was seen, which mistakes do that."""
        lines = []
        for symptom in dict.fromkeys(filter(None, self.symptoms.values())):
            modes = [mode for mode in self.symptoms if self.symptoms[mode] == symptom]
            lines.append(f"{', '.join(modes)}: {symptom}. {self.seen[modes[0]]}: {CAUSES[symptom]}.")
        return "\n".join(lines) or "Every edit changed the row after it, no row before that, and no other sequence."

    def __repr__(self) -> str:
        table = [f"  {mode:8} {symptom or 'ok'}" for mode, symptom in self.symptoms.items()]
        return "\n".join(["causal" if self.ok else "NOT CAUSAL", *table, self.reason, f"({self.tried})"])


def check(
    prior: Callable[[torch.Tensor], torch.Tensor],
    vocabulary: int | None = None,
    length: int | None = None,
    positions: Sequence[int] | None = None,
    batch_size: int = 3,
    trials: int = 2,
    seed: int = 0,
) -> Report:
    """Run `prior` on random tokens, and again with one of them edited; report what is wrong in each mode.

    A module is run in train mode, in eval mode, in eval mode under `no_grad`, and, where it has `step` and `new_cache`
    (see `arlib.Prior`), cached: token by token, which has to agree with its forward pass as well. A plain function is
    run with gradients and without. Modes, buffers and torch's random state are put back at the end.
    `vocabulary` and `length` (the T of the sequences) are the prior's attributes of that name where not given.
    `positions` are the tokens to edit: all of them up to T = 64, else the first, the middle one and the last two.
    Each of the `trials` draws `batch_size` other sequences and other edits. What the prior raises is a finding;
    `check` raises `TypeError` where it cannot be called, `ValueError` where a size is missing or makes no sense.
    """
    vocabulary, length = _size(prior, "vocabulary", vocabulary), _size(prior, "length", length)
    if batch_size < 2 or trials < 1:
        raise ValueError("batch_size is at least 2, to see a leak from one sequence to another; trials at least 1.")
    few = sorted({0, length // 2, length - 2, length - 1}) if positions is None else list(positions)
    every = list(range(length)) if positions is None and length <= 64 else few
    if not few or min(few) < 0 or max(few) >= length:
        raise ValueError(f"positions are places in a sequence of {length} tokens, 0 to {length - 1}; here: {few}.")
    symptoms, seen = {}, {}
    for mode in _modes(prior):
        symptoms[mode] = seen[mode] = ""
        with _running(prior, mode, vocabulary, (trials, batch_size, length), seed) as (tokens, edits):
            try:
                if mode == "cached":
                    _check_cached(prior, tokens[:1], edits[:1], few, vocabulary)
                else:
                    _diagnose(*_edit(prior, tokens, edits, every, vocabulary))
            except _Found as found:
                symptoms[mode], seen[mode] = found.args
    edited = "each token" if len(every) == length else f"token {', '.join(map(str, every))}"
    return Report(symptoms, seen, f"{trials} × {batch_size} sequences of {length}, {edited} edited, seed {seed}")


def influence(
    prior: Callable, vocabulary: int | None = None, length: int | None = None, mode: str = "no_grad", seed: int = 0
) -> torch.Tensor:
    """Who knows whom: `(T, T)` float64, entry [i, j] the largest change of a logit in row i when token j is edited.

    A causal prior's matrix is exactly zero on its diagonal and above. It takes T + 2 passes in `mode`: "train", "eval"
    or "no_grad"; for a plain function "grad" or "no_grad". The other arguments and errors are those of `check`, and
    `ValueError` also where nothing can be measured: the prior raises, gives NaN, or is not reproducible.
    """
    vocabulary, length = _size(prior, "vocabulary", vocabulary), _size(prior, "length", length)
    if mode == "cached" or mode not in _modes(prior):
        raise ValueError(f"mode is train, eval or no_grad (for a plain function grad or no_grad), not {mode}.")
    with _running(prior, mode, vocabulary, (1, 2, length), seed) as (tokens, edits):
        return _edit(prior, tokens, edits, range(length), vocabulary)[1]


class _Found(ValueError):
    """What is wrong in a mode; the arguments are the symptom, a key of `CAUSES`, and what was seen."""


def _edit(prior, sequences, edits, positions: Sequence[int], vocabulary: int) -> tuple[torch.Tensor, ...]:
    """Edit each position in turn, in one sequence of each batch of `sequences (trials, B, T)`. Gives the positions; the
    largest change of each row by each edit, `(T, positions)`, in the edited sequence and then in the others; and the
    smallest change that a trial made to row t + 1, `(positions,)`.
    """
    batch_size, length = sequences.shape[1:]
    own = torch.zeros(length, len(positions), dtype=torch.float64)
    others, following = torch.zeros_like(own), torch.full_like(own[0], torch.inf)
    for trial, tokens in enumerate(sequences):
        # Equal bits are a fair demand here: two passes of one shape, on the same threads and from the same random
        # state, add the same numbers in the same order. Another batch size or the cache would round otherwise.
        logits = _run(prior, tokens, vocabulary)
        if not torch.equal(logits, _run(prior, tokens, vocabulary)):
            raise _Found("not reproducible", "Two passes over the same tokens from the same seed differ")
        for column, position in enumerate(positions):
            sample = (column + trial) % batch_size
            edited = tokens.clone()
            edited[sample, position] = edits[trial, sample, position]
            # In float64, so that the difference of two unequal float32 is never rounded to zero.
            change = (_run(prior, edited, vocabulary) - logits).abs().amax(dim=-1).cpu()
            own[:, column] = own[:, column].maximum(change[sample])
            others[:, column] = others[:, column].maximum(change[torch.arange(batch_size) != sample].amax(dim=0))
            if position + 1 < length:
                following[column] = following[column].minimum(change[sample, position + 1])
    return torch.tensor(list(positions)), own, others, following


def _run(prior, tokens: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """One pass, from a fixed seed so that dropout drops the same again: finite logits of the right shape, float64."""
    torch.manual_seed(0)
    try:
        logits = prior(tokens.clone())
    except Exception as error:
        raise _Found("raises", f"{type(error).__name__}: {error}") from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (*tokens.shape, vocabulary):
        raise _Found("wrong shape", f"{shape} is not {(*tokens.shape, vocabulary)}")
    bad = (~logits.isfinite()).any(dim=-1).any(dim=0).nonzero().flatten()
    if len(bad):
        raise _Found("NaN", f"NaN or infinity in {len(bad)} of {tokens.shape[1]} rows, first in row {bad[0]}")
    return logits.detach().double()


def _diagnose(at: torch.Tensor, own: torch.Tensor, others: torch.Tensor, following: torch.Tensor) -> None:
    """Raise `_Found` unless the changes that `_edit` saw are those of a causal prior: the pattern names the mistake."""
    row, length = torch.arange(len(own))[:, None], len(own)
    if others.any():
        single = ((own > 0).sum(dim=0) <= 1).all() and ((others > 0).sum(dim=0) <= 1).all()
        symptom = "batch and time swapped" if single else "leaks across the batch"
        raise _Found(symptom, f"An edit in one sequence changes others, by up to {others.max():.1g}")
    leaks = (own > 0) & (row <= at)
    if not leaks.any():
        for token in at[following == 0].tolist():
            late = "misses a token" if own[row == at + 1].any() else "shifted too far"
            seen = f"An edit of token {token} leaves row {token + 1} as it is"
            raise _Found(late if own.any() else "ignores its input", seen)
        return
    column = int(leaks.any(dim=0).nonzero()[0])
    first, token = int(leaks[:, column].nonzero()[0]), int(at[column])
    moving = own.any(dim=0)
    reach = (at - (own > 0).int().argmax(dim=0))[moving]  # how far before the edited token the changes begin
    band = reach.max() < at[moving].max() and reach.equal(at[moving].clamp(max=reach.max()))
    inner = at < length - 1  # the last token tells nothing about a mask: the shift may well have dropped it
    before, after = own[(row < at) & inner], own[(row > at + 1) & inner]
    near, far = own[(row == at - 1) & inner], own[(row <= at - length // 2) & inner]
    share, ratio = (before > 0).double().mean().item(), (before.median() / after.median()).item()
    amount = f"edits change {share:.0%} of the rows before them, {ratio:.2g} times as much as those after them"
    for holds, symptom, more in (
        (not leaks[row < at].any(), "missing shift", "no edit changes a row before its own"),
        (token == length - 1 and len(at) > 1, "wraps around", "no edit of another token does such a thing"),
        (not own[row > at].any(), "anti-causal", "no edit changes a later row"),
        (not own[row > at + 1].any(), "inverted mask", "of the later rows an edit changes row t + 1 alone"),
        (band, "looks ahead", f"its changes begin {reach.max()} rows before it"),
        (share < 0.9, "sees the future (outgrown mask)", amount),
        (near.median() > 10 * far.median(), "sees the future (fading)", amount),
        (ratio < 0.01, "sees the future (finite mask)", amount),
        (ratio < 0.3, "sees the future (mask after softmax)", amount),
        (ratio < 0.75, "sees the future (0/1 mask added)", amount),
        (True, "sees the future (no mask)", amount),
    ):
        if holds:
            raise _Found(symptom, f"An edit of token {token} changes row {first} by {own[first, column]:.1g}; {more}")


def _check_cached(prior, sequences: torch.Tensor, edits: torch.Tensor, positions: list[int], vocabulary: int) -> None:
    """The same edits step by step, and then: do `step` and the forward pass agree, up to rounding?"""

    def step_by_step(tokens: torch.Tensor) -> torch.Tensor:
        cache = prior.new_cache(len(tokens))
        return torch.stack([prior.step(token, cache) for token in [None, *tokens[:, :-1].T]], dim=1)

    # Row t is given out before token t is read: few edits of one trial will do. The last token is never read at all.
    inner = [position for position in positions if position < sequences.shape[-1] - 1] or [0]
    _diagnose(*_edit(step_by_step, sequences, edits, inner, vocabulary))
    forward = _run(prior, sequences[0], vocabulary)
    apart = (_run(step_by_step, sequences[0], vocabulary) - forward).abs().amax(dim=(0, 2))
    kind = prior(sequences[0]).dtype
    rounding = torch.finfo(kind).eps ** 0.5 * forward.abs().max() if kind.is_floating_point else 0  # integers are exact
    for row in (apart > rounding).nonzero().flatten().tolist():
        raise _Found("cache disagrees", f"`step` and forward differ by up to {apart.max():.1g}, first in row {row}")


def _modes(prior) -> list[str]:
    modes = ["train", "eval", "no_grad"] if isinstance(prior, nn.Module) else ["grad", "no_grad"]
    return [*modes, "cached"] if hasattr(prior, "step") and hasattr(prior, "new_cache") else modes


@contextmanager
def _running(prior: Any, mode: str, vocabulary: int, shape: tuple[int, ...], seed: int) -> Iterator[tuple]:
    """Put the prior into `mode`, draw tokens and edits on its device, and put everything back afterwards."""
    module = prior if isinstance(prior, nn.Module) else nn.Module()  # an empty one has nothing to put back
    training = {part: part.training for part in module.modules()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, shape, generator=generator)
    edits = (tokens + torch.randint(1, vocabulary, shape, generator=generator)) % vocabulary  # always another token
    with torch.random.fork_rng(), torch.set_grad_enabled(mode in ("train", "eval", "grad")):
        try:
            module.train(mode == "train")
            yield tokens.to(device), edits.to(device)
        finally:
            for name, buffer in buffers.items():
                module.get_buffer(name).data.copy_(buffer)
            for part, flag in training.items():
                part.training = flag


def _size(prior: Any, name: str, given: int | None) -> int:
    if not callable(prior):
        raise TypeError(f"A prior is called with tokens and gives logits; a {type(prior).__name__} cannot be called.")
    size = getattr(prior, name, None) if given is None else given
    if not isinstance(size, int) or size < 2:
        raise ValueError(f"{name} is {size}: give {name}=…, at least 2, or a prior that has it as an attribute.")
    return size
