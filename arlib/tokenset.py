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
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from arlib.data import DataError, write_atomically
from arlib.folders import Examples
from arlib.packing import AT_ONCE, PackedGrids, pack
from arlib.packing import unpack as unpack

MAGIC = b"PTBT"
HEADERS = {1: struct.Struct("<4sHHIHH12sI"), 2: struct.Struct("<4sHHIHHHH12sI")}
MAX_BITS = 18
NO_LABEL = 255
CHECKED_AT_ONCE = 2**24  # bytes of which a checksum is computed at a time


@dataclass
class TokenSet:
    """Grids of tokens, each below 2^bits, the start of their tokenizer's hash (24 hex digits), and their labels if any.

    Grids are `(N, h, w)`, `(N, h, w, c)` or `(N, T) int64`, labels `(N,) int64` with -1 where a grid has none.
    """

    grids: torch.Tensor
    bits: int
    tokenizer: str
    labels: torch.Tensor | None = None


@dataclass
class MappedTokenSet:
    """What a `TokenSet` holds, with grids that are unpacked when they are asked for: of one file, or of several."""

    grids: Examples
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
    write_batches(path, [(grids, labels)], codebook_size, tokenizer_hash)


def write_batches(
    path: str | Path,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]],
    codebook_size: int,
    tokenizer_hash: str,
) -> None:
    """`write` for batches of grids with their labels or None, each of which is packed before the next one is made.

    Raises `DataError` as `write` does, and for batches that differ in shape or in having labels.
    """
    bits = max(1, math.ceil(math.log2(codebook_size)))
    if bits > MAX_BITS:
        raise DataError(f"A token has {MAX_BITS} bits at most.")
    digest = bytes.fromhex(tokenizer_hash)[:12]

    def write_whole(partial: Path) -> None:
        # Labels come first and the header tells how many grids there are, so tokens wait in a file without a name.
        with tempfile.TemporaryFile(dir=partial.parent) as packed:
            shape, labels = pack_batches(packed, batches, bits, codebook_size)
            packed.seek(0)
            with partial.open("w+b") as file:
                finish(file, packed, shape, bits, digest, labels)

    write_atomically(path, write_whole)


def pack_batches(
    packed: BinaryIO, batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]], bits: int, codebook_size: int
) -> tuple[tuple[int, ...], bytes | None]:
    """Write the tokens of all batches; give the shape of their grids, `(N, …)`, and the labels' bytes or None."""
    sides: tuple[int, ...] | None = None
    count, labels, rest = 0, bytearray(), torch.zeros(0, dtype=torch.int64)
    labeled = False
    for grids, some in batches:
        check_batch(grids, some, codebook_size)
        sides, labeled = (tuple(grids.shape[1:]), some is not None) if sides is None else (sides, labeled)
        if (tuple(grids.shape[1:]), some is not None) != (sides, labeled):
            raise DataError("The grids of a data set have one shape, and all of them have labels or none.")
        count += len(grids)
        labels += b"" if some is None else (some % 256).to(torch.uint8).numpy().tobytes()
        tokens = torch.cat([rest, grids.flatten()])
        whole = len(tokens) // 8 * 8  # eight tokens end where a byte ends
        for part in tokens[:whole].split(AT_ONCE):
            packed.write(pack(part, bits))
        rest = tokens[whole:].clone()
    if sides is None:
        raise DataError("A data set of tokens holds one grid or more.")
    packed.write(pack(rest, bits))
    return (count, *sides), bytes(labels) if labeled else None


def check_batch(grids: torch.Tensor, labels: torch.Tensor | None, codebook_size: int) -> None:
    """Raise `DataError` for what is no batch of grids, tokens outside the codebook and labels that do not fit."""
    if not 2 <= grids.dim() <= 4 or not grids.numel() or not 0 <= grids.min() <= grids.max() < codebook_size:
        raise DataError(
            f"A data set of tokens is (N, h, w), (N, h, w, c) or (N, T), its tokens in [0, {codebook_size})."
        )
    if max(grids.shape[1:]) > 65535:
        raise DataError("A side of a grid has 65,535 tokens at most.")
    if labels is not None and (labels.shape != grids.shape[:1] or not -1 <= labels.min() <= labels.max() < NO_LABEL):
        raise DataError(
            f"There is one label for each of the {len(grids)} grids, from 0 to {NO_LABEL - 1}, or -1 for none."
        )


