"""Fixed point: the integer twin of a trained prior, whose logits are the same bits everywhere (chapter 11).

A decoder needs the encoder's probabilities again, bit for bit. Floats cannot promise that: a sum of floats depends on
its order, and the order on the batch, the cache, the threads, the processor and the version of torch. A sum of integers
does not. So the twin computes with integers, and keeps them in float64 tensors, because matrix products are fast there:
as long as no part of a sum can pass 2^53, each is exact, in whatever order a library adds. The rule, all of it:

- An *activation* is an integer in units of 2^-14. It saturates at ±(2^22 - 1), which stands for almost ±256.
- An *input* is the sum of the few vectors that the prior adds, each rounded to an activation once.
- A *weight* is an integer in units of 2^-16, rounded once, when the twin is made. The gain of a norm and the
  1/√head_width of the attention are multiplied into the matrix behind them before that.
- A *matrix product* is then in units of 2^-30. The sum of |weights| of a row, times the largest activation, bounds all
  parts of its sum; a prior for which one bound passes 2^53 is refused. The result is rounded to units of 2^-14 again.
- *Roots and quotients* are rounded down. The processor's own may be wrong in the last bit (torch's float64 roots differ
  between machines), so they are only a proposal, which a comparison of integers accepts or corrects.
- *exp and GELU* are tables of integers with a step of 2^-10, made by decimal arithmetic, not by a library of floats.
- *Logits* are integers in units of 2^-10; `frequencies` makes of them, by a table, what the range coder needs.

Where nothing else is said, rounding goes to the nearest integer, ties to the even one. What else is used, products with
powers of two, `round`, `clamp`, `amax` and comparisons, is exact for floats on every machine.

`forward` computes with torch, `step` with NumPy on the CPU: a step is a hundred operations on a few numbers each, and
a call costs NumPy a third of what it costs torch. That two libraries give the same bits is the point.

Sources: J. Ballé, N. Johnston and D. Minnen, "Integer networks for data compression with latent-variable models" (ICLR
2019), for the failure and the way out; B. Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference" (CVPR 2018).
"""

import functools
import hashlib
import json
import math
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F

from arlib import rangecoder
from arlib.speaker import numbered
from arlib.tables import ATTENTION_BITS, TABLE_UNIT, UNIT, tables
from arlib.transformer import Cache, Prior, check_label, check_order, check_step, check_tokens, in_places, places

RULE = 1  # the version of the rule; it changes with any number below, and with it the digest of every twin
EXACT = 1 << 53  # float64 holds every integer up to here
LARGEST = (1 << 22) - 1  # and saturate here
WEIGHT_UNIT = 16
ROOT_BITS = 48  # the precision of √width
SCALE_BITS = 22  # and of 1/√head_width,
FINE = 24  # which multiplies weights in units of 2^-24
ADDED = ("start", "embedding.weight", "positions", "classes", "places")  # of which a prior's input is a sum
SAID = "speaker.said.weight"  # what is added to an activation for each code of a place that has been said


class FixedPointError(ValueError):
    """A prior that has no twin, a device that cannot compute it, or logits of another kind; the message says which."""


def weights(logits: torch.Tensor) -> torch.Tensor:
    """What each symbol weighs, exp(logit - largest logit) in units of 2^-36: `(..., V) int64` to `(..., V) int64`.

    Raises `FixedPointError` for logits that are not int64.
    """
    if logits.dtype != torch.int64:
        raise FixedPointError(f"A twin's logits are int64, not {str(logits.dtype).removeprefix('torch.')}.")
    table = _coding_table(logits.device)
    return table.take((logits.amax(-1, keepdim=True) - logits).clamp_(max=len(table) - 1))


def frequencies(logits: torch.Tensor) -> torch.Tensor:
    """The range coder's table: a twin's logits `(..., V) int64` to frequencies `(..., V) int64` ≥ 1 that sum to 2^24.

    They are `rangecoder.frequencies` of the `weights`, whose errors it raises as well.
    """
    return rangecoder.frequencies(weights(logits))


