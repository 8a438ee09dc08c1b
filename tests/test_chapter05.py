"""Chapter 5, "A data set of tokens": its checkers say why an answer is wrong, its figure packs as arlib does."""

import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from arlib import tokenset
from arlib.exercises import chapter05 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "05-token-sets"


@pytest.fixture(scope="module")
def sources():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def right_token(packed, bits, place, order="little", mask=True, shift=True, most=3):
    """Right; the options break it."""
    start, end = bits * place, bits * (place + 1)
    few = packed[start // 8 : min(math.ceil(end / 8), start // 8 + most)]
    number = int.from_bytes(few, order) >> (start % 8 if shift else 0)
    return number & 2**bits - 1 if mask else number


def cut_short(packed, bits, place):
    few = packed[bits * place // 8 : bits * (place + 1) // 8]
    return int.from_bytes(few, "little") >> bits * place % 8 & 2**bits - 1


def masked_first(packed, bits, place):
    few = packed[bits * place // 8 : math.ceil(bits * (place + 1) / 8)]
    return (int.from_bytes(few, "little") & 2**bits - 1) >> bits * place % 8


def of_a_number_of(count, packed, bits, place, fill=b""):
    """Right, by the `count` bytes from the token's first on as one number, `fill` where the file ends before."""
    few = packed[bits * place // 8 : bits * place // 8 + count]
    return int(np.frombuffer(few + fill * (count - len(few)), f"<u{count}")[0]) >> bits * place % 8 & 2**bits - 1


def from_the_highest_bit(packed, bits, place, weights=None):
    row = np.unpackbits(np.frombuffer(packed, np.uint8))[bits * place : bits * (place + 1)].astype(int)
    return int((row << (np.arange(bits) if weights is None else weights)).sum())


def by_unpackbits(packed, bits, place):
    """The highest bit first, of bytes and tokens."""
    return from_the_highest_bit(packed, bits, place, np.arange(bits)[::-1])


TOKENS = [
    (lambda packed, bits, place: None, "returns nothing yet"),
    (lambda packed, bits, place: right_token(packed, bits, place, mask=False), "what comes after it"),
    (lambda packed, bits, place: int.from_bytes(packed, "little") >> bits * place, "what comes after it"),
    (lambda packed, bits, place: right_token(packed, bits, place, shift=False), "shift what lies below it out"),
    (lambda packed, bits, place: right_token(packed, bits, place, order="big"), "take it for the highest"),
    (lambda packed, bits, place: right_token(packed, bits, place, most=2), "you have read two"),
    (lambda packed, bits, place: right_token(packed, bits, place, most=1), "don't end in the byte"),
    (lambda packed, bits, place: right_token(packed, bits, max(place - 1, 0)), "the one before it"),
    (lambda packed, bits, place: right_token(packed, bits, place + 1), "the one after it"),
    (lambda packed, bits, place: right_token(packed, 10, place), "ten bits for a token"),
    (cut_short, "round its end up"),
    # At the end of the file alone, where nothing comes after it.
    (lambda packed, bits, place: right_token(packed, bits, place) ^ (place == 202), "to bit 5 of byte 253"),
    (lambda packed, bits, place: right_token(packed, bits, place) - 1, "takes the 1 off last"),
    (from_the_highest_bit, "the highest bit of each byte first"),
    (by_unpackbits, "take it for the highest"),
    (masked_first, "mask before you shift"),
    (lambda packed, bits, place: packed[place], "a token isn't one"),
    (
        lambda packed, bits, place: right_token(packed, bits, place) ^ 1,
        "it goes from bit 0 of byte 0 to bit 1 of byte 1",
    ),
    (lambda packed, bits, place: tokenset.unpack(packed, bits, place + 1)[place], "go through the whole file"),
    (lambda packed, bits, place: right_token(packed[:], bits, place), "go through the whole file"),
    (
        lambda packed, bits, place: right_token([packed[k] for k in range(len(packed))], bits, place),
        "go through the whole file",
    ),
    (lambda packed, bits, place: of_a_number_of(4, packed, bits, place), "raised ValueError"),  # where the file ends
    (lambda packed, bits, place: packed[place : place + 2], "one finite number"),
    (lambda packed, bits: 0, "raised TypeError"),
]


def diagnosed(**changes):
    return {**check.DISEASES, **changes}


DIAGNOSES = [
    (dict.fromkeys("ABCDEF", ...), "no diagnosis yet"),
    ({"A": "rounds"}, 'keys "A" to "F"'),
    (diagnosed(A="ill"), "none of the names"),
    (diagnosed(A="one byte"), "every token from 0 to 1023"),
    (diagnosed(B="rounds"), "nothing is wrong with it"),
    (diagnosed(C="healthy"), "Send single bits"),
    (diagnosed(D="healthy"), "a token of its own"),
    (diagnosed(E="bit order"), "every token from 0 to 1023"),
    (diagnosed(F="shuffles"), "another token at every place"),
    (diagnosed(F=...), "1 still without a name"),
]


def right_crop(tokens, top, bottom, left, right, reach, edges=True):
    """Right; without `edges` the picture's own edges count as cuts."""
    height, width = tokens.shape
    rows, columns = torch.arange(top, bottom), torch.arange(left, right)
    known = torch.ones(bottom - top, right - left, dtype=torch.bool)
    known &= ((rows >= top + reach) | (edges and top == 0))[:, None]
    known &= ((rows < bottom - reach) | (edges and bottom == height))[:, None]
    known &= (columns >= left + reach) | (edges and left == 0)
    known &= (columns < right - reach) | (edges and right == width)
    return torch.where(known, tokens[top:bottom, left:right], -1)


def negative_zero(tokens, top, bottom, left, right, reach):
    part = tokens[top:bottom, left:right].clone()
    for side, cut, where in (
        (part, top > 0, slice(reach)),
        (part, bottom < len(tokens), slice(-reach, None)),
        (part.T, left > 0, slice(reach)),
        (part.T, right < tokens.shape[1], slice(-reach, None)),
    ):
        if cut:
            side[where] = -1
    return part


def elsewhere(tokens, top, bottom, left, right, reach):
    kept = right_crop(tokens, top, bottom, left, right, reach)
    return torch.where(kept < 0, kept, tokens[: bottom - top, : right - left])


def rows_alone(tokens, top, bottom, left, right, reach):
    part = tokens[top:bottom, left:right].clone()
    part[: reach if top else 0] = -1
    part[len(part) - (reach if bottom < len(tokens) else 0) :] = -1
    return part


def strictly(tokens, top, bottom, left, right, reach):
    kept = right_crop(tokens, top, bottom, left, right, reach)
    kept[reach if top else 0] = -1
    return kept


def but_at(row, column, *box):
    """Right, but for one place of one crop, which is kept where it has to be given up, or the other way round."""

    def answer(tokens, top, bottom, left, right, reach):
        kept = right_crop(tokens, top, bottom, left, right, reach)
        if box == (top, bottom, left, right):
            known = kept[row, column] >= 0
            kept[row, column] = -1 if known else tokens[top + row, left + column]
        return kept

    return answer


CROPS = [
    (lambda tokens, a, b, c, d, reach: None, "returns nothing yet"),
    (lambda tokens, a, b, c, d, reach: tokens[a:b, c:d], "those near a cut can't be known"),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, reach, edges=False), "own edges aren't cuts"),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, reach + 1), "too many at each cut"),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, max(reach - 1, 0)), "keep one row or column"),
    (negative_zero, "begins at 0"),
    (rows_alone, "the first patch that was cut off on its left is 1 away"),
    (strictly, "no patch that was cut off is within reach"),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, reach).clamp(min=0), "has to be -1: the first"),
    # Of 16 rows and 24 columns.
    (but_at(7, 7, 3, 12, 4, 20), "has to be -1: the first patch that was cut off below it is 2 away"),
    (but_at(4, 14, 3, 12, 4, 20), "has to be -1: the first patch that was cut off on its right is 2 away"),
    (but_at(0, 1, 0, 12, 4, 20), "has to be -1: the first patch that was cut off on its left is 2 away"),
    (but_at(12, 1, 3, 16, 4, 24), "has to be -1: the first patch that was cut off on its left is 2 away"),
    (but_at(1, 19, 3, 16, 4, 24), "has to be -1: the first patch that was cut off above it is 2 away"),
    (but_at(2, 0, 2, 11, 0, 9), "has to be -1: the first patch that was cut off above it is 3 away"),
    (but_at(5, 9, 0, 16, 0, 24), "row 5, column 9 of the crop is -1 and has to be"),
    (but_at(5, 9, 0, 16, 0, 24), "no patch that was cut off is within reach"),
    (elsewhere, "aren't those of the crop's places"),
    (
        lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, reach).clamp(max=0),
        "aren't those of the crop's places",
    ),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, 5), "has to be"),
    (lambda tokens, a, b, c, d, reach: tokens[a + reach : b - reach, c + reach : d - reach], "the shape is"),
    (lambda tokens, a, b, c, d, reach: right_crop(tokens, a, b, c, d, reach).double(), "the dtype is"),
]


