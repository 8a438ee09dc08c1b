"""Checkers of chapter 1, "Patches"."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange

import arlib
from arlib.exercises import Wrong, call, checker, diagnosis, number, tensor
from arlib.patches import patchify as right_patchify

SHAPES = [(2, 3, 2, 5, 3), (1, 2, 4, 3, 3), (1, 2, 4, 3, 1), (3, 5, 2, 4, 2), (2, 4, 4, 4, 3)]  # B, h, w, p, C
FRAME = (4, 6, 5, 3)  # h, w, p, C of the frames in exercise 3


@checker
def unpatchify(answer: Callable) -> str:
    """Exercise 1: patches to pictures, for any size of the patches and any number of colors."""
    for batch, rows, columns, side, colors in SHAPES:
        pictures = torch.rand(batch, rows * side, columns * side, colors)
        patches = right_patchify(pictures, side)
        try:
            _put_together(answer, pictures, patches, side)
        except Wrong as wrong:
            if (side, colors) == SHAPES[0][3:]:
                raise
            if colors == SHAPES[0][4]:
                raise Wrong(f"with p = 5 it is right, and with p = {side} it is not: {wrong}") from wrong
            raise Wrong(
                f"with 3 colors it is right, and with {colors} it is not: {wrong} "
                "The last axis and p say how many colors there are."
            ) from wrong
    return "every number is where it was before patchify, for several sizes and numbers of colors."


def _put_together(answer: Callable, pictures: torch.Tensor, patches: torch.Tensor, side: int) -> None:
    """Raise `Wrong` unless the answer makes these pictures of these patches."""
    batch, height, width, colors = pictures.shape
    rows, columns = height // side, width // side
    case = f"for patches {tuple(patches.shape)} and p = {side}"
    try:
        made = call(answer, patches, side)
    except Wrong:
        if _cuts(answer, pictures, patches, side):
            raise Wrong("that cuts pictures into patches, as patchify does; the way back is asked for.") from None
        raise
    lying = (batch, width, height, colors)
    if rows != columns and isinstance(made, torch.Tensor) and made.shape == lying:
        raise Wrong(f"{case} the picture lies on its side: its height is h·p and its width w·p.")
    made = tensor(made, tuple(pictures.shape))
    if torch.equal(made, pictures):
        return
    if not made.is_floating_point():
        raise Wrong(f"the patches are {patches.dtype}, and your pictures are {made.dtype}: keep the dtype.")
    as_a_picture = patches.reshape(batch, rows, side, columns, side, colors).permute(0, 1, 3, 2, 4, 5)
    mistakes = {
        "that is a reshape alone, which keeps all numbers in their order; a permute has to come first.": (
            patches.reshape(pictures.shape)
        ),
        "the axes are split as patchify splits those of a picture, (h, p, w, p, C). "
        "Patches are (h, w, p·p·C), and split into (h, w, p, p, C).": as_a_picture.reshape(pictures.shape),
        "rows and columns inside each patch are swapped.": rearrange(
            patches, "b h w (q p c) -> b (h p) (w q) c", p=side, q=side
        ),
        "the numbers of a patch were taken color by color; they are stored pixel by pixel.": rearrange(
            patches, "b h w (c p q) -> b (h p) (w q) c", p=side, q=side
        ),
        "each patch is spread over the whole picture: (p h) and (p w) where (h p) and (w p) belong.": rearrange(
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
        "the colors of each pixel come in the opposite order.": pictures.flip(3),
        "every patch is at its place, and upside down.": _flipped(pictures, side, 1),
        "every patch is at its place, and mirrored, left and right.": _flipped(pictures, side, 2),
    }
    for reason, mistake in mistakes.items():
        if torch.equal(made, mistake):
            raise Wrong(reason)
    ordered = patches.flatten().sort()
    if not torch.equal(made.flatten().sort().values.to(patches.dtype), ordered.values):
        raise Wrong(f"{case} the numbers themselves have changed; they are only to be moved.")
    first = tuple((made != pictures).nonzero()[0].tolist())
    got, wanted = (
        ordered.indices[torch.searchsorted(ordered.values, one[first].to(patches.dtype))].item()
        for one in (made, pictures)
    )
    size = patches.shape[-1]
    there, here = (
        f"number {it % size} of patch ({it // size // columns % rows}, {it // size % columns})" for it in (got, wanted)
    )
    raise Wrong(
        f"{case} some numbers are in the wrong place. Color {first[3]} of pixel ({first[1]}, {first[2]}) "
        f"is {there}, and should be {here}."
    )


def _cuts(answer: Callable, pictures: torch.Tensor, patches: torch.Tensor, side: int) -> bool:
    """Whether the answer goes the other way, from pictures to patches."""
    try:
        return torch.equal(tensor(call(answer, pictures, side), tuple(patches.shape)), patches)
    except Wrong:
        return False


CUTS = {
    "A": ("color by color", lambda frame: _squares(frame).flatten(2, 3).mT.flatten(2)),
    "B": ("right", lambda frame: right_patchify(frame[None], 5)[0]),
    "C": ("one pixel off", lambda frame: right_patchify(frame.roll(-1, 1)[None], 5)[0]),
    "D": ("rows upside down", lambda frame: _squares(frame).flip(2).flatten(2)),
    "E": ("colors reversed", lambda frame: _squares(frame).flip(4).flatten(2)),
}
LOOK = "Cut a frame whose numbers are all different, and read where the first numbers of a patch come from: "
HINTS = {
    "right": LOOK + "these are in the places where the rule wants them.",
    "rows upside down": LOOK + "which row of the patch comes first?",
    "colors reversed": LOOK + "which of a pixel's three numbers comes first?",
    "one pixel off": LOOK + "which column does the patch begin at?",
    "color by color": LOOK + "do the second and the third belong to the same pixel as the first?",
}


def patients() -> dict[str, Callable]:
    """Exercise 2's five cuts, by letter: each takes a frame `(100, 150, 3)` to patches `(20, 30, 75)`."""
    return {letter: cut for letter, (_, cut) in CUTS.items()}


