"""The codec of the relatives: several codebooks, labels, an order of its own, coarse to fine."""

import hashlib
import json
import math
import random
import struct
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import arlib
from arlib import checkpoints, fixedpoint, orders, rangecoder
from arlib.codec import BATCH, Codec, CodecError
from arlib.quantizers import BSQ, VQ, Product
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

VOCABULARY = 8
SIDES = (1, 2, 3)
KINDS: dict[
    str, tuple[dict, str | None, str, tuple[int, ...], int]
] = {  # the prior's switches, its order, the tokenizer, the grid, and the passes that decode it
    "several": ({"classes": 3}, None, "several", (2, 3, 2), 12),
    "any": ({"classes": 2, "any_order": True}, "shuffled 7", "grid", (3, 4), 12),
    "any raster": ({"any_order": True}, None, "grid", (3, 4), 12),
    "scales": ({"classes": 3, "scales": SIDES}, None, "pyramid", (14,), 3),
    "scales one by one": ({}, None, "pyramid", (14,), 14),
    "places": ({"classes": 3, "codebooks": 2}, None, "several", (2, 3, 2), 12),
}


def tokenizer(kind: str) -> ImageTokenizer:
    quantizers: dict[str, BSQ | Product | Pyramid] = {
        "several": Product([VQ(VOCABULARY, 2), VQ(VOCABULARY, 3)]),
        "grid": BSQ(3),
        "pyramid": Pyramid(VQ(VOCABULARY, 4), SIDES),
    }
    return ImageTokenizer(4, width=8, depth=1, quantizer=quantizers[kind], channels=3 if kind == "grid" else 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data folder with random models of all kinds, and the index of their codecs."""
    folder = tmp_path_factory.mktemp("data")
    weights = folder / "weights"
    (folder / "frames").mkdir()
    weights.mkdir()
    torch.manual_seed(0)
    for kind in ("several", "grid", "pyramid"):
        checkpoints.save(weights / f"tokenizer-{kind}.safetensors", "tokenizer", tokenizer(kind))
    for name, (switches, order, kind, grid, _) in KINDS.items():
        prior = Prior(VOCABULARY, math.prod(grid), width=8, depth=1, heads=2, **switches)
        for parameter in prior.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
        tokens = checkpoints.sha256(weights / f"tokenizer-{kind}.safetensors")[:24]
        header = {"tokenizer": f"sha256:{tokens}", "grid": "×".join(map(str, grid))} | (
            {"order": order} if order else {}
        )
        checkpoints.save(weights / f"prior-{name}.safetensors", "prior", prior, **header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLIB_DATA", str(folder))
        (weights / "codecs.json").write_text(json.dumps({name: arlib.load_codec(name).hash for name in KINDS}))
    return folder


@pytest.fixture(scope="module")
def codecs(folder) -> dict[str, Codec]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLIB_DATA", str(folder))
        return {name: arlib.load_codec(name) for name in KINDS}


@pytest.fixture(params=KINDS)
def codec(codecs, request) -> Codec:
    return codecs[request.param]


def some_grids(codec: Codec, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random grids, and labels where the prior knows classes: each class, and none."""
    generator = torch.Generator().manual_seed(seed)
    grids = torch.randint(VOCABULARY, (count, *codec.grid), generator=generator)
    return grids, torch.arange(count) % (codec.classes + 1) - 1 if codec.classes else None


def repair(file: bytes) -> bytes:
    return file[:12] + struct.pack("<I", zlib.crc32(file[:12] + file[16:])) + file[16:]


# ---- files ----


@given(st.data())
@settings(max_examples=25)
def test_tokens_and_labels_come_back(codecs, data):
    codec = codecs[data.draw(st.sampled_from(sorted(KINDS)))]
    count = math.prod(codec.grid)
    tokens = data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=count, max_size=count))
    grid = torch.tensor(tokens).view(codec.grid)
    label = data.draw(st.none() | st.integers(0, codec.classes - 1)) if codec.classes else None
    file = codec.compress_tokens(grid, label)
    assert torch.equal(codec.decompress_tokens(file), grid)
    assert codec.label(file) == label


