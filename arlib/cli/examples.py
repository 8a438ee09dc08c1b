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
from arlib.cli.listing import image_files
from arlib.cli.options import parse_size
from arlib.folders import Examples, Folder, Joined, Mirrored, digest
from arlib.patches import check_divides
from arlib.tokenset import MappedTokenSet, TokenSet

MOVED_AT_ONCE = 5000  # pictures, as their grids of places take memory
MEASURED = 256  # how many held-out pictures of a folder are read
CHECKED_AT_ONCE = 1000  # examples
TENTH = 10  # every tenth example of one's own is held out, where nothing else is


@dataclass
class Dataset:
    """Pictures to learn from and others held out, `(N, H, W, C) uint8`, and what header and card tell of them.

    `source` is the data set they come from, or a folder.
    """

    learned: Examples
    held_out: torch.Tensor
    source: str
    header: dict[str, str]
    described: str

    @property
    def channels(self) -> int:
        return self.held_out.shape[3]


def pictures(source: str, valid: Path | None, size: str | None, patch_size: int) -> Dataset:
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
    return Dataset(learned, held_out, source, header, LEARNED_FROM[source])


def folder(source: str, valid: Path | None, size: str | None, patch_size: int) -> Dataset:
    """Pictures of one's own, each read when it is its turn, and some of those held out.

    Held-out ones are never learned, nor are the frames of the book's valid and unseen.
    """
    height, width = (data.HEIGHT, data.WIDTH) if size is None else parse_size(size)
    check_divides(height, width, patch_size)
    paths = image_files(Path(source))
    if valid is not None:
        others = image_files(valid)
    elif len(paths) == 1:
        raise data.DataError(f"{source} holds one picture, and one at least is held out. Name others with --valid.")
    else:
        tenth = every_tenth(len(paths))
        others, paths = [paths[place] for place in tenth], [paths[place] for place in without(len(paths), tenth)]
    _, held_out = data.read_images(others[:: math.ceil(len(others) / MEASURED)], height, width)
    never = set(map(digest, held_out))
    if (height, width) == (data.HEIGHT, data.WIDTH):
        never |= {digest(frame) for split in ("valid", "unseen") for frame in data.load("supertuxkart", split)}
    learned = Folder(paths, height, width, held_out=never)
    learned.picture(0)  # a folder without any good picture is told before training
    described = (
        f"{len(paths):,} pictures of one's own, {height}×{width} pixels, with the mirror image of each; "
        f"{len(others):,} held out, {len(held_out):,} of them measured"
    )
    return Dataset(Mirrored(learned), held_out, source, {"size": f"{height}×{width}"}, described)


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
    """Square pictures `(N, H, H, C) uint8`, shifted, then turned and scaled about their center; what is empty is black.

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


def tokens(paths: list[Path] | None, valid: Path | None) -> tuple[MappedTokenSet, TokenSet | None]:
    """The data sets of tokens as one, the book's own where none is named, and held-out ones next to them.

    A path that ends in ":4" is a data set taken four times.

    Held out are those of `valid`, or the book's own where the tokens are of its tokenizer, or every tenth of one's own;
    None where there is one alone. Raises `DataError` for sets of different tokenizers, and for held-out tokens among
    those to be learned.
    """
    paths = repeated(paths or [data.root() / "tokens" / "train.tokens"])
    known = {path: tokenset.mapped(path) for path in paths}
    first = known[paths[0]]
    if len(set(map(kind, known.values()))) > 1:
        raise data.DataError("These data sets of tokens come from different tokenizers, whose codes mean other things.")
    own, unseen = (tokenset.read(data.root() / "tokens" / f"{split}.tokens") for split in ("valid", "unseen"))
    tenths = {path: torch.zeros(0, dtype=torch.int64) for path in known}
    held_out: TokenSet | None = own
    if valid is not None:
        held_out = tokenset.read(valid)
        if kind(held_out) != kind(first):
            raise data.DataError(f"The tokens of {valid} come from another tokenizer than those to be learned.")
        if valid.resolve() in [path.resolve() for path in paths]:
            raise data.DataError(f"{valid} is to be learned and to be held out. Name another data set for one of both.")
    elif kind(own) != kind(first):
        tenths = {path: every_tenth(len(one.grids)) for path, one in known.items()}
        tenth = joined(list(known.values()), list(tenths.values()))
        held_out = unpacked(tenth) if len(tenth.grids) else None
    rest = {path: without(len(known[path].grids), tenths[path]) for path in known}
    train = joined([known[path] for path in paths], [rest[path] for path in paths])
    refuse_held_out(train.grids, torch.cat([own.grids, unseen.grids]))
    return train, held_out


def joined(sets: list[MappedTokenSet], places: list[torch.Tensor]) -> MappedTokenSet:
    """The grids at the given places of each data set as one, with labels where all of the sets have some."""
    labels = [
        one.labels[some]
        for one, some in zip(sets, places, strict=True)
        if one.labels is not None and one.labels.max() >= 0
    ]
    together = torch.cat(labels) if len(labels) == len(sets) else None
    return MappedTokenSet(Joined([one.grids for one in sets], places), sets[0].bits, sets[0].tokenizer, together)


def unpacked(tokens: MappedTokenSet) -> TokenSet:
    """All of these tokens in memory."""
    return TokenSet(tokens.grids[torch.arange(len(tokens.grids))], tokens.bits, tokens.tokenizer, tokens.labels)


def every_tenth(count: int) -> torch.Tensor:
    """The places of those of so many examples that are held out: every tenth, the last of a few, and none of one.

    The mirror image of a picture stands at the same place in a set of mirror images, so it's held out with it.
    """
    return torch.arange(count)[TENTH - 1 :: TENTH] if count >= TENTH else torch.arange(max(1, count - 1), count)


def without(count: int, places: torch.Tensor) -> torch.Tensor:
    """The other places of so many."""
    kept = torch.ones(count, dtype=torch.bool)
    kept[places] = False
    return kept.nonzero()[:, 0]


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


def kind(tokens: TokenSet | MappedTokenSet) -> tuple:
    """What two data sets of tokens must share to be one: tokenizer, bits, and shape of a grid."""
    return tokens.tokenizer, tokens.bits, tokens.grids.shape[1:]


def classes_of(train: MappedTokenSet, held_out: TokenSet | None) -> int:
    """How many classes the labels name, of learned tokens and of held-out ones, if those have labels."""
    labels = [one.labels for one in (train, held_out) if one is not None and one.labels is not None]
    return 1 + max(int(some.max()) for some in labels)


def weights_of(tokens: MappedTokenSet, named: str | None) -> Path | None:
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


def refuse_held_out(examples: Examples, held_out: torch.Tensor) -> None:
    """Raise `DataError` where an example is one of the held-out ones: what chooses or reports must not be learned."""
    if examples.shape[1:] != held_out.shape[1:]:
        return
    known = {example.numpy().tobytes() for example in held_out}
    batches = (examples[places] for places in torch.arange(len(examples)).split(CHECKED_AT_ONCE))
    found = sum(example.numpy().tobytes() in known for batch in batches for example in batch)
    if found:
        raise data.DataError(
            f"{found} of these examples belong to the splits valid or unseen, which nothing is trained on. "
            "Train on the split train, or on pictures of your own."
        )
