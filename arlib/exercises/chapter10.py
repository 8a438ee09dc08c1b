"""Checkers of chapter 10, "A range coder"."""

import heapq
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import torch

from arlib import codec, rangecoder
from arlib.exercises import Wrong, call, checker, number


@checker
def surprise(answer: Callable) -> str:
    """Exercise 1: the sum of -log2 of the probability of each symbol, in bits."""
    probabilities = torch.rand(40, 9).double().pow(3).add(1e-3)
    probabilities /= probabilities.sum(-1, keepdim=True)
    symbols = torch.randint(9, (40,))
    of_all = -probabilities.log2()
    of_symbols = of_all.gather(1, symbols[:, None])[:, 0]
    right = of_symbols.sum().item()
    shift = "row t of the probabilities belongs to symbol t, and yours are shifted by one."
    pairs = symbols[:, None]
    mistakes = {
        right * math.log(2): "these are nats: take the logarithm to the base 2.",
        right * math.log10(2): "that is with the logarithm to the base 10: take it to the base 2.",
        of_all[:, symbols]
        .sum()
        .item(): "p[:, symbols] takes every row for every symbol; one of each row is asked for.",
        of_all[:-1].gather(1, pairs[1:]).sum().item(): shift,
        of_all[1:].gather(1, pairs[:-1]).sum().item(): shift,
        of_all.gather(1, pairs.roll(1, 0)).sum().item(): shift,
        of_all.gather(1, pairs.roll(-1, 0)).sum().item(): shift,
        of_symbols[1:].sum().item(): "the first symbol is missing.",
        of_symbols[:-1].sum().item(): "the last symbol is missing.",
        right / 40: "that is the mean per symbol; the sum is asked for.",
        -right: "the sign is wrong: a logarithm of a probability is negative, a surprise is not.",
        (probabilities * of_all).sum().item(): "that is the sum of the entropies, which does not look at the symbols.",
        of_all.amin(-1).sum().item(): "that is the surprise of the likeliest symbols, not of those that came.",
        of_symbols.ceil().sum().item(): "that is rounded up at each symbol; a surprise is not a whole number.",
        of_all.sum().item(): "that is the sum over all symbols of the alphabet, and not over those that came.",
    }
    given = number(call(answer, probabilities, symbols))
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=1e-6):
            raise Wrong(reason)
    if not math.isclose(given, right, rel_tol=1e-6):
        raise Wrong(f"for a random message of 40 symbols you get {given:.3f} bits, and it is {right:.3f}.")
    return "the sum of -log2 of the probability of what came, in bits."


@checker
def shortest_word(answer: Callable) -> str:
    """Exercise 2: the shortest word all of whose continuations lie in the interval."""
    # The whole of [0, 1) comes last: it would hide what is wrong with the others.
    for low, width in [*_exact_words(40), *_intervals(200), (Fraction(0), Fraction(1))]:
        word = call(answer, low, width)
        if not isinstance(word, str) or set(word) - {"0", "1"}:
            raise Wrong(f"a string of the letters 0 and 1 is asked for, and this is {word!r}.")
        begin = Fraction(int(word or "0", 2), 2 ** len(word))
        end = begin + Fraction(1, 2 ** len(word))
        case = f"for low = {_short(low)} and width = {_short(width)}"
        if not low <= begin < low + width:
            raise Wrong(
                f"{case} the number that is {_cut(word)} followed by zeros is not in the interval. Are all steps exact?"
            )
        if end > low + width:
            raise Wrong(f"{case} {_cut(word)} followed by zeros is in the interval, but followed by ones it is not.")
        right = _inside(low, width)
        if len(word) > len(right) and not right:
            raise Wrong(f"{case} the empty word is enough: all numbers from 0 to 1 are in the interval.")
        if len(word) > len(right) and Fraction(1, 2 ** len(right)) == width:
            raise Wrong(
                f"{case} {_cut(right)} is enough: it stands for exactly this interval. "
                "Both have their lower end in them, and neither its upper end."
            )
        if len(word) > len(right):
            raise Wrong(
                f"{case} the word has {len(word)} bits, and {len(right)} are enough. "
                "How many are needed depends on where the interval lies, not only on how wide it is."
            )
        if word != right:
            raise Wrong(f"{case} another word of {len(word)} bits is a smaller number.")
    return "every number that begins with the word is in the interval, and no shorter word can say that."


