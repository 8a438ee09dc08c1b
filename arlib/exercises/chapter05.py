"""Checkers of chapter 5, "A data set of tokens"."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from arlib import exercises, tokenset
from arlib.exercises import Wrong, call, checker, number, tensor

Patient = Callable[[torch.Tensor], torch.Tensor]
BIG = "the first byte holds the lowest bits, and you take it for the highest."


# ---- Exercise 1: one token of a packed file --------------------------------------------------------------------------


class _Watched(bytes):
    """Packed bytes that keep count of how many were read by an index or a slice."""

    read = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        _Watched.read += 1 if isinstance(part, int) else len(part)
        return part


@checker
def token_at(answer: Callable) -> str:
    """Exercise 1: the token at one place, from the few bytes that hold it."""
    most = 0
    for bits in (10, 8, 11, 13, 17, 18, 5, 1):
        tokens = torch.randint(2**bits, (203,))
        packed = tokenset.pack(tokens, bits)
        places, found = [0, 1, 2, 3, 5, 7, *range(180, 203)], []
        for place in places:
            _Watched.read = 0
            given = call(answer, _Watched(packed), bits, place)
            found.append(given if type(given) is int else number(given))  # an int may be too large for a float
            most = max(most, _Watched.read or len(packed))
        if found != tokens[places].tolist():
            raise Wrong(_why_not(found, packed, bits, places, tokens.tolist()))
    if most > 8:
        raise Wrong(
            "every token is right, but you go through the whole file for each. Eighteen bits lie in at most "
            "three bytes: read packed[first:last], and no more."
        )
    return f"every token, and never more than {most} bytes read for one; a file of any size can be read in the middle."


def _mistaken(packed: bytes, bits: int, place: int, tokens: list[int]) -> list[tuple[int, str]]:
    """What each of the usual mistakes reads at a place, and what to say of it."""
    start, low = divmod(bits * place, 8)
    mask, size = 2**bits - 1, -(-(low + bits) // 8)
    here, token = packed[start : start + size], tokens[place]
    row = np.unpackbits(np.frombuffer(here, np.uint8))[low : low + bits].astype(np.int64)  # from the highest bit
    ten = int.from_bytes(packed[10 * place // 8 :], "little") >> 10 * place % 8 & 1023

    def read(count: int, order: Literal["little", "big"] = "little") -> int:
        return int.from_bytes(here[:count], order)

    return [
        (read(3) & mask, "the token begins inside a byte: shift what lies below it out."),
        (read(1) >> low & mask, "some tokens don't end in the byte they begin in."),
        (read(2) >> low & mask, "some tokens lie in three bytes, and you have read two."),
        (read((low + bits) // 8) >> low & mask, "your slice ends before the token's last bits: round its end up."),
        (read(3, "big") >> low & mask, BIG),
        (read(3, "big") >> -(low + bits) % 8 & mask, BIG),
        (int((row << np.arange(len(row))).sum()), "you take the highest bit of each byte first; the lowest is first."),
        ((read(3) & mask) >> low, "you mask before you shift: the shift then throws bits of the token away."),
        (token - 1, "each is one too small. `% 2**bits - 1` takes the 1 off last: write `% 2**bits`."),
        (packed[place], "that's a byte, and a token isn't one: it begins at bit bits · place."),
        (tokens[max(place - 1, 0)], "that's the one before it: the first token is token 0."),
        (tokens[place + 1], "that's the one after it: token 0 begins at bit 0."),
        (ten, "you read ten bits for a token, and `bits` is another number."),
    ]


def _why_not(found: list, packed: bytes, bits: int, places: list[int], tokens: list[int]) -> str:
    wrong = next(k for k, place in enumerate(places) if found[k] != tokens[place])
    place, token = places[wrong], tokens[places[wrong]]
    over = [int(given) & (2**bits - 1) for given in found]
    if over != found and over == [tokens[k] for k in places]:
        return f"for token {place} of {bits} bits what comes after it is still there: keep its own bits alone."
    case = f"for token {place} of {bits} bits you get {str(found[wrong])[:12]}, and it is {token}"
    # The last place is left out: what would come after it is in no file. Where it alone is wrong, none of these is why.
    cases = zip(*(_mistaken(packed, bits, k, tokens) for k in places[:-1]), strict=True)
    for each in cases:
        if place != places[-1] and [value for value, _ in each] == found[:-1]:
            return f"{case}: {each[0][1]}"
    (byte, bit), (last, end) = divmod(bits * place, 8), divmod(bits * (place + 1) - 1, 8)
    return f"{case}: it goes from bit {bit} of byte {byte} to bit {end} of byte {last}."


# ---- Exercise 2: six ways to store and load --------------------------------------------------------------------------


def _other_bit_order(grids: torch.Tensor) -> torch.Tensor:
    bits = np.unpackbits(np.frombuffer(tokenset.pack(grids.flatten(), 10), np.uint8), count=10 * grids.numel())
    return torch.from_numpy((bits.reshape(-1, 10).astype(np.int64) << np.arange(10)).sum(1)).view_as(grids)


PATIENTS: dict[str, Patient] = {
    "A": lambda grids: grids.to(torch.bfloat16).long(),
    "B": lambda grids: grids.to(torch.int16).long(),
    "C": _other_bit_order,
    "D": lambda grids: grids[torch.randperm(len(grids))],
    "E": lambda grids: grids.to(torch.uint8).long(),
    "F": lambda grids: grids.transpose(1, 2).reshape(grids.shape),
}
DISEASES = {"A": "rounds", "B": "healthy", "C": "bit order", "D": "shuffles", "E": "one byte", "F": "by columns"}
HINTS = {
    "rounds": "Send every token from 0 to 1023 through it. Which come back, and what comes for the others?",
    "healthy": "Every grid comes back as it was, each token in its place: nothing is wrong with it.",
    "bit order": "Send single bits through it: 1, 2, 4 and so on, with zeros around them.",
    "shuffles": "Give every frame a token of its own. Is it the same frame that comes back, every time?",
    "one byte": "Send every token from 0 to 1023 through it. Which come back, and what comes for the others?",
    "by columns": "Send one grid through it, with another token at every place.",
}


@checker
def diagnosis(answer: Any) -> str:
    """Exercise 2: what is wrong with each of six ways to store tokens, from what they give back."""
    exercises.diagnosis(answer, DISEASES, HINTS)
    return "all six, by tokens that you chose."


# ---- Exercise 3: what a crop keeps -----------------------------------------------------------------------------------


def _crop(
    tokens: torch.Tensor, box: tuple[int, int, int, int], reach: int, edges: bool = True, zero: bool = False
) -> torch.Tensor:
    """The right answer; without `edges` the picture's own edges count as cuts, `zero` has the trap of `part[-0:]`."""
    top, bottom, left, right = box
    height, width = tokens.shape
    part = tokens[top:bottom, left:right].clone()
    for side, cut, of in (
        (part, top > 0, "first"),
        (part, bottom < height, "last"),
        (part.T, left > 0, "first"),
        (part.T, right < width, "last"),
    ):
        if not edges or cut:
            side[slice(reach) if of == "first" else slice(-reach if zero else max(len(side) - reach, 0), None)] = -1
    return part


