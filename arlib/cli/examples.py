"""What the commands of `train` learn from, and what they must not learn."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F

from arlib import checkpoints, data, judges, tokenset
from arlib.cli.common import SHAPES
from arlib.tokenset import TokenSet

MOVED_AT_ONCE = 5000  # pictures, as their grids of places take memory


def channels_of(source: str) -> int:
    """How many colours the pictures of a data set have, or those of a folder."""
    return SHAPES[source][2] if source in SHAPES else 3


def pictures(source: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What `--data` names, and held-out pictures next to it: both `(N, H, W, C) uint8`.

    Where a mirrored picture could be another one, and not for digits, the mirror images are there too. A folder is read
    in the size of the frames, and its models are followed on them.
    """
    if source in ("digits", "cifar10"):
        images, held_out = data.load(source, "train"), data.load(source, "valid")
    else:
        images = data.load(source, "train") if source == "supertuxkart" else data.load_folder(source)
        held_out = data.load("supertuxkart", "valid")
        refuse_held_out(images, torch.cat([held_out, data.load("supertuxkart", "unseen")]))
    return (images if source == "digits" else torch.cat([images, images.flip(2)])), held_out


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

    Those are the ones of `valid`, or the book's own where the tokens are of its tokenizer. Raises `DataError` for sets
    of different tokenizers, and for held-out tokens among those to be learned.
    """
    paths = repeated(paths or [data.root() / "tokens" / "train.tokens"])
    known = {path: tokenset.read(path) for path in paths}
    sets = [known[path] for path in paths]
    if len({kind(one) for one in sets}) > 1:
        raise data.DataError("These data sets of tokens come from different tokenizers, whose codes mean other things.")
    labels = [one.labels for one in sets if one.labels is not None and one.labels.max() >= 0]
    train = TokenSet(
        torch.cat([one.grids for one in sets]),
        sets[0].bits,
        sets[0].tokenizer,
        torch.cat(labels) if len(labels) == len(sets) else None,
    )
    held_out = tokenset.read(data.root() / "tokens" / "valid.tokens")
    unseen = tokenset.read(data.root() / "tokens" / "unseen.tokens")
    refuse_held_out(train.grids, torch.cat([held_out.grids, unseen.grids]))
    if valid is None:
        return train, held_out if kind(held_out) == kind(train) else None
    mine = tokenset.read(valid)
    if kind(mine) != kind(train):
        raise data.DataError(f"The tokens of {valid} come from another tokenizer than those to be learned.")
    if valid.resolve() in [path.resolve() for path in paths]:
        raise data.DataError(f"{valid} is to be learned and to be held out. Name another data set for one of the two.")
    return train, mine


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
