"""Small priors, right ones and broken ones: what `arlib.causality.check` has to tell apart.

Most are one tiny attention model with another mask or another shift; the rest are what readers build instead.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from arlib import orders
from arlib.transformer import Cache, Prior

VOCABULARY, LENGTH, WIDTH = 11, 16, 16


def causal(scores: torch.Tensor) -> torch.Tensor:
    """Attention weights `(…, T, T)` from scores: row i attends to columns up to i."""
    return scores.masked_fill(~allowed(scores), -torch.inf).softmax(dim=-1)


def allowed(scores: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(scores, dtype=torch.bool).tril()


def finite(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A mask of a finite number in place of minus infinity."""
    return lambda scores: (scores + value * ~allowed(scores)).softmax(dim=-1)


def everything(scores: torch.Tensor) -> torch.Tensor:
    return scores.softmax(dim=-1)


def inverted(scores: torch.Tensor) -> torch.Tensor:
    """Row i attends to columns from i on."""
    return scores.masked_fill(allowed(scores).tril(-1), -torch.inf).softmax(dim=-1)


def strictly_inverted(scores: torch.Tensor) -> torch.Tensor:
    """Row i attends to columns after i: the last row to none."""
    return scores.masked_fill(allowed(scores), -torch.inf).softmax(dim=-1)


def after_softmax(scores: torch.Tensor) -> torch.Tensor:
    return scores.softmax(dim=-1) * allowed(scores)


def added(scores: torch.Tensor) -> torch.Tensor:
    """`tril(ones)`, meant as "may attend", added to the scores."""
    return (scores + allowed(scores)).softmax(dim=-1)


def right(x: torch.Tensor) -> torch.Tensor:
    """Zeros in front, the last dropped: `(B, T, D)` to the same shape."""
    return F.pad(x, (0, 0, 1, 0))[:, :-1]


def hole(x: torch.Tensor) -> torch.Tensor:
    """Shifted right, but the token at 5 is lost."""
    x = right(x).clone()
    x[:, 6] = 0
    return x


class Tiny(nn.Module):
    """Two blocks of one-headed attention; `attend` makes weights of scores, `shift` moves the embedded tokens."""

    def __init__(self, attend=causal, shift=right, dropout=0.0, sharpness=1.0):
        super().__init__()
        self.vocabulary, self.length = VOCABULARY, LENGTH
        self.attend, self.shift, self.dropout, self.sharpness = attend, shift, nn.Dropout(dropout), sharpness
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.mixers = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens):
        x = self.shift(self.embedding(tokens)) + self.positions
        for mixer in self.mixers:
            query, key, value = mixer(x).chunk(3, dim=-1)
            scores = self.sharpness * query @ key.transpose(1, 2) / WIDTH**0.5
            x = x + self.dropout(self.attend(scores) @ value)
            x = F.layer_norm(x, (WIDTH,))
        return self.head(x)


