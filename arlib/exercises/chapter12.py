"""Checkers of chapter 12, "An image file of our own"."""

import math
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

from arlib.exercises import Wrong, call, checker, number

KNOWN = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tEXt"})

# What the readers of exercise 4 do, and so what an answer has to try.
READERS = {
    "nothing": "refuses all that it should",
    "any version": "accepts every version (change the version, and repair the checksum)",
    "no checksum": "lets damage pass (change a byte of the payload)",
    "payload only": "has a checksum that leaves out the header (change a byte of the model)",
    "version last": "looks at the checksum before the version (change the version, and repair nothing)",
}

# What helps with exercise 5, where decompressobj raises nothing by itself.
HINTS = {
    "a content of one byte too many": "A limit of exactly `most` hides that there was more.",
    "a stream that is cut short": "`eof` says whether the end of the stream was reached.",
    "a stream that lacks its last byte": "`eof` says whether the end of the stream was reached.",
    "a stream with something after it": "What follows the end is in `unused_data`.",
    "a content of exactly the limit, cut short": "All content came, but not the end: look at `eof`.",
}


@checker
def chunks(answer: Callable) -> str:
    """Exercise 1: the chunks of a PNG; unknown ones are skipped or refused, damage is refused."""
    plain = [(b"IHDR", os.urandom(13)), (b"IDAT", os.urandom(300)), (b"IDAT", b""), (b"IEND", b"")]
    _reads(answer, plain, plain, "good data")
    hidden = [plain[0], (b"prIV", os.urandom(9)), (b"tEXt", b"kart"), *plain[1:]]
    _reads(answer, hidden, [part for part in hidden if part[0] in KNOWN], "data with an unknown ancillary chunk, prIV,")
    critical = [plain[0], (b"NEWS", os.urandom(9)), *plain[1:]]
    _refuses(answer, _joined(critical), "an unknown critical chunk, NEWS")
    _refuses(answer, _joined(plain, spoiled=1), "a wrong CRC")
    _refuses(answer, _joined(hidden, spoiled=1), "a wrong CRC of a chunk that is skipped")
    data = _joined(plain)
    _refuses(answer, data[:-12], "data without an IEND")
    _refuses(answer, b"", "no data at all")
    _refuses(answer, data + b"\0", "a byte after IEND")
    _refuses(answer, data + _joined([(b"IEND", b"")]), "a second IEND")
    for end in (3, 7, 11, 20, len(data) - 5, len(data) - 1):
        _refuses(answer, data[:end], "data that end within a chunk")
    _refuses(answer, struct.pack(">I", 2**32 - 1) + data[4:], "a chunk that claims 4 GB")
    long = [plain[0], *((b"IDAT", os.urandom(random.randrange(70_000))) for _ in range(5)), plain[-1]]
    _reads(answer, long, long, "good data with long chunks")
    return "all that is known is read, what may be skipped is skipped, and everything else is refused."


