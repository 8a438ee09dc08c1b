"""The race of `benchmarks/codecs.py`: what it makes of measurements, that it goes on, what README quotes."""

import importlib.util
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from arlib import codec

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import curves  # noqa: E402
import peers  # noqa: E402
import race  # noqa: E402
import standings  # noqa: E402

# The script is called like a module of Python, so that it cannot be imported by its name.
specification = importlib.util.spec_from_file_location("codecs_benchmark", ROOT / "benchmarks" / "codecs.py")
assert specification is not None
assert specification.loader is not None
codecs = importlib.util.module_from_spec(specification)
specification.loader.exec_module(codecs)


def record(*files: tuple[int, float, float]) -> race.Record:
    """A record of files (size, PSNR, SSIM), each better than the smaller ones before it."""
    results = {
        str(limit): next((list(file) for file in reversed(files) if file[0] <= limit), None) for limit in race.LIMITS
    }
    return {"front": [[size, psnr, "any"] for size, psnr, _ in files], "results": results}


# Three frames; at 500 bytes the peer cannot write the last, and at 250 ours cannot write the second.
RECORDS = {
    "Peer": {
        "a": record((400, 20.0, 0.5), (700, 26.0, 0.7)),
        "b": record((240, 23.0, 0.6), (480, 24.0, 0.7)),
        "c": record((600, 30.0, 0.9)),
    },
    "book": {
        "a": record((200, 22.0, 0.6)),
        "b": record((300, 23.0, 0.8)),
        "c": record((220, 40.0, 0.9)),
    },
}


def test_the_table_is_what_one_reckons_by_hand():
    table = standings.summary(RECORDS, ["book"])["table"]
    assert table["book"]["250"]["fit"] == 2
    assert table["Peer"]["250"] == {
        "fit": 1,
        "size": 240,
        "psnr": 23,
        "ssim": 0.6,
        "quartiles": [23, 23, 23],
        "book": {"both": 0},
    }
    assert table["Peer"]["500"] == {
        "fit": 2,
        "size": 440,  # of 400 and 480
        "psnr": 22,  # of 20 and 24
        "ssim": 0.6,
        "quartiles": [21, 22, 23],
        # Only on a and b: c, where ours has 40 dB, is not the peer's to lose.
        "book": {
            "both": 2,
            "size": 250,
            "psnr": 22.5,
            "ssim": 0.7,
            "psnr ahead": 0.5,  # of +2 and -1
            "ssim ahead": 0.1,
            "frames ahead": 1,
            "quartiles ahead": [-0.25, 0.5, 1.25],
        },
    }
    assert table["Peer"]["1000"]["psnr"] == pytest.approx(80 / 3, abs=1e-3)


def test_the_curve_too():
    split = standings.summary(RECORDS, ["book"])
    curve = split["curve"]["Peer"]
    at = curve["budgets"].index(475)
    assert [curve[key][at] for key in ("fit", "psnr", "low", "high")] == [2, 21.5, 20.75, 22.25]
    at = curve["budgets"].index(225)
    assert [curve[key][at] for key in ("fit", "psnr", "low", "high")] == [0, None, None, None]
    assert split["ahead"]["book"]["Peer"]["psnr"][1] == 0.5
    assert split["ahead"]["book"]["Peer"]["fit"] == [0, 2, 3, 3]


def test_each_frame_has_the_best_at_our_size_or_the_smallest():
    frames = standings.by_frame(RECORDS, "book")
    assert frames["b"]["Peer"] == [[240, 23.0], [240, 23.0], [480, 24.0], [480, 24.0], [480, 24.0]]
    assert frames["c"]["Peer"] == [[600, 30.0], None, None, [600, 30.0], [600, 30.0]]
    assert frames["c"]["book"][0] == [220, 40.0]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20))), st.integers(0, 60))
