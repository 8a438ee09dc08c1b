"""Write tests/golden: some files of a shipped codec, with their tokens, their pictures and the twin's logits' hash.

`python tools/make_golden.py [NAME...]`, once for each codec; without names, for all shipped codecs of digits and of
CIFAR-10 that have no folder yet. What is there must decode for ever, so a folder that holds files is left alone. The
files of `book` lie in tests/golden itself, those of any other codec in a folder of its name.
"""

import hashlib
import sys
from pathlib import Path

import torch

import arlib
from arlib import checkpoints, codec, data, tokenset
from arlib.codec import Codec

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
SETS = {(28, 28, 1): "digits", (32, 32, 3): "cifar10"}  # by the size of their pictures


def folder_of(name: str) -> Path:
    return GOLDEN if name == "book" else GOLDEN / name


def missing() -> list[str]:
    """The shipped codecs of digits and of CIFAR-10 without golden files."""
    names = [name for name in codec.shipped() if not any(folder_of(name).glob("*.ptb"))]
    return [name for name in names if picture_set(arlib.load_codec(name)) is not None]


def picture_set(model: Codec) -> str | None:
    return SETS.get((*model.size, model.tokenizer.channels))


def samples(model: Codec) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Grids `(N, *grid) int64` and labels `(N,)`: real ones, the last of them without its label, and two that no
    picture has, one of noise and one of a single token. Where the tokenizer has a dial, the label is its setting."""
    name, labels = picture_set(model), None
    if model.tokenizer.qualities:
        frames = torch.cat([data.load("supertuxkart", split)[::128] for split in ("valid", "unseen")])
        labels = torch.arange(len(frames)) * (model.tokenizer.qualities - 1) // (len(frames) - 1)
        real = model.tokenizer.encode(frames, labels)
    elif name is None:
        stored = [tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids for split in ("valid", "unseen")]
        real = torch.cat([stored[0][::32], stored[1][::128]])
    else:
        real = model.tokenizer.encode(data.load(name, "test")[:4])
    vocabulary = model.prior.vocabulary
    noise = torch.arange(model.prior.length).view(1, *model.grid) ** 2 * 7919 % (vocabulary - 3)
    grids = torch.cat([real, noise, torch.full_like(noise, vocabulary - 1)])
    if not model.classes:
        return grids, None
    labels = data.labels(name or "", "test") if labels is None else labels
    return grids, torch.cat([labels[: len(real) - 1], torch.tensor([-1, model.classes - 1, -1])])


def logits_hash(model: Codec, grids: torch.Tensor, labels: torch.Tensor | None) -> str:
    """SHA-256 of the twin's logits of `(N, *grid) int64`, one grid at a time, each as eight bytes, the lowest first."""
    sha = hashlib.sha256()
    for number in range(len(grids)):
        each = slice(number, number + 1)
        logits = model.logits(grids[each], None if labels is None else labels[each])
        sha.update(logits.numpy().astype("<i8").tobytes())
    return sha.hexdigest()


def write(name: str) -> Path:
    folder, model = folder_of(name), arlib.load_codec(name)
    if any(folder.glob("*.ptb")):
        sys.exit(f"{folder} holds golden files already.")
    folder.mkdir(exist_ok=True)
    grids, labels = samples(model)
    header = checkpoints.read_header(checkpoints.find("prior", name))
    weights = checkpoints.find("tokenizer", header["tokenizer"])
    tokenset.write(folder / "golden.tokens", grids, model.prior.vocabulary, checkpoints.sha256(weights), labels)
    suffix = ".webp" if picture_set(model) is None else ".png"
    for number, (file, picture) in enumerate(
        zip(model.compress_tokens_batch(grids, labels), model.tokenizer.decode(grids), strict=True)
    ):
        (folder / f"{number:02}.ptb").write_bytes(file)
        data.write_image(folder / f"{number:02}{suffix}", picture)
    (folder / "logits.sha256").write_text(logits_hash(model, grids, labels) + "\n", encoding="utf-8")
    return folder


def main() -> None:
    for name in sys.argv[1:] or missing():
        print(write(name))


if __name__ == "__main__":
    main()