def test_a_batch_is_its_files_one_by_one(codec):
    grids, labels = some_grids(codec, 2 * BATCH + 3)
    files = codec.compress_tokens_batch(grids, labels)
    each = [None] * len(grids) if labels is None else [None if label < 0 else label for label in labels.tolist()]
    assert files == [codec.compress_tokens(grid, label) for grid, label in zip(grids, each, strict=True)]
    assert [codec.label(file) for file in files] == each
    again = codec.decompress_tokens_batch(files)
    assert [grid.tolist() for grid in again if isinstance(grid, torch.Tensor)] == grids.tolist()
    assert codec.compress_tokens_batch(grids[:0]) == []


def test_pictures_come_back_by_the_model_that_the_file_names(codec, codecs, folder, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(folder))
    channels = codec.tokenizer.channels
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (3, *codec.size, channels), generator=generator, dtype=torch.uint8)
    labels = torch.tensor([1, -1, 0]) if codec.classes else None
    files = codec.compress_batch(frames, labels)
    assert files[1] == codec.compress(frames[1])
    again = codec.tokenizer.reconstruct(frames)
    for file, picture, expected in zip(files, codec.decompress_batch(files), again, strict=True):
        assert codecs[arlib.codec.find(file)] is codec
        assert torch.equal(arlib.decompress(file), expected)
        assert torch.equal(picture, expected)


def test_a_file_is_as_documented(codec, codecs, folder):
    """By hand: the label, then each token in the codec's order, by tables of teacher forcing."""
    name = next(name for name in codecs if codecs[name] is codec)
    switches, order, kind, grid, passes = KINDS[name]
    assert (codec.grid, codec.passes, codec.classes) == (grid, passes, switches.get("classes", 0))
    places = list(range(math.prod(grid))) if order is None else orders.shuffled(math.prod(grid), 7).tolist()
    (tokens,), labels = some_grids(codec, 1)[0], torch.tensor([0]) if codec.classes else None
    read = tokens.flatten()[places]
    logits = codec.twin(read[None], torch.tensor(places) if order else None, labels)
    assert torch.equal(codec.logits(tokens[None], labels), logits)
    symbols, tables = read.tolist(), list(fixedpoint.frequencies(logits[0]))
    if codec.classes:
        symbols, tables = [1, *symbols], [torch.ones(codec.classes + 1, dtype=torch.int64), *tables]
    file = codec.compress_tokens(tokens, None if labels is None else 0)
    assert file[16:] == rangecoder.encode(symbols, tables)
    assert file[8:12] == struct.pack("<I", zlib.crc32(tokens.numpy().astype("<i4").tobytes()))
    sha = checkpoints.sha256(folder / "weights" / f"tokenizer-{kind}.safetensors")
    hashed = f"{codec.twin.digest()} {sha}" + (" " + " ".join(map(str, places)) if order else "")
    assert file[:8] == b"PTB\x01" + hashlib.sha256(hashed.encode()).digest()[:4]


def test_the_order_is_part_of_the_hash(codecs, folder):
    codec = codecs["any"]
    sha = checkpoints.sha256(folder / "weights" / "tokenizer-grid.safetensors")
    made = [Codec(codec.prior, codec.tokenizer, sha, codec.grid, orders.shuffled(12, seed)) for seed in (7, 8)]
    assert made[0].hash == codec.hash
    assert len({codec.hash, made[1].hash, Codec(codec.prior, codec.tokenizer, sha, codec.grid).hash}) == 3
    grid = some_grids(codec, 1)[0][0]
    with pytest.raises(CodecError, match="wants another model"):
        codec.decompress_tokens(made[1].compress_tokens(grid))


def test_a_label_that_fits_makes_another_file(codecs):
    codec = codecs["scales"]
    grid = some_grids(codec, 1)[0][0]
    files = [codec.compress_tokens(grid, label) for label in (None, 0, 1, 2)]
    assert len({file[16:] for file in files}) == 4
    assert files[0] == codec.compress_tokens(grid, -1)


