"""The checkers of chapter 7, "Causality and its traps"."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from arlib import causality
from arlib.exercises import Wrong, call, checker, diagnosis, number, tensor

VOCABULARY, LENGTH = 16, 12  # of the chapter's tiny models
SHORT = 6  # tokens of the priors of exercise 2, whose every edit is tried


@checker
def next_bits(answer: Any) -> str:
    """`answer(logits, tokens)`: bits a token of a model whose row t predicts token t + 1, `(B, T, V)` and `(B, T)`."""
    right, known = 0.0, {"": 0.0}
    while _too_close([right, *known.values()]):  # so that no mistake looks like another, or like the right answer
        logits, tokens = torch.randn(3, 7, 5), torch.randint(5, (3, 7))
        right, known = _bits_and_mistakes(logits, tokens)
    given = number(call(answer, logits, tokens))
    for reason, wrong in known.items():
        if math.isclose(given, wrong, rel_tol=1e-4):
            raise Wrong(reason)
    if not math.isclose(given, right, rel_tol=1e-4):
        raise Wrong(f"it gives {given:.4f} where {right:.4f} is right: rows 0 to T - 2 against tokens 1 to T - 1.")
    return "each row is compared with the token it predicts, and the row without one is left out."


def _too_close(numbers: list[float]) -> bool:
    """Whether two of them differ by less than a thousandth."""
    ordered = sorted(numbers)
    return any(larger < 1.001 * smaller or not larger for smaller, larger in itertools.pairwise(ordered))


def _bits_and_mistakes(logits: torch.Tensor, tokens: torch.Tensor) -> tuple[float, dict[str, float]]:
    """The right answer of exercise 1, and what each mistake gives."""
    batch, length = tokens.shape

    def bits(rows: torch.Tensor, targets: torch.Tensor) -> float:
        return F.cross_entropy(rows.flatten(0, 1), targets.flatten()).item() / math.log(2)

    right = bits(logits[:, :-1], tokens[:, 1:])
    padded = F.pad(tokens[:, 1:], (0, 1))
    known = {
        "row t is compared with token t. This model's row t predicts token t + 1.": bits(logits, tokens),
        "it's shifted the other way: row t + 1 is compared with token t.": bits(logits[:, 1:], tokens[:, :-1]),
        "row t is compared with token t + 2: one of the two shifts is enough.": bits(logits[:, :-2], tokens[:, 2:]),
        "the last row predicts a token past the end, and here the first one is taken for it. Drop that row.": (
            bits(logits, tokens.roll(-1, dims=1))
        ),
        "the last row predicts a token past the end, and here a 0 is taken for it. Drop that row.": bits(
            logits, padded
        ),
        "these are nats: divide by the logarithm of 2.": right * math.log(2),
        "that's the sum over all tokens. The mean is asked for.": right * batch * (length - 1),
        "that's the sum of each sequence. The mean over all tokens is asked for.": right * (length - 1),
        "the sum is right, and it's divided by all tokens, though the first of each sequence isn't predicted.": (
            right * (length - 1) / length
        ),
    }
    return right, known


@checker
def leaks(answer: Any) -> str:
    """`answer(prior)`: the pairs (row, token) that break the rule, of a prior on SHORT tokens below VOCABULARY."""
    last = SHORT - 1
    whole = {"honest": set(), "no shift": {(row, row) for row in range(SHORT)}, "roll": {(0, last)}}
    for name, expected in whole.items():
        _compare(_pairs(call(answer, _prior(expected))), expected, f"the prior is {name}" if name == "honest" else name)
    row = int(torch.randint(SHORT - 2, ()))
    pair = (row, int(torch.randint(row + 1, SHORT, ())))
    if _pairs(call(answer, _prior({pair}, size=1e-12))) != {pair}:
        raise Wrong(
            "a leak of a millionth of a millionth stays unseen, or makes others of it. Compare bit for bit, without a "
            "tolerance."
        )
    for _ in range(12):  # an answer that tries one other token a place finds one in eight of these
        row = int(torch.randint(SHORT - 1, ()))
        pair, trigger = (row, int(torch.randint(row, SHORT, ()))), int(torch.randint(VOCABULARY, ()))
        if _pairs(call(answer, _prior({pair}, trigger=trigger))) != {pair}:
            raise Wrong(
                f"row {pair[0]} knows one thing of token {pair[1]}: whether it's a {trigger}. That stays unseen. "
                f"Put each of the {VOCABULARY} tokens there in turn."
            )
    return "it finds every leak there, the faint ones and those of a single token too."


def _prior(pairs: set[tuple[int, int]], size: float = 1.0, trigger: int | None = None) -> Callable:
    """A prior that keeps the rule but for `pairs`: those rows know that token, or only whether it is `trigger`."""

    def prior(tokens: torch.Tensor) -> torch.Tensor:
        if tokens.dim() != 2 or tokens.shape[1] != SHORT or tokens.dtype != torch.int64:
            raise ValueError(f"this prior reads tokens (B, {SHORT}) int64, not {tuple(tokens.shape)} {tokens.dtype}")
        if tokens.min() < 0 or tokens.max() >= VOCABULARY:
            raise ValueError(f"tokens lie in [0, {VOCABULARY}), and this prior was given one that does not")
        seen = F.one_hot(tokens, VOCABULARY).double()
        logits = F.pad(seen, (0, 0, 1, 0))[:, :-1].cumsum(dim=1)
        for row, token in pairs:
            logits[:, row] += size * (seen[:, token] if trigger is None else seen[:, token, trigger, None])
        return logits

    prior.vocabulary, prior.length = VOCABULARY, SHORT  # type: ignore[attr-defined]
    return prior


def _pairs(found: Any) -> set[tuple[int, int]]:
    """The reader's pairs as a set. Raises `Wrong` for what are none."""
    try:
        return {(int(row), int(token)) for row, token in found}
    except (TypeError, ValueError):
        raise Wrong("a set of pairs (row, token) is asked for, and empty where nothing leaks.") from None


