"""Checkers of chapter 11, "Why a decoder goes wrong, and arithmetic that cannot"."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from arlib.exercises import Wrong, call, checker, diagnosis, number
from arlib.fixedpoint import EXACT, LARGEST, WEIGHT_UNIT
from arlib.tables import ATTENTION_BITS

NUMBERS, SUMS = 5, 8  # exercise 1: at most so many numbers, at least so many sums
LOGITS, STEP, FRAMES = 600 * 1024, 1 / 16, 1000  # exercise 2
PATIENCE = 10_000  # exercise 3: as many operations before a loop counts as endless


@checker
def orders(answer: Any) -> str:
    """Exercise 1: at most five numbers whose float32 sums, from left to right, take at least eight values."""
    if answer is None or answer is ...:
        raise Wrong("there is nothing here yet. Hand in a list of numbers.")
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple):
        raise Wrong("a list of numbers is asked for.")
    given = [number(value) for value in answer]
    if not 1 <= len(given) <= NUMBERS:
        raise Wrong(f"1 to {NUMBERS} numbers are asked for, and these are {len(given)}.")
    for value in given:
        if abs(value) > 1e9:
            raise Wrong(f"{value!r} is too large: each number lies between -10^9 and 10^9.")
        kept = float(np.float32(value))
        if kept != value:
            raise Wrong(f"float32 has no {value!r}: it would become {kept!r}. Take one that it has.")
    found = _sums(given)
    if len(found) < SUMS:
        shown = ", ".join(f"{value:.9g}" for value in sorted(found))
        raise Wrong(
            f"the orders of these give {len(found)} sum{'s' * (len(found) > 1)} ({shown}), and {SUMS} are asked for. "
            "What does a large number do to a small one that comes after it, and what if it has gone again?"
        )
    return f"{len(found)} different sums of the same {len(given)} numbers."


@checker
def apart(answer: Any) -> str:
    """Exercise 2: how near two computations must be so that rounding to 1/16 parts one logit in 1,000 frames."""
    given = number(answer)
    right = STEP / LOGITS / FRAMES
    mistakes = [
        (STEP / FRAMES / 600, "a token has 1,024 logits, and each of them has a boundary to fall across."),
        (STEP / FRAMES / 1024, "a frame has 600 tokens, and each of them has 1,024 logits."),
        (right / STEP**2, "the step is in the wrong place: a wider step is crossed less often, so ε may grow."),
        (STEP / LOGITS, "then one logit in every frame rounds apart; one in 1,000 frames is asked for."),
        (right / STEP, "that is the chance per logit, ε / step; ε itself is asked for."),
        (STEP / FRAMES, "that is for one logit a frame, and it has 600 · 1,024."),
        (1 / right, "that is 1 / ε: the other way round."),
        (right / 2, "half a step is too careful: boundaries are a whole step apart."),
        (2 * right, "boundaries are one step apart, not two."),
        (STEP / 1024, "that is for one logit a token, and there are 600,000 tokens."),
        (STEP / 600, "that is for 600 logits in all; each of 600,000 tokens has 1,024."),
    ]
    for mistake, reason in mistakes:
        if math.isclose(given, mistake, rel_tol=0.02):
            raise Wrong(reason)
    if given <= 0:
        raise Wrong("ε is a distance, so it's above zero; and if it were zero, nothing would need to be rounded.")
    if given >= STEP:
        raise Wrong("with an ε as wide as the step every logit rounds apart.")
    if not math.isclose(given, right, rel_tol=0.02):
        parted = LOGITS * FRAMES * given / STEP
        raise Wrong(f"then {parted:.2g} logits round apart: (number of logits in 1,000 frames) · ε / step has to be 1.")
    return f"ε = {right:.1e}: float32 logits of size 10 are spaced 1e-6 apart, ten thousand times as wide."


@checker
def quotient(answer: Callable) -> str:
    """Exercise 3: a quotient rounded down from an untrusted proposal, by products, sums and comparisons alone."""
    for number_, divisor, off in _divisions():
        right = number_ // divisor
        Whole.operations = 0
        given = call(answer, Whole(number_), Whole(divisor), Whole(right + off))
        value = given.value if isinstance(given, Whole) else given
        what = f"{number_} by {divisor}, proposal {right + off}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"for {what} a whole number is asked for, and this is of type {type(value).__name__}.")
        if value == right:
            continue
        if number_ < 0 and value == right + 1:
            raise Wrong(f"for {what} you get {value}. Rounding *down* goes away from zero here: {right}.")
        if value == right - 1 and right * divisor == number_:
            raise Wrong(
                f"for {what} you get {value}, and {number_} is just {right} · {divisor}: compare with ≤, not with <."
            )
        if value == right + off:
            raise Wrong(f"for {what} you return the proposal, which is {abs(off)} off.")
        if abs(off) > 1 and abs(value - right) < abs(off):
            raise Wrong(f"for {what} you come nearer, to {value}, and stop; it is {right}. How long must one repair?")
        if value * divisor > number_:
            raise Wrong(f"for {what} you get {value}, and {value} · {divisor} is more than {number_}: it is {right}.")
        more = f"{value + 1} · {divisor} is no more than {number_}"
        raise Wrong(f"for {what} you get {value}, but {more}: it is {right}.")
    return "exact whatever was proposed, for negative numbers too, and no division anywhere."


@checker
def patients(answer: Any) -> str:
    """Exercise 4: what is wrong with five matrix products of a twin."""
    diagnosis(answer, DIAGNOSES, HINTS)
    return "three of them pass every test with small random numbers; only the right question tells them apart."


@checker
def longest(answer: Any) -> str:
    """Exercise 5: the longest sequence over which a twin's attention is sure to be exact."""
    given = number(answer)
    right = (EXACT - 1) // (LARGEST << ATTENTION_BITS)
    mistakes: dict[float, str] = {
        2**31: "each value is multiplied by a weight of up to 2^20 before it is added.",
        2**33: "each weight, up to 2^20, is multiplied by a value of up to 2^22 - 1 before it is added.",
        2047: "one more fits: the largest value is 2^22 - 1, a little less than 2^22, so the sum stays below 2^53.",
        2049: "one too many: that sum could reach 2^53.",
        4096: "one bit too many: 2^53 over 2^20 · 2^22 is 2^11.",
        11: "that's the exponent: 2^11 fit.",
        1024: "one bit too careful: the sign has a place of its own in a float64, and all 53 bits count.",
        600: "that is how long a frame is; how long could it be?",
        2**53: "that is 2^53 itself, and the question is how many terms fit.",
    }
    if given in mistakes:
        raise Wrong(mistakes[given])
    if given < 1:
        raise Wrong("a sequence has one token at least.")
    if right < given < right + 1:
        raise Wrong("a number of tokens is whole: round it down.")
    if given > right:
        raise Wrong(f"{given:g} tokens are too many: {given:g} · 2^20 · (2^22 - 1) is no less than 2^53.")
    if given != right:
        raise Wrong(f"{given:g} is safe, but more is too: times 2^20 · (2^22 - 1), it has to stay below 2^53.")
    return f"{right:,} tokens: the sum is then at most 2^53 - {EXACT - right * (LARGEST << ATTENTION_BITS):,}."


