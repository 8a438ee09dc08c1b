"""Checkers of chapter 10, "A range coder"."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch

from arlib import exercises, rangecoder
from arlib.exercises import Wrong, call, checker, number

Carry = Callable[[bytearray], None]
Finish = Callable[[rangecoder.Encoder], bytes]


@checker
def shortest_word(answer: Callable) -> str:
    """Exercise 1: the shortest word all of whose continuations lie in the interval."""
    # The whole of [0, 1) comes last: it would hide what is wrong with the others.
    for low, width in [*_intervals(200), (Fraction(0), Fraction(1))]:
        word = call(answer, low, width)
        if not isinstance(word, str) or set(word) - {"0", "1"}:
            raise Wrong(f"a string of the letters 0 and 1 is asked for, and this is {word!r}.")
        begin = Fraction(int(word or "0", 2), 2 ** len(word))
        end = begin + Fraction(1, 2 ** len(word))
        case = f"for low = {_short(low)} and width = {_short(width)}"
        if not low <= begin < low + width:
            raise Wrong(f"{case} {_cut(word)} followed by zeros is not in the interval. Are all steps exact?")
        if end > low + width:
            raise Wrong(f"{case} {_cut(word)} followed by zeros is in the interval, but followed by ones it is not.")
        right = _inside(low, width)
        if len(word) > len(right):
            why = "How many are needed depends on where the interval lies, not only on how wide it is."
            if Fraction(1, 2 ** len(right)) == width:
                why = (
                    "It stands for exactly this interval. Both have their lower end in them, and neither its upper end."
                )
            raise Wrong(f"{case} you return {_cut(word)}, and {_cut(right)} is enough. {why}")
        if word != right:
            raise Wrong(f"{case} you return {_cut(word)}; {_cut(right)} is as short, and a smaller number.")
    return "every number that begins with the word is in the interval, and no shorter word can say that."


@checker
def breaks_carryless(counts: Any, message: Any) -> str:
    """Exercise 2: two counts and a message with a carry through two ffs, which the carryless coder gets wrong."""
    counts, message = _whole(counts, "counts"), _whole(message, "the message")
    if len(counts) != 2:
        raise Wrong(f"an alphabet of two symbols has two counts, and these are {len(counts)}.")
    if min(counts) < 1:
        raise Wrong("a count below 1 is no part of the interval: that would break any coder.")
    if sum(counts) > rangecoder.MAX_TOTAL:
        raise Wrong("the counts sum to more than 2^24.")
    if not set(message) <= {0, 1}:
        raise Wrong("the message may hold zeros and ones alone.")
    if len(message) > 40:
        raise Wrong(f"the message has {len(message)} symbols, and 40 are allowed.")
    table = [0, counts[0], sum(counts)]
    payload, given_out, passed = _carryless(message, table)
    if not given_out:
        bits = sum(-math.log2(counts[symbol] / sum(counts)) for symbol in message)
        raise Wrong(
            f"no byte has been given out yet, so no carry can reach one: your message is worth {bits:.1f} bits. "
            "Make it longer."
        )
    if not passed:
        raise Wrong(
            f"no carry was needed on the way, and low is at {given_out} and more. Keep one number, such as one half, "
            "inside the interval until some bytes are out, low below it; then go above it."
        )
    if max(passed) < 2:
        found = "one ff" if max(passed) else "no ff"
        raise Wrong(
            f"there was a carry on the way, but through {found}, and two in a row are asked for: stay around that "
            "number for longer before you go above it."
        )
    decoder = rangecoder.Decoder(payload)
    if [decoder.decode(table) for _ in message] == message:
        raise Wrong("the carryless coder's file decodes to your message: it lost a carry, but without harm.")
    return "a carry had to pass two bytes of ff, and the carryless coder's file decodes to another message."


@checker
def diagnosis(answer: Any) -> str:
    """Exercise 3: what is wrong with each of the five `CODERS`."""
    exercises.diagnosis(answer, PATIENTS, HINTS)
    return "a look at the payload tells the two sides apart, and a carry has to be provoked."


@checker
def learned(answer: Callable) -> str:
    """Exercise 4: the decoder whose counts start at one, and grow by one for each symbol after it was coded."""
    for size in (2, 5, 40, 300):
        symbols = (size * torch.rand(60).pow(4)).long().tolist()
        payload = rangecoder.encode(symbols, _tables(symbols, size))
        given = _whole(call(answer, payload, size, len(symbols)), "your answer")
        if given == symbols:
            continue
        if len(given) != len(symbols):
            raise Wrong(f"{len(symbols)} symbols are asked for, and you return {len(given)}.")
        for mistake, reason in LEARNERS.items():
            if given == _read(payload, size, len(symbols), *mistake):
                raise Wrong(reason)
        place = next(t for t in range(len(symbols)) if given[t] != symbols[t])
        raise Wrong(
            f"of {len(symbols)} symbols among {size}, symbol {place} is {symbols[place]}, and you get {given[place]}. "
            f"Before it the counts must sum to {size + place}."
        )
    return "the tables come from the symbols alone, so the decoder can make each in time."


@checker
def bits_of_the_total(answer: Any) -> str:
    """Exercise 5: how fine tables of 4,096 symbols must be to cost 600 tokens at most one bit."""
    given = number(answer)
    if given != int(given):
        raise Wrong("a whole number is asked for: the exponent n of the total.")
    if given >= 1 << 12:
        raise Wrong("that looks like the total 2^n itself; n is asked for.")
    if given <= 12:
        raise Wrong("with 2^12 counts or fewer there is no more than the one count for each of the 4,096 codes.")
    cost = -600 * math.log2(1 - 2.0 ** (12 - given))
    if given == 13:
        raise Wrong("that is for one token; a frame has 600 of them.")
    if cost > 1:
        more = " (20 was right for 1,024 codes)" if given == 20 else ""
        raise Wrong(f"with n = {given:.0f} a frame may pay {cost:.2f} bits for the floor{more}.")
    if cost <= 0.5:
        raise Wrong(f"with n = {given:.0f} a frame pays at most {cost:.3f} bits: enough, but a smaller n will do.")
    return f"{cost:.2f} bits at most; one bit fewer in the total, and it would be twice as much."


class _Carrying(rangecoder.Encoder):
    """An encoder with a carry of its own; `passed` tells through how many ffs each carry had to pass."""

    def __init__(self, add_one: Carry) -> None:
        super().__init__()
        self.add_one, self.passed = add_one, list[int]()

    def carry(self) -> None:
        self.passed.append(len(self.shifted) - len(self.shifted.rstrip(b"\xff")))
        self.add_one(self.shifted)


def _encode(symbols: Sequence[int], tables: Any, carry: Carry) -> _Carrying:
    """An encoder that has coded the symbols with the given carry."""
    coder = _Carrying(carry)
    for symbol, table in zip(symbols, tables, strict=True):
        coder.encode(symbol, table)
    return coder


def _one_byte(shifted: bytearray) -> None:
    shifted[-1] = (shifted[-1] + 1) % 256


def _carryless(message: Sequence[int], table: list[int]) -> tuple[bytes, str, list[int]]:
    """What `Carryless` writes, the bytes in hex that a right coder gives out, and how many ffs its carries pass."""
    tables = [table] * len(message)
    right, wrong = (_encode(message, tables, carry) for carry in (rangecoder._carry, lambda shifted: None))
    return bytes(wrong.shifted) + wrong.low.to_bytes(8, "big"), right.shifted.hex(" "), right.passed


def _coder(carry: Carry = rangecoder._carry, finish: Finish = rangecoder.Encoder.finish) -> tuple[Callable, Callable]:
    """The two functions of a coder of exercise 3, with the given carry and flush."""

    def encode(symbols: Sequence[int], tables: Any) -> bytes:
        return finish(_encode(symbols, list(map(rangecoder.cumulate, tables)), carry))

    def decode(payload: bytes, tables: Any) -> list[int]:
        decoder = rangecoder.Decoder(payload)
        return [decoder.decode(rangecoder.cumulate(table)) for table in tables]

    return encode, decode


# Exercise 3: what is wrong with each of five coders, and how to find out.
FAULTS = {
    "nothing is flushed": _coder(finish=lambda coder: bytes(coder.shifted)),
    "the carry stops after one byte": _coder(_one_byte),
    "healthy": _coder(),
    "the flush rounds down": _coder(finish=lambda coder: bytes([*coder.shifted, coder.low >> 56])),
    "the carry is lost": _coder(lambda shifted: None),
}
CODERS = dict(zip("ABCDE", FAULTS.values(), strict=True))
PATIENTS = dict(zip("ABCDE", FAULTS, strict=True))
HINTS = {
    "nothing is flushed": "Compare its payload with the one of rangecoder.encode: is a byte missing at the end?",
    "the carry stops after one byte": "Try counts 127, 2, 127 and the message 1, 1, 1, 1, 1, 2, and then fewer ones.",
    "healthy": "Compare its payloads with those of rangecoder.encode, and decode them again.",
    "the flush rounds down": "Which tokens are wrong? Compare the last byte of its payloads with rangecoder.encode's.",
    "the carry is lost": "Try counts 127, 2, 127 and the message 1, 1, 2: its carry passes no ff.",
}
# Exercise 4: the count at the beginning, how much a symbol adds, and how late; and what to say to it.
LEARNERS = {
    (1, 0, 0): "your counts never change: add one to the count of each symbol that you have found.",
    (1, 2, 0): "each symbol adds two to its count, and one is right. Is it counted twice?",
    (2, 1, 0): "your counts start at two, and one is right.",
    (1, 1, 1): "each symbol is counted one step late: the table for the next symbol has to know it.",
}


def _tables(symbols: Sequence[int], size: int, start: int = 1, more: int = 1, late: int = 0) -> list[list[int]]:
    """The tables that a message is coded with; `late` leaves out the last symbols before each."""
    before = [symbols[: max(t - late, 0)] for t in range(len(symbols))]
    return [[start + more * known.count(symbol) for symbol in range(size)] for known in before]


def _read(payload: bytes, size: int, length: int, start: int, more: int, late: int) -> list[int]:
    """What a decoder finds that learns in another way."""
    decoder, found = rangecoder.Decoder(payload), [0]  # a place for the next symbol, whose table is made of the others
    for _ in range(length):
        table = _tables(found, size, start, more, late)[-1]
        found.insert(-1, decoder.decode(rangecoder.cumulate(table)))
    return found[:-1]


def _intervals(count: int) -> list[tuple[Fraction, Fraction]]:
    """Intervals that a word stands for exactly, then random ones, down to narrower than a float can tell apart."""
    intervals = []
    for index in range(count // 4):
        whole = 2 ** (1 + index % 12)
        intervals.append((Fraction(_random(whole), whole), Fraction(1, whole)))
    for index in range(count):
        whole = 10 ** (1 + index % 40)
        low = _random(whole)
        end = min(low + 1 + _random(50 if index % 2 else whole), whole)
        intervals.append((Fraction(low, whole), Fraction(end - low, whole)))
    return intervals


def _random(below: int) -> int:
    """A random whole number, of any size."""
    digits = torch.randint(1 << 30, (6,)).tolist()
    return sum(digit << 30 * place for place, digit in enumerate(digits)) % below


def _inside(low: Fraction, width: Fraction) -> str:
    n = 0
    while math.ceil(low * 2**n) + 1 > (low + width) * 2**n:
        n += 1
    return f"{math.ceil(low * 2**n):0{n}b}" if n else ""


def _short(value: Fraction) -> str:
    return str(value) if value.denominator < 10**9 else f"about {float(value):.6g}"


def _cut(word: str) -> str:
    """A word in quotes, so that one sees where it begins and ends."""
    if not word:
        return 'the empty word ""'
    return f'"{word}"' if len(word) <= 24 else f'"{word[:20]}…" ({len(word)} bits)'


def _whole(values: Any, name: str) -> list[int]:
    """A sequence of whole numbers as ints. Raises `Wrong` for anything else."""
    if values is None or values is ...:
        raise Wrong(f"{name}: nothing here yet.")
    try:
        found = list(values)
    except TypeError:
        raise Wrong(f"{name} must be a list of whole numbers.") from None
    if not found:
        raise Wrong(f"{name}: the list is empty.")
    if not all(hasattr(value, "__index__") for value in found):
        raise Wrong(f"{name} must be a list of whole numbers.")
    return [int(value) for value in found]
