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
FAINT = "one with a leak of a millionth of a millionth"


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
        if torch.equal(inputs[:, 1:], right[:, 1:]):
            raise Wrong("input 0 is not the start token whose number is given; the others are right.")
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
    for name, offset in (
        ("honest", 1),
        ("one that reads its own token", 0),
        ("one that looks two tokens ahead", -2),
        ("one that reads a token too late", 2),
        (FAINT, -1),
    ):
        for position in (1, 2, 3, int(torch.randint(4, length - 1, ())), length - 1):
            passes: list[torch.Tensor] = []
            row = number(call(answer, _reader(offset, name == FAINT, passes), tokens, position))
            _look_at_edit(passes, tokens, position)
            expected = min(length, max(0, position + offset))
            if row != expected:
                raise Wrong(_about_row(row, expected, name, position, length))
    for _ in range(300):  # an edit to a random token is, once in 16, to the one that is there
        passes = []
        tokens = torch.randint(VOCABULARY, (1, length))
        call(answer, _reader(1, False, passes), tokens, 4)
        _look_at_edit(passes, tokens, 4)
    return "it finds the first row that an edit changes, and sees a change of a millionth of a millionth too."


def _about_row(row: float, expected: int, name: str, position: int, length: int) -> str:
    """Why `row` is not the first to change."""
    if name == FAINT and row == min(length, position + 1):
        return (
            "a leak of a millionth of a millionth stays unseen. Compare bit for bit, without a tolerance: both passes "
            "have the same shapes, so what does not depend on the edit comes out with the same bits."
        )
    if expected == length:
        return f"no row changes here, and then the answer is T = {length}, not {row:g}."
    known = position + 1 if name == FAINT else expected  # from here on, each row changes by much
    if row == length - 1 and known < length:
        return f"that is the last row that changes. The first is asked for, here row {expected}."
    if row == known + 2 < length:
        return f"that is the row that changes most. The first that changes at all is asked for, here row {expected}."
    return f"the prior is {name}: an edit at {position} first changes row {expected}, not {row:g}."


@checker
def masks(answer: Any) -> str:
    """`answer(length)`: a causal mask for scaled_dot_product_attention, and one for MultiheadAttention, both bool."""
    length = int(torch.randint(5, 9, ()))
    both = call(answer, length)
    if isinstance(both, torch.Tensor) and both.dim() == 3:
        both = both.unbind()
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise Wrong("two masks are asked for: return the one for scaled_dot_product_attention, then the other.")
    may, may_not = (tensor(mask, (length, length), torch.bool) for mask in both)
    if torch.equal(may, may_not):
        raise Wrong("both masks are the same, and the two functions read True the opposite way.")
    causal = torch.ones_like(may).tril()
    if torch.equal(may, ~causal) and torch.equal(may_not, causal):
        raise Wrong("the two are swapped: for scaled_dot_product_attention, the first, True means may be read.")
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
    known = _row_0_knows(answer)
    if not known:
        report = causality.check(answer, VOCABULARY, LENGTH)
        if report.ok:
            raise Wrong("it keeps the rule: the exact check finds no leak.")
        try:
            matrix = causality.influence(answer, VOCABULARY, LENGTH)
        except ValueError as error:
            raise Wrong(f"its influence cannot be measured: {error}") from None
        own = matrix.diagonal().all() and not matrix.triu(1).any()
        leak = "its rows know their own token, and" if own else "whatever else it does,"
        raise Wrong(f"{leak} row 0 does not know the last token: with each of the 16 there, row 0 is the same.")
    shares = [loose_share(answer, die(), torch.arange(1, LENGTH - 1)) for _ in range(20)]
    share = sum(shares) / len(shares)
    if abs(share - 0.5) > 0.2:
        raise Wrong(f"the loose check sees it: of the rows {share:.2f} stay unchanged, and 0.3 to 0.7 would pass.")
    return "row 0 knows the last token, and the loose check lets it pass."


def _row_0_knows(model: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether row 0 is not the same for each of the tokens that can stand in the last place."""
    with torch.no_grad():
        for _ in range(8):  # the other tokens may matter as well
            tokens = die()
            rows = []
            for last in [0, *range(VOCABULARY)]:
                tokens[0, -1] = last
                torch.manual_seed(0)
                rows.append(model(tokens.clone())[0, 0])
            if not torch.equal(rows[0], rows[1]):
                raise Wrong("two passes over the same tokens from the same seed differ, so nothing can be compared.")
            if any(not torch.equal(row, rows[0]) for row in rows):
                return True
    return False


@checker
def outgrow(answer: Any) -> str:
    """Scores `(8, 8)` that a mask of -1e4 holds back at a ten-thousandth of their size, and not as they are."""
    if answer is None or answer is ...:
        raise Wrong("there are no scores yet. Hand in a tensor of 8 rows and 8 columns.")
    if tensor(answer, (8, 8)).is_complex():
        raise Wrong("scores are real numbers, and these are complex.")
    scores = answer.detach().float()
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
def vanishing(answer: Any) -> str:
    """The smallest whole n with which the softmax of `[0, -n]` gives the second score exactly zero, in float32."""
    given = abs(number(answer))
    if given != int(given):
        raise Wrong("a whole number is asked for.")
    measured = smallest_vanishing(torch.float32)
    if given == measured:
        return "there exp(-n) is less than half of the smallest number that float32 has, and becomes zero."
    if given < measured:
        left = torch.tensor([0.0, -given]).softmax(dim=0)[1].item()
        if given >= measured - 6:
            raise Wrong(
                f"of two scores the masked one still has a weight of {left:.1g}, which is not zero. "
                "(In a longer row of equal scores it is zero sooner, as their sum is larger; two are asked for.)"
            )
        if 1 + torch.tensor(left) == 1:
            raise Wrong("there the weight is too small to change a sum with 1, but it is not zero: the leak goes on.")
        raise Wrong(f"a mask of -{given:g} leaves a weight of {left:.1g}, which is not zero.")
    if given == smallest_vanishing(torch.float64):
        raise Wrong("that is where float64 underflows. A model in float32 gets there much sooner.")
    raise Wrong("the weight is zero there, but it is so at smaller numbers too. The smallest is asked for.")


def smallest_vanishing(dtype: torch.dtype) -> int:
    """What `vanishing` asks for, measured on this machine."""
    return next(n for n in range(1, 2000) if torch.tensor([0, -n], dtype=dtype).softmax(dim=0)[1] == 0)


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


def _reader(offset: int, faint: bool, passes: list[torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A prior that notes in `passes` what it read, and whose row t + offset is the first to change with token t.

    All later rows change too, the third of them most. Where it is `faint` it is honest but for row t + offset, and what
    that knows is a millionth of a millionth.
    """

    def prior(tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dim() != 2 or tokens.dtype != torch.int64:
            raise ValueError(f"this prior reads tokens (B, T) int64, not {tuple(tokens.shape)} {tokens.dtype}")
        if tokens.min() < 0 or tokens.max() >= VOCABULARY:
            raise ValueError(f"tokens lie in [0, {VOCABULARY}), and this prior was given one that does not")
        passes.append(tokens.clone())
        seen = F.one_hot(tokens, VOCABULARY).double()
        rows, places = torch.arange(tokens.shape[1])[:, None], torch.arange(tokens.shape[1])
        first = places + 1 if faint else (places + offset).clamp(min=0)
        later = rows - first  # how far behind the first row that knows the token
        reads = (later >= 0).double() + (later == 1) + 2 * (later == 2) + (later > 2)
        if faint:
            reads += 1e-12 * (rows == (places + offset).clamp(min=0))
        return reads @ seen

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
