"""How fast a frame is decoded and sampled: `python benchmarks/decoding.py [--prior book]`.

The ratios are of one run; above 1 we are faster.

Decoding is 600 steps of the prior's integer twin, each from the token before it, for a batch of 1 and one of 16. The
steps alone are measured: no tables, no range coder. Beside `arlib.compiled.CompiledTwin` and the twin without numba are

- `generate` of Hugging Face's transformers with its cache, on a GPT-2 of the same depth, width, heads, vocabulary and
  length with random weights, greedily;
- the twin without a cache: a full pass over all tokens so far for each token (twelve are run, and counted fifty times);
- the floor: each of the twin's matrices is read by one matrix–vector product a step, and nothing else is done.

Sampling is `arlib.sampling.generate` of the prior itself, its draws from the distribution too, for a batch of 1, 16 and
64. Beside the compiled prior and the prior as it is stand Hugging Face's `generate`, sampling from all tokens, and the
floor: each number of the weights and of the keys and values so far is added up once a step, and nothing else is done.

All in this process and with as many threads; compiled steps have threads of their own, and torch has one meanwhile.
transformers is what only this script needs: see requirements.txt in this folder.
"""

import math
import time
from collections.abc import Callable
from typing import Annotated

import numba
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

import arlib
from arlib import sampling
from arlib.compiled import CompiledPrior, CompiledTwin
from arlib.fixedpoint import Twin

NAIVE_EVERY = 50
ROUNDS = 3
HUGGING_FACE = "Hugging Face generate"


def seconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least of a few runs of each; they take turns, so that what else the machine does slows none alone."""
    least = dict.fromkeys(works, math.inf)
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - started)
    return least


def with_one_thread(work: Callable[[], object]) -> Callable[[], None]:
    """The same work, while torch has one thread."""

    def alone() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        work()
        torch.set_num_threads(threads)

    return alone


def cached_steps(prior: Twin, tokens: torch.Tensor) -> None:
    """All steps of a decoder that already knows what will come out."""
    cache = prior.new_cache(len(tokens))
    for position in range(prior.length):
        prior.step(tokens[:, position - 1] if position else None, cache)


def full_passes(twin: Twin, tokens: torch.Tensor) -> float:
    """Seconds for a pass over the first token, the first two, and so on."""
    started = time.perf_counter()
    for length in range(NAIVE_EVERY, twin.length + 1, NAIVE_EVERY):
        twin(tokens[:, :length])
    return (time.perf_counter() - started) * NAIVE_EVERY


def floor(twin: Twin, batch_size: int) -> None:
    """Each matrix once a step."""
    matrices = [weight for name, weight in twin.weights.items() if name.endswith("weight") and "embedding" not in name]
    inputs = [weight.new_ones(batch_size, weight.shape[1]) for weight in matrices]
    for _ in range(twin.length):
        for weight, vector in zip(matrices, inputs, strict=True):
            F.linear(vector, weight)


def read_all(prior: arlib.Prior, batch_size: int) -> None:
    """What a step can't do without: the weights, and the keys and values so far, are read."""
    cache, matrices = prior.new_cache(batch_size), [weight for weight in prior.parameters() if weight.dim() == 2]
    for position in range(prior.length):
        for weight in matrices:
            weight.sum()
        cache.keys[..., : position + 1, :].sum()
        cache.values[..., : position + 1, :].sum()


def gpt2_of_the_size_of(prior: arlib.Prior) -> GPT2LMHeadModel:
    config = prior.config
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config["vocabulary"],
            n_positions=config["length"] + 1,
            n_embd=config["width"],
            n_layer=config["depth"],
            n_head=config["heads"],
            bos_token_id=0,
            eos_token_id=None,
        )
    ).eval()


def main(
    prior: Annotated[str, typer.Option(help="Name or file of the prior.")] = "book",
    threads: Annotated[int, typer.Option(help="Threads of each; all that torch takes by itself, if left out.")] = 0,
) -> None:
    """Print a table for each batch size."""
    if threads:
        torch.set_num_threads(threads)
        numba.set_num_threads(threads)
    console = Console()
    model = arlib.load_prior(prior)
    gpt2 = gpt2_of_the_size_of(model)
    with torch.no_grad():
        for batch_size in (1, 16):
            console.print(decoding(model, gpt2, batch_size))
        for batch_size in (1, 16, 64):
            console.print(sampled(model, gpt2, batch_size))


def decoding(model: arlib.Prior, gpt2: GPT2LMHeadModel, batch_size: int) -> Table:
    """One row for each way to decode."""
    twin, fast = Twin(model), CompiledTwin(model)
    tokens = torch.randint(model.vocabulary, (batch_size, model.length))
    start = torch.zeros(batch_size, 1, dtype=torch.int64)
    cached_steps(fast, tokens[:, :1].expand(-1, model.length))  # compiled, or read from where that is kept
    times = seconds(
        {
            "the compiled twin": with_one_thread(lambda: cached_steps(fast, tokens)),
            "the twin": lambda: cached_steps(twin, tokens),
            HUGGING_FACE: lambda: gpt2.generate(start, max_new_tokens=model.length, do_sample=False),
            "the floor": lambda: floor(twin, batch_size),
        }
    )
    times["the twin without a cache"] = full_passes(twin, tokens)
    return table(f"decoding, batch {batch_size}", times)


def sampled(model: arlib.Prior, gpt2: GPT2LMHeadModel, batch_size: int) -> Table:
    """One row for each way to sample."""
    fast, start = CompiledPrior.of(model), torch.zeros(batch_size, 1, dtype=torch.int64)
    sampling.generate(fast, 1)
    times = seconds(
        {
            "the compiled prior": with_one_thread(lambda: sampling.generate(fast, batch_size)),
            "the prior": lambda: sampling.generate(model, batch_size),
            HUGGING_FACE: lambda: gpt2.generate(start, max_new_tokens=model.length, do_sample=True, top_k=0),
            "the floor": lambda: read_all(model, batch_size),
        }
    )
    return table(f"sampling, batch {batch_size}", times)


def table(title: str, times: dict[str, float]) -> Table:
    """Seconds of each, and how many times as fast as Hugging Face's it is."""
    table = Table("", "seconds", "times as fast as\nHugging Face", title=f"{title}, {torch.get_num_threads()} threads")
    for name, time_taken in times.items():
        table.add_row(name, f"{time_taken:.2f}", f"{times[HUGGING_FACE] / time_taken:.2f}×")
    return table


if __name__ == "__main__":
    typer.run(main)