def _compare(found: set[tuple[int, int]], expected: set[tuple[int, int]], name: str) -> None:
    """Raise `Wrong` unless the pairs are those expected."""
    lawful = sorted(pair for pair in found if pair[1] < pair[0])
    if found == expected:
        return
    if {(token, row) for row, token in found} == expected:
        raise Wrong("the pairs are turned round: (row, token) is asked for, the row first.")
    if lawful:
        row, token = lawful[0]
        raise Wrong(f"row {row} may know token {token}, which comes before it. That's no leak.")
    if name == "no shift" and not found:
        raise Wrong("a row that knows its own token, the one it has to predict, leaks too.")
    missed, more = sorted(expected - found), sorted(found - expected)
    if missed:
        raise Wrong(f"{name}: row {missed[0][0]} knows token {missed[0][1]}, and that stays unseen.")
    raise Wrong(f"{name}: row {more[0][0]} doesn't know token {more[0][1]}. Edit one token at a time.")


FAULTS = {
    "A": "mask made for 8 places",
    "B": "shifted twice",
    "C": "honest",
    "D": "knows the next block's first token",
    "E": "remembers three tokens",
}
HINTS = {
    "mask made for 8 places": "Edit the last tokens but one, 9 and 10, and look at the rows from 8 on.",
    "shifted twice": "Edit token 5 and see which row is the first to change.",
    "honest": "Look at all edits: is anything filled on the diagonal or above, or empty below?",
    "knows the next block's first token": "Edit token 4 and then token 8, and look at the rows just before.",
    "remembers three tokens": "Edit token 0 and look at the last rows.",
}


def patients() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Five models of tokens `(B, 12)` below 16, A to E, one of them well: logits `(B, 12, 16)`."""
    rows, places = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    reads = {
        "mask made for 8 places": (places < rows) | (rows >= 8) & (places < LENGTH - 1),
        "shifted twice": places < rows - 1,
        "honest": places < rows,
        "knows the next block's first token": (places < rows) | (places % 4 == 0) & (places == rows + 1),
        "remembers three tokens": (places < rows) & (places >= rows - 3),
    }
    generator = torch.Generator().manual_seed(7)
    return {letter: _mixer(reads[fault], generator) for letter, fault in FAULTS.items()}


def _mixer(reads: torch.Tensor, generator: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
    """A model whose row i is a mix of the tokens j where `reads[i, j]`."""
    weights = torch.rand(reads.shape, generator=generator) + 0.5
    table = torch.randn(VOCABULARY, VOCABULARY, generator=generator)

    def model(tokens: torch.Tensor) -> torch.Tensor:
        return (reads * weights) @ table[tokens]

    model.vocabulary, model.length = VOCABULARY, LENGTH  # type: ignore[attr-defined]
    return model


@checker
def diagnoses(answer: Any) -> str:
    """The faults of the patients A to E, a dictionary of names."""
    diagnosis(answer, FAULTS, HINTS)
    return "each is what you say. Two of them keep the rule, and aren't well."


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
    if isinstance(answer, type):
        raise Wrong(f"that's a class. Hand in a model made of it: {answer.__name__}().")
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
    matrix = causality.influence(answer, VOCABULARY, LENGTH).triu()
    others = matrix[1:].any(dim=1).nonzero().flatten().tolist()
    if others:
        raise Wrong(f"row {others[0] + 1} knows more than it may as well. All rows but row 0 have to keep the rule.")
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