@checker
def breaks_carryless(counts: Any, message: Any) -> str:
    """Exercise 3: two counts and a message with a carry through two ffs, which the carryless coder gets wrong."""
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
    cumulative = [0, counts[0], sum(counts)]
    payload, passed = _carryless(message, cumulative)
    if not passed:
        raise Wrong("no carry was needed on the way.")
    if max(passed) < 2:
        found = "one ff" if max(passed) else "no ff"
        raise Wrong(f"there was a carry on the way, but through {found}, and two in a row are asked for.")
    decoder = rangecoder.Decoder(payload)
    if [decoder.decode(cumulative) for _ in message] == message:
        raise Wrong("the carryless coder's file decodes to your message: it lost a carry, but without harm.")
    return "a carry had to pass two bytes of ff, and the carryless coder's file decodes to another message."


@checker
def forge(answer: Callable) -> str:
    """Exercise 4: one bit of the payload flipped, and the file's checksum repaired."""
    for _ in range(3):
        file = _file()
        forged = call(answer, file)
        if not isinstance(forged, bytes | bytearray):
            raise Wrong(f"bytes are asked for, and this is of type {type(forged).__name__}.")
        forged = bytes(forged)
        if len(forged) != len(file):
            raise Wrong(f"the file had {len(file)} bytes, and yours has {len(forged)}.")
        if forged == file:
            raise Wrong("nothing has changed.")
        if forged[: codec.CHECKED] != file[: codec.CHECKED]:
            raise Wrong("the first 12 bytes have changed, and only the payload and the file's checksum may.")
        size = codec.HEADER.size
        flips = sum((one ^ other).bit_count() for one, other in zip(file[size:], forged[size:], strict=True))
        if flips != 1:
            raise Wrong(f"one bit of the payload is to be flipped, and {flips} are.")
        try:
            codec.read_header(forged)
        except codec.CodecError as error:
            raise Wrong(f"read_header refuses it: {error}{_why(forged, file)}") from None
    return "read_header takes the forged file for a good one; only the tokens' checksum can tell."


@checker
def bits_per_flip(answer: Any) -> str:
    """Exercise 5: Huffman on blocks of ten flips of a coin with probability 0.97."""
    p, n = 0.97, 10
    blocks = [math.prod(block) for block in product((p, 1 - p), repeat=n)]
    lengths = _huffman(blocks)
    right = math.fsum(map(float.__mul__, blocks, map(float, lengths))) / n
    entropy = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    given = number(answer)
    mistakes = {
        right * n: "that is for a block of ten flips; divide by ten.",
        sum(lengths) / len(lengths) / n: "that is the plain mean of the words' lengths; likely words count more.",
        sum(lengths) / len(lengths): "that is the plain mean of the words' lengths; likely words count more.",
        1.0: "that is what single flips pay.",
        entropy: "that is the entropy, which no code reaches here.",
        right - entropy: "that is what is lost; asked for is what is paid.",
    }
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=2e-3):
            raise Wrong(reason)
    if abs(given - right) >= 1e-3:
        raise Wrong(
            "that is not what Huffman pays; the lengths of all 1024 words are huffman(…) of their probabilities."
        )
    return f"{right:.4f} bits per flip, measured again; the entropy is {entropy:.4f}."


def _intervals(count: int) -> list[tuple[Fraction, Fraction]]:
    """Random intervals inside [0, 1), from wide to narrower than a float can tell apart."""
    intervals = []
    for index in range(count):
        denominator = 10 ** (1 + index % 40)
        ends = sorted({_random(denominator + 1), _random(denominator + 1)})
        if index % 2 and denominator > 100:
            ends = [ends[0], min(ends[0] + 1 + _random(50), denominator)]
        if len(ends) == 2 and ends[0] < ends[1]:
            intervals.append((Fraction(ends[0], denominator), Fraction(ends[1] - ends[0], denominator)))
    return intervals