def right_names(tokens):
    counts = [
        tokens[:, :k].unique(dim=0, return_inverse=True, return_counts=True) for k in range(1, len(tokens[0]) + 1)
    ]
    alone = torch.stack([count[inverse] == 1 for _, inverse, count in counts])
    return 1 + (~alone).sum(0)


def of_the_next(tokens):
    same = (tokens == tokens.roll(-1, 0)).long().cumprod(1).sum(1)
    return 1 + same


def of_the_earlier(tokens):
    same = (tokens[:, None] == tokens[None]).long().cumprod(2).sum(2)
    return 1 + same.tril(-1).amax(1)


def of_the_first_four(tokens):
    """Right for four rows."""
    same = (tokens[:, None] == tokens[None]).long().cumprod(2).sum(2)
    return 1 + same.fill_diagonal_(0)[:, :4].amax(1)


def by_equal_places(tokens):
    same = (tokens[:, None] == tokens[None]).sum(2)
    return 1 + same.fill_diagonal_(0).amax(1)


def by_single_places(tokens):
    counts = torch.stack([(tokens[:, None, k] == tokens[None, :, k]).sum(1) for k in range(tokens.shape[1])], 1)
    alone = counts == 1
    return torch.where(alone.any(1), alone.long().argmax(1) + 1, tokens.shape[1] + 1)


