"""The race: our files against JPEG, WebP, AVIF and JPEG XL, frame by frame, on `valid` and on `unseen`.

    python benchmarks/codecs.py                          race, and print the tables
    python benchmarks/codecs.py --json book/_static/codecs.json --figures book/_static --readme README.md
    python benchmarks/codecs.py --stored …               the same from the JSON that is there, without a race

A limit is a number of bytes that no file may exceed, headers counted. For each frame and limit, each peer is tried at
many settings and all useful qualities (see `peers.py`), and its file of the best PSNR counts. A frame that a codec
cannot write that small is not in its means; next to them stand ours on the very same frames.

What has been measured is kept in `--cache`, so that a run that is stopped goes on where it was, and a new model of ours
does not measure the peers again. The first run takes about 20 minutes of one core for the peers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import curves
import peers
import race
import standings
import typer
from race import LIMITS
from rich.console import Console
from rich.table import Table
from standings import Results

from arlib import data

SPLITS = ("valid", "unseen")
README = ("<!-- benchmarks/codecs.py --readme writes from here -->\n", "<!-- to here -->\n")


def compare(every: int, cache: Path, limits: Sequence[int], names: Sequence[str]) -> Results:
    """Race on every N-th frame of both splits, the peers first; the results as the JSON has them."""
    versions = {peer: peers.version(peer) for peer in peers.PEERS}
    entries = [entry for entry in race.entries() if not names or entry.name in ("book", *names)]
    results: Results = {"limits": list(LIMITS), "ours": [entry.name for entry in entries], "peers": versions}
    results["splits"] = {}
    for split in SPLITS:
        frames = dict(list(zip(race.names(split), data.load("supertuxkart", split), strict=True))[::every])
        records = {}
        for peer in peers.PEERS:
            store = race.Store(cache / f"{split}-{peer.replace(' ', '-')}.jsonl", versions[peer])
            records[peer] = race.race_peer(peer, frames, store, split)
        for entry in entries:
            store = race.Store(cache / f"{split}-{entry.name}.jsonl", {"version": entry.version})
            records[entry.name] = race.race_entry(entry, frames, limits, store, split)
        results["splits"][split] = standings.summary(records, results["ours"], limits)
        results["splits"][split]["by frame"] = standings.by_frame(records, "book")
    return results


def table(results: Results, split: str) -> Table:
    """A row for each codec and limit: how many frames fit, PSNR, SSIM, and ours on the same frames."""
    all_frames, ours = results["splits"][split]["frames"], results["ours"]
    columns = [f"{own} on these" for own in ours]
    shown = Table("codec", "at most", "fit", "bytes", "PSNR", "SSIM", *columns, title=f"{split}, {all_frames} frames")
    for name, rows in results["splits"][split]["table"].items():
        for limit in map(str, results["limits"]):
            cells = rows[limit]
            if not cells["fit"]:
                shown.add_row(name, f"{limit} B", "0", *["–"] * (3 + len(ours)))
                continue
            against = [_against(cells[own]) if own in cells else "" for own in ours]
            means = f"{cells['size']:.0f}", f"{cells['psnr']:.2f}", f"{cells['ssim']:.3f}"
            shown.add_row(name, f"{limit} B", str(cells["fit"]), *means, *against)
        shown.add_section()
    return shown


def _against(cells: Results) -> str:
    if not cells["both"]:
        return "–"
    shown = f"{cells['psnr']:.2f} dB ({cells['psnr ahead']:+.2f}), {cells['ssim']:.3f} ({cells['ssim ahead']:+.3f})"
    return f"{shown}, {cells['both']} frames"


def readme(results: Results) -> str:
    """README's tables in Markdown: mean PSNR over the frames that fit, and what share of them does if not all."""
    order = [*reversed(results["ours"]), *peers.PEERS]
    lines = []
    for split in SPLITS:
        part = results["splits"][split]
        lines += [f"| `{split}`, at most | {' | '.join(order)} |", "| --- |" + " --- |" * len(order)]
        for limit in map(str, results["limits"]):
            cells = [_cell(part["table"][name][limit], part["frames"]) for name in order]
            lines.append(f"| {int(limit):,} bytes | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(cells: Results, frames: int) -> str:
    if not cells["fit"]:
        return "–"
    share = "" if cells["fit"] == frames else f" ({cells['fit'] / frames:.0%})"
    return f"{cells['psnr']:.1f} dB{share}"


def put(text: str, table: str) -> str:
    """A text with the table between its two marks. Raises `ValueError` where it has none."""
    first, last = README
    if first not in text or last not in text:
        raise ValueError(f"The two marks are missing: {first.strip()} and {last.strip()}.")
    return text[: text.index(first)] + first + "\n" + table + "\n" + text[text.index(last) :]


def main(
    every: Annotated[int, typer.Option(min=1, help="Take every N-th frame only, to be quicker.")] = 1,
    cache: Annotated[Path, typer.Option(help="Where what has been measured is kept.")] = Path("runs/codecs"),
    limit: Annotated[list[int] | None, typer.Option(help="One more limit for our curve.")] = None,
    codec: Annotated[list[str] | None, typer.Option(help="Of ours, only this one and book.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    stored: Annotated[bool, typer.Option(help="Do not race, take the results of the file that --json names.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Draw the curves into this folder.")] = None,
    text: Annotated[Path | None, typer.Option("--readme", help="Put the tables into this Markdown file.")] = None,
) -> None:
    """Print a table for valid and one for unseen, whoever wins."""
    if stored and json_ is None:
        raise typer.BadParameter("--stored needs --json FILE.")
    if stored and json_ is not None:
        results = json.loads(json_.read_text(encoding="utf-8"))
    else:
        results = compare(every, cache, sorted({*LIMITS, *(limit or [])}), codec or [])
    for split in SPLITS:
        Console().print(table(results, split))
        if figures is not None:
            curves.draw(results, split, figures / f"codecs-{split}.svg")
    if json_ is not None and not stored:
        json_.write_text(standings.dumps(results) + "\n", encoding="utf-8")
    if text is not None:
        text.write_text(put(text.read_text(encoding="utf-8"), readme(results)), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
