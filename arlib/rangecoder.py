"""A range coder: symbols become bytes, in almost exactly as many bits as their probabilities ask for.

A message is an interval inside [0, 1). It begins as all of [0, 1), and every symbol narrows it to a part of itself,
as wide as the symbol is probable: a message of probability p ends with a width of p. The payload is the shortest
binary fraction in the last interval, which takes about -log2 p bits. The decoder holds the same fraction, and at
every step looks which symbol's part it lies in.

Here the interval is [low, low + range), two integers in units of 2^-64. Whenever its range is below 2^56, the first
byte of low is as good as known: it is given out, and what is left is magnified 256 times. So 2^56 <= range <= 2^64.
A symbol's part comes from cumulative frequencies (0, f0, f0 + f1, …, total): `range // total` to every count, and
what that division leaves over to the last symbol, so that the parts fill the range.

**How long a payload gets.** A symbol of frequency f gets at least f * floor(range / total) of the range, where
f * range / total would be right. As floor(x) > x - 1, it gets more than 1 - total / range of its due, and with
total <= 2^24 and range >= 2^56 that loses less than -log2(1 - 2^-32) < 3.4e-10 bits per symbol: less than 0.01 bits
together for every sequence of up to 29 million symbols. The flush adds no more than the rounding to a whole byte,
since an interval at least 256^-n wide holds a multiple of 256^-n, which is a payload of n bytes. Therefore

    len(payload) <= ceil((sum of -log2(f / total) + 0.01) / 8)

Nothing in this file computes with floats, save `bits`, which only reports.

Sources: G. N. N. Martin, "Range encoding: an algorithm for removing redundancy from a digitised message" (1979);
A. Moffat, R. M. Neal and I. H. Witten, "Arithmetic coding revisited", ACM Transactions on Information Systems 16
(1998), for the remainder that goes to the last symbol.
"""

import math
import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

MAX_TOTAL = 1 << 24
FULL = 1 << 64  # [0, 1), in units of 2^-64
LEAST = 1 << 56  # no range is below this between two symbols


class RangeCoderError(ValueError):
    """Weights, frequencies, symbols or a payload that cannot be coded; the message says what is wrong with them."""


def frequencies(weights: torch.Tensor, total: int = MAX_TOTAL) -> torch.Tensor:
    """Scale weights to frequencies of at least 1 that sum to exactly `total`: `(..., V)` integers to `(..., V) int64`.

    Each symbol gets one count, and its share, rounded down, of the counts that are left. What the rounding leaves over
    goes to the largest weight, of several the first. A larger weight never gets a smaller frequency. All is integer
    arithmetic without overflow, as weights below 2^39 keep weight * total below 2^63. Raises `RangeCoderError` for
    weights that are not integers, negative, too large or all zero, and for a total below V or above 2^24.
    """
    size = weights.shape[-1]
    if weights.is_floating_point() or weights.is_complex():
        raise RangeCoderError(f"weights must be integers, got {weights.dtype}")
    if not 1 <= size <= total <= MAX_TOTAL:
        raise RangeCoderError(f"{size} symbols need a total from {max(size, 1)} to 2^24, got {total}")
    weights = weights.long()
    if ((weights < 0) | (weights >= 1 << 39)).any():
        raise RangeCoderError("weights must be at least 0 and below 2^39")
    sums = weights.sum(-1, keepdim=True)
    if (sums == 0).any():
        raise RangeCoderError("a row of weights is all zeros")
    counts = 1 + weights * (total - size) // sums
    return counts.scatter_add(-1, weights.argmax(-1, keepdim=True), total - counts.sum(-1, keepdim=True))


