"""What the book measures: how far pictures are apart, how a codebook is used, how many bits a prior needs."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def mse(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each picture, its values in [0, 1]: two `(N, H, W, 3) uint8` to `(N,)` float64."""
    difference = (images.double() - others.double()) / 255
    return difference.square().mean(dim=(1, 2, 3))


def psnr(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each picture in dB, infinite for equal ones: to `(N,)` float64."""
    with np.errstate(divide="ignore"):
        ratios = [
            peak_signal_noise_ratio(image.numpy(), other.numpy(), data_range=255)
            for image, other in zip(images, others, strict=True)
        ]
    return torch.tensor(ratios, dtype=torch.float64)


def ssim(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each picture (Wang et al. 2004), 1 for equal ones: to `(N,)` float64."""
    values = [
        structural_similarity(image.numpy(), other.numpy(), channel_axis=-1, data_range=255)
        for image, other in zip(images, others, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def codebook_usage(tokens: torch.Tensor, codebook_size: int) -> float:
    """The share of the codes that occur at all."""
    return len(tokens.unique()) / codebook_size


def entropy(tokens: torch.Tensor) -> float:
    """Entropy in bits of the tokens' frequencies, as if each stood alone: log2 of the codebook size at the most."""
    counts = torch.bincount(tokens.flatten()).double()
    frequencies = counts[counts > 0] / counts.sum()
    return -(frequencies * frequencies.log2()).sum().item()


@torch.no_grad()
def bits(prior, tokens: torch.Tensor, batch_size: int = 16) -> torch.Tensor:
    """Surprise of each token in bits, -log2 of the probability the prior gave it: `(N, T)` int64 to float32."""
    surprises = []
    for batch in tokens.split(batch_size):
        logits = prior(batch).float().cpu()
        surprises.append(F.cross_entropy(logits.transpose(1, 2), batch, reduction="none") / math.log(2))
    return torch.cat(surprises)
