"""Chapter 10, "A range coder": its checkers refuse wrong answers with a reason, its figures answer as arlib does."""

import math
from bisect import bisect_right
from fractions import Fraction
from pathlib import Path

import nbformat
import pytest
import torch

import arlib
from arlib import fixedpoint, rangecoder, tokenset
from arlib.exercises import chapter10 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "10-range-coder"


@pytest.fixture(scope="module")
def codec():
    return arlib.load_codec("book")


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def with_zeros(low, width):
    """The chapter's `shortest`, which counts on the zeros behind it."""
    n = 0
    while (found := math.ceil(low * 2**n)) >= (low + width) * 2**n:
        n += 1
    return f"{found:0{n}b}" if n else ""


def always_two_more(low, width):
    n = 2
    while Fraction(2, 2**n) > width:
        n += 1
    return f"{math.ceil(low * 2**n):0{n}b}" if math.ceil(low * 2**n) < 2**n else "1" * n


def by_floats(low, width):
    low, width, n = float(low), float(width), 0
    while math.ceil(low * 2**n) + 1 > (low + width) * 2**n and n < 1000:
        n += 1
    return f"{math.ceil(low * 2**n):0{n}b}" if n else ""


def rounded_down(low, width):
    n = 0
    while Fraction(1, 2**n) > width:
        n += 1
    return f"{math.floor(low * 2**n):0{n}b}" if n else ""


def the_last_one(low, width):
    """A shortest word, but where there are several, the largest."""
    n = 0
    while math.ceil(low * 2**n) + 1 > (low + width) * 2**n:
        n += 1
    return f"{math.floor((low + width) * 2**n) - 1:0{n}b}" if n else ""


def words_such_that(fits, fewest=0):
    def answer(low, width):
        n = fewest
        while not fits(low, width, n):
            n += 1
        return f"{math.ceil(low * 2**n):0{n}b}" if n else ""

    return answer


def inside(low, width, n):
    return math.ceil(low * 2**n) + 1 <= (low + width) * 2**n


upper_end_left_out = words_such_that(lambda low, width, n: math.ceil(low * 2**n) + 1 < (low + width) * 2**n)
never_empty = words_such_that(inside, 1)


def lower_end_left_out(low, width):
    n = 0
    while math.floor(low * 2**n) + 2 > (low + width) * 2**n:
        n += 1
    return f"{math.floor(low * 2**n) + 1:0{n}b}" if n else ""


def one_too_high(low, width):
    """The number after the right one, unless that needs a bit more."""
    n = 0
    while math.ceil(low * 2**n) + 1 > (low + width) * 2**n:
        n += 1
    return f"{min(math.ceil(low * 2**n) + 1, 2**n - 1):0{n}b}" if n else ""


def empty_for_narrow_ones(low, width):
    return "" if width < Fraction(1, 100) else words_such_that(inside)(low, width)


WORDS = [
    (with_zeros, '" followed by zeros is in the interval, but followed by ones it is not'),
    (always_two_more, "is enough. It stands for exactly this interval"),
    (by_floats, "for low = about"),
    (rounded_down, " followed by zeros is not in the interval"),
    (upper_end_left_out, "neither its upper end"),
    (lower_end_left_out, "Both have their lower end in them"),
    (never_empty, 'the empty word "" is enough'),
    (the_last_one, "is as short, and a smaller number"),
    (one_too_high, '" followed by zeros is not in the interval. Are all steps exact?'),
    (empty_for_narrow_ones, 'and width = 1/128 the empty word ""'),
    (lambda low, width: "01" * 15, '"01010101010101010101…" (30 bits)'),
    (lambda low, width: 0.375, "a string of the letters 0 and 1"),
]


MESSAGES = [
    (([3, 5], [0, 1, 0, 1]), "your message is worth 4.2 bits. Make it longer"),
    (([1, 1], [0] * 30), "no carry was needed on the way, and low is at 00 00"),
    (([1, 1], [1] * 30), "Keep one number, such as one half"),
    (([127, 2, 127], [1, 1, 1, 1, 1, 2]), "has two counts"),
    (([0, 8], [0, 1]), "a count below 1"),
    (([1 << 24, 1], [1, 1]), "more than 2^24"),
    (([1, 1], [0, 1] * 21), "40 are allowed"),
    (([1, 1], [0, 2]), "zeros and ones alone"),
    (([1.5, 1], [0, 1]), "a list of whole numbers"),
    ((..., ...), "nothing here yet"),
    (([1, 1], []), "empty"),
]