def cumulate(frequencies: Any) -> np.ndarray:
    """Cumulative frequencies (0, f0, f0 + f1, …, total): `(..., V)` integers on the CPU to `(..., V + 1) int64`.

    Raises `RangeCoderError` for frequencies that are not integers or below 1, for none, and for a total above 2^24.
    """
    table = np.asarray(frequencies)
    if table.ndim == 0 or table.shape[-1] == 0:
        raise RangeCoderError("a table needs the frequency of at least one symbol")
    if table.dtype.kind not in "iu":
        raise RangeCoderError(f"frequencies must be integers, got {table.dtype}")
    table = table.astype(np.int64)
    if (table < 1).any():
        raise RangeCoderError(f"a frequency of {table.min()}: a symbol without a count has no part of the interval")
    cumulative = np.zeros((*table.shape[:-1], table.shape[-1] + 1), dtype=np.int64)
    np.cumsum(table, axis=-1, out=cumulative[..., 1:])
    # Single frequencies are looked at as well, since the sum of larger ones could wrap around.
    if (table > MAX_TOTAL).any() or (cumulative[..., -1] > MAX_TOTAL).any():
        raise RangeCoderError("the frequencies must sum to at most 2^24")
    return cumulative


class _Interval:
    """What the encoder and the decoder share: how wide the interval is, and how many times it was magnified."""

    def __init__(self) -> None:
        self.range = FULL
        self.shifts = 0

    @property
    def width(self) -> Fraction:
        """The exact width of the interval as a part of [0, 1): range / 2^64, and 256 times less for each shift."""
        return Fraction(self.range, FULL << 8 * self.shifts)

    @property
    def bits(self) -> float:
        """-log2 of the width, in bits, rounded to a float: for reports, never for coding."""
        return 64 + 8 * self.shifts - math.log2(self.range)

    def _part(self, symbol: int, cumulative: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """Where in the range the symbol's part begins, and how wide it is."""
        total = _total(cumulative)
        if not 0 <= symbol < len(cumulative) - 1:
            raise RangeCoderError(f"symbol {symbol} is outside a table of {len(cumulative) - 1} symbols")
        first, end = int(cumulative[symbol]), int(cumulative[symbol + 1])
        if not 0 <= first < end <= total:
            raise RangeCoderError(f"symbol {symbol} goes from count {first} to {end} of {total}: no part of a table")
        count = self.range // total
        start = count * first
        return start, count * (end - first) if end < total else self.range - start


def _total(cumulative: Sequence[int] | np.ndarray) -> int:
    total = int(cumulative[-1])
    if not 1 <= total <= MAX_TOTAL:
        raise RangeCoderError(f"a table's total must be from 1 to 2^24, got {total}")
    return total


class Encoder(_Interval):
    """Narrows the interval symbol by symbol, and collects in `shifted` the bytes that are as good as known.

    "As good as", for low can still rise past 2^64: the *carry*, which adds one to the bytes already collected. Where
    bytes are sent at once, the last one and all 255s after it must be held back; we keep every byte to the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low = 0
        self.shifted = bytearray()

    def encode(self, symbol: int, cumulative: Sequence[int] | np.ndarray) -> None:
        """Narrow the interval to the part of `symbol` among the cumulative frequencies `(V + 1,)` (see `cumulate`).

        Raises `RangeCoderError`, and changes nothing, for a symbol outside the table or a table that is none.
        """
        start, self.range = self._part(operator.index(symbol), cumulative)
        self.low += start
        if self.low >= FULL:
            self.low -= FULL
            self.carry()
        while self.range < LEAST:
            self.shifted.append(self.low >> 56)
            self.low = (self.low << 8) % FULL
            self.range <<= 8
            self.shifts += 1

    def carry(self) -> None:
        """Low has passed 2^64: add one to the bytes already collected."""
        _carry(self.shifted)

    def finish(self) -> bytes:
        """The flush: the fewest bytes which, followed by zeros for ever, are a fraction inside the interval.

        The interval holds a multiple of 2^56: one byte more than `shifted` is enough. If it holds one of 2^64, which is
        then 0 or 2^64 itself, no byte is added, and zeros at the end can go too. The encoder stays as it was.
        """
        payload = self.shifted.copy()
        if self.low > 0 and self.low + self.range > FULL:
            _carry(payload)
        elif self.low > 0:
            payload.append(-(-self.low >> 56))  # low / 2^56 rounded up, as >> rounds down
        return bytes(payload.rstrip(b"\0"))


def _carry(digits: bytearray) -> None:
    """Add one to the last byte: all 255s at the end become 0, and the byte before them takes the one.

    There is such a byte, as low + range never passes the end of [0, 1). No byte is ever reached by two carries.
    """
    position = len(digits) - 1
    while digits[position] == 255:
        digits[position] = 0
        position -= 1
    digits[position] += 1


class Decoder(_Interval):
    """Follows the encoder's intervals; `offset` is how far above low the payload's fraction lies, 0 to range - 1.

    Past the payload's end it reads zeros. Any bytes decode to some symbols of the tables, and no slower; that they
    are the right ones takes a checksum to tell. Each table is asked for alone, so that a model can make it from the
    symbols before: `symbol = decoder.decode(cumulate(model(symbol)))`. Raises `RangeCoderError` for anything but bytes.
    """

    def __init__(self, payload: bytes | bytearray | memoryview) -> None:
        super().__init__()
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise RangeCoderError(f"a payload must be bytes, got {type(payload).__name__}")
        self.payload = bytes(payload)
        self.offset = int.from_bytes(self.payload[:8].ljust(8, b"\0"), "big")

    def decode(self, cumulative: Sequence[int] | np.ndarray) -> int:
        """The next symbol, by the cumulative frequencies `(V + 1,)` with which it was encoded (see `cumulate`).

        Raises `RangeCoderError` for a table that is none.
        """
        total = _total(cumulative)
        # In what the division left over, which is the last symbol's, the quotient passes the last count.
        count = min(self.offset // (self.range // total), total - 1)
        symbol = bisect_right(cumulative, count) - 1
        start, self.range = self._part(symbol, cumulative)
        self.offset -= start
        while self.range < LEAST:
            byte = self.payload[self.shifts + 8] if self.shifts + 8 < len(self.payload) else 0
            self.offset = self.offset << 8 | byte
            self.range <<= 8
            self.shifts += 1
        return symbol

    def finish(self) -> None:
        """Check, after the last symbol, that the payload is the one that `Encoder.finish` gives for these symbols.

        Raises `RangeCoderError` if not: bytes were added, say, or it has another number of symbols. A payload that was
        changed or cut short may be the right one for other symbols, which this cannot see.
        """
        last = self.payload[-1] if self.payload else 1
        added = len(self.payload) - self.shifts
        # An added byte makes the first multiple of 2^56 from low on, and only if no multiple of 2^64 is inside.
        fits = added <= 0 or (added == 1 and self.offset < LEAST and self.range <= self.offset + (256 - last) * LEAST)
        if last == 0 or not fits:
            raise RangeCoderError("the payload is not the one that these tables and this number of symbols give")


def encode(symbols: Sequence[int] | torch.Tensor, tables: Sequence[Any] | torch.Tensor | np.ndarray) -> bytes:
    """The payload of T symbols by T tables of frequencies: `(T,)` and T times `(V,)`, where V may change.

    Raises `RangeCoderError` for a number of tables other than T, and as `cumulate` and `Encoder.encode` do.
    """
    if len(symbols) != len(tables):
        raise RangeCoderError(f"{len(symbols)} symbols, but {len(tables)} tables")
    encoder = Encoder()
    for symbol, table in zip(symbols, tables, strict=True):
        encoder.encode(symbol, cumulate(table))
    return encoder.finish()


def decode(payload: bytes | bytearray | memoryview, tables: Iterable[Any]) -> list[int]:
    """The symbols of a payload, one for each table of frequencies `(V,)`: the inverse of `encode`.

    Asks `tables` for a table only after the symbol before it is decoded. Raises `RangeCoderError` as `cumulate` and
    `Decoder` do, so also for a payload that cannot come from these tables; `Decoder.finish` says what that misses.
    """
    decoder = Decoder(payload)
    symbols = [decoder.decode(cumulate(table)) for table in tables]
    decoder.finish()
    return symbols
