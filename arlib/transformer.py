"""The causal prior: a transformer that gives, for each token, the probabilities of what it may be (chapters 6 and 7).

Pre-norm blocks (Xiong et al. 2020) of scaled dot product attention (Vaswani et al. 2017) and a GELU perceptron, with
RMSNorm (Zhang and Sennrich 2019) and no biases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import nn

from arlib import scales as coarse_to_fine
from arlib.speaker import Speaker, numbered


@dataclass
class Cache:
    """Keys and values of the rows so far: `(depth, B, heads, length, width / heads)`; `read` tokens have been read.

    `order` and `label` are those of `Prior.new_cache`. Where a place has several codes there is a row for each place,
    and two vectors `(B, width)` for the place that is being spoken: the sum of its codes, which the next row will read,
    and what the blocks said of it plus its codes, which the next code is asked for with.
    """

    keys: torch.Tensor
    values: torch.Tensor
    read: int = 0
    order: torch.Tensor | None = None
    label: torch.Tensor | None = None
    place: torch.Tensor | None = None
    heard: torch.Tensor | None = None


class Prior(nn.Module):
    """A causal transformer over sequences of at most `length` tokens in [0, vocabulary).

    Row t of its logits is what it expects of token t, from the tokens before t alone: the sequence enters shifted by
    one, behind a learned start vector. Two switches exist to show what breaks: `positions=False` adds no position
    embedding, `shift=False` lets row t of `forward` read token t itself, the classic mistake of chapter 7.

    Three more make its relatives of part IV. `classes` adds a vector per class to the start. `any_order` adds a table
    that says where each token that is read sits, next to `positions`, which says what place is asked for: the tokens
    may then come in any order (Pannatier et al. 2024, σ-GPT, arXiv 2404.09562). `scales`, the sides of square token
    maps from coarse to fine, makes it block-causal: row t reads the token of the cell above it, one scale coarser, and
    all tokens of a scale are predicted at once, each without the others (Tian et al. 2024, VAR, arXiv 2404.02905).

    With `codebooks` the tokens of a place, so many, stand next to each other in the sequence, each with a codebook and
    a head of its own; the blocks compute once a place, and a `Speaker` says its tokens in turn (chapter 16).
    """

    source: torch.Tensor
    block: torch.Tensor

    def __init__(
        self,
        vocabulary: int = 1024,
        length: int = 600,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        positions: bool = True,
        shift: bool = True,
        classes: int = 0,
        any_order: bool = False,
        scales: Sequence[int] | None = None,
        codebooks: int = 1,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads cannot share a width of {width} equally.")
        if scales is not None and (any_order or not positions or not shift):
            raise ValueError("A prior of scales has positions and one order, and its rows never read their own tokens.")
        if codebooks < 1 or length % codebooks:
            raise ValueError(f"A sequence of {length} tokens is not made of places of {codebooks} tokens.")
        if codebooks > 1 and (scales is not None or any_order or not positions or not shift):
            raise ValueError("A prior that speaks a place at a time has positions and one order, and no scales.")
        self.config: dict[str, Any] = {
            "vocabulary": vocabulary,
            "length": length,
            "width": width,
            "depth": depth,
            "heads": heads,
            "positions": positions,
            "shift": shift,
        }
        # Only where they are used, so that the digest of a prior without them stays what it was.
        self.config |= {"classes": classes} if classes else {}
        self.config |= {"any_order": True} if any_order else {}
        self.config |= {"scales": list(scales)} if scales is not None else {}
        self.config |= {"codebooks": codebooks} if codebooks > 1 else {}
        self.vocabulary = vocabulary
        self.length = length
        self.codebooks = codebooks
        self.shift = shift
        self.scales = None if scales is None else tuple(scales)
        self.embedding = nn.Embedding(vocabulary * codebooks, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(length // codebooks, width)) if positions else None
        self.classes = nn.Parameter(torch.zeros(classes, width)) if classes else None
        self.places = nn.Parameter(torch.zeros(length, width)) if any_order else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.speaker = Speaker(vocabulary, width, codebooks) if codebooks > 1 else None
        self.head = nn.Linear(width, vocabulary * codebooks, bias=False)
        if self.scales is not None:
            source, block = coarse_to_fine.tables(self.scales)
            if len(source) != length:
                raise ValueError(f"Maps of sides {self.scales} hold {len(source)} tokens, not {length}.")
            self.register_buffer("source", source, persistent=False)
            self.register_buffer("block", block, persistent=False)
        self._initialize()
        self.float()  # whatever torch's default dtype is

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return cls(**config)

    def forward(
        self, tokens: torch.Tensor, order: torch.Tensor | None = None, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Teacher forcing: `(B, T) int64`, T ≤ length, to logits `(B, T, vocabulary)`, all positions in one pass.

        Tokens come in the order in which they are read. `order`, `(T,)` or `(B, T)` int64, is the place of each in the
        grid, in reading order itself where it is left out; logits row t is about place order[t]. `label (B,)` int64 is
        the class of each sequence, -1 for none. Raises `ValueError` for another shape or dtype, a token outside the
        vocabulary, an order that this prior has not learned, or a label that it does not know.
        """
        check_tokens(self, tokens)
        if self.speaker is not None:
            return self._by_place(tokens, label, self.speaker)
        order = check_order(self, order, tokens.shape[1], len(tokens))
        x = self.embedding(tokens.to(self.start.device))
        if self.places is not None:
            x = x + self.places[order]
        start = self._start(label, len(x))[:, None]
        if self.scales is not None:
            x = torch.cat([start, x], dim=1)[:, self.source[: tokens.shape[1]] + 1]
        elif self.shift:
            x = torch.cat([start, x[:, :-1]], dim=1)
        if self.positions is not None:
            x = x + self.positions[order]
        mask = self.mask(tokens.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))

    def _by_place(self, tokens: torch.Tensor, label: torch.Tensor | None, speaker: Speaker) -> torch.Tensor:
        """`forward` where each place has several codes; of a place that is not complete, the codes there are."""
        length = tokens.shape[1]
        codes = in_places(tokens.to(self.start.device), self.codebooks)
        x = self.embedding(numbered(codes, self.vocabulary)).sum(dim=2)
        x = torch.cat([self._start(label, len(x))[:, None], x[:, :-1]], dim=1)
        x = x + cast(torch.Tensor, self.positions)[: codes.shape[1]]
        mask = self.mask(codes.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        said = self.norm(speaker(x, codes))
        heads = self.head.weight.view(self.codebooks, self.vocabulary, -1)
        logits = [F.linear(said[:, :, book], heads[book]) for book in range(self.codebooks)]
        return torch.stack(logits, dim=2).flatten(1, 2)[:, :length]

    def mask(self, length: int) -> torch.Tensor:
        """What the attention adds to its scores, `(length, length)`: 0 where a row may look, -inf where it may not."""
        if self.scales is None:
            return causal_mask(length, self.head.weight)
        block = self.block[:length]
        hidden = block[:, None] < block
        return torch.zeros(hidden.shape, dtype=self.head.weight.dtype, device=block.device).masked_fill(
            hidden, -torch.inf
        )

    def new_cache(self, batch_size: int, order: torch.Tensor | None = None, label: torch.Tensor | None = None) -> Cache:
        """An empty cache for `step` and `ask`, on the prior's device; `order` and `label` as in `forward`."""
        if self.scales is not None:
            raise ValueError("A prior of scales predicts whole maps: it has no steps. Use forward, a scale at a time.")
        order = None if order is None else check_order(self, order, self.length, batch_size)
        check_label(self, label, batch_size)
        heads, head_width = self.config["heads"], self.config["width"] // self.config["heads"]
        shape = (len(self.blocks), batch_size, heads, self.length // self.codebooks, head_width)
        empty = torch.zeros(shape, dtype=self.start.dtype, device=self.start.device)
        return Cache(empty, empty.clone(), order=order, label=label)

    @torch.no_grad()
    def step(self, token: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """Read one token `(B,) int64` of each sequence and give the logits `(B, vocabulary)` of the next.

        The first call reads the start vector: `token=None`. `cache` is filled in place.
        Raises `ValueError` where the sequence is at its end, or None comes at the wrong time.
        """
        position = cache.read
        check_step(self, token, cache)
        if self.speaker is not None:
            return self._step_by_place(token, cache, self.speaker)
        x = self._read(None if token is None else token[:, None], cache)[:, 0]
        if self.positions is not None:
            x = x + self.positions[places(cache, position, 1)][..., 0, :]
        x = self._step_blocks(x, cache, position)
        cache.read = position + 1
        return self.head(self.norm(x))

    def _step_blocks(self, x: torch.Tensor, cache: Cache, place: int) -> torch.Tensor:
        """One row `x (B, width)` through all blocks, with the rows of the cache before it, which it joins."""
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = cast(Block, block).step(x, keys, values, place)
        return x

    def _step_by_place(self, token: torch.Tensor | None, cache: Cache, speaker: Speaker) -> torch.Tensor:
        """`step` where each place has several codes: the blocks compute for its first one alone."""
        place, book = divmod(cache.read, self.codebooks)
        if token is None:
            cache.place = self._start(cache.label, cache.keys.shape[1])
        else:
            before = (cache.read - 1) % self.codebooks
            row = numbered(token[:, None], self.vocabulary, before)[:, 0].to(self.start.device)
            cache.place = self.embedding(row) if before == 0 else cache.place + self.embedding(row)
            if book:
                cache.heard = cache.heard + speaker.said(row)
        if book == 0:
            x = cache.place + cast(torch.Tensor, self.positions)[place]
            cache.heard = self._step_blocks(x, cache, place)
        cache.read += 1
        head = self.head.weight.view(self.codebooks, self.vocabulary, -1)[book]
        return F.linear(self.norm(speaker.speak(cast(torch.Tensor, cache.heard))), head)

    @torch.no_grad()
    def ask(self, tokens: torch.Tensor | None, cache: Cache, count: int) -> torch.Tensor:
        """Read tokens `(B, n) int64` and give the logits `(B, count, vocabulary)` of the next `count` places.

        Each is predicted as if it came next, without the others: one pass in place of `count` (parallel decoding). The
        rows of the places beyond the next one only ask: they are not stored in the cache, which holds n rows more.
        None reads the start vector. Raises `ValueError` for a prior that does not know every order, and where nothing
        is read or asked.
        """
        if self.places is None or self.positions is None:
            raise ValueError("Only a prior of any order can be asked for several places at once (any_order=True).")
        if count < 1 or (tokens is not None and (tokens.dim() != 2 or tokens.shape[1] < 1)):
            raise ValueError("ask reads tokens (B, n), one at least, and asks for one place at least.")
        check_step(self, tokens, cache, count)
        position, x = cache.read, self._read(tokens, cache)
        read = x.shape[1]
        x = torch.cat([x, x[:, -1:].expand(-1, count - 1, -1)], dim=1)
        x = x + self.positions[places(cache, position, x.shape[1])]
        # A row that only asks stands where the last row read stands: it sees what that one sees, and itself.
        row = torch.arange(x.shape[1], device=x.device)
        hidden = torch.where(row[:, None] < read, row > row[:, None], (row >= read - 1) & (row != row[:, None]))
        seen = torch.zeros(len(row), position, dtype=x.dtype, device=x.device)
        mask = torch.cat([seen, torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, -torch.inf)], dim=1)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = cast(Block, block).ask(x, keys, values, position, read, mask)
        cache.read = position + read
        return self.head(self.norm(x[:, read - 1 :]))

    def _read(self, tokens: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """The vectors of the tokens that are read, `(B, n, width)`, before the places that are asked for are added."""
        if tokens is None:
            return self._start(cache.label, cache.keys.shape[1])[:, None]
        x = self.embedding(tokens.to(self.start.device))
        return x if self.places is None else x + self.places[places(cache, cache.read - 1, tokens.shape[1])]

    def _start(self, label: torch.Tensor | None, batch_size: int) -> torch.Tensor:
        """The start vectors, `(B, width)`: one for all, plus that of the class where there is one."""
        check_label(self, label, batch_size)
        start = self.start.expand(batch_size, -1)
        if label is None or self.classes is None:
            return start
        label = label.to(self.start.device)
        return start + torch.where(label[:, None] < 0, 0.0, self.classes[label.clamp(min=0)])

    def _initialize(self) -> None:
        # Small weights, and smaller ones where a block writes to the residual stream (Radford et al. 2019).
        for name, parameter in self.named_parameters():
            if "norm" in name:
                continue
            writes = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5 if writes else 0.02)


class Block(nn.Module):
    """Attention, then a perceptron; each reads the normalized stream `(B, T, width)` and adds to it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.attention = CausalAttention(width, heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), mask)
        return x + self._mlp(x)

    def step(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int) -> torch.Tensor:
        x = x + self.attention.step(self.attention_norm(x), keys, values, position)
        return x + self._mlp(x)

    def ask(self, x: torch.Tensor, *where) -> torch.Tensor:
        x = x + self.attention.ask(self.attention_norm(x), *where)
        return x + self._mlp(x)

    def _mlp(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(self.mlp_norm(x))))


class CausalAttention(nn.Module):
    """Scaled dot product attention in which position t attends to the positions up to t, or to those of a mask."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        query, key, value = self._project(x)
        mask = causal_mask(x.shape[1], query) if mask is None else mask.to(query.dtype)
        return self._attend(query, key, value, mask)

    def step(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int) -> torch.Tensor:
        """One position: `x (B, width)`; its key and value join those of the positions before it."""
        query, key, value = self._project(x[:, None])
        keys[:, :, position] = key[:, :, 0]
        values[:, :, position] = value[:, :, 0]
        seen = slice(position + 1)
        nothing = torch.zeros(1, dtype=query.dtype, device=x.device)
        return self._attend(query, keys[:, :, seen], values[:, :, seen], nothing)[:, 0]

    def ask(self, x, keys, values, position: int, stored: int, mask: torch.Tensor) -> torch.Tensor:
        """Several rows `x (B, n, width)`, of which the first `stored` join the cache; mask `(n, position + n)`."""
        query, key, value = self._project(x)
        keys[:, :, position : position + stored] = key[:, :, :stored]
        values[:, :, position : position + stored] = value[:, :, :stored]
        before = slice(position)
        return self._attend(
            query, torch.cat([keys[:, :, before], key], 2), torch.cat([values[:, :, before], value], 2), mask
        )

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


def in_places(tokens: torch.Tensor, codebooks: int) -> torch.Tensor:
    """Sequences `(B, T)` as `(B, P, codebooks)`; the last place, if it is not complete, is filled with zeros."""
    return F.pad(tokens, (0, -tokens.shape[1] % codebooks)).unflatten(1, (-1, codebooks))


def causal_mask(length: int, like: torch.Tensor) -> torch.Tensor:
    """-inf above the diagonal, 0 elsewhere: `(length, length)`, of the dtype and on the device of `like`."""
    return torch.full((length, length), -torch.inf, dtype=like.dtype, device=like.device).triu(1)


def places(cache: Cache, first: int, count: int) -> torch.Tensor:
    """The places of `count` tokens from number `first` on in the cache's order: `(count,)` or `(B, count)`."""
    if cache.order is None:
        return torch.arange(first, first + count)
    return cache.order[..., first : first + count]


def check_tokens(prior, tokens: torch.Tensor) -> None:
    """Raise `ValueError` unless these are sequences that the prior (or its twin) can read."""
    if tokens.dim() != 2 or tokens.dtype != torch.int64:
        dtype = str(tokens.dtype).removeprefix("torch.")
        raise ValueError(f"A prior reads sequences (B, T) int64, not {tuple(tokens.shape)} {dtype}.")
    if tokens.shape[1] > prior.length:
        raise ValueError(f"A prior of length {prior.length} cannot read {tokens.shape[1]} tokens.")
    if tokens.numel() and (tokens.min() < 0 or tokens.max() >= prior.vocabulary):
        raise ValueError(f"Tokens lie in [0, {prior.vocabulary}); here is one that does not.")


def check_order(prior, order: torch.Tensor | None, length: int, batch_size: int) -> torch.Tensor:
    """The places of the first `length` tokens; raises `ValueError` where these are none that the prior can read."""
    if order is None:
        return torch.arange(length)
    if "any_order" not in prior.config:
        raise ValueError("This prior has learned one order and cannot read another (any_order=False).")
    if order.dtype != torch.int64 or order.dim() not in (1, 2) or order.shape[-1] < length:
        raise ValueError(f"An order of {length} tokens is (T,) or (B, T) int64, not {tuple(order.shape)}.")
    if order.dim() == 2 and len(order) != batch_size:
        raise ValueError(f"Here are {len(order)} orders for {batch_size} sequences; give one for all, or one for each.")
    if order.numel() and not 0 <= order.min() <= order.max() < prior.length:
        raise ValueError(f"An order names places in [0, {prior.length}); here is one that is not.")
    if (order.sort(-1).values.diff(dim=-1) == 0).any():
        raise ValueError("An order names each place once; this one names a place twice.")
    return order[..., :length]


def check_label(prior, label: torch.Tensor | None, batch_size: int) -> None:
    """Raise `ValueError` unless the prior knows these labels, one a sequence."""
    classes = prior.config.get("classes", 0)
    if label is None:
        return
    if not classes:
        raise ValueError("This prior has learned no classes: leave the label out.")
    if label.dtype != torch.int64 or label.shape != (batch_size,):
        raise ValueError(f"Labels of {batch_size} sequences are ({batch_size},) int64, not {tuple(label.shape)}.")
    if label.numel() and not -1 <= label.min() <= label.max() < classes:
        raise ValueError(f"Labels lie in [0, {classes}), or are -1 for none; here is another one.")


def check_step(prior, tokens: torch.Tensor | None, cache: Cache, count: int = 1) -> None:
    """Raise `ValueError` where the cache does not wait for these tokens."""
    read = 1 if tokens is None or tokens.dim() == 1 else tokens.shape[1]
    if cache.read + read + count - 1 > prior.length:
        raise ValueError(f"This prior knows sequences of {prior.length} tokens, and all of them have been read.")
    if (tokens is None) != (cache.read == 0):
        raise ValueError("step reads the start token (None) first, and only then.")