def test_the_front_has_the_best_file_for_every_limit(sizes, limit):
    files = [peers.File(size, psnr, "any", 0, b"") for size, psnr in sizes]
    fitting = [psnr for size, psnr in sizes if size <= limit]
    chosen = peers.best(peers.front(files), limit)
    assert (chosen and chosen.psnr) == (max(fitting) if fitting else None)
    assert chosen is None or chosen.size <= limit


@pytest.fixture
def frames() -> dict[str, torch.Tensor]:
    """Frames that are easy to write small: two colors that meet at an edge."""
    chance = random.Random(0)
    pictures = {}
    for name in ("a/0", "a/1", "b/0", "b/1"):
        picture = torch.full((100, 150, 3), chance.randrange(256), dtype=torch.uint8)
        picture[chance.randrange(100) :] = chance.randrange(256)
        pictures[name] = picture
    return pictures


@pytest.fixture
def count(monkeypatch) -> list[str]:
    """One peer with one setting, Pillow's JPEG; the names of the frames that it wrote are appended to this list."""
    setting = peers.Setting("plain", peers.pillow("JPEG", optimize=True), range(0, 40, 10))
    monkeypatch.setattr(peers, "PEERS", {"JPEG": [setting]})
    return []


def test_a_peer_is_measured_as_its_files_are(frames, count):
    frame = frames["a/0"]
    made = race.peer_record(frame, "JPEG")
    sizes, ratios = [], []
    for quality in range(0, 40, 10):
        file = io.BytesIO()
        Image.fromarray(frame.numpy()).save(file, "JPEG", quality=quality, optimize=True)
        error = np.mean((np.asarray(Image.open(file), float) - frame.numpy()) ** 2)
        sizes.append(file.tell())
        ratios.append(10 * np.log10(255**2 / error))
    for limit, result in made["results"].items():
        best = max((psnr for size, psnr in zip(sizes, ratios, strict=True) if size <= int(limit)), default=None)
        if best is None:
            assert result is None
        else:
            assert result[0] in sizes
            assert result[0] <= int(limit)
            assert result[1] == pytest.approx(best, abs=1e-3)


def test_a_race_that_was_stopped_goes_on(frames, count, tmp_path, monkeypatch):
    path, whole = tmp_path / "cache" / "JPEG.jsonl", tmp_path / "whole.jsonl"
    expected = race.race_peer("JPEG", frames, race.Store(whole, {"by": 1}), "test")
    measure = race.peer_record

    def stopped(frame: torch.Tensor, peer: str) -> race.Record:
        count.append("frame")
        if len(count) == 3:
            raise KeyboardInterrupt
        return measure(frame, peer)

    monkeypatch.setattr(race, "peer_record", stopped)
    with pytest.raises(KeyboardInterrupt):
        race.race_peer("JPEG", frames, race.Store(path, {"by": 1}), "test")
    path.write_text(path.read_text()[:-9])  # the second record was cut off while it was written
    count[:] = ["frame"] * 10
    assert race.race_peer("JPEG", frames, race.Store(path, {"by": 1}), "test") == expected
    assert len(count) == 10 + 3  # one frame of four was there
    assert race.race_peer("JPEG", frames, race.Store(path, {"by": 1}), "test") == expected
    assert len(count) == 10 + 3
    assert path.read_text() == whole.read_text()


def test_other_versions_begin_anew(tmp_path):
    store = race.Store(tmp_path / "x.jsonl", {"by": 1})
    store.add("a", {"front": []})
    assert race.Store(tmp_path / "x.jsonl", {"by": 1}).records == {"a": {"front": []}}
    assert race.Store(tmp_path / "x.jsonl", {"by": 2}).records == {}


