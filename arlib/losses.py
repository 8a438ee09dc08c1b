"""What training makes small: a tokenizer's error, a prior's surprise (chapters 4, 6 and 14)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from arlib import orders
from arlib.tokenizer import ImageTokenizer, to_float
from arlib.transformer import Prior

LABELS_LEFT_OUT = 0.1


class ReconstructionLoss(nn.Module):
    """Mean squared error of a tokenizer's (or auto-encoder's) reconstruction: `(B, H, W, C) uint8` to a scalar.

    What the quantizer asks for is added, as the commitment of VQ. `smoothness` weighs another term, the distance on the
    sphere between the latents of neighboring patches. Where a picture leaves the code free, a patch then takes its
    neighbor's: the tokens are easier to predict, and a prior needs fewer bits for them.
    """

    def __init__(self, tokenizer: ImageTokenizer, smoothness: float = 0.0):
        super().__init__()
        self.model = tokenizer
        self.smoothness = smoothness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = to_float(images)
        reconstruction, latent = self.model(pixels)
        loss = F.mse_loss(reconstruction, pixels)
        if self.smoothness:  # a grid of one row has no neighbors: the mean of none of them is NaN, and 0 times NaN too
            loss = loss + self.smoothness * neighbor_distance(latent)
        return loss if self.model.quantizer is None else loss + self.model.quantizer.loss(latent)


def neighbor_distance(latent: torch.Tensor) -> torch.Tensor:
    """Mean squared distance on the unit sphere from each latent to the one above plus to the one at its left."""
    on_sphere = F.normalize(latent, dim=-1)
    down = (on_sphere[:, 1:] - on_sphere[:, :-1]).square().sum(-1).mean()
    right = (on_sphere[:, :, 1:] - on_sphere[:, :, :-1]).square().sum(-1).mean()
    return down + right


class NextTokenLoss(nn.Module):
    """Teacher-forced surprise of a prior in bits per token, a scalar: `(B, T)` tokens of any integer dtype, by place.

    A prior with classes takes `labels (B,)` too; in train mode one in ten is left out, so that the prior learns to do
    without (Ho and Salimans 2022, arXiv 2207.12598). A prior of any order reads every sequence in an order of its own.
    """

    def __init__(self, prior: Prior):
        super().__init__()
        self.model = prior

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        tokens, order = tokens.long(), None
        if labels is not None:
            labels = labels.long()
            if self.training:
                labels = labels.masked_fill(torch.rand(len(labels), device=labels.device) < LABELS_LEFT_OUT, -1)
        if self.model.places is not None:
            order = orders.random(len(tokens), tokens.shape[1]).to(tokens.device)
            tokens = orders.arrange(tokens, order)
        logits = self.model(tokens, order, labels).float()
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten()) / math.log(2)
