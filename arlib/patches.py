"""Cut a picture into square patches, and put it together again (chapter 1)."""

import torch
from einops import rearrange


def patchify(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    """`(B, H, W, C)` to `(B, H / p, W / p, p * p * C)`: each patch a vector, its pixels in reading order.

    Raises `ValueError` where p does not divide H and W.
    """
    check_divides(images.shape[-3], images.shape[-2], patch_size)
    return rearrange(images, "b (h p) (w q) c -> b h w (p q c)", p=patch_size, q=patch_size)


def unpatchify(patches: torch.Tensor, patch_size: int) -> torch.Tensor:
    """`(B, H / p, W / p, p * p * C)` to `(B, H, W, C)`: the inverse of `patchify`."""
    return rearrange(patches, "b h w (p q c) -> b (h p) (w q) c", p=patch_size, q=patch_size)


def check_divides(height: int, width: int, patch_size: int) -> None:
    """Raise `ValueError` unless patches of this size tile a picture of this size."""
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise ValueError(
            f"Patches of {patch_size}×{patch_size} pixels do not tile a picture {height} pixels high and {width} wide: "
            "choose a patch size that divides both."
        )
