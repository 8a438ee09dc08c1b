"""The range coder beside exact fractions, big integers, every shorter payload, and another library."""

import math
from collections.abc import Iterator
from fractions import Fraction

import constriction
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from arlib import rangecoder
from arlib.rangecoder import MAX_TOTAL, Decoder, Encoder, RangeCoderError, cumulate, decode, encode, frequencies

Message = tuple[list[int], list[np.ndarray]]


def examples(count: int) -> settings:
    """So many examples, however long they take: on a busy machine nothing may fail for being slow."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def random_table(rng: np.random.Generator, size: int, total: int) -> np.ndarray:
    """A table of `size` frequencies of all shapes: flat, steep, or all counts but one each on a single symbol."""
    shape = rng.choice([0.0, 0.01, 0.3, 100.0])
    if shape == 0.0:
        table = np.ones(size, dtype=np.int64)
        table[rng.integers(size)] += total - size
        return table
    return 1 + rng.multinomial(total - size, rng.dirichlet(np.full(size, shape)))


def random_symbol(rng: np.random.Generator, table: np.ndarray, how: str) -> int:
    if how == "rarest":
        return int(table.argmin())
    if how == "last":
        return len(table) - 1
    return int(rng.choice(len(table), p=None if how == "any" else table / table.sum()))


@st.composite
def messages(draw: st.DrawFn, longest: int = 300, largest: int = 4096) -> Message:
    """Symbols and their tables. The tables change size, total and shape from one symbol to the next."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 256, 1024, 4096]) | st.integers(1, 4096), min_size=1, max_size=4))
    how = draw(st.sampled_from(["probable", "any", "rarest", "last"]))
    tables = []
    for size in (min(size, largest) for size in sizes):
        total = draw(st.sampled_from([size, 2**12, 2**16, MAX_TOTAL]) | st.integers(size, MAX_TOTAL))
        tables.append(random_table(rng, size, max(size, total)))
    chosen = [tables[i] for i in rng.integers(len(tables), size=draw(st.integers(0, longest)))]
    return [random_symbol(rng, table, how) for table in chosen], chosen


def ideal_bits(symbols: list[int], tables: list[np.ndarray]) -> float:
    return math.fsum(math.log2(table.sum() / table[symbol]) for symbol, table in zip(symbols, tables, strict=True))


def allowed_bytes(symbols: list[int], tables: list[np.ndarray]) -> int:
    """The promise: not a byte more than the ideal length and a hundredth of a bit ask for."""
    return math.ceil((ideal_bits(symbols, tables) + 0.01) / 8)


def final_interval(symbols: list[int], tables: list[np.ndarray]) -> tuple[Fraction, Fraction]:
    """low and width, by the rule of the module's docstring, with fractions: no carry, no bytes, nothing to flush."""
    low, width, shifts = 0, 1 << 64, 0  # integers in units of 2^-(64 + 8 * shifts), low without an upper end
    for symbol, table in zip(symbols, tables, strict=True):
        before, total = int(table[:symbol].sum()), int(table.sum())
        count = width // total
        low += count * before
        width = count * int(table[symbol]) if symbol < len(table) - 1 else width - count * before
        while width < 1 << 56:
            low, width, shifts = low << 8, width << 8, shifts + 1
    unit = 1 << (64 + 8 * shifts)
    return Fraction(low, unit), Fraction(width, unit)


def shortest(low: Fraction, width: Fraction) -> bytes:
    """The first of all payloads, the shortest first, whose fraction lies in [low, low + width)."""
    length = 0
    while (value := math.ceil(low * 256**length)) >= (low + width) * 256**length:
        length += 1
    return value.to_bytes(length, "big")


def as_fraction(payload: bytes) -> Fraction:
    return Fraction(int.from_bytes(payload, "big"), 256 ** len(payload))


def decode_unchecked(payload: bytes, tables: list[np.ndarray]) -> list[int]:
    decoder = Decoder(payload)
    return [decoder.decode(cumulate(table)) for table in tables]


