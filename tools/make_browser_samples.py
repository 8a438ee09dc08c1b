"""Write tests/browser/sampled.json: tokens that twins speak by PyTorch's random numbers, for the tests of JavaScript.

`python tools/make_browser_samples.py`; tests/test_browser_page.py compares the file with what Python says today.
"""

import json
from pathlib import Path

import torch

import arlib
from arlib import sampling

PATH = Path(__file__).resolve().parent.parent / "tests" / "browser" / "sampled.json"
# Codec, then seed, temperature, top_k, label, and how many rows of tokens are kept.
SETTINGS = [
    ("digits-4x4", 0, 1.0, None, None, 0),
    ("digits-4x4", 1, 0.7, None, 3, 0),
    ("digits-4x4", 2, 1.5, 5, 9, 0),
    ("digits-4x4", 3, 1.0, 1, 0, 0),
    ("digits-4x4", 4, 1.0, None, 7, 2),
    ("digits-4x4x2", 2**31 + 5, 1.0, 40, 2, 1),
    ("digits-scales", 6, 1.0, None, 5, 0),
    ("digits-2x2x2", 7, 3.0, None, None, 0),
    ("cifar-any", 8, 1.0, 100, 4, 0),
]


def speak(name: str, seed: int, temperature: float, top_k: int | None, label: int | None, rows: int) -> dict:
    """The settings, under the names that JavaScript has for them, and the tokens `drawn`."""
    codec = arlib.load_codec(name)
    kept = torch.arange(codec.prior.length) * 37 % codec.prior.vocabulary
    drawn = sampling.generate(
        codec.twin,
        1,
        seed,
        1024 * temperature,  # a twin's logits are in units of 2^-10
        top_k,
        beginning=kept[: rows * len(kept) // codec.grid[0]] if rows else None,
        order=codec.order,
        label=-1 if label is None else label,
    )
    settings = {"seed": seed, "temperature": temperature, "topK": top_k, "label": label, "keepRows": rows}
    return {"codec": name, "settings": settings, "tokens": kept.tolist(), "drawn": drawn[0].tolist()}


def samples() -> list[dict]:
    """What each of the settings makes its codec say."""
    return [speak(*each) for each in SETTINGS]


def main() -> None:
    PATH.write_text(json.dumps(samples(), indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
