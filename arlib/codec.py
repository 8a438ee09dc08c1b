"""The codec: a picture becomes a file, the file the picture (chapter 12).

The tokenizer makes a grid of tokens from a picture, the prior's integer twin says how probable each of them is, and
the range coder writes them into a file (`arlib.container` has its format).

The payload is the tokens in the order in which the prior reads them. Where that is not the raster order, the order is
part of the model: its places are hashed too, "digest hash 2 0 3 1". The payload of a prior that knows classes begins
with the picture's label, one of classes + 1 equally probable symbols: 0 for none, k + 1 for class k.

The same tokens give the same file, and the file the same tokens, on every machine. Both ends beside them compute with
floats: where a value lies on the edge between two codes, an encoder elsewhere may choose the other token, and a decoded
pixel may differ by one gray level.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from arlib import fixedpoint, orders, rangecoder, scales
from arlib.container import (
    CHECKED,
    HEADER,
    CodecError,
    Header,
    Ledger,
    find,
    read_header,
    shipped,
    tokens_checksum,
    write,
)
from arlib.fixedpoint import Twin
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior, check_label

BATCH = 16  # how many files are coded side by side

__all__ = [
    "BATCH",
    "CHECKED",
    "HEADER",
    "Codec",
    "CodecError",
    "Header",
    "Ledger",
    "find",
    "named_order",
    "read_header",
    "shipped",
]


class Codec:
    """Pictures to files and back, by a prior and the tokenizer whose tokens it has learned (`arlib.load_codec`).

    `tokenizer_hash` is the SHA-256 of the tokenizer's weights file in hexadecimal, `grid` the shape of a picture's
    tokens, `(h, w)`, `(h, w, c)` or `(T,)`, and `order (T,) int64` the order in which a prior of any order codes them;
    without it that is the raster order. `twin` is what codes, `prior` stays as it was, `hash` is what a file's header
    calls them, and `passes` is how many passes of the twin it takes to decode a file: one a token, or one a scale.

    A prior that knows `classes` codes a picture with its label, 0 to classes - 1, or with none: None, or -1 in a tensor
    of labels. The file keeps the label, so that decoding needs none. Where the tokenizer has a dial, the label is its
    setting, and so the quality of the picture.

    A method that ends in `_batch` codes many side by side and gives a list. Where it reads files, it raises nothing
    for a bad one: the `CodecError` takes its place in the list, and the others are decoded as if alone.

    Raises `CodecError` for a prior without the shift, whose forward pass has seen what the decoder does not know yet,
    for a grid or an order that does not fit, and for an order that the prior has not learned; `FixedPointError` for a
    prior that has no twin.
    """

    def __init__(
        self,
        prior: Prior,
        tokenizer: ImageTokenizer,
        tokenizer_hash: str,
        grid: tuple[int, ...],
        order: torch.Tensor | None = None,
    ):
        if not prior.shift:
            raise CodecError("This prior reads the token that it should predict (shift=False): no decoder can do that.")
        if math.prod(grid) != prior.length or len(grid) + 1 != tokenizer.token_dims:
            raise CodecError(
                f"A grid of {_times(grid)} tokens does not fit this tokenizer, or this prior of {prior.length} tokens."
            )
        places = list(range(prior.length)) if order is None else order.tolist()
        if order is not None and (order.dtype != torch.int64 or sorted(places) != list(range(prior.length))):
            raise CodecError(f"The order of a codec names each place from 0 to {prior.length - 1} once.")
        if order is not None and "any_order" not in prior.config:
            raise CodecError("This prior has learned one order and can code in no other (any_order=False).")
        self.prior, self.tokenizer, self.grid, self.order = prior, tokenizer, tuple(grid), order
        self.classes = prior.config.get("classes", 0)
        self._places = places
        self._ends = None if prior.scales is None else scales.ends(prior.scales)
        self.passes = prior.length if self._ends is None else len(self._ends)
        self.twin = Twin(prior)
        hashed = [self.twin.digest(), tokenizer_hash] + ([] if order is None else places)
        self.hash = hashlib.sha256(" ".join(map(str, hashed)).encode()).hexdigest()[:8]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture in pixels; `tokenizer.channels` says how many colors it has."""
        pyramid = self.tokenizer.quantizer
        height, width = 2 * pyramid.sides[-1:] if isinstance(pyramid, Pyramid) else self.grid[:2]
        return height * self.tokenizer.patch_size, width * self.tokenizer.patch_size

    def compress(self, frame: torch.Tensor, label: int | None = None) -> bytes:
        """A picture `(H, W, C) uint8` to the bytes of a file. Raises as `compress_batch` does."""
        return self.compress_batch(frame[None], _alone(label))[0]

    def compress_batch(self, frames: torch.Tensor, labels: torch.Tensor | None = None) -> list[bytes]:
        """Pictures `(N, H, W, C) uint8`, and their labels `(N,) int64` if they have any, to files.

        Raises `CodecError` for pictures of another size than the prior has learned, `ValueError` for another dtype or
        number of channels, or a label that the prior does not know.
        """
        dial = None if labels is None or not self.tokenizer.qualities else labels
        return self.compress_tokens_batch(self.tokenizer.encode(frames, dial), labels)

    def compress_tokens(self, grid: torch.Tensor, label: int | None = None) -> bytes:
        """Tokens of the shape `grid`, int64, to the bytes of a file. Raises as `compress_tokens_batch` does."""
        return self.compress_tokens_batch(grid[None], _alone(label))[0]

    def compress_tokens_batch(self, grids: torch.Tensor, labels: torch.Tensor | None = None) -> list[bytes]:
        """Tokens `(N, *grid) int64`, and their labels `(N,) int64` if any, to files, by teacher-forced passes.

        Raises `CodecError` for grids of another size, `ValueError` for another dtype, a token in no codebook, or a
        label that the prior does not know.
        """
        labels = self._labels_of(grids, labels)
        files = []
        for some, batch in zip(grids.split(BATCH), labels.split(BATCH), strict=True):
            for grid, label, logits in zip(some, batch.tolist(), self.logits(some, batch), strict=True):
                payload = self._encoder(grid, label, fixedpoint.frequencies(logits).cpu()).finish()
                files.append(write(self.hash, grid, payload))
        return files

    def logits(self, grids: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The twin's logits of tokens `(N, *grid) int64` that are known, `(N, T, V) int64`, in the order of coding.

        Raises as `compress_tokens_batch` does.
        """
        labels = self._labels_of(grids, labels)
        return self.twin(self._arrange(grids), self.order, labels if self.classes else None)

    def decompress(self, data: bytes) -> torch.Tensor:
        """The bytes of a file to its picture, `(H, W, C) uint8`. Raises as `decompress_tokens` does."""
        return self.tokenizer.decode(self.decompress_tokens(data)[None])[0]

    def decompress_batch(self, files: Sequence[bytes]) -> list[torch.Tensor | CodecError]:
        """Files to their pictures, each `(H, W, C) uint8` or a `CodecError`."""
        return [
            grid if isinstance(grid, CodecError) else self.tokenizer.decode(grid[None])[0]
            for grid in self.decompress_tokens_batch(files)
        ]

    def decompress_tokens(self, data: bytes) -> torch.Tensor:
        """The bytes of a file to exactly the tokens that were compressed, int64 of the shape `grid`.

        Raises `CodecError` before any decoding for a file that is of another kind, version or model, too short, or
        damaged; and after it where the tokens do not match their checksum.
        """
        (grid,) = self.decompress_tokens_batch([data])
        if isinstance(grid, CodecError):
            raise grid
        return grid

    def decompress_tokens_batch(self, files: Sequence[bytes]) -> list[torch.Tensor | CodecError]:
        """Files to their tokens, each of the shape `grid` or a `CodecError`, by `passes` passes of the twin."""
        errors = [self._check(data) for data in files]
        good = [data for data, error in zip(files, errors, strict=True) if error is None]
        decoded = (
            result for first in range(0, len(good), BATCH) for result in self._decode(good[first : first + BATCH])
        )
        return [error or next(decoded) for error in errors]

    def progressive_tokens(self, data: bytes) -> Iterator[torch.Tensor]:
        """What is known of a file's tokens after each pass: int64 of the shape `grid`, -1 for a token still to come.

        The last is the whole grid. Raises as `decompress_tokens` does, before the first grid or in place of the last:
        the tokens' checksum can only vouch for all of them together.
        """
        if error := self._check(data):
            raise error
        decoder = rangecoder.Decoder(data[HEADER.size :])
        for (tokens,) in self._passes([decoder]):
            if tokens.min() < 0:
                yield tokens.view(self.grid).clone()
        grid = self._verify(data, decoder, tokens)
        if isinstance(grid, CodecError):
            raise grid
        yield grid

    def progressive(self, data: bytes) -> Iterator[torch.Tensor]:
        """The picture of a coarse-to-fine file after each of its scales, `(H, W, C) uint8`, the last the whole one.

        Raises as `progressive_tokens` does, and `CodecError` for a codec whose tokens are no pyramid.
        """
        if not isinstance(self.tokenizer.quantizer, Pyramid):
            raise CodecError("Only a pyramid has a picture after each of its scales; this codec's tokens are a grid.")
        ends = list(self.tokenizer.quantizer.ends)
        for tokens in self.progressive_tokens(data):
            while ends and tokens[: ends[0]].min() >= 0:
                yield self.tokenizer.decode(tokens[None, : ends.pop(0)])[0]

    def label(self, data: bytes) -> int | None:
        """The label in a file, or None where it has none; the tokens are not decoded.

        Raises `CodecError` for a file that is of another kind, version or model, too short, or damaged.
        """
        if error := self._check(data):
            raise error
        (label,) = self._read_labels([rangecoder.Decoder(data[HEADER.size :])])
        return None if label < 0 else label

    def ledger(self, data: bytes) -> Ledger:
        """Where the bits of a file went. Raises as `decompress_tokens` does.

        label: log2 (classes + 1), only where the prior knows classes. ideal: -Σ log2 p of the twin's probabilities.
        table: what the frequencies cost beyond that. coder: -log2 of the last interval's width beyond the tables' bits,
        as the coder's divisions leave a remainder. padding: the payload's bits beyond that width, to a whole byte;
        below zero where a shorter fraction happens to lie in the interval. header: magic, version and model. checksums:
        both. Each is measured alone.
        """
        return self.ledger_of_tokens(self.decompress_tokens(data), self.label(data))

    def ledger_of_tokens(self, grid: torch.Tensor, label: int | None = None) -> Ledger:
        """The ledger of the file that `compress_tokens` makes of a grid, without decoding it."""
        labels = self._labels_of(grid[None], _alone(label))
        tokens, logits = self._arrange(grid[None])[0], self.logits(grid[None], labels)[0]
        table = fixedpoint.frequencies(logits)
        encoder = self._encoder(grid, int(labels), table)
        shares = (logits.double() * 2.0**-fixedpoint.TABLE_UNIT).log_softmax(-1)
        ideal = -shares.gather(1, tokens[:, None]).sum().item() / math.log(2)
        coded = -(table.gather(1, tokens[:, None]).double() / rangecoder.MAX_TOTAL).log2().sum().item()
        named = math.log2(self.classes + 1)
        return Ledger(
            **({"label": named} if self.classes else {}),
            ideal=ideal,
            table=coded - ideal,
            coder=encoder.bits - coded - named,
            padding=8 * len(encoder.finish()) - encoder.bits,
            header=64.0,
            checksums=64.0,
        )

    @property
    def _label_table(self) -> range:
        """The label's cumulative frequencies, each 1."""
        return range(self.classes + 2)

    def _labels_of(self, grids: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The labels `(N,)` of grids `(N, *grid)`, -1 for none. Raises as `compress_tokens_batch` does."""
        if tuple(grids.shape[1:]) != self.grid:
            raise CodecError(
                f"This codec knows grids of {_times(self.grid)} tokens, from pictures of {_times(self.size)} pixels "
                f"(height × width), not of {_times(grids.shape[1:])} tokens."
            )
        if self.classes or labels is None or (labels != -1).any():
            check_label(self.prior, labels, len(grids))
        return torch.full((len(grids),), -1) if labels is None else labels

    def _arrange(self, grids: torch.Tensor) -> torch.Tensor:
        """Tokens `(N, *grid)` in the order in which they are coded, `(N, T)`."""
        tokens = orders.raster(grids)
        return tokens if self.order is None else orders.arrange(tokens, self.order)

    def _encoder(self, grid: torch.Tensor, label: int, frequencies: torch.Tensor) -> rangecoder.Encoder:
        """The label, if the prior knows classes, then a grid by its frequencies `(T, V)`, not flushed yet."""
        encoder = rangecoder.Encoder()
        if self.classes:
            encoder.encode(label + 1, self._label_table)
        for token, table in zip(self._arrange(grid[None])[0].tolist(), rangecoder.cumulate(frequencies), strict=True):
            encoder.encode(token, table)
        return encoder

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
        decoders = [rangecoder.Decoder(data[HEADER.size :]) for data in files]
        *_, tokens = self._passes(decoders)
        return [self._verify(*each) for each in zip(files, decoders, tokens, strict=True)]

    def _passes(self, decoders: list[rangecoder.Decoder]) -> Iterator[torch.Tensor]:
        """The tokens by place, `(N, T)`, after each pass of the twin: the same tensor, with fewer and fewer -1."""
        tokens = torch.full((len(decoders), len(self._places)), -1)
        labels = torch.tensor(self._read_labels(decoders)) if self.classes else None
        if self._ends is not None:
            for first, end in itertools.pairwise([0, *self._ends]):
                logits = self.twin(tokens[:, :end].clamp(min=0), label=labels)[:, first:]
                tokens[:, first:end] = _read(decoders, logits)
                yield tokens
            return
        cache, last = self.twin.new_cache(len(decoders), self.order, labels), None
        for place in self._places:
            last = _read(decoders, self.twin.step(last, cache)[:, None])[:, 0]
            tokens[:, place] = last
            yield tokens

    def _read_labels(self, decoders: list[rangecoder.Decoder]) -> list[int]:
        """The labels at the beginning of some payloads, -1 for none."""
        return [decoder.decode(self._label_table) - 1 if self.classes else -1 for decoder in decoders]

    def _verify(self, data: bytes, decoder: rangecoder.Decoder, tokens: torch.Tensor) -> torch.Tensor | CodecError:
        try:
            decoder.finish()
        except rangecoder.RangeCoderError:
            right = False
        else:
            right = tokens_checksum(tokens) == read_header(data).tokens_checksum
        if right:
            return tokens.view(self.grid)
        return CodecError(
            "This .ptb file decodes to other tokens than were compressed, as their checksum tells: someone has changed "
            "it and repaired its checksum, or this machine computes other probabilities, a defect of the library."
        )


def named_order(name: str, length: int) -> torch.Tensor:
    """The order that a prior's header names: "shuffled 7" is `orders.shuffled(length, 7)`, `(length,) int64`.

    Raises `CodecError` for another name.
    """
    kind, _, seed = name.partition(" ")
    if kind != "shuffled" or not (seed.isascii() and seed.isdecimal()):
        raise CodecError(f"{name!r} is no order of tokens; one is called like 'shuffled 7'.")
    return orders.shuffled(length, int(seed))


def _alone(label: int | None) -> torch.Tensor | None:
    return None if label is None else torch.tensor([label])


def _times(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


def _read(decoders: list[rangecoder.Decoder], logits: torch.Tensor) -> torch.Tensor:
    """The next symbols of each payload, `(N, n) int64`, by a twin's logits `(N, n, V)`."""
    tables = rangecoder.cumulate(fixedpoint.frequencies(logits))
    return torch.tensor([[decoder.decode(row) for row in rows] for decoder, rows in zip(decoders, tables, strict=True)])
