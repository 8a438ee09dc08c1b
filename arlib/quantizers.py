"""Binary spherical quantization: a vector becomes one bit for each of its dimensions (chapter 4).

A quantizer has a `codebook_size`, a `latent_dim`, and three things it can do: `forward` quantises latents so that a
gradient gets through, `encode` names the code of each latent, `decode` gives the vector of each code.
"""

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

    @property
    def config(self) -> dict:
        return {"name": "BSQ", "bits": self.latent_dim}

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., bits)` to the same shape, each vector a corner of the cube.

        The gradient is the straight-through one (Bengio et al. 2013): it passes the step as if that were not there.
        """
        on_sphere = F.normalize(latent.float(), dim=-1)
        return on_sphere + (self._corner(on_sphere) - on_sphere).detach()

    def encode(self, latent: torch.Tensor) -> torch.Tensor:
        """The code of each latent: `(..., bits)` float to `(...)` int64 in [0, 2^bits)."""
        return ((latent >= 0).long() * self._powers(latent.device)).sum(-1)

    def decode(self, index: torch.Tensor) -> torch.Tensor:
        """The corner of each code: `(...)` int64 to `(..., bits)` float32."""
        bits = (index[..., None] // self._powers(index.device)) % 2
        return self._corner(bits * 2 - 1)

    def _corner(self, vector: torch.Tensor) -> torch.Tensor:
        # Not torch.sign, which has a third value at zero.
        return torch.where(vector >= 0, 1.0, -1.0) / self.latent_dim**0.5

    def _powers(self, device: torch.device) -> torch.Tensor:
        # Integers throughout: in half precision a sum of powers of two above 2^8 is rounded to another code.
        return torch.tensor([2**i for i in range(self.latent_dim)], device=device)
