"""What the leak check sees, and the mistakes that show it: from the rows that an edit changes to a mistake's name.

`arlib.causality` edits a prior's input, runs it again and compares; here is what the pattern of changed rows says.
"""

from dataclasses import dataclass

import torch

# Each symptom that a report names, and the mistakes that show it. Which rows change is exact; what stands in brackets
# is judged by how much they change, and is the likeliest of several.
CAUSES = {
    "raises": "the prior itself stopped with this error",
    "wrong shape": "logits are one tensor (B, T, vocabulary)",
    "NaN": "a mask that leaves a row nothing to look at (upside down? True for False?), or a number that overflowed",
    "not reproducible": "it keeps something from call to call, or draws random numbers past torch's seed",
    "batch and time swapped": "it works along the batch, as an encoder with batch_first=False does on (B, T, D)",
    "leaks across the batch": "batch normalization, a state that sequences share, or a view that mixes batch and time",
    "missing shift": "row t reads token t, which it has to predict; put a start token in front and drop the last token",
    "wraps around": "the shift puts the last token in front, as torch.roll does",
    "anti-causal": "a mask upside down (triu for tril, True for False), or a reversed sequence",
    "inverted mask": "attention looks at later tokens alone; token t itself reaches row t + 1 past the attention",
    "looks ahead": "a shift or a mask that is off by a few tokens, or a convolution padded at its end",
    "sees the future (fading)": "something reads from the end too, such as a bidirectional LSTM",
    "sees the future (no mask)": "nothing masks the attention, or something averages over time",
    "sees the future (0/1 mask added)": "tril(ones) added to the scores, or another mask that is far too weak",
    "sees the future (mask after softmax)": "the softmax has seen every score; a weak mask, -4 say, looks the same",
    "sees the future (finite mask)": "a mask of -10 leaves exp(-10), not zero; use -inf, and before the softmax",
    "sees the future (outgrown mask)": "scores have grown past a finite mask such as -1e4, or the mask has holes",
    "ignores its input": "no token reaches the logits, or the head's weights are all zero",
    "shifted too far": "the sequence is shifted twice, or a step reads its token too late",
    "misses a token": "a row does not know the token just before it",
    "cache disagrees": "a position off by one, a cache that loses something, or a forward pass without its shift",
    # Of several codebooks:
    "codebooks see each other": "a mask by place, not by token, or the codes of a place in another order than they are"
    " predicted in; code k may know the codes before it, and no other of its place",
    # Of any order, where row t is about place order[t]:
    "order applied twice": "tokens come in reading order already; a permutation of the input alone moves it past the"
    " targets",
    "sees its own token": "no shift, or the place asked for is taken from a sum that holds the token sitting there",
    "knows a later place": "row t is asked for order[t + 1], or a roll put the last place in front; its target sits at"
    " order[t]",
    "asked for no place": "the places asked for come one late (order[t - 1]), are shifted along with the tokens, or are"
    " missing",
    "token sits nowhere": "the table of the places where tokens sit is missing, or comes one late",
    "one order for all": "the sequences of a batch have orders of their own; this one reads those of its neighbors",
    "tables exchanged": "`step` looks up in `places` where forward looks up in `positions`, and the other way round",
    # Of scales, where all tokens of a scale are predicted at once:
    "scale sees itself": "a mask that is one scale off, or a row that reads token t or t - 1 in place of its parent",
    "sees a finer scale": "a block mask upside down, or none",
    "misses its parent": "a row does not know the token of the cell above it: `source` skips a scale",
    # Of classes:
    "label leaks across the batch": "the labels are averaged, or belong to other sequences (a view, a repeat)",
    "ignores its label": "row 0 does not know it; add it to the start vector",
}


class Found(ValueError):
    """What is wrong in a mode; the arguments are the symptom, a key of `CAUSES`, and what was seen."""


