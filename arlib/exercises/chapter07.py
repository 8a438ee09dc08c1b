"""The checkers of chapter 7, "Causality and its traps"."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from arlib import causality
from arlib.exercises import Wrong, call, checker, number, tensor

VOCABULARY, LENGTH = 16, 12  # of the chapter's tiny models
FINITE = -1e4


@checker
def shift(answer: Any) -> str:
    """`answer(tokens, start)`: what goes into a model, `(B, T) int64`, for tokens `(B, T) int64`."""
    for batch, length in ((3, 7), (7, 3), (1, 1)):
        tokens = torch.randint(1000, (batch, length))
        start = int(torch.randint(1000, 2000, ()))
        right = torch.cat([torch.full((batch, 1), start), tokens[:, :-1]], dim=1)
        inputs = call(answer, tokens, start)
        if isinstance(inputs, torch.Tensor) and inputs.shape == (batch, length + 1):
            raise Wrong("one token too many: T inputs for T rows. With a start token in front the last one is dropped.")
        inputs = tensor(inputs, (batch, length), torch.int64)
        if torch.equal(inputs, right):
            continue
        known = {
            "that is the sequence as it came: input t is token t, which row t has to predict.": tokens,
            "the last token stands in front (as torch.roll puts it there): row 0 would know the end of the sequence.": (
                tokens.roll(1, dims=1)
            ),
            "that is shifted the other way: input t is token t + 1, from the future.": (
                torch.cat([tokens[:, 1:], torch.full((batch, 1), start)], dim=1)
            ),
            "that takes the first token's place and moves nothing: input t is still token t from 1 on.": (
                torch.cat([torch.full((batch, 1), start), tokens[:, 1:]], dim=1)
            ),
            "that is shifted along the batch: each sequence would be told its neighbour's tokens.": (
                torch.cat([torch.full((1, length), start), tokens[:-1]])
            ),
        }
        for reason, wrong in known.items():
            if torch.equal(inputs, wrong):
                raise Wrong(reason)
        if (inputs == inputs[:, :1]).all() and length > 1:
            raise Wrong(
                "one value is in every place. If you assign a tensor to a part of itself, it is read while it is "
                "overwritten: make a new one."
            )
        raise Wrong("input 0 has to be the start token, and input t the token t - 1, in each sequence.")
    return "input 0 is the start token, and input t is token t - 1."


@checker
def first_row(answer: Any) -> str:
    """`answer(prior, tokens, position)`: the first row that changes when the token at `position (int)` is edited."""
    length = 10
    tokens = torch.randint(VOCABULARY, (1, length))
    tokens[0, 1], tokens[0, 2], tokens[0, 3] = 0, VOCABULARY - 1, 1  # where an edit to a fixed token, or by +1, fails
    for name, offset, amount in (
        ("honest", 1, 1.0),
        ("one that reads its own token", 0, 1.0),
        ("one that looks two tokens ahead", -2, 1.0),
        ("one that reads a token too late", 2, 1.0),
        ("one with a leak of a ten-millionth", -1, 1e-7),
    ):
        for position in (1, 2, 3, int(torch.randint(4, length - 1, ())), length - 1):
            passes: list[torch.Tensor] = []
            row = call(answer, _reader(offset, amount, passes), tokens, position)
            _look_at_edit(passes, tokens, position)
            expected = min(length, max(0, position + offset))
            if expected != number(row):
                if amount < 1:
                    raise Wrong(
                        "a leak of a ten-millionth stays unseen. Compare bit for bit, without a tolerance: both passes "
                        "have the same shapes, so what does not depend on the edit comes out with the same bits."
                    )
                if expected == length:
                    raise Wrong(f"no row changes here, and then the answer is T = {length}, not {row}.")
                raise Wrong(f"the prior is {name}: an edit at {position} first changes row {expected}, not {row}.")
    return "it finds the first row that an edit changes, and leaks of any size."


@checker
def masks(answer: Any) -> str:
    """`answer(length)`: a causal mask for scaled_dot_product_attention, and one for MultiheadAttention, both bool."""
    length = int(torch.randint(5, 9, ()))
    both = call(answer, length)
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise Wrong("two masks are asked for: return the one for scaled_dot_product_attention, then the other.")
    may, may_not = (tensor(mask, (length, length), torch.bool) for mask in both)
    if torch.equal(may, may_not):
        raise Wrong("both masks are the same, and the two functions read True the opposite way.")
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    layers: dict[str, tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]] = {
        "scaled_dot_product_attention": (may, lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=may)),
        "MultiheadAttention": (~may_not, lambda x: attention(x, x, x, attn_mask=may_not, need_weights=False)[0]),
    }
    for name, (allowed, layer) in layers.items():
        if not allowed.any(dim=1).all():
            raise Wrong(f"{name} gives NaN: a row of its mask has nothing left to read. A place may read itself.")
        reads = _reads(layer, length)
        if torch.equal(reads, torch.ones_like(reads).triu()) or torch.equal(reads, torch.ones_like(reads).triu(1)):
            raise Wrong(f"{name} reads later places and no earlier ones: upside down, or True read the wrong way.")
        if reads.triu(1).any():
            raise Wrong(f"{name} still lets a place read later ones.")
        if not torch.equal(reads, torch.ones_like(reads).tril()):
            raise Wrong(f"{name} does not let every place read itself and all before it.")
    return "both let a place read itself and those before it, and nothing after."


@checker
def sly(answer: Any) -> str:
    """A model that passes the loose check although its row 0 knows the last token."""
    if answer is None or answer is ...:
        raise Wrong("there is no model yet. Hand in a module, or a function of tokens.")
    tokens = torch.randint(VOCABULARY, (2, LENGTH))
    logits = tensor(call(answer, tokens), (2, LENGTH, VOCABULARY))
    if not logits.isfinite().all():
        raise Wrong("some of its logits are NaN or infinite.")
    seed = int(torch.randint(1_000_000, ()))
    report = causality.check(answer, VOCABULARY, LENGTH, seed=seed)
    if report.ok:
        raise Wrong("it keeps the rule: the exact check finds no leak.")
    try:
        matrix = causality.influence(answer, VOCABULARY, LENGTH, seed=seed)
    except ValueError as error:
        raise Wrong(f"its influence cannot be measured: {error}") from None
    share = loose_share(answer, die(), torch.randint(1, LENGTH - 1, (300,)))
    if abs(share - 0.5) > 0.2:
        raise Wrong(f"the loose check sees it: of the rows {share:.2f} stay unchanged, and 0.3 to 0.7 would pass.")
    if not matrix[0, -1]:
        where = "its only leak is that rows know their own token" if not matrix.triu(1).any() else "it does leak"
        raise Wrong(f"{where}, but row 0 does not know the last token. Here the future is asked for.")
    return "row 0 knows the last token, the exact check says so, and the loose check lets it pass."


@checker
def outgrow(answer: Any) -> str:
    """Scores `(8, 8)` that a mask of -1e4 holds back at a ten-thousandth of their size, and not as they are."""
    if answer is None or answer is ...:
        raise Wrong("there are no scores yet. Hand in a tensor of 8 rows and 8 columns.")
    scores = tensor(answer, (8, 8)).detach().float()
    if not scores.isfinite().all() or scores.abs().max() > 1e5:
        raise Wrong("the scores have to be finite, and at most 1e5 in size.")
    hidden = torch.ones(8, 8, dtype=torch.bool).triu(1)
    small, grown = ((factor * scores + FINITE * hidden).softmax(dim=-1) for factor in (1e-4, 1.0))
    if small[hidden].any():
        raise Wrong("they leak at a ten-thousandth of their size already; a check of the fresh model would find that.")
    if not grown[hidden].any():
        gap = (
            scores.masked_fill(~hidden, -torch.inf).amax(dim=1) - scores.masked_fill(hidden, -torch.inf).amax(dim=1)
        )[:-1].max()
        raise Wrong(
            f"the mask holds: a later score lies {gap:.0f} above the row's best allowed one, and -1e4 covers it."
        )
    if grown[3, 6] <= 0.5:
        raise Wrong(f"something leaks, but row 3 gives column 6 a weight of {grown[3, 6]:.2g}, not more than a half.")
    return "a ten-thousandth of them leaks nothing, and grown to their size they read column 6 past the mask."


@checker
def depth(answer: Any) -> str:
    """The smallest whole n for which a mask of -n leaves a weight of exactly zero between equal scores in float32."""
    given = abs(number(answer))
    measured = mask_depth(torch.float32)
    if abs(given - measured) <= 1:
        return "there the exponential underflows to zero, in float32."
    if given < measured:
        if 15 <= given <= 18:
            raise Wrong("there the weight is too small to change a sum with 1, but it is not zero: the leak goes on.")
        left = torch.tensor([0.0, -given]).softmax(dim=0)[1].item()
        raise Wrong(f"a mask of -{given:g} leaves a weight of {left:.1g}, which is not zero.")
    if abs(given - mask_depth(torch.float64)) <= 1:
        raise Wrong("that is where float64 underflows. A model in float32 gets there much sooner.")
    raise Wrong("the weight is zero there, but it is so at smaller numbers too. The smallest is asked for.")


def mask_depth(dtype: torch.dtype) -> int:
    """What `depth` asks for, measured on this machine."""
    mask = torch.ones(LENGTH, LENGTH, dtype=dtype).triu(1)
    return next(n for n in range(1, 2000) if not (-n * mask).softmax(dim=-1).triu(1).any())


def loose_share(prior: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor, places: torch.Tensor) -> float:
    """The share of rows that stay as they are, within 1e-5, when the sequence `tokens (1, T)` is edited at `places`.

    The chapter's looser check, after the grader that its text names: right is 0.5 ± 0.2.
    """
    copies = tokens.repeat(len(places), 1)
    edited = copies.clone()
    rows = torch.arange(len(places))
    edited[rows, places] = (edited[rows, places] + 1) % VOCABULARY
    with torch.no_grad():
        same = ((prior(edited) - prior(copies)).abs() < 1e-5).all(dim=-1)
    return same.double().mean().item()


def die() -> torch.Tensor:
    """One sequence of random tokens, `(1, LENGTH)`."""
    return torch.randint(VOCABULARY, (1, LENGTH))


def _reader(offset: int, amount: float, passes: list[torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A prior that notes in `passes` what it read, and whose row t + offset is the first to change with token t."""

    def prior(tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dim() != 2 or tokens.dtype != torch.int64:
            raise ValueError(f"this prior reads tokens (B, T) int64, not {tuple(tokens.shape)} {tokens.dtype}")
        if tokens.min() < 0 or tokens.max() >= VOCABULARY:
            raise ValueError(f"tokens lie in [0, {VOCABULARY}), and this prior was given one that does not")
        passes.append(tokens.clone())
        seen = F.one_hot(tokens, VOCABULARY).float()
        rows, places = torch.arange(tokens.shape[1])[:, None], torch.arange(tokens.shape[1])
        reads = (rows == (places + offset).clamp(min=0)).float()  # row t reads what nobody before it has read
        before = (rows == places + 1).float() if amount < 1 else torch.zeros_like(reads)
        return before @ seen + amount * (reads @ seen)

    prior.vocabulary = VOCABULARY  # type: ignore[attr-defined]
    return prior


def _look_at_edit(passes: list[torch.Tensor], tokens: torch.Tensor, position: int) -> None:
    """Raise `Wrong` unless the prior has read the tokens as they were, and with the one at `position` edited."""
    if not passes:
        raise Wrong("the prior was never run: the answer has to come from its logits.")
    if any(read.shape != tokens.shape for read in passes):
        raise Wrong("run the prior on whole sequences: another shape rounds differently, and has fewer rows.")
    edited = [read for read in passes if not torch.equal(read, tokens)]
    if not edited:
        raise Wrong("every pass read the same tokens. The edit has to put in another token than the one that is there.")
    if len(edited) == len(passes):
        raise Wrong("no pass read the tokens as they were. Clone them before the edit.")
    if any((read != tokens).nonzero().tolist() != [[0, position]] for read in edited):
        raise Wrong("edit the token at `position` alone.")


def _reads(layer: Callable[[torch.Tensor], torch.Tensor], length: int) -> torch.Tensor:
    """Which places each place of an attention layer reads: `(T, T)` bool, by editing the vectors of one at a time."""
    x = torch.randn(1, length, 8)
    reads = torch.zeros(length, length, dtype=torch.bool)
    with torch.no_grad():
        before = layer(x)
        for place in range(length):
            edited = x.clone()
            edited[0, place] += 1
            reads[:, place] = (layer(edited) != before)[0].any(dim=-1)
    return reads
