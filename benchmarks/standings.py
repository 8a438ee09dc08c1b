"""The standings of the race: records of single frames become the means, bands and curves of the JSON."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from race import LIMITS, Record

BUDGETS = tuple(range(200, 1201, 25))  # the bytes at which the peers' curves are drawn

Results = dict[str, Any]
Records = dict[str, dict[str, Record]]  # by codec and frame


def summary(records: Records, ours: Sequence[str], limits: Sequence[int] = LIMITS) -> Results:
    """One split for the JSON: `table` by codec and limit, `curve` by codec, and `ahead` by ours and by peer.

    `records` are those of the same frames for each codec; `limits` are those for which ours with a dial were asked.
    """
    split: Results = {"frames": len(next(iter(records.values()))), "table": {}, "curve": {}, "ahead": {}}
    for name, of_frames in records.items():
        split["table"][name] = {str(limit): row(results(of_frames, limit)) for limit in LIMITS}
        if name not in ours:
            for own in ours:
                for limit in LIMITS:
                    pairs = paired(results(records[own], limit), results(of_frames, limit))
                    split["table"][name][str(limit)][own] = beside(pairs)
        # Between two of its limits a codec of ours could do better than its files for the lower one: no guesses there.
        split["curve"][name] = curve(list(of_frames.values()), limits if name in ours else BUDGETS)
    for own in ours:
        split["ahead"][own] = {
            name: ahead(list(records[own].values()), list(of_frames.values()), limits)
            for name, of_frames in records.items()
            if name not in ours
        }
    return split


def results(records: dict[str, Record], limit: int) -> list[list[float] | None]:
    """Each frame's `[size, PSNR, SSIM]` at a limit, None where nothing fits."""
    return [record["results"].get(str(limit)) for record in records.values()]


def paired(ours: Sequence, theirs: Sequence) -> list[tuple]:
    """What both have."""
    return [(mine, their) for mine, their in zip(ours, theirs, strict=True) if mine is not None and their is not None]


def row(made: Sequence[list[float] | None]) -> Results:
    """How many frames fit, and over those the means of size, PSNR and SSIM, and the quartiles of PSNR."""
    fit = np.array([each for each in made if each is not None])
    if not len(fit):
        return {"fit": 0}
    size, psnr, ssim = fit.mean(axis=0)
    means = {"size": _round(size, 1), "psnr": _round(psnr), "ssim": _round(ssim, 4)}
    return {"fit": len(fit), **means, "quartiles": _quartiles(fit[:, 1])}


def beside(pairs: Sequence[tuple[list[float], list[float]]]) -> Results:
    """Ours against theirs over the frames where both fit: our means, and by how much we are ahead."""
    if not pairs:
        return {"both": 0}
    mine, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    size, psnr, ssim = mine.mean(axis=0)
    lead = mine - theirs
    return {
        "both": len(pairs),
        "size": _round(size, 1),
        "psnr": _round(psnr),
        "ssim": _round(ssim, 4),
        "psnr ahead": _round(lead[:, 1].mean()),
        "ssim ahead": _round(lead[:, 2].mean(), 4),
        "frames ahead": int((lead[:, 1] > 0).sum()),
        "quartiles ahead": _quartiles(lead[:, 1]),
    }


def best(record: Record, budget: float) -> float | None:
    """The best PSNR among the files of a record that are at most so large."""
    return max((psnr for size, psnr, *_ in record["front"] if size <= budget), default=None)


def curve(records: Sequence[Record], budgets: Sequence[int]) -> Results:
    """For each budget how many frames fit, and over those the mean of the best PSNR with its quartiles, or null."""
    return _columns(budgets, [[value for record in records if (value := best(record, each))] for each in budgets])


def ahead(ours: Sequence[Record], theirs: Sequence[Record], budgets: Sequence[int]) -> Results:
    """The same of the difference of ours and theirs, over the frames where both fit."""
    leads = []
    for budget in budgets:
        pairs = paired([best(record, budget) for record in ours], [best(record, budget) for record in theirs])
        leads.append([mine - their for mine, their in pairs])
    return _columns(budgets, leads)


def _columns(budgets: Sequence[int], values: Sequence[Sequence[float]]) -> Results:
    bands = [_quartiles(np.array(each)) if each else [None] * 3 for each in values]
    return {
        "budgets": list(budgets),
        "fit": [len(each) for each in values],
        "psnr": [_round(np.mean(each)) if each else None for each in values],
        "low": [low for low, _, _ in bands],
        "high": [high for _, _, high in bands],
    }


def by_frame(records: Records, own: str) -> dict[str, dict[str, list]]:
    """`[size, PSNR]` by frame and codec: the best of at most the size of our file, or else the smallest; and the best
    for each limit, or null."""
    table: dict[str, dict[str, list]] = {}
    for frame, record in records[own].items():
        ours = record["front"][0][0]
        table[frame] = {}
        for name, of_frames in records.items():
            front, made = of_frames[frame]["front"], of_frames[frame]["results"]
            fitting = [file[:2] for file in front if file[0] <= ours] or [file[:2] for file in front[:1]]
            at_limits = [made[str(limit)] and made[str(limit)][:2] for limit in LIMITS]
            table[frame][name] = [fitting[-1] if fitting else None, *at_limits]
    return table


def dumps(value: Any, levels: int = 4, indent: str = "") -> str:
    """JSON whose outer levels have a line for each key, and whose inner ones are one line."""
    if not levels or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = f"{indent} "
    lines = [f"{inner}{json.dumps(key)}: {dumps(each, levels - 1, inner)}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _round(value: Any, digits: int = 3) -> float:
    return round(float(value), digits)


def _quartiles(values: np.ndarray) -> list[float]:
    return [_round(value) for value in np.quantile(values, (0.25, 0.5, 0.75))]