def relearned(start=1, more=1, late=0):
    """Right, but for what the options break."""

    def answer(payload, size, length):
        decoder, counts, found = rangecoder.Decoder(payload), [start] * size, []
        for _ in range(length):
            found.append(decoder.decode(rangecoder.cumulate(counts)))
            if len(found) > late:
                counts[found[-1 - late]] += more
        return found

    return answer


def from_zero(payload, size, length):
    """Symbols that never came have no count."""
    return relearned(start=0)(payload, size, length)


def one_for_all(payload, size, length):
    """`rangecoder.decode` with flat tables, all made beforehand."""
    return rangecoder.decode(payload, [[1] * size] * length)


def counted_by_place(payload, size, length):
    decoder, counts, found = rangecoder.Decoder(payload), [1] * size, []
    for position in range(length):
        found.append(decoder.decode(rangecoder.cumulate(counts)))
        counts[position % size] += 1
    return found


def not_cumulated(payload, size, length):
    decoder, counts, found = rangecoder.Decoder(payload), [1] * size, []
    for _ in range(length):
        found.append(decoder.decode(counts))
        counts[found[-1]] += 1
    return found


def two_symbols(payload, size, length):
    """Right for an alphabet of two."""
    return [min(symbol, 1) for symbol in relearned()(payload, size, length)]


LEARNERS = [
    (relearned(more=0), "your counts never change"),
    (relearned(more=2), "each symbol adds two"),
    (relearned(start=2), "your counts start at two"),
    (relearned(late=1), "counted one step late"),
    (from_zero, "a frequency of 0"),
    (one_for_all, "your counts never change"),
    (counted_by_place, "Before it the counts must sum to"),
    (two_symbols, "of 60 symbols among 5, symbol "),
    (not_cumulated, "your function raised"),
    (lambda payload, size, length: relearned()(payload, size, length - 1), "60 symbols are asked for"),
    (lambda payload, size, length: [], "the list is empty"),
    (lambda payload, size, length: ..., "returns nothing yet"),
]

RIGHT = dict(check.PATIENTS)
DIAGNOSES = [
    (RIGHT | {"A": "the flush rounds down"}, "is a byte missing at the end"),
    (RIGHT | {"D": "nothing is flushed"}, "Compare the last byte of its payloads"),
    (RIGHT | {"B": "the carry is lost"}, "and then fewer ones"),
    (RIGHT | {"B": "healthy"}, "and then fewer ones"),
    (RIGHT | {"E": "the carry stops after one byte"}, "its carry passes no ff"),
    (RIGHT | {"C": "nothing is flushed"}, "decode them again"),
    (RIGHT | {"C": ...}, "1 still without a name"),
    (dict.fromkeys("ABCDE", ...), "there is no diagnosis yet"),
    (RIGHT | {"C": "fine"}, "none of the names"),
    ("healthy", "a dictionary with the keys"),
]

TOTALS = [
    (20, "20 was right for 1,024 codes"),
    (21, "may pay 1.69 bits for the floor."),
    (23, "enough, but a smaller n will do"),
    (13, "for one token"),
    (4096, "that looks like the total 2^n itself"),
    (1 << 22, "that looks like the total 2^n itself"),
    (12, "no more than the one count"),
    (21.76, "a whole number is asked for"),
    (math.nan, "one finite number"),
    ("22", "one finite number"),
    (..., "there is no number yet"),
]

WRONG = [
    *((check.shortest_word, (answer,), reason) for answer, reason in WORDS),
    *((check.breaks_carryless, answers, reason) for answers, reason in MESSAGES),
    *((check.diagnosis, (answer,), reason) for answer, reason in DIAGNOSES),
    *((check.learned, (answer,), reason) for answer, reason in LEARNERS),
    *((check.bits_of_the_total, (answer,), reason) for answer, reason in TOTALS),
]


