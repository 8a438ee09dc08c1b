"""The exact leak check (chapter 7): does row t of a prior's logits know the tokens before t, and those alone?

Edit one token of one sequence, run the prior again, compare bit for bit. An edit of token t has to change row t + 1 of
its sequence, may change rows after that, and nothing else. This works for anything that maps tokens `(B, T) int64` to
logits `(B, T, vocabulary)`: it looks at what a prior does, never at how it is built.

Its relatives of part IV keep rules of the same kind. With an order, tokens and rows come in reading order and row t is
about place order[t], so the rule for tokens is the same one, and one for places joins it: row t depends on the place
that it is asked for, on those before, and on none that is asked for later. With scales, an edit has to change the rows
of the cells below, and no row of its own or a coarser scale. With classes, a label reaches its own sequence alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from arlib import orders, scales, symptoms
from arlib.symptoms import CAUSES, Changes, Found

Inputs = dict[str, torch.Tensor]  # "tokens" (B, T), and "order" (B, T) and "label" (B,) where the prior takes them

RULE = "Every edit changed the row after it, no row before that, and no other sequence."
RULE_OF_SCALES = "Every edit changed the rows below it, no row of its own or a coarser scale, and no other sequence."


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` saw in each mode that it ran: the symptom's name, "" where all is well, and what happened."""

    symptoms: dict[str, str]
    seen: dict[str, str]
    tried: str
    rule: str = RULE

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
        return "\n".join(lines) or self.rule

    def __repr__(self) -> str:
        table = [f"  {mode:8} {symptom or 'ok'}" for mode, symptom in self.symptoms.items()]
        return "\n".join(["causal" if self.ok else "NOT CAUSAL", *table, self.reason, f"({self.tried})"])