# ---- A message by hand ----------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    """Four symbols of a, b, c with 1, 2 and 1 counts of 4: the message b, c, b, a.

                 low        width     the parts of a, b and c begin at
        start    0          1         0        1/4      3/4
        b        1/4        1/2       1/4      3/8      5/8
        c        5/8        1/8       5/8      21/32    23/32
        b        21/32      1/16      21/32    43/64    45/64
        a        21/32      1/64

    21/32 is 0.10101 in binary. With one byte we can write multiples of 1/256: 168/256 = 21/32 is in [21/32, 43/64), so
    the payload is the byte 168 = 0xA8 = 0b10101000. No payload of 0 bytes would do, as 0 is not in the interval. The
    message has 1 + 2 + 1 + 2 = 6 bits, and six bits would do: 0b101010, to which the byte adds two zeros.
    """
    tables = [np.array([1, 2, 1])] * 4
    assert final_interval([1, 2, 1, 0], tables) == (Fraction(21, 32), Fraction(1, 64))
    assert encode([1, 2, 1, 0], tables) == bytes([168])
    assert decode(bytes([168]), tables) == [1, 2, 1, 0]

    encoder = Encoder()
    for symbol, width in zip(
        [1, 2, 1, 0], [Fraction(1, 2), Fraction(1, 8), Fraction(1, 16), Fraction(1, 64)], strict=True
    ):
        encoder.encode(symbol, [0, 1, 3, 4])
        assert encoder.width == width
    assert encoder.bits == 6
    assert Fraction(encoder.low, 2**64) == Fraction(21, 32)  # nothing has been given out yet: 1/64 is still wide


def test_by_hand_with_a_remainder() -> None:
    """Total 3 does not divide 2^64 = 3 * 6148914691236517205 + 1: the odd unit goes to the last symbol, b.

    With a: 1 and b: 2 counts of 3, b gets [t, 2^64) with t = 6148914691236517205, which is 2 t + 1 wide; and 85/256 is
    below t / 2^64 = 0.333…, but 86/256 is above it: the payload is 86. The first of several a's is [0, t): nothing.
    """
    third = 6148914691236517205
    encoder = Encoder()
    encoder.encode(1, [0, 1, 3])
    assert (encoder.low, encoder.range) == (third, 2 * third + 1)
    assert encoder.finish() == bytes([86])
    assert encode([0, 0, 0], [[1, 2]] * 3) == b""


def test_carry_by_hand() -> None:
    """The middle symbol of (2^23 - 1, 2, 2^23 - 1) keeps 1/2 in the middle of the interval, 2^-23 as wide each time.

    So low stays just below 1/2, which is 0x7FFFFF…, until the last symbol, right of the middle, puts it above 1/2:
    0x800000…; every byte that was given out before has to change.
    """
    table = np.array([2**23 - 1, 2, 2**23 - 1])
    count = 400
    symbols, tables = [1] * count + [2], [table] * (count + 1)
    encoder = Encoder()
    for symbol in symbols[:-1]:
        encoder.encode(symbol, cumulate(table))
    before = bytes(encoder.shifted)
    assert before == b"\x7f" + b"\xff" * (len(before) - 1)
    assert len(before) > 1000
    encoder.encode(symbols[-1], cumulate(table))
    assert bytes(encoder.shifted[: len(before)]) == b"\x80" + b"\x00" * (len(before) - 1)
    payload = encoder.finish()
    assert payload == shortest(*final_interval(symbols, tables))
    assert decode(payload, tables) == symbols

    # Without the last symbol, 1/2 itself lies inside, and the flush takes the carry: one byte for a thousand.
    assert encode(symbols[:-1], tables[:-1]) == b"\x80"
    assert decode(b"\x80", tables[:-1]) == symbols[:-1]

    # A symbol that begins at exactly 1/2 carries as well, and the message can go on from there.
    symbols, tables = [1] * 10 + [1, 0, 1], [table] * 10 + [np.array([1, 1])] + [table] * 2
    payload = encode(symbols, tables)
    assert payload == shortest(*final_interval(symbols, tables))
    assert decode(payload, tables) == symbols


def test_the_smallest_step_above_a_carry_by_hand() -> None:
    """low may end one unit of 2^-72 above 1/256, after a carry: then even a whole further byte is the shortest way.

    With u = floor(2^64 / 3802369) and v = floor(256 * 12874 u / 3295743), 256 * 14853 u + v is 2^64 + 1.
    """
    first = np.array([14853, 12874, 3802369 - 14853 - 12874])
    symbols, tables = [1, 1], [first, np.array([1, 3295743 - 1])]
    low, _ = final_interval(symbols, tables)
    assert low == Fraction(1, 256) + Fraction(1, 2**72)
    assert encode(symbols, tables) == shortest(*final_interval(symbols, tables)) == bytes([1, 1])
    assert decode(bytes([1, 1]), tables) == symbols


def test_a_longer_payload_of_the_same_message_is_refused_by_hand() -> None:
    """The middle symbol has [1/2 - 300/2^24, 1/2 + 1/2^24): 1/2 is inside, and so is 1/2 - 256/2^24."""
    table = np.array([2**23 - 300, 301, 2**23 - 1])
    assert encode([1], [table]) == b"\x80"
    assert decode_unchecked(b"\x7f\xff", [table]) == [1]
    with pytest.raises(RangeCoderError, match="not the one that these tables"):
        decode(b"\x7f\xff", [table])


# ---- Every message --------------------------------------------------------------------------------------------------


@given(messages())
@example(([], []))
@example(([0] * 300, [np.array([1])] * 300))
@example(([0] * 300, [np.array([MAX_TOTAL])] * 300))
@examples(100)
def test_every_message_comes_back_and_is_as_short_as_promised(message: Message) -> None:
    symbols, tables = message
    payload = encode(symbols, tables)
    assert decode(payload, tables) == symbols
    assert len(payload) <= allowed_bytes(symbols, tables)


@given(messages(longest=60, largest=300))
@examples(150)
def test_the_payload_is_the_shortest_fraction_of_the_exact_interval(message: Message) -> None:
    symbols, tables = message
    low, width = final_interval(symbols, tables)
    encoder = Encoder()
    for symbol, table in zip(symbols, tables, strict=True):
        encoder.encode(symbol, cumulate(table))
    payload = encoder.finish()
    assert encoder.finish() == payload  # finishing changes nothing
    assert encoder.width == width
    assert encoder.bits == pytest.approx(math.log2(width.denominator) - math.log2(width.numerator), abs=1e-9)
    assert low <= as_fraction(payload) < low + width
    assert payload == shortest(low, width)
    # The decoder ends at the same interval, and accepts just this payload.
    decoder = Decoder(payload)
    assert [decoder.decode(cumulate(table)) for table in tables] == symbols
    assert (decoder.width, decoder.bits) == (encoder.width, encoder.bits)
    decoder.finish()
    # The proof of the docstring, number by number: each symbol keeps at least 1 - 2^-32 of its due.
    due = math.prod(
        (Fraction(int(table[symbol]), int(table.sum())) for symbol, table in zip(symbols, tables, strict=True)),
        start=Fraction(1),
    )
    assert width >= due * (1 - Fraction(1, 2**32)) ** len(symbols)


def test_the_proof_holds_to_29_million_symbols() -> None:
    loss = -math.log1p(-(2.0**-32)) / math.log(2)
    assert loss < 3.4e-10
    assert 29_000_000 * loss < 0.01


@pytest.mark.parametrize("table", [[1], [MAX_TOTAL]])
def test_a_vocabulary_of_one_costs_nothing(table: list[int]) -> None:
    encoder = Encoder()
    for _ in range(1000):
        encoder.encode(0, cumulate(table))
    assert (encoder.finish(), encoder.bits, encoder.width) == (b"", 0, 1)


def test_the_empty_message_is_the_empty_payload() -> None:
    assert encode([], []) == b""
    assert decode(b"", []) == []
    assert (Encoder().bits, Encoder().width) == (0, 1)


def carries(symbols: list[int], tables: list[np.ndarray]) -> list[int]:
    """How many bytes already given out each carry changed."""
    encoder, changed = Encoder(), []
    for symbol, table in zip(symbols, tables, strict=True):
        before = bytes(encoder.shifted)
        encoder.encode(symbol, cumulate(table))
        if encoder.shifted[: len(before)] != before:
            changed.append(sum(old != new for old, new in zip(before, encoder.shifted, strict=False)))
    return changed


def test_carries_of_every_length_happen_and_decode() -> None:
    """Steer at a point of few bytes: it stays inside while low is just below, 255 after 255. Then step over it."""
    rng = np.random.default_rng(5)
    lengths: list[int] = []
    for _ in range(400):
        point = bytes(rng.integers(0, 256, size=rng.integers(0, 5)).tolist()) + b"\x80"
        tables = [rng.integers(1, 1000, size=rng.integers(2, 300)) for _ in range(rng.integers(1, 60))]
        symbols = decode_unchecked(point, tables)
        symbols[-1] = min(symbols[-1] + 1, len(tables[-1]) - 1)
        payload = encode(symbols, tables)
        assert payload == shortest(*final_interval(symbols, tables))
        assert decode(payload, tables) == symbols
        lengths += carries(symbols, tables)
    assert set(range(1, 20)) <= set(lengths), sorted(set(lengths))
    assert len(lengths) > 200


@given(messages(longest=8, largest=40))
@examples(100)
def test_no_shorter_payload_decodes_to_the_message(message: Message) -> None:
    """Everything that is shorter by a byte is tried where that is one byte, and its likeliest neighbors where more."""
    symbols, tables = message
    payload = encode(symbols, tables)
    if not payload:
        return
    length = len(payload) - 1
    near = int.from_bytes(payload[:-1], "big")
    values = range(256**length) if length < 2 else [v for v in (near - 1, near, near + 1) if 0 <= v < 256**length]
    for value in values:  # shorter ones still are among these, with zeros at their ends
        assert decode_unchecked(value.to_bytes(length, "big"), tables) != symbols


@given(messages(longest=50), st.integers(1, 40))
@examples(50)
def test_past_the_end_there_are_zeros(message: Message, zeros: int) -> None:
    symbols, tables = message
    padded = encode(symbols, tables) + bytes(zeros)
    assert decode_unchecked(padded, tables) == symbols
    with pytest.raises(RangeCoderError, match="not the one that these tables"):
        decode(padded, tables)


@pytest.mark.parametrize("how", ["probable", "any", "rarest"])
def test_ten_thousand_symbols_keep_the_promise(how: str) -> None:
    rng = np.random.default_rng(7)
    tables = [random_table(rng, size, total) for size, total in [(2, MAX_TOTAL), (300, MAX_TOTAL - 3), (1024, 99_991)]]
    chosen = [tables[i] for i in rng.integers(3, size=10_000)]
    symbols = [random_symbol(rng, table, how) for table in chosen]
    payload = encode(symbols, chosen)
    assert len(payload) <= allowed_bytes(symbols, chosen)
    assert decode(payload, chosen) == symbols


def test_tables_are_asked_for_one_at_a_time() -> None:
    """A model that makes each table from all symbols before it."""

    def model(before: list[int]) -> np.ndarray:
        return 1 + np.bincount(before, minlength=5)

    symbols = np.random.default_rng(1).integers(5, size=200).tolist()
    payload = encode(symbols, [model(symbols[:i]) for i in range(200)])
    decoder, decoded = Decoder(payload), list[int]()
    while len(decoded) < 200:
        decoded.append(decoder.decode(cumulate(model(decoded))))
    decoder.finish()
    assert decoded == symbols

    seen: list[int] = []  # and `decode` takes a table only when the symbol before it is known

    class Watched(Decoder):
        def decode(self, cumulative: object) -> int:
            seen.append(super().decode(cumulative))  # type: ignore[arg-type]
            return seen[-1]

    def tables() -> Iterator[np.ndarray]:
        while len(seen) < 200:
            yield model(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rangecoder, "Decoder", Watched)
        assert decode(payload, tables()) == symbols


def test_tensors_arrays_and_lists_are_the_same_to_it() -> None:
    table = [3, 1, 4, 1, 5]
    symbols = [2, 0, 4, 4, 1, 3]
    expected = encode(symbols, [table] * 6)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        assert encode(torch.tensor(symbols, dtype=dtype), torch.tensor([table] * 6, dtype=dtype)) == expected
    for kind in (np.int8, np.uint16, np.uint64):
        assert encode(np.array(symbols, dtype=kind).tolist(), np.array([table] * 6, dtype=kind)) == expected
    encoder = Encoder()
    for symbol in symbols:
        encoder.encode(symbol, [0, 3, 4, 8, 9, 14])
    assert encoder.finish() == expected
    for data in (expected, bytearray(expected), memoryview(expected)):
        assert decode(data, [table] * 6) == symbols


# ---- Beside constriction --------------------------------------------------------------------------------------------


def constriction_model(table: np.ndarray) -> constriction.stream.model.Categorical:
    """Their probabilities are counts of 2^24 too, and `perfect=True` finds ours again: the next test makes sure."""
    return constriction.stream.model.Categorical(table / MAX_TOTAL, perfect=True)


def test_constriction_uses_the_same_table() -> None:
    rng = np.random.default_rng(2)
    unit = (2**64 - 1) >> 24  # the width of one count at their beginning
    for size in (2, 3, 100):
        table = random_table(rng, size, MAX_TOTAL)
        bounds = cumulate(table).tolist()
        model = constriction_model(table)
        for symbol in range(size):
            for point in (bounds[symbol] * unit, bounds[symbol + 1] * unit - 1):
                words = np.array([point >> 32, point % 2**32], dtype=np.uint32)
                assert constriction.stream.queue.RangeDecoder(words).decode(model) == symbol


@given(st.integers(0, 2**32), st.integers(2, 1024), st.integers(0, 300))
@examples(60)
def test_never_longer_than_constriction(seed: int, size: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    table = random_table(rng, size, MAX_TOTAL)
    symbols = [random_symbol(rng, table, "probable") for _ in range(length)]
    theirs = constriction.stream.queue.RangeEncoder()
    theirs.encode(np.array(symbols, dtype=np.int32), constriction_model(table))
    assert len(encode(symbols, [table] * length)) <= 4 * len(theirs.get_compressed())


def test_bits_over_the_ideal_beside_constriction(capsys: pytest.CaptureFixture[str]) -> None:
    """Streams like a frame of the book: 600 symbols of 1,024."""
    rng = np.random.default_rng(3)
    ours_over, theirs_over = [], []
    for _ in range(40):
        table = 1 + rng.multinomial(MAX_TOTAL - 1024, rng.dirichlet(np.full(1024, 0.1)))
        symbols = rng.choice(1024, p=table / MAX_TOTAL, size=600).tolist()
        ideal = ideal_bits(symbols, [table] * 600)
        theirs = constriction.stream.queue.RangeEncoder()
        theirs.encode(np.array(symbols, dtype=np.int32), constriction_model(table))
        ours_over.append(8 * len(encode(symbols, [table] * 600)) - ideal)
        theirs_over.append(32 * len(theirs.get_compressed()) - ideal)
    assert np.mean(ours_over) < 5  # half a byte of rounding, on the average
    assert np.mean(ours_over) < np.mean(theirs_over)
    assert max(ours_over) <= 8.01


# ---- Payloads that were damaged -------------------------------------------------------------------------------------


@given(messages(longest=100), st.data())
@examples(100)
def test_a_bad_payload_decodes_to_some_symbols_of_the_tables(message: Message, data: st.DataObject) -> None:
    symbols, tables = message
    payload = encode(symbols, tables)
    flipped = bytearray(payload or b"\0")
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= data.draw(st.integers(1, 255))
    for bad in (
        bytes(flipped),
        payload[: data.draw(st.integers(0, len(payload)))],
        payload + data.draw(st.binary(min_size=1, max_size=20)),
        data.draw(st.binary(max_size=200)),
        b"\xff" * (len(payload) + 9),
    ):
        decoded = decode_unchecked(bad, tables)
        assert len(decoded) == len(tables)
        assert all(0 <= symbol < len(table) for symbol, table in zip(decoded, tables, strict=True))
        # The check at the end accepts it if and only if it is what these other symbols would be written as.
        if encode(decoded, tables) == bad:
            assert decode(bad, tables) == decoded
        else:
            with pytest.raises(RangeCoderError, match="not the one that these tables"):
                decode(bad, tables)


def test_each_payload_of_two_bytes_is_accepted_or_refused_rightly() -> None:
    tables = [np.array([3, 1, 2])] * 4
    accepted = 0
    for value in range(2**16):
        payload = value.to_bytes(2, "big")
        decoder = Decoder(payload)
        symbols = [decoder.decode([0, 3, 4, 6]) for _ in tables]
        encoder = Encoder()
        for symbol in symbols:
            encoder.encode(symbol, [0, 3, 4, 6])
        if encoder.finish() == payload:
            decoder.finish()
            accepted += 1
        else:
            with pytest.raises(RangeCoderError):
                decoder.finish()
    assert 0 < accepted <= 3**4


# ---- Frequencies ----------------------------------------------------------------------------------------------------


def big_integer_frequencies(weights: list[int], total: int) -> list[int]:
    counts = [1 + weight * (total - len(weights)) // sum(weights) for weight in weights]
    counts[weights.index(max(weights))] += total - sum(counts)
    return counts


@given(st.integers(0, 2**32), st.integers(1, 1500), st.integers(1, 4), st.data())
@examples(100)
def test_frequencies_are_those_of_big_integers(seed: int, size: int, rows: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    total = data.draw(st.sampled_from([2**k for k in range(12, 25)] + [size]) | st.integers(size, MAX_TOTAL))
    largest = data.draw(st.sampled_from([1, 2, 1000, 2**29, 2**39 - 1]))  # 1 and 2 make many ties
    weights = rng.integers(0, largest, size=(rows, size), endpoint=True)
    weights[:, rng.integers(size)] = largest
    table = frequencies(torch.from_numpy(weights), total)
    assert table.dtype == torch.int64
    assert table.tolist() == [big_integer_frequencies(row, total) for row in weights.tolist()]
    assert (table >= 1).all()
    assert (table.sum(-1) == total).all()
    for row, counts in zip(weights, table.numpy(), strict=True):  # a larger weight never has a smaller frequency
        order = np.lexsort((counts, row))
        assert (np.diff(counts[order]) >= 0).all()
        assert torch.equal(frequencies(torch.from_numpy(row), total), torch.from_numpy(counts))


def test_frequencies_by_hand() -> None:
    # 6 counts are left after one each: 6 * 1/8, 6 * 3/8, 6 * 3/8, 6 * 1/8 are 0, 2, 2, 0; the other 2 go to the first 3
    assert frequencies(torch.tensor([1, 3, 3, 1]), 10).tolist() == [1, 5, 3, 1]
    assert frequencies(torch.tensor([0, 7]), 16).tolist() == [1, 15]
    assert frequencies(torch.tensor([5])).tolist() == [MAX_TOTAL]
    assert frequencies(torch.tensor([[2, 2, 2]], dtype=torch.uint8), 3).tolist() == [[1, 1, 1]]
    extreme = frequencies(torch.full((4096,), 2**39 - 1))
    assert (extreme >= 4096).all()
    assert extreme.sum() == MAX_TOTAL


def test_cumulate() -> None:
    assert cumulate([3, 1, 2]).tolist() == [0, 3, 4, 6]
    assert cumulate(torch.tensor([[3, 1], [1, 1]])).tolist() == [[0, 3, 4], [0, 1, 2]]
    wrapping = np.full(200, 200, dtype=np.uint8)
    assert cumulate(wrapping)[-1] == 40_000
    assert cumulate([MAX_TOTAL]).tolist() == [0, MAX_TOTAL]


# ---- What is wrong, said clearly ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 0, 2], "a frequency of 0: a symbol without a count"),
        ([1, -3, 2], "a frequency of -3"),
        ([MAX_TOTAL, 1], "at most 2\\^24"),
        ([2**63 - 1, 2**63 - 1, 3], "at most 2\\^24"),  # the sum wraps around to 1
        ([0.5, 0.5], "must be integers, got float64"),
        ([True, True], "must be integers, got bool"),
        ([2**70, 1], "must be integers, got object"),
        ([], "at least one symbol"),
        (3, "at least one symbol"),
    ],
)
def test_wrong_tables(table: object, message: str) -> None:
    with pytest.raises(RangeCoderError, match=message):
        cumulate(table)
    with pytest.raises(RangeCoderError, match=message):
        encode([0], [table])
    with pytest.raises(RangeCoderError, match=message):
        decode(b"abc", [table])


@pytest.mark.parametrize("symbol", [-1, 3, 10**30])
def test_a_symbol_outside_the_table_changes_nothing(symbol: int) -> None:
    encoder = Encoder()
    encoder.encode(1, [0, 1, 3, 4])
    before = encoder.low, encoder.range
    with pytest.raises(RangeCoderError, match=f"symbol {symbol} is outside a table of 3 symbols"):
        encoder.encode(symbol, [0, 1, 3, 4])
    assert (encoder.low, encoder.range) == before


@pytest.mark.parametrize("cumulative", [[0], [0, 0], [0, 0, 5], [0, 5, 3], [0, MAX_TOTAL + 1], [0, -2], [0, 9, 4, 6]])
def test_cumulative_frequencies_that_are_none(cumulative: list[int]) -> None:
    with pytest.raises(RangeCoderError, match=r"total must be|no part of a table|outside a table"):
        Encoder().encode(0, cumulative)


@pytest.mark.parametrize("cumulative", [[0], [0, 0], [0, 5, 3], [2, 5], [0, MAX_TOTAL + 1], [0, -2]])
def test_cumulative_frequencies_that_are_none_for_the_decoder(cumulative: list[int]) -> None:
    with pytest.raises(RangeCoderError, match=r"total must be|no part of a table|outside a table"):
        Decoder(b"\x11").decode(cumulative)


def test_other_wrong_input() -> None:
    with pytest.raises(RangeCoderError, match="2 symbols, but 1 tables"):
        encode([0, 0], [[1, 1]])
    with pytest.raises(TypeError):
        encode([0.5], [[1, 1]])  # type: ignore[list-item]
    for payload in ("text", None, 7, [1, 2]):
        with pytest.raises(RangeCoderError, match="a payload must be bytes, got"):
            Decoder(payload)  # type: ignore[arg-type]
    assert issubclass(RangeCoderError, ValueError)


@pytest.mark.parametrize(
    ("weights", "total", "message"),
    [
        (torch.ones(3), 8, "must be integers, got torch.float32"),
        (torch.tensor([1, -1]), 8, "at least 0 and below 2\\^39"),
        (torch.tensor([1, 2**39]), 8, "at least 0 and below 2\\^39"),
        (torch.tensor([[1, 1], [0, 0]]), 8, "a row of weights is all zeros"),
        (torch.ones(9, dtype=torch.int64), 8, "9 symbols need a total from 9 to 2\\^24, got 8"),
        (torch.ones(9, dtype=torch.int64), MAX_TOTAL + 1, "got 16777217"),
        (torch.ones(0, dtype=torch.int64), 8, "0 symbols need a total"),
    ],
)
def test_wrong_weights(weights: torch.Tensor, total: int, message: str) -> None:
    with pytest.raises(RangeCoderError, match=message):
        frequencies(weights, total)
