"""Chapter 1, "Patches": its checkers refuse wrong answers with a reason, its figures answer as arlib does."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
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
    """An unpatchify by einops, its number of colors worked out from the size of a patch; `change` is made to each."""

    def join(patches, p):
        if change is not None:
            squares = patches.unflatten(-1, (p, p, -1)).flatten(0, 2)  # (n, p, p, C)
            patches = change(squares).reshape(patches.shape)
        return rearrange(patches, pattern, p=p, q=p, c=patches.shape[-1] // p**2)

    return join


def split_as_a_picture(patches, p):
    """The axes split as patchify splits them: the first slip of whoever copies it."""
    batch, h, w, size = patches.shape
    split = patches.reshape(batch, h, p, w, p, size // p**2).permute(0, 1, 3, 2, 4, 5)
    return split.reshape(batch, h * p, w * p, size // p**2)


def chapters_patchify(images, p):
    count, height, width, colors = images.shape
    h, w = height // p, width // p
    split = images.reshape(count, h, p, w, p, colors)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(count, h, w, p * p * colors)


UNPATCHIFIES = [
    (lambda x, p: x.reshape(len(x), x.shape[1] * p, x.shape[2] * p, -1), "a reshape alone"),
    (joined("b h w (q p c) -> b (h p) (w q) c"), "rows and columns inside each patch are swapped"),
    (joined("b h w (c p q) -> b (h p) (w q) c"), "taken color by color"),
    (joined("b h w (p q c) -> b (p h) (q w) c"), "spread over the whole picture"),
    (joined("b h w (p q c) -> b (w q) (h p) c"), "lies on its side"),
    (joined("b h w (p q c) -> b (h p) (q w) c"), "spread over the whole width"),
    (joined("b h w (p q c) -> b (p h) (w q) c"), "spread over the whole height"),
    (lambda x, p: unpatchify(x, p).flip(1), "the picture is upside down"),
    (lambda x, p: unpatchify(x, p).flip(2), "the picture is mirrored"),
    (lambda x, p: unpatchify(x, p).flip(3), "the opposite order"),
    (joined("b h w (p q c) -> b (h p) (w q) c", lambda x: x.flip(1)), "and upside down"),
    (joined("b h w (p q c) -> b (h p) (w q) c", lambda x: x.flip(2)), "and mirrored"),
    (lambda x, p: unpatchify(x.flip(1), p), "is number 0 of patch (2, 0), and should be number 0 of patch (0, 0)"),
    (lambda x, p: unpatchify(x.roll(1, -1), p), "Color 0 of pixel (0, 0) is number 74 of patch (0, 0)"),
    (split_as_a_picture, "split as patchify splits"),
    (chapters_patchify, "the way back is asked for"),
    (patchify, "the way back is asked for"),
    (lambda x, p: joined("b h w (p q c) -> b (h p) (w q) c")(x, 5), "with p = 5 it is right, and with p = 3 it is not"),
    (lambda x, p: unpatchify(x, p).int(), "keep the dtype"),
    (lambda x, p: unpatchify(x, p).numpy(), "a tensor is asked for"),
    (lambda x, p: rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p, c=3), "with 3 colors it is right"),
    (lambda x, p: unpatchify(x, p) + 1, "have changed"),
    (lambda x, p: rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p, c=3)[..., :1], "the shape is"),
    (lambda x, p: x.view(-1, 7), "your function raised"),
]


# Exercise 2's five cuts, told apart by whoever reads their code.
DIAGNOSIS = {
    "A": "color by color",
    "B": "right",
    "C": "one pixel off",
    "D": "rows upside down",
    "E": "colors reversed",
}
DIAGNOSES = [
    ({**DIAGNOSIS, "A": "right"}, "belong to the same pixel"),
    ({**DIAGNOSIS, "B": "colors reversed"}, "where the rule wants them"),
    ({**DIAGNOSIS, "C": "right"}, "which column does the patch begin at"),
    ({**DIAGNOSIS, "D": "right"}, "which row of the patch comes first"),
    ({**DIAGNOSIS, "E": "right"}, "which of a pixel's three numbers"),
    ({**DIAGNOSIS, "E": "swapped inside"}, "none of the names"),
    (dict.fromkeys("ABCDE", ...), "no diagnosis yet"),
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


def project(vectors, visible, mean, directions):
    """The chapter's reconstruction from PCA numbers, which reads all numbers."""
    return mean + (vectors - mean) @ directions @ directions.T


def fit(vectors, visible, directions):
    return torch.linalg.lstsq(directions[visible], vectors[:, visible].T).solution.T @ directions.T


def by_25(vectors, visible, mean, directions):
    """Right where 25 numbers are visible, and with fewer it takes the others, too."""
    seen = visible.long().argsort(descending=True, stable=True)[:25]
    return mean + fit(vectors - mean, seen, directions)


