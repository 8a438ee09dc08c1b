"""The codec: its files, its ledger, and that nothing wrong ever comes out quietly."""

import hashlib
import json
import math
import os
import random
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import arlib
from arlib import checkpoints, data, fixedpoint, tokenset
from arlib.codec import BATCH, Codec, CodecError
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Cache, Prior

HEIGHT, WIDTH, VOCABULARY = 4, 6, 16


def write_weights(folder: Path) -> None:
    """A data folder with a tokenizer `tiny` and two priors, `tiny` and `other`, all of them random."""
    (folder / "frames").mkdir()
    (folder / "weights").mkdir()
    torch.manual_seed(0)
    tokenizer = folder / "weights" / "tokenizer-tiny.safetensors"
    checkpoints.save(tokenizer, "tokenizer", ImageTokenizer(25, width=8, depth=1, quantizer=BSQ(4)))
    for name in ("tiny", "other"):
        prior = Prior(VOCABULARY, HEIGHT * WIDTH, width=8, depth=1, heads=2)
        for parameter in prior.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
        extra = {"tokenizer": f"sha256:{checkpoints.sha256(tokenizer)[:24]}", "grid": f"{HEIGHT}×{WIDTH}"}
        checkpoints.save(folder / "weights" / f"prior-{name}.safetensors", "prior", prior, **extra)