@checker
def hash_bits(answer: Any) -> str:
    """Exercise 2: the bits of a hash for which a million models collide with a chance of less than 1 in a million."""
    given = number(answer)
    right = math.log2(1_000_000 * 999_999 // 2 * 1_000_000)
    reasons = {
        20: "2^20 is the number of models: each could have a number of its own, but hashes are drawn at random.",
        39: "with 39 bits about one pair is expected to collide. The chance is to be below one in a million.",
        40: "that is for a single new model against a million others; here any two of the million may collide.",
        58: "58 bits are not quite enough: round up.",
        60: "you have counted each pair twice: there are n(n − 1)/2 of them.",
        8: "that is a number of bytes, and bits are asked for.",
        64: "whole bytes need so many; fewer bits are enough.",
    }
    if given in reasons:
        raise Wrong(reasons[int(given)])
    if given == 59:
        return f"59 bits: log2 of all pairs times a million is {right:.2f}."
    if abs(given - right) < 0.01:
        raise Wrong("a whole number of bits is asked for: which way do you round?")
    raise Wrong("not that many. Count the pairs; each collides with a chance of 2^−bits.")


@checker
def force(answer: Callable) -> str:
    """Exercise 3: four bytes after the data that give them any CRC-32."""
    cases = [(b"kart", 0x12345678), (b"", 0), (os.urandom(300), 2**32 - 1)]
    cases += [(os.urandom(random.randrange(1, 99)), random.randrange(2**32)) for _ in range(20)]
    for data, target in cases:
        given = call(answer, data, target)
        if not isinstance(given, bytes | bytearray):
            raise Wrong(f"bytes are asked for, and this is of type {type(given).__name__}.")
        if len(given) != 4:
            raise Wrong(f"four bytes are asked for, and these are {len(given)}.")
        found = zlib.crc32(data + given)
        if found == target:
            continue
        if zlib.crc32(data + given[::-1]) == target:
            raise Wrong("these are the right four bytes in the opposite order.")
        if zlib.crc32(given + data) == target:
            raise Wrong("these four would do in front of the data; they are to stand after them.")
        if bytes(given) in [
            struct.pack(order, value) for order in ("<I", ">I") for value in (target, zlib.crc32(data))
        ]:
            raise Wrong("that only appends a checksum; the checksum of data and checksum is something else again.")
        if bytes(given) in [struct.pack(order, target ^ zlib.crc32(data)) for order in ("<I", ">I")]:
            raise Wrong(
                "that is the difference between the two checksums. The four bytes go through the CRC too, "
                "and each of their 32 bits moves it by a pattern of its own: find these first."
            )
        shown = repr(data) if len(data) < 9 else f"{data[:8].hex(' ')} …"
        raise Wrong(f"for the data {shown} and target {target:08x} your bytes give {found:08x}.")
    return "any data get any checksum, for four bytes."


@checker
def what_is_wrong(answer: Callable) -> str:
    """Exercise 4: what a reader of `.ptb` files forgets."""
    for kind in [*READERS, *random.sample(list(READERS), len(READERS))]:
        given = call(answer, _reader(kind), _file(kind))
        if given not in READERS:
            raise Wrong(f"{given!r} is none of the names to choose from.")
        if given != kind:
            raise Wrong(f'one reader {READERS[kind]}. That is "{kind}", and you say "{given}".')
    return "each reader is told by what it lets pass, or by which complaint comes first."


@checker
def unpack(answer: Callable) -> str:
    """Exercise 5: the content of a zlib stream, never more than so many bytes, in little memory."""
    for size, most in ((1000, 5000), (0, 10), (5000, 5000)):
        content = os.urandom(size)
        given = _outcome(answer, zlib.compress(content), most)
        what = f"a content of {size:,} bytes where {most:,} are allowed"
        if isinstance(given, ValueError):
            raise Wrong(f"you refuse {what}: {given}.")
        if given != content:
            raise Wrong(f"for {what} you return something else than the content.")
    bomb, most = zlib.compress(bytes(64 << 20), 9), 10_000
    peak, given = _peak(answer, bomb, most)
    if not isinstance(given, ValueError):
        raise Wrong("a content of 64 MB where 10,000 bytes are allowed: ValueError is asked for.")
    if peak > 4 << 20:
        raise Wrong(f"the bomb went off: {peak >> 20} MB of memory before you refused. Look at decompressobj.")
    data = zlib.compress(os.urandom(2000))
    bad = {
        "a content of one byte too many": (zlib.compress(bytes(5001)), 5000),
        "a stream that is cut short": (data[: len(data) // 2], 5000),
        "a stream that lacks its last byte": (data[:-1], 5000),
        "a stream whose checksum is wrong": (data[:-1] + bytes([data[-1] ^ 1]), 5000),
        "no stream at all": (b"PTB\1", 5000),
        "a stream with something after it": (data + b"more", 5000),
        "a content of exactly the limit, cut short": (zlib.compress(bytes(5000))[:-2], 5000),
    }
    for what, inputs in bad.items():
        if not isinstance(_outcome(answer, *inputs), ValueError):
            hint = " " + HINTS[what] if what in HINTS else ""
            raise Wrong(f"{what}: ValueError is asked for, and you return something.{hint}")
    return "what fits is unpacked, and all else is refused before it takes any room."


def _joined(parts: list[tuple[bytes, bytes]], spoiled: int = -1, covers: int = 4) -> bytes:
    """Chunks one after the other; the CRC of the one at `spoiled` is wrong, and all begin `covers` bytes in."""
    data = b""
    for place, (name, body) in enumerate(parts):
        chunk = struct.pack(">I", len(body)) + name + body
        crc = zlib.crc32(chunk[covers:]) ^ (place == spoiled)
        data += chunk + struct.pack(">I", crc)
    return data


def _outcome(answer: Callable, *inputs: Any) -> Any:
    """What the answer returns, or its ValueError; raises `Wrong` as `call` does, and for another error."""
    raised: list[ValueError] = []

    def guarded(*given: Any) -> Any:
        try:
            return answer(*given)
        except ValueError as error:
            raised.append(error)
            return raised

    result = call(guarded if callable(answer) else answer, *inputs)
    return raised[0] if raised else result


def _reads(answer: Callable, parts: list, expected: list, what: str) -> None:
    given = _outcome(answer, _joined(parts), set(KNOWN))
    if isinstance(given, ValueError):
        for covers, mistake in ((8, "the body alone"), (0, "the length too")):
            if not isinstance(_outcome(answer, _joined(parts, covers=covers), set(KNOWN)), ValueError):
                raise Wrong(f"you refuse {what}: your CRC covers {mistake}; it is of name and body.")
        raise Wrong(f"you refuse {what}: {given}.")
    if not isinstance(given, list | tuple) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in given):
        raise Wrong("a list of pairs (name, body) is asked for.")
    if any(not isinstance(name, bytes | bytearray) for name, _ in given):
        raise Wrong('names are bytes, as b"IDAT".')
    names = [bytes(name) for name, _ in given]
    if not KNOWN.issuperset(names):
        raise Wrong("you return an unknown chunk; it is only to be skipped.")
    if names != [name for name, _ in expected]:
        raise Wrong(f"for {what} you return the names {names}; they are {[name for name, _ in expected]}.")
    if [bytes(body) for _, body in given] != [body for _, body in expected]:
        raise Wrong(f"for {what} the names are right, and a body is not: it begins after the name, before the CRC.")


def _refuses(answer: Callable, data: bytes, what: str) -> None:
    if not isinstance(_outcome(answer, data, set(KNOWN)), ValueError):
        raise Wrong(f"{what}: ValueError is asked for, and you return something.")


def _peak(answer: Callable, *inputs: Any) -> tuple[int, Any]:
    """The most bytes of memory that an answer held at a time, and its outcome."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        outcome = _outcome(answer, *inputs)
        return tracemalloc.get_traced_memory()[1] - before, outcome
    finally:
        if not running:
            tracemalloc.stop()


def _file(kind: str) -> bytes:
    """A file that the reader of that kind accepts, with a payload of random bytes."""
    head, payload = b"PTB\1" + os.urandom(8), os.urandom(random.randrange(40, 400))
    return head + struct.pack("<I", _checksum(kind, head, payload)) + payload


def _checksum(kind: str, head: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, 0 if kind == "payload only" else zlib.crc32(head))


def _reader(kind: str) -> Callable[[bytes], bytes]:
    def read(data: bytes) -> bytes:
        if data[:3] != b"PTB" or len(data) < 16:
            raise ValueError("This is no .ptb file.")
        complaints = []
        if data[3] != 1 and kind != "any version":
            complaints.append("This version is unknown.")
        if kind != "no checksum" and struct.pack("<I", _checksum(kind, data[:12], data[16:])) != data[12:16]:
            complaints.append("This file is damaged.")
        if complaints:
            raise ValueError(complaints[-1 if kind == "version last" else 0])
        return data[16:]

    return read
