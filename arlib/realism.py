"""How real do pictures look? What PSNR cannot see, measured in four ways of which none is honest alone (chapter 16).

The power of the spectrum by octaves is bought with noise; lines in the spectrum betray the grid of patches; the patch
distance compares statistics of small patches and has a floor; a fresh judge learns to tell real pictures from decoded
ones and finds what nobody thought of. The peer that a learned decoder has to beat is `unsharp`, the white noise of
`noisy` is the control.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from arlib import metrics
from arlib.tokenizer import describe, to_float, to_uint8

GRAY = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32)  # ITU-R BT.601
OCTAVES = 5
PATCH = 7  # the side of the patches whose statistics are compared
STRIDE = 4  # from patch to patch; with the 5 pixels of a token's patch it has no factor in common
BATCH = 32


def gray(images: torch.Tensor) -> torch.Tensor:
    """`(N, H, W, 3) uint8` to `(N, H, W) float32` in [0, 1]; raises `ValueError` for another shape or dtype."""
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(f"Realism is measured on pictures (N, H, W, 3) uint8, not {describe(images)}.")
    return images.float() @ GRAY / 255


def octaves(images: torch.Tensor, originals: torch.Tensor) -> list[float]:
    """The power in each octave of spatial frequency over that of the originals, from coarse to fine.

    Both are `(N, H, W, 3) uint8`. The last octave reaches from 1/4 of a cycle per pixel to 1/2 and into the corners;
    1 is as sharp as the originals, 0 is blur. A Hann window keeps the edges of the pictures out of it.
    """
    powers, bands = (
        [_power(gray(each)) for each in (images, originals)],
        _octave(originals.shape[1], originals.shape[2]),
    )
    return [(powers[0][bands == band].sum() / powers[1][bands == band].sum()).item() for band in range(OCTAVES)]


def _power(pictures: torch.Tensor) -> torch.Tensor:
    """The mean power spectrum of `(N, H, W)`, `(H, W // 2 + 1) float64`, with a Hann window."""
    height, width = pictures.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    flat = pictures - pictures.mean(dim=(1, 2), keepdim=True)
    return torch.fft.rfft2(flat * window).abs().double().square().mean(dim=0)


def _octave(height: int, width: int) -> torch.Tensor:
    """Which octave each frequency belongs to, `(H, W // 2 + 1)`: 0 is the coarsest, -1 is coarser than that."""
    frequency = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    octave = (frequency.clamp(min=1e-9).log2() + 2).floor().clamp(max=0) + OCTAVES - 1
    return octave.clamp(min=-1)


def grid_lines(images: torch.Tensor, period: int = 5) -> torch.Tensor:
    """How far a pattern of `period` pixels sticks out of the spectrum, across and down: `(2, period // 2) float64`.

    Entry `[0, k - 1]` is the power at k / period cycles per pixel along the rows, over the power at the three
    frequencies on either side; entry `[1, k - 1]` is the same along the columns. Without a pattern it is about 1.
    Raises `ValueError` for pictures that are no multiple of the period: their spectrum has no such frequency.
    """
    pictures = gray(images)
    lines = []
    for axis in (2, 1):
        length = pictures.shape[axis]
        if length % period:
            raise ValueError(f"A pattern of {period} pixels is measured in pictures of a multiple, not of {length}.")
        rest = tuple({0, 1, 2} - {axis})
        flat = pictures - pictures.mean(dim=axis, keepdim=True)
        power = torch.fft.rfft(flat, dim=axis).abs().double().square().mean(dim=rest)
        places = [length // period * multiple for multiple in range(1, period // 2 + 1)]
        lines.append([power[at] / torch.cat([power[at - 3 : at], power[at + 1 : at + 4]]).mean() for at in places])
    return torch.tensor(lines, dtype=torch.float64)


def gradient_energy(images: torch.Tensor, originals: torch.Tensor) -> float:
    """Mean square of the differences between neighboring pixels over that of the originals; noise raises it too."""
    energies = [
        sum(part.diff(dim=axis).double().square().mean() for axis in (1, 2)) for part in (gray(images), gray(originals))
    ]
    return float(energies[0] / energies[1])


def patch_moments(images: torch.Tensor) -> metrics.Moments:
    """Mean `(49,)` and covariance `(49, 49)` of the gray 7×7 patches of `(N, H, W, 3) uint8`, each less its mean."""
    patches = F.unfold(gray(images)[:, None], PATCH, stride=STRIDE).transpose(1, 2).flatten(0, 1)
    return metrics.moments(patches - patches.mean(dim=1, keepdim=True))


def patch_distance(images: torch.Tensor, others: torch.Tensor) -> float:
    """Fréchet distance of the patches of two sets of pictures, `(N, H, W, 3) uint8` and `(M, H, W, 3) uint8`.

    A set against its own decoded pictures has a floor of 0, sets of different content have not: compare only distances
    of the same kind and of equal n. `halves` does.
    """
    return metrics.frechet(patch_moments(images), patch_moments(others))


def halves(images: torch.Tensor, originals: torch.Tensor) -> float:
    """`patch_distance` of pictures of other content: every other one of `images` against the rest of the originals.

    Both ways round, and the mean. `halves(originals, originals)` is the floor at this n.
    """
    return (patch_distance(images[::2], originals[1::2]) + patch_distance(images[1::2], originals[::2])) / 2


def unsharp(images: torch.Tensor, amount: float, sigma: float = 1.0) -> torch.Tensor:
    """Unsharp masking: a picture plus `amount` times what its own blur lacks, `(N, H, W, 3) uint8` to the same."""
    pixels = to_float(images).permute(0, 3, 1, 2)
    return to_uint8((pixels + amount * (pixels - blur(pixels, sigma))).permute(0, 2, 3, 1))


def blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """`(B, C, H, W)` blurred by a Gaussian that is cut off at 4 sigma; beyond the edge, its color goes on."""
    reach = math.ceil(4 * sigma)
    steps = torch.arange(-reach, reach + 1, device=pixels.device, dtype=torch.float32)
    bell = torch.exp(-steps.square() / (2 * sigma**2))
    weights = (bell / bell.sum()).expand(pixels.shape[1], 1, 1, -1)
    across = F.conv2d(F.pad(pixels, (reach, reach, 0, 0), mode="replicate"), weights, groups=pixels.shape[1])
    down = F.pad(across, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(down, weights.transpose(2, 3), groups=pixels.shape[1])


def noisy(images: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    """Pictures `(N, H, W, 3) uint8` with white noise of `sigma` gray levels, the same in all three colors."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*images.shape[:3], 1, generator=generator, dtype=torch.float32)
    return (images + sigma * noise).round().clamp(0, 255).to(torch.uint8)