@pytest.mark.parametrize(("checker", "answers", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answers, reason):
    verdict = checker(*answers)
    assert not verdict
    assert reason in verdict.reason


def test_right_answers():
    assert check.diagnosis(RIGHT)
    assert check.learned(relearned())
    assert check.bits_of_the_total(22)


def test_the_first_wrong_symbol_is_told():
    def answer(payload, size, length):
        found = relearned()(payload, size, length)
        return [*found[:7], 1 - found[7], *found[8:20], 1 - found[20], *found[21:]]

    end = "Before it the counts must sum to 9."
    told = [f"of 60 symbols among 2, symbol 7 is {right}, and you get {1 - right}. {end}" for right in (0, 1)]
    assert check.learned(answer).reason in told


def test_the_sick_coders_have_what_their_names_say():
    def results(letter, message):
        encode, decode = check.CODERS[letter]
        tables = [[127, 2, 127]] * len(message)
        payload = encode(message, tables)
        return payload == rangecoder.encode(message, tables), decode(payload, tables) == message

    plain, no_ff, three_ffs = [0, 2, 0, 1], [1] * 2 + [2], [1] * 5 + [2]
    assert [results("C", message) for message in (plain, no_ff, three_ffs)] == [(True, True)] * 3
    assert results("A", plain) == (False, False)
    assert results("D", plain) == (False, False)
    assert [results(letter, plain) for letter in "BE"] == [(True, True)] * 2
    assert results("B", no_ff) == (True, True)
    assert [results(*case) for case in [("E", no_ff), ("B", three_ffs), ("E", three_ffs)]] == [(False, False)] * 3


def halfway(counts, given_out):
    """A message that keeps one half in its interval until so many bytes are given out, and then rises above it."""
    cumulative, message = [0, counts[0], sum(counts)], []
    decoder = rangecoder.Decoder(b"\x80")
    while True:
        out = decoder.shifts
        message.append(decoder.decode(cumulative))
        if out >= given_out and message[-1] == 0:
            return counts, [*message[:-1], 1]


def test_a_carry_must_pass_two_ffs():
    for counts in ([5, 3], [3, 4], [1000, 999], [5 << 21, 3 << 21]):  # those sum to 2^24
        for given_out, reason in [(1, "but through no ff"), (2, "but through one ff")]:
            assert reason in check.breaks_carryless(*halfway(counts, given_out)).reason
        for given_out in (3, 4):
            _, message = halfway(counts, given_out)
            assert check.breaks_carryless(counts, message)
            assert check.breaks_carryless(counts, [*message, *[0] * (40 - len(message))])  # 40 are allowed


def test_random_messages_do_not_break_the_carryless_coder():
    torch.manual_seed(0)
    for _ in range(100):
        counts, message = torch.randint(1, 1 << 10, (2,)).tolist(), torch.randint(2, (40,)).tolist()
        assert not check.breaks_carryless(counts, message)


def test_the_checkers_carryless_coder_is_the_chapters():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    names: dict = {"LETTERS": "abc", "CUMULATIVE": [0, 6, 9, 10]}
    exec(next(source for source in sources if source.startswith("FULL, LEAST")), names)
    exec(next(source for source in sources if source.startswith("class Carryless")), names)
    torch.manual_seed(0)
    for _ in range(50):
        counts, message = torch.randint(1, 1 << 10, (2,)).tolist(), torch.randint(2, (40,)).tolist()
        cumulative = [0, counts[0], sum(counts)]
        coder = names["Carryless"]()
        for symbol in message:
            coder.encode(symbol, cumulative)
        assert coder.finish() == check._carryless(message, cumulative)[0]


# ---- The figures -----------------------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


def located(point, depth, cumulative=(0, 6, 9, 10)):
    """The message whose interval holds a point, with exact fractions, and the interval."""
    low, width, message = Fraction(0), Fraction(1), ""
    for _ in range(depth):
        symbol = bisect_right(cumulative, (point - low) / width * cumulative[-1]) - 1
        low += width * cumulative[symbol] / cumulative[-1]
        width = width * (cumulative[symbol + 1] - cumulative[symbol]) / cumulative[-1]
        message += "abc"[symbol]
    return message, low, width


def interval_agrees(figure):
    point = Fraction(shown(figure, "point"))
    message, low, width = located(point, len(shown(figure, "message")))
    word = with_zeros(low, width)
    assert shown(figure, "message") == message
    assert [Fraction(end) for end in shown(figure, "interval").split(" to ")] == [low, low + width]
    assert Fraction(shown(figure, "width")) == width
    assert shown(figure, "surprise") == f"{-math.log2(width):.2f}"
    assert shown(figure, "word") == (word or "none")
    assert shown(figure, "bits") == str(len(word))
    assert float(shown(figure, "value")) == int(word or "0", 2) / 2 ** len(word)
    # The library's coder narrows the same interval: counts of 10 divide no power of two, hence the tolerance.
    coder = rangecoder.Encoder()
    for letter in message:
        coder.encode("abc".index(letter), [0, 6, 9, 10])
    assert coder.bits == pytest.approx(-math.log2(width), abs=1e-9)
    return point


@pytest.mark.browser
def test_interval_by_keyboard(figure):
    it = figure(CHAPTER, "interval")
    handle, letters = it.get_by_role("slider", name="point"), it.get_by_role("slider", name="letters")
    assert interval_agrees(it) == Fraction(4, 10)
    handle.focus()
    settings = [["PageUp"] * 9, ["Home"], ["End"], ["ArrowLeft"] * 7, ["PageDown"] * 6, ["Shift+ArrowRight"] * 33]
    seen = set()
    for keys in settings:
        for key in keys:
            handle.press(key)
        seen.add(interval_agrees(it))
    assert len(seen) == len(settings)
    for key, length in [("Home", 1), ("ArrowRight", 2), ("End", 6)]:
        letters.press(key)
        assert len(shown(it, "message")) == length
        interval_agrees(it)
    for _ in range(12):
        handle.press("PageUp")
        interval_agrees(it)
    assert handle.get_attribute("aria-valuenow") == str(float(Fraction(shown(it, "point")))).rstrip("0")


@pytest.mark.browser
def test_interval_by_mouse(figure):
    it = figure(CHAPTER, "interval")
    handle = it.get_by_role("slider", name="point")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    before = interval_agrees(it)
    mouse = it.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + 60, box["y"] + 200)
    mouse.up()
    assert interval_agrees(it) > before


