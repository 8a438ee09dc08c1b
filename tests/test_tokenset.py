"""The bit-packed data set of tokens: by hand, there and back, and damaged in every way."""

import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib import data, tokenset
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
def test_there_and_back(tmp_path_factory, bits, count, sides, labelled):
    path = tmp_path_factory.mktemp("sets") / "a.tokens"
    generator = torch.Generator().manual_seed(bits)
    grids = torch.randint(2**bits, (count, *sides), generator=generator)
    labels = torch.randint(-1, 255, (count,), generator=generator) if labelled else None
    tokenset.write(path, grids, 2**bits, HASH, labels)
    read = tokenset.read(path)
    assert torch.equal(read.grids, grids)
    assert (read.bits, read.tokenizer) == (bits, HASH[:24])
    assert (read.labels is None) == (labels is None)
    if labels is not None and read.labels is not None:
        assert torch.equal(read.labels, labels)
    packed = -(-grids.numel() * bits // 8)
    old = len(sides) == 2 and not labelled
    assert path.stat().st_size == (32 if old else 36 + count * labelled) + packed
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
    with pytest.raises(DataError, match="damaged"):
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
    for labels in (torch.tensor([0]), torch.tensor([0, 255]), torch.tensor([-2, 0])):
        with pytest.raises(DataError, match="one label for each of the 2 grids"):
            tokenset.write(tmp_path / "a.tokens", zeros, 1024, HASH, labels)
    assert not list(tmp_path.iterdir())
