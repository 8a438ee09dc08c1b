"""What the commands of `train` learn from, and what they must not learn."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from arlib import checkpoints, data, judges, tokenset
from arlib.cli.cards import LEARNED_FROM
from arlib.cli.common import SHAPES
from arlib.cli.options import parse_size
from arlib.folders import Folder, Mirrored, Pictures, digest
from arlib.patches import check_divides
from arlib.tokenset import TokenSet

MOVED_AT_ONCE = 5000  # pictures, as their grids of places take memory
MEASURED = 1000  # how many held-out pictures of a folder are read
TENTH = 10  # every tenth example of one's own is held out, where nothing else is


@dataclass
class Lesson:
    """Pictures to learn from and others held out, `(N, H, W, C) uint8`, and what header and card tell of them.

    `source` is the data set they come from, or a folder.
    """

    learned: Pictures
    held_out: torch.Tensor
    source: str
    header: dict[str, str]
    described: str

    @property
    def channels(self) -> int:
        return self.held_out.shape[3]


def pictures(source: str, valid: Path | None, size: str | None, patch_size: int) -> Lesson:
    """What `--data` names, and held-out pictures next to it.

    Where a mirrored picture could be another one, and not for digits, the mirror images are there too. Raises
    `DataError` where patches do not tile the pictures, and for what belongs to folders where there is none.
    """
    if source not in SHAPES:
        return folder(source, valid, size, patch_size)
    if valid is not None or size is not None:
        raise data.DataError(f"--valid and --size are for a folder of images; {source} has its own.")
    check_divides(*SHAPES[source][:2], patch_size)
    images, held_out = data.load(source, "train"), data.load(source, "valid")
    header = {} if source == "supertuxkart" else {"data": source}
    learned = images if source == "digits" else Mirrored(images)
    return Lesson(learned, held_out, source, header, LEARNED_FROM[source])


def folder(source: str, valid: Path | None, size: str | None, patch_size: int) -> Lesson:
    """Pictures of one's own, each read when it is its turn, and some of those held out.

    Held-out ones are never learned, nor are the frames of the book's valid and unseen.
    """
    height, width = (data.HEIGHT, data.WIDTH) if size is None else parse_size(size)
    check_divides(height, width, patch_size)
    paths = data.folder_files(source)
    if valid is not None:
        others = data.folder_files(valid)
    elif len(paths) == 1:
        raise data.DataError(f"{source} holds one picture, and one at least is held out. Name others with --valid.")
    else:
        others = paths[TENTH - 1 :: TENTH] or paths[-1:]
        paths = sorted(set(paths) - set(others))
    _, held_out = data.read_images(others[:: math.ceil(len(others) / MEASURED)], height, width)
    never = set(map(digest, held_out))
    if (height, width) == (data.HEIGHT, data.WIDTH):
        never |= {digest(frame) for split in ("valid", "unseen") for frame in data.load("supertuxkart", split)}
    learned = Folder(paths, height, width, held_out=never)
    learned.picture(0)  # a folder without any good picture is told before training
    described = (
        f"{len(paths):,} pictures of one's own, {height}×{width} pixels, with the mirror image of each; "
        f"{len(others):,} held out"
    )
    return Lesson(Mirrored(learned), held_out, source, {"size": f"{height}×{width}"}, described)


def moved(images: torch.Tensor, name: str, seed: int) -> torch.Tensor:
    """Each picture moved a little, by chance: a data set `(N, H, W, C) uint8` to the same.

    Those of "cifar10" are shifted by up to 2 pixels and mirrored half of the time. Those of "digits" are shifted by up
    to 1 pixel, turned by up to 0.15 rad and scaled by up to a tenth. Raises `DataError` for another data set.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == "cifar10":
        return judges.augment(images, 2, True, generator)
    if name != "digits":
        raise data.DataError(f"--moved is for the pictures of digits and cifar10, not for those of {name}.")
    angles, scales, *shifts = (2 * torch.rand(4, len(images), generator=generator) - 1).unbind()
    moves = (0.15 * angles, 1 + 0.1 * scales, torch.stack(shifts, dim=1))
    parts = zip(images.split(MOVED_AT_ONCE), *(move.split(MOVED_AT_ONCE) for move in moves), strict=True)
    return torch.cat([affine(*part) for part in parts])