def _exact_words(count: int) -> list[tuple[Fraction, Fraction]]:
    """Intervals that a word stands for exactly, from half of [0, 1) on."""
    found = []
    for index in range(count):
        whole = 2 ** (1 + index % 12)
        found.append((Fraction(_random(whole), whole), Fraction(1, whole)))
    return found


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
    if not word:
        return "the empty word"
    return word if len(word) <= 24 else word[:20] + "…"


def _whole(values: Any, name: str) -> list[int]:
    """A sequence of whole numbers as ints. Raises `Wrong` for anything else."""
    if values is None or values is ...:
        raise Wrong(f"{name}: nothing here yet.")
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    try:
        found = list(values)
    except TypeError:
        raise Wrong(f"{name} must be a list of whole numbers.") from None
    if not found:
        raise Wrong(f"{name}: the list is empty.")
    if not all(hasattr(value, "__index__") for value in found):
        raise Wrong(f"{name} must be a list of whole numbers.")
    return [int(value) for value in found]


def _carryless(message: Sequence[int], cumulative: list[int]) -> tuple[bytes, list[int]]:
    """What the chapter's `Carryless` writes, and for each carry that it lost how many ffs that had to pass."""
    full = rangecoder.FULL
    low, width, shifted, passed = 0, full, bytearray(), []
    right = rangecoder.Encoder()
    for symbol in message:
        first, end, total = cumulative[symbol], cumulative[symbol + 1], cumulative[-1]
        count = width // total
        low, width = low + count * first, count * (end - first) if end < total else width - count * first
        if low >= full:
            passed.append(len(right.shifted) - len(right.shifted.rstrip(b"\xff")))
        right.encode(symbol, cumulative)
        low %= full
        while width < rangecoder.LEAST:
            shifted.append(low >> 56)
            low, width = (low << 8) % full, width << 8
    return bytes(shifted) + low.to_bytes(8, "big"), passed


def _file() -> bytes:
    """A file whose header is right, with a payload that no prior has made."""
    payload = bytes(torch.randint(1, 256, (int(torch.randint(20, 300, ()).item()),)).tolist())
    start = b"PTB\x01" + bytes(torch.randint(256, (8,)).tolist())
    return start + struct.pack("<I", zlib.crc32(payload, zlib.crc32(start))) + payload


def _why(forged: bytes, file: bytes) -> str:
    """What was done with the checksum, where it can be told."""
    checked, size = codec.CHECKED, codec.HEADER.size
    right = zlib.crc32(forged[size:], zlib.crc32(forged[:checked]))
    found = forged[checked:size]
    reasons = {
        file[checked:size]: "the checksum is still the old one.",
        struct.pack(">I", right): "its bytes are in the wrong order; the lowest comes first.",
        struct.pack("<I", zlib.crc32(forged[size:])): "it covers the payload alone, and not the bytes before it.",
        struct.pack("<I", zlib.crc32(file[:checked], zlib.crc32(forged[size:]))): (
            "it takes the payload first and the first 12 bytes after it; they come the other way round."
        ),
        struct.pack("<I", zlib.crc32(file[:size] + forged[size:])): "it covers its own four bytes, too, and must not.",
    }
    return f" It seems that {reasons[found]}" if found in reasons else ""


def _huffman(weights: list[float]) -> list[int]:
    heap: list[tuple[float, int, list[int]]] = [(weight, symbol, [symbol]) for symbol, weight in enumerate(weights)]
    heapq.heapify(heap)
    lengths = [0] * len(weights)
    while len(heap) > 1:
        light, heavy = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in light[2] + heavy[2]:
            lengths[symbol] += 1
        heapq.heappush(heap, (light[0] + heavy[0], heavy[1], light[2] + heavy[2]))
    return lengths