def load(folder: Path, name: str) -> Codec:
    weights = folder / "weights"
    return arlib.load_codec(str(weights / f"prior-{name}.safetensors"), str(weights / "tokenizer-tiny.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_weights(folder)
    index = {name: load(folder, name).hash for name in ("tiny", "other")}
    (folder / "weights" / "codecs.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def tiny(folder) -> Codec:
    return load(folder, "tiny")


@pytest.fixture(scope="module")
def other(folder) -> Codec:
    return load(folder, "other")


@pytest.fixture
def steps(tiny, monkeypatch) -> list[int]:
    """The size of the batch of each step that the twin is asked for."""
    asked: list[int] = []
    step = tiny.twin.step

    def counted(token: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        asked.append(cache.keys.shape[1])
        return step(token, cache)

    monkeypatch.setattr(tiny.twin, "step", counted)
    return asked


def random_grids(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (count, HEIGHT, WIDTH), generator=generator)


def repair(file: bytes) -> bytes:
    """The file with the right checksum for what it has become."""
    return file[:12] + struct.pack("<I", zlib.crc32(file[:12] + file[16:])) + file[16:]


GRIDS = st.lists(st.integers(0, VOCABULARY - 1), min_size=24, max_size=24).map(
    lambda tokens: torch.tensor(tokens).view(HEIGHT, WIDTH)
)

# ---- what is in a file ----


@given(GRIDS)
@settings(max_examples=40)
def test_tokens_come_back(tiny, grid):
    file = tiny.compress_tokens(grid)
    assert torch.equal(tiny.decompress_tokens(file), grid)


def test_the_header_is_as_documented(tiny, folder):
    grid = random_grids(1)[0]
    file = tiny.compress_tokens(grid)
    assert file[:4] == b"PTB\x01"
    tokenizer = checkpoints.sha256(folder / "weights" / "tokenizer-tiny.safetensors")
    assert file[4:8] == hashlib.sha256(f"{tiny.twin.digest()} {tokenizer}".encode()).digest()[:4]
    assert tiny.hash == file[4:8].hex()
    assert file[8:12] == struct.pack("<I", zlib.crc32(struct.pack("<24i", *grid.flatten().tolist())))
    assert file[12:16] == struct.pack("<I", zlib.crc32(file[:12] + file[16:]))


def test_a_picture_comes_back_as_the_tokenizer_draws_it(tiny):
    frames = data.load("supertuxkart", "valid")[:3]
    files = tiny.compress_batch(frames)
    again = tiny.tokenizer.reconstruct(frames)
    for frame, file, expected, picture in zip(frames, files, again, tiny.decompress_batch(files), strict=True):
        assert torch.equal(tiny.decompress(tiny.compress(frame)), expected)
        assert torch.equal(tiny.decompress(file), expected)
        assert torch.equal(picture, expected)


def test_a_batch_is_its_files_one_by_one(tiny, steps):
    grids = random_grids(2 * BATCH + 3)
    files = tiny.compress_tokens_batch(grids)
    assert files == [tiny.compress_tokens(grid) for grid in grids]
    assert steps == []
    again = tiny.decompress_tokens_batch(files)
    assert sorted(set(steps)) == [3, BATCH]
    assert len(steps) == 3 * HEIGHT * WIDTH
    assert [grid.tolist() for grid in again if isinstance(grid, torch.Tensor)] == grids.tolist()
    assert tiny.decompress_tokens_batch([]) == []


def test_a_bad_file_does_not_spoil_the_others(tiny, other):
    grids = random_grids(5)
    files = tiny.compress_tokens_batch(grids)
    files[1] = b"hello"
    files[2] = repair(files[2][:-1] + b"\x55")
    files[3] = other.compress_tokens(grids[3])
    again = tiny.decompress_tokens_batch(files)
    assert torch.equal(again[0], grids[0])
    assert torch.equal(again[4], grids[4])
    for result, words in zip(again[1:4], ("not a .ptb", "other tokens", "another model"), strict=True):
        assert isinstance(result, CodecError)
        assert words in str(result)
    pictures = tiny.decompress_batch(files)
    assert [isinstance(picture, CodecError) for picture in pictures] == [False, True, True, True, False]
    assert torch.equal(pictures[4], tiny.tokenizer.decode(grids[4:])[0])


# ---- the ledger ----


@given(GRIDS)
@settings(max_examples=15)
def test_every_row_of_the_ledger_is_right_and_the_sum_is_the_file(tiny, grid):
    file = tiny.compress_tokens(grid)
    ledger = tiny.ledger(file)
    assert ledger == tiny.ledger_of_tokens(grid)
    assert sum(ledger.values()) == pytest.approx(8 * len(file), abs=1e-9)
    assert ledger["table"] + ledger["coder"] + ledger["padding"] <= 9
    assert (ledger["header"], ledger["checksums"]) == (64, 64)
    # By steps, and in other arithmetic.
    ideal, coded, span, shifts = 0.0, 0.0, 1 << 64, 0
    cache, tokens = tiny.twin.new_cache(1), grid.flatten().tolist()
    for last, token in zip([None, *tokens], tokens, strict=False):
        logits = tiny.twin.step(None if last is None else torch.tensor([last]), cache)
        ideal -= math.log2(math.exp(logits[0, token] / 1024) / math.fsum(math.exp(x / 1024) for x in logits[0]))
        counts = fixedpoint.frequencies(logits)[0].tolist()
        coded -= math.log2(counts[token] / 2**24)
        share = span // 2**24
        span = span - share * sum(counts[:token]) if token == VOCABULARY - 1 else share * counts[token]
        while span < 1 << 56:
            span, shifts = span << 8, shifts + 1
    width = Fraction(span, 1 << 64 + 8 * shifts)
    assert ledger["ideal"] == pytest.approx(ideal, abs=1e-9)
    assert ledger["table"] == pytest.approx(coded - ideal, abs=1e-9)
    assert ledger["coder"] == pytest.approx(math.log2(width.denominator) - math.log2(width.numerator) - coded, abs=1e-9)
    assert -0.01 < ledger["coder"] < 0.01
    assert ledger["padding"] == pytest.approx(8 * (len(file) - 16) + math.log2(width), abs=1e-9)
    assert len(file) - 16 <= math.ceil((coded + 0.01) / 8)


def test_the_ledger_is_shown_as_a_table(tiny):
    file = tiny.compress_tokens(random_grids(1)[0])
    lines = repr(tiny.ledger(file)).splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["ideal", "table", "coder", "padding", "header", "checksums", "file"]
    assert lines[-1].split()[1:] == [f"{8 * len(file)}.000", "bits", "100.00%"]


# ---- nothing wrong comes out quietly ----

DAMAGE = {
    "nothing at all": (lambda file: b"", "not a .ptb file"),
    "a text": (lambda file: b"Once upon a time", "not a .ptb file"),
    "the magic alone": (lambda file: file[:3], "too short: it has 3 of the 16"),
    "half a header": (lambda file: file[:9], "too short: it has 9 of the 16"),
    "the header alone": (lambda file: file[:16], "damaged"),
    "another version": (lambda file: repair(file[:3] + b"\x02" + file[4:]), "version 2; this library reads version 1"),
    "the last byte gone": (lambda file: file[:-1], "damaged"),
    "a zero more": (lambda file: file + b"\0", "damaged"),
    "another payload": (lambda file: file[:16] + bytes(len(file) - 16), "damaged"),
    "another checksum": (lambda file: file[:12] + b"1234" + file[16:], "damaged"),
    "another checksum of the tokens": (lambda file: file[:8] + b"1234" + file[12:], "damaged"),
    "another model": (lambda file: repair(file[:4] + b"\1\2\3\4" + file[8:]), "wants another model, 01020304;"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_error_before_any_decoding(tiny, steps, case):
    change, words = DAMAGE[case]
    file = change(tiny.compress_tokens(random_grids(1)[0]))
    for read in (tiny.decompress_tokens, tiny.decompress, tiny.ledger):
        with pytest.raises(CodecError, match=words):
            read(file)
    assert steps == []


def test_a_few_thousand_bad_files(tiny, other, steps):
    """BAD_FILES=20000 in the environment makes a hundred thousand of them."""
    chance, bad = random.Random(0), []
    files = tiny.compress_tokens_batch(random_grids(40))
    for file in files[:4]:
        bad += [file[:length] for length in range(len(file))]
        bad += [_flip(file, [bit]) for bit in range(8 * len(file))]
    for _ in range(int(os.environ.get("BAD_FILES", "1000"))):
        file = chance.choice(files)
        bad.append(_flip(file, chance.sample(range(8 * len(file)), chance.randint(2, 12))))
        bad.append(file + chance.randbytes(chance.randint(1, 20)))
        bad.append(file[:16] + chance.randbytes(len(file) - 16))
        bad.append(b"PTB\x01" + chance.randbytes(chance.randint(0, 40)))
        bad.append(chance.randbytes(chance.randint(0, 60)))
    bad += other.compress_tokens_batch(random_grids(40))
    results = tiny.decompress_tokens_batch(bad)
    assert len(results) > 5000
    assert all(isinstance(result, CodecError) for result in results)
    assert steps == []


def _flip(file: bytes, bits: list[int]) -> bytes:
    changed = bytearray(file)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_repaired_checksums_fail_the_token_check_in_bounded_time(tiny, other, steps):
    chance, bad = random.Random(1), []
    for file in tiny.compress_tokens_batch(random_grids(8)):
        bad += [repair(_flip(file, [bit])) for bit in range(64, 8 * len(file), 7) if not 96 <= bit < 128]
        bad += [repair(file[:length]) for length in range(16, len(file))]
        bad += [repair(file + b"\0"), repair(file + chance.randbytes(3)), repair(file + bytes(10**6))]
        bad.append(repair(file[:16] + chance.randbytes(len(file) - 16)))
    for file in other.compress_tokens_batch(random_grids(8)):
        bad.append(repair(file[:4] + bytes.fromhex(tiny.hash) + file[8:]))
    results = tiny.decompress_tokens_batch(bad)
    assert len(results) > 200
    assert all(isinstance(result, CodecError) and "other tokens" in str(result) for result in results)
    assert len(steps) == math.ceil(len(bad) / BATCH) * HEIGHT * WIDTH


def test_a_decoder_with_other_probabilities_is_found_out(tiny, folder):
    defect, grid = load(folder, "tiny"), random_grids(1)[0]
    defect.twin.weights["head.weight"][3, 3] += 4096.0
    assert defect.hash == tiny.hash
    with pytest.raises(CodecError, match="other tokens"):
        defect.decompress_tokens(tiny.compress_tokens(grid))


def test_what_cannot_be_compressed(tiny, folder):
    with pytest.raises(CodecError, match=r"100×150 pixels .* not of 2×2 tokens"):
        tiny.compress(torch.zeros(50, 50, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        tiny.compress(torch.zeros(100, 150, 3))
    with pytest.raises(CodecError, match="6×4"):
        tiny.compress_tokens(torch.zeros(6, 4, dtype=torch.int64))
    with pytest.raises(CodecError, match="24 tokens"):
        tiny.compress_tokens(torch.zeros(24, dtype=torch.int64))
    with pytest.raises(ValueError, match="int64"):
        tiny.compress_tokens(torch.zeros(4, 6, dtype=torch.int32))
    for token in (-1, VOCABULARY):
        with pytest.raises(ValueError, match="Tokens lie in"):
            tiny.compress_tokens(torch.full((4, 6), token))
    with pytest.raises(CodecError, match="should predict"):
        Codec(Prior(VOCABULARY, 24, 8, 1, 2, shift=False), tiny.tokenizer, "", (4, 6))


# ---- which model ----


def test_a_file_finds_its_shipped_model(tiny, other, folder, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(folder))
    grid = random_grids(1)[0]
    for name, codec in (("tiny", tiny), ("other", other)):
        file = codec.compress_tokens(grid)
        assert arlib.codec.find(file) == name
        assert torch.equal(arlib.decompress(file), codec.decompress(file))
    file = other.compress_tokens(grid)
    with pytest.raises(
        CodecError, match=f"wants another model, {other.hash} \\(the shipped 'other'\\); .* {tiny.hash}"
    ):
        tiny.decompress(file)
    with pytest.raises(CodecError, match="01020304, which is not among the shipped ones"):
        arlib.decompress(repair(file[:4] + b"\1\2\3\4" + file[8:]))
    with pytest.raises(CodecError, match="not a"):
        arlib.decompress(b"hello")
    monkeypatch.setattr(arlib.container, "root", lambda: folder / "frames")  # a checkout without an index
    with pytest.raises(CodecError, match=f"{other.hash}, which is not among"):
        arlib.decompress(file)


# ---- the shipped codec ----

needs_book = pytest.mark.skipif(
    not (data.root() / "weights" / "prior-book.safetensors").is_file(), reason="the prior book is not there yet"
)


@needs_book
def test_the_index_tells_the_shipped_codecs():
    index = arlib.codec.shipped()
    for path in (data.root() / "weights").glob("prior-*.safetensors"):
        name = path.stem.removeprefix("prior-")
        try:
            codec = arlib.load_codec(name)
        except (data.DataError, fixedpoint.FixedPointError):
            assert name not in index
        else:
            assert index.pop(name) == codec.hash
    assert index == {}


@needs_book
def test_book_writes_small_files_that_decode():
    codec = arlib.load_codec("book")
    grids = tokenset.read(data.root() / "tokens" / "valid.tokens").grids[::32]
    files = codec.compress_tokens_batch(grids)
    assert sum(map(len, files)) / len(files) <= 400
    again = codec.decompress_tokens_batch(files)
    assert [grid.tolist() for grid in again if isinstance(grid, torch.Tensor)] == grids.tolist()
    over = []
    for file in files:
        ledger = codec.ledger(file)
        assert sum(ledger.values()) == pytest.approx(8 * len(file), abs=1e-9)
        over.append(ledger["table"] + ledger["coder"] + ledger["padding"])
    assert sum(over) / len(over) <= 5
    assert max(over) <= 9