def test_ours_are_asked_for_each_limit_and_held_to_it(frames, tmp_path, monkeypatch):
    asked = []

    def write(pictures: torch.Tensor, limit: int) -> list[bytes | codec.CodecError]:
        asked.append((len(pictures), limit))
        return [
            codec.CodecError("too small") if limit < 500 else bytes(limit - number) for number in range(len(pictures))
        ]

    monkeypatch.setattr(race, "read", lambda files: [torch.zeros(100, 150, 3, dtype=torch.uint8) for _ in files])
    store = race.Store(tmp_path / "x.jsonl", {})
    records = race.race_entry(race.Entry("fine", write, ""), frames, race.LIMITS, store, "test")
    assert asked == [(4, 250), (4, 500), (4, 750), (4, 1000)]
    assert records["a/0"]["results"]["250"] is None
    assert [records[name]["results"]["500"][0] for name in frames] == [500, 499, 498, 497]
    race.race_entry(race.Entry("fine", write, ""), frames, (*race.LIMITS, 600), store, "test")
    assert asked[4:] == [(4, 600)]
    other = race.Entry("other", lambda some, _: [bytes(251)] * len(some), "")
    with pytest.raises(AssertionError, match="wrote 251 bytes where 250"):
        race.race_entry(other, frames, [250], race.Store(tmp_path / "y.jsonl", {}), "test")


def test_a_codec_without_a_dial_has_one_file_for_all_limits(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(race, "read", lambda files: [torch.zeros(100, 150, 3, dtype=torch.uint8) for _ in files])
    entry = race.Entry("book", lambda some, _: [bytes(600)] * len(some), "", dial=False)
    made = race.race_entry(entry, frames, race.LIMITS, race.Store(tmp_path / "x.jsonl", {}), "test")["a/0"]
    assert [made["results"][str(limit)] and made["results"][str(limit)][0] for limit in race.LIMITS] == [
        None,
        None,
        600,
        600,
    ]


def test_our_files_are_read_by_the_codecs_that_wrote_them(monkeypatch):
    monkeypatch.setattr(codec, "find", lambda content: content[:1].decode())
    monkeypatch.setattr(race, "load", Reader)
    assert race.read([b"x1", b"y2", b"x3"]) == ["x reads x1", "y reads y2", "x reads x3"]
    with pytest.raises(codec.CodecError, match="no y at all"):
        race.read([b"x1", b"y no y at all"])


class Reader:
    def __init__(self, name: str):
        self.name = name

    def decompress_batch(self, files: list[bytes]) -> list[str | codec.CodecError]:
        return [
            codec.CodecError(file.decode()) if b"no" in file else f"{self.name} reads {file.decode()}" for file in files
        ]


def test_json_comes_back():
    split = standings.summary(RECORDS, ["book"])
    assert json.loads(standings.dumps({"é": split, "empty": {}})) == {"é": split, "empty": {}}


# What is committed.


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads((ROOT / "book" / "_static" / "codecs.json").read_text(encoding="utf-8"))


def test_the_stored_race_is_the_one_that_would_run_today(stored):
    assert stored["limits"] == list(race.LIMITS)
    for peer in peers.PEERS:
        assert stored["peers"][peer]["settings"] == peers.settings(peer)
    for split in codecs.SPLITS:
        part = stored["splits"][split]
        assert part["frames"] == 256
        assert sorted(part["by frame"]) == sorted(race.names(split))
        for name, rows in part["table"].items():
            for limit, row in rows.items():
                made = [each[name][1 + race.LIMITS.index(int(limit))] for each in part["by frame"].values()]
                fitting = [psnr for size, psnr in filter(None, made)]
                assert row["fit"] == len(fitting)
                assert all(size <= int(limit) for size, _ in filter(None, made))
                if fitting:
                    assert row["psnr"] == pytest.approx(np.mean(fitting), abs=2e-3)


def test_readme_quotes_it(stored):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert codecs.put(text, codecs.readme(stored)) == text


@pytest.mark.parametrize("split", codecs.SPLITS)
def test_the_figures_show_it(stored, split):
    drawn = (ROOT / "book" / "_static" / f"codecs-{split}.svg").read_text(encoding="utf-8")
    assert curves.digest(stored, split) in drawn
