"""What tools/make_browser_cases.py writes of pictures: PNG files of every kind, and what Pillow reads and fits."""

import base64
import hashlib
import random
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from arlib import data

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
# Height, width and channels. The last is tall enough that Pillow scales its rows first.
FITTED = ((23, 37, 3), (8, 5, 3), (30, 40, 1), (10, 15, 1), (20, 30, 3), (333, 500, 3), (333, 151, 3))


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def drawn(height: int, width: int, channels: int) -> np.ndarray:
    """The picture that the tests in JavaScript draw by the same formula, `(height, width, channels) uint8`."""
    number = np.arange(height * width * channels)
    return ((number * number * 31 + 7 * number) % 251).astype(np.uint8).reshape(height, width, channels)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, depth: int, color: int, lines: list[bytes], *between: bytes, height: int = 0, interlaced=0
) -> bytes:
    """A PNG file of lines, each with its filter's number in front; `between` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height or len(lines), depth, color, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), *between, chunk(b"IDAT", zlib.compress(b"".join(lines))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_files() -> Iterator[tuple[str, bytes]]:
    """PNG files of all kinds and depths."""
    chance = random.Random(1)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    palette = chunk(b"PLTE", chance.randbytes(3 * 14))  # so that two of 16 numbers have no color

    def noise(width: int, bits: int, filters: list[int]) -> list[bytes]:
        return [bytes([each]) + chance.randbytes(-(-width * bits // 8)) for each in filters]

    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            before = [palette] if color == 3 else []
            lines = noise(9, depth * samples[color], [0, 1, 2, 3, 4, 4, 3])
            yield f"color type {color} of {depth} bits", png(9, depth, color, lines, *before)
    yield "a palette with transparent colors", png(8, 4, 3, noise(8, 4, [0, 1]), palette, chunk(b"tRNS", b"\0\x80\xff"))
    ramp = bytes(each for level in range(256) for each in (level, 255 - level))
    yield "all alphas", png(256, 8, 4, [b"\0" + ramp])
    yield "a transparent gray", png(4, 8, 0, [b"\0\x05\x06\x07\x05"], chunk(b"tRNS", b"\0\x05"))
    yield "a transparent color", png(2, 8, 2, [b"\0\1\2\3\3\2\1"], chunk(b"tRNS", b"\0\1\0\2\0\3"))
    interlaced = [
        line
        for left, top, across, down in PASSES
        for line in noise(-(-(13 - left) // across), 24, [1] * -(-(11 - top) // down))
    ]
    yield "interlaced", png(13, 8, 2, interlaced, height=11, interlaced=1)
    for mark in range(1, 10):
        exif = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1" + struct.pack(">HH", mark, 0) + bytes(4)
        yield f"turned by mark {mark}", png(3, 8, 2, noise(3, 24, [0, 2]), chunk(b"eXIf", exif))


def pictures() -> dict[str, Any]:
    """PNG files with their pixels, and what fitting makes of drawn pictures: the SHA-256 of the new pixels."""
    read, fitted = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        for name, content in png_files():
            path.write_bytes(content)
            width, height = ImageOps.exif_transpose(Image.open(path)).size
            for channels in (3, 1):
                pixels = data.read_image(path, height, width, channels=channels)
                case = {"name": name, "size": [height, width], "channels": channels}
                read.append(case | {"png": base64_of(content), "pixels": base64_of(pixels.numpy().tobytes())})
        for shape in FITTED:
            image, channels = drawn(*shape), shape[2]
            Image.fromarray(image if channels == 3 else image[..., 0]).save(path)
            for height, width in ((100, 150), (10, 15), (28, 28)):
                pixels = data.read_image(path, height, width, fit=True, channels=channels)
                sha = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
                fitted.append({"from": shape, "to": [height, width], "sha256": sha})
    return {"read": read, "fitted": fitted}