@functools.cache
def _coding_table(device: torch.device) -> torch.Tensor:
    return torch.tensor(tables()["coding"], device=device)


class Twin:
    """The integer twin of a prior: its logits depend on the prior's float32 weights and the tokens, on nothing else.

    `forward`, `new_cache` and `step` are used like those of `arlib.Prior`, with its orders and labels, and calling the
    twin is `forward`. A prior of scales has a twin too, without steps as it has none itself. Logits are int64 in units
    of 2^-10: `sampling.generate(twin, count, temperature=1024)` draws at a temperature of 1.
    `bounds` has for each sum the largest value that any part of it can take, whatever the tokens. Raises
    `FixedPointError` for a prior for which one of them reaches 2^53, and for a device without float64.
    """

    def __init__(self, prior: Prior, device: torch.device | str = "cpu"):
        if torch.device(device).type == "mps":
            raise FixedPointError("A twin computes in float64, which the device mps does not have: use device='cpu'.")
        self.config, self.device = prior.config, torch.device(device)
        self.vocabulary, self.length, self.shift = prior.vocabulary, prior.length, prior.shift
        self.codebooks = prior.codebooks
        width, self.heads = prior.config["width"], prior.config["heads"]
        self.head_width = width // self.heads
        self.scales = prior.scales
        if prior.scales is not None:
            self.source, self.block = prior.source.to(device), prior.block.to(device)
        self.epsilon = (width << 2 * UNIT) // 100_000  # the prior's 1e-5, as part of a sum of squares
        self.clamps: int | None = None  # counted where it is not None
        self.bounds: dict[str, int] = {}
        root = math.isqrt(width * LARGEST**2 + self.epsilon) + 1
        root_width = math.isqrt(width << 2 * ROOT_BITS)
        self._bound("squares in a norm", root**2)
        self._bound("normalized values", root_width + root)
        self._bound("differences of scores", 2 * self.head_width * LARGEST**2)
        self._bound("attended values", (self.length << ATTENTION_BITS) * LARGEST)
        self.weights = {name: weight.to(device) for name, weight in self._integers(prior).items()}
        float64 = functools.partial(torch.tensor, dtype=torch.float64, device=device)
        self._root_width, self._exp, self._gap = root_width, float64(tables()["attention"]), float64(tables()["gelu"])
        self._arrays = {name: weight.cpu().numpy() for name, weight in self.weights.items()}  # the same memory
        self._arrays |= {"exp": self._exp.cpu().numpy(), "gap": self._gap.cpu().numpy()}

    def forward(
        self, tokens: torch.Tensor, order: torch.Tensor | None = None, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Teacher forcing: `(B, T) int64`, T ≤ length, to logits `(B, T, vocabulary) int64` in units of 2^-10.

        `order`, `(T,)` or `(B, T)` int64, and `label (B,) int64` are those of `Prior.forward`, and so are the errors:
        `ValueError` for another shape or dtype, a token outside the vocabulary, an order that the prior has not
        learned, or a label that it does not know. With scales, tokens that end with a scale give the same rows as all
        of them, whatever the tokens of that last scale are: no row reads a token of its own scale.
        """
        check_tokens(self, tokens)  # the same demands in the same words
        order = check_order(self, order, tokens.shape[1], len(tokens))
        check_label(self, label, len(tokens))
        if tokens.numel() == 0:
            return torch.zeros((*tokens.shape, self.vocabulary), dtype=torch.int64, device=self.device)
        if self.codebooks > 1:
            return self._by_place(tokens, label)
        x = F.embedding(tokens.to(self.device), self.weights["embedding.weight"])
        if "places" in self.weights:
            x = x + self.weights["places"][order]
        start = self._start(label, len(x))[:, None]
        if self.scales is not None:
            x = torch.cat([start, x], dim=1)[:, self.source[: tokens.shape[1]] + 1]
        elif self.shift:
            x = torch.cat([start, x[:, :-1]], dim=1)
        if "positions" in self.weights:
            x = x + self.weights["positions"][order]
        return self._product(self._normalize(self._blocks(x)), "head.weight", TABLE_UNIT).long()

    __call__ = forward

    def new_cache(self, batch_size: int, order: torch.Tensor | None = None, label: torch.Tensor | None = None) -> Cache:
        """An empty cache for `step`, in the CPU's memory; `order`, `label` and errors as in `forward`.

        Raises `ValueError` for the twin of a prior of scales as well.
        """
        if self.scales is not None:
            raise ValueError("A prior of scales predicts whole maps: it has no steps. Use forward, a scale at a time.")
        order = None if order is None else check_order(self, order, self.length, batch_size)
        check_label(self, label, batch_size)
        shape = (self.config["depth"], batch_size, self.heads, self.length // self.codebooks, self.head_width)
        empty = torch.zeros(shape, dtype=torch.float64)
        return Cache(empty, empty.clone(), order=order, label=label)

    def step(self, token: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """Read one token `(B,) int64` of each sequence and give the logits `(B, vocabulary) int64` of the next.

        The first call reads the start token: `token=None`. `cache` is filled in place.
        Raises `ValueError` where the sequence is at its end, or None comes at the wrong time.
        """
        check_step(self, token, cache)
        if self.codebooks > 1:
            return self._step_by_place(token, cache)
        if token is None:
            x = self._start(cache.label, cache.keys.shape[1])
        else:
            x = F.embedding(token.to(self.device), self.weights["embedding.weight"])
            if "places" in self.weights:
                x = x + self.weights["places"][places(cache, cache.read - 1, 1)][..., 0, :]
        if "positions" in self.weights:
            x = x + self.weights["positions"][places(cache, cache.read, 1)][..., 0, :]
        said = self._step_blocks(x.cpu().numpy().T, cache.keys.numpy(), cache.values.numpy(), cache.read)
        cache.read += 1
        return self._step_head(said, self._arrays["head.weight"])

    def count_clamps(
        self, tokens: torch.Tensor, order: torch.Tensor | None = None, label: torch.Tensor | None = None
    ) -> int:
        """How many activations saturate in a forward pass of `(B, T) int64`. Where any does, the twin leaves the prior.

        Takes what `forward` takes, and raises `ValueError` as it does.
        """
        self.clamps = 0
        try:
            self.forward(tokens, order, label)
            return self.clamps
        finally:
            self.clamps = None

    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of all that fixes the frequencies: rule, configuration, tables and weights."""
        sha = hashlib.sha256(f"arlib.fixedpoint, rule {RULE}: {json.dumps(self.config, sort_keys=True)}".encode())
        integers = {name: torch.tensor(table) for name, table in tables().items()} | self.weights
        for name, tensor in sorted(integers.items()):
            sha.update(f"\n{name} {list(tensor.shape)}: ".encode())
            sha.update(tensor.cpu().long().numpy().astype("<i8").tobytes())
        return sha.hexdigest()

    def _start(self, label: torch.Tensor | None, batch_size: int) -> torch.Tensor:
        """The start vectors `(B, width)`, with that of the class where there is one."""
        start = self.weights["start"].expand(batch_size, -1)
        if label is None or "classes" not in self.weights:
            return start
        label = label.to(self.device)[:, None]
        return start + torch.where(label < 0, 0.0, self.weights["classes"][label[:, 0].clamp(min=0)])

    def _unseen(self, length: int) -> torch.Tensor:
        """What each row may not look at, `(length, length) bool`: what is later, or of a finer scale."""
        number = torch.arange(length, device=self.device) if self.scales is None else self.block[:length]
        return number[:, None] < number

    def _by_place(self, tokens: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """`forward` where each place has several codes (see `Prior`)."""
        codes = in_places(tokens.to(self.device), self.codebooks)
        x = F.embedding(numbered(codes, self.vocabulary), self.weights["embedding.weight"]).sum(2)
        x = torch.cat([self._start(label, len(x))[:, None], x[:, :-1]], dim=1)
        x = self._blocks(x + self.weights["positions"][: codes.shape[1]])[:, :, None]
        said = F.embedding(numbered(codes[..., :-1], self.vocabulary), self.weights[SAID]).cumsum(2)
        x = self._saturate(x + F.pad(said, (0, 0, 1, 0)))
        said = self._normalize(self._perceptron(x, "speaker."))
        logits = [
            self._product(said[:, :, book], "head.weight", TABLE_UNIT, self._head(book))
            for book in range(self.codebooks)
        ]
        return torch.stack(logits, dim=2).flatten(1, 2)[:, : tokens.shape[1]].long()

    def _step_by_place(self, token: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """`step` where each place has several codes: the blocks compute for its first one alone."""
        place, book = divmod(cache.read, self.codebooks)
        if token is None:
            cache.place = self._start(cache.label, cache.keys.shape[1])
        else:
            before = (cache.read - 1) % self.codebooks
            row = numbered(token[:, None].to(self.device), self.vocabulary, before)[:, 0]
            read = F.embedding(row, self.weights["embedding.weight"])
            cache.place = read if before == 0 else cast(torch.Tensor, cache.place) + read
            if book:
                cache.heard = cast(torch.Tensor, cache.heard) + F.embedding(row, self.weights[SAID])
        if book == 0:
            x = (cache.place + self.weights["positions"][place]).cpu().numpy().T
            said = self._step_blocks(x, cache.keys.numpy(), cache.values.numpy(), place)
            cache.heard = torch.from_numpy(said.T).to(self.device)
        cache.read += 1
        heard = cast(torch.Tensor, cache.heard).clamp(-LARGEST, LARGEST).cpu().numpy().T
        return self._step_head(self._step_perceptron(heard, "speaker."), self._arrays["head.weight"][self._head(book)])

    def _blocks(self, x: torch.Tensor) -> torch.Tensor:
        """Activations `(B, T, width)` through all blocks, to the same."""
        unseen = self._unseen(x.shape[1])
        for block in range(self.config["depth"]):
            name = f"blocks.{block}."
            projected = self._product(self._normalize(x), name + "attention.query_key_value.weight")
            split = self._saturate(projected).unflatten(-1, (3, self.heads, self.head_width))
            query, key, value = split.permute(2, 0, 3, 1, 4)
            attended = self._attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), unseen)
            attended = attended.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
            x = self._saturate(self._product(attended, name + "attention.out.weight").add_(x))
            x = self._perceptron(x, name)
        return x

    def _perceptron(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """What a block's perceptron, or the speaker's, adds to activations."""
        hidden = self._gelu(self._saturate(self._product(self._normalize(x), name + "up.weight")))
        return self._saturate(self._product(hidden, name + "down.weight").add_(x))

    def _head(self, book: int) -> slice:
        """The rows of the head that are about a codebook."""
        return slice(book * self.vocabulary, (book + 1) * self.vocabulary)

    def _product(self, x: torch.Tensor, name: str, unit: int = UNIT, rows: slice = slice(None)) -> torch.Tensor:
        """Activations `(B, T, columns)` times a matrix, `(B, T, rows)` in units of 2^-unit."""
        return F.linear(x, self.weights[name][rows]).mul_(2.0 ** (unit - UNIT - WEIGHT_UNIT)).round_()

    def _saturate(self, x: torch.Tensor) -> torch.Tensor:
        if self.clamps is not None:
            self.clamps += int((x.abs() > LARGEST).sum())
        return x.clamp_(-LARGEST, LARGEST)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        """x · √width / √(sum of squares): activations, without the gain, at most √width."""
        root = _root((x * x).sum(-1, keepdim=True).add_(self.epsilon))
        # As |x| ≤ root, the product of x and the quotient is at most √width in units of 2^-48, and exact.
        return (x * _quotient(root.new_tensor(self._root_width), root)).mul_(2.0 ** (UNIT - ROOT_BITS)).round_()

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, unseen: torch.Tensor
    ) -> torch.Tensor:
        """Attention: query `(N, T, head_width)`, key and value `(N, S, head_width)`, unseen `(T, S) bool`."""
        # exp's table ends long before infinity, with a 0
        scores = (query @ key.mT).masked_fill_(unseen, -torch.inf)
        below = (scores.amax(-1, keepdim=True) - scores).mul_(2.0 ** (TABLE_UNIT - 2 * UNIT))
        powers = _look_up(self._exp, below)
        return _quotient(powers @ value, powers.sum(-1, keepdim=True))

    def _gelu(self, x: torch.Tensor) -> torch.Tensor:
        """GELU(x) = ReLU(x) - |x| · Φ(-|x|); the gap dies out at both ends, so that its table is short."""
        gap = _look_up(self._gap, x.abs().mul_(2.0 ** (TABLE_UNIT - UNIT)))
        return x.clamp_(min=0).sub_(gap)

    def _step_blocks(self, x: np.ndarray, keys: np.ndarray, values: np.ndarray, place: int) -> np.ndarray:
        """What `_blocks` computes, for one place alone, on columns: `(width, B)` to the same."""
        for block in range(self.config["depth"]):
            name, past_keys, past_values = f"blocks.{block}.", keys[block], values[block]
            projected = self._step_product(
                self._arrays[name + "attention.query_key_value.weight"], self._step_normalize(x)
            )
            split = saturated(projected).reshape(3, self.heads, self.head_width, -1).transpose(0, 3, 1, 2)
            query, past_keys[:, :, place], past_values[:, :, place] = split
            query = query * 2.0 ** (TABLE_UNIT - 2 * UNIT)
            scores = past_keys[:, :, : place + 1] @ query[..., None]
            powers = looked_up(self._arrays["exp"], np.subtract(scores.max(2, keepdims=True), scores, out=scores))
            sums = powers.swapaxes(2, 3) @ past_values[:, :, : place + 1]
            attended = sums.astype(np.int64) // powers.sum(2, keepdims=True).astype(np.int64)
            attended = attended.reshape(x.shape[::-1]).T.astype(np.float64)
            x = saturated(self._step_product(self._arrays[name + "attention.out.weight"], attended) + x)
            x = self._step_perceptron(x, name)
        return x

    def _step_perceptron(self, x: np.ndarray, name: str) -> np.ndarray:
        hidden = saturated(self._step_product(self._arrays[name + "up.weight"], self._step_normalize(x)))
        gap = looked_up(self._arrays["gap"], np.abs(hidden) * 2.0 ** (TABLE_UNIT - UNIT))
        hidden = np.maximum(hidden, np.float64(0)) - gap
        return saturated(self._step_product(self._arrays[name + "down.weight"], hidden) + x)

    def _step_head(self, x: np.ndarray, head: np.ndarray) -> torch.Tensor:
        """Logits `(B, vocabulary) int64` of columns `(width, B)`."""
        logits = self._step_product(head, self._step_normalize(x), TABLE_UNIT)
        return torch.from_numpy(logits.T.astype(np.int64, order="C")).to(self.device)

    def _step_product(self, matrix: np.ndarray, x: np.ndarray, unit: int = UNIT) -> np.ndarray:
        sums = matrix @ x
        sums *= 2.0 ** (unit - UNIT - WEIGHT_UNIT)
        return np.rint(sums, out=sums)

    def _step_normalize(self, x: np.ndarray) -> np.ndarray:
        roots = [math.isqrt(int(square) + self.epsilon) for square in (x * x).sum(0).tolist()]
        normalized = x * np.array([self._root_width // root * 2.0 ** (UNIT - ROOT_BITS) for root in roots])
        return np.rint(normalized, out=normalized)

    def _integers(self, prior: Prior) -> dict[str, torch.Tensor]:
        """Weights under the prior's names: those of which an input is a sum as activations, then the matrices.

        A matrix contains the gain of the norm before it, and the rows that make the query 1/√head_width too.
        """
        state = {name: weight.detach().cpu().float().double() for name, weight in prior.state_dict().items()}
        integers: dict[str, torch.Tensor] = {}
        added = [name for name in state if name in ADDED]
        # An input is start (+ class) (+ position asked), or a place's tokens (+ its place) (+ position asked).
        terms = max(3 if "positions" in state and len(added) > 3 else 2, self.codebooks + 1)
        for name in [*added, *[name for name in state if name == SAID]]:
            integers[name] = (state[name] * 2.0**UNIT).round()
            self._bound(name, terms * integers[name].abs().max().item(), LARGEST + 1)
        for name in [name for name in state if name not in integers and "norm" not in name]:
            norm = name.replace("attention.query_key_value", "attention_norm").replace("up", "mlp_norm")
            norm = norm.replace("head", "norm")
            # Exact before it is rounded, being a product of two float32 numbers; with a third it would not be.
            fine = (state[name] * (state[norm] if norm != name else 1.0) * 2.0**FINE).round()
            scale = torch.full((len(fine), 1), 2.0**SCALE_BITS, dtype=torch.float64)
            if "query" in name:
                scale[: len(fine) // 3] = math.isqrt((1 << 2 * SCALE_BITS) // self.head_width)
            integers[name] = (fine * scale * 2.0 ** (WEIGHT_UNIT - SCALE_BITS - FINE)).round()
            sums = integers[name].abs().sum(-1).max().item() * LARGEST
            self._bound(name, max(fine.abs().max().item() * 2**SCALE_BITS, sums))
        return integers

    def _bound(self, name: str, largest: float, limit: int = EXACT) -> None:
        """Note the largest value that a part of a sum can take; refuse a prior with which it reaches the limit."""
        if not largest < limit:  # so that NaN is refused
            raise FixedPointError(
                f"This prior has no twin: {name} could reach {largest:,.0f}, and must stay below "
                f"{limit:,}. Its weights are too large, or it is too wide or too long."
            )
        self.bounds[name] = int(largest)


def _root(square: torch.Tensor) -> torch.Tensor:
    """The root of integers below 2^53, rounded down, whatever `torch.sqrt` says.

    Its proposal is corrected until root² ≤ square < (root + 1)². A product that is not exact lies beyond 2^53, and is
    rounded to no less: the comparison holds there too.
    """
    root = torch.sqrt(square).round_().clamp_(0, 1 << 27)
    while True:
        above, below = root + 1, root * root > square
        change = (above * above <= square).to(square.dtype) - below.to(square.dtype)
        if not change.any():
            return root
        root += change


def _quotient(number: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    """Integers by positive integers, rounded down, whatever the last bits of `torch.div` are.

    If the quotient is less than 1/2 off, it rounds to the right integer or to the one above, which leaves a negative
    remainder.
    """
    quotient = torch.div(number, divisor).round_()
    return quotient.add_(torch.addcmul(number, quotient, divisor, value=-1).clamp_(-1, 0))


def saturated(x: np.ndarray) -> np.ndarray:
    return x.clip(np.float64(-LARGEST), np.float64(LARGEST), out=x)


def looked_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    return table.take(np.rint(index, out=index).astype(np.int64), mode="clip")


def _look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.take(index.round_().clamp_(max=len(table) - 1).long())
