"""The mismatch laboratory: how far two computations of the same probabilities agree (chapter 11).

A sender makes the range coder's tables in one way, a receiver in another. Mathematically both are the same; what counts
is whether they are the same bits.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arlib import fixedpoint, rangecoder
from arlib.fixedpoint import Twin
from arlib.tables import CODING_BITS
from arlib.transformer import Prior

CAPABILITIES = ("default", "avx2", "avx512")  # the values of ATEN_CPU_CAPABILITY, each holding those before it


class Agreement(NamedTuple):
    """Shares from 0 to 1: of logit rows that are equal, of tables that are, and of sequences that decode rightly."""

    logits: float
    tables: float
    decoded: float


def compare(
    tokens: torch.Tensor, sender: torch.Tensor, receiver: torch.Tensor, total: int = rangecoder.MAX_TOTAL
) -> Agreement:
    """What becomes of sequences `(N, T) int64`, encoded by one and decoded by the other's logits `(N, T, V)`.

    The tables sum to `total`. The receiver's logits are those after the right tokens. A real receiver goes on from what
    it has decoded, which is the same until its first wrong token, and then the sequence is lost.
    """
    equal_logits, equal_tables, decoded = [], [], []
    for sequence, *logits in zip(tokens, sender, receiver, strict=True):
        encoding, decoding = (tables(each, total) for each in logits)
        payload = rangecoder.encode(sequence, encoding)
        try:
            decoded.append(rangecoder.decode(payload, decoding) == sequence.tolist())
        except rangecoder.RangeCoderError:
            decoded.append(False)
        equal_logits.append((logits[0] == logits[1]).all(-1).double().mean().item())
        equal_tables.append((encoding == decoding).all(-1).double().mean().item())
    return Agreement(*(sum(shares) / len(tokens) for shares in (equal_logits, equal_tables, decoded)))


def tables(logits: torch.Tensor, total: int = rangecoder.MAX_TOTAL) -> torch.Tensor:
    """Frequencies `(..., V) int64` that sum to `total`, from a twin's logits (int64) or a prior's (float)."""
    if logits.is_floating_point():
        weights = (logits.double().softmax(-1) * 2.0**CODING_BITS).round().long()
    else:
        weights = fixedpoint.weights(logits)
    return rangecoder.frequencies(weights, total)


@torch.no_grad()
def cached(
    model: Prior | Twin, tokens: torch.Tensor, order: torch.Tensor | None = None, label: torch.Tensor | None = None
) -> torch.Tensor:
    """The logits `(N, T, V)` of cached steps along `(N, T) int64`, which teacher forcing gives in one pass.

    `order` and `label` are those of `Prior.new_cache`. Raises `ValueError` for a prior of scales, which has no steps.
    """
    cache = model.new_cache(len(tokens), order, label)
    return torch.stack([model.step(token, cache) for token in [None, *tokens[:, :-1].T]], dim=1)


@torch.no_grad()
def with_threads(threads: int, model: Prior | Twin, tokens: torch.Tensor) -> torch.Tensor:
    """Teacher-forced logits `(N, T, V)`, computed by this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return model(tokens)
    finally:
        torch.set_num_threads(before)


def elsewhere(prior: Prior, tokens: torch.Tensor, **environment: str) -> dict[str, torch.Tensor]:
    """Teacher-forced logits `(N, T, V)` of the "prior" and its "twin", from a process of its own.

    What torch reads from the environment at its start, as ATEN_CPU_CAPABILITY="avx2", can only be chosen so. Raises
    `subprocess.CalledProcessError` where that process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        job, answer = Path(folder) / "job", Path(folder) / "answer"
        weights = {name: weight.detach().contiguous() for name, weight in prior.state_dict().items()}
        save_file({**weights, "tokens": tokens.contiguous()}, job, metadata={"config": json.dumps(prior.config)})
        script = "import sys; from arlib import mismatch; mismatch._answer(*sys.argv[1:])"
        command = [sys.executable, "-c", script, str(job), str(answer)]
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        subprocess.run(command, env={**os.environ, **threads, **environment}, check=True, capture_output=True)
        return load_file(answer)


def capabilities() -> list[str]:
    """The values of ATEN_CPU_CAPABILITY that this machine's processor has."""
    best = torch.backends.cpu.get_cpu_capability().lower()
    return list(CAPABILITIES[: CAPABILITIES.index(best) + 1]) if best in CAPABILITIES else ["default"]


@torch.no_grad()
def laboratory(prior: Prior, tokens: torch.Tensor) -> Iterator[tuple[str, Agreement]]:
    """Rows of the chapter's table for sequences `(N, T) int64`: what differs, and how far both sides agree.

    The sender is teacher-forced, with the threads and the batch that it was called with.
    """
    twin = Twin(prior)
    sender, steps = prior(tokens), cached(prior, tokens)
    other = capabilities()[0]
    away = elsewhere(prior, tokens, ATEN_CPU_CAPABILITY=other)
    yield "float: nothing", compare(tokens, sender, prior(tokens))
    yield "float: cached steps", compare(tokens, sender, steps)
    yield "float: cached steps, 16-bit tables", compare(tokens, sender, steps, 1 << 16)
    yield "float: cached steps, logits rounded to 1/16", compare(tokens, _rounded(sender), _rounded(steps))
    yield "float: cached steps, both", compare(tokens, _rounded(sender), _rounded(steps), 1 << 16)
    yield "float: threads", compare(tokens, with_threads(1, prior, tokens), with_threads(2, prior, tokens))
    yield "float: batch of 1", compare(tokens, sender, torch.cat([prior(each) for each in tokens.split(1)]))
    yield f"float: capability {other}", compare(tokens, sender, away["prior"])
    exact = twin(tokens)
    yield "float to twin", compare(tokens, sender, exact)
    yield "twin: cached steps", compare(tokens, exact, cached(twin, tokens))
    yield "twin: threads", compare(tokens, with_threads(1, twin, tokens), with_threads(2, twin, tokens))
    yield "twin: batch of 1", compare(tokens, exact, torch.cat([twin(each) for each in tokens.split(1)]))
    yield f"twin: capability {other}", compare(tokens, exact, away["twin"])


def _rounded(logits: torch.Tensor) -> torch.Tensor:
    return (logits * 16).round() / 16


def _answer(job: str, answer: str) -> None:
    """What the other process of `elsewhere` does."""
    with safe_open(job, framework="pt") as content:
        prior = Prior(**json.loads(content.metadata()["config"])).eval()
    weights = load_file(job)
    tokens = weights.pop("tokens")
    prior.load_state_dict(weights)
    with torch.no_grad():
        save_file({"prior": prior(tokens), "twin": Twin(prior)(tokens)}, answer)