class PatchJudge(nn.Module):
    """Real or not, place by place: pixels `(B, 3, H, W)` to a number each 4 pixels, `(B, 1, H / 4, W / 4)`.

    Each sees 26 pixels across and down. Such a judge of patches is the discriminator of PatchGAN (Isola et al. 2017),
    here smaller and without normalization. What is fine and faint would take it long to find, so it is also shown what
    a small blur takes away, enlarged. And it knows the phase of each pixel in the grid of patches of `period` pixels:
    a grid cannot hide from it.
    """

    def __init__(self, width: int = 24, period: int = 5):
        super().__init__()
        self.period = period
        self.layers = nn.Sequential(
            nn.Conv2d(3 + 3 + 4, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )
        self.float()  # whatever torch's default dtype is

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        fine = pixels - F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        place = phases(pixels.shape[2], pixels.shape[3], self.period).to(pixels).expand(len(pixels), -1, -1, -1)
        return self.layers(torch.cat([2 * pixels, 8 * fine, place], dim=1))


def phases(height: int, width: int, period: int) -> torch.Tensor:
    """Where a pixel lies in its patch, as cosine and sine of its phase across and down: `(4, H, W)`."""
    across = (2 * torch.pi / period * torch.arange(width)).expand(height, width)
    down = (2 * torch.pi / period * torch.arange(height))[:, None].expand(height, width)
    return torch.stack([across.cos(), across.sin(), down.cos(), down.sin()])


def fresh_judge(
    fakes: torch.Tensor,
    reals: torch.Tensor,
    test_fakes: torch.Tensor,
    test_reals: torch.Tensor,
    steps: int = 100,
    batch_size: int = 8,
    seed: int = 0,
) -> float:
    """Train a `PatchJudge` from scratch on the first two sets; the share of places of the last two that it gets right.

    All are `(N, H, W, 3) uint8`. 0.5 is the goal: the judge can only guess. A judge that is trained for longer finds
    more, so compare at equal steps.
    """
    return places_right(train_judge(fakes, reals, steps, batch_size, seed), test_fakes, test_reals)


def train_judge(
    fakes: torch.Tensor, reals: torch.Tensor, steps: int = 100, batch_size: int = 8, seed: int = 0
) -> PatchJudge:
    """A new judge that has seen some pictures of each set, `(N, H, W, 3) uint8`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = PatchJudge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        some, others = (torch.randint(len(part), (batch_size,), generator=generator) for part in (reals, fakes))
        loss = F.softplus(-_judged(judge, reals[some])).mean() + F.softplus(_judged(judge, fakes[others])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return judge


@torch.no_grad()
def places_right(judge: PatchJudge, fakes: torch.Tensor, reals: torch.Tensor) -> float:
    """How often a judge is right about a place, in `(N, H, W, 3) uint8` as many of these as of those."""
    real, fake = (torch.cat([_judged(judge, batch) > 0 for batch in part.split(BATCH)]) for part in (reals, fakes))
    return ((real.double().mean() + (~fake).double().mean()) / 2).item()


def _judged(judge: PatchJudge, images: torch.Tensor) -> torch.Tensor:
    return judge(to_float(images).permute(0, 3, 1, 2))
