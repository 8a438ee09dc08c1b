"""Coarse to fine: a picture's latents as a pyramid of token maps, each of which says what the coarser ones left over.

A pyramid of sides (1, 2, 4) is 1 + 4 + 16 = 21 tokens: the maps one after the other, each in raster order (chapter 15).
Source: K. Tian et al., "Visual autoregressive modeling" (2024, arXiv 2404.02905).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from arlib.quantizers import VQ


def ends(sides: Sequence[int]) -> list[int]:
    """Where each map of a pyramid ends in the sequence of its tokens: (1, 2, 4) gives [1, 5, 21].

    Raises `ValueError` for sides that do not begin with 1 and grow.
    """
    if not sides or sides[0] != 1 or any(next_ <= side for side, next_ in itertools.pairwise(sides)):
        raise ValueError(f"The sides of a pyramid begin with 1 and grow, unlike {tuple(sides)}.")
    return list(itertools.accumulate(side**2 for side in sides))


def tables(sides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each token of the sequence, `(T,) int64` both: which token its row reads, and which scale it is of.

    It reads its parent, the cell above it one scale coarser; the first reads none, -1.
    """
    firsts = [0, *ends(sides)]
    source, block = [-1], [0]
    for scale in range(1, len(sides)):
        side, coarser = sides[scale], sides[scale - 1]
        for row in range(side):
            for column in range(side):
                source.append(firsts[scale - 1] + row * coarser // side * coarser + column * coarser // side)
                block.append(scale)
    return torch.tensor(source), torch.tensor(block)


class Pyramid(nn.Module):
    """Residual quantization over scales, with one codebook for all of them.

    At each scale what is left of the latents is averaged down to side × side, each cell takes the nearest code, and the
    map of codes, enlarged to the full grid and smoothed by a convolution of its own (φ), is taken away from what is
    left. The sum of the maps stands for the latents. The finest map is as large as the grid.

    A sum of the first few maps is a picture only if the decoder has learned such sums, so that in training every
    picture keeps, with probability `cut`, only a random number of its maps.
    """

    codebooks = 1

    def __init__(self, quantizer: VQ, sides: Sequence[int] = (1, 2, 4), cut: float = 0.5):
        super().__init__()
        self.quantizer = quantizer
        self.sides = tuple(sides)
        self.ends = ends(sides)
        self.length = self.ends[-1]
        self.cut = cut
        self.latent_dim = quantizer.latent_dim
        self.codebook_size = quantizer.codebook_size
        self.smooth = nn.ModuleList(nn.Conv2d(self.latent_dim, self.latent_dim, 3, padding=1) for _ in self.sides)
        self.float()  # whatever torch's default dtype is

    @property
    def config(self) -> dict:
        return {"name": "Pyramid", "quantizer": self.quantizer.config, "sides": list(self.sides), "cut": self.cut}

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(B, side, side, d)` to the same shape, the sum of its maps; the gradient is the straight-through one."""
        indices, residuals, sums = self._maps(latent)
        if self.training:
            self.quantizer.update(torch.cat(residuals), torch.cat(indices))
            kept = torch.randint(len(self.sides), (len(latent),), device=latent.device)
            whole = torch.rand(len(latent), device=latent.device) >= self.cut
            kept = torch.where(whole, len(self.sides) - 1, kept)
            total = torch.stack(sums, dim=1)[torch.arange(len(latent), device=latent.device), kept]
        else:
            total = sums[-1]
        # The maps' own gradient trains φ; that of the latents passes as if nothing had been quantized.
        return total + (latent - latent.detach())

    def loss(self, latent: torch.Tensor) -> torch.Tensor:
        """The commitment of the latents to the sum of all their maps, a scalar."""
        with torch.no_grad():
            total = self._maps(latent)[2][-1]
        return self.quantizer.commitment * F.mse_loss(latent.float(), total)

    @torch.no_grad()
    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """`(B, side, side, d)` float to tokens `(B, T) int64`, the maps from coarse to fine."""
        indices = self._maps(latent)[0]
        return torch.cat([index.view(len(latent), -1) for index in indices], dim=1)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens `(B, T) int64` to the sum of their maps, `(B, side, side, d) float32`.

        Fewer tokens, up to the end of any map, give a coarser sum. Raises `ValueError` for another number of them.
        """
        if tokens.shape[1] not in self.ends:
            raise ValueError(f"Maps of sides {self.sides} end after {self.ends} tokens, not after {tokens.shape[1]}.")
        firsts = [0, *self.ends]
        total = torch.zeros(1, dtype=torch.float32, device=tokens.device)
        for scale, end in enumerate(self.ends[: self.ends.index(tokens.shape[1]) + 1]):
            total = total + self._enlarge(self.quantizer.decode(tokens[:, firsts[scale] : end]), scale)
        return total

    def _maps(self, latent: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """Of each scale the codes `(B·side²,)`, the vectors that they stand for `(B·side², d)`, and the sum so far."""
        left, total = latent.detach().float(), torch.zeros_like(latent, dtype=torch.float32)
        indices, residuals, sums = [], [], []
        for scale, side in enumerate(self.sides):
            small = F.adaptive_avg_pool2d(left.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
            residuals.append(small.flatten(0, 2))
            indices.append(self.quantizer.encode(residuals[-1]))
            codes = self.quantizer.decode(indices[-1]).view(len(latent), side**2, -1)
            enlarged = self._enlarge(codes, scale)
            left = left - enlarged.detach()
            total = total + enlarged
            sums.append(total)
        return indices, residuals, sums

    def _enlarge(self, codes: torch.Tensor, scale: int) -> torch.Tensor:
        """A map of codes `(B, side², d)` at the size of the grid, `(B, h, w, d)`: h / 2 + conv(h) / 2."""
        side, finest = self.sides[scale], self.sides[-1]
        maps = codes.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if side != finest:
            maps = F.interpolate(maps, (finest, finest), mode="bilinear", align_corners=False)
        return (maps / 2 + self.smooth[scale](maps).float() / 2).permute(0, 2, 3, 1)
