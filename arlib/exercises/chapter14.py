"""Checkers of chapter 14, "Any order"."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import arlib
from arlib import metrics, orders, tokenset
from arlib.exercises import Wrong, call, checker, number, tensor

VOCABULARY, LENGTH = 50, 12
PICTURES, ORDERS, USUAL = 20, 16, 7


@checker
def in_order(answer: Callable) -> str:
    """Exercise 1: the surprise of each token of a picture, read in a given order, from the joint probabilities."""
    for places in (3, 4, 3, 4, 2):
        joint = torch.rand((4,) * places, dtype=torch.float64).pow(3) + 1e-3
        joint /= joint.sum()
        tokens, order = torch.randperm(4)[:places], torch.tensor([1, 0])
        while len(order) < places or (
            places > 2 and torch.equal(order, order.argsort())
        ):  # an order that is not its own inverse
            order = torch.randperm(places)
        right = _in_order(joint, tokens, order)
        given = tensor(call(answer, joint, tokens, order), (places,)).double()
        total = -joint[tuple(tokens)].log2()
        inverse = order.argsort()
        alone = torch.stack([
            -_sum_all_but(joint, [place])[tokens[place]].log2() for place in order.tolist()
        ])  # fmt: skip
        given_all_others = torch.stack([
            (joint.sum(place)[_without(tokens, place)] / joint[tuple(tokens)]).log2() for place in order.tolist()
        ])  # fmt: skip
        one_permuted = "the axes of `joint` and the tokens have to be put into reading order together, not one of them."
        mistakes = [
            (right * math.log(2), "these are nats: take the logarithm to the base 2."),
            (-right, "the sign is wrong: a surprise is not negative."),
            (_in_order(joint, tokens, torch.arange(places)), "that is in raster order, whatever `order` says."),
            (_in_order(joint, tokens, inverse), "you read by the inverse order: time t reads place order[t]."),
            (right[inverse], "these are the right numbers by place; they are asked for in reading order."),
            (alone, "each token costs that much alone. What was read before makes it cheaper: p(x | what was read)."),
            (given_all_others, "that is given all the other tokens; only those read before count."),
            (2**-right, "these are probabilities; the surprise is their -log2."),
            (_in_order(joint.permute(*order.tolist()), tokens, torch.arange(places)), one_permuted),
            (_in_order(joint, tokens[order], torch.arange(places)), one_permuted),
            (right.cumsum(0), "that is the surprise of all tokens so far; asked for is that of each."),
        ]
        for mistake, reason in mistakes:
            if torch.allclose(given, mistake) and not torch.allclose(given, right):
                raise Wrong(reason)
        if not torch.allclose(given, right):
            if not math.isclose(given.sum().item(), total.item(), rel_tol=1e-6):
                raise Wrong(
                    f"the sum is the surprise of the whole picture, {total:.3f} bits, in any order; "
                    f"yours is {given.sum():.3f}."
                )
            raise Wrong(
                f"for the order {order.tolist()} you get {_list(given)}; it is {_list(right)}. The sum is right, but "
                "it is split among the tokens in another way."
            )
    return "the tokens' surprises differ from order to order, and their sum does not."


@checker
def what_is_wrong(answer: Callable) -> str:
    """Exercise 2: find out by a prior of one's own what a loss does wrong."""
    cases = [("nothing", _right), ("nothing", _right_by_place), ("nothing", _right_one_order)]
    cases += [("targets", _targets_by_place), ("targets", _targets_late), ("targets", _targets_other_order)]
    cases += [("places", _never_arranged), ("places", _restored), ("places", _places_late)]
    calls = [_counted(*case) for case in [cases[index] for index in torch.randperm(len(cases)).tolist()] + cases]
    for truth, loss, used in calls:
        given = call(answer, loss)
        if not isinstance(given, str) or given not in ("nothing", "targets", "places"):
            raise Wrong(f'"nothing", "targets" or "places" is asked for, and this is {given!r}.')
        if not used:
            raise Wrong("you gave a verdict without calling the loss. It has to be tried out.")
        if given != truth:
            raise Wrong(f"of a loss that {TOLD[loss.__doc__ or '']} you say {given!r}; it is {truth!r}.")
    return "nine losses, three of them right, and each is told by what it gives to a prior and what it wants back."