class OnlyIn(Tiny):
    """Sees the future in train mode only, or in eval mode only."""

    def __init__(self, training: bool):
        super().__init__(lambda scores: scores.softmax(dim=-1) if self.training == training else causal(scores))


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, called with `mask` and `options` as given."""

    def __init__(self, mask=None, batch_first=True, norm_first=False, **options):
        super().__init__()
        self.vocabulary, self.length = VOCABULARY, LENGTH
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.1, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.mask, self.options = mask, options
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens):
        x = right(self.embedding(tokens)) + self.positions
        return self.head(self.encoder(x, self.mask, **self.options))


class Recurrent(nn.Module):
    """An LSTM; `bidirectional` reads from the end too, `forgetful=False` starts each call where the last one ended."""

    def __init__(self, bidirectional=False, forgetful=True):
        super().__init__()
        self.vocabulary, self.length = VOCABULARY, LENGTH
        self.forgetful, self.state = forgetful, None
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(WIDTH * (1 + bidirectional), VOCABULARY)

    def forward(self, tokens):
        x, state = self.lstm(right(self.embedding(tokens)), self.state)
        self.state = None if self.forgetful else state
        return self.head(x)


class Convolutional(nn.Module):
    """Two convolutions of three tokens, padded by `(left, right)`; batch normalization between them if asked for."""

    def __init__(self, padding=(2, 0), batch_norm=False):
        super().__init__()
        self.vocabulary, self.length, self.padding = VOCABULARY, LENGTH, padding
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.first, self.second = nn.Conv1d(WIDTH, WIDTH, 3), nn.Conv1d(WIDTH, VOCABULARY, 3)
        self.norm = nn.BatchNorm1d(WIDTH) if batch_norm else nn.Identity()

    def forward(self, tokens):
        x = right(self.embedding(tokens)).transpose(1, 2)
        x = self.norm(self.first(F.pad(x, self.padding)).tanh())
        return self.second(F.pad(x, self.padding)).transpose(1, 2)


class BrokenStep(Prior):
    """A right `forward`, a wrong `step`; `arlib.Prior` with one thing done wrong to each step's cache or token."""

    def __init__(self, mistake: Callable[["BrokenStep", torch.Tensor | None, Cache], torch.Tensor], **config):
        super().__init__(VOCABULARY, LENGTH, width=16, depth=2, heads=2, **config)
        self.mistake = mistake

    def step(self, token, cache):
        return self.mistake(self, token, cache)


def position_off_by_one(prior, token, cache):
    with torch.no_grad():
        positions = prior.positions.clone()
        prior.positions.copy_(positions.roll(1, dims=0))
        logits = Prior.step(prior, token, cache)
        prior.positions.copy_(positions)
    return logits


def cache_forgets(prior, token, cache):
    """The oldest key and value are lost, as from a ring buffer that is one too short."""
    logits = Prior.step(prior, token, cache)
    cache.keys[:, :, :, 0] = 0
    cache.values[:, :, :, 0] = 0
    return logits


def reads_too_late(prior, token, cache):
    """Each step reads the token of the step before it."""
    late, prior.late = getattr(prior, "late", None), token
    if token is None:
        return Prior.step(prior, None, cache)
    return Prior.step(prior, torch.zeros_like(token) if late is None else late, cache)


def one_cache_for_all(prior, token, cache):
    """The cache of one sequence serves the whole batch."""
    logits = Prior.step(prior, token, cache)
    cache.keys[:] = cache.keys[:, :1]
    cache.values[:] = cache.values[:, :1]
    return logits


def nan_at_the_end(prior, token, cache):
    logits = Prior.step(prior, token, cache)
    return logits / 0 if cache.read == prior.length else logits


def deaf_at_the_end(prior, token, cache):
    """The last step reads a token of its own."""
    return Prior.step(prior, token if token is None or cache.read < LENGTH - 1 else token * 0, cache)


def lookup(tokens: torch.Tensor) -> torch.Tensor:
    """A plain function, and a right prior: one more nat for the token that was just read."""
    return F.pad(F.one_hot(tokens, VOCABULARY).float(), (0, 0, 1, 0))[:, :-1]


def running(tokens: torch.Tensor) -> torch.Tensor:
    """How often each token has come so far: a plain function, and a right prior."""
    return lookup(tokens).cumsum(dim=1)


def backwards(tokens: torch.Tensor) -> torch.Tensor:
    """A right prior of the reversed sequence: row t knows the tokens after t."""
    return running(tokens.flip(1)).flip(1)


def transposed(tokens: torch.Tensor) -> torch.Tensor:
    """The batch is unrolled along the wrong axis: a view where a transpose was meant."""
    return running(tokens).transpose(0, 1).reshape(*tokens.shape, VOCABULARY)


def by_place(scores: torch.Tensor) -> torch.Tensor:
    """Two codebooks, masked by place: both rows of a place attend to both."""
    place = torch.arange(scores.shape[-1]) // 2
    return scores.masked_fill(place[:, None] < place, -torch.inf).softmax(dim=-1)


def second_code_first(tokens: torch.Tensor) -> torch.Tensor:
    """A right prior of codes that come the other way round in each place: the first code's row knows the second's."""
    turned = tokens.unflatten(1, (-1, 2)).flip(2).flatten(1)
    return running(turned).unflatten(1, (-1, 2)).flip(2).flatten(1, 2)


