"""The codec: a picture becomes a file, the file the picture (chapter 12).

The tokenizer makes a grid of tokens from a picture, the prior's integer twin says how probable each of them is, and
the range coder writes them. A `.ptb` file is a header of 16 bytes and what the range coder wrote, to the file's end:

    3 bytes  magic "PTB"         1 byte   version (1)
    4 bytes  the model: start of the SHA-256 of its twin's digest and its tokenizer's weights file, "digest hash"
    4 bytes  CRC-32 of the tokens, in raster order, each as four bytes
    4 bytes  CRC-32 of all the rest of the file, header and payload

Numbers are little-endian. The number of tokens and the size of the picture are the model's. What decodes wrongly can
never come out quietly: the file's checksum is compared before anything is decoded, and the tokens' own afterwards,
because only that one sees a decoder with other probabilities than the encoder's.

The same tokens give the same file, and the file the same tokens, on every machine. Both ends beside them compute with
floats: where a value lies on the edge between two codes, an encoder elsewhere may choose the other token, and a decoded
pixel may differ by one grey level.

Sources: L. P. Deutsch, "GZIP file format specification" (RFC 1952) for the CRC-32; the rest is this book's own.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from arlib import fixedpoint, orders, rangecoder
from arlib.data import DataError, root
from arlib.fixedpoint import Twin
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

HEADER = struct.Struct("<3sB4sII")
CHECKED = HEADER.size - 4  # the file's checksum, at the header's end, covers what is before it and what is behind
MAGIC, VERSION = b"PTB", 1
BATCH = 16  # how many files are coded side by side


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


class Codec:
    """Pictures to files and back, by a prior and the tokenizer whose tokens it has learned (`arlib.load_codec`).

    `tokenizer_hash` is the SHA-256 of the tokenizer's weights file in hexadecimal, `grid` the height and width of a
    picture in tokens. `twin` is what codes, `prior` stays as it was, and `hash` is what a file's header calls them.

    A method that ends in `_batch` codes many side by side and gives a list. Where it reads files, it raises nothing
    for a bad one: the `CodecError` takes its place in the list, and the others are decoded as if alone.

    Raises `CodecError` for a prior without the shift, whose forward pass has seen what the decoder does not know yet,
    and `FixedPointError` for one that has no twin.
    """

    def __init__(self, prior: Prior, tokenizer: ImageTokenizer, tokenizer_hash: str, grid: tuple[int, int]):
        if not prior.shift:
            raise CodecError("This prior reads the token that it should predict (shift=False): no decoder can do that.")
        self.prior, self.tokenizer, self.grid = prior, tokenizer, grid
        self.twin = Twin(prior)
        self.hash = hashlib.sha256(f"{self.twin.digest()} {tokenizer_hash}".encode()).hexdigest()[:8]

    def compress(self, frame: torch.Tensor) -> bytes:
        """A picture `(H, W, 3) uint8` to the bytes of a file. Raises as `compress_batch` does."""
        return self.compress_batch(frame[None])[0]

    def compress_batch(self, frames: torch.Tensor) -> list[bytes]:
        """Pictures `(N, H, W, 3) uint8` to files.

        Raises `CodecError` for pictures of another size than the prior has learned, `ValueError` for another dtype.
        """
        return self.compress_tokens_batch(self.tokenizer.encode(frames))

    def compress_tokens(self, grid: torch.Tensor) -> bytes:
        """Tokens `(h, w) int64` to the bytes of a file. Raises as `compress_tokens_batch` does."""
        return self.compress_tokens_batch(grid[None])[0]

    def compress_tokens_batch(self, grids: torch.Tensor) -> list[bytes]:
        """Tokens `(N, h, w) int64` to files, by teacher-forced passes of the twin.

        Raises `CodecError` for grids of another size, `ValueError` for another dtype or a token in no codebook.
        """
        if tuple(grids.shape[1:]) != self.grid:
            height, width = self.grid
            size = f"{height * self.tokenizer.patch_size}×{width * self.tokenizer.patch_size}"
            raise CodecError(
                f"This codec knows grids of {height}×{width} tokens, from pictures of {size} pixels (height × width), "
                f"not of {'×'.join(map(str, grids.shape[1:]))} tokens."
            )
        files = []
        for batch in orders.raster(grids).split(BATCH):
            for tokens, logits in zip(batch, self.twin(batch), strict=True):
                files.append(self._file(tokens, _encode(tokens, fixedpoint.frequencies(logits)).finish()))
        return files

    def decompress(self, data: bytes) -> torch.Tensor:
        """The bytes of a file to its picture, `(H, W, 3) uint8`. Raises as `decompress_tokens` does."""
        return self.tokenizer.decode(self.decompress_tokens(data)[None])[0]

    def decompress_batch(self, files: Sequence[bytes]) -> list[torch.Tensor | CodecError]:
        """Files to their pictures, each `(H, W, 3) uint8` or a `CodecError`."""
        return [
            grid if isinstance(grid, CodecError) else self.tokenizer.decode(grid[None])[0]
            for grid in self.decompress_tokens_batch(files)
        ]

    def decompress_tokens(self, data: bytes) -> torch.Tensor:
        """The bytes of a file to exactly the tokens that were compressed, `(h, w) int64`.

        Raises `CodecError` before any decoding for a file that is of another kind, version or model, too short, or
        damaged; and after it where the tokens do not match their checksum.
        """
        (grid,) = self.decompress_tokens_batch([data])
        if isinstance(grid, CodecError):
            raise grid
        return grid

    def decompress_tokens_batch(self, files: Sequence[bytes]) -> list[torch.Tensor | CodecError]:
        """Files to their tokens, each `(h, w) int64` or a `CodecError`, by cached steps of the twin."""
        errors = [self._check(data) for data in files]
        good = [data for data, error in zip(files, errors, strict=True) if error is None]
        decoded = (
            result for first in range(0, len(good), BATCH) for result in self._decode(good[first : first + BATCH])
        )
        return [error or next(decoded) for error in errors]

    def ledger(self, data: bytes) -> Ledger:
        """Where the bits of a file went. Raises as `decompress_tokens` does.

        ideal: -Σ log2 p of the twin's probabilities. table: what the frequencies cost beyond that. coder: -log2 of the
        last interval's width beyond the tables' bits, as the coder's divisions leave a remainder. padding: the
        payload's bits beyond that width, to a whole byte; below zero where a shorter fraction happens to lie in the
        interval. header: magic, version and model. checksums: both. Each is measured alone.
        """
        return self.ledger_of_tokens(self.decompress_tokens(data))

    def ledger_of_tokens(self, grid: torch.Tensor) -> Ledger:
        """The ledger of the file that `compress_tokens` makes of a grid `(h, w)`, without decoding it."""
        tokens = orders.raster(grid[None])[0]
        logits = self.twin(tokens[None])[0]
        table = fixedpoint.frequencies(logits)
        encoder = _encode(tokens, table)
        shares = (logits.double() * 2.0**-fixedpoint.TABLE_UNIT).log_softmax(-1)
        ideal = -shares.gather(1, tokens[:, None]).sum().item() / math.log(2)
        coded = -(table.gather(1, tokens[:, None]).double() / rangecoder.MAX_TOTAL).log2().sum().item()
        return Ledger(
            ideal=ideal,
            table=coded - ideal,
            coder=encoder.bits - coded,
            padding=8 * len(encoder.finish()) - encoder.bits,
            header=64.0,
            checksums=64.0,
        )

    def _file(self, tokens: torch.Tensor, payload: bytes) -> bytes:
        data = HEADER.pack(MAGIC, VERSION, bytes.fromhex(self.hash), _tokens_checksum(tokens), 0) + payload
        return data[:CHECKED] + struct.pack("<I", _checksum(data)) + payload

    def _check(self, data: bytes) -> CodecError | None:
        """What is wrong with a file, as far as can be told before decoding."""
        try:
            model = read_header(data).model
        except CodecError as error:
            return error
        if model == self.hash:
            return None
        names = [f"the shipped {name!r}" for name, known in shipped().items() if known == model]
        which = f" ({', '.join(names)})" if names else ""
        return CodecError(f"This .ptb file wants another model, {model}{which}; this codec is {self.hash}.")

    def _decode(self, files: list[bytes]) -> list[torch.Tensor | CodecError]:
        """Files that `_check` has passed, in one batch."""
        height, width = self.grid
        tokens = torch.zeros((len(files), height * width), dtype=torch.int64)
        decoders = [rangecoder.Decoder(data[HEADER.size :]) for data in files]
        cache = self.twin.new_cache(len(files))
        for position in range(height * width):
            logits = self.twin.step(tokens[:, position - 1] if position else None, cache)
            tables = rangecoder.cumulate(fixedpoint.frequencies(logits))
            symbols = [decoder.decode(table) for decoder, table in zip(decoders, tables, strict=True)]
            tokens[:, position] = torch.tensor(symbols)
        return [self._verify(*each) for each in zip(files, decoders, tokens, strict=True)]

    def _verify(self, data: bytes, decoder: rangecoder.Decoder, tokens: torch.Tensor) -> torch.Tensor | CodecError:
        try:
            decoder.finish()
        except rangecoder.RangeCoderError:
            right = False
        else:
            right = _tokens_checksum(tokens) == read_header(data).tokens_checksum
        if right:
            return tokens.view(self.grid)
        return CodecError(
            "This .ptb file decodes to other tokens than were compressed, as their checksum tells: someone has changed "
            "it and repaired its checksum, or this machine computes other probabilities, a defect of the library."
        )


def _encode(tokens: torch.Tensor, frequencies: torch.Tensor) -> rangecoder.Encoder:
    """Tokens `(T,)` by their frequencies `(T, V)`, not flushed yet."""
    encoder = rangecoder.Encoder()
    for token, table in zip(tokens.tolist(), rangecoder.cumulate(frequencies), strict=True):
        encoder.encode(token, table)
    return encoder


def _tokens_checksum(tokens: torch.Tensor) -> int:
    return zlib.crc32(tokens.numpy().astype("<i4").tobytes())


def _checksum(data: bytes) -> int:
    return zlib.crc32(data[HEADER.size :], zlib.crc32(data[:CHECKED]))
