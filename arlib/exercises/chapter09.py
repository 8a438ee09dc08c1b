"""Checkers of chapter 9, "Information and codes"."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch

from arlib.exercises import Wrong, call, checker, number

# The faults of exercise 4: counted before it is paid for, and a left neighbor from the other end.
FAULTS: list[tuple[dict, str]] = [
    ({"peek": True, "wrap": True}, "Nothing has changed: a token is counted before it is paid for, and more."),
    ({"peek": True}, "A token is still counted before it is paid for; the decoder does not know it yet."),
    ({"wrap": True}, "The last token still stands to the left of the first; the decoder does not know it yet."),
    ({"free": True}, "The first token is never paid for; the decoder needs it too."),
    ({"start": 1.0}, "A decoder exists, but your counts start at 1, and the colleague's at 1/2."),
    ({"moves": False}, "A decoder exists, but the token to the left never changes: after each one, it has to move on."),
    ({"counts": False}, "A decoder exists, but nothing is counted: every token costs the same."),
]


@checker
def words(answer: Callable) -> str:
    """Exercise 1: the words of a prefix code with given lengths, in any order, or None where there is none."""
    cases = [[2, 2, 2], [1, 2, 3, 3], [3, 1, 3, 2], [4, 4, 1], [1, 1, 2], [1, 1], [2, 1, 3, 3, 3], [5]]
    cases += [torch.randint(1, 9, (int(torch.randint(2, 12, ())),)).tolist() for _ in range(60)]
    for lengths in cases:
        spent = sum(Fraction(1, 2**length) for length in lengths)
        given = _words(answer, lengths, stub=lengths == cases[0])
        if spent > 1:
            if given is not None:
                raise Wrong(
                    f"lengths {lengths} spend {spent} of the budget; there is no such code, and None is asked for."
                )
            continue
        if given is None:
            raise Wrong(
                f"for lengths {lengths} you return None, but they spend {spent} of the budget: there is a code."
            )
        if len(given) != len(lengths):
            raise Wrong(f"lengths {lengths} ask for {len(lengths)} words, and you return {len(given)}.")
        if not all(isinstance(word, str) and not set(word) - {"0", "1"} for word in given):
            raise Wrong(
                f'words are strings of the letters 0 and 1, as "110"; for lengths {lengths} you return {given}.'
            )
        found = [len(word) for word in given]
        if found != lengths and sorted(found) == sorted(lengths):
            raise Wrong(f"the words for {lengths} have the lengths {found}: right ones, but not in the same places.")
        if found != lengths:
            raise Wrong(f"the words for {lengths} have the lengths {found}. Do you pad with zeros on the left?")
        for one, other in itertools.permutations(given, 2):
            if other.startswith(one):
                raise Wrong(f"for lengths {lengths} the word {one} begins the word {other}; your words are {given}.")
    return "each word has its length, none begins another, and where the budget is overspent there is no code."


@checker
def kl(answer: Callable) -> str:
    """Exercise 2: the relative entropy of two distributions in bits, zeros included."""
    for trial in range(8):
        p, q = (torch.rand(7, dtype=torch.float64).pow(3) + 1e-3 for _ in range(2))
        if trial >= 2:  # what never comes costs nothing, even where q rules it out too
            p[torch.randperm(7)[:2]] = 0
        if trial >= 4:
            q[p == 0] = 0
        if trial >= 6:  # and what comes although q rules it out costs everything
            q[p.argmax()] = 0
        p, q = p / p.sum(), q / q.sum()
        given = _maybe_infinite(call(answer, p, q))
        right, other = _relative(p, q), _relative(q, p)
        if math.isnan(given):
            raise Wrong("you get NaN where p is 0: 0 · log 0 counts as 0. Sum over the entries where p is above 0.")
        if _close(given, right):
            continue
        _explain_kl(given, right, other, p, q)
    return "the fine for believing q, in bits; nothing for what never comes, and infinite for what q rules out."


@checker
def breaks_shannon(answer: Any) -> str:
    """Exercise 3: weights for which Huffman's word is two bits longer than Shannon's, however ties are broken."""
    if answer is None or answer is ...:
        raise Wrong("there is nothing here yet. Hand in a list of whole numbers.")
    if isinstance(answer, torch.Tensor):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple) or not all(type(weight) is int for weight in answer):
        raise Wrong("a list of whole numbers is asked for; each is a weight, not a probability.")
    if not 2 <= len(answer) <= 12:
        raise Wrong(f"2 to 12 weights are asked for, and these are {len(answer)}.")
    if min(answer) < 1:
        raise Wrong("every weight has to be at least 1.")
    total = sum(answer)
    # The smallest n with 2^n · weight >= total is the surprise rounded up, without a float.
    shannon = [next(n for n in itertools.count() if weight << n >= total) for weight in answer]
    longer = _longer(answer, shannon)
    if max(longer) < 2:
        told = f"one is {max(longer)} bit longer" if max(longer) > 0 else "none is longer"
        raise Wrong(f"of these words {told} than ⌈−log2 p⌉; two bits are asked for. How do words get long?")
    if min(longer) < 2:
        raise Wrong("that depends on how ties are broken: another Huffman code for these weights has no such word.")
    return f"a word is {min(longer)} bits longer than ⌈−log2 p⌉, whichever way ties are broken."


@checker
def honest_size(answer: Callable) -> str:
    """Exercise 4: adaptive pairs of tokens, counted after they were paid for, and no token from the end."""
    for codes, length in ((3, 4), (2, 4), (2, 1), (3, 5)):
        every = [torch.tensor(message) for message in itertools.product(range(codes), repeat=length)]
        sizes = [number(call(answer, message, codes)) for message in every]
        spent = math.fsum(2.0**-size for size in sizes)
        world = f"over all messages of {length} token{'s' * (length > 1)} of {codes} codes"
        right_sizes = [_size()(message, codes) for message in every]
        if _all_close(sizes, [right * math.log(2) for right in right_sizes]):
            raise Wrong("these are nats: take the logarithm to the base 2.")
        if length > 1 and _all_close(sizes, [right / length for right in right_sizes]):
            raise Wrong("that is the mean of a token; the bits of the whole message are asked for.")
        for changes, reason in FAULTS:
            mistaken = [_size(**changes)(message, codes) for message in every]
            if _all_close(sizes, mistaken) and not _all_close(sizes, right_sizes):
                raise Wrong(f"Kraft's sum {world} is {spent:.3f}. {reason}")
        if spent > 1 + 1e-4:
            raise Wrong(f"Kraft's sum {world} is {spent:.3f}, more than 1: no decoder can do it.")
        for size, right, message in zip(sizes, right_sizes, every, strict=True):
            if _close(size, right):
                continue
            raise Wrong(
                f"Kraft's sum {world} is {spent:.3f}, so a decoder may exist, but it is another model: for "
                f"{message.tolist()} you get {size:.3f} bits, and it is {right:.3f}. Counts start at 1/2 in every row."
            )
    return "Kraft's sum is 1: every probability is made of what the decoder knows too."


@checker
def smaller_weights(answer: Any) -> str:
    """Exercise 5: up to how many frames 8 bits a weight pay when they cost 0.02 bits a token."""
    weights, more, tokens = 2_279_808, 0.02, 600
    right = 8 * weights / (more * tokens)
    given = number(answer)
    mistakes = {
        right / 8: "you have divided bytes by bits: a weight saves eight bits, and 0.02 is in bits too.",
        right * 2: "8 of 16 bits are saved for each weight, not 16.",
        right * tokens: "that is a number of tokens, not of frames.",
        right / tokens: "0.02 bits are for a token, and a frame has 600 of them.",
        right * more: "a frame doesn't lose 600 bits: each of its 600 tokens costs 0.02 bits more.",
        right * 8: "a weight saves eight bits, one byte; you have counted eight bytes.",
        right / 4: "you have divided bytes by bits, and counted the whole file instead of what is saved.",
    }
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=1e-3):
            raise Wrong(reason)
    if abs(given - right) > 1:
        raise Wrong("that is not where the two cross: bits saved once, over bits lost with every frame.")
    return f"{right:,.0f} frames: {8 * weights:,} bits saved once, {more * tokens:.0f} lost with every frame."


def _words(answer: Callable, lengths: list[int], stub: bool) -> Any:
    """What the reader's function returns. None is an answer here, but not to the first case, where a stub says so."""
    try:
        given = call(answer, lengths)
    except Wrong as wrong:
        if stub or "returns nothing yet" not in str(wrong):
            raise
        return None
    return list(given) if isinstance(given, list | tuple) else [given]


