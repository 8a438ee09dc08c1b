"""What the page "Try it" brings along: a dozen frames, what other formats make of each, and the colors of tokens.

It all goes into book/_static/try.json.

`python tools/make_try.py` chooses the frames, codes them with `book`, and asks Pillow for the best WebP, AVIF and JPEG
file that is no larger; where there is none, for the smallest. Sphinx puts the rest onto the site (sphinx_try.py).
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import arlib
from arlib import data, metrics, tokenset
from arlib.patches import patchify

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "_static" / "try.json"
FRAMES = {"valid": (230, 5, 28, 47, 66, 104, 142, 163, 200, 246), "unseen": (40, 180)}
CODECS = ("book", "fine")
PEERS = {
    "WebP": {"format": "WEBP", "method": 6},
    "AVIF": {"format": "AVIF", "speed": 0, "subsampling": "4:2:0"},
    "JPEG": {"format": "JPEG", "optimize": True, "subsampling": "4:2:0"},
}
QUALITY = 4  # of the codec with a dial, for its palette
QUALITIES = range(0, 41, 4)  # beyond it no file is as small as ours


def encoded(frame: torch.Tensor, quality: int, **options: str | int | bool) -> bytes:
    """A frame `(H, W, 3) uint8` as a file of another format."""
    content = io.BytesIO()
    Image.fromarray(frame.numpy()).save(content, quality=quality, **options)  # type: ignore[arg-type]
    return content.getvalue()


def psnr(frame: torch.Tensor, file: bytes) -> float:
    picture = torch.from_numpy(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).copy())
    return metrics.psnr(frame[None], picture[None]).item()


def best(frame: torch.Tensor, most: int, options: dict) -> dict[str, float]:
    """Bytes and PSNR of the best file of at most `most` bytes, or of the smallest file there is."""
    files = [encoded(frame, quality, **options) for quality in QUALITIES]
    fitting = [file for file in files if len(file) <= most] or [min(files, key=len)]
    measured = [(psnr(frame, file), len(file)) for file in fitting]
    ratio, size = max(measured)
    return {"bytes": size, "psnr": round(ratio, 2)}


def as_png(frame: torch.Tensor) -> str:
    content = io.BytesIO()
    Image.fromarray(frame.numpy()).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def golden() -> dict[str, str | list[int]]:
    """A golden file, and the tokens that every machine has to find in it."""
    folder = ROOT / "tests" / "golden"
    tokens = tokenset.read(folder / "golden.tokens").grids[0].flatten().tolist()
    return {"file": base64.b64encode((folder / "00.ptb").read_bytes()).decode(), "tokens": tokens}


def palette(name: str) -> str:
    """The mean color of the patches of valid to which a tokenizer gives each code (of its first codebook): base64.

    A color is three bytes; a code that no patch got is gray. The page paints with them while a file is being decoded.
    """
    tokenizer = arlib.load_tokenizer(name)
    sums, counts = torch.full((1024, 3), 128.0), torch.ones(1024)
    for frame in data.load("supertuxkart", "valid"):
        grid = tokenizer.encode(frame[None], QUALITY if tokenizer.qualities else None)[0]
        codes = (grid[..., 0] if grid.ndim == 3 else grid).flatten()
        colors = patchify(frame[None].float(), 5).view(len(codes), 25, 3).mean(1)
        sums.index_add_(0, codes, colors)
        counts.index_add_(0, codes, torch.ones(len(codes)))
    return base64.b64encode((sums / counts[:, None]).round().to(torch.uint8).numpy().tobytes()).decode()


def main() -> None:
    codec = arlib.load_codec("book")
    frames = []
    for split, numbers in FRAMES.items():
        pictures = data.load("supertuxkart", split)
        for number in numbers:
            frame = pictures[number]
            file = codec.compress(frame)
            ours = {"bytes": len(file), "psnr": round(psnr_of(frame, codec.decompress(file)), 2)}
            peers = {name: best(frame, len(file), options) for name, options in PEERS.items()}
            frames.append({"name": f"{split} {number}", "png": as_png(frame), "ours": ours, "peers": peers})
            print(split, number, ours, peers)
    shown = {"frames": frames, "golden": golden(), "palettes": {name: palette(name) for name in CODECS}}
    OUT.write_text(json.dumps(shown) + "\n", encoding="utf-8")


def psnr_of(frame: torch.Tensor, picture: torch.Tensor) -> float:
    return metrics.psnr(frame[None], picture[None]).item()


if __name__ == "__main__":
    main()
