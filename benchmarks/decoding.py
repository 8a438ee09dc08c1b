"""How fast a frame is decoded: `python benchmarks/decoding.py [--prior book]`.

The ratios are of one run; above 1 we are faster.

Decoding is 600 steps of the prior, each from the token before it. Our integer twin with its cache is measured beside

- the same twin without a cache: 600 full passes, each over all tokens so far (every tenth is run, counted ten times);
- our float prior with its cache;
- `generate` of Hugging Face's transformers with its cache, on a GPT-2 of the same depth, width, heads, vocabulary and
  length with random weights, greedily;
- the floor: each of the twin's matrices is read by one matrix–vector product a step, and nothing else is done.

All in this process, with the same threads, for a batch of 1 and one of 16. The steps alone are measured: no tables, no
range coder. transformers is what only this script needs: see requirements.txt in this folder.
"""

import math
import time
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

import arlib
from arlib.fixedpoint import Twin

NAIVE_EVERY = 10
ROUNDS = 6


def seconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least of a few runs of each; they take turns, so that what else the machine does slows none alone."""
    least = dict.fromkeys(works, math.inf)
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - started)
    return least


def cached_steps(prior: arlib.Prior | Twin, tokens: torch.Tensor) -> None:
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


def main(prior: Annotated[str, typer.Option(help="Name or file of the prior.")] = "book") -> None:
    """Print a table for each batch size."""
    console = Console()
    model = arlib.load_prior(prior)
    twin = Twin(model)
    gpt2 = gpt2_of_the_size_of(model)
    with torch.no_grad():
        for batch_size in (1, 16):
            console.print(compare(model, twin, gpt2, batch_size))


def compare(model: arlib.Prior, twin: Twin, gpt2: GPT2LMHeadModel, batch_size: int) -> Table:
    """One row for each of the others."""
    tokens = torch.randint(model.vocabulary, (batch_size, model.length))
    start = torch.zeros(batch_size, 1, dtype=torch.int64)
    times = seconds(
        {
            "the twin": lambda: cached_steps(twin, tokens),
            "Hugging Face generate": lambda: gpt2.generate(start, max_new_tokens=model.length, do_sample=False),
            "our float prior": lambda: cached_steps(model, tokens),
            "the floor": lambda: floor(twin, batch_size),
        }
    )
    ours = times.pop("the twin")
    others = {"the twin without a cache": full_passes(twin, tokens), **times}
    title = f"batch {batch_size}, {torch.get_num_threads()} threads: the twin decodes in {ours:.2f} s"
    table = Table("beside", "seconds", "twin is faster by", title=title)
    for name, other in others.items():
        table.add_row(name, f"{other:.2f}", f"{other / ours:.2f}×")
    return table


if __name__ == "__main__":
    typer.run(main)
