"""The values that the page "Write your own decoder" checks each step by, from one golden file: `steps()`.

`python tools/make_decoder_steps.py` writes them to book/_static/decoder.json; a test compares the two.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import arlib
from arlib import container, fixedpoint, rangecoder

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tests" / "golden" / "00.ptb"
OUT = ROOT / "book" / "_static" / "decoder.json"


def steps() -> dict[str, Any]:
    """What comes out of each step, in order."""
    data = FILE.read_bytes()
    header = container.read_header(data)
    codec = arlib.load_codec("book")
    state = codec.prior.state_dict()
    tokens = codec.decompress_tokens(data)
    logits = codec.logits(tokens[None])[0]
    first, second = (fixedpoint.frequencies(logits[row]) for row in (0, 1))
    flat = tokens.flatten()
    picture = codec.decompress(data)
    return {
        "1 header": {"version": data[3], "model": header.model, "bytes": len(data), "payload": len(data) - 16},
        "2 checksums": {"tokens": data[8:12].hex(), "file": data[12:16].hex()},
        "3 weights": {"start, first three": state["start"][:3].tolist(), "tensors": len(state)},
        "4 integers": {
            "start, first three": codec.twin.weights["start"].flatten()[:3].long().tolist(),
            "digest": codec.twin.digest(),
        },
        "5 logits": {
            "row 0, first three": logits[0, :3].tolist(),
            "row 599, last three": logits[599, -3:].tolist(),
            "sha256 of row 0, int64": hashlib.sha256(logits[0].numpy().astype("<i8").tobytes()).hexdigest(),
        },
        "6 frequencies": {
            "row 0, first three": first[:3].tolist(),
            "largest of row 1": int(second.max()),
            "sum": int(first.sum()),
        },
        "7 range decoder": {
            "first eight tokens": flat[:8].tolist(),
            "begin of token 0 in row 0": int(rangecoder.cumulate(first)[flat[0]]),
        },
        "8 tokens": {
            "last eight tokens": flat[-8:].tolist(),
            "sum": int(flat.sum()),
            "sha256, int32": hashlib.sha256(flat.to(torch.int32).numpy().astype("<i4").tobytes()).hexdigest(),
        },
        "9 picture": {
            "top left, red green blue": picture[0, 0].tolist(),
            "mean": round(picture.float().mean().item(), 1),
        },
    }


if __name__ == "__main__":
    OUT.write_text(json.dumps(steps(), indent=1) + "\n", encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))
