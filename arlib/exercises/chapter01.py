"""Checkers of chapter 1, "Patches"."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange

import arlib
from arlib.exercises import Wrong, call, checker, number, tensor
from arlib.patches import patchify as right_patchify

SHAPES = [(2, 3, 2, 2, 3), (1, 2, 4, 3, 1), (3, 5, 2, 4, 2), (2, 4, 4, 4, 3)]  # B, h, w, p, C
FRAME = (4, 6, 5, 3)  # h, w, p, C of the frames in exercise 3


@checker
def unpatchify(answer: Callable) -> str:
    """Exercise 1: patches to pictures, for any number of colours."""
    for batch, rows, columns, side, colours in SHAPES:
        pictures = torch.rand(batch, rows * side, columns * side, colours)
        patches = right_patchify(pictures, side)
        case = f"for patches {tuple(patches.shape)} and p = {side}"
        try:
            made = call(answer, patches, side)
            lying = (batch, columns * side, rows * side, colours)
            if rows != columns and isinstance(made, torch.Tensor) and made.shape == lying:
                raise Wrong(f"{case} the picture lies on its side: its height is h·p and its width w·p.")
            made = tensor(made, tuple(pictures.shape))
        except Wrong as wrong:
            if colours == 3:
                raise
            raise Wrong(  # the first case has 3 colours, and it was right there
                f"with 3 colours it is right, and with another number, {case}, it is not: {wrong} "
                "The last axis and p tell how many colours there are."
            ) from wrong
        if torch.equal(made, pictures):
            continue
        mistakes = {
            "the numbers were only told apart anew: reshape moves none of them, and a permute has to come first.": (
                patches.reshape(pictures.shape)
            ),
            "rows and columns inside each patch are swapped.": rearrange(
                patches, "b h w (q p c) -> b (h p) (w q) c", p=side, q=side
            ),
            "the numbers of a patch were taken colour by colour; they are stored pixel by pixel.": rearrange(
                patches, "b h w (c p q) -> b (h p) (w q) c", p=side, q=side
            ),
            "each patch is spread over the whole picture: (p h) and (w p) where (h p) and (w p) belong.": rearrange(
                patches, "b h w (p q c) -> b (p h) (q w) c", p=side, q=side
            ),
            "each patch is spread over the whole width: (w p) is right for the columns, and you have (p w).": rearrange(
                patches, "b h w (p q c) -> b (h p) (q w) c", p=side, q=side
            ),
            "each patch is spread over the whole height: (h p) is right for the rows, and you have (p h).": rearrange(
                patches, "b h w (p q c) -> b (p h) (w q) c", p=side, q=side
            ),
            "the picture is upside down.": pictures.flip(1),
            "the picture is mirrored, left and right.": pictures.flip(2),
            "the colours of each pixel come in the opposite order.": pictures.flip(3),
            "every patch is at its place, and upside down.": _flipped(pictures, side, 1),
            "every patch is at its place, and mirrored, left and right.": _flipped(pictures, side, 2),
        }
        for reason, mistake in mistakes.items():
            if torch.equal(made, mistake):
                raise Wrong(reason)
        if torch.equal(made.flatten().sort().values, pictures.flatten().sort().values):
            raise Wrong(f"{case} all numbers are there, and some are in the wrong place.")
        raise Wrong(f"{case} the numbers themselves have changed; they are only to be moved.")
    return "every number is where it was before patchify, for several sizes and numbers of colours."


@checker
def patchify_one(answer: Callable) -> str:
    """Exercise 2: one picture with its colours first, (C, H, W), to (h, w, p * p * C)."""
    for _, rows, columns, side, colours in SHAPES:
        picture = torch.rand(colours, rows * side, columns * side)
        right = rearrange(picture, "c (h p) (w q) -> h w (p q c)", p=side, q=side)
        made = call(answer, picture, side)
        if rows != columns and isinstance(made, torch.Tensor) and made.shape == right.transpose(0, 1).shape:
            raise Wrong(
                "the grid lies on its side: rows of patches come first, (h, w, p * p * C), and you have (w, h)."
            )
        made = tensor(made, tuple(right.shape))
        if torch.equal(made, right):
            continue
        mistakes = {
            "the colours lie apart in your patches, and rows and columns inside each patch are swapped: (c q p).": (
                rearrange(picture, "c (h p) (w q) -> h w (c q p)", p=side, q=side)
            ),
            "the colours lie apart in your patches: (c p q), the order in which a convolution has its weights. "
            "The three colours of a pixel have to stand together.": rearrange(
                picture, "c (h p) (w q) -> h w (c p q)", p=side, q=side
            ),
            "you have read the memory of (C, H, W) as if it were (H, W, C); move the colours by a permute.": (
                right_patchify(picture.reshape(1, rows * side, columns * side, colours), side)[0]
            ),
            "rows and columns inside each patch are swapped.": rearrange(
                picture, "c (h p) (w q) -> h w (q p c)", p=side, q=side
            ),
            "reshape alone moves nothing; the axes have to be permuted before the last reshape.": picture.reshape(
                right.shape
            ),
            "reshape alone moves nothing but the colours; split the axes, permute, and then join them.": (
                picture.permute(1, 2, 0).reshape(right.shape)
            ),
            "your patches are dilated: their pixels lie h rows and w columns apart.": rearrange(
                picture, "c (p h) (q w) -> h w (p q c)", p=side, q=side
            ),
        }
        for reason, mistake in mistakes.items():
            if torch.equal(made, mistake):
                raise Wrong(reason)
        raise Wrong(f"for a picture {tuple(picture.shape)} and p = {side} some numbers are in the wrong place.")
    return "each patch has its own pixels in reading order, the colours of a pixel together."


@checker
def wrong_pair(cut: Callable, join: Callable) -> str:
    """Exercise 3: a wrong cut that passes a round trip, locality, and a comparison on frames of equal rows."""
    rows, columns, side, colours = FRAME
    size = (rows * side, columns * side, colours)
    shape = (rows, columns, side * side * colours)
    numbers = torch.randperm(rows * columns * shape[-1])
    frame, other = numbers.reshape(size).float(), torch.rand(size)
    patches, patches_of_other = (tensor(call(cut, picture), shape) for picture in (frame, other))
    if not torch.equal(patches.flatten().sort().values, frame.flatten().sort().values):
        raise Wrong("a cut only moves numbers: each number of the frame has to be in the patches once, unchanged.")
    if torch.equal(patches, right_patchify(frame[None], side)[0]):
        raise Wrong("that is the right cut, and it was to be a wrong one.")
    for made, picture in (
        (patches, frame),
        (patches_of_other, other),
    ):  # the first is no longer the latest that was cut
        if not torch.equal(tensor(call(join, made), size), picture):
            raise Wrong("the pair fails the round trip: join(cut(frame)) is not the frame.")
    addresses = numbers.argsort()[patches.long()]  # where in a frame each number of the patches comes from
    if not torch.equal(patches_of_other, other.flatten()[addresses]):
        raise Wrong("your cut moves the numbers of two frames in different ways; it has to be one rule for all.")
    pixels = addresses // colours
    grid = (pixels // size[1] // side) * columns + pixels % size[1] // side  # the patch that should hold each number
    strays = (grid != torch.arange(rows * columns).reshape(rows, columns, 1)).nonzero()
    if len(strays):  # all numbers are looked at, so this is the test of locality for every edit
        row, column, place = strays[0].tolist()
        pixel, home = int(pixels[row, column, place]), int(grid[row, column, place])
        raise Wrong(
            f"the test of locality finds it: an edit in pixel ({pixel // size[1]}, {pixel % size[1]}) changes patch "
            f"({row}, {column}), and it lies in patch ({home // columns}, {home % columns})."
        )
    stripes = torch.rand(1, *size[1:]).expand(size).clone()
    made = tensor(call(cut, stripes), shape)
    if not torch.equal(made, right_patchify(stripes[None], side)[0]):
        raise Wrong(
            "the third test finds it: on a frame whose rows are all the same, your patches are not those of patchify."
        )
    if not torch.equal(made, stripes.flatten()[addresses]):
        raise Wrong("your cut moves the numbers of two frames in different ways; it has to be one rule for all.")
    return "all three tests pass, and the cut is wrong: none of them sees which row of a patch a number is from."


@checker
def best_code(answer: Callable) -> str:
    """Exercise 4: mean and k directions that reach the least squared error."""
    for size, kept in [(40, 10), (6, 2), (12, 3), (8, 1)]:
        mixed = torch.randn(size, size) if size < 40 else torch.linspace(1, 2, size).diag()  # variances close together
        vectors = torch.randn(500, size) @ mixed + 5 * torch.randn(size)
        made = call(answer, vectors, kept)
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise Wrong("two things are asked for: mean, directions.")
        mean = tensor(made[0], (size,)).double()
        if isinstance(made[1], torch.Tensor) and made[1].shape == (kept, size) and kept != size:
            raise Wrong("your directions are rows; they are asked for as columns, (d, k).")
        directions = tensor(made[1], (size, kept)).double()
        exact = vectors.double()
        gram = directions.T @ directions
        if not torch.allclose(gram, torch.eye(kept, dtype=torch.float64), atol=1e-3):
            raise Wrong("your directions are not orthonormal: directions.T @ directions has to be the unit matrix.")
        centred = exact - exact.mean(0)
        values, best = torch.linalg.eigh(centred.T @ centred / len(exact))
        least = values[: size - kept].sum().item()
        worst = values[kept:].sum().item()
        moved = exact - mean
        error = (moved - moved @ directions @ directions.T).square().sum(-1).mean().item()
        if error <= least * 1.001 + 1e-6:
            continue
        if abs(error - worst) <= 1e-3 * worst and torch.allclose(mean, exact.mean(0), atol=1e-3):
            raise Wrong("you keep the directions of least variance: eigh sorts its eigenvalues upwards.")
        if not torch.allclose(mean, exact.mean(0), atol=1e-3):
            raise Wrong("the mean is not the mean of the vectors, one number for each of the d places.")
        _, second = torch.linalg.eigh(exact.T @ exact)
        if (directions.T @ second.flip(1)[:, :kept]).square().sum().item() > kept - 1e-3:
            raise Wrong("the directions were found before the mean was taken off.")
        if (directions.T @ best[:, -kept:]).square().sum().item() > 0.6 * kept:
            raise Wrong(
                f"your directions are near the best ones, and their error is {error / least - 1:.1%} above the least. "
                "An approximate method (torch.pca_lowrank is one) or a part of the vectors will not do."
            )
        raise Wrong(f"with {kept} of {size} numbers the squared error is {error:.4f}, and {least:.4f} can be reached.")
    return "no linear code of as many numbers has a smaller squared error."


@checker
def components_needed(answer: Any) -> str:
    """Exercise 5: how many components of 10 × 10 patches of valid hold 95 % of the variance."""
    given = number(answer)
    frames = arlib.data.load("supertuxkart", "valid")
    counts = {side: _needed(right_patchify(frames, side).flatten(0, 2), 0.95) for side in (5, 10)}
    if given == counts[10]:
        return f"{counts[10]} of 300 numbers hold 95 % of the variance."
    if given != int(given):
        raise Wrong("a whole number is asked for.")
    vectors = right_patchify(frames, 10).flatten(0, 2)
    mistakes = {
        counts[5]: "that is for patches of 5 × 5 pixels; these have 10 × 10.",
        counts[10] + 1: "one fewer holds 95 % already. Has 1 been added once too often?",
        counts[10] - 1: "with that many the share is still below 95 %. Is it an index, counted from 0?",
        _needed(vectors, 0.95, centre=False): "the mean has not been taken off, and it is the largest component then.",
        _needed(
            vectors, 0.95, power=0.5
        ): "that is 95 % of the sum of the standard deviations; variances are asked for.",
        300 - counts[10]: "that is how many can be left out.",
    }
    if given in mistakes:
        raise Wrong(mistakes[int(given)])
    if not 1 <= given <= 300:
        raise Wrong("a patch has 300 numbers, so it is a count from 1 to 300.")
    if given < counts[10]:
        raise Wrong("that many hold less than 95 % of the variance.")
    raise Wrong("that many hold more than 95 % of the variance, and fewer are enough.")


@checker
def seam_ratio(answer: Any) -> str:
    """Exercise 6: the mean jump over level seams, over that between other neighbours in a column."""
    given = number(answer)
    frames = arlib.data.load("supertuxkart", "valid")[::8]
    pictures = arlib.load_autoencoder("linear-10").reconstruct(frames).transpose(1, 2)  # columns are rows from here on
    exact = pictures.double()
    jumps = (exact[:, :, 1:] - exact[:, :, :-1]).abs()
    right = _ratio(jumps, 10, 9)
    if abs(given - right) <= 0.015:
        return f"over the seams the jump is {right:.2f} times as large."
    across = exact.transpose(1, 2)
    level = frames.transpose(1, 2).double()
    seams = jumps[:, :, 9::10].mean().item()
    inside = seams / right
    wrapped = (pictures[:, :, 1:] - pictures[:, :, :-1]).double()
    beside = "your seams lie beside the real ones: the first is between rows 9 and 10."
    own = "that is the jump over the seams itself; divide it by the jump elsewhere."
    less = "that is a difference of the two jumps; one is to be divided by the other."
    mistakes = [
        (_ratio((level[:, :, 1:] - level[:, :, :-1]).abs(), 10, 9), "that is measured in the frames themselves."),
        (100 * right, "that is per cent; how many times is asked for."),
        (right - 1, "that is how much larger, as a share; how many times as large is asked for."),
        (100 * (right - 1), "that is how much larger, in per cent; how many times as large is asked for."),
        (seams - inside, less),
        ((seams - inside) / 255, less),
        (1 / right, "that is the inverse: seams over the rest are asked for."),
        (_ratio((across[:, :, 1:] - across[:, :, :-1]).abs(), 10, 9), "those are the upright seams, between columns."),
        (_ratio(jumps, 5, 4), "the patches have 10 pixels, and every second of your seams is none."),
        (_ratio(jumps, 10, 0), beside),
        (_ratio(jumps, 10, 8), beside),
        (seams / jumps.mean().item(), "the jumps over the seams are among those you divide by."),
        (_ratio(wrapped, 10, 9), "a difference of uint8 wraps around, so that 1 - 2 is 255; take floats first."),
        (_ratio(jumps.square(), 10, 9), "those are squares; the absolute differences are asked for."),
        (seams, own),
        (seams / 255, own),
    ]
    for mistake, reason in mistakes:
        if abs(given - mistake) <= 0.005 * abs(mistake):
            raise Wrong(reason)
    raise Wrong("that is not what the pictures of linear-10 give. Which rows does a seam lie between?")


def _flipped(pictures: torch.Tensor, side: int, axis: int) -> torch.Tensor:
    """Every patch flipped by itself: 1 turns it upside down, 2 exchanges left and right."""
    split = pictures.unflatten(axis, (-1, side))
    return split.flip(axis + 1).flatten(axis, axis + 1)


def _needed(vectors: torch.Tensor, share: float, centre: bool = True, power: float = 1.0) -> int:
    """How many principal components hold this share of the variance (or of a power of it)."""
    exact = vectors.double() / 255
    moved = exact - exact.mean(0) if centre else exact
    variances = torch.linalg.eigvalsh(moved.T @ moved / len(moved)).flip(0).clamp(min=0) ** power
    return int((variances.cumsum(0) < share * variances.sum()).sum().item()) + 1


def _ratio(jumps: torch.Tensor, period: int, first: int) -> float:
    """The mean of the columns first, first + period, …, over the mean of the others."""
    seam = torch.arange(jumps.shape[2]) % period == first
    return (jumps[:, :, seam].mean() / jumps[:, :, ~seam].mean()).item()
