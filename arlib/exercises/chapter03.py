"""Checkers of chapter 3, "Vector quantization"."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from arlib import exercises
from arlib.exercises import Wrong, call, checker, number, tensor
from arlib.quantizers import VQ

K = 1024
Patient = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _nearest(z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return torch.cdist(z.detach(), codes.detach()).argmin(-1)


def _a(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    loss = 0.25 * F.mse_loss(q, z.detach()) + F.mse_loss(z, q.detach())
    return z + (q - z).detach(), loss


def _b(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    q = z + (q - z).detach()
    return q, F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())


def _c(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
    return z - z.detach() + q, loss


def _d(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    loss = F.mse_loss(z.detach(), q) + 0.25 * F.mse_loss(q.detach(), z)
    return q.detach() + (z - z.detach()), loss


def _e(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
    return q + (z - z).detach(), loss


def _f(z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q = codes[_nearest(z, codes)]
    loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z.detach(), q.detach())
    return z + (q - z).detach(), loss


PATIENTS: dict[str, Patient] = {"A": _a, "B": _b, "C": _c, "D": _d, "E": _e, "F": _f}
DISEASES = {"A": "swapped", "B": "late loss", "C": "leak", "D": "healthy", "E": "no copy line", "F": "no commitment"}
HINTS = {
    "swapped": "Compare the sizes: how large is the loss's gradient at z, how large at the codes?",
    "late loss": "What of its loss reaches the codes?",
    "leak": "What of q's gradient reaches the codes?",
    "healthy": "Nothing is wrong with its gradients: q's goes to z alone, the loss's to both, codes at full weight.",
    "no copy line": "What of q's gradient reaches z?",
    "no commitment": "What of its loss reaches z?",
}


@checker
def diagnosis(answer: Any) -> str:
    """Exercise 1: which bug each of six quantizers has, by its gradients."""
    exercises.diagnosis(answer, DISEASES, HINTS)
    return "all six, by their gradients; none of them can be told by the value of q."


@checker
def split(answer: Callable) -> str:
    """Exercise 2: unused codes are put next to the most used ones."""
    for size, dim, unused in ((4, 2, 1), (12, 3, 5), (40, 10, 20), (7, 1, 0)):
        codes, step = torch.randn(size, dim), 0.2 * torch.rand(dim) + 0.1
        counts = torch.randperm(1000)[:size] + 1
        counts[torch.randperm(size)[:unused]] = 0
        given = (codes.clone(), counts.clone(), step.clone())
        case = f"for counts {counts.tolist()}" if size < 8 else f"for {size} codes, {unused} of them unused,"
        if callable(answer):
            try:
                found = answer(*given)
            except (Exception, SystemExit) as error:
                raise Wrong(f"{case} your function raised {type(error).__name__}: {error}.") from error
        else:
            found = call(answer)
        if found is None or found is ...:
            raise Wrong("your function returns nothing yet. Fill in its body, and end it with a return.")
        if not torch.equal(given[0], codes):
            raise Wrong("the codes that came in have been changed; clone them first.")
        if not torch.equal(given[1], counts):
            raise Wrong("the counts that came in have been changed.")
        if not torch.equal(given[2], step):
            raise Wrong("the step that came in has been changed.")
        found = tensor(found, (size, dim), codes.dtype)
        dead = (counts == 0).nonzero().flatten()
        order = counts.argsort(descending=True)
        crowded = order[: len(dead)]
        if torch.allclose(found, _split(codes, dead, crowded, step), atol=1e-6):
            continue
        moved = codes.clone()
        moved[crowded] -= step
        late = moved.clone()
        late[dead] = moved[crowded] + step
        still = codes.clone()
        still[dead] = codes[crowded] + step
        mistakes = [
            (codes, "nothing has moved."),
            (_split(codes, dead, counts.argsort()[: len(dead)], step), "sort the other way: most used first."),
            (_split(codes, dead, crowded[:1].expand(len(dead)), step), "all unused codes went to the most used one."),
            (_split(codes, dead, crowded, -step), "the sign of the step is the other way round."),
            (_split(codes, dead, crowded.flip(0), step), "the pairs are in the opposite order."),
            (_split(codes, dead, order[1 : len(dead) + 1], step), "the most used code has been left out."),
            (_split(codes, dead[:1], crowded[:1], step), "only the first pair has been made."),
            (
                _split(codes, dead, crowded, step[:1]),
                "every number got the step's first one; a step is a whole vector.",
            ),
            (late, "the unused code starts from where the used one *was*, not from where it has moved to."),
            (still, "the unused codes are right, but the used code of each pair has to move, too, by -step."),
        ]
        for wrong, reason in mistakes:
            if torch.allclose(found, wrong, atol=1e-6):
                raise Wrong(f"{case} {reason}")
        at = int((found - _split(codes, dead, crowded, step)).abs().sum(-1).argmax())
        right = _split(codes, dead, crowded, step)[at]
        raise Wrong(f"{case} code {at} is at {_short(found[at])} and should be at {_short(right)}.")
    return "every empty cell has half of a crowded one."


@checker
def tokens_needed(answer: Any) -> str:
    """Exercise 3: how many uniform tokens show 99 % of 1024 codes, in expectation."""
    right = math.ceil(math.log(0.01) / math.log1p(-1 / K))
    given = number(answer)
    mistakes = {
        1014: "that many tokens cannot show 99 % of the codes unless no code comes twice.",
        1024: "among 1024 tokens many codes come twice, and others not at all.",
        right - 1: "with one token less the share is still below 99 %.",
        7690: "that is how long all codes take, on average; 99 % is less.",
        7689: "that is how long all codes take, on average; 99 % is less.",
        math.ceil(math.log(0.99) / math.log1p(-1 / K)): "that is where one percent is seen, not 99.",
        math.ceil(math.log(0.01 / K) / math.log1p(-1 / K)): "that is where a hundredth of *one code* is missing.",
    }
    if given in mistakes:
        raise Wrong(mistakes[int(given)])
    if right - 1 < given < right:
        raise Wrong("close; round up to a whole token.")
    if given < 0:
        raise Wrong("a number of tokens can't be negative. Is a sign or a logarithm the wrong way round?")
    if right < given <= right + 5:
        raise Wrong("close, but a little too many: fewer tokens already reach 99 %.")
    if given != right:
        share = 1 - (1 - 1 / K) ** given
        where = "too few" if given < right else "more than needed"
        raise Wrong(
            f"{where}: after {given:g} tokens the expected share is {share:.2%}. How probable is it that n tokens all "
            "miss one given code?"
        )
    return f"{right} tokens, nearly five for each code, before a perfect codebook looks 99 % used."


@checker
def nearest_anywhere(answer: Callable) -> str:
    """Exercise 4: nearest codes with a common offset, in float32 and bfloat16."""
    cases = [(0.0, torch.float32), (10.0, torch.bfloat16), (100.0, torch.float32), (3000.0, torch.float32)]
    for offset, dtype in cases:
        base = torch.randn(12)
        base = offset * base / base.norm()
        z, codes = (base + torch.randn(2000, 12)).to(dtype), (base + torch.randn(256, 12)).to(dtype)
        found = tensor(call(answer, z, codes), (2000,), torch.int64)
        case = f"for {str(dtype).removeprefix('torch.')} at {offset:g} from zero"
        if found.min() < 0 or found.max() >= len(codes):
            raise Wrong(f"{case} some numbers are no codes.")
        gaps = (z.double()[:, None] - codes.double()).square().sum(-1)
        # Differences squared and summed in bfloat16 are off by half a percent, and chance must not decide on that.
        far = gaps.gather(1, found[:, None])[:, 0] > gaps.amin(-1) * 1.005 + 1e-6
        if far.double().mean() <= 0.01:
            continue
        share = f"{far.double().mean():.0%} of your codes are not the nearest"
        if torch.equal(found, gaps.argmax(-1)):
            raise Wrong(f"{case} you take the farthest code.")
        if offset == 0:
            raise Wrong(
                f"{case} {share}. Rounding is not to blame here: what you compute is not the order of the distances. "
                "Whatever you take away, z and codes must lose the same."
            )
        if dtype == torch.bfloat16:
            raise Wrong(f"{case} {share}. bfloat16 has 8 binary digits; compute in float32, however the input comes.")
        raise Wrong(f"{case} {share}: large numbers are subtracted. What may you take away from z and codes alike?")
    return "the right codes, in both dtypes and far from zero."


class _Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vq = VQ(32, 4, decay=0.5, revival=0.9)


@checker
def freeze(answer: Callable) -> str:
    """Exercise 5: a VQ that stands still, whatever train() is called on."""
    if not callable(answer):
        raise Wrong("a function is asked for.")
    whole = _Whole().train()
    for _ in range(5):
        whole.vq(torch.randn(64, 4))
    before, probe = copy.deepcopy(whole.vq.state_dict()), torch.randn(500, 4)
    tokens = whole.vq.encode(probe)
    grads = torch.is_grad_enabled()
    returned = answer(whole.vq)
    if torch.is_grad_enabled() != grads:
        torch.set_grad_enabled(grads)
        raise Wrong("gradients have been turned off for everything, so the rest of the model can't be trained.")
    if not isinstance(whole.vq, VQ):
        raise Wrong("the VQ itself has been replaced.")
    for name, words in (("", "after freeze alone"), ("train", "after whole.train()")):
        if name:
            try:
                whole.train()
            except Exception as error:
                raise Wrong(
                    f"whole.train() now raises {type(error).__name__}: {error}. A parent's train() calls the VQ's as "
                    "vq.train(True)."
                ) from error
        for _ in range(5):
            whole.vq(torch.randn(64, 4) + 3)
        for key, value in whole.vq.state_dict().items():
            if not torch.equal(value, before[key]):
                advice = (
                    "eval() lasts until somebody calls train() on a parent, which calls it for its children."
                    if name
                    else "forward itself moves these codes, not a gradient, so requires_grad does not stop them."
                )
                if isinstance(returned, nn.Module) and returned is not whole.vq:
                    advice = "freeze has to change the VQ that it is given; a copy that it returns is not in the model."
                raise Wrong(f"{words}, forward has changed the {key}: {advice}")
    if not torch.equal(whole.vq.encode(probe), tokens):
        raise Wrong("the tokens are not what they were.")
    # z + (q - z) is q up to rounding; rounded numbers would be compared at the edges between two of them as well.
    if not torch.allclose(whole.vq(probe).detach(), whole.vq.decode(tokens), rtol=0, atol=1e-5):
        raise Wrong("forward no longer gives the codes of the tokens.")
    return "train() reaches the prior and stops at the tokenizer."


@checker
def best_pair(answer: Callable) -> str:
    """Exercise 6: the pair of codes whose sum is nearest."""
    for first_size, second_size, dim in ((8, 8, 2), (5, 9, 3), (16, 4, 6)):
        z = torch.randn(300, dim)
        first, second = torch.randn(first_size, dim), 0.7 * torch.randn(second_size, dim)
        found = tensor(call(answer, z, first, second), (300, 2), torch.int64)
        if found.min() < 0 or (found >= torch.tensor([first_size, second_size])).any():
            raise Wrong(
                f"for tables of {first_size} and {second_size} codes some numbers are no codes. Is the first column "
                "of the first table?"
            )
        error = (first[found[:, 0]] + second[found[:, 1]] - z).square().sum(-1)
        best = (first[:, None] + second).flatten(0, 1)
        least = (z[:, None] - best).square().sum(-1).amin(-1)
        worse = error > least + 1e-4
        if not worse.any():
            continue
        greedy_first = _nearest(z, first)
        greedy = torch.stack([greedy_first, _nearest(z - first[greedy_first], second)], -1)
        if torch.equal(found, greedy):
            raise Wrong(
                f"that is the greedy choice; for {worse.sum().item()} of 300 latents another pair has a nearer sum."
            )
        apart = torch.stack([_nearest(z, first), _nearest(z, second)], -1)
        if torch.equal(found, apart):
            raise Wrong("each code is the nearest to z itself, but their sum has to be near.")
        turned = _nearest(z, second)
        if torch.equal(found, torch.stack([_nearest(z - second[turned], first), turned], -1)):
            raise Wrong("that is greedy from the other end, which is greedy too.")
        exact = (best - z[:, None]).square().sum(-1).argmin(-1)
        if torch.equal(found, torch.stack([exact % second_size, exact // second_size], -1)):
            raise Wrong("the right pairs, but the columns are the other way round: the first table's code comes first.")
        at = int((error - least).argmax())
        raise Wrong(
            f"for the latent {_short(z[at])} the sum of your pair is {error[at].sqrt():.3f} away, and "
            f"{least[at].sqrt():.3f} is possible."
        )
    return "the best of all pairs; greedy is the fast way, not the exact one."


def _split(codes: torch.Tensor, dead: torch.Tensor, crowded: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    new = codes.clone()
    new[dead] = codes[crowded] + step
    new[crowded] = codes[crowded] - step
    return new


def _short(vector: torch.Tensor) -> str:
    words = ", ".join(f"{value:.2f}" for value in vector[:4].tolist())
    return f"({words}{', …' if len(vector) > 4 else ''})"
