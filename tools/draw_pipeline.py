"""The pictures of the front page, into book/_static/steps: a frame on its way to a file and back, and a row of samples.

`python tools/draw_pipeline.py` draws them with the shipped models; the page names the numbers that it prints.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

import arlib
from arlib import data, metrics, orders, sampling

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static" / "steps"
NUMBER = 230  # of the frame in valid, which the tour follows too
SCALE = 3  # how many pixels of the drawing a pixel of the frame gets
HEADER = 16  # bytes of a file before its payload
SAMPLES = 5
SQUARE = 20  # the side of a byte


def enlarged(picture: torch.Tensor | np.ndarray, times: int) -> torch.Tensor:
    """Every pixel of `(H, W, 3) uint8` as a square of `times` × `times`."""
    return torch.as_tensor(picture).repeat_interleave(times, 0).repeat_interleave(times, 1)


def colored(values: torch.Tensor, name: str) -> np.ndarray:
    """Numbers from 0 to 1, `(h, w)`, as colors of a color map, `(h, w, 3) uint8`."""
    return (mpl.colormaps[name](values.numpy())[..., :3] * 255).round().astype(np.uint8)


def cut(frame: torch.Tensor, patch: int) -> torch.Tensor:
    """The frame with a gap around each patch."""
    picture = enlarged(frame, SCALE)
    size = patch * SCALE
    picture[::size], picture[:, ::size] = 255, 255
    return picture


def as_squares(file: bytes, columns: int = 20) -> torch.Tensor:
    """A file as rows of squares, a byte each: the header in orange, the payload gray by its value."""
    values = torch.tensor(list(file))
    shades = (60 + values * 150 // 255)[:, None].repeat(1, 3)
    shades[:HEADER] = torch.tensor([230, 126, 34])
    rows = -(-len(file) // columns)
    squares = torch.full((rows * columns, 3), 255)
    squares[: len(file)] = shades
    picture = enlarged(squares.view(rows, columns, 3).to(torch.uint8), SQUARE)
    picture[::SQUARE], picture[:, ::SQUARE] = 255, 255
    canvas = torch.full((100 * SCALE, 150 * SCALE, 3), 255, dtype=torch.uint8)
    top, left = (canvas.shape[0] - picture.shape[0]) // 2, (canvas.shape[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    tokenizer, prior, codec = arlib.load_tokenizer("book"), arlib.load_prior("book"), arlib.load_codec("book")
    frame = data.load("supertuxkart", "valid")[NUMBER]
    grid = tokenizer.encode(frame[None])
    bits = metrics.bits(prior, orders.raster(grid))[0].view(20, 30)
    file = codec.compress(frame)
    again = codec.decompress(file)
    drawn = tokenizer.decode(orders.unraster(sampling.generate(prior, SAMPLES, seed=4), 20, 30))
    steps = {
        "1-frame": enlarged(frame, SCALE),
        "2-patches": cut(frame, 5),
        "3-tokens": enlarged(colored(grid[0] / 1023, "nipy_spectral"), 5 * SCALE),
        "4-surprise": enlarged(colored((bits / 12).clamp(0, 1), "magma"), 5 * SCALE),
        "5-file": as_squares(file),
        "6-again": enlarged(again, SCALE),
        "samples": torch.cat([enlarged(picture, 2) for picture in drawn], dim=1),
    }
    for name, picture in steps.items():
        data.write_image(FOLDER / f"{name}.png", picture)
    print(f"{len(file)} bytes, {bits.mean():.2f} bits a token, {metrics.psnr(frame[None], again[None]).item():.1f} dB")


if __name__ == "__main__":
    main()