def check(
    prior: Callable[..., torch.Tensor],
    vocabulary: int | None = None,
    length: int | None = None,
    positions: Sequence[int] | None = None,
    batch_size: int = 3,
    trials: int = 2,
    seed: int = 0,
    *,
    order: torch.Tensor | None = None,
    blocks: torch.Tensor | None = None,
    classes: int | None = None,
) -> Report:
    """Run `prior` on random tokens, and again with one of them edited; report what is wrong in each mode.

    A module is run in train mode, in eval mode, in eval mode under `no_grad`, and, where it has `step` and `new_cache`
    (see `arlib.Prior`), cached: token by token, which has to agree with its forward pass as well. A plain function is
    run with gradients and without. Modes, buffers and torch's random state are put back at the end.
    `vocabulary` and `length` (the T of the sequences) are the prior's attributes of that name where not given.
    `positions` are the tokens to edit: all of them up to T = 64, else the first, the middle one and the last two.
    Each of the `trials` draws `batch_size` other sequences and other edits. What the prior raises is a finding;
    `check` raises `TypeError` where it cannot be called, `ValueError` where a size is missing or makes no sense.

    A prior whose `config` says `any_order` is called with `order=`, every sequence with a random one of its own, and
    one with `classes` with `label=` as well; one with `scales` has to be block-causal. `order`, which broadcasts to
    (trials, B, T), `classes` and `blocks`, the scale of each token `(T,)`, say so of any other function.

    An edit cannot see what is no leak. Two tables of places exchanged in `step` *and* forward are the same prior under
    other names. Where a token sits is known to attention from the row before, so that a missing table of `places` only
    costs bits; a prior without blocks shows it. A wrong parent is hidden by attention to the whole scale. And of a loss
    that permutes its targets in another way than the tokens, `check` sees nothing: edit the loss's own input.
    """
    vocabulary, length = _size(prior, "vocabulary", vocabulary), _size(prior, "length", length)
    if batch_size < 2 or trials < 1:
        raise ValueError("batch_size is at least 2, to see a leak from one sequence to another; trials at least 1.")
    few = sorted({0, length // 2, length - 2, length - 1}) if positions is None else list(positions)
    every = list(range(length)) if positions is None and length <= 64 else few
    if not few or min(few) < 0 or max(few) >= length:
        raise ValueError(f"positions are places in a sequence of {length} tokens, 0 to {length - 1}; here: {few}.")
    sides, source = _config(prior, "scales"), None
    if blocks is None and sides is not None:
        source, blocks = scales.tables(sides)
        source, blocks = source[:length], blocks[:length]
    if blocks is not None and blocks.shape != (length,):
        raise ValueError(f"blocks are the scales of {length} tokens, ({length},) int64, not {tuple(blocks.shape)}.")
    shape = (trials, batch_size, length)
    given = _conditions(prior, shape, seed, order, _config(prior, "classes") if classes is None else classes)
    names, seen = {}, {}
    for mode in _modes(prior, blocks is None):
        names[mode] = seen[mode] = ""
        with _running(prior, mode, vocabulary, shape, seed) as (tokens, edits):
            inputs = [
                {"tokens": batch} | {name: value.to(batch.device) for name, value in extra.items()}
                for batch, extra in zip(tokens, given, strict=True)
            ]
            try:
                if mode == "cached":
                    _check_cached(prior, inputs[:1], edits[:1], few, vocabulary)
                else:
                    _check_all(prior, inputs, edits, every, vocabulary, blocks, source)
            except Found as found:
                names[mode], seen[mode] = found.args
    edited = "each token" if len(every) == length else f"token {', '.join(map(str, every))}"
    edited += ", and places" * ("order" in given[0]) + ", and labels" * ("label" in given[0])
    tried = f"{trials} × {batch_size} sequences of {length}, {edited} edited, seed {seed}"
    return Report(names, seen, tried, RULE if blocks is None else RULE_OF_SCALES)


def influence(
    prior: Callable, vocabulary: int | None = None, length: int | None = None, mode: str = "no_grad", seed: int = 0
) -> torch.Tensor:
    """Who knows whom: `(T, T)` float64, entry [i, j] the largest change of a logit in row i when token j is edited.

    A causal prior's matrix is exactly zero on its diagonal and above. It takes T + 2 passes in `mode`: "train", "eval"
    or "no_grad"; for a plain function "grad" or "no_grad". The other arguments and errors are those of `check`, and
    `ValueError` also where nothing can be measured: the prior raises, gives NaN, or is not reproducible.
    """
    vocabulary, length = _size(prior, "vocabulary", vocabulary), _size(prior, "length", length)
    if mode not in _modes(prior, steps=False):
        raise ValueError(f"mode is train, eval or no_grad (for a plain function grad or no_grad), not {mode}.")
    with _running(prior, mode, vocabulary, (1, 2, length), seed) as (tokens, edits):
        inputs = {"tokens": tokens[0]}

        def other_token(_: int, sample: int, position: int) -> Inputs:
            return _put(inputs, "tokens", (sample, position), edits[0, sample, position])

        return _edit(prior, [inputs], other_token, range(length), vocabulary).largest


def _check_all(prior, inputs: list[Inputs], edits, positions, vocabulary: int, blocks=None, source=None) -> None:
    """Edit tokens, then places and labels where there are some. Raises `Found`."""
    batch_size, length = inputs[0]["tokens"].shape

    def other_token(trial: int, sample: int, position: int) -> Inputs:
        return _put(inputs[trial], "tokens", (sample, position), edits[trial, sample, position])

    def other_place(trial: int, sample: int, position: int) -> Inputs:
        pair = torch.tensor([position, length - 1])  # the two of them change places
        return _put(inputs[trial], "order", (sample, pair), inputs[trial]["order"][sample, pair.flip(0)])

    def other_label(trial: int, sample: int, _: int) -> Inputs:
        label = int(inputs[trial]["label"][sample])
        return _put(inputs[trial], "label", sample, label - 1 if label >= 0 else 0)

    changes = _edit(prior, inputs, other_token, positions, vocabulary)
    if blocks is not None:
        symptoms.of_scales(changes, blocks, source)
    elif "order" in inputs[0]:
        # The orders of the sequences that were edited, (trials, P, T).
        read = [given["order"][_samples(trial, positions, batch_size), :length] for trial, given in enumerate(inputs)]
        symptoms.of_tokens(changes, torch.stack(read).cpu())
        inner = [position for position in positions if position < length - 1] or [0]
        symptoms.of_places(_edit(prior, inputs, other_place, inner, vocabulary))
    else:
        symptoms.of_tokens(changes)
    if "label" in inputs[0]:
        symptoms.of_labels(_edit(prior, inputs, other_label, [0], vocabulary))


def _edit(
    prior,
    inputs: list[Inputs],
    edited: Callable[[int, int, int], Inputs],
    positions: Sequence[int],
    vocabulary: int,
) -> Changes:
    """Edit each position in turn, in one sequence of each trial's batch: `edited(trial, sample, position)`."""
    batch_size, length = inputs[0]["tokens"].shape
    own = torch.zeros(len(inputs), length, len(positions), dtype=torch.float64)
    others = torch.zeros_like(own[0])
    for trial, given in enumerate(inputs):
        # Equal bits are a fair demand here: two passes of one shape, on the same threads and from the same random
        # state, add the same numbers in the same order. Another batch size or the cache would round otherwise.
        logits = _run(prior, given, vocabulary)
        if not torch.equal(logits, _run(prior, given, vocabulary)):
            raise Found("not reproducible", "Two passes over the same tokens from the same seed differ")
        samples = _samples(trial, positions, batch_size)
        for column, (position, sample) in enumerate(zip(positions, samples, strict=True)):
            # In float64, so that the difference of two unequal float32 is never rounded to zero.
            change = (_run(prior, edited(trial, sample, position), vocabulary) - logits).abs().amax(dim=-1).cpu()
            own[trial, :, column] = change[sample]
            others[:, column] = others[:, column].maximum(change[torch.arange(batch_size) != sample].amax(dim=0))
    return Changes(torch.tensor(list(positions)), own, others)


def _run(prior, inputs: Inputs, vocabulary: int) -> torch.Tensor:
    """One pass, from a fixed seed so that dropout drops the same again: finite logits of the right shape, float64."""
    torch.manual_seed(0)
    tokens = inputs["tokens"]
    try:
        logits = _call(prior, inputs)
    except Exception as error:
        raise Found("raises", f"{type(error).__name__}: {error}") from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (*tokens.shape, vocabulary):
        raise Found("wrong shape", f"{shape} is not {(*tokens.shape, vocabulary)}")
    bad = (~logits.isfinite()).any(dim=-1).any(dim=0).nonzero().flatten()
    if len(bad):
        raise Found("NaN", f"NaN or infinity in {len(bad)} of {tokens.shape[1]} rows, first in row {bad[0]}")
    return logits.detach().double()


def _check_cached(prior, inputs: list[Inputs], edits: torch.Tensor, positions: list[int], vocabulary: int) -> None:
    """The same edits step by step, and then: do `step` and the forward pass agree, up to rounding?"""

    def step_by_step(tokens: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        cache = prior.new_cache(len(tokens), **given)
        return torch.stack([prior.step(token, cache) for token in [None, *tokens[:, :-1].T]], dim=1)

    # Row t is given out before token t is read: few edits of one trial will do. The last token is never read at all.
    inner = [position for position in positions if position < edits.shape[-1] - 1] or [0]
    _check_all(step_by_step, inputs, edits, inner, vocabulary)
    forward, stepped = _run(prior, inputs[0], vocabulary), _run(step_by_step, inputs[0], vocabulary)
    apart = (stepped - forward).abs().amax(dim=(0, 2))
    kind = _call(prior, inputs[0]).dtype
    rounding = torch.finfo(kind).eps ** 0.5 * forward.abs().max() if kind.is_floating_point else 0  # integers are exact
    for row in (apart > rounding).nonzero().flatten().tolist():
        with _tables_exchanged(prior) as exchanged:
            if exchanged and (stepped - _run(prior, inputs[0], vocabulary)).abs().max() <= rounding:
                seen = f"`step` and forward differ by up to {apart.max():.1g}, and agree once the tables are exchanged"
                raise Found("tables exchanged", seen)
        raise Found("cache disagrees", f"`step` and forward differ by up to {apart.max():.1g}, first in row {row}")


def _modes(prior, steps: bool) -> list[str]:
    modes = ["train", "eval", "no_grad"] if isinstance(prior, nn.Module) else ["grad", "no_grad"]
    return [*modes, "cached"] if steps and hasattr(prior, "step") and hasattr(prior, "new_cache") else modes


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


@contextmanager
def _tables_exchanged(prior: Any) -> Iterator[bool]:
    """Exchange the two tables of a prior of any order for a while; False where it has no such tables."""
    tables = [getattr(prior, name, None) for name in ("places", "positions")]
    both = [table for table in tables if isinstance(table, nn.Parameter)]
    kept = [table.data for table in both]
    for table, data in zip(both, reversed(kept), strict=True):
        table.data = data
    try:
        yield len(both) == 2
    finally:
        for table, data in zip(both, kept, strict=True):
            table.data = data


def _conditions(prior, shape: tuple[int, int, int], seed: int, order, classes: int | None) -> list[Inputs]:
    """What each trial's batch is given besides tokens: an order and a label, where the prior takes them."""
    trials, batch_size, length = shape
    generator = torch.Generator().manual_seed(seed + 1)
    given: list[Inputs] = [{} for _ in range(trials)]
    if order is None and _config(prior, "any_order"):
        places = max(length, prior.length)  # a cache wants the whole order
        order = orders.random(trials * batch_size, places, generator).view(trials, batch_size, places)
    for trial, extra in enumerate(given):
        if order is not None:
            extra["order"] = order.expand(trials, batch_size, -1)[trial].clone()
        if classes:
            extra["label"] = torch.randint(-1, classes, (batch_size,), generator=generator)
    return given


def _samples(trial: int, positions: Sequence[int], batch_size: int) -> list[int]:
    """Which sequence of a trial's batch is edited for each position: they take turns."""
    return [(column + trial) % batch_size for column in range(len(positions))]


def _put(inputs: Inputs, name: str, index: Any, value: Any) -> Inputs:
    """The inputs with another value at one index of one of them."""
    changed = inputs[name].clone()
    changed[index] = value
    return inputs | {name: changed}


def _call(prior, inputs: Inputs) -> torch.Tensor:
    """The prior's own answer, to copies of the inputs."""
    copies = {name: value.clone() for name, value in inputs.items()}
    return prior(copies.pop("tokens"), **copies)


def _config(prior, name: str) -> Any:
    """What the prior's configuration says of `order`, `scales` or `classes`, as that of `arlib.Prior` does."""
    config = getattr(prior, "config", None)
    return config.get(name) if isinstance(config, dict) else None


def _size(prior: Any, name: str, given: int | None) -> int:
    if not callable(prior):
        raise TypeError(f"A prior is called with tokens and gives logits; a {type(prior).__name__} cannot be called.")
    size = getattr(prior, name, None) if given is None else given
    if not isinstance(size, int) or size < 2:
        raise ValueError(f"{name} is {size}: give {name}=…, at least 2, or a prior that has it as an attribute.")
    return size
