"""Write what the tests of the codec in JavaScript expect: tests/browser/{errors,layers,pictures}.json.

`python tools/make_browser_cases.py`. Bytes are in base64. layers.json has a tiny tokenizer and a tiny prior with what
each of their layers gives, so that a mistake is found in the layer where it is; errors.json has bad files, below the
sentence that the codec `tiny` of the two, or `book`, says of them; pictures.json is that of tools/browser_pictures.py.
tests/test_browser.py compares the errors with what Python says today.
"""

import json
import random
import struct
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from browser_pictures import base64_of, drawn, pictures

import arlib
from arlib import checkpoints
from arlib.codec import Codec, CodecError
from arlib.fixedpoint import Twin
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

VOCABULARY = 16
TESTS = Path(__file__).resolve().parent.parent / "tests"


# ---- errors ----


def repair(file: bytes) -> bytes:
    """The file with the right checksum for what it has become."""
    return file[:12] + struct.pack("<I", zlib.crc32(file[:12] + file[16:])) + file[16:]


def flipped(file: bytes, *bits: int) -> bytes:
    changed = bytearray(file)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bad_files(file: bytes, model: str, count: int) -> Iterator[bytes]:
    """A file cut, changed, lengthened, of another kind or model, and random ones, `count` of each kind of luck."""
    chance, step = random.Random(0), len(file) // 40 + 1
    yield from (file[:length] for length in [*range(20), *range(20, len(file), step)])
    yield from (flipped(file, bit) for bit in range(0, 8 * len(file), 3 * step))
    yield from (b"Once upon a time", file + b"\0", file[:16] + bytes(len(file) - 16))
    yield from (file[:first] + b"1234" + file[first + 4 :] for first in (8, 12))
    yield from (repair(file[:3] + bytes([version]) + file[4:]) for version in (0, 2, 255))
    yield from (repair(file[:4] + bytes.fromhex(other) + file[8:]) for other in ("01020304", model))
    for number in range(count):
        yield flipped(file, *chance.sample(range(8 * len(file)), 1 + number))
        yield file + chance.randbytes(1 + number)
        yield file[:16] + chance.randbytes(len(file) - 16)
        yield b"PTB\x01" + chance.randbytes(chance.randint(0, 40))
        yield chance.randbytes(chance.randint(0, 60))


def repaired_files(file: bytes) -> Iterator[bytes]:
    """Changed files whose checksum is right again: only that of the tokens can tell."""
    chance = random.Random(1)
    yield from (repair(flipped(file, bit)) for bit in range(64, 8 * len(file), 7) if not 96 <= bit < 128)
    yield from (repair(file[:length]) for length in range(16, len(file)))
    yield from (repair(file + more) for more in (b"\0", chance.randbytes(3), bytes(1000)))
    yield from (repair(file[:16] + chance.randbytes(len(file) - 16)) for _ in range(20))


def errors(tiny: Codec) -> dict[str, dict[str, list[str]]]:
    """For each codec the bad files by what it says of them."""
    book = arlib.load_codec("book")
    said: dict[str, dict[str, list[str]]] = {}
    golden = [path.read_bytes() for path in [TESTS / "golden" / "05.ptb", *sorted(TESTS.glob("golden/*/00.ptb"))]]
    grids = torch.randint(VOCABULARY, (8, *tiny.grid), generator=torch.Generator().manual_seed(0))
    files = tiny.compress_tokens_batch(grids, torch.arange(8) % 4 - 1)
    bad = {
        "tiny": [
            *bad_files(files[0], book.hash, 40),
            *golden,
            *(each for file in files for each in repaired_files(file)),
        ],
        "book": [*bad_files(golden[0], tiny.hash, 5), *golden[1:], repair(golden[0] + b"\0"), repair(golden[0][:-1])],
    }
    for name, model in (("tiny", tiny), ("book", book)):
        said[name] = defaultdict(list)
        for file, error in zip(bad[name], model.decompress_tokens_batch(bad[name]), strict=True):
            assert isinstance(error, CodecError), file.hex()
            said[name][str(error)].append(base64_of(file))
    return said


# ---- layers ----


