"""Chapter 1, "Patches": its checkers refuse wrong answers with a reason, its figures answer as arlib does."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import torch
from einops import rearrange

import arlib
from arlib import metrics
from arlib.exercises import chapter01 as check
from arlib.patches import patchify, unpatchify
from arlib.tokenizer import to_uint8

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "01-patches"


@pytest.fixture(scope="module")
def valid():
    return arlib.data.load("supertuxkart", "valid")


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def joined(pattern, change=None):
    """An unpatchify by einops, its number of colours worked out from the size of a patch; `change` is made to each."""

    def join(patches, p):
        if change is not None:
            squares = patches.unflatten(-1, (p, p, -1)).flatten(0, 2)  # (n, p, p, C)
            patches = change(squares).reshape(patches.shape)
        return rearrange(patches, pattern, p=p, q=p, c=patches.shape[-1] // p**2)

    return join


UNPATCHIFIES = [
    (lambda x, p: x.reshape(len(x), x.shape[1] * p, x.shape[2] * p, -1), "reshape moves none of them"),
    (joined("b h w (q p c) -> b (h p) (w q) c"), "rows and columns inside each patch are swapped"),
    (joined("b h w (c p q) -> b (h p) (w q) c"), "colour by colour"),
    (joined("b h w (p q c) -> b (p h) (q w) c"), "spread over the whole picture"),
    (joined("b h w (p q c) -> b (w q) (h p) c"), "lies on its side"),
    (joined("b h w (p q c) -> b (h p) (q w) c"), "spread over the whole width"),
    (joined("b h w (p q c) -> b (p h) (w q) c"), "spread over the whole height"),
    (lambda x, p: unpatchify(x, p).flip(1), "the picture is upside down"),
    (lambda x, p: unpatchify(x, p).flip(2), "the picture is mirrored"),
    (lambda x, p: unpatchify(x, p).flip(3), "the opposite order"),
    (joined("b h w (p q c) -> b (h p) (w q) c", lambda x: x.flip(1)), "and upside down"),
    (joined("b h w (p q c) -> b (h p) (w q) c", lambda x: x.flip(2)), "and mirrored"),
    (lambda x, p: unpatchify(x.flip(1), p), "in the wrong place"),
    (lambda x, p: rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p, c=3), "with 3 colours it is right"),
    (lambda x, p: unpatchify(x, p) + 1, "have changed"),
    (lambda x, p: rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p, c=3)[..., :1], "the shape is"),
    (lambda x, p: x.view(-1, 3, 4, 5), "your function raised"),
]


def cut_one(pattern):
    return lambda picture, p: rearrange(picture, pattern, p=p, q=p)


PATCHIFIES = [
    (cut_one("c (h p) (w q) -> h w (c p q)"), "the colours lie apart"),
    (lambda x, p: patchify(x.reshape(1, *x.shape[1:], len(x)), p)[0], "read the memory of (C, H, W)"),
    (cut_one("c (h p) (w q) -> h w (q p c)"), "rows and columns inside each patch are swapped"),
    (lambda x, p: x.reshape(x.shape[1] // p, x.shape[2] // p, -1), "reshape alone moves nothing; the axes"),
    (lambda x, p: x.permute(1, 2, 0).reshape(x.shape[1] // p, x.shape[2] // p, -1), "moves nothing but the colours"),
    (cut_one("c (p h) (q w) -> h w (p q c)"), "dilated"),
    (lambda x, p: patchify(x.permute(1, 2, 0)[None], p)[0].flip(0), "in the wrong place"),
    (lambda x, p: patchify(x.permute(1, 2, 0)[None], p), "the shape is"),
    (cut_one("c (h p) (w q) -> h w (c q p)"), "(c q p)"),
    (cut_one("c (h p) (w q) -> w h (p q c)"), "the grid lies on its side"),
]


def right_cut(frame):
    return patchify(frame[None], 5)[0]


def right_join(patches):
    return unpatchify(patches[None], 5)[0]


def swaps(patches):
    """Row 0 of the grid and row 1 exchanged."""
    return torch.cat([patches[[1, 0]], patches[2:]])


def transposed(patches):
    return patches.unflatten(-1, (5, 5, 3)).transpose(2, 3).flatten(2)


remembered: list[torch.Tensor] = []


def cut_and_remember(frame):
    remembered[:] = [frame]
    return transposed(right_cut(frame))


def one_stray(patches):
    """Two numbers of two patches exchanged, and all others in their place: random edits would seldom meet them."""
    patches = patches.clone()
    patches[0, 0, 0], patches[3, 5, 0] = patches[3, 5, 0].clone(), patches[0, 0, 0].clone()
    return patches


def upside_down(patches):
    return patches.unflatten(-1, (5, 5, 3)).flip(2).flatten(2)


def by_content(frame):
    """Right on a frame of equal rows, and wrong on others."""
    return right_cut(frame) if torch.equal(frame[0], frame[1]) else transposed(right_cut(frame))


PAIRS = [
    (right_cut, right_join, "that is the right cut"),
    (lambda x: x.reshape(4, 6, 75), lambda x: x.reshape(20, 30, 3), "the test of locality finds it"),
    (lambda x: swaps(right_cut(x)), lambda x: right_join(swaps(x)), "the test of locality finds it"),
    (lambda x: one_stray(right_cut(x)), lambda x: right_join(one_stray(x)), "the test of locality finds it"),
    (lambda x: right_cut(x).flip(-1), right_join, "fails the round trip"),
    (cut_and_remember, lambda x: remembered[0], "fails the round trip"),
    (lambda x: right_cut(x).flip(-1), lambda x: right_join(x.flip(-1)), "the third test finds it"),
    (lambda x: transposed(right_cut(x)), lambda x: right_join(transposed(x)), "the third test finds it"),
    (by_content, lambda x: right_join(transposed(x)), "in different ways"),
    (lambda x: right_cut(x) + 1, lambda x: right_join(x - 1), "a cut only moves numbers"),
    (lambda x: right_cut(x) * 2, lambda x: right_join(x / 2), "a cut only moves numbers"),
    (lambda x: -right_cut(x), lambda x: right_join(-x), "a cut only moves numbers"),
    (lambda x: right_cut(x).cumsum(-1), right_join, "a cut only moves numbers"),
    (lambda x: x.reshape(4, 6, 75)[:2], lambda x: x, "the shape is"),
]


def by_eigh(vectors, k, centre=True, largest=True):
    mean = vectors.mean(0)
    moved = vectors - mean if centre else vectors
    directions = torch.linalg.eigh(moved.T @ moved)[1]
    return mean, directions[:, -k:] if largest else directions[:, :k]


CODES = [
    (lambda x, k: by_eigh(x, k, largest=False), "least variance"),
    (lambda x, k: by_eigh(x, k, centre=False), "before the mean was taken off"),
    (lambda x, k: (torch.zeros(x.shape[1]), by_eigh(x, k)[1]), "the mean is not the mean"),
    (lambda x, k: (x.mean(0), by_eigh(x, k)[1].T), "your directions are rows"),
    (lambda x, k: (x.mean(0), 2 * by_eigh(x, k)[1]), "not orthonormal"),
    (lambda x, k: (x.mean(0), torch.linalg.qr(torch.randn(x.shape[1], k))[0]), "can be reached"),
    (lambda x, k: (x.mean(0), torch.pca_lowrank(x, q=k)[2]), "An approximate method"),
    (lambda x, k: by_eigh(x, k)[1], "two things are asked for"),
]
NEEDED = [
    (5, "patches of 5 × 5"),
    (13, "still below 95 %"),
    (3, "the mean has not been taken off"),
    (207, "standard deviations"),
    (286, "can be left out"),
    (15, "Has 1 been added"),
    (40, "fewer are enough"),
    (100, "fewer are enough"),
    (7, "less than 95 %"),
    (0, "a count from 1 to 300"),
    (13.5, "a whole number"),
]


@pytest.mark.parametrize(
    ("checker", "answers", "reason"),
    [
        *((check.unpatchify, (answer,), reason) for answer, reason in UNPATCHIFIES),
        *((check.patchify_one, (answer,), reason) for answer, reason in PATCHIFIES),
        *((check.wrong_pair, (cut, join), reason) for cut, join, reason in PAIRS),
        *((check.best_code, (answer,), reason) for answer, reason in CODES),
        *((check.components_needed, (answer,), reason) for answer, reason in NEEDED),
    ],
)
def test_a_wrong_answer_is_told_why(checker, answers, reason):
    verdict = checker(*answers)
    assert not verdict
    assert reason in verdict.reason


def ratio(steps, period=10, first=9):
    seam = torch.arange(steps.shape[2]) % period == first
    return (steps[:, :, seam].mean() / steps[:, :, ~seam].mean()).item()


def test_another_right_pair_passes():
    """The rows of a patch in any other order, here the first two exchanged."""

    def exchanged(patches):
        return patches.unflatten(-1, (5, 5, 3))[:, :, [1, 0, 2, 3, 4]].flatten(2)

    assert check.wrong_pair(lambda x: upside_down(right_cut(x)), lambda x: right_join(upside_down(x)))
    assert check.wrong_pair(lambda x: exchanged(right_cut(x)), lambda x: right_join(exchanged(x)))


def test_a_wrong_seam_ratio_is_told_why(valid):
    pictures = arlib.load_autoencoder("linear-10").reconstruct(valid[::8]).transpose(1, 2)
    exact, frames = pictures.float(), valid[::8].transpose(1, 2).float()
    steps = exact[:, :, 1:] - exact[:, :, :-1]
    upright = exact[:, 1:] - exact[:, :-1]
    right = ratio(steps.abs())
    seam = steps.abs()[:, :, 9::10].mean()
    wrong = [
        (ratio((frames[:, :, 1:] - frames[:, :, :-1]).abs()), "in the frames themselves"),
        (100 * right, "that is per cent"),
        (right - 1, "as a share"),
        (100 * right - 100, "in per cent"),
        (seam - seam / right, "a difference of the two jumps"),
        (1 / right, "that is the inverse"),
        (ratio(upright.abs().transpose(1, 2)), "upright seams"),
        (ratio(steps.abs(), 5, 4), "every second of your seams"),
        (ratio(steps.abs(), 10, 0), "beside the real ones"),
        (ratio((pictures[:, :, 1:] - pictures[:, :, :-1]).float()), "wraps around"),
        (ratio(steps.square()), "those are squares"),
        (seam, "the jump over the seams itself"),
        (seam / 255, "the jump over the seams itself"),
        (seam / steps.abs().mean(), "among those you divide by"),
        (17.0, "not what the pictures"),
    ]
    assert check.seam_ratio(round(right, 2))
    assert check.seam_ratio(right + 0.014)
    for answer, reason in wrong:
        verdict = check.seam_ratio(answer)
        assert not verdict
        assert reason in verdict.reason


# ---- The figures -----------------------------------------------------------------------------------------------------


def the_data(name: str) -> dict:
    """What the committed notebook hands to its figure."""
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output and "text/html" in output.data
    ]
    page = next(page for page in pages if f'data-figure="{name}"' in page)
    return json.loads(re.search(r"^const data = (.*);$", page, re.MULTILINE)[1])  # type: ignore[index]


def value(figure, name):
    return figure.locator(f"[data-name={name}]").inner_text()


def test_the_cuts_take_the_pixels_that_torch_takes(figure):
    cuts = figure(CHAPTER, "cuts")
    addresses = torch.arange(100 * 150 * 3)
    data = the_data("cuts")
    row, column = data["row"], data["column"]
    for place, made in enumerate(data["cuts"]):
        if place:
            cuts.get_by_role("radio").nth(place - 1).press("ArrowDown")
            cuts.get_by_role("slider").nth(0).press("ArrowLeft")
            cuts.get_by_role("slider").nth(1).press("ArrowRight")
            row, column = row - 1, column + 1
        patches = addresses.reshape(made["sizes"]).permute(made["order"]).reshape(20, 30, 75)
        pixels = (patches[row, column] // 3).unique()
        ends = [f"{a}" if a == b else f"{a} to {b}" for a, b in (_ends(pixels // 150), _ends(pixels % 150))]
        assert value(cuts, "pixels") == f"{len(pixels)} pixels"
        assert value(cuts, "where") == f"rows {ends[0]}, columns {ends[1]}"
        if made["name"] == "right":
            assert torch.equal(patches[None], patchify(addresses.reshape(1, 100, 150, 3), 5))


def _ends(values):
    return values.min().item(), values.max().item()


def test_the_patch_size_answers_as_arlib_does(figure, valid):
    data = the_data("patch-size")
    shown = figure(CHAPTER, "patch-size")
    size, count = shown.get_by_role("slider").nth(0), shown.get_by_role("slider").nth(1)
    train = torch.stack([arlib.data.read_image(path) for path in arlib.data.files("supertuxkart", "train")[::8]])
    at = data["size"], data["count"]
    for wanted in [(1, 1), (1, 3), (2, 4), (0, 2)]:
        for control, moves in zip((size, count), (wanted[0] - at[0], wanted[1] - at[1]), strict=True):
            for _ in range(abs(moves)):
                control.press("ArrowRight" if moves > 0 else "ArrowLeft")
        at = wanted
        p, kept = data["sizes"][wanted[0]]["side"], data["kept"][wanted[1]]
        painted = _painted(train, valid, p, kept)
        assert value(shown, "grid") == f"{100 // p} rows of {150 // p} patches"
        assert value(shown, "numbers") == f"{kept} a patch, {15_000 // p**2 * kept:,} a frame"
        assert label_of(count).startswith(f"{kept} of ")
        psnr = float(value(shown, "psnr").removesuffix(" dB"))
        assert psnr == pytest.approx(metrics.psnr(valid[230:231], painted[230:231]).item(), abs=0.06)
        error = float(value(shown, "mse").removeprefix("mean squared error "))
        assert error == pytest.approx(metrics.mse(valid, painted).mean().item(), rel=0.03)  # not clipped to bytes
        assert shown.locator("img").evaluate("it => it.complete && it.naturalWidth") == 150


def _painted(train, valid, p, kept):
    """The best linear code of `kept` numbers a patch, by the covariance that torch computes."""
    vectors = patchify(train, p).flatten(0, 2).float() / 255
    mean = vectors.mean(0)
    basis = torch.linalg.eigh(torch.cov(vectors.T))[1][:, -kept:]
    grid = patchify(valid, p).float() / 255 - mean
    return to_uint8(unpatchify(grid @ basis @ basis.T + mean, p) - 0.5)


def label_of(control):
    """What stands beside a slider."""
    return control.locator("xpath=..").locator("output").inner_text()


def test_every_step_of_the_count_changes_label_and_readout_alike(figure):
    data = the_data("patch-size")
    shown = figure(CHAPTER, "patch-size")
    size, count = shown.get_by_role("slider").nth(0), shown.get_by_role("slider").nth(1)
    size.press("Home")
    for place, settings in enumerate(one["settings"] for one in data["sizes"]):
        if place:
            size.press("ArrowRight")
        count.press("Home")
        for step, setting in enumerate(settings):
            if step:
                count.press("ArrowRight")
            assert label_of(count).split()[0].rstrip(",") == f"{setting['kept']}"
            assert count.get_attribute("aria-valuetext") == label_of(count)
            assert value(shown, "numbers").startswith(f"{setting['kept']} a patch, ")
        assert count.get_attribute("max") == f"{len(settings) - 1}"  # no dead stops


def test_the_data_of_the_patch_size_stay_small():
    data = the_data("patch-size")
    assert len(json.dumps(data)) < 300_000
    assert [len(size["settings"]) for size in data["sizes"]] == [5, 8, 9, 9]


def test_a_count_beyond_the_size_of_a_patch_keeps_all(figure):
    shown = figure(CHAPTER, "patch-size")
    shown.get_by_role("slider").nth(0).press("Home")
    shown.get_by_role("slider").nth(1).press("End")
    assert value(shown, "numbers") == "12 a patch, 45,000 a frame"
    assert "all there are" in shown.get_by_role("slider").nth(1).get_attribute("aria-valuetext")
    assert value(shown, "psnr") == "equal"