def _maybe_infinite(answer: Any) -> float:
    """A number that may be infinite or NaN, which `number` refuses."""
    try:
        return number(answer) if isinstance(answer, bool | str) else float(answer)
    except (TypeError, ValueError, RuntimeError):
        return number(answer)


def _explain_kl(given: float, right: float, other: float, p: torch.Tensor, q: torch.Tensor) -> None:
    finite = math.isfinite(right)
    if not finite:
        raise Wrong("where p is above 0 and q is 0 the fine is infinite, and you get a number. Add nothing to q.")
    if not math.isfinite(given):
        raise Wrong("you get infinity where p and q are both 0, or p alone is: what never comes costs nothing.")
    entropy = -torch.special.xlogy(p, p).sum().item() / math.log(2)
    mistakes = [
        (right * math.log(2), "these are nats: take the logarithm to the base 2."),
        (-right, "the sign is wrong: a fine is never negative."),
        (other, "that is KL(q ‖ p): the weights have to be p, what really comes."),
        (-other, "you weigh by q; tokens come with p."),
        ((p / q).log2().sum().item(), "every code counts as much as another; weigh each by p, how often it comes."),
        (right + entropy, "that is the cross-entropy; take the entropy of p off."),
        (right / len(p), "that is a mean over the codes; the sum is asked for."),
    ]
    for mistake, reason in mistakes:
        if math.isfinite(mistake) and _close(given, mistake):
            raise Wrong(reason)
    shown = ", ".join(f"{value:.3f}" for value in p.tolist()), ", ".join(f"{value:.3f}" for value in q.tolist())
    raise Wrong(f"for p = [{shown[0]}] and q = [{shown[1]}] you get {given:.4f}, and it is {right:.4f}.")