@checker
def ask_slowly(answer: Callable) -> str:
    """Exercise 3: the logits of several places, each as if it came next, by forward passes alone."""
    for read, count in ((3, 4), (0, 3), (5, 1), (2, 7)):
        prior = arlib.Prior(11, 9, width=24, depth=2, heads=2, any_order=True).double().eval()
        for name, parameter in prior.named_parameters():
            if name in ("places", "positions", "embedding.weight"):
                torch.nn.init.normal_(parameter, std=0.5)
        tokens, order = torch.randint(11, (2, read)), torch.randperm(9)

        def forward(tokens, order, prior=prior):
            return prior(tokens, order)

        with torch.no_grad():
            right = _ask(prior, tokens, order, count)
            given = tensor(call(answer, forward, tokens, order, count), (2, count, 11)).double()
            where = f"with {read} tokens read and {count} places asked for"
            filled = torch.cat([tokens, torch.zeros(2, count, dtype=torch.int64)], 1)
            one_pass = prior(filled, order[: read + count])[:, read:]
            if torch.allclose(given, right, atol=1e-6):
                continue
            if torch.allclose(given, one_pass, atol=1e-6):
                raise Wrong(
                    f"{where}, one pass over made-up tokens lets each place see those made up for the places before "
                    "it. Give each place a pass of its own, in which it comes next."
                )
            if torch.allclose(given[:, 0], right[:, 0], atol=1e-6):
                raise Wrong(f"{where}, the first is right and the others are not: do they see each other?")
            if given.shape == right.shape and torch.allclose(given.flip(1), right, atol=1e-6):
                raise Wrong("the places come in the order of reading, and yours come backwards.")
            apart = (given - right).abs().max().item()
            raise Wrong(
                f"{where}, your logits differ from what they are by up to {apart:.2g}. Row t of a pass is about "
                "place order[t], from the tokens before row t."
            )
    return "each place is asked as if it came next; `ask` does all of them in one pass."


@checker
def best_of_orders(answer: Any) -> str:
    """Exercise 4: what is saved by the best of 16 orders for each picture, less what it costs to name it."""
    totals, given = _totals(), number(answer)
    saved = (totals[:, USUAL] - totals.min(dim=1).values).mean().item()
    cost, right = math.log2(ORDERS), (totals[:, USUAL] - totals.min(dim=1).values).mean().item() - math.log2(ORDERS)
    mistakes = {
        saved: "the decoder has to be told which of the 16 orders it was: that costs bits, too.",
        saved - ORDERS: "to name one of 16 costs log2 16 bits, not 16.",
        (totals[:, USUAL].mean() - totals.mean(0).min()).item()
        - cost: "that is the order that is best on average, one for all pictures; each may have its own.",
        (totals[:, USUAL].mean() - totals.mean(0).min()).item(): "that is the order that is best on average, one for "
        "all pictures; each may have its own.",
        -right: "the sign is wrong: what is saved counts as positive.",
        (totals.mean(1) - totals.min(1).values).mean().item() - cost: "that is against the average order; asked for is "
        "against shuffled 7.",
        right * PICTURES: "that is the sum over the pictures; bits per picture are asked for.",
        saved * PICTURES - cost: "each picture has to say which order it is in; and bits per picture are asked for.",
        saved - math.log(ORDERS): "to name one of 16 costs log2 16 bits; that is its natural logarithm.",
        right / 64: "that is per token; bits per picture are asked for.",
        (totals[:, USUAL] - totals.max(dim=1).values).mean().item() - cost: "you took the dearest order.",
    }
    if abs(given - right) < 0.1:
        return f"{right:.1f} bits a picture, measured again: {saved:.1f} saved, {cost:.0f} spent on saying which order."
    for mistake, reason in mistakes.items():
        if abs(given - mistake) < 0.05:
            raise Wrong(reason)
    raise Wrong(
        "that is not what it comes to. For each of the first 20 test pictures: its bits in order shuffled 7, less the "
        "fewest in any of the 16, less what it costs to say which."
    )


@checker
def most_rows(answer: Any) -> str:
    """Exercise 5: for which n the rounds of `ask` compute the most rows, and how many."""
    if answer is ... or answer is None:
        raise Wrong("there is nothing here yet. Hand in two numbers, n and the rows.")
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Wrong("two numbers are asked for: n and the rows.")
    n, rows = number(answer[0]), number(answer[1])
    right = {n: _rows(n) for n in (1, 2, 4, 8, 16, 32, 64)}
    most = max(right, key=lambda each: right[each])
    if (rows, n) == (most, right[most]):
        raise Wrong("the other way around: first n, then the rows.")
    if n not in right:
        raise Wrong("n is one of 1, 2, 4, 8, 16, 32 and 64.")
    rounds = 64 // int(n)
    if rows == 129 and n != most:
        raise Wrong("129 is what instruction tokens take, whatever n is.")
    if rows == right[int(n)] and n != most:
        raise Wrong(f"{rows:.0f} rows is right for n = {n:.0f}, but another n takes more.")
    if rows in (n + (rounds - 1) * 2 * n, rounds * (2 * n - 1)):
        raise Wrong(
            "the first round reads the start alone and has n rows; in each later one the row that reads the last token "
            "asks as well, so it has 2n - 1."
        )
    if n == most and rows == right[most] - 1:
        raise Wrong("one too few: the very first pass reads the start vector.")
    if rows == right[int(n)] + n:
        raise Wrong("the last round is drawn and never read.")
    if rows == rounds * 2 * n:
        raise Wrong("a round has fewer than 2n rows: the row that reads the last token asks as well.")
    if n != most or rows != right[most]:
        raise Wrong(
            f"that is not the most. For n = 2: the first pass has 2 rows (start, and one that only asks), the other "
            f"31 read 2 tokens and have one row more that only asks; that makes {right[2]}."
        )
    return f"n = {most} takes {right[most]} rows where 64 would do: fewer passes, but more work in them."