def small(**config) -> Prior:
    return Prior(VOCABULARY, LENGTH, width=16, depth=2, heads=2, **config)


class Ordered(nn.Module):
    """Any order: `enter(prior, tokens, order)` makes the rows that go into the blocks of a prior."""

    def __init__(self, enter: Callable[[Prior, torch.Tensor, torch.Tensor], torch.Tensor], depth: int = 2):
        super().__init__()
        self.vocabulary, self.length, self.config = VOCABULARY, LENGTH, {"any_order": True}
        self.prior = Prior(VOCABULARY, LENGTH, width=16, depth=depth, heads=2, any_order=True)
        self.enter = enter

    def forward(self, tokens, order):
        x = self.enter(self.prior, tokens, order)
        for block in self.prior.blocks:
            x = block(x)
        return self.prior.head(self.prior.norm(x))


def start_first(prior, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([prior.start.expand(len(x), 1, -1), x[:, :-1]], dim=1)


def in_order(prior, tokens, order):
    """As it should be: the token with the place where it sits, shifted, and then the place that is asked for."""
    return start_first(prior, prior.embedding(tokens) + prior.places[order]) + prior.positions[order]


def place_ahead(prior, tokens, order):
    return start_first(prior, prior.embedding(tokens) + prior.places[order]) + prior.positions[order.roll(-1, 1)]


def place_late(prior, tokens, order):
    asked = torch.cat([order[:, :1], order[:, :-1]], dim=1)
    return start_first(prior, prior.embedding(tokens) + prior.places[order]) + prior.positions[asked]


def place_rolled(prior, tokens, order):
    return start_first(prior, prior.embedding(tokens) + prior.places[order]) + prior.positions[order.roll(1, 1)]


def both_before_the_shift(prior, tokens, order):
    return start_first(prior, prior.embedding(tokens) + prior.places[order] + prior.positions[order])


def both_after_the_shift(prior, tokens, order):
    return start_first(prior, prior.embedding(tokens)) + prior.places[order] + prior.positions[order]


def no_table_of_places(prior, tokens, order):
    return start_first(prior, prior.embedding(tokens)) + prior.positions[order]


def arranged_again(prior, tokens, order):
    return in_order(prior, orders.arrange(tokens, order), order)


def restored_first(prior, tokens, order):
    return in_order(prior, orders.restore(tokens, order), order)


def own_token_with_its_place(prior, tokens, order):
    sum_ = prior.embedding(tokens) + prior.places[order]
    return start_first(prior, sum_) + (sum_ + prior.positions[order])


def unshifted(prior, tokens, order):
    return prior.embedding(tokens) + prior.places[order] + prior.positions[order]


def order_of_the_first(prior, tokens, order):
    return in_order(prior, tokens, order[:1].expand_as(order))


def tables_exchanged(prior, token, cache):
    """`step` alone takes each table for the other."""
    prior.places, prior.positions = prior.positions, prior.places
    logits = Prior.step(prior, token, cache)
    prior.places, prior.positions = prior.positions, prior.places
    return logits


def place_of_the_next(prior, token, cache):
    """A step counts one place too many."""
    kept, cache.order = cache.order, cache.order.roll(-1, 1)
    logits = Prior.step(prior, token, cache)
    cache.order = kept
    return logits


class Scaled(Prior):
    """Three scales; `source(right one)` is the table of what rows read, `hidden(block)` what they may not look at."""

    def __init__(self, source=lambda table: table, hidden=lambda block: block[:, None] < block):
        super().__init__(VOCABULARY, 14, width=16, depth=2, heads=2, scales=(1, 2, 3))
        self.source, self.hidden = source(self.source), hidden

    def mask(self, length):
        hidden = self.hidden(self.block[:length])
        return torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)


