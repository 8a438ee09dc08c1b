"""Write tests/golden: a dozen files of the codec `book`, with their tokens, their pictures and the twin's logits' hash.

`python tools/make_golden.py`, once for a version of the format: what is there must decode for ever, so that a folder
that holds files already is left alone.
"""

import hashlib
import sys
from pathlib import Path

import torch

import arlib
from arlib import checkpoints, data, orders, tokenset
from arlib.fixedpoint import Twin

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden"


def grids() -> torch.Tensor:
    """`(12, 20, 30) int64`: ten frames, and two grids that no picture has, one of noise and one of a single token."""
    stored = [tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids for split in ("valid", "unseen")]
    noise = torch.arange(600).view(1, 20, 30) ** 2 * 7919 % 1021
    return torch.cat([stored[0][::32], stored[1][::128], noise, torch.full((1, 20, 30), 1023)])


def logits_hash(twin: Twin, sequences: torch.Tensor) -> str:
    """SHA-256 of the twin's logits of `(N, T) int64`, each as eight bytes, the lowest first."""
    sha = hashlib.sha256()
    for sequence in sequences.split(1):
        sha.update(twin(sequence).numpy().astype("<i8").tobytes())
    return sha.hexdigest()


def main() -> None:
    if any(FOLDER.glob("*.ptb")):
        sys.exit(f"{FOLDER} holds golden files already.")
    FOLDER.mkdir(exist_ok=True)
    codec, tokens = arlib.load_codec("book"), grids()
    weights = checkpoints.find("tokenizer", checkpoints.read_header(checkpoints.find("prior", "book"))["tokenizer"])
    tokenset.write(FOLDER / "golden.tokens", tokens, codec.tokenizer.codebook_size, checkpoints.sha256(weights))
    for number, (file, picture) in enumerate(
        zip(codec.compress_tokens_batch(tokens), codec.tokenizer.decode(tokens), strict=True)
    ):
        (FOLDER / f"{number:02}.ptb").write_bytes(file)
        data.write_image(FOLDER / f"{number:02}.webp", picture)
    (FOLDER / "logits.sha256").write_text(logits_hash(codec.twin, orders.raster(tokens)) + "\n", encoding="utf-8")
    print(FOLDER)


if __name__ == "__main__":
    main()