@dataclass(frozen=True)
class Changes:
    """What edits at places `at (P,)` changed: the largest change of a logit of each row.

    `own (trials, T, P)` in the edited sequence, `others (T, P)` in the other sequences of any trial.
    """

    at: torch.Tensor
    own: torch.Tensor
    others: torch.Tensor

    @property
    def largest(self) -> torch.Tensor:
        """In any trial, `(T, P)`."""
        return self.own.amax(dim=0)


def of_tokens(changes: Changes, orders: torch.Tensor | None = None) -> None:
    """Raise `Found` unless edits of tokens changed what they do in a causal prior: the pattern names the mistake.

    `orders (trials, P, T)` are those of the edited sequences, where the prior takes one.
    """
    at, own = changes.at, changes.largest
    row, length = torch.arange(len(own))[:, None], len(own)
    _stays_inside(changes)
    leaks = (own > 0) & (row <= at)
    if not leaks.any():
        following = changes.own[:, (at + 1).clamp(max=length - 1), torch.arange(len(at))].amin(dim=0)
        for token in at[(following == 0) & (at + 1 < length)].tolist():
            late = "misses a token" if own[row == at + 1].any() else "shifted too far"
            seen = f"An edit of token {token} leaves row {token + 1} as it is"
            raise Found(late if own.any() else "ignores its input", seen)
        return
    column = int(leaks.any(dim=0).nonzero()[0])
    first, token = int(leaks[:, column].nonzero()[0]), int(at[column])
    moving = own.any(dim=0)
    reach = (at - (own > 0).int().argmax(dim=0))[moving]  # how far before the edited token the changes begin
    band = reach.max() < at[moving].max() and reach.equal(at[moving].clamp(max=reach.max()))
    inner = at < length - 1  # the last token tells nothing about a mask: the shift may well have dropped it
    before, after = own[(row < at) & inner], own[(row > at + 1) & inner]
    near, far = own[(row == at - 1) & inner], own[(row <= at - length // 2) & inner]
    share, ratio = (before > 0).double().mean().item(), (before.median() / after.median()).item()
    amount = f"edits change {share:.0%} of the rows before them, {ratio:.2g} times as much as those after them"
    twice, books = _order_twice(changes, orders), _codebooks(leaks, at)
    unshifted = "missing shift" if orders is None else "sees its own token"
    for holds, symptom, more in (
        (twice, "order applied twice", "its changes begin where the order would put it once more"),
        (books > 0, "codebooks see each other", f"no edit changes an earlier place of {books} tokens"),
        (not leaks[row < at].any(), unshifted, "no edit changes a row before its own"),
        (token == length - 1 and len(at) > 1, "wraps around", "no edit of another token does such a thing"),
        (not own[row > at].any(), "anti-causal", "no edit changes a later row"),
        (not own[row > at + 1].any(), "inverted mask", "of the later rows an edit changes row t + 1 alone"),
        (band, "looks ahead", f"its changes begin {reach.max()} rows before it"),
        (share < 0.9, "sees the future (outgrown mask)", amount),
        (near.median() > 10 * far.median(), "sees the future (fading)", amount),
        (ratio < 0.01, "sees the future (finite mask)", amount),
        (ratio < 0.3, "sees the future (mask after softmax)", amount),
        (ratio < 0.75, "sees the future (0/1 mask added)", amount),
        (True, "sees the future (no mask)", amount),
    ):
        if holds:
            raise Found(symptom, f"An edit of token {token} changes row {first} by {own[first, column]:.1g}; {more}")


def of_scales(changes: Changes, block: torch.Tensor, source: torch.Tensor | None) -> None:
    """The same for a block-causal prior: `block (T,)` is the scale of each token, `source (T,)` its row's parent.

    An edit has to change the rows of the token's children; where `source` is None, some row of the next scale.
    """
    at, own, row = changes.at, changes.largest, torch.arange(len(block))
    _stays_inside(changes)
    leaks = (own > 0) & (block[:, None] <= block[at])
    if leaks.any():
        column = int(leaks.any(dim=0).nonzero()[0])
        first, token = int(leaks[:, column].nonzero()[0]), int(at[column])
        coarser = (leaks & (block[:, None] < block[at])).any()
        raise Found(
            "sees a finer scale" if coarser else "scale sees itself",
            f"An edit of token {token}, of scale {block[token]}, changes row {first}, of scale {block[first]}, by "
            f"{own[first, column]:.1g}",
        )
    for column, token in enumerate(at.tolist()):
        children = row[block == block[token] + 1] if source is None else row[source == token]
        least = changes.own[:, children, column].amin(dim=0)
        unmoved = children[least == 0].tolist()
        if unmoved and (source is not None or len(unmoved) == len(children)):
            seen = f"An edit of token {token} leaves row {unmoved[0]} of the next scale as it is"
            raise Found("misses its parent" if own.any() else "ignores its input", seen)


def of_places(changes: Changes) -> None:
    """What an exchange of the places `order[t]` and `order[-1]` has to do: change rows t and t + 1, and none before."""
    at, own, row = changes.at, changes.own.amin(dim=0), torch.arange(changes.own.shape[1])[:, None]
    if changes.others.any():
        raise Found("one order for all", "Another order of one sequence changes others")
    for _, column in ((changes.largest > 0) & (row < at)).nonzero().tolist():
        place = int(at[column])
        first = int(changes.largest[:, column].nonzero()[0])
        raise Found("knows a later place", f"Another place for token {place} changes row {first} already")
    for later, symptom in ((0, "asked for no place"), (1, "token sits nowhere")):
        for place in at[own[at + later, torch.arange(len(at))] == 0].tolist():
            raise Found(symptom, f"Another place for token {place} leaves row {place + later} as it is")


def of_labels(changes: Changes) -> None:
    """What another label of one sequence has to do: change its first row, and no other sequence."""
    if changes.others.any():
        largest = changes.others.max()
        raise Found(
            "label leaks across the batch", f"Another label of one sequence changes others, by up to {largest:.1g}"
        )
    if not changes.own[:, 0].all():
        raise Found("ignores its label", "Another label leaves row 0 as it is")


def _stays_inside(changes: Changes) -> None:
    """Raise `Found` where an edit of one sequence changed another."""
    own, others = changes.largest, changes.others
    if others.any():
        single = ((own > 0).sum(dim=0) <= 1).all() and ((others > 0).sum(dim=0) <= 1).all()
        symptom = "batch and time swapped" if single else "leaks across the batch"
        raise Found(symptom, f"An edit in one sequence changes others, by up to {others.max():.1g}")


def _order_twice(changes: Changes, orders: torch.Tensor | None) -> bool:
    """Do the changes of every edit begin where `arrange` or `restore` would put the token, if it were run again?"""
    if orders is None:
        return False
    trials, length, _ = changes.own.shape
    moved = changes.own > 0
    begin = torch.where(moved.any(dim=1), moved.int().argmax(dim=1), length)
    arranged, restored = orders.argsort(dim=-1), orders
    return any(
        torch.equal(begin, (table.gather(-1, changes.at.expand(trials, -1)[..., None])[..., 0] + 1))
        for table in (arranged, restored)
    )


def _codebooks(leaks: torch.Tensor, at: torch.Tensor) -> int:
    """The fewest tokens a place, if all leaks stay in their place, alike in each, and leave one code out; else 0."""
    length = len(leaks)
    for books in range(2, length // 2 + 1):
        if length % books == 0 and len(at) == length:
            tiles = leaks.unflatten(0, (-1, books)).unflatten(2, (-1, books)).transpose(1, 2)  # (places, places, c, c)
            inside = tiles.diagonal().permute(2, 0, 1)
            alike = (inside == inside[0]).all() and not inside[0].any(dim=0).all()
            if alike and inside.sum() == leaks.sum():
                return books
    return 0