def _relative(p: torch.Tensor, q: torch.Tensor) -> float:
    pairs = [(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0]
    return math.inf if any(b == 0 for _, b in pairs) else math.fsum(a * math.log2(a / b) for a, b in pairs)


def _close(given: float, right: float) -> bool:
    return given == right or math.isclose(given, right, rel_tol=1e-4, abs_tol=1e-5)


def _all_close(given: list[float], right: list[float]) -> bool:
    return all(map(_close, given, right))


def _longer(weights: Sequence[int], shannon: Sequence[int]) -> set[int]:
    """By how many bits the worst word is longer than Shannon's, in each of the Huffman codes that ties allow.

    Of a tree that is not finished only its weight matters and how its worst word stands; a join adds a bit to each.
    """

    @functools.cache
    def found(trees: tuple[tuple[int, int], ...]) -> set[int]:
        if len(trees) == 1:
            return {trees[0][1]}
        lightest, worsts = [weight for weight, _ in trees[:2]], set()
        for pair in itertools.combinations(range(len(trees)), 2):
            if [trees[place][0] for place in pair] == lightest:
                rest = [tree for place, tree in enumerate(trees) if place not in pair]
                joined = sum(lightest), 1 + max(trees[place][1] for place in pair)
                worsts |= found(tuple(sorted([*rest, joined])))
        return worsts

    return found(tuple(sorted((weight, -length) for weight, length in zip(weights, shannon, strict=True))))


def _size(
    peek: bool = False,
    wrap: bool = False,
    free: bool = False,
    start: float = 0.5,
    moves: bool = True,
    counts: bool = True,
) -> Callable:
    """The exercise's model; with the colleague's two faults, and those of others, where they are asked for."""

    def size(tokens: torch.Tensor, codes: int) -> float:
        seen = [[start] * codes for _ in range(codes)]
        before, bits = (int(tokens[-1]) if wrap else 0), 0.0
        for place, token in enumerate(tokens.tolist()):
            seen[before][token] += peek
            if not (free and place == 0):
                bits -= math.log2(seen[before][token] / sum(seen[before]))
                seen[before][token] += counts and not peek
            before = token if moves else before
        return bits

    return size
