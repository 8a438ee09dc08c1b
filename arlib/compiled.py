"""Steps as machine code, for those who sample or decode much: the same integers, several times as fast (chapter 11).

A step is little arithmetic on much memory, cut into hundreds of calls. Here numba makes machine code of all of them
together, and the weights, keys and values of a twin are kept in float32. A twin's integers are those of
`arlib.fixedpoint`, as none of its sums depends on its order. A prior's floats may differ in their last bits from those
of its own `step`.

This room alone needs numba (`pip install numba`). On a machine's first use it compiles for some seconds; what comes out
is kept in `__pycache__`. Eight sequences or more are computed on several cores. `torch.set_num_threads(1)` helps then:
torch's own threads wait for their next turn by spinning, and take these cores from the steps.
"""

import functools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from arlib.fixedpoint import LARGEST, ROOT_BITS, UNIT, WEIGHT_UNIT, Twin
from arlib.tables import TABLE_UNIT
from arlib.transformer import Cache, Prior

try:
    import numba
except ImportError:
    raise ImportError("arlib.compiled needs numba, as nothing else does. Install it: pip install numba") from None

# A sum may be taken in any order, and a product and a sum be one instruction. Nothing else is relaxed.
machine_code = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})

LIMIT = float(LARGEST)
SCORES = 2.0 ** (TABLE_UNIT - 2 * UNIT)  # from the unit of a score to that of the tables
ENTRIES = 2.0 ** (TABLE_UNIT - UNIT)  # from that of an activation
GAINS = ("attention_norm", "mlp_norm")
MATRICES = ("attention.query_key_value", "attention.out", "up", "down")


@machine_code
def product(matrix, x, out):
    """A matrix `(rows, columns)` times vectors `(B, columns)`, to `out (B, rows)`.

    Four vectors meet a row of the matrix at once: each number that is read from it serves all four.
    """
    zero, row, four = x.dtype.type(0), np.empty(matrix.shape[1], x.dtype), len(x) // 4 * 4
    for r in range(len(matrix)):
        for c in range(len(row)):
            row[c] = matrix[r, c]
        for b in range(0, four, 4):
            first, second, third, fourth = zero, zero, zero, zero
            for c in range(len(row)):
                first += row[c] * x[b, c]
                second += row[c] * x[b + 1, c]
                third += row[c] * x[b + 2, c]
                fourth += row[c] * x[b + 3, c]
            out[b, r], out[b + 1, r], out[b + 2, r], out[b + 3, r] = first, second, third, fourth
        for b in range(four, len(x)):
            total = zero
            for c in range(len(row)):
                total += row[c] * x[b, c]
            out[b, r] = total


@machine_code
def scores(query, keys, out):
    """A query `(head_width,)` times the first keys of `(length, head_width)`, to `out (seen,)`."""
    for row in range(len(out)):
        total = query.dtype.type(0)
        for i in range(len(query)):
            total += query[i] * keys[row, i]
        out[row] = total


@machine_code
def mixed(powers, values, out):
    """The first values of `(length, head_width)`, each times its power `(seen,)`, added up: `out (head_width,)`."""
    out[:] = 0
    for row in range(len(powers)):
        for i in range(len(out)):
            out[i] += powers[row] * values[row, i]


@machine_code
def saturated(x):
    return min(max(x, -LIMIT), LIMIT)


@machine_code
def product_of_integers(matrix, x, unit, out):
    product(matrix, x, out)
    for b in range(len(out)):
        for r in range(out.shape[1]):
            out[b, r] = np.rint(out[b, r] * unit)


