"""The causal prior: a transformer that gives, for each token, the probabilities of what it may be (chapters 6 and 7).

Pre-norm blocks (Xiong et al. 2020) of scaled dot product attention (Vaswani et al. 2017) and a GELU perceptron, with
RMSNorm (Zhang and Sennrich 2019) and no biases.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Cache:
    """Keys and values of the tokens read so far: `(depth, B, heads, length, width / heads)`, `read` of them filled."""

    keys: torch.Tensor
    values: torch.Tensor
    read: int = 0


class Prior(nn.Module):
    """A causal transformer over sequences of at most `length` tokens in [0, vocabulary).

    Row t of its logits is what it expects of token t, from the tokens before t alone: the sequence enters shifted by
    one, behind a learned start token. Two switches exist to show what breaks: `positions=False` adds no position
    embedding, `shift=False` lets row t of `forward` read token t itself, the classic mistake of chapter 7.
    """

    def __init__(
        self,
        vocabulary: int = 1024,
        length: int = 600,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        positions: bool = True,
        shift: bool = True,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads cannot share a width of {width} equally.")
        self.config = {
            "vocabulary": vocabulary,
            "length": length,
            "width": width,
            "depth": depth,
            "heads": heads,
            "positions": positions,
            "shift": shift,
        }
        self.vocabulary = vocabulary
        self.length = length
        self.shift = shift
        self.embedding = nn.Embedding(vocabulary, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(length, width)) if positions else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self._initialise()

    @classmethod
    def from_config(cls, config: dict) -> "Prior":
        return cls(**config)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Teacher forcing: `(B, T) int64`, T ≤ length, to logits `(B, T, vocabulary)`, all positions in one pass.

        Raises `ValueError` for another shape or dtype, or a token outside the vocabulary.
        """
        self._check(tokens)
        x = self.embedding(tokens.to(self.start.device))
        if self.shift:
            start = self.start.expand(len(x), 1, -1)
            x = torch.cat([start, x[:, :-1]], dim=1)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def new_cache(self, batch_size: int) -> Cache:
        """An empty cache for `step`, on the prior's device."""
        heads, head_width = self.config["heads"], self.config["width"] // self.config["heads"]
        shape = (len(self.blocks), batch_size, heads, self.length, head_width)
        empty = torch.zeros(shape, dtype=self.start.dtype, device=self.start.device)
        return Cache(empty, empty.clone())

    @torch.no_grad()
    def step(self, token: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """Read one token `(B,) int64` of each sequence and give the logits `(B, vocabulary)` of the next.

        The first call reads the start token: `token=None`. `cache` is filled in place.
        Raises `ValueError` where the sequence is at its end, or None comes at the wrong time.
        """
        position = cache.read
        if position >= self.length:
            raise ValueError(f"This prior knows sequences of {self.length} tokens, and all of them have been read.")
        if (token is None) != (position == 0):
            raise ValueError("step reads the start token (None) first, and only then.")
        x = self.start.expand(cache.keys.shape[1], -1) if token is None else self.embedding(token.to(self.start.device))
        if self.positions is not None:
            x = x + self.positions[position]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = cast(Block, block).step(x, keys, values, position)
        cache.read = position + 1
        return self.head(self.norm(x))

    def _check(self, tokens: torch.Tensor) -> None:
        if tokens.dim() != 2 or tokens.dtype != torch.int64:
            dtype = str(tokens.dtype).removeprefix("torch.")
            raise ValueError(f"A prior reads sequences (B, T) int64, not {tuple(tokens.shape)} {dtype}.")
        if tokens.shape[1] > self.length:
            raise ValueError(f"A prior of length {self.length} cannot read {tokens.shape[1]} tokens.")
        if tokens.numel() and (tokens.min() < 0 or tokens.max() >= self.vocabulary):
            raise ValueError(f"Tokens lie in [0, {self.vocabulary}); here is one that does not.")

    def _initialise(self) -> None:
        # Small weights, and smaller ones where a block writes to the residual stream (Radford et al. 2019).
        for name, parameter in self.named_parameters():
            if "norm" in name:
                continue
            writes = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5 if writes else 0.02)


class Block(nn.Module):
    """Attention, then a perceptron; each reads the normalised stream `(B, T, width)` and adds to it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.attention = CausalAttention(width, heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self._mlp(x)

    def step(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int) -> torch.Tensor:
        x = x + self.attention.step(self.attention_norm(x), keys, values, position)
        return x + self._mlp(x)

    def _mlp(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(self.mlp_norm(x))))


class CausalAttention(nn.Module):
    """Scaled dot product attention in which position t attends to the positions up to t."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self._project(x)
        causal = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=query.dtype, device=x.device).triu(1)
        return self._attend(query, key, value, causal)

    def step(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int) -> torch.Tensor:
        """One position: `x (B, width)`; its key and value join those of the positions before it."""
        query, key, value = self._project(x[:, None])
        keys[:, :, position] = key[:, :, 0]
        values[:, :, position] = value[:, :, 0]
        seen = slice(position + 1)
        nothing = torch.zeros(1, dtype=query.dtype, device=x.device)
        return self._attend(query, keys[:, :, seen], values[:, :, seen], nothing)[:, 0]

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`(B, T, width)` to query, key and value, each `(B, heads, T, head_width)`."""
        split = self.query_key_value(x).unflatten(-1, (3, self.heads, self.head_width))
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """softmax(query · key / √head_width + mask) · value, all heads side by side again: `(B, T, width)`."""
        # One product that begins from the mask: a sum of its own would read and write all scores once more.
        mask = mask.expand(query.shape[0] * self.heads, query.shape[2], key.shape[2])
        scores = torch.baddbmm(mask, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=self.head_width**-0.5)
        attended = scores.softmax(dim=-1) @ value.flatten(0, 1)
        return self.out(attended.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2))
