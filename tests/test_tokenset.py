"""The bit-packed data set of tokens: by hand, there and back, and damaged in every way."""

import struct
import weakref
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib import data, packing, tokenset
from arlib.data import DataError

HASH = "0123456789abcdef" * 4


def test_three_tokens_packed_by_hand():
    # Ten bits each, lowest first: 1 -> 1000000000, 512 -> 0000000001, 1023 -> 1111111111.
    assert tokenset.pack(torch.tensor([1, 512, 1023]), 10) == bytes([0b00000001, 0b00000000, 0b11111000, 0b00111111])
    assert tokenset.unpack(bytes([1, 0, 0xF8, 0x3F]), 10, 3).tolist() == [1, 512, 1023]


def test_a_file_byte_for_byte(tmp_path):
    path = tmp_path / "a.tokens"
    tokenset.write(path, torch.tensor([[[1, 512, 1023]]]), 1024, HASH)
    packed = bytes([1, 0, 0xF8, 0x3F])
    header = b"PTBT" + struct.pack("<HHIHH", 1, 10, 1, 1, 3) + bytes.fromhex(HASH[:24])
    assert path.read_bytes() == header + zlib.crc32(packed).to_bytes(4, "little") + packed


def test_a_file_of_version_2_byte_for_byte(tmp_path):
    path = tmp_path / "a.tokens"
    # Two grids of one place and two codebooks; the second has no label.
    tokenset.write(path, torch.tensor([[[[1, 512]]], [[[1023, 0]]]]), 1024, HASH, torch.tensor([7, -1]))
    content = bytes([7, 255]) + bytes([1, 0, 0xF8, 0x3F, 0])
    header = b"PTBT" + struct.pack("<HHIHHHH", 2, 10, 2, 1, 1, 2, 1) + bytes.fromhex(HASH[:24])
    assert path.read_bytes() == header + zlib.crc32(content).to_bytes(4, "little") + content
    # One plain sequence without a label.
    tokenset.write(path, torch.tensor([[1, 512, 1023]]), 1024, HASH)
    content = bytes([1, 0, 0xF8, 0x3F])
    header = b"PTBT" + struct.pack("<HHIHHHH", 2, 10, 1, 3, 0, 0, 0) + bytes.fromhex(HASH[:24])
    assert path.read_bytes() == header + zlib.crc32(content).to_bytes(4, "little") + content


@given(st.integers(1, 18), st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.booleans())
def test_there_and_back(tmp_path_factory, bits, count, sides, labeled):
    path = tmp_path_factory.mktemp("sets") / "a.tokens"
    generator = torch.Generator().manual_seed(bits)
    grids = torch.randint(2**bits, (count, *sides), generator=generator)
    labels = torch.randint(-1, 255, (count,), generator=generator) if labeled else None
    tokenset.write(path, grids, 2**bits, HASH, labels)
    read = tokenset.read(path)
    assert torch.equal(read.grids, grids)
    assert (read.bits, read.tokenizer) == (bits, HASH[:24])
    assert (read.labels is None) == (labels is None)
    if labels is not None and read.labels is not None:
        assert torch.equal(read.labels, labels)
    packed = -(-grids.numel() * bits // 8)
    old = len(sides) == 2 and not labeled
    assert path.stat().st_size == (32 if old else 36 + count * labeled) + packed
    assert path.read_bytes()[4] == (1 if old else 2)


def test_the_book_s_own_token_sets_are_written_again_byte_for_byte(tmp_path):
    shipped = data.root() / "tokens" / "valid.tokens"
    read = tokenset.read(shipped)
    tokenset.write(tmp_path / "a.tokens", read.grids, 1024, read.tokenizer)
    assert (tmp_path / "a.tokens").read_bytes() == shipped.read_bytes()


def test_every_damage_is_told(tmp_path):
    path = tmp_path / "a.tokens"
    tokenset.write(path, torch.randint(1024, (2, 20, 30)), 1024, HASH)
    whole = path.read_bytes()
    for damaged, words in {
        whole[:-1]: "damaged",
        whole + b"x": "damaged",
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]: "damaged",
        whole[:4] + b"\x03" + whole[5:]: "version 3",
        whole[:4] + b"\x02" + whole[5:]: "damaged",
        whole[:20]: "not a data set of tokens",
        whole[:6]: "it ends in its header",
        b"": "not a data set of tokens",
        b"JPEG" + whole[4:]: "not a data set of tokens",
    }.items():
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=words):
            tokenset.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        tokenset.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("place", "value"),
    [(6, 0), (6, 63), (8, 0), (12, 0), (14, 0), (16, 0), (18, 2)],
    ids=[
        "no bits",
        "63 bits",
        "no grids",
        "height 0",
        "width 0 before codebooks",
        "no codebooks but one axis",
        "label 2",
    ],
)
def test_a_header_that_describes_no_data_set_is_one_clear_error(tmp_path, place, value):
    path = tmp_path / "a.tokens"
    tokenset.write(path, torch.randint(1024, (2, 3, 4, 2)), 1024, HASH, torch.tensor([0, 1]))
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + struct.pack("<H", value) + whole[place + 2 :])
    with pytest.raises(DataError, match="its tokens do not match" if place == 16 else "its header speaks of"):
        tokenset.read(path)
    if place < 16:
        tokenset.write(path, torch.randint(1024, (2, 3, 4)), 1024, HASH)
        whole = path.read_bytes()
        path.write_bytes(whole[:place] + struct.pack("<H", value) + whole[place + 2 :])
        with pytest.raises(DataError, match=r"its header speaks of \d grids of \d×\d tokens of \d+ bits"):
            tokenset.read(path)


