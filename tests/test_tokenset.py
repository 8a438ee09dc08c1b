"""The bit-packed data set of tokens: by hand, there and back, and damaged in every way."""

import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib import tokenset
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


@given(st.integers(1, 18), st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))
def test_there_and_back(tmp_path_factory, bits, count, height, width):
    path = tmp_path_factory.mktemp("sets") / "a.tokens"
    grids = torch.randint(2**bits, (count, height, width), generator=torch.Generator().manual_seed(bits))
    tokenset.write(path, grids, 2**bits, HASH)
    read = tokenset.read(path)
    assert torch.equal(read.grids, grids)
    assert (read.bits, read.tokenizer) == (bits, HASH[:24])
    assert path.stat().st_size == 32 + -(-grids.numel() * bits // 8)


def test_every_damage_is_told(tmp_path):
    path = tmp_path / "a.tokens"
    tokenset.write(path, torch.randint(1024, (2, 20, 30)), 1024, HASH)
    whole = path.read_bytes()
    for damaged, words in {
        whole[:-1]: "damaged",
        whole + b"x": "damaged",
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]: "damaged",
        whole[:4] + b"\x02" + whole[5:]: "version 2",
        whole[:20]: "not a data set of tokens",
        b"": "not a data set of tokens",
        b"JPEG" + whole[4:]: "not a data set of tokens",
    }.items():
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=words):
            tokenset.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        tokenset.read(tmp_path / "none")


def test_tokens_outside_the_codebook_are_refused(tmp_path):
    for grids in (torch.full((1, 1, 1), 1024), torch.full((1, 1, 1), -1), torch.zeros(3, 3, dtype=torch.int64)):
        with pytest.raises(DataError, match="1024"):
            tokenset.write(tmp_path / "a.tokens", grids, 1024, HASH)
    assert not list(tmp_path.iterdir())
