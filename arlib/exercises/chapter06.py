"""Checkers of chapter 6, "Predicting the next token"."""

import math
from collections.abc import Callable
from typing import Any

import torch

from arlib import orders, tokenset
from arlib.data import root
from arlib.exercises import Wrong, call, checker, diagnosis, number, tensor
from arlib.training import NextTokenLoss, Settings, make_optimizers
from arlib.transformer import Prior

PATIENTS = {"A": "another unit", "B": "sees the answer", "C": "targets of other frames", "D": "large first weights"}
HINTS = {
    "another unit": "Divide its losses by ours. The quotient is the same number all along.",
    "sees the answer": "No count and no prior in this chapter gets below 3 bits, and this one did in a few steps.",
    "targets of other frames": "It learns how frequent tokens are, 7 to 8 bits, and nothing from the frame it reads.",
    "large first weights": "Its first loss is far above log2 1024: it is sure of itself before it has learned a thing.",
}


@checker
def interpolated(answer: Callable) -> str:
    """Exercise 1: all rows of a smoothed table of counts, from counts and the distribution to fall back on."""
    for contexts, codes, discount in ((6, 5, 0.75), (3, 8, 0.5), (1, 4, 0.9)):
        counts = torch.poisson(torch.full((contexts, codes), 1.2)).long()
        counts[:, 0] += 2  # no row but the one below is empty
        counts[0, -1] = 0  # and some token is new in a row
        if contexts > 1:
            counts[-1] = 0
        lower = torch.rand(codes, dtype=torch.float64) + 0.1
        lower /= lower.sum()
        given = tensor(call(answer, counts, lower, discount), (contexts, codes)).double()
        right = _interpolated(counts, lower, discount)
        seen = counts.sum(1) > 0
        if not given.isfinite().all():
            raise Wrong("a row without any counts gives NaN: 0 / 0. Where nothing was seen, what do you fall back on?")
        if (given < 0).any():
            raise Wrong("there is a negative probability: a count of 0 has nothing that the discount could take.")
        off = (given[seen].sum(1) - 1).abs()
        if off.max() > 1e-5:
            total = given[seen].sum(1)[off.argmax()].item()
            raise Wrong(
                f"a row adds up to {total:.3f}, not to 1. You take {discount} from each *kind* of token that was seen; "
                "all of it has to be given out again."
            )
        if not torch.allclose(given[~seen], lower, atol=1e-6):
            raise Wrong("a context without any counts knows nothing of its own: its row is `lower`.")
        uniform = _interpolated(counts, torch.full_like(lower, 1 / codes), discount)
        if torch.allclose(given[seen], uniform[seen], atol=1e-6) and not torch.allclose(right, uniform, atol=1e-4):
            raise Wrong("what you take is given to all tokens in equal parts. Give it out as `lower` says.")
        for added in (
            torch.ones_like(lower),
            discount * torch.ones_like(lower),
            lower,
            codes * lower,
            discount * lower,
        ):
            if torch.allclose(given[seen], ((counts + added) / (counts + added).sum(1, keepdim=True))[seen], atol=1e-6):
                raise Wrong(
                    "you add something to every count. Here the same d is taken from each count that isn't zero, "
                    "and what that brings in is given out as `lower` says."
                )
        if not torch.allclose(given, right, atol=1e-6):
            row, code = divmod(int((given - right).abs().argmax()), codes)
            raise Wrong(
                f"for the counts {counts[row].tolist()}, lower = {[round(p, 3) for p in lower.tolist()]} and a "
                f"discount of {discount}, token {code} has {right[row, code]:.4f}, and not {given[row, code]:.4f}."
            )
    return "every row adds up to 1, and no token is impossible."


@checker
def rows_above(answer: Callable) -> str:
    """Exercise 2: which row holds the token above the one that a row is asked for."""
    for height, width in ((2, 3), (20, 30), (5, 4), (3, 1)):
        length = height * width
        given = tensor(call(answer, height, width), (length,))
        if given.dtype.is_floating_point or given.dtype == torch.bool:
            raise Wrong(f"rows are numbers of the dtype int64, and these are {given.dtype}.")
        right = torch.arange(length) - width + 1
        right[:width] = -1
        below = slice(width, None)
        if torch.equal(given, right):
            continue
        if torch.equal(given[below], torch.arange(length)[below] - width):
            raise Wrong(
                f"in a grid of {height} × {width} your row {width} looks at row 0, which reads the start vector. "
                "The tokens enter shifted by one: which row reads token 0?"
            )
        if (given > torch.arange(length)).any():
            raise Wrong("a row looks at a later row: the mask forbids it.")
        if torch.equal(given[below], right[below]):
            raise Wrong(f"the first {width} tokens have nothing above them: their entries are -1.")
        place = int((given != right).nonzero()[0])
        above = f"The token above it is read by row {int(right[place])}"
        if place < width:
            above = "Nothing is above it, so -1 is asked for"
        raise Wrong(
            f"for a grid of {height} × {width}, row {place} is asked for token {place}. {above}, and yours is "
            f"{int(given[place])}."
        )
    return "one row less than you would think, because of the shift."


def clinic(steps: int = 41) -> dict[str, list[float]]:
    """Losses of four small priors in training, and of a healthy one: what the four suffer from is exercise 3."""
    tokens = tokenset.read(root() / "tokens" / "train.tokens").grids[::4, :2]
    sequences = orders.raster(tokens)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return {name: _losses(sequences, name, steps) for name in ("healthy", *PATIENTS)}