def _sums(values: Sequence[float]) -> set[float]:
    """The sums of all orders, each from left to right in float32."""
    found = set()
    for order in itertools.permutations(map(np.float32, values)):
        total = np.float32(0)
        for value in order:
            total = np.float32(total + value)
        found.add(float(total))
    return found


def _divisions() -> list[tuple[int, int, int]]:
    """Numbers, divisors and how far a proposal is off; each kind of mistake meets its case first."""
    cases = [
        (100, 7, 0),
        (97, 7, 0),
        (100, 7, 1),
        (100, 7, -1),
        (100, 7, 5),
        (100, 7, -5),
        (98, 7, 0),
        (98, 7, -1),
        (97, 7, 1),
    ]
    cases += [(-100, 7, 0), (-100, 7, 1), (-1, 7, 1), (-98, 7, 0), (0, 7, 3), (6, 7, -2), (2**52 + 1, 3, 40)]
    for _ in range(60):
        number_, divisor = int(torch.randint(-(2**52), 2**52, ())), int(torch.randint(1, 2**30, ()))
        cases.append((number_, divisor, int(torch.randint(-40, 41, ()))))
    return cases


class Whole:
    """A whole number that can be added, subtracted, multiplied and compared, and nothing else."""

    operations = 0

    def __init__(self, value: int):
        self.value = value

    def __repr__(self) -> str:
        return str(self.value)

    @staticmethod
    def _of(other: Any) -> int:
        Whole.operations += 1
        if Whole.operations > PATIENCE:
            raise RuntimeError("this takes too long: a loop that does not end, or goes all the way")
        if isinstance(other, Whole):
            return other.value
        if type(other) is not int:
            raise TypeError(f"only whole numbers are used here, no {type(other).__name__}")
        return other

    def __add__(self, other: Any) -> "Whole":
        return Whole(self.value + self._of(other))

    def __sub__(self, other: Any) -> "Whole":
        return Whole(self.value - self._of(other))

    def __rsub__(self, other: Any) -> "Whole":
        return Whole(self._of(other) - self.value)

    def __mul__(self, other: Any) -> "Whole":
        return Whole(self.value * self._of(other))

    __radd__, __rmul__, __hash__ = __add__, __mul__, None  # type: ignore[assignment]

    def __neg__(self) -> "Whole":
        return Whole(-self.value)

    def __abs__(self) -> "Whole":
        return Whole(abs(self.value))

    def __lt__(self, other: Any) -> bool:
        return self.value < self._of(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= self._of(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > self._of(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= self._of(other)

    def __eq__(self, other: Any) -> bool:
        return self.value == self._of(other)

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("there is no division here, and no float: use +, -, * and comparisons")

    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _refuse
    __int__ = __float__ = __index__ = __round__ = __floor__ = __trunc__ = __pow__ = _refuse


# ---- Exercise 4: five matrix products `(N, columns) float64 · (rows, columns) float64 → (N, rows) float64` ----


def _sound(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return (x.double() @ matrix.double().T * 2.0**-WEIGHT_UNIT).round().clamp(-LARGEST, LARGEST)


def _in_float32(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(x), len(matrix))  # added one by one, so that every machine makes the same error
    for column in range(x.shape[1]):
        total = total + x[:, column, None].float() * matrix[None, :, column].float()
    return (total.double() * 2.0**-WEIGHT_UNIT).round().clamp(-LARGEST, LARGEST)


def _half_up(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return (x.double() @ matrix.double().T * 2.0**-WEIGHT_UNIT + 0.5).floor().clamp(-LARGEST, LARGEST)


def _toward_zero(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return (x.double() @ matrix.double().T * 2.0**-WEIGHT_UNIT).trunc().clamp(-LARGEST, LARGEST)


def _wraps(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    half = LARGEST + 1
    rounded = (x.double() @ matrix.double().T * 2.0**-WEIGHT_UNIT).round().long()
    return ((rounded + half) % (2 * half) - half).double()


PRODUCTS = {"A": _half_up, "B": _wraps, "C": _sound, "D": _in_float32, "E": _toward_zero}
DIAGNOSES = {
    "A": "rounds ties up",
    "B": "wraps around",
    "C": "healthy",
    "D": "adds in float32",
    "E": "rounds toward zero",
}
HINTS = {
    "rounds ties up": "Give it sums that lie exactly between two units: half of 2^16, three halves, and so on.",
    "wraps around": "Give it sums that are too large for an activation, and too small.",
    "healthy": "It does all that the rule says: did you compare it on ties, on large sums and on small ones?",
    "adds in float32": "Give it a sum above 2^24, with a small term after a large one.",
    "rounds toward zero": "Give it sums that are not whole units, positive and negative ones.",
}
