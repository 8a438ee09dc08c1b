"""Rate and distortion: a tokenizer that learns which bits are worth their price (chapter 16).

Ten bits a patch are ten bits, however dull the patch. Here a small model guesses each bit of a patch from the patches
above and to the left and from the bits before it, and the tokenizer pays for what that model did not expect. More bits
a patch than are ever spent then cost nothing: where a patch is smooth, most of them can be guessed.

Sources: P. Chou, T. Lookabaugh and R. Gray, "Entropy-constrained vector quantization" (1989); D. Minnen, J. Ballé and
G. Toderici, "Joint autoregressive and hierarchical priors for learned image compression" (2018) for the context model.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from arlib.quantizers import BSQ, Product
from arlib.tokenizer import ImageTokenizer, to_float

RANK = 8  # of the products by which what lies around decides how a patch's bits depend on each other
BALANCE = 0.3  # what a price of twice as much does to the loss: 2^0.3, roughly


class ContextModel(nn.Module):
    """How probable each bit of each patch is: signs `(B, bits, h, w)`, ±1, to logits of a +1, of the same shape.

    A bit is guessed from the two rows above, from the two patches to the left, and from the bits before it in its own
    patch. The model serves in training alone; what codes a file is a prior.
    """

    before: torch.Tensor
    earlier: torch.Tensor

    def __init__(self, bits: int, qualities: int, width: int = 96):
        super().__init__()
        self.around = nn.Conv2d(bits, width, 5, padding=2)
        before = torch.ones(5, 5)
        before[2, 2:] = 0
        before[3:] = 0
        self.register_buffer("before", before, persistent=False)
        self.quality = nn.Parameter(torch.zeros(qualities, width))
        self.mix = nn.Conv2d(width, width, 1)
        self.guess = nn.Conv2d(width, bits, 1)
        self.bits_before = nn.Parameter(torch.zeros(bits, bits))
        self.gates = nn.Conv2d(width, bits * RANK, 1)
        self.gated = nn.Parameter(0.02 * torch.randn(bits, RANK, bits))
        self.register_buffer("earlier", torch.ones(bits, bits).tril(-1), persistent=False)
        self.float()  # whatever torch's default dtype is

    def forward(self, signs: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        around = F.conv2d(signs, self.around.weight * self.before, self.around.bias, padding=2)
        x = F.gelu(around + self.quality[quality][:, :, None, None])
        x = x + F.gelu(self.mix(x))
        own = torch.einsum("ij,njhw->nihw", self.bits_before * self.earlier, signs)
        parts = torch.einsum("ikj,njhw->nikhw", self.gated * self.earlier[:, None], signs)
        return (self.guess(x) + own + (self.gates(x).unflatten(1, (-1, RANK)) * parts).sum(2)).float()


class RateDistortionLoss(nn.Module):
    """Mean squared error + price · bits a patch: pictures `(B, H, W, C) uint8` to a scalar, each at a random quality.

    `prices` has the price of a bit for each setting of the tokenizer's dial, falling, as the last makes the best
    picture. Raises `ValueError` for a tokenizer whose codes are not signs (BSQ, or a product of some).
    """

    prices: torch.Tensor

    def __init__(self, tokenizer: ImageTokenizer, prices: Sequence[float]):
        super().__init__()
        quantizer = tokenizer.quantizer
        parts = quantizer.each if isinstance(quantizer, Product) else [quantizer]
        if not all(isinstance(part, BSQ) for part in parts) or len(prices) != tokenizer.qualities:
            raise ValueError("A rate is paid for signs, those of BSQ, and there is one price for each quality.")
        if not all(price > 0 and math.isfinite(price) for price in prices):
            raise ValueError(f"The prices of a bit are above 0, not {', '.join(map(str, prices))}.")
        self.model = tokenizer
        self.bits = [part.latent_dim for part in parts]  # type: ignore[union-attr]
        self.context = ContextModel(sum(self.bits), tokenizer.qualities)
        self.register_buffer("prices", torch.tensor(prices, dtype=torch.float32), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quality = torch.randint(len(self.prices), (len(images),), device=images.device)
        distortion, rate = self.measure(vary(to_float(images)), quality)
        price = self.prices[quality]
        # Dear bits come with large errors: without this, the low qualities would be all that is learned.
        weight = (price / self.prices.log().mean().exp()) ** -BALANCE
        return (weight * (distortion + price * rate)).mean()

    def measure(self, pixels: torch.Tensor, quality: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean squared error and bits a patch of each picture, `(B, H, W, C)` float in [-0.5, 0.5]: `(B,)` twice."""
        again, latent = self.model(pixels, quality)
        distortion = (again - pixels).square().mean(dim=(1, 2, 3))
        near = torch.cat(
            [F.normalize(part, dim=-1) * part.shape[-1] ** 0.5 for part in latent.split(self.bits, -1)], -1
        )
        near = near.permute(0, 3, 1, 2)
        signs = torch.where(near >= 0, 1.0, -1.0).to(near)
        # Straight through: a sign is what the others are guessed from, and itself more or less what was guessed.
        passed = signs + (near - near.detach())
        soft = torch.sigmoid(2 * near)
        bit = (signs + 1) / 2 + (soft - soft.detach())
        logits = self.context(passed, quality)
        rate = (F.softplus(logits) - logits * bit).sum(1) / math.log(2)
        return distortion, rate.mean(dim=(1, 2))

    @torch.no_grad()
    def validate(self, images: torch.Tensor) -> dict[str, float]:
        """PSNR and bits a patch at each quality, for the curves: pictures `(N, H, W, C) uint8`."""
        figures = {}
        for quality in range(len(self.prices)):
            errors, rates = [], []
            for batch in images.split(32):
                device = self.prices.device
                pixels = to_float(batch.to(device))
                error, rate = self.measure(pixels, torch.full((len(batch),), quality, device=device))
                errors.append(error)
                rates.append(rate)
            figures[f"quality {quality}: valid PSNR"] = -10 * torch.cat(errors).log10().mean().item()
            figures[f"quality {quality}: valid bits a patch"] = torch.cat(rates).mean().item()
        return figures


def vary(pixels: torch.Tensor) -> torch.Tensor:
    """Some pictures of a batch `(B, H, W, C)` enlarged, some in other colors, so that new tracks are less new.

    A third has the gains of its channels changed by up to a third, a third of the batches is cut to a part at least
    seven tenths as wide and enlarged to the old size.
    """
    batch, height, width, channels = pixels.shape
    gains = torch.where(torch.rand(batch, 1) < 1 / 3, torch.rand(batch, channels) * 0.6 + 0.7, torch.ones(()))
    pixels = ((pixels + 0.5) * gains[:, None, None].to(pixels)).clamp(0, 1) - 0.5
    if torch.rand(()) < 1 / 3:
        share = 0.7 + 0.3 * torch.rand(()).item()
        rows, columns = round(share * height), round(share * width)
        top = int(torch.randint(height - rows + 1, ()))
        left = int(torch.randint(width - columns + 1, ()))
        part = pixels[:, top : top + rows, left : left + columns].permute(0, 3, 1, 2)
        pixels = (
            F.interpolate(part, (height, width), mode="bicubic", antialias=False).permute(0, 2, 3, 1).clamp(-0.5, 0.5)
        )
    return pixels