def _nearest_cut(row: int, column: int, box: tuple[int, int, int, int], shape: tuple[int, int], reach: int) -> str:
    """In words, how far a place of the crop is from the nearest cut; the picture's own edges are none."""
    top, bottom, left, right = box
    cuts = [
        (row + 1, "above it", top > 0),
        (bottom - top - row, "below it", bottom < shape[0]),
        (column + 1, "on its left", left > 0),
        (right - left - column, "on its right", right < shape[1]),
    ]
    far, side = min(((far, side) for far, side, cut in cuts if cut), default=(99, ""))
    if far <= reach:
        return f"the first patch that was cut off {side} is {far} away, which the encoder sees."
    return "no patch that was cut off is within reach."


@checker
def crop(answer: Callable) -> str:
    """Exercise 3: the tokens that a crop keeps, and -1 for those that only the encoder can tell."""
    boxes = [
        ((3, 12, 4, 20), 2), ((0, 12, 4, 20), 2), ((3, 16, 4, 24), 2), ((0, 16, 0, 24), 2), ((0, 16, 5, 24), 1),
        ((2, 11, 0, 9), 3), ((3, 12, 4, 20), 0), ((5, 7, 5, 8), 4),
    ]  # fmt: skip
    for box, reach in boxes:
        tokens = torch.randint(1024, (16, 24))
        right = _crop(tokens, box, reach)
        given = tensor(call(answer, tokens, *box, reach), tuple(right.shape), torch.int64)
        if torch.equal(given, right):
            continue
        case = f"for rows {box[0]}:{box[1]}, columns {box[2]}:{box[3]} of a 16×24 grid and a reach of {reach}, "
        mistakes = [
            (tokens[box[0] : box[1], box[2] : box[3]], "every token is kept, and those near a cut can't be known."),
            (
                _crop(tokens, box, reach, edges=False),
                "the picture's own edges aren't cuts: the padding was there before.",
            ),
            (_crop(tokens, box, reach + 1), "you give up one row or column too many at each cut."),
            (_crop(tokens, box, max(reach - 1, 0)), "you keep one row or column too many at each cut."),
            (_crop(tokens, box, reach, zero=True), "a slice that begins at -0 begins at 0, so everything is lost."),
        ]
        for mistake, reason in mistakes:
            if torch.equal(given, mistake):
                raise Wrong(case + reason)
        both = (given >= 0) & (right >= 0)
        if not torch.equal(given[both], right[both]):
            raise Wrong(case + "the tokens that you keep aren't those of the crop's places.")
        row, column = (given != right).nonzero()[0].tolist()
        raise Wrong(
            f"{case}row {row}, column {column} of the crop is {given[row, column]} and has to be {right[row, column]}: "
            + _nearest_cut(row, column, box, (16, 24), reach)
        )
    return "what lies within reach of a cut is unknown, and the picture's own edges are no cuts."


