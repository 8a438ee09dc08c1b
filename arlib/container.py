"""The `.ptb` file: its header, its checksums, and which shipped codec wrote it (chapter 12).

A file is a header of 16 bytes and what the range coder wrote, to the file's end:

    3 bytes  magic "PTB"         1 byte   version (1)
    4 bytes  the model: start of the SHA-256 of its twin's digest and its tokenizer's weights file, "digest hash"
    4 bytes  CRC-32 of the tokens in raster order (the codes of a place one after the other), each as four bytes
    4 bytes  CRC-32 of all the rest of the file, header and payload

Numbers are little-endian. The number of tokens and the size of the picture are the model's. What decodes wrongly can
never come out quietly: the file's checksum is compared before anything is decoded, and the tokens' own afterwards,
because only that one sees a decoder with other probabilities than the encoder's.

Source: L. P. Deutsch, "GZIP file format specification" (RFC 1952) for the CRC-32; the rest is this book's own.
"""

import json
import struct
import zlib
from typing import NamedTuple

import torch

from arlib.data import DataError, root

HEADER = struct.Struct("<3sB4sII")
CHECKED = HEADER.size - 4  # the file's checksum, at the header's end, covers what is before it and what is behind
MAGIC, VERSION = b"PTB", 1


class CodecError(DataError):
    """A file that cannot be decoded, or a picture or tokens that this codec cannot code; the message says why."""


class Header(NamedTuple):
    """What the first 16 bytes of a file say: `model` as 8 hex digits, and the CRC-32 of the tokens and of the rest."""

    version: int
    model: str
    tokens_checksum: int
    file_checksum: int


def read_header(data: bytes) -> Header:
    """The header of a file whose checksum is right.

    Raises `CodecError` where the file is of another kind or version, too short, or damaged.
    """
    if data[:3] != MAGIC:
        raise CodecError("This is not a .ptb file, which would begin with the letters PTB.")
    if len(data) < HEADER.size:
        raise CodecError(f"This .ptb file is too short: it has {len(data)} of the {HEADER.size} bytes of a header.")
    _, version, model, tokens_checksum, file_checksum = HEADER.unpack_from(data)
    if version != VERSION:
        raise CodecError(f"This .ptb file says that it is of version {version}; this library reads version {VERSION}.")
    if _checksum(data) != file_checksum:
        raise CodecError("This .ptb file is damaged: its bytes do not match its checksum.")
    return Header(version, model.hex(), tokens_checksum, file_checksum)


def shipped() -> dict[str, str]:
    """The hash of each shipped codec by its name, from data/weights/codecs.json (tools/index_codecs.py writes it)."""
    index = root() / "weights" / "codecs.json"
    return json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}


def find(data: bytes) -> str:
    """The name of the shipped codec that wrote a file. Raises `CodecError` as `read_header` does, or if none did."""
    model, names = read_header(data).model, shipped()
    for name in names:
        if names[name] == model:
            return name
    raise CodecError(f"This .ptb file wants the model {model}, which is not among the shipped ones.")


class Ledger(dict[str, float]):
    """Where the bits of a file went: rows in bits that sum to the file's size; it is shown as a table."""

    def __repr__(self) -> str:
        size = sum(self.values())
        rows = {**self, "file": size}
        return "\n".join(f"{name:9} {bits:10.3f} bits {bits / size:8.2%}" for name, bits in rows.items())


def write(model: str, tokens: torch.Tensor, payload: bytes) -> bytes:
    """The whole file: `model` as 8 hex digits, the tokens for their checksum, and what the range coder wrote."""
    data = HEADER.pack(MAGIC, VERSION, bytes.fromhex(model), tokens_checksum(tokens), 0) + payload
    return data[:CHECKED] + struct.pack("<I", _checksum(data)) + payload


def tokens_checksum(tokens: torch.Tensor) -> int:
    """CRC-32 of tokens in raster order, int64 of any shape, each as four bytes."""
    return zlib.crc32(tokens.numpy().astype("<i4").tobytes())


def _checksum(data: bytes) -> int:
    return zlib.crc32(data[HEADER.size :], zlib.crc32(data[:CHECKED]))
