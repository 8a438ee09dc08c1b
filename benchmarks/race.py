"""The race that `codecs.py` tells of: what each codec made of each frame, stored as soon as it is known.

A codec's record of a frame has its `front`, the files `[size, PSNR, setting]` that are better than each smaller one,
and its `results`, for each limit the best file's `[size, PSNR, SSIM]`, or null where none fits. A record costs seconds,
so each becomes a line of a file in the cache's folder: a run that was stopped goes on where it was. A file whose first
line names other settings or versions than today's is begun anew.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import torch
from rich.console import Console
from rich.progress import track

import arlib
from arlib import codec, data, dial, metrics

LIMITS: tuple[int, ...] = (250, 500, 750, 1000)  # bytes
BATCH = 16  # frames that we code side by side

Record = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One of our codecs: `write` makes files of frames `(N, H, W, 3) uint8`, at most `limit` bytes each.

    An error stands for a file that cannot be so small. A codec without a dial is asked once, whatever the limits.
    `version` changes with its models.
    """

    name: str
    write: Callable[[torch.Tensor, int], Sequence[bytes | codec.CodecError]]
    version: str
    dial: bool = True


def entries() -> list[Entry]:
    """`book`, which has no dial, and the family of codecs that `arlib.dial` chooses from, once its models are there."""
    models = codec.shipped()
    ours = [Entry("book", lambda frames, limit: load("book").compress_batch(frames), models["book"], dial=False)]
    if dial.DIALLED in models:
        ours.append(Entry(dial.DIALLED, dial.compress_batch, f"{models[dial.DIALLED]} {models[dial.PLAIN]}"))
    return ours


@functools.cache
def load(name: str) -> arlib.Codec:
    return arlib.load_codec(name)


def read(files: Sequence[bytes]) -> list[torch.Tensor]:
    """Our files to pictures, through the whole decoder. Raises `CodecError` for the first that is bad."""
    models = [codec.find(file) for file in files]
    pictures: list[torch.Tensor] = [torch.empty(0)] * len(files)
    for model in sorted(set(models)):
        places = [place for place, each in enumerate(models) if each == model]
        made = load(model).decompress_batch([files[place] for place in places])
        for place, picture in zip(places, made, strict=True):
            if isinstance(picture, codec.CodecError):
                raise picture
            pictures[place] = picture
    return pictures


class Store:
    """Records by key in a file of JSON lines, in memory too. A line cut short when a run was stopped is dropped."""

    def __init__(self, path: Path, version: dict[str, Any]):
        self.path, self.records = path, dict[str, Record]()
        first = json.dumps(version, sort_keys=True) + "\n"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        if not lines or lines[0] != first:
            lines = [first]
        if not lines[-1].endswith("\n"):
            lines.pop()
        for line in lines[1:]:
            self.records |= json.loads(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")

    def add(self, key: str, record: Record) -> None:
        self.records[key] = record
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: record}) + "\n")


def names(split: str) -> list[str]:
    """What the frames of a split are called: "abyss/0000", in the order of `data.load`."""
    folder = data.root() / "frames" / split
    return [path.relative_to(folder).with_suffix("").as_posix() for path in data.files("supertuxkart", split)]


def race_peer(peer: str, frames: dict[str, torch.Tensor], store: Store, what: str) -> dict[str, Record]:
    """The records of frames `(H, W, 3) uint8`, by their names: those that the store has not, made now."""
    missing = [name for name in frames if name not in store.records]
    for name in _track(missing, f"{what}, {peer}"):
        store.add(name, peer_record(frames[name], peer))
    return {name: store.records[name] for name in frames}


def peer_record(frame: torch.Tensor, peer: str) -> Record:
    front = peers.front(peers.written(frame, peers.racing(peer)))
    results: dict[str, list[float] | None] = {}
    for limit in LIMITS:
        file = peers.best(front, limit)
        results[str(limit)] = None if file is None else [file.size, *_close(frame, peers.read(file.content))]
    return {"front": [[file.size, round(file.psnr, 4), file.setting] for file in front], "results": results}


def race_entry(
    entry: Entry, frames: dict[str, torch.Tensor], limits: Sequence[int], store: Store, what: str
) -> dict[str, Record]:
    """The same for one of ours. Its front is made of its files for all the limits."""
    limits = limits if entry.dial else [0]
    for limit in limits:
        missing = [name for name in frames if f"{limit} {name}" not in store.records]
        batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        for batch in _track(batches, f"{what}, {entry.name}{f' at {limit} bytes' * entry.dial}"):
            pictures = torch.stack([frames[name] for name in batch])
            for name, result in zip(batch, entry_results(entry, pictures, limit), strict=True):
                store.add(f"{limit} {name}", {"result": result})
    return {name: entry_record(entry, {limit: store.records[f"{limit} {name}"] for limit in limits}) for name in frames}


def entry_results(entry: Entry, frames: torch.Tensor, limit: int) -> list[list[float] | None]:
    """Size, PSNR and SSIM of our file of each frame, or None. Raises `AssertionError` for a file above the limit."""
    files = entry.write(frames, limit)
    fit = [number for number, file in enumerate(files) if isinstance(file, bytes)]
    contents = [file for file in files if isinstance(file, bytes)]
    results: list[list[float] | None] = [None] * len(files)
    for number, content, picture in zip(fit, contents, read(contents) if fit else [], strict=True):
        if entry.dial and len(content) > limit:
            raise AssertionError(f"{entry.name} wrote {len(content)} bytes where {limit} were asked for.")
        results[number] = [len(content), *_close(frames[number], picture)]
    return results


def entry_record(entry: Entry, made: dict[int, Record]) -> Record:
    """A record like a peer's from the results for each limit."""
    files = sorted(
        (record["result"] for record in made.values() if record["result"]), key=lambda each: (each[0], -each[1])
    )
    front: list[list[Any]] = []
    for size, psnr, _ in files:
        if not front or psnr > front[-1][1]:
            front.append([size, psnr, entry.name])
    if entry.dial:
        results = {str(limit): made[limit]["result"] for limit in LIMITS if limit in made}
    else:
        results = {str(limit): files[0] if files[0][0] <= limit else None for limit in LIMITS}
    return {"front": front, "results": results}


def _close(frame: torch.Tensor, again: torch.Tensor) -> list[float]:
    """PSNR and SSIM."""
    return [round(measure(frame[None], again[None]).item(), 4) for measure in (metrics.psnr, metrics.ssim)]


def _track(things: Sequence, what: str):
    return track(things, what, console=Console(stderr=True), disable=not things)