NAMES = [
    (lambda tokens: None, "returns nothing yet"),
    (lambda tokens: right_names(tokens) - 1, "one more tells it"),
    (
        lambda tokens: right_names(tokens) - 1,
        "for [[1, 2, 3], [1, 2, 4], [5, 2, 3], [1, 6, 3]] you get [2, 2, 0, 1]: you count",
    ),
    (
        lambda tokens: right_names(tokens).clamp(max=tokens.shape[1]),
        "for [[7, 7, 7], [7, 7, 8], [7, 9, 9], [7, 7, 7]] you get [3, 3, 2, 3]: "
        "a row with a twin isn't singled out by all its tokens: that is 4 here",
    ),
    (of_the_first_four, "for 12 rows you get ["),
    (of_the_next, "row 1 and row 0 have their first 2 tokens in common"),
    (of_the_earlier, "earlier rows only"),
    (lambda tokens: torch.full((len(tokens),), tokens.shape[1] + 1), "compare each row with itself"),
    (by_equal_places, "no other row begins with the first token of row 2"),
    (by_single_places, "single places"),
    (lambda tokens: right_names(tokens).tolist(), "a tensor is asked for"),
    (lambda tokens: right_names(tokens).max(), "the shape is"),
    (lambda tokens: right_names(tokens).double(), "the dtype is"),
]

SIZES = [
    (..., "no number yet"),
    (401_777, "the header is missing"),
    (401_808, "the last byte"),
    (402_434, "after every grid"),
    (402_402, "the header is missing"),
    (494_526, "int16"),
    (370_903, "twelve bits"),
    (3_214_211, "these are bits"),
    (494_494, "And the header is missing"),
    (1_978_008, "int64"),
    (247_279, "256 codes"),
    (309_091, "1,024 codes"),
    (434, "one grid"),
    (401_807, "the widths of its fields"),
    (379_794.12, "a whole number of bits"),
    (379_795, "a whole number of bits"),
    (192_032, "another number of bytes"),  # the chapter's own file
    ("many", "one finite number"),
]

WRONG = [
    *[(check.token_at, *case) for case in TOKENS],
    *[(check.diagnosis, *case) for case in DIAGNOSES],
    *[(check.crop, *case) for case in CROPS],
    *[(check.named_by, *case) for case in NAMES],
    *[(check.size, *case) for case in SIZES],
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.token_at, right_token),
    (check.token_at, lambda packed, bits, place: np.int64(right_token(packed, bits, place))),
    (check.token_at, lambda packed, bits, place: of_a_number_of(8, packed, bits, place, fill=bytes(1))),
    (check.diagnosis, check.DISEASES),
    (check.crop, right_crop),
    (check.named_by, right_names),
    (check.size, 401_809),
    (check.size, torch.tensor(401_809)),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_other_right_answers_are_right(checker, answer):
    assert checker(answer)


def test_a_right_answer_is_told_how_far_it_reads_and_what_a_file_is_made_of():
    assert "never more than 3 bytes read" in check.token_at(right_token).reason  # 18 bits from an even one on
    assert check.size(401_809).reason == "401,809 bytes: 32 and 3,214,211 bits, filled up once, at the end."


