"""Quantizers: a vector becomes a code (chapter 3: one of a table of vectors; chapter 4: one bit for each dimension).

All of them have a `latent_dim`, a `codebook_size`, the number of `codebooks`, and four things they can do: `forward`
quantizes latents so that a gradient gets through, `loss` is what training adds for their sake, `encode` names the code
of each latent, `decode` gives the vector of each code. With one codebook a code is a number; with c of them it is c
numbers, `(..., c)`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class BSQ(nn.Module):
    """Binary spherical quantization (Zhao, Xiong and Krähenbühl 2024, arXiv 2406.07548).

    A latent is moved to the unit sphere and then to the nearest corner of the cube that the sphere surrounds: each of
    its `bits` dimensions becomes ±1/√bits. Bit i of a code is 1 where dimension i is positive or zero, and counts 2^i.
    """

    def __init__(self, bits: int):
        super().__init__()
        if not 1 <= bits <= 18:
            raise ValueError(f"BSQ takes 1 to 18 bits, not {bits}.")
        self.latent_dim = bits
        self.codebook_size = 2**bits

    codebooks = 1

    @property
    def config(self) -> dict:
        return {"name": "BSQ", "bits": self.latent_dim}

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., bits)` to the same shape, each vector a corner of the cube.

        The gradient is the straight-through one (Bengio et al. 2013): it passes the step as if that were not there.
        """
        on_sphere = F.normalize(latent.float(), dim=-1)
        return on_sphere + (self._corner(on_sphere) - on_sphere).detach()

    def loss(self, latent: torch.Tensor) -> torch.Tensor:
        """BSQ adds nothing to the loss: a scalar 0."""
        return latent.new_zeros(())

    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """The code of each latent: `(..., bits)` float to `(...)` int64 in [0, 2^bits)."""
        return ((latent >= 0).long() * self._powers(latent.device)).sum(-1)

    def decode(self, index: torch.Tensor) -> torch.Tensor:
        """The corner of each code: `(...)` int64 to `(..., bits)` float32."""
        bits = (index[..., None] // self._powers(index.device)) % 2
        return self._corner(bits * 2 - 1)

    def _corner(self, vector: torch.Tensor) -> torch.Tensor:
        # Not torch.sign, which has a third value at zero.
        return torch.where(vector >= 0, 1.0, -1.0).float() / self.latent_dim**0.5

    def _powers(self, device: torch.device) -> torch.Tensor:
        # Integers throughout: in half precision a sum of powers of two above 2^8 is rounded to another code.
        return torch.tensor([2**i for i in range(self.latent_dim)], device=device)


class VQ(nn.Module):
    """Vector quantization (van den Oord et al. 2017, arXiv 1711.00937): the nearest of `codebook_size` vectors.

    The codes start as latents of the first batch. With `decay` they are moving averages of the latents that chose them
    (its appendix A.1); with `decay=None` they are learned by gradients from `loss`. A code that few latents choose,
    on average less than `revival` times its share, is put onto a latent of the batch (Łańcucki et al. 2020,
    arXiv 2005.08520). `commitment` weighs how strongly latents are drawn to their codes. Only `forward` in train mode
    moves a code: a tokenizer whose tokens a prior learns stands still.
    """

    codebooks = 1
    codes: torch.Tensor
    usage: torch.Tensor

    def __init__(
        self,
        codebook_size: int,
        latent_dim: int,
        decay: float | None = 0.99,
        commitment: float = 0.25,
        revival: float = 0.1,
    ):
        super().__init__()
        if codebook_size < 2 or latent_dim < 1:
            raise ValueError(f"VQ takes 2 codes of 1 number at least, not {codebook_size} of {latent_dim}.")
        self.codebook_size, self.latent_dim = codebook_size, latent_dim
        self.decay, self.commitment, self.revival = decay, commitment, revival
        codes = torch.zeros(codebook_size, latent_dim, dtype=torch.float32)
        if decay is None:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
        # How often each code is chosen, 1 being its share of a uniform use; all zero before the first batch.
        self.register_buffer("usage", torch.zeros(codebook_size, dtype=torch.float32))

    @property
    def config(self) -> dict:
        return {
            "name": "VQ",
            "codebook_size": self.codebook_size,
            "latent_dim": self.latent_dim,
            "decay": self.decay,
            "commitment": self.commitment,
            "revival": self.revival,
        }

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., d)` to the same shape, each vector a code; the gradient passes as if nothing had happened."""
        latent = latent.float()
        if self.training and not self.usage.any():
            self._begin(latent.detach().flatten(0, -2))
        index = self.encode(latent)
        codes = self.decode(index).detach()  # before they move
        if self.training:
            self.update(latent.detach().flatten(0, -2), index.flatten())
        return latent + (codes - latent).detach()

    def loss(self, latent: torch.Tensor) -> torch.Tensor:
        """`commitment` × the squared distance of latents to their codes, plus, with `decay=None`, that of the codes."""
        latent = latent.float()
        codes = self.decode(self.encode(latent))
        loss = self.commitment * F.mse_loss(latent, codes.detach())
        return loss if self.decay is not None else loss + F.mse_loss(codes, latent.detach())

    @torch.no_grad()
    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """The nearest code of each latent: `(..., d)` float to `(...)` int64."""
        flat = latent.float().flatten(0, -2)
        # |z - c|² = |z|² - 2 z·c + |c|²: a matrix product in place of all differences. It loses digits where both are
        # far from zero, so their mean is taken away first, and half precision must not get hold of it.
        center = self.codes.float().mean(0)
        codes = self.codes.float() - center
        with torch.autocast(latent.device.type, enabled=False):
            scores = codes.square().sum(-1) - 2 * (flat - center) @ codes.T
        return scores.argmin(-1).view(latent.shape[:-1])

    def decode(self, index: torch.Tensor) -> torch.Tensor:
        """The vector of each code: `(...)` int64 to `(..., d)` float32."""
        return F.embedding(index, self.codes).float()

    @torch.no_grad()
    def update(self, latent: torch.Tensor, index: torch.Tensor) -> None:
        """Move the codes towards the latents `(N, d)` that chose them by `index (N,)`, and revive those few chose."""
        if not self.usage.any():
            return self._begin(latent)
        scale = self.codebook_size / len(latent)
        share = torch.bincount(index, minlength=self.codebook_size) * scale
        decay = 0.99 if self.decay is None else self.decay
        usage = decay * self.usage + (1 - decay) * share
        if self.decay is not None:
            # The average of old usage and new latents, written as a step: a code that none chose stays where it is.
            sums = torch.zeros_like(self.codes).index_add_(0, index, latent) * scale
            steps = (1 - decay) * (sums - share[:, None] * self.codes)
            self.codes.add_(torch.where(share[:, None] > 0, steps / usage[:, None], 0.0))
        self.usage.copy_(usage)
        dead = (self.usage < self.revival).nonzero().flatten()
        if len(dead):
            self.codes[dead] = latent[torch.randint(len(latent), (len(dead),), device=latent.device)]
            self.usage[dead] = 1.0
        return None

    @torch.no_grad()
    def _begin(self, latent: torch.Tensor) -> None:
        """The first codes: random latents `(N, d)` of the first batch."""
        self.codes.copy_(latent[torch.randint(len(latent), (self.codebook_size,), device=latent.device)])
        self.usage.fill_(1.0)


class Several(nn.Module):
    """What `Product` and `Residual` share: quantizers of one codebook size, whose codes are stacked, `(..., c)`."""

    def __init__(self, quantizers: Sequence[BSQ | VQ]):
        super().__init__()
        if len(quantizers) < 2 or len({quantizer.codebook_size for quantizer in quantizers}) > 1:
            raise ValueError("Several codebooks are two or more of one size, as one vocabulary serves them all.")
        self.quantizers = nn.ModuleList(quantizers)
        self.codebook_size = quantizers[0].codebook_size
        self.codebooks = len(quantizers)

    @property
    def config(self) -> dict:
        return {"name": type(self).__name__, "quantizers": [quantizer.config for quantizer in self.each]}

    @property
    def each(self) -> list[BSQ | VQ]:
        """The quantizers, one a codebook."""
        return list(self.quantizers)  # type: ignore[arg-type]


class Product(Several):
    """Product quantization (Jégou et al. 2011): the latent is cut into parts, and each part has its own codebook."""

    def __init__(self, quantizers: Sequence[BSQ | VQ]):
        super().__init__(quantizers)
        self.parts = [quantizer.latent_dim for quantizer in quantizers]
        self.latent_dim = sum(self.parts)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., d)` to the same shape, each part of each vector a code of its own codebook."""
        return torch.cat([quantizer(part) for quantizer, part in self._with_parts(latent)], dim=-1)

    def loss(self, latent: torch.Tensor) -> torch.Tensor:
        """The mean of the codebooks' losses, a scalar."""
        return torch.stack([quantizer.loss(part) for quantizer, part in self._with_parts(latent)]).mean()

    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """The codes of each latent: `(..., d)` float to `(..., c)` int64."""
        return torch.stack([quantizer.encode(part) for quantizer, part in self._with_parts(latent)], dim=-1)

    def decode(self, index: torch.Tensor) -> torch.Tensor:
        """The vector of each tuple of codes: `(..., c)` int64 to `(..., d)` float32."""
        columns = zip(self.each, index.unbind(-1), strict=True)
        return torch.cat([quantizer.decode(column) for quantizer, column in columns], dim=-1)

    def _with_parts(self, latent: torch.Tensor):
        return zip(self.each, latent.split(self.parts, dim=-1), strict=True)


