"""The golden files: what was written once must decode for ever, and be written again the same, on every path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import arlib
from arlib import codec, data, mismatch, tokenset
from arlib.data import DataError
from arlib.fixedpoint import FixedPointError

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.rglob("golden.tokens"))
PICTURES = {(28, 28, 1), (32, 32, 3)}  # height, width and channels of digits and of CIFAR-10


def name_of(folder: Path) -> str:
    """The codec of a folder: the files of `book`, which are older than the others, lie beside their folders."""
    return "book" if folder == GOLDEN else folder.name


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.ptb"))]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_golden_files_decode_to_their_pictures(folder):
    stored, files = tokenset.read(folder / "golden.tokens"), files_of(folder)
    model = arlib.load_codec(name_of(folder))
    assert len(files) == len(stored.grids) == (12 if folder == GOLDEN else 6)
    paths = sorted([*folder.glob("*.webp"), *folder.glob("*.png")])
    for path, file, picture in zip(paths, files, model.decompress_batch(files), strict=True):
        assert codec.find(file) == name_of(folder)
        assert isinstance(picture, torch.Tensor)
        expected = data.read_image(path, *model.size, channels=model.tokenizer.channels)
        assert (picture.int() - expected.int()).abs().max() <= 1
    labels = [-1] * len(files) if stored.labels is None else stored.labels.tolist()
    assert [model.label(file) for file in files] == [None if label < 0 else label for label in labels]
    assert (stored.labels is not None) == bool(model.classes)


def test_every_codec_of_small_pictures_has_golden_files():
    small = []
    for name in codec.shipped():
        try:
            model = arlib.load_codec(name)
        except (DataError, FixedPointError):
            continue
        if (*model.size, model.tokenizer.channels) in PICTURES:
            small.append(name)
    assert sorted(["book", "fine", *small]) == sorted(map(name_of, FOLDERS))


# Each half of the files is decoded with one number of threads, as decoding takes longest; packed are all with both.
MATRIX = """
import hashlib, sys, torch
from pathlib import Path
import arlib
from arlib import tokenset
print(torch.backends.cpu.get_cpu_capability().lower())
for folder in map(Path, sys.argv[1:]):
    stored = tokenset.read(folder / "golden.tokens")
    files = [path.read_bytes() for path in sorted(folder.glob("*.ptb"))]
    codec = arlib.load_codec("book" if folder.name == "golden" else folder.name)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert codec.compress_tokens_batch(stored.grids, stored.labels) == files, folder
        half = slice(threads - 1, None, 2)
        assert torch.equal(torch.stack(codec.decompress_tokens_batch(files[half])), stored.grids[half]), folder
        sha = hashlib.sha256()
        for number in range(len(files)):
            each = slice(number, number + 1)
            logits = codec.logits(stored.grids[each], None if stored.labels is None else stored.labels[each])
            sha.update(logits.numpy().astype("<i8").tobytes())
        print(sha.hexdigest())
"""


@pytest.mark.parametrize("capability", mismatch.capabilities())
@pytest.mark.parametrize("instructions", [name.upper() for name in mismatch.capabilities()[1:]] or [""])
def test_golden_files_are_the_same_on_every_path(capability, instructions):
    # Passive threads sleep while they wait: where others compute too, the rest of their time slice is not lost.
    paths = {"ATEN_CPU_CAPABILITY": capability, "MKL_ENABLE_INSTRUCTIONS": instructions, "OMP_WAIT_POLICY": "passive"}
    paths["OPENBLAS_CORETYPE"] = {"default": "Prescott", "avx2": "Haswell", "avx512": "SkylakeX"}.get(capability, "")
    command = [sys.executable, "-c", MATRIX, *map(str, FOLDERS)]
    ended = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    hashes = [(folder / "logits.sha256").read_text().strip() for folder in FOLDERS]
    assert ended.stdout.split() == [capability, *(sha for sha in hashes for _ in range(2))]