def finish(
    file: BinaryIO, packed: BinaryIO, shape: tuple[int, ...], bits: int, digest: bytes, labels: bytes | None
) -> None:
    """Write a whole data set of tokens; the header comes last, as it holds the checksum of all that follows it."""
    old = labels is None and len(shape) == 3
    header = HEADERS[1 if old else 2]
    file.write(bytes(header.size) + (labels or b""))
    shutil.copyfileobj(packed, file)
    file.seek(header.size)
    checksum = 0
    while part := file.read(CHECKED_AT_ONCE):
        checksum = zlib.crc32(part, checksum)
    sides = shape if old else (*(*shape, 0, 0)[:4], labels is not None)
    file.seek(0)
    file.write(header.pack(MAGIC, 1 if old else 2, bits, *sides, digest, checksum))


def read(path: str | Path) -> TokenSet:
    """The data set of tokens in a file.

    Raises `DataError` for a file that is missing, of another kind or version, cut short, or damaged, and for one whose
    header describes no data set.
    """
    tokens = mapped(path)
    at_once = max(1, AT_ONCE // math.prod(tokens.grids.shape[1:]))
    grids = torch.cat([tokens.grids[places] for places in torch.arange(len(tokens.grids)).split(at_once)])
    return TokenSet(grids, tokens.bits, tokens.tokenizer, tokens.labels)


def mapped(path: str | Path) -> MappedTokenSet:
    """The data set of tokens in a file, which stays there: for more of them than fit into memory.

    The whole of it is read once, for the checksum. Raises `DataError` as `read` does.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(HEADERS[2].size)
        content = np.memmap(path, np.uint8, "r") if start else np.zeros(0, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    version, bits, count, sides, labeled, digest, checksum = parse_header(path, start)
    body = content[HEADERS[version].size :]
    packed = body[labeled * count :]
    if len(packed) != math.ceil(count * math.prod(sides) * bits / 8) or checksum_of(body) != checksum:
        raise DataError(f"{path} is damaged: its tokens do not match the header's checksum. Write it anew.")
    labels = torch.from_numpy(body[:count].astype(np.int64)) if labeled else None
    if labels is not None:
        labels[labels == NO_LABEL] = -1
    return MappedTokenSet(PackedGrids(packed, bits, (count, *sides)), bits, digest.hex(), labels)


def parse_header(path: str | Path, start: bytes) -> tuple[int, int, int, list[int], int, bytes, int]:
    """Version, bits, count of grids, their sides, 1 where there are labels, the tokenizer's hash, and the checksum.

    `start` is the start of the file `path`. Raises `DataError` as `read` does.
    """
    if start[:4] != MAGIC or len(start) < 6:
        raise DataError(f"{path} is not a data set of tokens.")
    (version,) = struct.unpack_from("<H", start, 4)
    if version not in HEADERS:
        raise DataError(f"{path} is written in version {version} of the format; this library reads 1 and 2.")
    if len(start) < HEADERS[version].size:
        raise DataError(f"{path} is not a data set of tokens: it ends in its header.")
    _, _, bits, count, *sides, digest, checksum = HEADERS[version].unpack_from(start)
    labeled = sides.pop() if version == 2 else 0
    while version == 2 and sides and not sides[-1]:
        sides.pop()
    if not count or not sides or not all(sides) or not 1 <= bits <= MAX_BITS or labeled > 1:
        raise DataError(
            f"{path} is damaged or made by mistake: its header speaks of {count} grids of "
            f"{'×'.join(map(str, sides)) or 'no'} tokens of {bits} bits."
        )
    return version, bits, count, sides, labeled, digest, checksum


def checksum_of(content: np.ndarray) -> int:
    """The CRC-32 of bytes, some at a time, so that a mapped file isn't all in memory."""
    checksum = 0
    for first in range(0, len(content), CHECKED_AT_ONCE):
        checksum = zlib.crc32(content[first : first + CHECKED_AT_ONCE].tobytes(), checksum)
    return checksum
