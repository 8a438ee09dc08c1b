"""Tokens as bits, each in as many as its codebook needs, and unpacked again where they are asked for (chapter 5)."""

import math

import numpy as np
import torch

AT_ONCE = 2**17  # tokens that are packed or unpacked at a time: eight of them always fill whole bytes


def pack(tokens: torch.Tensor, bits: int) -> bytes:
    """`(N,) int64` to bytes, `bits` bits a token, the lowest bit first; the last byte is filled with zeros."""
    lowest_first = (tokens.numpy()[:, None] >> np.arange(bits)) & 1
    return np.packbits(lowest_first.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack(packed: bytes, bits: int, count: int) -> torch.Tensor:
    """The inverse of `pack`: `(count,) int64`."""
    return torch.from_numpy(tokens_at(np.frombuffer(packed, np.uint8), bits, np.arange(count)))


def tokens_at(packed: np.ndarray, bits: int, places: np.ndarray) -> np.ndarray:
    """The tokens at some places, int64 of any shape, among packed bytes `(n,) uint8`: int64 of that shape."""
    firsts = places * bits
    words = np.zeros(places.shape, np.int64)
    for byte in range((bits + 14) // 8):  # as many as a token touches that begins at the last bit of a byte
        where = firsts // 8 + byte
        where[where >= len(packed)] = 0  # behind the end, where no token has a bit
        words += packed[where].astype(np.int64) * 256**byte
    return words // 2 ** (firsts % 8) % 2**bits


class PackedGrids:
    """Grids that stay packed in their file, however many they are; those that are asked for are unpacked.

    They are indexed like a tensor, `(B,) int64` places to `(B, h, w)`, `(B, h, w, c)` or `(B, T) int64`; a place that
    there is not raises `IndexError`.
    """

    def __init__(self, packed: np.ndarray, bits: int, shape: tuple[int, ...]):
        self.packed, self.bits, self.shape = packed, bits, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        if places.numel() and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"There are {len(self):,} grids, the first at place 0.")
        length = math.prod(self.shape[1:])
        tokens = places.numpy()[:, None] * length + np.arange(length)
        return torch.from_numpy(tokens_at(self.packed, self.bits, tokens)).view(-1, *self.shape[1:])