@pytest.mark.browser
def test_a_click_in_a_lower_row_moves_the_point(figure):
    it = figure(CHAPTER, "interval")
    svg = it.locator("svg")
    before = interval_agrees(it)  # aab or so: three rows, and the message's own
    svg.click(position={"x": 30, "y": 28 + 64 + 25})
    inside = interval_agrees(it)
    assert inside < before
    assert located(inside, 1)[0] == located(before, 1)[0]
    svg.click(position={"x": 30, "y": 28 + 38 + 13})  # between two rows: nothing
    assert interval_agrees(it) == inside


@pytest.mark.browser
def test_the_ring_around_the_handle_is_whole(figure):
    it = figure(CHAPTER, "interval")
    handle = it.get_by_role("slider", name="point")
    for key in ("Home", "End"):
        handle.press(key)
        ring, svg = handle.bounding_box(), it.locator("svg").bounding_box()
        assert ring["x"] - 4 >= svg["x"]  # an outline of 2 px, 2 px away
        assert ring["x"] + ring["width"] + 4 <= svg["x"] + svg["width"]
        assert ring["y"] - 4 >= svg["y"]


@pytest.mark.browser
def test_no_text_of_the_interval_is_cut_off(figure):
    it = figure(CHAPTER, "interval")
    it.page.set_viewport_size({"width": 400, "height": 800})
    it.get_by_role("slider", name="letters").press("End")
    for key in ("End", "Home"):
        it.get_by_role("slider", name="point").press(key)
        text, svg = it.locator('[data-name="written"]').bounding_box(), it.locator("svg").bounding_box()
        assert text["x"] >= svg["x"] - 1
        assert text["x"] + text["width"] <= svg["x"] + svg["width"] + 1


def decode_unchecked(codec, payloads):
    decoders = [rangecoder.Decoder(payload) for payload in payloads]
    cache, tokens = codec.twin.new_cache(len(payloads)), torch.zeros((len(payloads), 600), dtype=torch.int64)
    for position in range(600):
        logits = codec.twin.step(tokens[:, position - 1] if position else None, cache)
        cumulative = rangecoder.cumulate(fixedpoint.frequencies(logits))
        tokens[:, position] = torch.tensor([one.decode(row) for one, row in zip(decoders, cumulative, strict=True)])
    return tokens


@pytest.mark.browser
def test_bitflip(figure, codec):
    grid = tokenset.read(arlib.data.root() / "tokens" / "valid.tokens").grids[230]
    payload = codec.compress_tokens(grid)[16:]
    it = figure(CHAPTER, "bitflip")
    slider, answers = it.get_by_role("slider", name="byte"), []
    for keys, bit in [("Home", 0), ("ArrowRight " * 3, 7), ("End", 0), ("ArrowLeft " * 4, 7), ("ArrowLeft " * 3, 0)]:
        for key in keys.split():
            slider.press(key)
        it.get_by_label("highest" if bit else "lowest").focus()
        it.page.keyboard.press("Space")
        byte = int(slider.get_attribute("aria-valuetext").split()[0])
        damaged = bytearray(payload)
        damaged[byte] ^= 1 << bit
        assert shown(it, "change") == f"{payload[byte]:08b} becomes {damaged[byte]:08b}"
        answers.append((bytes(damaged), shown(it, "first-wrong"), shown(it, "right")))
    assert len({answer[1] for answer in answers}) == 5
    for tokens, (_, first, right) in zip(decode_unchecked(codec, [a[0] for a in answers]), answers, strict=True):
        wrong = (tokens != grid.flatten()).nonzero()
        assert first == str(wrong[0].item())
        assert right == f"{600 - len(wrong)} of 600"