def test_what_is_no_set_of_tokens_is_refused(tmp_path):
    zeros = torch.zeros(2, 3, 4, dtype=torch.int64)
    for grids in (zeros + 1024, zeros - 1, zeros[:0], zeros[0, 0], zeros[None, None]):
        with pytest.raises(DataError, match="1024"):
            tokenset.write(tmp_path / "a.tokens", grids, 1024, HASH)
    with pytest.raises(DataError, match="18 bits"):
        tokenset.write(tmp_path / "a.tokens", zeros, 2**19, HASH)
    with pytest.raises(DataError, match="65,535 tokens at most"):
        tokenset.write(tmp_path / "a.tokens", torch.zeros(1, 65536, dtype=torch.int64), 1024, HASH)
    for labels in (torch.tensor([0]), torch.tensor([0, 255]), torch.tensor([-2, 0])):
        with pytest.raises(DataError, match="one label for each of the 2 grids"):
            tokenset.write(tmp_path / "a.tokens", zeros, 1024, HASH, labels)
    assert not list(tmp_path.iterdir())


def test_batches_are_written_as_the_whole_is_and_a_batch_is_gone_before_the_next(tmp_path):
    grids = torch.randint(2**10, (23, 3, 5), generator=torch.Generator().manual_seed(0))
    alive: list[weakref.ref] = []

    def batches(labels=None):
        for places in torch.arange(23).split(4):
            batch = grids[places]  # a copy, 60 tokens of it: seldom whole bytes
            assert sum(each() is not None for each in alive) <= 1
            alive.append(weakref.ref(batch))
            yield batch, None if labels is None else labels[places]
            del batch

    for labels in (None, torch.arange(23) - 1):
        tokenset.write(tmp_path / "whole.tokens", grids, 1024, HASH, labels)
        tokenset.write_batches(tmp_path / "batches.tokens", batches(labels), 1024, HASH)
        assert (tmp_path / "batches.tokens").read_bytes() == (tmp_path / "whole.tokens").read_bytes()
    assert len(alive) == 12


def test_batches_that_are_no_one_data_set_leave_the_old_file_whole(tmp_path):
    path, grids = tmp_path / "a.tokens", torch.zeros(2, 3, 5, dtype=torch.int64)
    path.write_bytes(b"old")
    labels = torch.tensor([1, 2])
    for second, words in {
        (grids[:, :2], None): "one shape",
        (grids, labels): "labels or none",
        (grids + 1024, None): "1024",
    }.items():
        with pytest.raises(DataError, match=words):
            tokenset.write_batches(path, [(grids, None), second], 1024, HASH)
    with pytest.raises(DataError, match="one grid or more"):
        tokenset.write_batches(path, [], 1024, HASH)
    with pytest.raises(DataError, match=r"none/a\.tokens cannot be written: No such file"):
        tokenset.write_batches(tmp_path / "none" / "a.tokens", iter([(grids, None)]), 1024, HASH)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("bits", [1, 7, 10, 18])
@pytest.mark.parametrize("sides", [(3, 5), (2, 3, 2), (7,)])
def test_a_mapped_file_is_indexed_like_the_tensor_it_holds(tmp_path, bits, sides):
    grids = torch.randint(2**bits, (11, *sides), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(11) - 1
    tokenset.write(tmp_path / "a.tokens", grids, 2**bits, HASH, labels)
    tokens = tokenset.mapped(tmp_path / "a.tokens")
    places = torch.tensor([10, 0, 3, 3, 9])
    assert torch.equal(tokens.grids[places], grids[places])
    assert torch.equal(tokens.grids[torch.arange(11)], grids)
    assert (tokens.grids.shape, len(tokens.grids), tokens.bits) == (grids.shape, 11, bits)
    assert tokens.labels is not None
    assert torch.equal(tokens.labels, labels)
    for outside in (-1, 11):
        with pytest.raises(IndexError, match="There are 11 grids"):
            tokens.grids[torch.tensor([0, outside])]


def test_more_tokens_than_are_packed_at_a_time(tmp_path):
    grids = torch.randint(2**10, (3, 1000, packing.AT_ONCE // 1000), generator=torch.Generator().manual_seed(2))
    tokenset.write(tmp_path / "a.tokens", grids, 1024, HASH)
    assert torch.equal(tokenset.read(tmp_path / "a.tokens").grids, grids)
    assert (tmp_path / "a.tokens").read_bytes()[32:] == packing.pack(grids.flatten(), 10)


def test_the_longest_sequence_and_a_checksum_computed_in_parts(tmp_path, monkeypatch):
    longest = torch.arange(65535)[None] % 1024
    monkeypatch.setattr(tokenset, "CHECKED_AT_ONCE", 1000)
    tokenset.write(tmp_path / "a.tokens", longest, 1024, HASH)
    content = (tmp_path / "a.tokens").read_bytes()
    assert content[32:36] == zlib.crc32(content[36:]).to_bytes(4, "little")
    assert torch.equal(tokenset.read(tmp_path / "a.tokens").grids, longest)


def test_a_mapped_file_cannot_be_written_to(tmp_path):
    tokenset.write(tmp_path / "a.tokens", torch.zeros(1, 3, 4, dtype=torch.int64), 1024, HASH)
    grids = tokenset.mapped(tmp_path / "a.tokens").grids
    assert isinstance(grids, packing.PackedGrids)
    with pytest.raises(ValueError, match="read-only"):
        grids.packed[0] = 1
