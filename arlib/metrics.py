"""What the book measures: how far pictures are apart, how a codebook is used, how many bits a prior needs, and how far
a set of samples is from a set of real pictures."""

import math

import numpy as np
import torch
import torch.nn.functional as F

Moments = tuple[torch.Tensor, torch.Tensor]  # mean (F,) and covariance (F, F)


def mse(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each picture, its values in [0, 1]: two `(N, H, W, 3) uint8` to `(N,)` float64."""
    difference = (images.double() - others.double()) / 255
    return difference.square().mean(dim=(1, 2, 3))


def psnr(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each picture in dB, infinite for equal ones: to `(N,)` float64."""
    from skimage.metrics import peak_signal_noise_ratio  # here, as it takes most of a second to import

    with np.errstate(divide="ignore"):
        ratios = [
            peak_signal_noise_ratio(image.numpy(), other.numpy(), data_range=255)
            for image, other in zip(images, others, strict=True)
        ]
    return torch.tensor(ratios, dtype=torch.float64)


def ssim(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each picture (Wang et al. 2004), 1 for equal ones: to `(N,)` float64."""
    from skimage.metrics import structural_similarity

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
def bits(
    prior,
    tokens: torch.Tensor,
    batch_size: int = 16,
    order: torch.Tensor | None = None,
    label: torch.Tensor | None = None,
) -> torch.Tensor:
    """Surprise of each token in bits, -log2 of the probability the prior gave it: `(N, T)` int64 to float32.

    Tokens and surprises are in reading order; `order`, `(T,)` or `(N, T)`, gives their places, `label (N,)` classes.
    """
    surprises = []
    for start in range(0, len(tokens), batch_size):
        batch = tokens[start : start + batch_size]
        given = {}
        if order is not None:
            given["order"] = order if order.dim() == 1 else order[start : start + batch_size]
        if label is not None:
            given["label"] = label[start : start + batch_size]
        logits = prior(batch, **given).float().cpu()
        surprises.append(F.cross_entropy(logits.transpose(1, 2), batch, reduction="none") / math.log(2))
    return torch.cat(surprises)


def moments(features: torch.Tensor) -> Moments:
    """Mean `(F,)` and covariance `(F, F)` of features `(N, F)`, in float64. Raises `ValueError` below two rows."""
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"A covariance takes two rows of features or more, not {tuple(features.shape)}.")
    mean = features.double().mean(dim=0)
    centered = features.double() - mean
    return mean, centered.T @ centered / (len(features) - 1)


def frechet(features: torch.Tensor | Moments, others: torch.Tensor | Moments) -> float:
    """Fréchet distance of two sets of features `(N, F)`, each taken for a Gaussian (Heusel et al. 2017).

    |m - m'|² + trace(C + C' - 2 (C C')^½), with means and covariances in float64; either side may also be given as its
    `moments`. With the features of Inception it is called FID. Values of different feature nets, or of different
    numbers of pictures, must not be compared: few pictures make it too large (see `frechet_floor`).
    """
    mean, covariance = moments(features) if isinstance(features, torch.Tensor) else features
    other_mean, other_covariance = moments(others) if isinstance(others, torch.Tensor) else others
    # C C' is not symmetric, but R C' R with R = C^½ is, and has the same eigenvalues; rounding makes some negative.
    values, vectors = torch.linalg.eigh(covariance.double())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other_covariance.double() @ root).clamp(min=0).sqrt().sum()
    apart = (mean.double() - other_mean.double()).square().sum()
    return (apart + covariance.trace() + other_covariance.trace() - 2 * shared).item()


def frechet_floor(
    features: torch.Tensor, n: int, rest: Moments | None = None, seed: int = 0, repeats: int = 4
) -> float:
    """The distance at which samples could not be told from real: `n` real pictures against other real ones.

    Those are another `n`, or all that `rest` describes, which must not hold the first; the mean over some shuffles.
    Raises `ValueError` where there are too few features `(N, F)`.
    """
    needed = n if rest is not None else 2 * n
    if needed > len(features):
        raise ValueError(f"The floor at n = {n} takes {needed} real pictures; here are {len(features)}.")
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for _ in range(repeats):
        shuffled = features[torch.randperm(len(features), generator=generator)]
        distances.append(frechet(shuffled[:n], rest if rest is not None else shuffled[n : 2 * n]))
    return sum(distances) / repeats


def frechet_extrapolated(
    features: torch.Tensor, others: torch.Tensor | Moments, parts: int = 4, seed: int = 0
) -> float:
    """What `frechet` would be for endlessly many samples (Chong and Forsyth 2020, arXiv 1911.07023).

    The distance is too large by about a constant over n, and the constant depends on the model. So it is measured for
    all samples, for halves, thirds, … down to a `parts`-th, and a straight line through 1/n is followed to 0.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    distances = [
        sum(frechet(part, others) for part in features[order].tensor_split(count)) / count
        for count in range(1, parts + 1)
    ]
    _, at_zero = np.polyfit(np.arange(1, parts + 1) / len(features), distances, 1)
    return float(at_zero)


def precision_recall(fakes: torch.Tensor, reals: torch.Tensor, k: int = 5) -> tuple[float, float]:
    """Precision and recall of samples (Kynkäänniemi et al. 2019, arXiv 1904.06991) from features `(N, F)`, `(M, F)`.

    A set covers what lies in the ball of any of its points, which reaches to its k-th neighbor in the set. Precision
    is the share of fakes that the reals cover, recall the share of reals that the fakes cover. Balls shrink as a set
    grows: compare values at equal numbers only. Raises `ValueError` where a set has no k neighbors.
    """
    if min(len(fakes), len(reals)) <= k:
        raise ValueError(f"Balls to the {k}th neighbor take more than {k} pictures on each side.")
    fakes, reals = fakes.double(), reals.double()
    return covered(fakes, reals, k), covered(reals, fakes, k)


def covered(points: torch.Tensor, centers: torch.Tensor, k: int) -> float:
    """The share of points that lie in the ball of at least one center, out to that center's k-th neighbor."""
    radii = torch.cdist(centers, centers).kthvalue(k + 1, dim=1).values  # the nearest is the center itself
    return (torch.cdist(points, centers) <= radii).any(dim=1).double().mean().item()


def distinct(tokens: torch.Tensor) -> int:
    """How many different samples there are among tokens `(N, …)`."""
    return len(tokens.flatten(1).unique(dim=0))
