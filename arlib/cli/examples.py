"""What the commands of `train` learn from, and what they must not learn."""

from pathlib import Path

import torch

from arlib import checkpoints, data, tokenset
from arlib.cli.common import SHAPES
from arlib.tokenset import TokenSet


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


def tokens(paths: list[Path] | None, valid: Path | None) -> tuple[TokenSet, TokenSet | None]:
    """The data sets of tokens as one, the book's own where none is named, and held-out ones next to them.

    Those are the ones of `valid`, or the book's own where the tokens are of its tokenizer. Raises `DataError` for sets
    of different tokenizers, and for held-out tokens among those to be learned.
    """
    sets = [tokenset.read(path) for path in paths or [data.root() / "tokens" / "train.tokens"]]
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
    if valid.resolve() in [path.resolve() for path in paths or []]:
        raise data.DataError(f"{valid} is to be learned and to be held out. Name another data set for one of the two.")
    return train, mine


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
