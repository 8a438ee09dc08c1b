"""The pictures of the data's card, into book/_static: a frame of each track, and some digits.

`python tools/draw_data.py` draws them from `data/`.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from arlib import data

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static"
DIGITS = 60
GAP = 2  # pixels


def sheet(pictures: list[np.ndarray], columns: int) -> Image.Image:
    """Pictures `(H, W, C) uint8` of one size, row by row, with a gap between them."""
    height, width, channels = pictures[0].shape
    rows = len(pictures) // columns
    whole = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        whole[top : top + height, left : left + width] = picture
    return Image.fromarray(whole.squeeze())


def tracks() -> list[np.ndarray]:
    """The middle one of the held-back frames of each track, the tracks by name."""
    frames = data.root() / "frames"
    with (frames / "frames.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["file"].startswith("train/")]
    files = {name: [row["file"] for row in rows if row["track"] == name] for name in sorted({r["track"] for r in rows})}
    return [np.asarray(Image.open(frames / each[len(each) // 2]).convert("RGB")) for each in files.values()]


def main() -> None:
    sheet(tracks(), columns=4).save(FOLDER / "tracks.webp", quality=90, method=6)
    digits = list(data.load("digits", "valid")[:DIGITS].numpy())
    sheet(digits, columns=DIGITS // 3).save(FOLDER / "digits.png", optimize=True)


if __name__ == "__main__":
    main()