FILLS = [
    (project, "the garbage is in it"),
    (lambda x, seen, m, d: project(torch.where(seen, x, m), seen, m, d), "pulls the patch towards the mean"),
    (lambda x, seen, m, d: project(torch.where(seen, x, 0.0), seen, m, d), "Zero is a color like any other"),
    (lambda x, seen, m, d: fit(x - m, seen, d), "is not added again"),
    (lambda x, seen, m, d: fit(x, seen, d), "has not been taken off before the fit"),
    (lambda x, seen, m, d: m + fit(x, seen, d), "was not taken off before"),
    (lambda x, seen, m, d: torch.where(seen, x, m + fit(x - m, seen, d)), "put back as it came"),
    (lambda x, seen, m, d: m.expand(len(x), -1), "numbers visible and"),
    (lambda x, seen, m, d: m + (x - m)[:, seen] @ d[seen] @ d.T, "comes to the same"),
    (lambda x, seen, m, d: m + fit(x - m, ~seen, d), "the hidden part is fitted"),
    (lambda x, seen, m, d: torch.where(seen, m + fit(x - m, seen, d), x), "they are garbage"),
    (by_25, "the garbage is in it"),
    (lambda x, seen, m, d: (m + fit(x - m, seen, d))[:, seen], "the shape is"),
    (lambda x, seen, m, d: (x - m) @ d, "the shape is"),
    (lambda x, seen, m, d: None, "returns nothing yet"),
]
NEEDED = [
    (22, "patches of 5 × 5"),
    (76, "a PCA of train"),
    (27, "the mean has not been taken off"),
    (271, "standard deviations"),
    (223, "can be left out"),
    (78, "Has 1 been added"),
    (100, "fewer are enough"),
    (7, "less than 99 %"),
    (0, "a count from 1 to 300"),
    (301, "a count from 1 to 300"),
    (1, "less than 99 %"),
    (300, "fewer are enough"),
    (13.5, "a whole number"),
]


@pytest.mark.parametrize(
    ("checker", "answers", "reason"),
    [
        *((check.unpatchify, (answer,), reason) for answer, reason in UNPATCHIFIES),
        *((check.diagnose, (answer,), reason) for answer, reason in DIAGNOSES),
        *((check.wrong_pair, (cut, join), reason) for cut, join, reason in PAIRS),
        *((check.fill, (answer,), reason) for answer, reason in FILLS),
        *((check.components_needed, (answer,), reason) for answer, reason in NEEDED),
    ],
)
def test_a_wrong_answer_is_told_why(checker, answers, reason):
    verdict = checker(*answers)
    assert not verdict
    assert reason in verdict.reason


def looped(patches, p):
    batch, h, w, size = patches.shape
    made = torch.zeros(batch, h * p, w * p, size // p**2, dtype=torch.float64)
    for r in range(h):
        for s in range(w):
            made[:, r * p : r * p + p, s * p : s * p + p] = patches[:, r, s].reshape(batch, p, p, -1)
    return made


def by_convolution(patches, p):
    size = patches.shape[-1]
    one_hot = torch.eye(size).reshape(size, p, p, -1).permute(0, 3, 1, 2)
    return F.conv_transpose2d(patches.permute(0, 3, 1, 2), one_hot, stride=p).permute(0, 2, 3, 1)


def test_right_answers_pass():
    for answer in (unpatchify, joined("b h w (p q c) -> b (h p) (w q) c"), looped, by_convolution):
        assert check.unpatchify(answer)
    assert check.diagnose(DIAGNOSIS)
    assert check.fill(lambda x, seen, m, d: m + fit(x - m, seen, d))
    assert check.fill(lambda x, seen, m, d: m + ((x - m)[:, seen] @ torch.linalg.pinv(d[seen]).T) @ d.T)
    assert check.components_needed(77)


def test_the_number_that_is_told_is_one_that_is_wrong():
    """One number is off, and of all numbers it is the nearest to zero."""
    off: list = []

    def answer(vectors, visible, mean, directions):
        made = mean + fit(vectors - mean, visible, directions)
        at = made.abs().argmin().item()
        right = made.flatten()[at].item()
        made.view(-1)[at] += 0.1
        off[:] = at % 40, at // 40, right + 0.1, right
        return made

    reason = check.fill(answer).reason
    words = "with 25 of 40 numbers visible and 5 directions, number (.*) of patch (.*) is (.*), and the best fit gives "
    told = re.fullmatch(words + r"(.*)\.", reason)
    assert told is not None
    assert [float(it) for it in told.groups()] == pytest.approx(off, abs=0.002)


def test_the_five_cuts_make_the_mistakes_that_they_are_said_to_make():
    numbered = torch.arange(45_000).reshape(100, 150, 3)
    firsts = {letter: cut(numbered)[0, 0, :3].tolist() for letter, cut in check.patients().items()}
    assert firsts == {"A": [0, 3, 6], "B": [0, 1, 2], "C": [3, 4, 5], "D": [1800, 1801, 1802], "E": [2, 1, 0]}


def test_the_count_of_train_is_another_one():
    """So that the verdict on it is no guess."""
    paths = arlib.data.files("supertuxkart", "train")[::8]
    vectors = patchify(torch.stack([arlib.data.read_image(path) for path in paths]), 10).flatten(0, 2)
    assert check._needed(vectors, 0.99) == 76


def test_another_right_pair_passes():
    """The rows of a patch in any other order, here the first two exchanged."""

    def exchanged(patches):
        return patches.unflatten(-1, (5, 5, 3))[:, :, [1, 0, 2, 3, 4]].flatten(2)

    assert check.wrong_pair(lambda x: upside_down(right_cut(x)), lambda x: right_join(upside_down(x)))
    assert check.wrong_pair(lambda x: exchanged(right_cut(x)), lambda x: right_join(exchanged(x)))


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


@pytest.mark.browser
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


@pytest.mark.browser
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


@pytest.mark.browser
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
    assert [len(size["settings"]) for size in data["sizes"]] == [5, 9, 10, 10]


@pytest.mark.browser
def test_a_count_beyond_the_size_of_a_patch_keeps_all(figure):
    shown = figure(CHAPTER, "patch-size")
    shown.get_by_role("slider").nth(0).press("Home")
    shown.get_by_role("slider").nth(1).press("End")
    assert value(shown, "numbers") == "12 a patch, 45,000 a frame"
    assert "all there are" in shown.get_by_role("slider").nth(1).get_attribute("aria-valuetext")
    assert value(shown, "psnr") == "equal"