def test_a_label_is_the_setting_of_a_dial(codecs):
    torch.manual_seed(0)
    dialled = ImageTokenizer(4, width=8, depth=1, quantizer=BSQ(3), qualities=2)
    for parameter in dialled.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    codec = Codec(codecs["any"].prior, dialled, "", (3, 4))
    frames = torch.randint(256, (2, 12, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    files = codec.compress_batch(frames, torch.tensor([0, 1]))
    for label, (frame, file) in enumerate(zip(frames, files, strict=True)):
        assert codec.label(file) == label
        assert file == codec.compress(frame, label)
        encoded = [dialled.encode(frame[None], setting)[0] for setting in (0, 1)]
        assert torch.equal(codec.decompress_tokens(file), encoded[label])
        assert not torch.equal(*encoded)
    plain = codec.compress_batch(frames)[0]
    assert codec.label(plain) is None
    assert torch.equal(codec.decompress_tokens(plain), dialled.encode(frames)[0])


# ---- passes ----


def test_decoding_takes_as_many_passes_as_there_are_scales(codecs, monkeypatch):
    codec, passes, twin = codecs["scales"], [], codecs["scales"].twin

    def counted(tokens: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        passes.append(tuple(tokens.shape))
        return twin(tokens, **named)

    grids, labels = some_grids(codec, 5)
    files = codec.compress_tokens_batch(grids, labels)
    monkeypatch.setattr(codec, "twin", counted)
    again = codec.decompress_tokens_batch(files)
    assert [grid.tolist() for grid in again if isinstance(grid, torch.Tensor)] == grids.tolist()
    assert passes == [(5, 1), (5, 5), (5, 14)]


def test_tokens_come_pass_by_pass(codec):
    grids, labels = some_grids(codec, 1, seed=3)
    known = list(codec.progressive_tokens(codec.compress_tokens_batch(grids, labels)[0]))
    assert len(known) == codec.passes
    assert torch.equal(known[-1], grids[0])
    order = torch.arange(grids[0].numel()) if codec.order is None else codec.order
    counts = [1, 5, 14] if codec.passes == 3 else range(1, codec.passes + 1)
    for grid, count in zip(known, counts, strict=True):
        assert grid.shape == grids[0].shape
        assert torch.equal(grid.flatten()[order[:count]], grids[0].flatten()[order[:count]])
        assert (grid.flatten()[order[count:]] == -1).all()


@pytest.mark.parametrize("name", ["scales", "scales one by one"])
def test_a_pyramid_is_seen_scale_by_scale(codecs, name):
    codec = codecs[name]
    grids, labels = some_grids(codec, 2)
    file = codec.compress_tokens_batch(grids, labels)[1]
    pictures = list(codec.progressive(file))
    assert [picture.shape for picture in pictures] == [(12, 12, 1)] * 3
    for end, picture in zip((1, 5, 14), pictures, strict=True):
        assert torch.equal(picture, codec.tokenizer.decode(grids[1:, :end])[0])
    assert torch.equal(pictures[-1], codec.decompress(file))


def test_progress_stops_where_a_file_is_bad(codecs):
    codec = codecs["scales"]
    file = codec.compress_tokens(some_grids(codec, 1)[0][0], 2)
    for read in (codec.progressive, codec.progressive_tokens):
        with pytest.raises(CodecError, match="damaged"):
            next(read(file[:-1]))
        seen = read(repair(file[:8] + b"1234" + file[12:]))
        assert [next(seen).shape, next(seen).shape]
        with pytest.raises(CodecError, match="other tokens"):
            next(seen)
    with pytest.raises(CodecError, match="Only a pyramid has"):
        next(codecs["several"].progressive(codecs["several"].compress_tokens(torch.zeros(2, 3, 2, dtype=torch.int64))))


# ---- the ledger ----


def test_the_ledger_has_a_row_for_the_label(codec):
    grids, labels = some_grids(codec, 4)
    for file, grid in zip(codec.compress_tokens_batch(grids, labels), grids, strict=True):
        ledger = codec.ledger(file)
        assert ledger == codec.ledger_of_tokens(grid, codec.label(file))
        assert sum(ledger.values()) == pytest.approx(8 * len(file), abs=1e-9)
        assert ("label" in ledger) == bool(codec.classes)
        assert ledger.get("label", 0.0) == pytest.approx(math.log2(codec.classes + 1))
        assert abs(ledger["coder"]) < 0.01
        assert ledger["table"] + ledger["padding"] <= 9


# ---- nothing wrong comes out quietly ----


@pytest.mark.parametrize("name", ["several", "any", "scales"])
def test_bad_files(codecs, name):
    codec, chance = codecs[name], random.Random(0)
    grids, labels = some_grids(codec, 3)
    files, bad = codec.compress_tokens_batch(grids, labels), []
    for file in files:
        bad += [file[:length] for length in range(len(file))]
        for bit in range(8 * len(file)):
            changed = bytearray(file)
            changed[bit // 8] ^= 1 << bit % 8
            bad.append(bytes(changed))
            if bit >= 128:
                bad.append(repair(bytes(changed)))  # only the tokens' checksum sees these
        bad += [repair(file[:-1]), repair(file + b"\0"), repair(file[:16]), repair(file[:16] + chance.randbytes(20))]
        bad += [chance.randbytes(chance.randint(0, 60)) for _ in range(5)]
    for other in codecs.values():
        if other is not codec:
            file = other.compress_tokens_batch(*some_grids(other, 1))[0]
            bad += [file, repair(file[:4] + bytes.fromhex(codec.hash) + file[8:])]
    results = codec.decompress_tokens_batch(bad)
    assert len(results) > 300
    assert all(isinstance(result, CodecError) for result in results)
    for file, result in zip(bad, results, strict=True):
        if "other tokens" not in str(result):
            with pytest.raises(CodecError):
                codec.label(file)


def test_a_wrong_label_is_found_out(codecs):
    codec = codecs["several"]
    grid = some_grids(codec, 1)[0][0]
    right, wrong = codec.compress_tokens(grid, 1), codec.compress_tokens(grid, 2)
    frequencies = fixedpoint.frequencies(codec.logits(grid[None], torch.tensor([1]))[0])
    tables = [torch.ones(4, dtype=torch.int64), *frequencies]
    forged = repair(right[:16] + rangecoder.encode([3, *grid.flatten().tolist()], tables))
    assert codec.label(forged) == codec.label(wrong) == 2
    with pytest.raises(CodecError, match="other tokens"):
        codec.decompress(forged)


def test_what_cannot_be_coded(codecs, folder):
    several, every = codecs["several"], codecs["any"]
    grid = torch.zeros(2, 3, 2, dtype=torch.int64)
    with pytest.raises(CodecError, match=r"2×3×2 tokens, from pictures of 8×12 pixels .* not of 2×3 tokens"):
        several.compress_tokens(grid[..., 0])
    with pytest.raises(CodecError, match=r"14 tokens, from pictures of 12×12 pixels .* not of 13 tokens"):
        codecs["scales"].compress_tokens(torch.zeros(13, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\(B, H, W, 1\) uint8"):
        several.compress(torch.zeros(8, 12, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"Labels lie in \[0, 3\)"):
        several.compress_tokens(grid, 3)
    with pytest.raises(ValueError, match=r"\(1,\) int64, not \(2,\)"):
        several.compress_tokens_batch(grid[None], torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="learned no classes"):
        codecs["scales one by one"].compress_tokens(torch.zeros(14, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match="int64"):
        every.compress_tokens(torch.zeros(3, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match="Tokens lie in"):
        every.compress_tokens(torch.full((3, 4), VOCABULARY))
    for order in (torch.arange(11), torch.arange(1, 13), torch.zeros(12, dtype=torch.int64), torch.arange(12.0)):
        with pytest.raises(CodecError, match="each place from 0 to 11 once"):
            Codec(every.prior, every.tokenizer, "", (3, 4), order)
    with pytest.raises(CodecError, match="can code in no other"):
        Codec(several.prior, several.tokenizer, "", (2, 3, 2), torch.arange(12))
    for wrong in ((4, 3, 2), (12,), (3, 4)):
        with pytest.raises(CodecError, match=f"{'×'.join(map(str, wrong))} tokens does not fit"):
            Codec(several.prior, several.tokenizer, "", wrong)
    for name in ("shuffled", "shuffled -1", "raster", "spiral 3", "shuffled ٣"):
        with pytest.raises(CodecError, match="is no order"):
            arlib.codec.named_order(name, 12)
