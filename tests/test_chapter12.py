"""Chapter 12, "An image file of our own": its checkers refuse wrong answers with a reason."""

import io
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image

from arlib import container
from arlib.exercises import chapter12 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "12-image-file"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def sources(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# ---- Exercise 1 ------------------------------------------------------------------------------------------------------


def right_chunks(
    data, known, covers=4, order=">", skips=True, strict=True, checks="all", whole=True, ends=True, text=False, body=8
):
    """Right, but for what the options break."""
    found, at, name = [], 0, b""
    while name != b"IEND" and (ends or at < len(data)):
        if at + 12 > len(data):
            if whole:
                raise ValueError("too short")
            break
        length, name = struct.unpack_from(order + "I4s", data, at)
        end = at + 12 + length
        if end > len(data) and whole:
            raise ValueError("too short")
        crc = zlib.crc32(data[at + covers : end - 4])
        if (checks == "all" or (checks == "known" and name in known)) and data[end - 4 : end] != struct.pack(">I", crc):
            raise ValueError("a wrong CRC")
        if name in known:
            found.append((name.decode() if text else name, data[at + body : end - 4]))
        elif not name[0] & 0x20 and strict:
            raise ValueError("critical")
        elif not skips:
            raise ValueError("unknown")
        at = end
    if at < len(data) and ends and whole:
        raise ValueError("more")
    return found


def with_(**options):
    return lambda data, known: right_chunks(data, known, **options)


def unknown_too(data, known):
    return right_chunks(data, known | {b"prIV", b"NEWS"})


def no_struct(data, known):
    """Unpacks beyond the end."""
    try:
        return right_chunks(data, known)
    except ValueError as error:
        if str(error) == "too short":
            struct.unpack(">I", b"")
        raise


CHUNKS = [
    (lambda data, known: None, "returns nothing yet"),
    (lambda data, known: ..., "returns nothing yet"),
    (with_(covers=8), "your CRC covers the body alone"),
    (with_(covers=0), "your CRC covers the length too"),
    (with_(order="<"), "you refuse good data"),
    (with_(skips=False), "you refuse data with an unknown ancillary chunk"),
    (unknown_too, "you return an unknown chunk"),
    (with_(strict=False), "an unknown critical chunk"),
    (with_(checks="none"), "a wrong CRC: ValueError"),
    (with_(checks="known"), "a wrong CRC of a chunk that is skipped"),
    (with_(ends=False), "data without an IEND"),
    (with_(text=True), "names are bytes"),
    (with_(body=4), "a body is not"),
    (lambda data, known: dict(right_chunks(data, known)), "a list of pairs"),
    (lambda data, known: iter(right_chunks(data, known)), "a list of pairs"),
    (lambda data, known: [(*pair, 0) for pair in right_chunks(data, known)], "a list of pairs"),
    (lambda data, known: right_chunks(data, known)[:-1], "you return the names"),
    (no_struct, "raised error"),
    ([], "a function is asked for"),
    (lambda data: [], "raised TypeError"),
]


def trailing(data, known):
    """Forgets what follows IEND."""
    end = data.index(b"IEND") + 8 if b"IEND" in data else len(data)
    return right_chunks(data[:end], known)


CHUNKS += [(trailing, "a byte after IEND"), (with_(checks="all", whole=False), "data without an IEND")]

# ---- Exercise 2 ------------------------------------------------------------------------------------------------------

BITS = [
    (..., "there is no number yet"),
    (20, "2^20 is the number of models"),
    (39, "about one pair"),
    (40, "a single new model"),
    (58, "round up"),
    (58.79, "which way do you round"),
    (60, "each pair twice"),
    (8, "a number of bytes"),
    (64, "whole bytes"),
    (32, "not that many"),  # the chapter's own
    ("59", "one finite number"),
]

# ---- Exercise 3 ------------------------------------------------------------------------------------------------------

TABLE = [zlib.crc32(bytes([byte])) ^ zlib.crc32(b"\0") for byte in range(256)]
TOPS = {value >> 24: byte for byte, value in enumerate(TABLE)}


def right_force(data, target):
    """By running the table backwards: another way than the chapter's."""
    state, goal, path = zlib.crc32(data) ^ 0xFFFFFFFF, target ^ 0xFFFFFFFF, []
    for _ in range(4):
        path.append(TOPS[goal >> 24])
        goal = (goal ^ TABLE[path[-1]]) << 8 & 0xFFFFFFFF
    given = bytearray()
    for byte in reversed(path):
        given.append((state ^ byte) & 0xFF)
        state = state >> 8 ^ TABLE[byte]
    return bytes(given)


def in_front(data, target):
    """Four bytes that would do before the data, by linear equations."""
    nothing = zlib.crc32(bytes(4) + data)
    goal = nothing ^ target
    rows: list[tuple[int, int]] = []
    for bit in range(32):
        bits = 1 << bit
        move = zlib.crc32(bits.to_bytes(4, "little") + data) ^ nothing
        for other, its in rows:
            if move ^ other < move:
                move, bits = move ^ other, bits ^ its
        rows.append((move, bits))
        rows.sort(reverse=True)
    chosen = 0
    for move, bits in rows:
        if goal ^ move < goal:
            goal, chosen = goal ^ move, chosen ^ bits
    return chosen.to_bytes(4, "little")


FORCE = [
    (lambda data, target: None, "returns nothing yet"),
    (lambda data, target: right_force(data, target)[::-1], "the opposite order"),
    (in_front, "in front of the data"),
    (lambda data, target: struct.pack("<I", zlib.crc32(data)), "only appends a checksum"),
    (lambda data, target: struct.pack("<I", target), "only appends a checksum"),
    (lambda data, target: data + right_force(data, target), "four bytes are asked for"),
    (lambda data, target: 7, "bytes are asked for"),
    (lambda data, target: right_force(data, 0), "the data b'kart' and target 12345678 your bytes give 00000000"),
    (lambda data, target: right_force(data, 0x12345678), "data b'' and target 00000000 your bytes give 12345678"),
    (lambda data, target: right_force(data, target) if data[0] else b"", "raised IndexError"),  # where there are none
    (lambda data, target: right_force(data, target) if len(data) < 99 else bytes(4), " … and target ffffffff"),
    (lambda data, target: struct.pack("<I", target ^ zlib.crc32(data)), "moves it by a pattern of its own"),
    (lambda data: b"", "raised TypeError"),
]

# ---- Exercise 4 ------------------------------------------------------------------------------------------------------


def complaint(read, data):
    try:
        read(data)
    except ValueError as error:
        return str(error)
    return ""


def right_diagnosis(read, file):
    damaged = complaint(read, file[:-1])
    other_model = file[:4] + bytes([file[4] ^ 255]) + file[5:]
    if not damaged:
        return "no checksum"
    if not complaint(read, other_model):
        return "payload only"
    later = b"PTB\x07" + file[4:]
    if "version" in complaint(read, later):
        return "nothing"
    sealed = later[:12] + struct.pack("<I", zlib.crc32(later[16:], zlib.crc32(later[:12]))) + later[16:]
    return "any version" if not complaint(read, sealed) else "version last"


def swapped(one, other):
    names = {one: other, other: one}
    return lambda read, file: names.get(right_diagnosis(read, file), right_diagnosis(read, file))


def without_repair(read, file):
    found = right_diagnosis(read, file)
    return "version last" if found == "any version" else found


def header_first(read, file):
    """A changed model that passes may mean either."""
    found = right_diagnosis(read, file)
    return "payload only" if found == "no checksum" else found


DIAGNOSES = [
    (lambda read, file: None, "returns nothing yet"),
    (lambda read, file: "nothing", 'That is "any version", and you say "nothing"'),
    (lambda read, file: "no checksum", 'one reader refuses all that it should. That is "nothing"'),
    (swapped("nothing", "version last"), 'That is "nothing", and you say "version last"'),
    (without_repair, "repair the checksum"),
    (header_first, "change a byte of the payload"),
    (swapped("payload only", "nothing"), 'you say "payload only"'),
    (lambda read, file: "sleepy", "none of the names"),
    (lambda read, file: read(file[:-1]), "raised ValueError"),
    (lambda read: "nothing", "raised TypeError"),
]

# ---- Exercise 5 ------------------------------------------------------------------------------------------------------


def right_unpack(data, most, more=1, eof=True, unused=True, wraps=True):
    """Right, but for what the options break."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, most + more)
    except zlib.error:
        if not wraps:
            raise
        raise ValueError("damaged") from None
    if len(content) > most:
        raise ValueError("too large")
    if (eof and not stream.eof) or (unused and stream.unused_data):
        raise ValueError("not whole")
    return content


def afterwards(data, most):
    """Unpacks it all, and looks at the size when it is too late."""
    try:
        content = zlib.decompress(data)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if len(content) > most:
        raise ValueError("too large")
    return content


def raw(data, most, checksums):
    """Passes over the header and the checksum."""
    stream = zlib.decompressobj(wbits=-15)
    try:
        content = stream.decompress(data[2:], most + 1)
    except zlib.error:
        raise ValueError("damaged") from None
    if len(content) > most or not stream.eof or len(stream.unused_data) not in checksums:
        raise ValueError("too large, or not whole")
    return content


def whole_if_full(data, most):
    """Takes it that nothing is missing where all is there that may come."""
    return right_unpack(data, most, eof=len(right_unpack(data, most, eof=False)) < most)


def cut(data, most):
    return zlib.decompressobj().decompress(data, most)


UNPACK = [
    (lambda data, most: None, "returns nothing yet"),
    (afterwards, "the bomb went off"),
    (lambda data, most: zlib.decompress(data), "a content of 64 MB"),
    (cut, "a content of 64 MB"),
    (lambda data, most: right_unpack(data, most, eof=False), "whether the end of the stream was reached"),
    (lambda data, most: raw(data, most, range(5)), "a stream that lacks its last byte: ValueError"),
    (lambda data, most: raw(data, most, (4,)), "a stream whose checksum is wrong: ValueError"),
    (whole_if_full, "All content came, but not the end"),
    (lambda data, most: right_unpack(data, most, unused=False), "in `unused_data`"),
    (lambda data, most: right_unpack(data, most, wraps=False), "raised error"),
    (lambda data, most: right_unpack(data, most - 1), "you refuse a content of 5,000 bytes"),
    (lambda data, most: right_unpack(data, most + 1), "hides that there was more"),
    (lambda data, most: right_unpack(data, most).decode("latin1"), "something else than the content"),
    (lambda data: b"", "raised TypeError"),
]

WRONG = [
    *((check.chunks, answer, reason) for answer, reason in CHUNKS),
    *((check.hash_bits, answer, reason) for answer, reason in BITS),
    *((check.force, answer, reason) for answer, reason in FORCE),
    *((check.what_is_wrong, answer, reason) for answer, reason in DIAGNOSES),
    *((check.unpack, answer, reason) for answer, reason in UNPACK),
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.chunks, right_chunks),
    (check.chunks, lambda data, known: tuple(map(list, right_chunks(data, known)))),
    (check.hash_bits, 59),
    (check.hash_bits, torch.tensor(59.0)),
    (check.force, right_force),
    (check.force, lambda data, target: bytearray(right_force(data, target))),
    (check.what_is_wrong, right_diagnosis),
    (check.unpack, right_unpack),
    (check.unpack, lambda data, most: bytearray(right_unpack(data, most))),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_other_right_answers_are_right(checker, answer):
    assert checker(answer)


def test_the_memory_of_a_reader_who_traces_his_own_is_left_out():
    assert check.unpack(right_unpack)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        held = bytes(8 << 20)
        assert check.unpack(right_unpack)
        assert tracemalloc.is_tracing()
        del held
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", check.READERS)
def test_every_reader_refuses_what_is_no_file_and_reads_an_empty_payload(kind):
    read, head = check._reader(kind), b"PTB\x0112345678"
    empty = head + struct.pack("<I", zlib.crc32(b"" if kind == "payload only" else head))
    assert read(empty) == b""
    for data in (b"PNG" + empty[3:], empty[:-1], b""):
        assert complaint(read, data) == "This is no .ptb file."


def names_of(sources, start, **names):
    """The names that the cell with a line `start` defines."""
    [source] = [source for source in sources if re.search(rf"^{re.escape(start)}", source, re.M)]
    source = source[source.index(start) :]
    exec(re.split(r"\n\n\n(?!def )", source)[0].rstrip(), names)
    return names


def test_the_chapters_own_functions_are_no_answers(sources):
    write = names_of(sources, "def write(", struct=struct, zlib=zlib, torch=torch)["write"]
    assert not check.force(lambda data, target: write("00000000", torch.zeros(1), data)[12:16])
    assert not check.what_is_wrong(lambda read, file: "any version" if file[3] != 1 else "nothing")
    refused = names_of(sources, "def refused(", container=container)["refused"]
    assert not check.chunks(lambda data, known: refused(data))
    assert not check.unpack(lambda data, most: zlib.compress(data, 9))  # the bomb's own call


def test_the_solution_of_exercise_1_reads_a_real_png(sources):
    names = names_of(sources, "def chunks_solution(", struct=struct, zlib=zlib, check=check)
    content = io.BytesIO()
    Image.new("RGB", (150, 100), "red").save(content, "PNG")
    found = names["chunks_solution"](content.getvalue()[8:], {b"IHDR", b"IDAT", b"IEND"})
    assert [name for name, _ in found] == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack_from(">II", found[0][1]) == (150, 100)
