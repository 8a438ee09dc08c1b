"""A data set of tokens: many grids in one file, each token in as many bits as its codebook needs (chapter 5).

The file is a header, the packed tokens, and in version 2 the labels between them. Version 1 is grids `(h, w)` without
labels and is still written for them; version 2 adds grids `(h, w, c)` with several codebooks, plain sequences `(T,)`,
and labels. All numbers in the header are little-endian:

    version 1, 32 bytes                       version 2, 36 bytes
    4 bytes  magic "PTBT"                     4 bytes  magic "PTBT"
    2 bytes  version (1)                      2 bytes  version (2)
    2 bytes  bits per token                   2 bytes  bits per token
    4 bytes  number of grids                  4 bytes  number of grids
    2 bytes  grid height                      2 bytes  grid height, or the length of a plain sequence
    2 bytes  grid width                       2 bytes  grid width, 0 for a plain sequence
                                              2 bytes  codebooks, 0 for a grid without an axis for them
                                              2 bytes  1 where there are labels, else 0
    12 bytes start of the SHA-256 of the tokenizer's weights file (both)
    4 bytes  CRC-32 of all that follows (both)

A label is one byte a grid, 255 for none. Tokens come in raster order, the codebooks of a place next to each other.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arlib.data import DataError, write_atomically

MAGIC = b"PTBT"
HEADERS = {1: struct.Struct("<4sHHIHH12sI"), 2: struct.Struct("<4sHHIHHHH12sI")}
MAX_BITS = 18
NO_LABEL = 255


@dataclass
class TokenSet:
    """Grids of tokens, each below 2^bits, the start of their tokenizer's hash (24 hex digits), and their labels if any.

    Grids are `(N, h, w)`, `(N, h, w, c)` or `(N, T) int64`, labels `(N,) int64` with -1 where a grid has none.
    """

    grids: torch.Tensor
    bits: int
    tokenizer: str
    labels: torch.Tensor | None = None


def write(
    path: str | Path,
    grids: torch.Tensor,
    codebook_size: int,
    tokenizer_hash: str,
    labels: torch.Tensor | None = None,
) -> None:
    """Write tokens in [0, codebook_size), `(N, h, w)`, `(N, h, w, c)` or `(N, T) int64`, and their labels `(N,)`.

    `tokenizer_hash` is hexadecimal (`checkpoints.sha256`); a label is -1 for none, or below 255. Raises `DataError` for
    no grid at all, tokens outside the codebook and labels that do not fit; a failed write leaves the old file whole.
    """
    if not 2 <= grids.dim() <= 4 or not grids.numel() or not 0 <= grids.min() <= grids.max() < codebook_size:
        raise DataError(
            f"A data set of tokens is (N, h, w), (N, h, w, c) or (N, T), its tokens in [0, {codebook_size})."
        )
    bits = max(1, math.ceil(math.log2(codebook_size)))
    if bits > MAX_BITS or max(grids.shape[1:]) > 65535:
        raise DataError(f"A token has {MAX_BITS} bits at most, and a side of a grid 65,535 tokens.")
    if labels is not None and (labels.shape != grids.shape[:1] or not -1 <= labels.min() <= labels.max() < NO_LABEL):
        raise DataError(
            f"There is one label for each of the {len(grids)} grids, from 0 to {NO_LABEL - 1}, or -1 for none."
        )
    content = pack(grids.flatten(), bits)
    shape, digest = tuple(grids.shape), bytes.fromhex(tokenizer_hash)[:12]
    if labels is None and grids.dim() == 3:
        header = HEADERS[1].pack(MAGIC, 1, bits, *shape, digest, zlib.crc32(content))
    else:
        if labels is not None:
            content = (labels % 256).to(torch.uint8).numpy().tobytes() + content
        sides = (*shape, 0, 0)[:4]
        header = HEADERS[2].pack(MAGIC, 2, bits, *sides, labels is not None, digest, zlib.crc32(content))
    write_atomically(path, lambda partial: partial.write_bytes(header + content))


def read(path: str | Path) -> TokenSet:
    """The data set of tokens in a file.

    Raises `DataError` for a file that is missing, of another kind or version, cut short, or damaged, and for one whose
    header describes no data set.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if content[:4] != MAGIC or len(content) < 6:
        raise DataError(f"{path} is not a data set of tokens.")
    (version,) = struct.unpack_from("<H", content, 4)
    if version not in HEADERS:
        raise DataError(f"{path} is written in version {version} of the format; this library reads 1 and 2.")
    start = HEADERS[version].size
    if len(content) < start:
        raise DataError(f"{path} is not a data set of tokens: it ends in its header.")
    _, _, bits, count, *sides, digest, checksum = HEADERS[version].unpack_from(content)
    labelled = sides.pop() if version == 2 else 0
    while version == 2 and sides and not sides[-1]:
        sides.pop()
    if not count or not sides or not all(sides) or not 1 <= bits <= MAX_BITS or labelled > 1:
        raise DataError(
            f"{path} is damaged or made by mistake: its header speaks of {count} grids of "
            f"{'×'.join(map(str, sides)) or 'no'} tokens of {bits} bits."
        )
    length = math.prod(sides)
    packed = content[start + labelled * count :]
    if len(packed) != math.ceil(count * length * bits / 8) or zlib.crc32(content[start:]) != checksum:
        raise DataError(f"{path} is damaged: its tokens do not match the header's checksum. Write it anew.")
    labels = torch.tensor(list(content[start : start + count]), dtype=torch.int64) if labelled else None
    if labels is not None:
        labels[labels == NO_LABEL] = -1
    return TokenSet(unpack(packed, bits, count * length).view(count, *sides), bits, digest.hex(), labels)


def pack(tokens: torch.Tensor, bits: int) -> bytes:
    """`(N,) int64` to bytes, `bits` bits a token, the lowest bit first; the last byte is filled with zeros."""
    lowest_first = (tokens.numpy()[:, None] >> np.arange(bits)) & 1
    return np.packbits(lowest_first.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack(packed: bytes, bits: int, count: int) -> torch.Tensor:
    """The inverse of `pack`: `(count,) int64`."""
    lowest_first = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * bits, bitorder="little")
    return torch.from_numpy((lowest_first.reshape(count, bits).astype(np.int64) << np.arange(bits)).sum(1))
