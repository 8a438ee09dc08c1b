"""Which part of a picture `generate` draws anew: in pixels, and in tokens."""

from pathlib import Path

import torch

from arlib import data
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer


def to_draw(
    image: torch.Tensor, patch_size: int, rows: int | None, keep: str | None, mask: Path | None, fit: bool
) -> torch.Tensor:
    """Which pixels of `image (H, W, C)` are to be drawn anew, `(H, W) bool`, by the one of three ways that is given."""
    height, width = image.shape[:2]
    drawn = torch.zeros(height, width, dtype=torch.bool)
    if mask is not None:
        return data.read_image(mask, height, width, fit, channels=1)[..., 0] >= 128
    if rows is not None:
        if not 0 <= rows <= height // patch_size:
            raise ValueError(f"--keep-rows lies between 0 and {height // patch_size}, the rows of tokens of a picture.")
        drawn[rows * patch_size :] = True
        return drawn
    # A token on the line that halves the picture is drawn anew, like all of which any pixel is.
    holes = {
        "top": (slice(height // 2, None), slice(None)),
        "bottom": (slice((height + 1) // 2), slice(None)),
        "left": (slice(None), slice(width // 2, None)),
        "right": (slice(None), slice((width + 1) // 2)),
        "outside": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }
    if keep not in holes:
        raise ValueError(f"--keep is one of {', '.join(holes)}, not {keep}.")
    drawn[holes[keep]] = True
    return drawn


def places_in(drawn: torch.Tensor, tokenizer: ImageTokenizer, grid: tuple[int, ...]) -> torch.Tensor:
    """The tokens `(T,) bool` that have any pixel to be drawn, `(H, W) bool`; of a pyramid, at each of its scales."""
    if isinstance(tokenizer.quantizer, Pyramid):
        cells = [cell for side in tokenizer.quantizer.sides for cell in cells_of(drawn, side, side).flatten()]
        return torch.stack(cells)
    places = cells_of(drawn, *grid[:2])
    return (places[..., None].expand(grid) if len(grid) == 3 else places).flatten()


def cells_of(drawn: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Which cells of a grid over the picture hold a pixel that is to be drawn, `(rows, columns) bool`."""
    return torch.nn.functional.adaptive_max_pool2d(drawn[None].float(), (rows, columns))[0] > 0
