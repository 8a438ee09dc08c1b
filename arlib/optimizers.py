"""How a step is made of a gradient: AdamW, Muon for the matrices inside of blocks, and the learning rate's way."""

import math

import torch
from torch import nn

from arlib.settings import Settings

WEIGHT_DECAY = 0.01
IN_BLOCKS = tuple(f".{name}.weight" for name in ("query_key_value", "out", "up", "down", "conv", "mix"))


def make_optimizers(loss: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov and Hutter 2019), and Muon (Jordan et al. 2024) for the matrices inside of blocks.

    Muon makes the singular values of each update about equal: five Newton-Schulz steps, which torch takes in bfloat16,
    bring all but the smallest to between 0.6 and 1.2. Scaled to AdamW's size (Liu et al. 2025, arXiv 2502.16982) it
    shares its learning rate, and both priors and tokenizers reach the same loss in fewer steps.
    """
    parameters = dict(loss.named_parameters())
    matrices = sorted(name for name in parameters if name.endswith(IN_BLOCKS))
    others = [parameter for name, parameter in parameters.items() if name not in matrices]
    rate = settings.learning_rate
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
    ]
    if matrices:
        optimizers.append(MatrixMuon([parameters[name] for name in matrices], rate))
    return optimizers


class MatrixMuon(torch.optim.Muon):
    """Muon on weights of any shape: a convolution's `(out, in, 3, 3)` is the matrix `(out, in · 9)` that it applies."""

    def __init__(self, parameters: list[nn.Parameter], rate: float):
        self.parameters = parameters
        self.matrices = [nn.Parameter(parameter.detach().view(len(parameter), -1)) for parameter in parameters]
        super().__init__(self.matrices, lr=rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")

    def step(self, closure=None):
        for matrix, parameter in zip(self.matrices, self.parameters, strict=True):
            # Anew each time, as the model may have moved to another device.
            matrix.data = parameter.data.view(len(parameter), -1)
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        return super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for parameter in self.parameters:
            parameter.grad = None


def learning_rate(step: int, settings: Settings) -> float:
    """A linear warm-up over the first 3 % of the run, times a cosine from 1 to 0.02 over all of it."""
    share = step / settings.steps
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * min(1.0, (share + 1 / settings.steps) / 0.03) * (0.02 + 0.98 * cosine)