def mirrored_parents(source: torch.Tensor) -> torch.Tensor:
    """Rows and columns exchanged, as by a transposed map."""
    maps = [part.view(side, side).T.flatten() for part, side in zip(source.split([1, 4, 9]), (1, 2, 3), strict=True)]
    return torch.cat(maps)


class Labeled(Prior):
    """Three classes; `mistake(label)` is what reaches the start in place of the label."""

    def __init__(self, mistake, **config):
        super().__init__(VOCABULARY, LENGTH, width=16, depth=2, heads=2, classes=3, **config)
        self.mistake = mistake

    def _start(self, label, batch_size):
        return super()._start(None if label is None else self.mistake(label), batch_size)


class LabelForgotten(Prior):
    """A right forward; the cache of `step` loses the label."""

    def new_cache(self, batch_size, order=None, label=None):
        return super().new_cache(batch_size, order)


def deaf() -> Tiny:
    prior = Tiny()
    nn.init.zeros_(prior.embedding.weight)
    return prior


def overflowing(tokens: torch.Tensor) -> torch.Tensor:
    """A right prior but for a number that grows too large once the sequence is long enough."""
    return (running(tokens).cumsum(dim=1) * 40).exp()


def noisy(tokens: torch.Tensor) -> torch.Tensor:
    """Random numbers that no seed of torch's reaches."""
    return lookup(tokens) + float(NOISE.random())


NOISE = np.random.default_rng()
TRIANGLE = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()  # nn.TransformerEncoder: True is *forbidden*


# Each builds a right prior.
RIGHT: dict[str, Callable[[], Callable]] = {
    "arlib.Prior": small,
    "arlib.Prior without positions": lambda: small(positions=False),
    "attention": Tiny,
    "attention with dropout": lambda: Tiny(dropout=0.3),
    "finite mask of -1e4, small scores": lambda: Tiny(finite(-1e4)),
    "TransformerEncoder, boolean mask": lambda: Encoder(~TRIANGLE),
    "TransformerEncoder, float mask, norm_first": lambda: Encoder(
        nn.Transformer.generate_square_subsequent_mask(LENGTH), norm_first=True
    ),
    "TransformerEncoder, mask and is_causal": lambda: Encoder(~TRIANGLE, is_causal=True),
    "LSTM": Recurrent,
    "convolutions": Convolutional,
    "one token back": lambda: lookup,
    "counting": lambda: running,
    "arlib.Prior of any order": lambda: small(any_order=True),
    "arlib.Prior with classes": lambda: small(classes=3),
    "arlib.Prior with classes, any order": lambda: small(classes=1, any_order=True),
    "arlib.Prior of scales": Scaled,
    "arlib.Prior of scales with classes": lambda: Prior(VOCABULARY, 5, 16, 2, 2, classes=3, scales=(1, 2)),
    "scales, each row sees those before": lambda: Scaled(
        hidden=lambda block: ~torch.ones(len(block), len(block)).tril().bool()
    ),
    "any order, by hand": lambda: Ordered(in_order),
    "any order without attention": lambda: Ordered(in_order, depth=0),
}

# Wrong, and no edit can see it: no row knows anything that it must not, or lacks anything that it could not find out.
UNSEEN: dict[str, Callable[[], Callable]] = {
    "places: one late, with attention": lambda: Ordered(both_after_the_shift),
    "places: none, with attention": lambda: Ordered(no_table_of_places),
    "scales: mirrored parents": lambda: Scaled(mirrored_parents),
}