# ---- Exercise 4: how many tokens name a frame ------------------------------------------------------------------------


def _shared(tokens: torch.Tensor) -> list[list[int]]:
    """How many tokens from the first on each two of N rows have in common: N lists of N numbers."""
    rows, length = tokens.tolist(), tokens.shape[1]
    return [[next((k for k in range(length) if one[k] != other[k]), length) for other in rows] for one in rows]


def _named(tokens: torch.Tensor) -> list[int]:
    shared = _shared(tokens)
    return [1 + max(count for place, count in enumerate(row) if place != here) for here, row in enumerate(shared)]


@checker
def named_by(answer: Callable) -> str:
    """Exercise 4: how many tokens from the beginning single out each row."""
    cases = [
        torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 3], [1, 6, 3]]),
        torch.tensor([[7, 7, 7], [7, 7, 8], [7, 9, 9], [7, 7, 7]]),
        *(torch.randint(2, (12, 5)) for _ in range(10)),
        torch.randint(1024, (30, 4)),
    ]
    for tokens in cases:
        right = torch.tensor(_named(tokens))
        given = tensor(call(answer, tokens), tuple(right.shape), torch.int64)
        if torch.equal(given, right):
            continue
        case = f"for {tokens.tolist()}" if tokens.numel() < 13 else f"for {len(tokens)} rows"
        alone = [[(row[k] == tokens[:, k]).sum() == 1 for k in range(tokens.shape[1])] for row in tokens]
        single = torch.tensor([next((k + 1 for k, one in enumerate(row) if one), len(row) + 1) for row in alone])
        shared, longest = _shared(tokens), tokens.shape[1]
        twins = right.clamp(max=longest)
        before = torch.tensor([1 + max([0, *row[:here]]) for here, row in enumerate(shared)])
        mistakes = [
            (right - 1, "you count the tokens that a row shares; one more tells it from all others."),
            (single, "you look at single places; all tokens from the first on count together."),
            (torch.full_like(right, longest + 1), "you compare each row with itself as well, and it's its own twin."),
            (before, "you look at earlier rows only; those that come later begin alike as well."),
            (twins, f"a row with a twin isn't singled out by all its tokens: that is {longest + 1} here."),
        ]
        for mistake, reason in mistakes:
            if torch.equal(given, mistake):
                raise Wrong(f"{case} you get {given.tolist()}: {reason}")
        row = int((given != right).nonzero()[0])
        count, other = max((count, place) for place, count in enumerate(shared[row]) if place != row)
        told = f"row {row} and row {other} have their first {count} tokens in common"
        told = told if count else f"no other row begins with the first token of row {row}"
        raise Wrong(f"{case} you get {given.tolist()}, and it is {right.tolist()}: {told}.")
    return "the fewest tokens that no other row begins with."


# ---- Exercise 5: the size of a file ----------------------------------------------------------------------------------


@checker
def size(answer: Any) -> str:
    """Exercise 5: the bytes of a file of 1,001 grids of 13×19 tokens of 5,000 codes."""
    grids, places, codes, header = 1_001, 13 * 19, 5_000, 32
    bits = math.ceil(math.log2(codes))
    right = header + math.ceil(grids * places * bits / 8)
    given = number(answer)
    mistakes = [
        (right - header, "the header is missing: a file needs it to be read."),
        (right - 1, "the last byte is full only in part, but it is there."),
        (grids * math.ceil(places * bits / 8), "you fill up a byte after every grid; and the header is missing."),
        (header + grids * math.ceil(places * bits / 8), "you fill up a byte after every grid. Only the last one is."),
        (header + grids * places * 2, "that is int16; 5,000 codes take fewer bits."),
        (grids * places * 2, "that is int16; 5,000 codes take fewer bits. And the header is missing."),
        (header + grids * places * 8, "that is int64, as in memory; 5,000 codes take fewer bits."),
        (header + grids * places, "that is a byte for each token, and a byte has room for 256 codes."),
        (header + math.ceil(grids * places * 10 / 8), "ten bits hold 1,024 codes, and there are 5,000."),
        (header + math.ceil(places * bits / 8), "that is a file with one grid."),
        (header + math.ceil(grids * places * 12 / 8), "twelve bits hold 4,096 codes, and there are 5,000."),
        (header + math.ceil(grids * places * math.log2(codes) / 8), "a token has a whole number of bits in this file."),
        (grids * places * bits, "these are bits."),
    ]
    if given == right:
        return f"{right:,} bytes: {header} and {grids * places * bits:,} bits, filled up once, at the end."
    for mistake, reason in mistakes:
        if math.isclose(given, mistake, rel_tol=0, abs_tol=0.9):
            raise Wrong(reason)
    if abs(given - right) < 2 * header:
        raise Wrong("the tokens seem right, and the header isn't: add up the widths of its fields.")
    raise Wrong("it's another number of bytes. How many bits does one token need, and how many tokens are there?")
