"""Orders: from a grid of tokens to the sequence that a prior speaks, and back."""

import torch


def raster(grid: torch.Tensor) -> torch.Tensor:
    """`(B, h, w)` to `(B, h * w)`: row by row from the top, each from the left, as one reads."""
    return grid.flatten(1)


def unraster(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`(B, height * width)` to `(B, height, width)`: the inverse of `raster`.

    Raises `ValueError` where the sequences have another length.
    """
    if tokens.shape[1] != height * width:
        raise ValueError(f"{tokens.shape[1]} tokens do not fill a grid of {height}×{width}.")
    return tokens.unflatten(1, (height, width))