# Each builds a broken prior; the symptom that `check` has to name in each mode ("" where that mode is right).
BROKEN: dict[str, tuple[Callable[[], Callable], dict[str, str] | str]] = {
    "no shift": (lambda: Tiny(shift=nn.Identity()), "missing shift"),
    "no mask": (lambda: Tiny(everything), "sees the future (no mask)"),
    "no mask, no shift": (lambda: Tiny(everything, shift=nn.Identity()), "sees the future (no mask)"),
    "inverted mask": (lambda: Tiny(inverted), "inverted mask"),
    "inverted mask, rows left empty": (lambda: Tiny(strictly_inverted), "NaN"),
    "mask after softmax": (lambda: Tiny(after_softmax), "sees the future (mask after softmax)"),
    "0/1 mask added": (lambda: Tiny(added), "sees the future (0/1 mask added)"),
    "finite mask of -10": (lambda: Tiny(finite(-10)), "sees the future (finite mask)"),
    "finite mask of -1e4, grown scores": (lambda: Tiny(finite(-1e4), sharpness=3e4), "sees the future (outgrown mask)"),
    "anti-causal": (lambda: backwards, "anti-causal"),
    "inverted mask, no shift": (lambda: Tiny(inverted, shift=nn.Identity()), "anti-causal"),
    "shift by roll": (lambda: Tiny(shift=lambda x: x.roll(1, dims=1)), "wraps around"),
    "shift to the left": (lambda: Tiny(shift=lambda x: F.pad(x, (0, 0, 0, 1))[:, 1:]), "looks ahead"),
    "shifted twice": (lambda: Tiny(shift=lambda x: right(right(x))), "shifted too far"),
    "deaf": (deaf, "ignores its input"),
    "deaf at one place": (lambda: Tiny(shift=hole), "misses a token"),
    "overflowing": (lambda: overflowing, "NaN"),
    "noisy": (lambda: noisy, "not reproducible"),
    "transposed": (lambda: transposed, "leaks across the batch"),
    "wrong shape": (lambda: lambda tokens: lookup(tokens)[:, 1:], "wrong shape"),
    "two outputs": (lambda: lambda tokens: (lookup(tokens), {}), "wrong shape"),
    "LSTM, bidirectional": (lambda: Recurrent(bidirectional=True), "sees the future (fading)"),
    "LSTM, state kept from call to call": (lambda: Recurrent(forgetful=False), "not reproducible"),
    "convolutions padded on both sides": (lambda: Convolutional((1, 1)), "looks ahead"),
    "batch normalization": (
        lambda: Convolutional(batch_norm=True),
        {"train": "leaks across the batch", "eval": "", "no_grad": ""},
    ),
    "no mask in train mode": (
        lambda: OnlyIn(training=True),
        {"train": "sees the future (no mask)", "eval": "", "no_grad": ""},
    ),
    "no mask in eval mode": (
        lambda: OnlyIn(training=False),
        {"train": "", "eval": "sees the future (no mask)", "no_grad": "sees the future (no mask)"},
    ),
    # What nn.TransformerEncoder does, as of torch 2.13: its fast path runs in eval mode without gradients alone.
    "TransformerEncoder, batch_first=False": (lambda: Encoder(batch_first=False), "batch and time swapped"),
    "TransformerEncoder, no mask": (Encoder, "sees the future (no mask)"),
    "TransformerEncoder, is_causal without a mask": (
        lambda: Encoder(is_causal=True),
        {"train": "raises", "eval": "raises", "no_grad": "sees the future (no mask)"},
    ),
    "TransformerEncoder, is_causal with a mask of zeros": (
        lambda: Encoder(torch.zeros(LENGTH, LENGTH), is_causal=True),
        {"train": "", "eval": "", "no_grad": "sees the future (no mask)"},
    ),
    "TransformerEncoder, inverted mask": (
        lambda: Encoder(TRIANGLE),
        {"train": "inverted mask", "eval": "inverted mask", "no_grad": "NaN"},
    ),
    "TransformerEncoder, 0/1 float mask": (
        lambda: Encoder(TRIANGLE.float()),
        {
            "train": "sees the future (0/1 mask added)",
            "eval": "sees the future (0/1 mask added)",
            "no_grad": "NaN",
        },
    ),
    # Right in the forward pass, wrong step by step.
    "no shift, right step": (
        lambda: small(shift=False),
        {"train": "missing shift", "eval": "missing shift", "no_grad": "missing shift", "cached": "cache disagrees"},
    ),
    "step: position off by one": (lambda: BrokenStep(position_off_by_one), {"cached": "cache disagrees"}),
    "step: cache forgets": (lambda: BrokenStep(cache_forgets), {"cached": "cache disagrees"}),
    "step: reads too late": (lambda: BrokenStep(reads_too_late), {"cached": "shifted too far"}),
    "step: one cache for all": (lambda: BrokenStep(one_cache_for_all), {"cached": "leaks across the batch"}),
    "step: NaN at the end": (lambda: BrokenStep(nan_at_the_end), {"cached": "NaN"}),
    "step: deaf at the end": (lambda: BrokenStep(deaf_at_the_end), {"cached": "misses a token"}),
    # Several codebooks.
    "codebooks: masked by place": (lambda: Tiny(by_place), "codebooks see each other"),
    "codebooks: the second first": (lambda: second_code_first, "codebooks see each other"),
    # Any order.
    "order: the tokens arranged again": (lambda: Ordered(arranged_again), "order applied twice"),
    "order: the tokens by place again": (lambda: Ordered(restored_first), "order applied twice"),
    "order: places one ahead": (lambda: Ordered(place_ahead), "knows a later place"),
    "order: places one late": (lambda: Ordered(place_late), "asked for no place"),
    "order: places rolled": (lambda: Ordered(place_rolled), "knows a later place"),
    "order: places shifted with the tokens": (lambda: Ordered(both_before_the_shift), "asked for no place"),
    "order: places unused": (lambda: small(any_order=True, positions=False), "asked for no place"),
    "order: no shift": (
        lambda: Ordered(unshifted),
        "sees its own token",
    ),
    "order: own token with its place": (lambda: Ordered(own_token_with_its_place), "sees its own token"),
    "order: that of the first sequence": (lambda: Ordered(order_of_the_first), "one order for all"),
    "order: tokens sit nowhere": (lambda: Ordered(no_table_of_places, depth=0), "token sits nowhere"),
    "order: tokens sit one late": (lambda: Ordered(both_after_the_shift, depth=0), "token sits nowhere"),
    "order: no mask": (
        lambda: Ordered(lambda *inputs: in_order(*inputs) + in_order(*inputs).mean(1, keepdim=True)),
        "sees the future (no mask)",
    ),
    "step: tables exchanged": (lambda: BrokenStep(tables_exchanged, any_order=True), {"cached": "tables exchanged"}),
    "step: places one ahead": (
        lambda: BrokenStep(place_of_the_next, any_order=True),
        {"cached": "knows a later place"},
    ),
    "step: cache forgets, any order": (
        lambda: BrokenStep(cache_forgets, any_order=True),
        {"cached": "cache disagrees"},
    ),
    # Scales.
    "scales: rows read their own tokens": (
        lambda: Scaled(lambda source: torch.arange(len(source))),
        "scale sees itself",
    ),
    "scales: rows read the token before": (
        lambda: Scaled(lambda source: torch.arange(len(source)) - 1),
        "scale sees itself",
    ),
    "scales: upside down": (lambda: Scaled(hidden=lambda block: block[:, None] > block), "sees a finer scale"),
    "scales: no mask": (lambda: Scaled(hidden=lambda block: torch.zeros(14, 14).bool()), "sees a finer scale"),
    "scales: grandparents": (
        lambda: Scaled(lambda source: torch.where(source < 0, source, source[source])),
        "misses its parent",
    ),
    "scales: mirrored parents, no attention": (
        lambda: Scaled(mirrored_parents, lambda block: ~torch.eye(len(block)).bool()),
        "misses its parent",
    ),
    # Classes.
    "labels: added up": (
        lambda: Labeled(lambda label: (label.sum() % 3).expand_as(label)),
        "label leaks across the batch",
    ),
    "labels: rolled": (lambda: Labeled(lambda label: label.roll(1)), "label leaks across the batch"),
    "labels: ignored": (lambda: Labeled(lambda label: torch.full_like(label, -1)), "ignores its label"),
    "labels: ignored, any order": (
        lambda: Labeled(lambda label: torch.full_like(label, -1), any_order=True),
        "ignores its label",
    ),
    "step: label forgotten": (
        lambda: LabelForgotten(VOCABULARY, LENGTH, 16, 2, 2, classes=3),
        {"cached": "ignores its label"},
    ),
}