class Residual(Several):
    """Residual quantization (Juang and Gray 1982; Zeghidour et al. 2021): each codebook says what those before left."""

    def __init__(self, quantizers: Sequence[BSQ | VQ]):
        super().__init__(quantizers)
        if len({quantizer.latent_dim for quantizer in quantizers}) > 1:
            raise ValueError("The codebooks of a residual quantizer have vectors of one length.")
        self.latent_dim = quantizers[0].latent_dim

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., d)` to the same shape, each vector a sum of one code of each codebook."""
        left = latent.detach().float()
        for quantizer in self.each:
            left = left - quantizer(left).detach()
        return latent - left  # all that is left is taken away: the sum of the codes, with the latent's gradient

    def loss(self, latent: torch.Tensor) -> torch.Tensor:
        """The mean of the codebooks' losses, each on what those before it left over: a scalar."""
        losses, left = [], latent.float()
        for quantizer in self.each:
            losses.append(quantizer.loss(left))
            left = left - quantizer.decode(quantizer.encode(left)).detach()
        return torch.stack(losses).mean()

    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """The codes of each latent, from the first codebook on: `(..., d)` float to `(..., c)` int64."""
        codes, left = [], latent.float()
        for quantizer in self.each:
            codes.append(quantizer.encode(left))
            left = left - quantizer.decode(codes[-1])
        return torch.stack(codes, dim=-1)

    def decode(self, index: torch.Tensor) -> torch.Tensor:
        """The sum of the codes: `(..., c)` int64 to `(..., d)` float32. The first few alone give a coarser vector."""
        columns = zip(self.each, index.unbind(-1), strict=False)
        return torch.stack([quantizer.decode(column) for quantizer, column in columns]).sum(0)
