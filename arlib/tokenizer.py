"""Image tokenizer: an encoder, a quantizer and a decoder (chapters 2 to 4)."""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from arlib.patches import check_divides
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.scales import Pyramid

Quantizer: TypeAlias = BSQ | VQ | Product | Residual | Pyramid

FINE = 16  # channels a pixel where blocks refine them
BATCH = 32  # how many pictures pass through a network at a time


class ImageTokenizer(nn.Module):
    """From pictures to a grid of tokens and back: `(B, h, w)`, or with c codebooks `(B, h, w, c)`.

    With a `Pyramid` it is a sequence `(B, T)`, the maps from coarse to fine. Pictures have `channels` colors, 1 or 3.

    `depth` is the number of residual blocks on each side, `width` their channels; depth 0 is the linear code, one
    matrix from the pixels of a patch to its latent and one back. With `quantizer=None` it is the plain patch
    auto-encoder, whose "tokens" are the latents themselves, `latent_dim` numbers a patch.

    `refine` is the number of residual blocks that follow where the patches lie side by side as pixels, so that no seam
    is out of their reach. With `qualities` the encoder has a dial (chapter 16): quality 0 spends the fewest bits, the
    last one makes the best picture, and the decoder need not know which it was.
    """

    def __init__(
        self,
        patch_size: int = 5,
        width: int = 128,
        depth: int = 4,
        quantizer: Quantizer | None = None,
        latent_dim: int | None = None,
        channels: int = 3,
        refine: int = 0,
        qualities: int = 0,
    ):
        super().__init__()
        if depth == 0 and (refine or qualities):
            raise ValueError(
                "The linear code, of depth 0, has neither blocks to refine pixels nor a dial of qualities."
            )
        if qualities == 1:
            raise ValueError("A dial has two settings or more.")
        if (quantizer is None) == (latent_dim is None):
            raise ValueError("Give either a quantizer or, for a plain auto-encoder, latent_dim.")
        self.patch_size = patch_size
        self.width = width
        self.depth = depth
        self.quantizer = quantizer
        self.latent_dim: int = quantizer.latent_dim if quantizer is not None else latent_dim  # type: ignore[assignment]
        self.channels = channels
        self.refine = refine
        self.encoder = patch_encoder(patch_size, width, depth, self.latent_dim, channels)
        self.decoder = patch_decoder(patch_size, width, depth, self.latent_dim, channels, refine)
        self.dial = nn.Parameter(torch.zeros(qualities, width)) if qualities else None
        self.float()  # whatever torch's default dtype is

    @property
    def config(self) -> dict:
        """What `from_config` needs to build the same network."""
        quantized = self.quantizer is not None
        config = {
            "patch_size": self.patch_size,
            "width": self.width,
            "depth": self.depth,
            "quantizer": self.quantizer.config if self.quantizer is not None else None,
            "latent_dim": None if quantized else self.latent_dim,
        }
        # Only where they are used, so that older weights stay what they were.
        config |= {} if self.channels == 3 else {"channels": self.channels}
        config |= {"refine": self.refine} if self.refine else {}
        return config if self.dial is None else {**config, "qualities": self.qualities}

    @classmethod
    def from_config(cls, config: dict) -> "ImageTokenizer":
        quantizer = config["quantizer"] and quantizer_from_config(config["quantizer"])
        return cls(**{**config, "quantizer": quantizer})

    @property
    def codebook_size(self) -> int:
        """How many codes there are (none for a plain auto-encoder, which raises `ValueError`)."""
        if self.quantizer is None:
            raise ValueError("A tokenizer without a quantizer has no codebook.")
        return self.quantizer.codebook_size

    @property
    def qualities(self) -> int:
        """How many settings the encoder's dial has, 0 where there is none."""
        return 0 if self.dial is None else len(self.dial)

    @property
    def token_dims(self) -> int:
        """How many dimensions a batch of tokens has: 3 for grids, 4 for several codebooks, 2 for a pyramid."""
        if isinstance(self.quantizer, Pyramid):
            return 2
        return 4 if self.quantizer is None or self.quantizer.codebooks > 1 else 3

    def forward(
        self, pixels: torch.Tensor, quality: torch.Tensor | float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The pass that training uses: `(B, H, W, C)` float in [-0.5, 0.5] to its reconstruction and its latents.

        The latents, `(B, H / p, W / p, latent_dim)`, are those before quantization; gradients get through it.
        """
        latent = self._latent(pixels, self.check_quality(quality, len(pixels)))
        return self.paint(latent if self.quantizer is None else self.quantizer(latent)), latent

    def encode(self, images: torch.Tensor, quality: torch.Tensor | float | None = None) -> torch.Tensor:
        """`(B, H, W, C) uint8` to tokens `(B, H / p, W / p) int64`, `(B, H / p, W / p, c)` or `(B, T)` (see the class).

        Without a quantizer: to latents `(B, H / p, W / p, latent_dim) float32`. `quality`, a number or one for
        each picture, `(B,)`, is the encoder's dial, if it has one: the best, where it is left out.
        Raises `ValueError` for another dtype or shape, where patches do not tile the picture, or for a quality that the
        dial does not have.
        """
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[-1] != self.channels:
            raise ValueError(f"encode takes (B, H, W, {self.channels}) uint8, not {describe(images)}.")
        height, width = images.shape[1:3]
        check_divides(height, width, self.patch_size)
        if isinstance(self.quantizer, Pyramid) and {height, width} != {self.quantizer.sides[-1] * self.patch_size}:
            side = self.quantizer.sides[-1] * self.patch_size
            raise ValueError(f"This pyramid is made of pictures of {side}×{side} pixels, not of {height}×{width}.")

        def tokens_of(batch: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
            latent = self._latent(to_float(batch), quality)
            return latent if self.quantizer is None else self.quantizer.encode(latent)

        return self._in_batches(tokens_of, images, self.check_quality(quality, len(images)))

    def latents(self, images: torch.Tensor, quality: torch.Tensor | float | None = None) -> torch.Tensor:
        """What `encode` makes codes of: `(B, H, W, C) uint8` to `(B, H / p, W / p, latent_dim) float32`.

        Raises `ValueError` for a quality that the dial does not have.
        """

        def latent_of(batch: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
            return self._latent(to_float(batch), quality)

        return self._in_batches(latent_of, images, self.check_quality(quality, len(images)))

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens, as `encode` gives them, to pictures `(B, h * p, w * p, C) uint8`; latents, without a quantizer.

        A pyramid's tokens may end after any of its maps: the picture is then coarser.

        Raises `ValueError` for another shape or dtype, or a token that is in no codebook.
        """
        if self.quantizer is None:
            if tokens.dim() != 4 or tokens.shape[-1] != self.latent_dim or not tokens.is_floating_point():
                raise ValueError(f"decode takes (B, h, w, {self.latent_dim}) latents, not {describe(tokens)}.")
        else:
            if tokens.dim() != self.token_dims or tokens.dtype != torch.int64:
                shape = {2: "a sequence (B, T)", 3: "a grid (B, h, w)", 4: "a grid (B, h, w, codebooks)"}
                raise ValueError(f"decode takes {shape[self.token_dims]} int64, not {describe(tokens)}.")
            if tokens.dim() == 4 and tokens.shape[-1] != self.quantizer.codebooks:
                raise ValueError(f"This tokenizer has {self.quantizer.codebooks} codebooks, not {tokens.shape[-1]}.")
            if tokens.numel() and (tokens.min() < 0 or tokens.max() >= self.codebook_size):
                raise ValueError(f"Tokens lie in [0, {self.codebook_size}); here is one that does not.")

        def images_of(batch: torch.Tensor) -> torch.Tensor:
            return to_uint8(self.paint(batch if self.quantizer is None else self.quantizer.decode(batch)))

        return self._in_batches(images_of, tokens)

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """`(B, H, W, C) uint8` to the same, by way of the tokens."""
        return self.decode(self.encode(images))

    def check_quality(self, quality: torch.Tensor | float | None, batch_size: int) -> torch.Tensor:
        """The dial's setting for each picture, `(B,) float32`; raises `ValueError` for one that it does not have."""
        if self.dial is None:
            if quality is not None:
                raise ValueError("This tokenizer has no dial: leave the quality out.")
            return torch.zeros(batch_size, dtype=torch.float32)
        quality = self.qualities - 1 if quality is None else quality
        settings = quality if isinstance(quality, torch.Tensor) else torch.full((batch_size,), float(quality))
        settings = settings.float()
        if settings.shape != (batch_size,):
            raise ValueError(f"A quality for {batch_size} pictures is a number or ({batch_size},), not {quality}.")
        if not ((settings >= 0) & (settings <= self.qualities - 1)).all():
            raise ValueError(f"A quality lies between 0 and {self.qualities - 1}; here is another one.")
        return settings

    @torch.no_grad()
    def _in_batches(self, function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        """The function applied to a few rows at a time on the model's device, so that memory stays small."""
        if len(inputs[0]) == 0:
            raise ValueError("There is no picture in this batch.")
        device = next(self.parameters()).device
        batches = zip(*(each.split(BATCH) for each in inputs), strict=True)
        return torch.cat([function(*(part.to(device) for part in parts)).to(inputs[0].device) for parts in batches])

    def _latent(self, pixels: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2)
        if self.dial is None:
            return self.encoder(x).permute(0, 2, 3, 1).float()
        # The first layer makes channels of pixels; the setting is one more number added to each of them. What lies
        # between two settings is their mixture.
        below = quality.long().clamp(max=self.qualities - 2)
        setting = torch.lerp(self.dial[below], self.dial[below + 1], (quality - below)[:, None])
        x = self.encoder[0](x) + setting[:, :, None, None]
        return self.encoder[1:](x).permute(0, 2, 3, 1).float()

    def paint(self, latent: torch.Tensor) -> torch.Tensor:
        """What the decoder's net makes of codes' vectors: `(B, h, w, latent_dim)` to `(B, H, W, C)` float."""
        return self.decoder(latent.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()


class ResidualBlock(nn.Module):
    """What lets patches speak to their neighbors: x + conv1×1(GELU(conv3×3(norm(x)))), `(B, C, h, w)` to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mix(F.gelu(self.conv(self.norm(x))))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm (Ba et al. 2016) over the channels of `(B, C, h, w)`, at each place by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def quantizer_from_config(config: dict) -> Quantizer:
    """The quantizer that a `config` describes; a name that is none raises `ValueError`."""
    options = {key: value for key, value in config.items() if key != "name"}
    match config["name"]:
        case "BSQ":
            return BSQ(**options)
        case "VQ":
            return VQ(**options)
        case "Product" | "Residual" as name:
            parts = [quantizer_from_config(part) for part in options["quantizers"]]
            return (Product if name == "Product" else Residual)(parts)  # type: ignore[arg-type]
        case "Pyramid":
            inner = quantizer_from_config(options["quantizer"])
            return Pyramid(inner, options["sides"], options["cut"])  # type: ignore[arg-type]
        case name:
            raise ValueError(f"There is no quantizer {name!r}.")


def patch_encoder(patch_size: int, width: int, depth: int, latent_dim: int, channels: int) -> nn.Sequential:
    """`(B, C, H, W)` to `(B, latent_dim, H / p, W / p)`: a strided convolution sees each patch once."""
    if depth == 0:
        return nn.Sequential(nn.Conv2d(channels, latent_dim, patch_size, stride=patch_size))
    return nn.Sequential(
        nn.Conv2d(channels, width, patch_size, stride=patch_size),
        *[ResidualBlock(width) for _ in range(depth)],
        ChannelNorm(width),
        nn.Conv2d(width, latent_dim, 1),
    )


def patch_decoder(
    patch_size: int, width: int, depth: int, latent_dim: int, channels: int, refine: int
) -> nn.Sequential:
    """`(B, latent_dim, h, w)` to `(B, C, h * p, w * p)`: the encoder read backwards, then `refine` blocks on pixels."""
    if depth == 0:
        return nn.Sequential(nn.ConvTranspose2d(latent_dim, channels, patch_size, stride=patch_size))
    painted = FINE if refine else channels
    finish = [*[ResidualBlock(FINE) for _ in range(refine)], nn.Conv2d(FINE, channels, 3, padding=1)] if refine else []
    return nn.Sequential(
        nn.Conv2d(latent_dim, width, 1),
        *[ResidualBlock(width) for _ in range(depth)],
        ChannelNorm(width),
        nn.ConvTranspose2d(width, painted, patch_size, stride=patch_size),
        *finish,
    )


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [-0.5, 0.5]."""
    return images.float() / 255 - 0.5


def to_uint8(pixels: torch.Tensor) -> torch.Tensor:
    """Float in [-0.5, 0.5] to uint8, rounded to the nearest gray level and clipped to [0, 255]."""
    return ((pixels + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)


def describe(tensor: torch.Tensor) -> str:
    """A tensor's shape and dtype, for an error message."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
