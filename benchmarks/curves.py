"""The figure of the race, drawn from the JSON that `codecs.py` writes: quality against bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from arlib import plots

NEARLY = 0.95  # a curve begins where this share of the frames fits: a mean over fewer is one over the easy frames
MOST = 1200  # bytes
LABEL: dict[str, Any] = {"textcoords": "offset points", "va": "center", "annotation_clip": False}


def draw(results: dict[str, Any], split: str, path: Path) -> None:
    """Mean PSNR of each codec against the limit in bytes; next to it, once ours has a dial, by how much it is ahead.

    As SVG, readable on a light and on a dark page. Half of all frames lie within a band.
    """
    part, dialled = results["splits"][split], [own for own in results["ours"] if own != "book"]
    colors = dict(zip([*(dialled or ["book"]), *results["peers"]], plots.COLORS, strict=False))
    colors.setdefault("book", plots.INK)
    plots.use_style()
    # No date and no random names: the same numbers give the same file.
    with plt.rc_context({"svg.hashsalt": "codecs", "axes.grid": True, "grid.alpha": 0.25, "grid.color": plots.INK}):
        figure, axes = plt.subplots(1, 1 + bool(dialled), figsize=(5.6 + 4.4 * bool(dialled), 4.4), squeeze=False)
        _quality(axes[0, 0], part, colors, banded=[*dialled, _strongest(part, results["peers"])])
        if dialled:
            _lead(axes[0, 1], part, dialled[-1], colors)
        figure.savefig(path, metadata=_metadata(results, split))
    plt.close(figure)


def digest(results: dict[str, Any], split: str) -> str:
    """A hash of what is drawn, which the file keeps."""
    part = results["splits"][split]
    return hashlib.sha256(json.dumps([part["curve"], part["ahead"]], sort_keys=True).encode()).hexdigest()


def _metadata(results: dict[str, Any], split: str) -> dict[str, str | None]:
    title = f"Quality against bytes, {split}"
    return {
        "Date": None,
        "Title": title,
        "Description": f"Drawn from numbers whose SHA-256 is {digest(results, split)}",
    }


def _strongest(part: dict[str, Any], peers: dict[str, Any]) -> str:
    """The peer that comes first at most budgets; the other bands would only lie on top of its band."""
    means = np.array([[value or 0 for value in part["curve"][name]["psnr"]] for name in peers])
    return list(peers)[np.bincount(means.argmax(axis=0)).argmax()]


def _quality(axis: Axes, part: dict[str, Any], colors: dict[str, str], banded: list[str]) -> None:
    ends: dict[str, tuple[float, float]] = {}
    for name, curve in part["curve"].items():
        budgets, mean, low, high = _columns(curve, part["frames"])
        ours = name in part["ahead"]
        if name == "book":  # it has no dial, and is one point
            at = part["table"][name][max(part["table"][name], key=int)]
            axis.plot(at["size"], at["psnr"], "o", color=colors[name])
            axis.annotate(name, (at["size"], at["psnr"]), (7, 0), color=colors[name], **LABEL)
        elif len(budgets):
            style = {"linewidth": 2.6, "marker": "o"} if ours else {"linewidth": 1.4}
            axis.plot(budgets, mean, color=colors[name], **style)
            if ours:
                axis.annotate(name, (budgets[0], mean[0]), (0, 11), color=colors[name], ha="center", **LABEL)
            else:
                ends[name] = budgets[-1], mean[-1]
        if name in banded:
            axis.fill_between(budgets, low, high, color=colors[name], alpha=0.14, linewidth=0)
    axis.set_ylabel(f"PSNR in dB, mean over {part['frames']} frames")
    _finish(axis, ends, colors)


def _lead(axis: Axes, part: dict[str, Any], own: str, colors: dict[str, str]) -> None:
    ends: dict[str, tuple[float, float]] = {}
    for name, curve in part["ahead"][own].items():
        budgets, mean, low, high = _columns(curve, part["frames"])
        if len(budgets):
            axis.plot(budgets, mean, color=colors[name], marker="o", linewidth=1.4)
            axis.fill_between(budgets, low, high, color=colors[name], alpha=0.14, linewidth=0)
            ends[name] = budgets[-1], mean[-1]
    axis.axhline(0, color=plots.INK, linewidth=1)
    axis.set_ylabel(f"dB by which {own} is ahead, on the same frames")
    _finish(axis, ends, colors)


def _finish(axis: Axes, ends: dict[str, tuple[float, float]], colors: dict[str, str]) -> None:
    """The axis of the bytes, and the names at the ends of the curves, pushed apart where they would overlap."""
    axis.set_xlim(0, MOST)
    axis.set_xticks(range(0, MOST + 1, 200))
    axis.set_xlabel("bytes at most, headers included")
    least = 0.05 * np.diff(axis.get_ylim()).item()
    below = -np.inf
    for name, (budget, height) in sorted(ends.items(), key=lambda end: end[1][1]):
        below = max(height, below + least)
        axis.annotate(name, (budget, below), (6, 0), color=colors[name], **LABEL)


def _columns(curve: dict[str, Any], frames: int) -> list[np.ndarray]:
    """Budgets, mean and band where nearly all frames fit."""
    drawn = np.array(curve["fit"]) >= NEARLY * frames
    return [np.array(curve[key], dtype=float)[drawn] for key in ("budgets", "psnr", "low", "high")]
