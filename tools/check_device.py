"""Does a device compute the integers of the golden files? `python tools/check_device.py cuda` says so, codec by codec.

One pass of the twin on the device gives the logits of the golden tokens, whose SHA-256 is committed, and encodes them
to the committed files. (Decoding goes step by step, and the twin's steps are computed on the CPU everywhere.)
"""

import hashlib
import sys
from pathlib import Path

import torch

import arlib
from arlib import tokenset
from arlib.fixedpoint import Twin

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"


def check(folder: Path, device: str) -> tuple[bool, bool]:
    """Whether the logits, and whether the files, of one codec's golden tokens are the committed ones."""
    stored = tokenset.read(folder / "golden.tokens")
    codec = arlib.load_codec("book" if folder == GOLDEN else folder.name)
    codec.twin = Twin(codec.prior, device)
    sha = hashlib.sha256()
    for number in range(len(stored.grids)):
        each = slice(number, number + 1)
        logits = codec.logits(stored.grids[each], None if stored.labels is None else stored.labels[each])
        sha.update(logits.cpu().numpy().astype("<i8").tobytes())
    files = [path.read_bytes() for path in sorted(folder.glob("*.ptb"))]
    return (
        sha.hexdigest() == (folder / "logits.sha256").read_text().strip(),
        codec.compress_tokens_batch(stored.grids, stored.labels) == files,
    )


def main() -> None:
    device = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    wrong = 0
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if device.startswith('cuda') else device}")
    for folder in sorted(path.parent for path in GOLDEN.rglob("golden.tokens")):
        logits, files = check(folder, device)
        wrong += not (logits and files)
        name = "book" if folder == GOLDEN else folder.name
        print(f"{name:22} logits {'equal' if logits else 'DIFFERENT'}, files {'equal' if files else 'DIFFERENT'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