@checker
def first_losses(answer: Any) -> str:
    """Exercise 3: what is wrong with four trainings, by their losses."""
    diagnosis(answer, PATIENTS, HINTS)
    return "a look at the first loss, and one at what is possible, and no training runs for a night in vain."


@checker
def perplexity(answer: Callable) -> str:
    """Exercise 4: the perplexity of surprises in bits, `(N, T)`."""
    for bits in (torch.tensor([[1.0, 3.0]]), torch.rand(5, 7) * 8, torch.tensor([[0.0, 0.0], [6.0, 6.0]])):
        result, mean = call(answer, bits), bits.mean().item()
        if isinstance(result, torch.Tensor) and result.numel() > 1:
            raise Wrong(f"one number is asked for, over all tokens of all frames, and these are {result.numel()}.")
        given = number(result)
        if math.isclose(given, 2**mean, rel_tol=1e-4):
            continue
        if math.isclose(given, math.exp(mean), rel_tol=1e-4):
            raise Wrong("that is e to the mean. These surprises are in bits.")
        if math.isclose(given, (2**bits).mean().item(), rel_tol=1e-4):
            raise Wrong(
                "that is the mean of 2^bits: a single token of 20 bits would count as much as a million others."
            )
        if math.isclose(given, (2 ** bits.mean(1)).mean().item(), rel_tol=1e-4):
            raise Wrong(
                "that is the mean of each frame's perplexity. Take the mean of the bits first, over all tokens."
            )
        if math.isclose(given, 2**-mean, rel_tol=1e-4):
            raise Wrong("that is below 1: a surprise is −log2 of a probability already, so its sign is right as it is.")
        if math.isclose(given, 2 ** bits.sum().item(), rel_tol=1e-4):
            raise Wrong("that is 2 to the sum, and grows with the number of tokens. Take the mean of the bits.")
        if math.isclose(given, mean, rel_tol=1e-4):
            raise Wrong("that is the mean in bits. How many equally likely tokens would surprise as much?")
        raise Wrong(f"for the surprises {bits[0].tolist()} … it is {2**mean:.3f}, and yours is {given:.3f}.")
    return "as surprising as a fair die with that many sides."


@checker
def parameters(answer: Callable) -> str:
    """Exercise 5: how many weights a prior has."""
    # In the first, no two of the amounts below are the same.
    for vocabulary, length, width, depth in ((11, 7, 6, 2), (1024, 600, 64, 2), (50, 9, 8, 3)):
        given = number(call(answer, vocabulary, length, width, depth))
        prior = Prior(vocabulary, length, width, depth, heads=1)
        right = sum(parameter.numel() for parameter in prior.parameters())
        if given == right:
            continue
        norms = (2 * depth + 1) * width
        missing = {
            vocabulary
            * width: "a table as large as the embedding. The head is not the embedding turned over, it has its own",
            length * width: "as many as the positions have",
            width: "as many as the start vector has, or the norm before the head",
            norms: "as many as all norms together have: two a block, and one before the head",
            norms + width: "as many as the norms and the start vector have",
            8 * width * width * depth: "what the perceptrons have: width to 4 · width, and back",
            width * width * depth: "one matrix in each block: what is read from the heads goes through one more",
        }
        for amount, what in missing.items():
            if given == right - amount:
                raise Wrong(f"there are {right:,} and you count {amount:,} too few, {what}.")
        biases = 9 * width * depth
        extra = {
            norms: "as if each norm had a shift, too. It only scales: one weight for each number of a row",
            biases: "what biases would have. No matrix here has one: see `attention` and `perceptron`",
            biases + vocabulary: "what biases would have. No matrix here has one: see `attention` and `perceptron`",
        }
        for amount, what in extra.items():
            if given == right + amount:
                raise Wrong(f"there are {right:,} and you count {amount:,} too many, {what}.")
        if given == right - (depth - 1) * (12 * width**2 + 2 * width):
            raise Wrong(f"you count one block, and there are {depth}, each with weights of its own.")
        raise Wrong(
            f"Prior({vocabulary}, {length}, {width}, {depth}) has {right:,} weights, and you count {given:,.0f}."
        )
    return "nothing is hidden: that is all there is to learn."


def _interpolated(counts: torch.Tensor, lower: torch.Tensor, discount: float) -> torch.Tensor:
    total, kinds = counts.sum(1, keepdim=True).double(), (counts > 0).sum(1, keepdim=True)
    smoothed = ((counts - discount).clamp(min=0) + discount * kinds * lower) / total.clamp(min=1)
    return torch.where(total > 0, smoothed, lower)


def _losses(sequences: torch.Tensor, name: str, steps: int) -> list[float]:
    torch.manual_seed(0)
    prior = Prior(1024, sequences.shape[1], width=32, depth=1, heads=1, shift=name != "B")
    if name == "D":
        for parameter in (prior.embedding.weight, prior.head.weight):
            parameter.data *= 40
    loss, settings = NextTokenLoss(prior), Settings(steps, 16, 1e-2)
    optimizers, losses = make_optimizers(loss, settings), []
    for step in range(steps):
        batch = sequences[torch.randint(len(sequences), (settings.batch_size,))]
        if name == "C":
            logits = prior(batch)
            value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.roll(1, 0).flatten()) / math.log(2)
        else:
            value = loss(batch) * (math.log(2) if name == "A" else 1)
        for optimizer in optimizers:
            optimizer.zero_grad()
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
        if step % 10 == 0:
            losses.append(value.item())
    return losses