@machine_code
def normalize_integers(x, root_width, epsilon, out):
    for b in range(len(x)):
        square = np.int64(epsilon)
        for i in range(x.shape[1]):
            square += np.int64(x[b, i]) * np.int64(x[b, i])
        root = np.int64(math.sqrt(np.float64(square)))
        while root * root > square:
            root -= 1
        while (root + 1) * (root + 1) <= square:
            root += 1
        quotient = np.float64(root_width // root) * 2.0 ** (UNIT - ROOT_BITS)
        for i in range(x.shape[1]):
            out[b, i] = np.rint(x[b, i] * quotient)


@machine_code
def attend_integers(projected, keys, values, first, place, exp, out):
    heads, head_width = keys.shape[1], keys.shape[3]
    powers, total = np.empty(place + 1), np.empty(head_width)
    for b in range(len(projected)):
        split = projected[b].reshape(3, heads, head_width)
        for head in range(heads):
            past_keys, past_values = keys[first + b, head], values[first + b, head]
            for i in range(head_width):
                past_keys[place, i] = saturated(split[1, head, i])
                past_values[place, i] = saturated(split[2, head, i])
                split[0, head, i] = saturated(split[0, head, i]) * SCORES
            scores(split[0, head], past_keys, powers)
            largest = powers.max()
            for row in range(place + 1):
                powers[row] = exp[min(np.int64(np.rint(largest - powers[row])), len(exp) - 1)]
            mixed(powers, past_values, total)
            divisor = np.int64(powers.sum())
            for i in range(head_width):
                out[b, head * head_width + i] = np.int64(total[i]) // divisor


@machine_code
def add_integers(x, more):
    for b in range(len(x)):
        for i in range(x.shape[1]):
            x[b, i] = saturated(x[b, i] + more[b, i])


@machine_code
def gelu_integers(x, gap):
    for b in range(len(x)):
        for i in range(x.shape[1]):
            value = saturated(x[b, i])
            x[b, i] = max(value, 0.0) - gap[min(np.int64(np.rint(abs(value) * ENTRIES)), len(gap) - 1)]


@machine_code
def step_integers(x, matrices, keys, values, first, place, exp, gap, root_width, epsilon):
    """What `Twin._step_blocks` computes, on rows `x (B, width)`, in place; `first` is the first row's in the cache."""
    normalized, hidden = np.empty_like(x), np.empty((len(x), 4 * x.shape[1]))
    projected, added = np.empty((len(x), 3 * x.shape[1])), np.empty_like(x)
    unit = 2.0**-WEIGHT_UNIT
    for block in range(len(keys)):
        normalize_integers(x, root_width, epsilon, normalized)
        product_of_integers(matrices[0][block], normalized, unit, projected)
        attend_integers(projected, keys[block], values[block], first, place, exp, normalized)
        product_of_integers(matrices[1][block], normalized, unit, added)
        add_integers(x, added)
        normalize_integers(x, root_width, epsilon, normalized)
        product_of_integers(matrices[2][block], normalized, unit, hidden)
        gelu_integers(hidden, gap)
        product_of_integers(matrices[3][block], hidden, unit, added)
        add_integers(x, added)


@machine_code
def normalize_floats(x, gain, out):
    for b in range(len(x)):
        square = np.float32(0)
        for i in range(x.shape[1]):
            square += x[b, i] * x[b, i]
        factor = np.float32(1 / math.sqrt(square / x.shape[1] + 1e-5))
        for i in range(x.shape[1]):
            out[b, i] = x[b, i] * factor * gain[i]


@machine_code
def attend_floats(projected, keys, values, first, place, out):
    heads, head_width = keys.shape[1], keys.shape[3]
    powers, scale = np.empty(place + 1, np.float32), np.float32(1 / math.sqrt(head_width))
    for b in range(len(projected)):
        split = projected[b].reshape(3, heads, head_width)
        for head in range(heads):
            past_keys, past_values = keys[first + b, head], values[first + b, head]
            past_keys[place], past_values[place] = split[1, head], split[2, head]
            scores(split[0, head], past_keys, powers)
            largest, total = powers.max(), np.float32(0)
            for row in range(place + 1):
                powers[row] = math.exp((powers[row] - largest) * scale)
                total += powers[row]
            powers /= total
            mixed(powers, past_values, out[b, head * head_width : (head + 1) * head_width])


@machine_code
def gelu_floats(x):
    half, root = np.float32(0.5), np.float32(math.sqrt(0.5))
    for b in range(len(x)):
        for i in range(x.shape[1]):
            x[b, i] = half * x[b, i] * (np.float32(1) + math.erf(x[b, i] * root))


@machine_code
def step_floats(x, matrices, gains, keys, values, first, place):
    """What the blocks of `Prior.step` compute, on rows `x (B, width)`, in place."""
    normalized, hidden = np.empty_like(x), np.empty((len(x), 4 * x.shape[1]), np.float32)
    projected, added = np.empty((len(x), 3 * x.shape[1]), np.float32), np.empty_like(x)
    for block in range(len(keys)):
        normalize_floats(x, gains[0][block], normalized)
        product(matrices[0][block], normalized, projected)
        attend_floats(projected, keys[block], values[block], first, place, normalized)
        product(matrices[1][block], normalized, added)
        x += added
        normalize_floats(x, gains[1][block], normalized)
        product(matrices[2][block], normalized, hidden)
        gelu_floats(hidden)
        product(matrices[3][block], hidden, added)
        x += added


class CompiledTwin(Twin):
    """The twin of a prior on the CPU, the same integers, with a compiled `step`."""

    def __init__(self, prior: Prior):
        super().__init__(prior)
        # Half the memory: float32 holds a weight exactly, since `Twin` refuses a prior with one of 2^23 units or more.
        self._arrays["head.weight"] = self._arrays["head.weight"].astype(np.float32)
        stacks = [stacked(self._arrays, name, prior.config["depth"]) for name in MATRICES]
        self._matrices = tuple(stack.astype(np.float32) for stack in stacks)

    def new_cache(self, batch_size: int, order: torch.Tensor | None = None, label: torch.Tensor | None = None) -> Cache:
        """As of any twin, but in float32, which holds an activation exactly: it stays below 2^22."""
        cache = super().new_cache(batch_size, order, label)
        cache.keys, cache.values = cache.keys.float(), cache.values.float()
        return cache

    def _step_blocks(self, x: np.ndarray, keys: np.ndarray, values: np.ndarray, place: int) -> np.ndarray:
        rows = np.array(x.T, order="C")
        fixed = self._arrays["exp"], self._arrays["gap"], self._root_width, self.epsilon

        def work(first: int, end: int) -> None:
            step_integers(rows[first:end], self._matrices, keys, values, first, place, *fixed)

        in_parts(len(rows), work)
        return rows.T

    def _step_product(self, matrix: np.ndarray, x: np.ndarray, unit: int = UNIT) -> np.ndarray:
        out = np.empty((x.shape[1], len(matrix)))
        product_of_integers(matrix, np.ascontiguousarray(x.T), 2.0 ** (unit - UNIT - WEIGHT_UNIT), out)
        return out.T


class CompiledPrior(Prior):
    """A prior on the CPU in float32, with the weights of another and a compiled `step`: `CompiledPrior.of(prior)`."""

    matrices: tuple[np.ndarray, ...]
    gains: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, prior: Prior) -> "CompiledPrior":
        made = cls.from_config(prior.config)
        made.load_state_dict(prior.state_dict())
        arrays, depth = {name: weight.numpy() for name, weight in made.state_dict().items()}, prior.config["depth"]
        made.matrices = tuple(stacked(arrays, name, depth) for name in MATRICES)
        made.gains = tuple(stacked(arrays, name, depth) for name in GAINS)
        return made.eval().requires_grad_(False)

    def _step_blocks(self, x: torch.Tensor, cache: Cache, place: int) -> torch.Tensor:
        rows, keys, values = x.numpy().copy(), cache.keys.numpy(), cache.values.numpy()

        def work(first: int, end: int) -> None:
            step_floats(rows[first:end], self.matrices, self.gains, keys, values, first, place)

        in_parts(len(rows), work)
        return torch.from_numpy(rows)


def stacked(arrays: Mapping[str, np.ndarray], name: str, depth: int) -> np.ndarray:
    """The weights of that name of all blocks, `(depth, …)`."""
    return np.stack([arrays[f"blocks.{block}.{name}.weight"] for block in range(depth)])


def in_parts(count: int, work: Callable[[int, int], None]) -> None:
    """Do the work on parts of a batch, first and end, at the same time, on as many threads as numba may use."""
    parts = max(1, min(numba.get_num_threads(), count // 4))
    ends = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        work(0, count)
    else:
        list(_threads(parts).map(work, ends[:-1], ends[1:]))


@functools.cache
def _threads(parts: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(parts)
