"""The integer twin: against big integers, against wrong processors, against itself in every mode and on every path."""

import hashlib
import math
import os
import subprocess
import sys
from fractions import Fraction
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import arlib
from arlib import causality, fixedpoint, orders, rangecoder, sampling, scales
from arlib.data import root
from arlib.fixedpoint import EXACT, LARGEST, FixedPointError, Twin
from arlib.transformer import Prior

VOCABULARY, LENGTH = 11, 12

# The SHA-256 of the tables; of the twin in SCRIPT; and of its logits.
TABLES = "73a46f31609d1e1ce7fc5f04d45f91a45c76ea6b171e1312f7a5b3a22af69829"
DIGEST = "39bd547a63b7566769cb9a1fa3e9d06c81bd92064fa3540ae0a59012b110fe30"
LOGITS = "f61b3b3dbf65617b3d85cf626d788dc12940de9e284e975a08d05388236e70c4"


def build(scale=0.4, dtype=torch.float32, seed=0, **config) -> Prior:
    """A small prior whose weights are large enough that attention is far from an average."""
    torch.manual_seed(seed)
    prior = Prior(**{"vocabulary": VOCABULARY, "length": LENGTH, "width": 16, "depth": 2, "heads": 4, **config})
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return prior.to(dtype).eval()


def sequences(count=3, length=LENGTH, vocabulary=VOCABULARY) -> torch.Tensor:
    return torch.randint(vocabulary, (count, length), generator=torch.Generator().manual_seed(1))


def step_by_step(prior, tokens: torch.Tensor, order=None, label=None) -> torch.Tensor:
    cache = prior.new_cache(len(tokens), order, label)
    return torch.stack([prior.step(token, cache) for token in [None, *tokens[:, :-1].T]], dim=1)


# ---- the tables ----

BITS = 300  # of the oracle's fixed point numbers