class Recorded(Twin):
    """A twin that notes what each of its layers gives in `forward`, of one sequence: `(name, rows)`."""

    def __init__(self, prior: Prior):
        super().__init__(prior)
        self.record: list[tuple[str, list]] = []
        self._current = ""

    def note(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        self.record.append((name, rows.long().tolist()))
        return rows

    def _normalize(self, x):
        return self.note("norm", super()._normalize(x)[0])[None]

    def _attend(self, query, key, value, unseen):
        block = f"blocks.{sum(name.endswith('attention') for name, _ in self.record)}."
        split = torch.cat([each.transpose(0, 1).flatten(1) for each in (query, key, value)], dim=1)
        self.note(f"{block}attention.query_key_value", split)
        attended = super()._attend(query, key, value, unseen)
        self.note(f"{block}attention", attended.transpose(0, 1).flatten(1))
        return attended

    def _perceptron(self, x, name):
        self._current = name
        return self.note(name, super()._perceptron(x, name)[0])[None]

    def _gelu(self, x):
        return self.note(f"{self._current}gelu", super()._gelu(x)[0])[None]


def write_models(folder: Path) -> Codec:
    """A random tokenizer with a dial and a block on pixels, and a random prior that knows the dial's settings."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(2, width=8, depth=1, quantizer=BSQ(4), refine=1, qualities=3)
    prior = Prior(VOCABULARY, 4 * 6, width=8, depth=2, heads=2, classes=3)
    for parameter in [*tokenizer.parameters(), *prior.parameters()]:
        torch.nn.init.normal_(parameter, std=0.6)
    paths = [folder / f"{kind}-tiny.safetensors" for kind in ("prior", "tokenizer")]
    checkpoints.save(paths[1], "tokenizer", tokenizer)
    extra = {"tokenizer": f"sha256:{checkpoints.sha256(paths[1])[:24]}", "grid": "4×6"}
    checkpoints.save(paths[0], "prior", prior, **extra)
    return arlib.load_codec(*map(str, paths))


def twin_layers(prior: Prior) -> dict[str, Any]:
    """All rows that all layers of a prior's twin make of some tokens, and its logits."""
    twin, label = Recorded(prior), 2
    tokens = torch.randint(VOCABULARY, (1, prior.length), generator=torch.Generator().manual_seed(1))
    logits = twin(tokens, label=torch.tensor([label]))
    twin.note("logits", logits[0])
    layers = [{"name": name, "rows": rows} for name, rows in twin.record]
    return {"digest": twin.digest(), "label": label, "tokens": tokens[0].tolist(), "layers": layers}


def good_files(tiny: Codec) -> list[dict[str, Any]]:
    """Random tokens with and without labels, and grids of the first and of the last token alone, with their files."""
    length, generator = tiny.prior.length, torch.Generator().manual_seed(2)
    grids = torch.cat([torch.randint(VOCABULARY, (6, length), generator=generator), torch.zeros(2, length).long()])
    grids[7], labels = VOCABULARY - 1, torch.tensor([-1, 0, 1, 2, -1, 0, 1, -1])
    files = tiny.compress_tokens_batch(grids.view(-1, *tiny.grid), labels)
    return [
        {"tokens": grid, "label": None if label < 0 else label, "file": base64_of(file)}
        for grid, label, file in zip(grids.tolist(), labels.tolist(), files, strict=True)
    ]


def tokenizer_layers(tokenizer: ImageTokenizer) -> dict[str, Any]:
    """What each layer of a tokenizer makes of a drawn picture, place by place, and of the tokens that come of it."""
    seen: dict[str, list[float]] = {}

    def note(name: str, grid: torch.Tensor) -> None:
        seen[name] = [float(f"{number:.7g}") for number in grid[0].permute(1, 2, 0).flatten().tolist()]

    # The dial adds to what the first layer gives: so what the second one gets is noted.
    tokenizer.encoder[1].register_forward_pre_hook(lambda _, inputs: note("encoder.0", inputs[0]))
    for name, layer in [*tokenizer.encoder.named_children()][1:]:
        layer.register_forward_hook(lambda _, __, grid, name=f"encoder.{name}": note(name, grid))
    for name, layer in tokenizer.decoder.named_children():
        layer.register_forward_hook(lambda _, __, grid, name=f"decoder.{name}": note(name, grid))
    size, quality = (4, 6), 0.75
    tokens = tokenizer.encode(torch.from_numpy(drawn(*size, 3))[None], quality)
    painted = tokenizer.decode(tokens)[0]
    return {
        "quality": quality,
        "size": size,
        "grid": tokens.shape[1:],
        "tokens": tokens.flatten().tolist(),
        "picture": base64_of(painted.numpy().tobytes()),
        "layers": [{"name": name, "numbers": numbers} for name, numbers in seen.items()],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_models(Path(folder))
        weights = {path.stem: base64_of(path.read_bytes()) for path in sorted(Path(folder).iterdir())}
    layers: dict[str, Any] = {"weights": weights, "hash": tiny.hash, "twin": twin_layers(tiny.prior)}
    layers |= {"tokenizer": tokenizer_layers(tiny.tokenizer), "files": good_files(tiny)}
    for name, cases in (("layers", layers), ("errors", errors(tiny)), ("pictures", pictures())):
        path = TESTS / "browser" / f"{name}.json"
        path.write_text(json.dumps(cases, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