def _in_order(joint: torch.Tensor, tokens: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    bits, before = [], joint.sum()
    for time in range(len(order)):
        read = order[: time + 1].tolist()
        known = _sum_all_but(joint, read)[tuple(tokens[sorted(read)])]
        bits.append(-(known / before).log2())
        before = known
    return torch.stack(bits)


def _sum_all_but(joint: torch.Tensor, places: list[int]) -> torch.Tensor:
    away = [place for place in range(joint.dim()) if place not in places]
    return joint.sum(away) if away else joint


def _without(tokens: torch.Tensor, place: int) -> tuple[int, ...]:
    return tuple(token for at, token in enumerate(tokens.tolist()) if at != place)


def _list(values: torch.Tensor) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values.tolist()) + "]"


def _loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def _right(prior, tokens):
    """right"""
    order = orders.random(*tokens.shape)
    read = orders.arrange(tokens, order)
    return _loss(prior(read, order=order), read)


def _right_by_place(prior, tokens):
    """right by place"""
    order = orders.random(*tokens.shape)
    logits = prior(orders.arrange(tokens, order), order=order)
    return _loss(torch.empty_like(logits).scatter(1, order[..., None].expand_as(logits), logits), tokens)


def _right_one_order(prior, tokens):
    """right one"""
    order = torch.randperm(tokens.shape[1])
    read = orders.arrange(tokens, order)
    return _loss(prior(read, order=order), read)


def _targets_by_place(prior, tokens):
    """by place"""
    order = orders.random(*tokens.shape)
    return _loss(prior(orders.arrange(tokens, order), order=order), tokens)


def _targets_late(prior, tokens):
    """late"""
    order = orders.random(*tokens.shape)
    read = orders.arrange(tokens, order)
    return _loss(prior(read, order=order), read.roll(-1, 1))


def _targets_other_order(prior, tokens):
    """other order"""
    order = orders.random(*tokens.shape)
    read = orders.arrange(tokens, order)
    return _loss(prior(read, order=order), orders.arrange(tokens, orders.random(*tokens.shape)))


def _never_arranged(prior, tokens):
    """never arranged"""
    return _loss(prior(tokens, order=orders.random(*tokens.shape)), tokens)


def _restored(prior, tokens):
    """restored"""
    order = orders.random(*tokens.shape)
    read = orders.restore(tokens, order)
    return _loss(prior(read, order=order), read)


def _places_late(prior, tokens):
    """places late"""
    order = orders.random(*tokens.shape)
    read = orders.arrange(tokens, order)
    return _loss(prior(read, order=order.roll(1, 1)), read)


TOLD = {
    "right": "is right",
    "right by place": "puts the logits back by place, and compares them there",
    "right one": "is right, and draws one order for the whole batch",
    "by place": "arranges the input and compares with the tokens by place",
    "late": "compares row t with the token after its own",
    "other order": "compares with tokens in another order than it gave",
    "never arranged": "tells an order, but gives the tokens by place",
    "restored": "arranges the tokens by the inverse order",
    "places late": "tells each token the place of the one before it",
}


def _counted(truth: str, loss: Callable) -> tuple[str, Callable, list[bool]]:
    used: list[bool] = []

    def counted(prior, tokens):
        used.append(True)
        return loss(prior, tokens)

    counted.__doc__ = loss.__doc__
    return truth, counted, used


def _ask(prior: Any, tokens: torch.Tensor, order: torch.Tensor, count: int) -> torch.Tensor:
    cache = prior.new_cache(len(tokens), order)
    for token in [None, *tokens.T][:-1]:
        prior.step(token, cache)
    return prior.ask(tokens[:, -1:] if tokens.shape[1] else None, cache, count)


def _rows(n: int) -> int:
    return n + (64 // n - 1) * (2 * n - 1)


@cache
def _totals() -> torch.Tensor:
    """The bits of each of the first test pictures in each of the orders, `(PICTURES, ORDERS)`."""
    prior = arlib.load_prior("cifar-any")
    test = tokenset.read(arlib.data.root() / "tokens" / "cifar10-test.tokens")
    assert test.labels is not None
    tokens, labels = orders.raster(test.grids)[:PICTURES], test.labels[:PICTURES]
    columns = []
    for seed in range(ORDERS):
        order = orders.shuffled(tokens.shape[1], seed)
        columns.append(metrics.bits(prior, orders.arrange(tokens, order), order=order, label=labels).sum(dim=1))
    return torch.stack(columns, dim=1).double()