def names_of(sources, *starts):
    names = {"torch": torch, "math": math, "np": np}
    for start in starts:
        source = next(source for source in sources if source.startswith(start))
        exec(source.split("\n\n\nprint")[0].split("\n\n\nmixed")[0], names)
    return names


def test_the_chapters_own_functions_are_no_answers(sources):
    names = names_of(sources, "def pack", "def unpack_in")
    assert not check.token_at(lambda packed, bits, place: names["unpack"](packed, bits, place + 1)[place])
    assert not check.token_at(lambda packed, bits, place: names["unpack_in_the_other_order"](packed)[place])
    assert not check.crop(lambda tokens, a, b, c, d, reach: tokens[a:b, c:d])
    # The chapter counts how many frames are named by the first tokens; that is one number, not one a frame.
    assert not check.named_by(lambda tokens: (tokens.unique(dim=0, return_counts=True)[1] == 1).sum())


def test_the_chapters_packing_is_the_librarys(sources):
    names = names_of(sources, "def pack")
    for bits in range(1, 19):
        tokens = torch.randint(2**bits, (41,), generator=torch.Generator().manual_seed(bits))
        assert names["pack"](tokens, bits) == tokenset.pack(tokens, bits)
        assert torch.equal(names["unpack"](tokenset.pack(tokens, bits), bits, 41), tokens)


@pytest.mark.parametrize("letter", list("ABCDEF"))
def test_a_patient_has_its_disease(letter):
    """What each gives back for all tokens, and whether frames keep their order."""
    every = torch.arange(1200).view(2, 20, 30) % 1024
    many = torch.arange(1000)[:, None, None].expand(-1, 20, 30).contiguous()
    patient, disease = check.PATIENTS[letter], check.DISEASES[letter]
    found = patient(every)
    assert (found.max() == 1024) == (disease == "rounds")
    assert torch.equal(found, every % 256) == (disease == "one byte")
    assert torch.equal(patient(many).sort(0).values, many) == (disease in ("healthy", "shuffles", "by columns"))
    assert torch.equal(patient(many), many) == (disease in ("healthy", "by columns"))


def test_patient_c_reads_the_highest_bit_of_each_byte_first():
    """Three tokens of 10 bits, and two bits of the last byte that belong to none."""
    patient = check.PATIENTS["C"]
    assert patient(torch.tensor([[[1, 0, 0]]])).tolist() == [[[128, 0, 0]]]  # bit 0 of byte 0 is read as bit 7
    assert patient(torch.tensor([[[256, 0, 0]]])).tolist() == [[[0, 32, 0]]]  # bit 8 as bit 15: 5 of token 1
    assert patient(torch.tensor([[[0, 0, 16]]])).tolist() == [[[0, 0, 0]]]  # bit 24 as bit 31


# ---- The figure ------------------------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


def set_tokens(figure, *tokens):
    for place, token in enumerate(tokens):
        figure.get_by_role("slider", name=f"token {place}").fill(str(token))


@pytest.mark.browser
@pytest.mark.parametrize("tokens", [(1, 512, 1023), (700, 3, 256), (0, 0, 0)])
def test_the_figure_packs_as_the_library_does(figure, tokens):
    it = figure(CHAPTER, "packing")
    set_tokens(it, *tokens)
    it.get_by_label("10, packed", exact=True).check()
    packed = tokenset.pack(torch.tensor(tokens), 10)
    assert shown(it, "bytes") == f"4: {packed.hex(' ')}"
    assert shown(it, "read") == ", ".join(map(str, tokens))
    assert shown(it, "verdict") == "all three are right"
    assert shown(it, "size") == "5.4 MB"
    it.get_by_label("the highest bit first", exact=True).check()
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))[:30].reshape(3, 10).astype(int)
    assert shown(it, "read") == ", ".join(str(value) for value in (bits << np.arange(10)).sum(1))
    palindrome = tokens == (0, 0, 0)
    assert shown(it, "verdict") == ("all three are right" if palindrome else "3 of 3 wrong, and nothing complains")


@pytest.mark.browser
def test_the_figure_casts_to_one_byte(figure):
    it = figure(CHAPTER, "packing")
    set_tokens(it, 255, 256, 1023)
    it.get_by_label("8, as uint8", exact=True).check()
    assert shown(it, "bytes") == "3: ff 00 ff"
    assert shown(it, "read") == "255, 0, 255"
    assert shown(it, "verdict") == "2 of 3 wrong, and nothing complains"
    assert shown(it, "size") == "4.3 MB"


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "packing")
    it.page.set_viewport_size({"width": 400, "height": 900})
    box, inside = it.bounding_box(), it.locator("svg").bounding_box()
    assert box["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= box["x"] + box["width"]