@checker
def diagnose(answer: Any) -> str:
    """Exercise 2: which mistake each of five cuts makes."""
    diagnosis(answer, {letter: name for letter, (name, _) in CUTS.items()}, HINTS)
    return "one numbered frame tells them all apart."


def _squares(frame: torch.Tensor) -> torch.Tensor:
    """The patches of a frame as squares, `(20, 30, 5, 5, 3)`."""
    return right_patchify(frame[None], 5)[0].unflatten(-1, (5, 5, 3))


@checker
def wrong_pair(cut: Callable, join: Callable) -> str:
    """Exercise 3: a wrong cut that passes a round trip, locality, and a comparison on frames of equal rows."""
    rows, columns, side, colors = FRAME
    size = (rows * side, columns * side, colors)
    shape = (rows, columns, side * side * colors)
    numbers = torch.randperm(rows * columns * shape[-1])
    frame, other = numbers.reshape(size).float(), torch.rand(size)
    patches, patches_of_other = (tensor(call(cut, picture), shape) for picture in (frame, other))
    if not torch.equal(patches.flatten().sort().values, frame.flatten().sort().values):
        raise Wrong("a cut only moves numbers: each number of the frame has to be in the patches once, unchanged.")
    if torch.equal(patches, right_patchify(frame[None], side)[0]):
        raise Wrong("that is the right cut; hand in a wrong one.")
    for made, picture in (
        (patches, frame),
        (patches_of_other, other),
    ):  # the first is no longer the latest that was cut
        if not torch.equal(tensor(call(join, made), size), picture):
            raise Wrong("the pair fails the round trip: join(cut(frame)) is not the frame.")
    addresses = numbers.argsort()[patches.long()]  # where in a frame each number of the patches comes from
    if not torch.equal(patches_of_other, other.flatten()[addresses]):
        raise Wrong("your cut moves the numbers of two frames in different ways; it has to be one rule for all.")
    pixels = addresses // colors
    grid = (pixels // size[1] // side) * columns + pixels % size[1] // side  # the patch that should hold each number
    strays = (grid != torch.arange(rows * columns).reshape(rows, columns, 1)).nonzero()
    if len(strays):  # all numbers are looked at, so this is the test of locality for every edit
        row, column, place = strays[0].tolist()
        pixel, home = int(pixels[row, column, place]), int(grid[row, column, place])
        raise Wrong(
            f"the test of locality finds it: pixel ({pixel // size[1]}, {pixel % size[1]}) lies in patch "
            f"({home // columns}, {home % columns}), and an edit of it changes patch ({row}, {column})."
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
def fill(answer: Callable) -> str:
    """Exercise 4: patches of which a part is garbage, from the PCA numbers that fit the visible part best."""
    for size, kept, hidden in ((40, 5, 15), (12, 3, 6), (30, 4, 1)):
        directions = torch.linalg.qr(torch.randn(size, kept))[0]
        mean = torch.randn(size)
        whole = mean + torch.randn(50, kept) @ directions.T + 0.1 * torch.randn(50, size)
        visible = torch.ones(size, dtype=torch.bool)
        visible[torch.randperm(size)[:hidden]] = False
        vectors = torch.where(visible, whole, 100 * torch.randn(50, size))
        moved = vectors - mean
        seen = directions[visible]
        right = mean + moved[:, visible] @ torch.linalg.pinv(seen).T @ directions.T
        made = tensor(call(answer, vectors, visible, mean, directions), (50, size)).to(torch.float32)
        if torch.allclose(made, right, atol=1e-2):
            continue
        projected = moved @ directions @ directions.T
        zeroed = (moved * visible) @ directions @ directions.T
        without_mean = vectors[:, visible] @ torch.linalg.pinv(seen).T @ directions.T
        mistakes = {
            "the garbage is in it: numbers that are not visible must not be read at all.": mean + projected,
            "the hidden numbers count as the mean (leaving them out of a projection comes to the same), and that pulls "
            "the patch towards the mean; look for the numbers that fit the visible part alone.": mean + zeroed,
            "you have put 0 where nothing is visible. Zero is a color like any other, and the fit believes it.": mean
            + (vectors * visible - mean) @ directions @ directions.T,
            "the mean has been taken off, and is not added again at the end.": right - mean,
            "the mean has not been taken off before the fit.": without_mean,
            "the mean is added at the end, and was not taken off before the fit.": without_mean + mean,
            "the visible part is right, and put back as it came; the reconstruction of the whole is asked for.": (
                torch.where(visible, vectors, right)
            ),
            "the hidden numbers are put back as they came, and they are garbage.": torch.where(visible, right, vectors),
            "the hidden part is fitted: `visible` is true where a number can be trusted.": (
                mean + moved[:, ~visible] @ torch.linalg.pinv(directions[~visible]).T @ directions.T
            ),
        }
        for reason, wrong in mistakes.items():
            if torch.allclose(made, wrong, rtol=1e-4, atol=1e-2):
                raise Wrong(reason)
        row, column = divmod(int((made - right).abs().argmax()), size)
        got, expected = made[row, column].item(), right[row, column].item()
        raise Wrong(
            f"with {size - hidden} of {size} numbers visible and {kept} directions, number {column} of patch {row} "
            f"is {got:.3f}, and the best fit gives {expected:.3f}."
        )
    return "the visible part alone decides, and the rest follows from it."


@checker
def components_needed(answer: Any) -> str:
    """Exercise 5: how many components of 10 × 10 patches of valid hold 99 % of the variance."""
    given = number(answer)
    frames = arlib.data.load("supertuxkart", "valid")
    counts = {side: _needed(right_patchify(frames, side).flatten(0, 2), 0.99) for side in (5, 10)}
    if given == counts[10]:
        return f"{counts[10]} of 300 numbers hold 99 % of the variance."
    if given != int(given):
        raise Wrong("a whole number is asked for.")
    vectors = right_patchify(frames, 10).flatten(0, 2)
    mistakes = {
        counts[5]: "that is for patches of 5 × 5 pixels; these have 10 × 10.",
        counts[10] + 1: "one fewer holds 99 % already. Has 1 been added once too often?",
        counts[10]
        - 1: "with that many the share is still below 99 %. Is it an index, counted from 0, or a PCA of train?",
        _needed(vectors, 0.99, center=False): "the mean has not been taken off, and it is the largest component then.",
        _needed(
            vectors, 0.99, power=0.5
        ): "that is 99 % of the sum of the standard deviations; variances are asked for.",
        300 - counts[10]: "that is how many can be left out.",
    }
    if given in mistakes:
        raise Wrong(mistakes[int(given)])
    if not 1 <= given <= 300:
        raise Wrong("a patch has 300 numbers, so it is a count from 1 to 300.")
    if given < counts[10]:
        raise Wrong("that many hold less than 99 % of the variance.")
    raise Wrong("that many hold more than 99 % of the variance, and fewer are enough.")


def _flipped(pictures: torch.Tensor, side: int, axis: int) -> torch.Tensor:
    """Every patch flipped by itself: 1 turns it upside down, 2 exchanges left and right."""
    split = pictures.unflatten(axis, (-1, side))
    return split.flip(axis + 1).flatten(axis, axis + 1)


def _needed(vectors: torch.Tensor, share: float, center: bool = True, power: float = 1.0) -> int:
    """How many principal components hold this share of the variance (or of a power of it)."""
    exact = vectors.double() / 255
    moved = exact - exact.mean(0) if center else exact
    variances = torch.linalg.eigvalsh(moved.T @ moved / len(moved)).flip(0).clamp(min=0) ** power
    return int((variances.cumsum(0) < share * variances.sum()).sum().item()) + 1
