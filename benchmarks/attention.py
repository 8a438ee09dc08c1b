"""Attention as `arlib.transformer` writes it out, next to torch's fused kernel: `python benchmarks/attention.py`.

The ratios are of one run; above 1 what is written out is faster. Measured are

- training: forward and backward of `CausalAttention`, with and without its two matrices, at the length and width of the
  prior `book`, against the same with `scaled_dot_product_attention` in place of its two products and the softmax;
- a step: one query after 300 keys in the cache, which the compiled step of `arlib.compiled` does as well.

Both sides get the same random input, and their outputs are compared before they are timed.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from arlib import compiled
from arlib.transformer import CausalAttention, causal_mask

WIDTH, HEADS, LENGTH, SEEN = 192, 3, 600, 300
ROUNDS = 5


class Fused(CausalAttention):
    """The same attention by the fused kernel."""

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # A mask would rule the fastest path out: a pass over a whole sequence says that it is causal instead.
        whole = query.shape[2] == key.shape[2] and query.shape[2] > 1
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=whole)
        return self.out(attended.transpose(1, 2).flatten(2))


def seconds(works: Sequence[Callable[[], object]], times: int) -> list[float]:
    """The least of some rounds of each, of so many calls; they take turns."""
    least = [math.inf] * len(works)
    for _ in range(ROUNDS):
        for which, work in enumerate(works):
            started = time.perf_counter()
            for _ in range(times):
                work()
            least[which] = min(least[which], (time.perf_counter() - started) / times)
    return least


def both() -> tuple[CausalAttention, Fused]:
    """The two, with the same weights."""
    torch.manual_seed(0)
    ours, fused = CausalAttention(WIDTH, HEADS), Fused(WIDTH, HEADS)
    fused.load_state_dict(ours.state_dict())
    return ours, fused


def training(batch_size: int) -> list[float]:
    """Seconds of a pass forward and back through the whole layer: ours, fused."""
    ours, fused = both()
    x, mask = torch.randn(batch_size, LENGTH, WIDTH), causal_mask(LENGTH, torch.empty(0))
    torch.testing.assert_close(ours(x, mask), fused(x, mask), atol=1e-4, rtol=1e-4)
    return seconds([lambda: ours(x, mask).sum().backward(), lambda: fused(x, mask).sum().backward()], 2)


def kernels(batch_size: int) -> list[float]:
    """Seconds of the products and the softmax alone, forward and back: ours, fused."""
    ours, fused = both()
    ours.out, fused.out = torch.nn.Identity(), torch.nn.Identity()  # type: ignore[assignment]
    shape = (batch_size, HEADS, LENGTH, WIDTH // HEADS)
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
    attend = [functools.partial(which._attend, query, key, value, causal_mask(LENGTH, key)) for which in (ours, fused)]
    torch.testing.assert_close(attend[0](), attend[1](), atol=1e-4, rtol=1e-4)
    return seconds([lambda: attend[0]().sum().backward(), lambda: attend[1]().sum().backward()], 2)


@torch.no_grad()
def step(batch_size: int) -> list[float]:
    """Seconds of the step of one layer: ours, fused, and compiled, which leaves the two matrices to it as well."""
    ours, fused = both()
    x, shape = torch.randn(batch_size, WIDTH), (batch_size, HEADS, LENGTH, WIDTH // HEADS)
    keys, values = torch.randn(shape), torch.randn(shape)
    given, wanted = ours.query_key_value.weight.numpy(), ours.out.weight.numpy()

    def machine_code() -> torch.Tensor:
        projected, attended = np.empty((batch_size, 3 * WIDTH), np.float32), np.empty((batch_size, WIDTH), np.float32)
        compiled.product(given, x.numpy(), projected)
        compiled.attend_floats(projected, keys.numpy(), values.numpy(), 0, SEEN, attended)
        out = np.empty_like(attended)
        compiled.product(wanted, attended, out)
        return torch.from_numpy(out)

    works = [lambda: ours.step(x, keys, values, SEEN), lambda: fused.step(x, keys, values, SEEN), machine_code]
    for work in works[1:]:
        torch.testing.assert_close(works[0](), work(), atol=1e-4, rtol=1e-4)
    return seconds(works, 200)


def main() -> None:
    torch.manual_seed(0)
    title = f"attention of width {WIDTH}, {HEADS} heads, {torch.get_num_threads()} threads"
    table = Table("", "batch", "written out", "fused", "ratio", "compiled", "ratio", title=title)
    for name, measure, sizes in (
        ("training, the layer", training, (4, 16)),
        ("training, products and softmax", kernels, (4, 16)),
        (f"a step after {SEEN} keys", step, (1, 16, 64)),
    ):
        for batch_size in sizes:
            ours, fused, *more = measure(batch_size)
            cells = [f"{1e3 * ours:.2f} ms", f"{1e3 * fused:.2f} ms", f"{fused / ours:.2f}"]
            cells += [f"{1e3 * more[0]:.2f} ms", f"{fused / more[0]:.2f}"] if more else ["", ""]
            table.add_row(name, str(batch_size), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