def affine(images: torch.Tensor, angles: torch.Tensor, scales: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Square pictures `(N, H, H, C) uint8`, shifted, then turned and scaled about their centre; what is empty is black.

    `shifts (N, 2)` are pixels to the right and down, `angles (N,)` radians counter-clockwise, `scales (N,)` above 1
    enlarge. In between pixels, values are interpolated linearly.
    """
    cosines, sines = angles.cos() / scales, angles.sin() / scales
    # grid_sample asks where each pixel comes from, in units of half the picture: the moves, taken back.
    across, down = (-2 * shifts / images.shape[1]).unbind(1)
    rows = [torch.stack([cosines, -sines, across], dim=1), torch.stack([sines, cosines, down], dim=1)]
    pixels = images.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, align_corners=False)
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def tokens(paths: list[Path] | None, valid: Path | None) -> tuple[TokenSet, TokenSet | None]:
    """The data sets of tokens as one, the book's own where none is named, and held-out ones next to them.

    A path that ends in ":4" is a data set taken four times.

    Held out are those of `valid`, or the book's own where the tokens are of its tokenizer, or every tenth of one's own;
    None where there is one alone. Raises `DataError` for sets of different tokenizers, and for held-out tokens among
    those to be learned.
    """
    paths = repeated(paths or [data.root() / "tokens" / "train.tokens"])
    known = {path: tokenset.read(path) for path in paths}
    first = known[paths[0]]
    if len(set(map(kind, known.values()))) > 1:
        raise data.DataError("These data sets of tokens come from different tokenizers, whose codes mean other things.")
    own, unseen = (tokenset.read(data.root() / "tokens" / f"{split}.tokens") for split in ("valid", "unseen"))
    held_out: TokenSet | None = own
    if valid is not None:
        held_out = tokenset.read(valid)
        if kind(held_out) != kind(first):
            raise data.DataError(f"The tokens of {valid} come from another tokenizer than those to be learned.")
        if valid.resolve() in [path.resolve() for path in paths]:
            raise data.DataError(f"{valid} is to be learned and to be held out. Name another data set for one of both.")
    elif kind(own) != kind(first):
        known, held_out = hold_out(known)
    train = joined([known[path] for path in paths])
    refuse_held_out(train.grids, torch.cat([own.grids, unseen.grids]))
    return train, held_out


def joined(sets: list[TokenSet]) -> TokenSet:
    """Data sets of tokens as one, with labels where all of them have some."""
    labels = [one.labels for one in sets if one.labels is not None and one.labels.max() >= 0]
    return TokenSet(
        torch.cat([one.grids for one in sets]),
        sets[0].bits,
        sets[0].tokenizer,
        torch.cat(labels) if len(labels) == len(sets) else None,
    )


def hold_out(known: dict[Path, TokenSet]) -> tuple[dict[Path, TokenSet], TokenSet | None]:
    """Data sets of tokens without every tenth grid of each, and those grids; None where each has one grid alone.

    The mirror image of a picture stands at the same place in a set of mirror images, so it's held out with it.
    """
    rest, held_out = {}, []
    for path, one in known.items():
        tenth = torch.zeros(len(one.grids), dtype=torch.bool)
        tenth[TENTH - 1 :: TENTH] = True
        tenth[-1] |= 1 < len(tenth) < TENTH
        rest[path] = chosen(one, ~tenth)
        held_out += [chosen(one, tenth)] if tenth.any() else []
    return rest, joined(held_out) if held_out else None


def chosen(tokens: TokenSet, which: torch.Tensor) -> TokenSet:
    """Some grids of a data set, `(N,) bool`, with their labels."""
    labels = None if tokens.labels is None else tokens.labels[which]
    return TokenSet(tokens.grids[which], tokens.bits, tokens.tokenizer, labels)


def repeated(paths: list[Path]) -> list[Path]:
    """Paths of which "a.tokens:4" stands for four times "a.tokens", if there is no file of that very name.

    Raises `DataError` for one that is to be taken no time at all.
    """
    files = []
    for path in paths:
        match = re.fullmatch(r"(.+):(\d+)", str(path), re.ASCII)
        if match is None or path.exists():
            files.append(path)
        elif not int(match[2]):
            raise data.DataError(f"{path} is no data set: one is taken once or more.")
        else:
            files += [Path(match[1])] * int(match[2])
    return files


def kind(tokens: TokenSet) -> tuple:
    """What two data sets of tokens must share to be one: tokenizer, bits, and shape of a grid."""
    return tokens.tokenizer, tokens.bits, tokens.grids.shape[1:]


def classes_of(train: TokenSet, held_out: TokenSet | None) -> int:
    """How many classes the labels name, of learned and held-out tokens; 0 where there are none."""
    sets = [one for one in (train, held_out) if one is not None and one.labels is not None]
    return max((int(one.labels.max()) + 1 for one in sets if one.labels is not None), default=0)


def weights_of(tokens: TokenSet, named: str | None) -> Path | None:
    """The weights file of the tokenizer that made these tokens: the one named, or a shipped one, or None.

    Raises `CheckpointError` where the one named is another.
    """
    if named is None:
        try:
            return checkpoints.find("tokenizer", f"sha256:{tokens.tokenizer}")
        except checkpoints.CheckpointError:
            return None
    weights = checkpoints.find("tokenizer", named)
    if not checkpoints.sha256(weights).startswith(tokens.tokenizer):
        raise checkpoints.CheckpointError(f"These tokens were made by another tokenizer than {weights}.")
    return weights


def refuse_held_out(examples: torch.Tensor, held_out: torch.Tensor) -> None:
    """Raise `DataError` where an example is one of the held-out ones: what chooses or reports must not be learned."""
    known = {example.numpy().tobytes() for example in held_out}
    found = sum(example.numpy().tobytes() in known for example in examples)
    if found:
        raise data.DataError(
            f"{found} of these examples belong to the splits valid or unseen, which nothing is trained on. "
            "Train on the split train, or on pictures of your own."
        )