@cache
def oracle_tables() -> dict[str, list[Fraction]]:
    """Every entry before it is rounded, by other series than the library's, in integers with 300 binary places."""
    one = 1 << BITS

    def exp_minus(n: int) -> int:  # exp(-n / 1024) for n ≤ 1024, by the alternating series
        total, term, k = 0, one, 0
        while term:
            total, k = total + term * (-1) ** k, k + 1
            term = term * n // (k << 10)
        return total

    def arctan_inverse(n: int) -> int:
        total, power, k = 0, one // n, 0
        while power:
            total, k = total + power // (2 * k + 1) * (-1) ** k, k + 1
            power //= n * n
        return total

    parts, whole = [exp_minus(n) for n in range(1024)], [one]
    for _ in range(30):
        whole.append(whole[-1] * exp_minus(1024) >> BITS)
    exps = [whole[n >> 10] * parts[n % 1024] >> BITS for n in range(30 << 10)]
    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))  # Machin's formula
    root_two_pi = math.isqrt(2 * pi << BITS)
    gaps = []
    for n in range(6 << 10):  # x (1/2 - 1/√2π Σ (-1)^k x^(2k+1) / (2^k k! (2k+1))), with x = n / 1024
        total, power, k = 0, n * one >> 10, 0
        while power:
            total, k = total + power // (2 * k + 1) * (-1) ** k, k + 1
            power = power * n * n // (k << 21)
        gaps.append((one // 2 - (total << BITS) // root_two_pi) * n >> 10)
    units = {"attention": (20, exps), "coding": (36, exps), "gelu": (14, gaps)}
    return {name: [Fraction(number << unit, one) for number in numbers] for name, (unit, numbers) in units.items()}


def test_tables_are_rounded_right():
    for name, table in fixedpoint.tables().items():
        numbers = oracle_tables()[name]
        assert list(table) == [round(number) for number in numbers[: len(table)]]
        assert table[-1] == 0
        assert all(entry > 0 for entry in table[name == "gelu" : -1])
        assert max(numbers[len(table) :]) < Fraction(1, 2)
        # What is left of one unit: no other right way to compute them can round otherwise.
        assert min(abs(number % 1 - Fraction(1, 2)) for number in numbers) > Fraction(1, 10**6)


def test_tables_are_the_committed_ones():
    content = repr(sorted(fixedpoint.tables().items())).encode()
    assert hashlib.sha256(content).hexdigest() == TABLES


# ---- an oracle of big integers ----


def oracle(prior: Prior, tokens: list[int], order: list[int], label: int = -1) -> tuple[list[list[int]], int]:
    """The twin's logits of one sequence, from the rule alone: lists of Python integers, in loops.

    And how many activations saturated.
    """
    clamps = 0
    state = {name: weight.float().double().tolist() for name, weight in prior.state_dict().items()}
    config = prior.config
    width, heads = config["width"], config["heads"]
    per_head, largest = width // heads, 2**22 - 1
    table = {name: [round(number) for number in numbers] for name, numbers in oracle_tables().items()}

    def look_up(name, x, unit):
        return table[name][min(nearest(x, unit), len(table[name]) - 1)]

    def nearest(x, unit):
        return round(Fraction(x, 2**unit))

    def saturate(x):
        nonlocal clamps
        clamps += abs(x) > largest
        return max(-largest, min(largest, x))

    def activations(values):
        return [round(Fraction(value) * 2**14) for value in values]

    def matrix(name, norm=None, query=0):
        rows = []
        gains = state[f"{norm}.weight"] if norm else [1] * len(state[f"{name}.weight"][0])
        for r, row in enumerate(state[f"{name}.weight"]):
            fine = [round(Fraction(value) * Fraction(gain) * 2**24) for value, gain in zip(row, gains, strict=True)]
            scale = math.isqrt(2**44 // per_head) if r < query else 2**22
            rows.append([round(Fraction(value * scale, 2**30)) for value in fine])
        return rows

    def product(rows, x, unit):
        return [nearest(sum(w * a for w, a in zip(row, x, strict=True)), unit) for row in rows]

    def norm(x):
        size = math.isqrt(sum(a * a for a in x) + width * 2**28 // 100_000)
        factor = math.isqrt(width * 2**96) // size
        return [nearest(a * factor, 34) for a in x]

    def gelu(x):
        return [max(a, 0) - look_up("gelu", abs(a), 4) for a in x]

    def add(x, y):
        return [a + b for a, b in zip(x, y, strict=True)]

    read = [t - 1 if config["shift"] else t for t in range(len(tokens))]
    seen = [list(range(t + 1)) for t in range(len(tokens))]
    if "scales" in config:
        cells = [(k, r, c) for k, side in enumerate(config["scales"]) for r in range(side) for c in range(side)]
        read = [-1]
        for k, r, c in cells[1 : len(tokens)]:
            side, coarser = config["scales"][k], config["scales"][k - 1]
            read.append(cells.index((k - 1, r * coarser // side, c * coarser // side)))
        seen = [[s for s in range(len(tokens)) if cells[s][0] <= cells[t][0]] for t in range(len(tokens))]
    stream = []
    for t, source in enumerate(read):
        if source < 0:
            row = activations(state["start"])
            if label >= 0:
                row = add(row, activations(state["classes"][label]))
        else:
            row = activations(state["embedding.weight"][tokens[source]])
            if "any_order" in config:
                row = add(row, activations(state["places"][order[source]]))
        stream.append(add(row, activations(state["positions"][order[t]])) if config["positions"] else row)
    for name in (f"blocks.{block}" for block in range(config["depth"])):
        project = matrix(f"{name}.attention.query_key_value", f"{name}.attention_norm", width)
        out = matrix(f"{name}.attention.out")
        up, down = matrix(f"{name}.up", f"{name}.mlp_norm"), matrix(f"{name}.down")
        triples = [[saturate(a) for a in product(project, norm(x), 16)] for x in stream]
        after = []
        for t, x in enumerate(stream):
            attended = []
            for head in range(heads):
                first = head * per_head
                query = triples[t][first : first + per_head]
                keys = [triples[s][width + first : width + first + per_head] for s in seen[t]]
                values = [triples[s][2 * width + first : 2 * width + first + per_head] for s in seen[t]]
                scores = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
                powers = [look_up("attention", max(scores) - score, 18) for score in scores]
                for column in zip(*values, strict=True):
                    attended.append(sum(p * a for p, a in zip(powers, column, strict=True)) // sum(powers))
            after.append([saturate(a + b) for a, b in zip(x, product(out, attended, 16), strict=True)])
        stream = []
        for x in after:
            hidden = gelu([saturate(a) for a in product(up, norm(x), 16)])
            stream.append([saturate(a + b) for a, b in zip(x, product(down, hidden, 16), strict=True)])
    return [product(matrix("head", "norm"), norm(x), 20) for x in stream], clamps


CONFIGS = [
    {},
    {"positions": False},
    {"shift": False},
    {"width": 18, "heads": 3, "depth": 1},  # a head of 6, whose root no power of two tells
    {"scale": 0.02},  # as before training
    {"scale": 1.0},  # attention to one token only, deep into the tables' ends
    {"scale": 2.5, "classes": 3},  # saturates
    {"classes": 3},
    {"any_order": True, "classes": 2},
    {"any_order": True, "positions": False, "depth": 1},
    {"scales": (1, 3), "length": 10},
    {"scales": (1, 2, 3), "length": 14, "classes": 3, "heads": 2},
]


def where(prior: Prior, count: int, seed: int = 3) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """An order and a label for each of some sequences, where the prior has learned them; the last has no label."""
    generator = torch.Generator().manual_seed(seed)
    order = orders.random(count, prior.length, generator) if "any_order" in prior.config else None
    classes = prior.config.get("classes", 0)
    label = torch.randint(classes, (count,), generator=generator) if classes else None
    if label is not None:
        label[-1] = -1
    return order, label


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_forward_and_step_equal_the_oracle(config):
    prior = build(**config)
    twin, tokens = Twin(prior), sequences(2, prior.length)
    order, label = where(prior, 2)
    logits = twin(tokens, order, label)
    assert logits.dtype == torch.int64
    places = torch.arange(prior.length).expand(2, -1) if order is None else order
    labels = [-1, -1] if label is None else label.tolist()
    known = [oracle(prior, *sample) for sample in zip(tokens.tolist(), places.tolist(), labels, strict=True)]
    assert logits.tolist() == [rows for rows, _ in known]
    clamps = sum(count for _, count in known)
    assert twin.count_clamps(tokens, order, label) == clamps
    assert (clamps > 0) == (config.get("scale") == 2.5)
    if prior.shift and prior.scales is None:
        assert torch.equal(step_by_step(twin, tokens, order, label), logits)


def test_norms_at_the_edges_of_their_roundings():
    """Where the epsilon's last unit makes a sum a square, and where a quotient not rounded down leads past a half."""
    twin = Twin(build(width=18, heads=3))
    for first, second, square in ((9, 1, 220**2), (3315330, 1541323, None), (-4074123, 4049543, None)):
        column = [first, second, *[0] * 16]
        whole = first**2 + second**2 + 18 * 2**28 // 100_000
        assert square in (None, whole)
        expected = [round(Fraction(a * (math.isqrt(18 << 96) // math.isqrt(whole)), 2**34)) for a in column]
        x = torch.tensor([[column]], dtype=torch.float64)
        assert twin._normalize(x).flatten().tolist() == expected
        assert twin._step_normalize(x[0].T.numpy()).flatten().tolist() == expected


@pytest.mark.parametrize("heads", [8, 10])
def test_matrices_are_rounded_as_the_rule_says(heads):
    prior = build(width=40, heads=heads, depth=1)
    state = {name: weight.double().tolist() for name, weight in prior.state_dict().items()}
    root = math.isqrt(2**44 // (40 // heads))
    for name, norm in (("blocks.0.attention.query_key_value", "blocks.0.attention_norm"), ("head", "norm")):
        for r, row in enumerate(Twin(prior).weights[f"{name}.weight"].long().tolist()):
            fine = [
                round(Fraction(value) * Fraction(gain) * 2**24)
                for value, gain in zip(state[f"{name}.weight"][r], state[f"{norm}.weight"], strict=True)
            ]
            scale = root if "query" in name and r < 40 else 2**22
            assert row == [round(Fraction(value * scale, 2**30)) for value in fine]


@pytest.mark.parametrize("config", CONFIGS[:5] + CONFIGS[7:], ids=str)
def test_the_twin_follows_the_prior(config):
    prior = build(**config).double()
    tokens = sequences(8, prior.length)
    order, label = where(prior, 8)
    with torch.no_grad():
        logits = prior(tokens, order, label)
    apart = (Twin(prior)(tokens, order, label) * 2.0**-10 - logits).abs().max()
    assert apart < 0.01
    assert logits.std() > 10 * apart or config.get("scale") == 0.02


# ---- processors that are wrong in the last bit ----


def test_roots_and_quotients_are_exact_whatever_the_processor(monkeypatch):
    roots = torch.arange(1, 2**26, 12345)
    squares = torch.cat([roots**2 + offset for offset in (-1, 0, 1)] + [roots**2 + roots])
    squares = torch.cat([squares, torch.tensor([0, 1, 2, 3, 4, 2**53 - 1, 94906265**2, 94906265**2 - 1])])
    for change in (down, up, lambda x: x + 70, lambda x: x - 70, lambda x: x + 2**-18 * x, lambda x: x):
        monkeypatch.setattr(torch, "sqrt", lambda x, change=change: change(x.sqrt()))
        found = fixedpoint._root(squares.double()).long()
        assert found.tolist() == [math.isqrt(square) for square in squares.tolist()]
    for change in (lambda x: x, down, up, lambda x: x + 0.4, lambda x: x - 0.4):
        monkeypatch.setattr(torch, "div", lambda x, y, change=change: change(x / y))
        numbers = torch.cat([roots * 2**20, -roots * 2**20, roots * 77, roots * 77 - 1, -roots * 77, 1 - roots * 77])
        for divisor in (1, 3, 77, 2**20, 2**20 + 1):
            found = fixedpoint._quotient(numbers.double(), torch.tensor(float(divisor), dtype=torch.float64))
            assert found.long().tolist() == [number // divisor for number in numbers.tolist()]


def down(x: torch.Tensor) -> torch.Tensor:
    return x.nextafter(torch.full_like(x, -torch.inf))


def up(x: torch.Tensor) -> torch.Tensor:
    return x.nextafter(torch.full_like(x, torch.inf))


@pytest.mark.parametrize("change", [down, up])
@pytest.mark.parametrize("function", ["sqrt", "div"])
def test_a_processor_wrong_by_one_bit_gives_the_same_logits(monkeypatch, function, change):
    twin, tokens = Twin(build()), sequences()
    expected, right, apart = twin(tokens), getattr(torch, function), []

    def wrong(*numbers):
        apart.append((change(right(*numbers)) - right(*numbers)).abs().max())
        return change(right(*numbers))

    monkeypatch.setattr(torch, function, wrong)
    assert torch.equal(twin(tokens), expected)
    assert torch.equal(step_by_step(twin, tokens), expected)
    assert min(apart) > 0


# ---- itself, in every mode and on every path ----


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_forward_is_step_is_any_batch(data):
    heads, depth, length = (data.draw(st.integers(1, 3)) for _ in range(3))
    config = {"vocabulary": 5, "length": 5 * length, "heads": heads, "width": heads * data.draw(st.integers(1, 9))}
    scale = data.draw(st.sampled_from([0.02, 0.3, 1.0, 2.5]))
    positions = data.draw(st.booleans())
    twin = Twin(build(scale, seed=data.draw(st.integers(0, 99)), depth=depth, positions=positions, **config))
    tokens = sequences(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5 * length)), 5)
    logits = twin(tokens)
    assert torch.equal(step_by_step(twin, tokens), logits)
    some = torch.tensor(data.draw(st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=4)))
    assert torch.equal(twin(tokens[some]), logits[some])
    assert torch.equal(step_by_step(twin, tokens[some]), logits[some])
    for shorter in range(tokens.shape[1] + 1):
        assert torch.equal(twin(tokens[:, :shorter]), logits[:, :shorter])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_forward_is_step_in_any_order_and_class(data):
    config = {"vocabulary": 5, "length": data.draw(st.integers(1, 9)), "classes": data.draw(st.integers(0, 3))}
    some = {"any_order": data.draw(st.booleans()), "positions": data.draw(st.booleans()), "depth": 1}
    prior = build(data.draw(st.sampled_from([0.3, 1.0])), seed=data.draw(st.integers(0, 99)), **config, **some)
    twin, count = Twin(prior), data.draw(st.integers(1, 5))
    tokens = sequences(count, prior.length, 5)
    order, label = where(prior, count, data.draw(st.integers(0, 99)))
    logits = twin(tokens, order, label)
    assert torch.equal(step_by_step(twin, tokens, order, label), logits)
    assert torch.equal(
        twin(tokens[:1], None if order is None else order[0], None if label is None else label[:1]), logits[:1]
    )
    for shorter in range(prior.length):
        assert torch.equal(twin(tokens[:, :shorter], order, label), logits[:, :shorter])
    if label is not None:  # "no label" is the twin without one
        assert torch.equal(twin(tokens, order)[-1], logits[-1])


def test_no_order_is_reading_order_and_orders_and_labels_count():
    twin, tokens = Twin(build(any_order=True, classes=2)), sequences(1)
    logits = twin(tokens)
    assert torch.equal(twin(tokens, torch.arange(LENGTH), torch.tensor([-1])), logits)
    assert (twin(tokens, torch.arange(LENGTH).flip(0))[:, 0] != logits[:, 0]).any()
    assert (twin(tokens, label=torch.tensor([1]))[:, 0] != logits[:, 0]).any()


@pytest.mark.parametrize("sides", [(1, 2, 3), (1, 3), (1,)])
def test_a_scale_is_predicted_from_those_before_it(sides):
    ends = scales.ends(sides)
    twin = Twin(build(1.0, scales=sides, length=ends[-1], classes=2))
    tokens, label = sequences(3, ends[-1]), torch.tensor([0, 1, -1])
    logits, first = twin(tokens, label=label), 0
    for end in ends:
        asked = torch.cat([tokens[:, :first], torch.zeros(3, end - first, dtype=torch.int64)], dim=1)
        assert torch.equal(twin(asked, label=label), logits[:, :end])
        first = end


# Weights without a random generator and without a rounding: multiples of 2^-9 from a linear congruence. Wide enough for
# the matrix products to be cut into blocks and given to several threads.
SCRIPT = """
import hashlib, torch
from arlib.fixedpoint import Twin
from arlib.transformer import Prior
prior = Prior(vocabulary=300, length=160, width=96, depth=2, heads=3)
number = 1
for name, weight in prior.state_dict().items():
    for _ in range(2):
        number = number * 1103515245 % 2**31
    numbers = (torch.arange(weight.numel()) * 1103515245 + number) % 2**31 // 2**9 % 256 - 128
    weight.copy_((numbers * 2.0**-9 + ("norm" in name)).view(weight.shape))
twin, tokens = Twin(prior), torch.arange(4 * 160).view(4, 160) ** 2 % 293
print(torch.backends.cpu.get_cpu_capability(), twin.digest())
for threads in (1, 2):
    torch.set_num_threads(threads)
    logits, cache = twin(tokens), twin.new_cache(4)
    assert torch.equal(logits, torch.cat([twin(tokens[:1]), twin(tokens[1:])]))
    for place, token in enumerate([None, *tokens[:, :30].T]):
        assert torch.equal(logits[:, place], twin.step(token, cache))
    print(hashlib.sha256(logits.numpy().astype("<i8").tobytes()).hexdigest())
"""
PATHS = ["DEFAULT", "AVX2", "AVX512"]
CAPABILITY = torch.backends.cpu.get_cpu_capability()
KNOWN = PATHS[: PATHS.index(CAPABILITY) + 1] if CAPABILITY in PATHS else [CAPABILITY]


@pytest.mark.parametrize("blas", [path for path in KNOWN if path != "DEFAULT"] or ["any"])
@pytest.mark.parametrize("capability", KNOWN)
def test_threads_and_instruction_sets_give_the_committed_logits(capability, blas):
    # Passive threads sleep while they wait: where others compute too, the rest of their time slice is not lost.
    paths = {"ATEN_CPU_CAPABILITY": capability.lower(), "MKL_ENABLE_INSTRUCTIONS": blas, "OMP_WAIT_POLICY": "passive"}
    paths["OPENBLAS_CORETYPE"] = {"DEFAULT": "Prescott", "AVX2": "Haswell", "AVX512": "SkylakeX"}.get(capability, "")
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=True)
    (used, digest), *hashes = (line.split() for line in done.stdout.splitlines())
    assert used == capability
    assert digest == DIGEST
    assert hashes == [[LOGITS]] * 2


def test_causality():
    for positions in (True, False):
        report = causality.check(Twin(build(positions=positions)), trials=1)
        assert report.ok, report
        assert set(report.symptoms) == {"grad", "no_grad", "cached"}
    assert not causality.check(Twin(build(shift=False)), trials=1).ok
    for config in ({"any_order": True, "classes": 2}, {"scales": (1, 2, 3), "length": 14, "classes": 2}):
        report = causality.check(Twin(build(**config)), trials=1)
        assert report.ok, report


@pytest.mark.parametrize("config", [{}, {"any_order": True, "classes": 2}, {"scales": (1, 3), "length": 10}], ids=str)
def test_sampling(config):
    prior = build(**config)
    order, label = where(prior, 5)
    tokens = sampling.generate(Twin(prior), 5, temperature=1024, order=order, label=label)
    assert tokens.shape == (5, prior.length)
    assert len(tokens.unique()) > 5


# ---- bounds ----


def test_bounds_hold_with_every_activation_at_the_clamp():
    twin = Twin(build())
    assert max(twin.bounds.values()) < EXACT
    squares = 16 * LARGEST**2 + 16 * 2**28 // 100_000
    assert twin.bounds["squares in a norm"] > squares
    # Of √width by a root, what the proposal times the root can reach: one more than the quotient may be proposed.
    assert twin.bounds["normalized values"] > math.isqrt(16 << 96) + math.isqrt(squares)
    for name, weight in twin.weights.items():
        if weight.dim() == 2 and name not in ("embedding.weight", "positions"):
            rows = [[abs(int(value)) for value in row] for row in weight.tolist()]
            assert LARGEST * max(map(sum, rows)) <= twin.bounds[name]


def test_sums_are_exact_up_to_the_bounds():
    """The largest prior there is a twin of: 512 wide, two heads, 2048 long, weights at their limit, all saturated."""
    prior = Prior(vocabulary=2, length=2048, width=512, depth=1, heads=2)
    down = prior.state_dict()["blocks.0.down.weight"]
    down.copy_((torch.arange(512)[:, None] % 7 + torch.arange(2048) % 5) / 2**16 + 15.999)
    twin = Twin(prior)
    assert all(twin.bounds[name] > EXACT // 8 for name in list(twin.bounds)[:4])
    assert twin.bounds["blocks.0.down.weight"] > EXACT * 0.99

    most = torch.full((1, 1, 2048), float(LARGEST), dtype=torch.float64)
    odd = most - torch.arange(2048) % 3
    for x in (most, odd, -odd):
        rows, column = twin.weights["blocks.0.down.weight"].long().tolist(), x.long().flatten().tolist()
        sums = [sum(w * a for w, a in zip(row, column, strict=True)) for row in rows]
        assert twin._product(x, "blocks.0.down.weight", 30).long().flatten().tolist() == sums

    for x in (most[..., :512], -odd[..., :512]):
        column = x.long().flatten().tolist()
        size = math.isqrt(sum(a * a for a in column) + twin.epsilon)
        expected = [round(Fraction(a * (math.isqrt(512 << 96) // size), 2**34)) for a in column]
        assert twin._normalize(x).flatten().tolist() == expected

    query, keys, values = most[..., :256], most.expand(1, 256, 2048).mT, odd.expand(1, 256, 2048).mT
    mean = sum(odd.long().flatten().tolist()) // 2048
    unseen = torch.zeros(1, 2048, dtype=torch.bool)
    assert (twin._attend(query, keys, values, unseen) == mean).all()
    assert (twin._attend(query, keys, -values, unseen) == -mean - 1).all()  # rounded down
    opposite = torch.cat([keys[:, :1], -keys[:, 1:]], dim=1)  # all powers but the first vanish
    assert (twin._attend(query, opposite, values, unseen) == values[:, 0]).all()


EVERY = {"any_order": True, "classes": 2}


@pytest.mark.parametrize("name", sorted(build(**EVERY).state_dict()))
@pytest.mark.parametrize("factor", [1e6, math.inf, math.nan])
def test_weights_without_a_twin(name, factor):
    prior = build(**EVERY)
    prior.get_parameter(name).data.mul_(factor)
    with pytest.raises(FixedPointError, match=r"no twin: .* too large"):
        Twin(prior)


def test_one_weight_without_a_twin():
    """Its row stays far below the bound, but times 1/√head_width it would not be exact."""
    prior = build()
    weight = prior.get_parameter("blocks.1.attention.out.weight").data
    weight[3, 5] = -127.9
    assert Twin(prior).bounds["blocks.1.attention.out.weight"] > 0.99 * EXACT
    weight[3, 5] = 128
    with pytest.raises(FixedPointError, match=r"no twin: blocks.1.attention.out.weight could reach 9,.* too large"):
        Twin(prior)


@pytest.mark.parametrize(
    ("config", "terms"),
    [
        ({}, 2),
        ({"positions": False}, 2),
        ({"positions": False, **EVERY}, 2),
        ({"classes": 2}, 3),
        ({"any_order": True}, 3),
        ({"scales": (1, 2), "length": 5}, 2),
        ({"scales": (1, 2), "length": 5, "classes": 2}, 3),
    ],
    ids=str,
)
def test_an_input_is_never_beyond_the_clamp(config, terms):
    """Each table may use its share of the range, and not one unit more."""
    prior = build(depth=1, **config)
    tables = [name for name, _ in prior.named_parameters() if name.split(".")[0] in fixedpoint.ADDED]
    for name in tables:
        weight = prior.get_parameter(name).data
        weight.fill_(LARGEST // terms * 2.0**-14)
        assert Twin(prior).bounds[name] == LARGEST // terms * terms
    tokens = sequences(1, prior.length)
    assert Twin(prior).bounds["start"] <= LARGEST
    for name in tables:
        weight = prior.get_parameter(name).data
        weight.view(-1)[-1] = (LARGEST // terms + 1) * -(2.0**-14)
        with pytest.raises(FixedPointError, match=rf"{name} could reach 4,19\d,\d+, and must stay below 4,194,304"):
            Twin(prior)
        weight.view(-1)[-1] = 0
    assert Twin(prior)(tokens).shape == (1, prior.length, VOCABULARY)


def test_saturation_is_counted():
    twin = Twin(build())
    assert twin.count_clamps(sequences()) == 0
    twin.clamps = 0
    saturated = twin._saturate(torch.tensor([LARGEST, LARGEST + 1, -LARGEST, -(2.0**50), 7], dtype=torch.float64))
    assert saturated.tolist() == [LARGEST, LARGEST, -LARGEST, -LARGEST, 7]
    assert twin.clamps == 2


@pytest.mark.parametrize(
    ("config", "sums"),
    [
        ({"width": 514}, "squares in a norm"),
        ({"width": 257, "heads": 1}, "differences of scores"),
        ({"length": 2049}, "attended values"),
    ],
)
def test_sizes_without_a_twin(config, sums):
    with pytest.raises(FixedPointError, match=f"{sums} could reach 9,.*too wide or too long"):
        Twin(build(**{"depth": 1, "heads": 2, **config}))


# ---- frequencies and the digest ----


def test_frequencies():
    logits = Twin(build(1.0))(sequences())
    weights = fixedpoint.weights(logits)
    for row, weight in zip(logits.flatten(0, 1).tolist(), weights.flatten(0, 1).tolist(), strict=True):
        table = oracle_tables()["coding"]
        assert weight == [round(table[min(max(row) - logit, len(table) - 1)]) for logit in row]
    frequencies = fixedpoint.frequencies(logits)
    assert torch.equal(frequencies, rangecoder.frequencies(weights))
    assert (frequencies.sum(-1) == 2**24).all()
    assert frequencies.min() >= 1
    assert (frequencies / 2**24 - (logits * 2.0**-10).softmax(-1)).abs().max() < 1e-6


def test_frequencies_at_the_ends():
    far = torch.tensor([[0, -(10**6), 0], [-(2**40), 0, 2**40]])
    assert fixedpoint.weights(far).tolist() == [[2**36, 0, 2**36], [0, 0, 2**36]]
    assert fixedpoint.frequencies(far).tolist() == [[2**23, 1, 2**23 - 1], [1, 1, 2**24 - 2]]
    with pytest.raises(FixedPointError, match="int64, not float32"):
        fixedpoint.frequencies(far.float())


def test_the_digest_is_that_of_the_weights(monkeypatch):
    prior = build(**EVERY)
    prior.load_state_dict({name: weight.half() for name, weight in prior.state_dict().items()})
    digest = Twin(prior).digest()
    assert Twin(Prior.from_config(prior.config)).digest() != digest
    for dtype in (torch.float64, torch.float16):
        assert Twin(prior.to(dtype)).digest() == digest
    prior = prior.float()
    for parameter in prior.parameters():
        before = parameter.data.clone()
        parameter.data.flatten()[-1] += 0.5
        assert Twin(prior).digest() != digest
        parameter.data.copy_(before)
    assert Twin(prior).digest() == digest
    unshifted = Prior.from_config({**prior.config, "shift": False})
    unshifted.load_state_dict(prior.state_dict())
    assert Twin(unshifted).digest() != digest
    for name, table in fixedpoint.tables().items():
        changed = {**fixedpoint.tables(), name: (*table[:9], table[9] + 1, *table[10:])}
        with monkeypatch.context() as patch:
            patch.setattr(fixedpoint, "tables", lambda changed=changed: changed)
            assert Twin(prior).digest() != digest
    assert Twin(prior).digest() == digest
    monkeypatch.setattr(fixedpoint, "RULE", fixedpoint.RULE + 1)
    assert Twin(prior).digest() != digest


# ---- the shipped prior ----


def test_the_digest_tells_every_switch():
    """The same weights, as far as they go: what a prior has besides, or does with them, makes another twin."""
    switches: list[dict] = [{}, {"positions": False}, {"shift": False}, {"classes": 2}, {"classes": 3}]
    switches += [{"any_order": True}, EVERY, {"scales": (1, 2, 3)}, {"scales": (1, 2, 3), "classes": 2}]
    digests = set()
    for switch in switches:
        prior = build(0.0, length=14, **switch)
        assert prior.config == Prior.from_config(prior.config).config
        digests.add(Twin(prior).digest())
    digests.add(Twin(build(0.0, length=14, scales=(1, 2, 3), heads=2)).digest())
    assert len(digests) == len(switches) + 1


@pytest.mark.skipif(not (root() / "weights/prior-book.safetensors").exists(), reason="the prior is not shipped yet")
def test_the_shipped_prior():
    prior = arlib.load_prior("book")
    twin = Twin(prior)
    tokens = arlib.tokenset.read(root() / "tokens/valid.tokens").grids.flatten(1)[::64]
    logits = twin(tokens)
    with torch.no_grad():
        expected = prior(tokens)
    losses = [
        F.cross_entropy(each.flatten(0, 1).double(), tokens.flatten()).item() / math.log(2)
        for each in (expected, logits * 2.0**-10)
    ]
    assert losses[1] - losses[0] < 0.002
    assert twin.count_clamps(tokens[:2]) == 0
    assert torch.equal(step_by_step(twin, tokens[:1, :200]), logits[:1, :200])
    coded = fixedpoint.frequencies(logits).gather(-1, tokens[..., None]).double() / 2**24
    assert -coded.log2().mean() - losses[1] < 0.002


# ---- errors ----


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(LENGTH, dtype=torch.int64), r"\(B, T\) int64, not \(12,\) int64"),
        (torch.zeros(2, 3), "float32"),
        (torch.zeros(2, LENGTH + 1, dtype=torch.int64), "cannot read 13 tokens"),
        (torch.full((2, 3), VOCABULARY), r"lie in \[0, 11\)"),
        (torch.tensor([[0, -1]]), r"lie in \[0, 11\)"),
    ],
)
def test_bad_tokens(tokens, message):
    twin = Twin(build())
    for function in (twin, twin.count_clamps):
        with pytest.raises(ValueError, match=message):
            function(tokens)
    assert twin.count_clamps(sequences()) == 0


def test_bad_orders_and_labels():
    plain, every, maps = Twin(build()), Twin(build(**EVERY)), Twin(build(scales=(1, 2), length=5))
    tokens, forward = sequences(2), torch.arange(LENGTH)
    for ask in (
        lambda twin, *where: twin(tokens[:, : twin.length], *where),
        lambda twin, *where: twin.new_cache(2, *where),
    ):
        with pytest.raises(ValueError, match="learned one order"):
            ask(plain, forward)
        with pytest.raises(ValueError, match="learned no classes"):
            ask(plain, None, torch.tensor([0, 1]))
        with pytest.raises(ValueError, match="names a place twice"):
            ask(every, forward * 0)
        with pytest.raises(ValueError, match=r"places in \[0, 12\)"):
            ask(every, forward + 1)
        with pytest.raises(ValueError, match=r"\(2,\) int64, not \(1,\)"):
            ask(every, forward, torch.tensor([0]))
        with pytest.raises(ValueError, match=r"lie in \[0, 2\)"):
            ask(every, None, torch.tensor([0, 2]))
    for prior in (maps, build(scales=(1, 2), length=5)):
        with pytest.raises(ValueError, match="it has no steps"):
            prior.new_cache(2)


def test_no_tokens():
    twin = Twin(build())
    for shape in ((3, 0), (0, 3)):
        logits = twin(torch.zeros(shape, dtype=torch.int64))
        assert (logits.shape, logits.dtype) == ((*shape, VOCABULARY), torch.int64)


def test_step_at_the_wrong_time():
    twin = Twin(build())
    token = torch.zeros(2, dtype=torch.int64)
    cache = twin.new_cache(2)
    with pytest.raises(ValueError, match="start token"):
        twin.step(token, cache)
    twin.step(None, cache)
    with pytest.raises(ValueError, match="start token"):
        twin.step(None, cache)
    with pytest.raises(IndexError):
        twin.step(token - 1, cache)
    for _ in range(LENGTH - 1):
        twin.step(token, cache)
    with pytest.raises(ValueError, match="all of them have been read"):
        twin.step(token, cache)


def test_a_device_without_float64():
    with pytest.raises(FixedPointError, match="float64, which the device mps does not have: use device='cpu'"):
        Twin(build(), device="mps")
