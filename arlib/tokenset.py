"""A data set of tokens: many grids in one file, each token in as many bits as its codebook needs (chapter 5).

The file is a header of 32 bytes and the packed tokens. All numbers in the header are little-endian:

    4 bytes  magic "PTBT"        2 bytes  version (1)       2 bytes  bits per token
    4 bytes  number of grids     2 bytes  grid height       2 bytes  grid width
    12 bytes start of the SHA-256 of the tokenizer's weights file
    4 bytes  CRC-32 of the packed tokens
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arlib.data import DataError, write_atomically

HEADER = struct.Struct("<4sHHIHH12sI")
MAGIC, VERSION = b"PTBT", 1


@dataclass
class TokenSet:
    """Grids `(N, h, w) int64` of tokens, each below 2^bits, and the start of their tokenizer's hash (24 hex digits)."""

    grids: torch.Tensor
    bits: int
    tokenizer: str


def write(path: str | Path, grids: torch.Tensor, codebook_size: int, tokenizer_hash: str) -> None:
    """Write `(N, h, w) int64` tokens in [0, codebook_size); `tokenizer_hash` is hexadecimal (`checkpoints.sha256`).

    Raises `DataError` for tokens outside the codebook; a failed write leaves the old file whole.
    """
    if grids.dim() != 3 or (grids.numel() and not 0 <= grids.min() <= grids.max() < codebook_size):
        raise DataError(f"A data set of tokens is (N, h, w), its tokens in [0, {codebook_size}).")
    bits = max(1, math.ceil(math.log2(codebook_size)))
    packed = pack(grids.flatten(), bits)
    shape = tuple(grids.shape)
    header = HEADER.pack(MAGIC, VERSION, bits, *shape, bytes.fromhex(tokenizer_hash)[:12], zlib.crc32(packed))
    write_atomically(path, lambda partial: partial.write_bytes(header + packed))


def read(path: str | Path) -> TokenSet:
    """The data set of tokens in a file.

    Raises `DataError` for a file that is missing, of another kind, cut short, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) < HEADER.size or content[:4] != MAGIC:
        raise DataError(f"{path} is not a data set of tokens.")
    _, version, bits, count, height, width, tokenizer_hash, checksum = HEADER.unpack_from(content)
    packed = content[HEADER.size :]
    if version != VERSION:
        raise DataError(f"{path} is written in version {version} of the format; this library reads {VERSION}.")
    if len(packed) != math.ceil(count * height * width * bits / 8) or zlib.crc32(packed) != checksum:
        raise DataError(f"{path} is damaged: its tokens do not match the header's checksum. Write it anew.")
    grids = unpack(packed, bits, count * height * width).view(count, height, width)
    return TokenSet(grids, bits, tokenizer_hash.hex())


def pack(tokens: torch.Tensor, bits: int) -> bytes:
    """`(N,) int64` to bytes, `bits` bits a token, the lowest bit first; the last byte is filled with zeros."""
    lowest_first = (tokens.numpy()[:, None] >> np.arange(bits)) & 1
    return np.packbits(lowest_first.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack(packed: bytes, bits: int, count: int) -> torch.Tensor:
    """The inverse of `pack`: `(count,) int64`."""
    lowest_first = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * bits, bitorder="little")
    return torch.from_numpy((lowest_first.reshape(count, bits).astype(np.int64) << np.arange(bits)).sum(1))
