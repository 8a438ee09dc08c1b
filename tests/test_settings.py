"""How to train: what is refused, and before any work is done."""

import math

import pytest
import torch

from arlib.settings import MOST_SEED, Settings
from arlib.storage import DataError


def build(**changed) -> Settings:
    return Settings(**{"steps": 1, "batch_size": 1, "learning_rate": 1e-9, **changed})


@pytest.mark.parametrize("name", ["steps", "batch_size", "devices", "nodes", "workers", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_what_is_counted_or_measured_lies_above_0_and_is_finite(name, value):
    build()
    with pytest.raises(DataError, match=f"^{name.replace('_', ' ')} is a number above 0, not {value}"):
        build(**{name: value})


def test_the_seeds_of_the_steps_stay_below_2_to_the_63():
    build(seed=0)
    steps, ranks = 10**7, 1000
    assert ((build(seed=MOST_SEED).seed * 1_000_003 + steps) * 1_009 + ranks) < 2**63  # as training counts them
    for seed in (-1, MOST_SEED + 1):
        with pytest.raises(DataError, match="seed lies between 0 and 1,000,000,000"):
            build(seed=seed)


def test_a_batch_is_shared_by_the_devices_of_all_nodes():
    assert build(batch_size=12, devices=2, nodes=3).processes == 6
    with pytest.raises(DataError, match="A batch of 10 cannot be shared equally by 6 processes"):
        build(batch_size=10, devices=2, nodes=3)


def test_two_precisions_are_known():
    for precision in ("32-true", "bf16-mixed"):
        build(precision=precision)
    with pytest.raises(DataError, match="32-true or bf16-mixed, not 16-mixed"):
        build(precision="16-mixed")


@pytest.mark.parametrize(("cuda", "mps"), [(False, False), (True, False), (False, True)])
def test_an_accelerator_has_to_be_there(cuda, mps, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    there = ["cpu", "auto"] + ["cuda"] * cuda + ["mps"] * mps
    for name in there:
        build(accelerator=name)
    for name in {"cuda", "mps", "tpu"} - {*there}:
        with pytest.raises(DataError, match=f"no accelerator '{name}' here; there are {', '.join(there)}"):
            build(accelerator=name)
