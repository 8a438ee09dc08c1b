"""What the page "Try it" brings along: a dozen frames, what other formats make of each, and the colors of tokens.

It all goes into book/_static/try.json.

`python tools/make_try.py` chooses the frames, codes them with `book`, and puts next to each the best WebP, AVIF and
JPEG file that is no larger, or else the smallest. Which these are says book/_static/codecs.json, the table that
benchmarks/codecs.py writes; the files are made again here, so install benchmarks/requirements.txt first. Sphinx puts
the rest onto the site (sphinx_try.py).
"""

import base64
import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image

import arlib
from arlib import data, metrics, tokenset
from arlib.patches import patchify

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import peers  # noqa: E402
import race  # noqa: E402

OUT = ROOT / "book" / "_static" / "try.json"
TABLE = ROOT / "book" / "_static" / "codecs.json"
FRAMES = {"valid": (230, 5, 28, 47, 66, 104, 142, 163, 200, 246), "unseen": (40, 180)}
CODECS = ("book", "fine")
PEERS = {"WebP": "image/webp", "AVIF": "image/avif", "JPEG": "image/jpeg"}
QUALITY = 4  # of the codec with a dial, for its palette


def made_again(frame: torch.Tensor, peer: str, size: int) -> dict[str, str | int | float]:
    """A peer's best file of exactly `size` bytes. Raises `ValueError` where it makes none of that size."""
    for file in peers.front(peers.written(frame, peers.racing(peer))):
        if file.size == size:
            content = base64.b64encode(file.content).decode()
            return {"bytes": size, "psnr": round(file.psnr, 2), "type": PEERS[peer], "file": content}
    raise ValueError(
        f"{peer} makes no file of {size} bytes, as {TABLE} says: measure it again with benchmarks/codecs.py."
    )


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
    table = json.loads(TABLE.read_text(encoding="utf-8"))["splits"]
    frames = []
    for split, numbers in FRAMES.items():
        pictures, names = data.load("supertuxkart", split), race.names(split)
        for number in numbers:
            frame, measured = pictures[number], table[split]["by frame"][names[number]]
            file = codec.compress(frame)
            ours = {"bytes": len(file), "psnr": round(psnr_of(frame, codec.decompress(file)), 2)}
            others = {peer: made_again(frame, peer, measured[peer][0][0]) for peer in PEERS}
            frames.append({"name": f"{split} {number}", "png": as_png(frame), "ours": ours, "peers": others})
            print(split, number, ours, {peer: (it["bytes"], it["psnr"]) for peer, it in others.items()})
    shown = {"frames": frames, "golden": golden(), "palettes": {name: palette(name) for name in CODECS}}
    OUT.write_text(json.dumps(shown) + "\n", encoding="utf-8")


def psnr_of(frame: torch.Tensor, picture: torch.Tensor) -> float:
    return metrics.psnr(frame[None], picture[None]).item()


if __name__ == "__main__":
    main()
