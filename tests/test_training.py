"""The training loop: the same curve after a kill, the same loss in two processes, and never a held-out example."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from arlib import data, losses, optimizers, tokenset, training
from arlib.cli import train as train_cli
from arlib.cli.examples import refuse_held_out
from arlib.data import DataError
from arlib.quantizers import BSQ, VQ, Product
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer, Quantizer
from arlib.training import NextTokenLoss, ReconstructionLoss, Settings, fit
from arlib.transformer import Prior

# A whole run in a few lines, for processes of its own: a small prior on tokens that repeat.
RUN = """
import sys, time, torch
from arlib.training import NextTokenLoss, Settings, fit
from arlib.transformer import Prior
folder, resume, devices, pause = sys.argv[1], sys.argv[2] == "resume", int(sys.argv[3]), float(sys.argv[4])
torch.manual_seed(0)
tokens = torch.randint(16, (40, 3), generator=torch.Generator().manual_seed(1)).repeat(1, 8)
settings = Settings(steps=40, batch_size=8, learning_rate=1e-2, devices=devices, checkpoint_seconds=0.0)
class Slow(NextTokenLoss):
    def forward(self, tokens):
        time.sleep(pause)
        return super().forward(tokens)
fit(Slow(Prior(16, 24, width=16, depth=1, heads=2)), tokens, settings, folder, resume=resume)
"""


def run(folder: Path, resume: bool = False, devices: int = 1, pause: float = 0.0) -> subprocess.Popen:
    script = folder.with_suffix(".py")
    script.write_text(RUN)
    command = [sys.executable, str(script), str(folder), "resume" if resume else "new", str(devices), str(pause)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def curve(folder: Path) -> dict[int, float]:
    """The last loss written for each step."""
    events = EventAccumulator(str(folder / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def test_a_killed_run_resumes_to_the_same_curve_and_two_processes_give_the_loss_of_one(tmp_path):
    whole, killed, shared = (
        run(tmp_path / "whole"),
        run(tmp_path / "killed", pause=0.2),
        run(tmp_path / "two", devices=2),
    )
    checkpoint = tmp_path / "killed" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    resumed = run(tmp_path / "killed", resume=True)
    assert [process.wait(120) for process in (whole, resumed, shared)] == [0, 0, 0]

    expected = curve(tmp_path / "whole")
    assert list(expected) == list(range(40))
    assert expected[39] < expected[0] - 1  # it learned
    assert curve(tmp_path / "killed") == expected  # to the last bit
    assert len(list((tmp_path / "killed" / "curves").iterdir())) == 2  # it really took two runs
    for step, loss in curve(tmp_path / "two").items():
        assert loss == pytest.approx(expected[step], rel=1e-3), step


def any_order() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (40,), generator=generator)
    tokens = (torch.randint(5, (40, 6), generator=generator) + 5 * labels[:, None]) % 16
    return NextTokenLoss(Prior(16, 6, 16, 1, 2, classes=3, any_order=True)), (tokens.to(torch.int16), labels)


def vector_quantized(build: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Few pictures, more codes than they need, and a high threshold: codes are revived all the time."""
    kinds: dict[str, Callable[[], Quantizer]] = {
        "EMA": lambda: VQ(32, 3, revival=0.95),
        "gradients": lambda: VQ(32, 3, decay=None, revival=0.95),
        "product": lambda: Product([VQ(32, 2, revival=0.95), VQ(32, 2, revival=0.95)]),
        "pyramid": lambda: Pyramid(VQ(32, 3, revival=0.95), (1, 2, 4)),
    }
    quantizer = kinds[build]()
    images = torch.randint(256, (24, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return ReconstructionLoss(ImageTokenizer(2, 8, 1, quantizer=quantizer, channels=1)), (images,)


RUNS = {"any order, labels": any_order} | {
    name: lambda name=name: vector_quantized(name) for name in ("EMA", "gradients", "product", "pyramid")
}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", RUNS)
def test_orders_labels_and_codes_resume_to_the_last_bit(name, precision, tmp_path):
    """Orders, dropped labels, revived codes and shortened pyramids are drawn at random, and codes are no parameters."""
    settings = Settings(12, 8, 1e-2, checkpoint_seconds=0.0, precision=precision)

    class Killed(Exception):
        pass

    class Mortal(nn.Module):
        """Dies in the middle of the given step, in the forward pass, when codes have been moved already."""

        def __init__(self, loss, step):
            super().__init__()
            self.loss, self.left = loss, step

        def forward(self, *batch):
            self.left -= 1
            value = self.loss(*batch)
            if self.left < 0:
                raise Killed
            return value

    def fresh(step):
        torch.manual_seed(5)
        loss, examples = RUNS[name]()
        return Mortal(loss, step), examples

    def draw_something():
        torch.rand(17)  # what a validation draws must not reach the next step
        return {"figure": 0.0}

    whole, examples = fresh(100)
    fit(whole, examples, settings, tmp_path / "whole")
    dying, examples = fresh(7)
    with pytest.raises(Killed):
        fit(dying, examples, settings, tmp_path / "killed", validate=draw_something)
    resumed, examples = fresh(100)
    torch.manual_seed(99)
    torch.rand(5)
    fit(resumed, examples, settings, tmp_path / "killed", draw_something, resume=True)
    assert (whole.left, resumed.left) == (100 - 12, 100 - 5)  # it went on, and did not begin again
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())
    untrained = fresh(100)[0].state_dict()
    assert all(not torch.equal(value, untrained[key]) for key, value in expected.items() if value.numel() > 16)
    # Codes were revived in the last steps too: one that none chose would have come down to 0.99^11.
    usages = [value for key, value in expected.items() if key.endswith("usage")]
    assert len(usages) == {"any order, labels": 0, "product": 2}.get(name, 1)
    assert all(0.99**11 < 0.95 <= usage.min() for usage in usages)


class Falling(nn.Module):
    """One weight, whose slope of 3 is clipped to 1, and what it was in each step, next to a random number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[float] = []
        self.drawn: list[float] = []

    def forward(self, batch):
        self.seen.append(self.weight.item())
        self.drawn.append(torch.rand(()).item())
        return self.weight * 3.0


def test_steps_are_as_long_as_the_learning_rate_and_draw_what_seed_and_step_say(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(
        training, "make_optimizers", lambda loss, settings: [torch.optim.SGD(loss.parameters(), lr=9.0)]
    )
    runs = []

    def so_far(loss: Falling) -> dict[str, float]:
        return {"so far": len(loss.seen)}

    for number, seed in enumerate((0, 1, 0)):
        loss, settings = Falling(), Settings(20, 2, 0.5, seed=seed, validations=3)
        fit(loss, torch.zeros(4), settings, tmp_path / str(number), partial(so_far, loss))
        steps = [before - after for before, after in zip(loss.seen, [*loss.seen[1:], loss.weight.item()], strict=True)]
        assert steps == pytest.approx([optimizers.learning_rate(step, settings) for step in range(20)], abs=1e-6)
        assert re.search(r"training .* 20/20 loss -\d", capfd.readouterr().err)
        runs.append(loss.drawn)
        curves = EventAccumulator(str(tmp_path / str(number) / "curves")).Reload()
        losses, rates = ([(it.step, it.value) for it in curves.Scalars(name)] for name in ("loss", "learning rate"))
        assert losses == [(step, pytest.approx(3 * weight)) for step, weight in enumerate(loss.seen)]
        assert rates == [(step, pytest.approx(optimizers.learning_rate(step, settings))) for step in range(20)]
        assert [(it.step, it.value) for it in curves.Scalars("so far")] == [(5, 6), (11, 12), (17, 18)]
    assert runs[0] == runs[2]
    assert len({*runs[0], *runs[1]}) == 40


class Slow(Falling):
    """Each step takes two seconds of the clock, and it is interrupted after some of them."""

    def __init__(self, steps, clock):
        super().__init__()
        self.left, self.clock = steps, clock

    def forward(self, batch):
        if not self.left:
            raise InterruptedError
        self.left -= 1
        self.clock[0] += 2
        return super().forward(batch)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_checkpoint_is_saved_as_soon_as_the_last_is_too_old_and_at_the_end(tmp_path, monkeypatch, clock):
    saved = []
    monkeypatch.setattr(training, "save_checkpoint", lambda fabric, path, state: saved.append(state))
    fit(Slow(8, clock), torch.zeros(4), Settings(8, 2, 0.5, checkpoint_seconds=4.0), tmp_path)
    assert [(state["step"], state["seconds"]) for state in saved] == [(3, 6), (6, 12), (8, 16)]


def test_a_run_has_the_processes_and_the_numbers_of_its_settings(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_fabric.Fabric", lambda **given: given)
    monkeypatch.setattr("lightning_fabric.loggers.TensorBoardLogger", lambda *given, **named: (given, named))
    for devices, nodes, strategy in ((1, 1, "auto"), (2, 1, "ddp"), (1, 2, "ddp")):
        settings = Settings(5, 4, 0.5, accelerator="cpu", devices=devices, nodes=nodes, precision="bf16-mixed")
        assert training.make_fabric(settings, tmp_path, 7) == {
            "accelerator": "cpu",
            "devices": devices,
            "num_nodes": nodes,
            "strategy": strategy,
            "precision": "bf16-mixed",
            "loggers": ((tmp_path,), {"name": "curves", "version": "", "purge_step": 7}),
        }


def test_seconds_of_all_runs_are_counted_and_those_between_them_are_not(tmp_path, monkeypatch, clock):
    begun: list[int | None] = []
    make_fabric = training.make_fabric

    def remembering(settings, folder, resumed_at):
        begun.append(resumed_at)
        return make_fabric(settings, folder, resumed_at)

    monkeypatch.setattr(training, "make_fabric", remembering)
    settings = Settings(5, 2, 0.5, checkpoint_seconds=0.0)
    assert fit(Slow(5, clock), torch.zeros(4), settings, tmp_path / "whole") == 10
    with pytest.raises(InterruptedError):
        fit(Slow(3, clock), torch.zeros(4), settings, tmp_path / "two")
    clock[0] += 1000
    assert fit(Slow(2, clock), torch.zeros(4), settings, tmp_path / "two", resume=True) == 10
    assert begun == [None, None, 3]  # the curves lose what was written after the checkpoint
    kept = torch.load(tmp_path / "two" / "last.ckpt", weights_only=True)
    assert set(kept) == {"loss", "optimizer 0", "step", "seconds", "begun with"}
    assert (kept["step"], kept["seconds"]) == (5, 10)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("[../gloo/pair.cc:5] Read error [::1]:9: Connection reset. Or not.", "Read error [::1]:9: Connection reset"),
        ("gloo has stopped", "gloo has stopped"),
        ("NCCL error", "NCCL error"),
        ("No connection", "No connection"),
        ("It timed out", "It timed out"),
        ("Timeout", "Timeout"),
    ],
)
def test_a_process_that_is_gone_is_told_in_words(words, told):
    with pytest.raises(DataError) as caught, training.together():
        raise RuntimeError(words)
    assert f"cannot be reached ({told}). Once" in str(caught.value)


def test_errors_of_ones_own_are_not_taken_for_those_of_other_processes():
    with pytest.raises(RuntimeError, match="shapes"), training.together():
        raise RuntimeError("shapes do not fit")


def test_of_several_processes_the_first_one_writes(monkeypatch):
    assert training.first_process()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        assert training.first_process() == (rank == 0)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert training.first_process()


def test_moments_are_six_each_three_times_as_late_as_the_last(tmp_path):
    assert training.moment_steps(729) == [3, 9, 27, 81, 243, 729]
    assert training.moment_steps(10_000) == [41, 123, 370, 1111, 3333, 10_000]
    assert training.moment_steps(5) == [1, 2, 5]
    loss = NextTokenLoss(Prior(16, 6, 8, 1, 1, any_order=True))
    tokens = torch.randint(16, (10, 6))
    called: list[tuple[int, bool, bool]] = []

    def moment(step: int) -> None:
        called.append((step, loss.training, loss.model.training))
        torch.rand(3)

    settings = Settings(27, 4, 1e-2, checkpoint_seconds=0.0)
    torch.manual_seed(0)
    fit(loss, tokens, settings, tmp_path / "moments", moments=moment)
    assert called == [(step, False, False) for step in (1, 3, 9, 27)]
    # What a moment draws, or switches to eval mode, changes nothing in the run.
    first, second = (NextTokenLoss(Prior(16, 6, 8, 1, 1, any_order=True)) for _ in range(2))
    second.load_state_dict(first.state_dict())
    fit(first, tokens, settings, tmp_path / "with", moments=moment)
    fit(second, tokens, settings, tmp_path / "without")
    assert curve(tmp_path / "with") == curve(tmp_path / "without")


def test_the_loss_of_an_order_by_hand(monkeypatch):
    """Targets are permuted as the tokens are, row by row of logits from tables alone."""
    prior = Prior(4, 3, 8, 0, 1, any_order=True)
    tokens = torch.tensor([[3, 0, 2], [1, 1, 0]])
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    monkeypatch.setattr(losses.orders, "random", lambda count, length: order)
    rows = prior(torch.tensor([[2, 3, 0], [1, 0, 1]]), order).log_softmax(-1)
    chances = [rows[0, 0, 2], rows[0, 1, 3], rows[0, 2, 0], rows[1, 0, 1], rows[1, 1, 0], rows[1, 2, 1]]
    loss = NextTokenLoss(prior)
    assert loss(tokens).item() == pytest.approx(-sum(chances).item() / 6 / math.log(2), rel=1e-5)


def test_no_targets_place_is_known_to_its_row():
    """The same as an edit: another token at a place changes the loss of its own row, and of those read after it."""
    torch.manual_seed(0)
    prior = Prior(7, 6, 16, 2, 2, any_order=True)
    loss, tokens, surprises = NextTokenLoss(prior), torch.randint(7, (1, 6)), []
    seen: list[torch.Tensor] = []
    prior.register_forward_hook(lambda module, inputs, logits: seen.append(logits.detach()[0]))
    for place in [None, *range(6)]:
        edited = tokens.clone()
        if place is not None:
            edited[0, place] = (edited[0, place] + 1) % 7
        torch.manual_seed(3)  # the same order each time
        surprises.append(loss(edited).item())
    torch.manual_seed(3)
    order = losses.orders.random(1, 6)[0].tolist()
    for place in range(6):
        changed = (seen[place + 1] != seen[0]).any(-1).tolist()
        assert changed == [order.index(place) < row for row in range(6)]
    assert len(set(surprises)) == 7


def test_one_label_in_ten_is_left_out_in_training_and_none_in_validation(monkeypatch):
    prior = Prior(4, 2, 8, 1, 1, classes=3)
    given: list[torch.Tensor] = []
    forward = prior.forward

    def recording(tokens, order=None, label=None):
        given.append(label)
        return forward(tokens, order, label)

    monkeypatch.setattr(prior, "forward", recording)
    loss, tokens = NextTokenLoss(prior), torch.zeros(5000, 2, dtype=torch.int16)
    labels = torch.arange(5000, dtype=torch.uint8) % 3
    torch.manual_seed(0)
    loss.train()(tokens, labels)
    loss.eval()(tokens, labels)
    loss.train()(tokens)
    dropped = given[0] == -1
    assert abs(dropped.double().mean().item() - 0.1) < 0.02
    assert torch.equal(given[0][~dropped], labels.long()[~dropped])
    assert torch.equal(given[1], labels.long())
    assert given[2] is None


def test_the_commitment_is_part_of_the_loss_and_smoothness_only_where_it_is_asked_for():
    torch.manual_seed(0)
    quantizer = VQ(8, 3)
    quantizer.codes.normal_()
    quantizer.usage.fill_(1.0)
    tokenizer = ImageTokenizer(4, 8, 1, quantizer=quantizer, channels=1).eval()
    images = torch.randint(256, (3, 8, 8, 1), dtype=torch.uint8)
    pixels = images.float() / 255 - 0.5
    reconstruction, latent = tokenizer(pixels)
    codes = quantizer.codes[torch.cdist(latent.flatten(0, 2), quantizer.codes).argmin(-1)].view_as(latent)
    expected = (reconstruction - pixels).square().mean() + 0.25 * (latent - codes).square().mean()
    assert torch.allclose(ReconstructionLoss(tokenizer).eval()(images), expected)
    one_patch = ImageTokenizer(8, 8, 1, quantizer=BSQ(4), channels=1)  # it has no neighbors to be unlike
    assert ReconstructionLoss(one_patch)(images).isfinite()


def test_tensors_of_examples_reach_the_loss_together(tmp_path):
    """Example i of each: pictures and labels stay pairs, whatever the shuffle."""
    pairs: list[tuple[int, int]] = []

    class Recording(NextTokenLoss):
        def forward(self, tokens, labels=None):
            pairs.extend(zip(tokens[:, 0].tolist(), labels.tolist(), strict=True))
            return super().forward(tokens, labels)

    tokens = torch.arange(12)[:, None].expand(-1, 4).contiguous()
    loss = Recording(Prior(12, 4, 8, 1, 1, classes=12))
    fit(loss, (tokens, torch.arange(12)), Settings(6, 4, 1e-3), tmp_path)
    assert sorted(set(pairs)) == [(number, number) for number in range(12)]
    assert len(pairs) == 24


def test_a_folder_with_a_run_is_not_overwritten_and_an_empty_one_cannot_be_resumed(tmp_path):
    settings = Settings(steps=2, batch_size=2, learning_rate=1e-3)
    loss, tokens = NextTokenLoss(Prior(4, 6, 8, 1, 1)), torch.zeros(4, 6, dtype=torch.int64)
    with pytest.raises(DataError, match="no checkpoint"):
        fit(loss, tokens, settings, tmp_path, resume=True)
    fit(loss, tokens, settings, tmp_path)
    with pytest.raises(DataError, match=r"last\.ckpt holds an earlier run.*--resume, or name another folder"):
        fit(loss, tokens, settings, tmp_path)
    (tmp_path / "last.ckpt").rename(tmp_path / "prior-mine.safetensors")
    with pytest.raises(DataError, match="the weights of a trained model already"):
        fit(loss, tokens, settings, tmp_path)
    with pytest.raises(DataError, match="shared equally"):
        fit(loss, tokens, Settings(steps=2, batch_size=3, learning_rate=1e-3, devices=2), tmp_path / "new")


def test_an_epoch_shows_every_example_once_and_each_epoch_in_another_order():
    settings = Settings(steps=10, batch_size=4, learning_rate=1.0, seed=3)
    seen = torch.cat([training.batch_indices(10, step, settings) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    other = Settings(steps=10, batch_size=4, learning_rate=1.0, seed=4)
    assert training.batch_indices(10, 0, settings).tolist() != training.batch_indices(10, 0, other).tolist()


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    settings = Settings(steps=1000, batch_size=1, learning_rate=2.0)
    rates = [training.learning_rate(step, settings) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(2.0, rel=0.01)
    assert 20 <= rates.index(max(rates)) <= 40
    assert rates[500] == pytest.approx(2.0 * (0.02 + 0.98 / 2), rel=1e-6)  # half way down the cosine
    assert rates[-1] == pytest.approx(0.04, rel=0.01)


def test_a_warm_up_by_hand():
    """Of 100 steps the first three warm up, to 1/3, 2/3 and all of the rate, which a cosine takes down meanwhile."""
    settings = Settings(steps=100, batch_size=1, learning_rate=2.0)
    for step, share in enumerate((1 / 3, 2 / 3, 1.0, 1.0)):
        cosine = (1 + math.cos(math.pi * step / 100)) / 2
        assert training.learning_rate(step, settings) == pytest.approx(2.0 * share * (0.02 + 0.98 * cosine))


def test_each_weight_has_one_optimizer_and_matrices_inside_of_blocks_have_muon():
    loss = NextTokenLoss(Prior(8, 5, 16, 2, 2))
    settings = Settings(steps=10, batch_size=1, learning_rate=0.5)
    adam, muon = optimizers.make_optimizers(loss, settings)
    assert isinstance(muon, optimizers.MatrixMuon)
    names = {parameter: name for name, parameter in loss.named_parameters()}
    by_muon = {names[parameter] for parameter in muon.parameters}
    by_adam = {names[parameter] for group in adam.param_groups for parameter in group["params"]}
    kinds = ("query_key_value", "out", "up", "down")
    assert {name.rsplit(".", 2)[1] for name in by_muon} == set(kinds)
    assert len(by_muon) == 2 * 4
    assert by_adam == set(names.values()) - by_muon
    for optimizer in (adam, muon):
        assert [group["lr"] for group in optimizer.param_groups] == [0.5]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01]
    assert adam.param_groups[0]["betas"] == (0.9, 0.99)
    (alone,) = optimizers.make_optimizers(nn.Linear(2, 2), settings)  # no matrix inside of a block
    assert isinstance(alone, torch.optim.AdamW)


def test_muon_steps_a_convolution_as_torch_steps_its_matrix():
    torch.manual_seed(0)
    convolution = nn.Parameter(torch.randn(4, 3, 3, 3))
    matrix = nn.Parameter(convolution.detach().reshape(4, 27).clone())
    ours = optimizers.MatrixMuon([convolution], 0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for optimizer, parameter in ((ours, convolution), (theirs, matrix)):
            optimizer.zero_grad()
            assert parameter.grad is None
            (parameter.flatten(1) * torch.arange(27)).square().sum().backward()
            optimizer.step()
        assert torch.equal(convolution.flatten(1), matrix)
        convolution.data = convolution.data.clone()  # as if the model had moved to another device
    ours.zero_grad()
    before = convolution.detach().clone()
    ours.step()  # without a gradient nothing moves
    assert torch.equal(convolution, before)


def test_the_losses_by_hand():
    tokens = torch.randint(8, (3, 5))
    prior = Prior(8, 5, 8, 1, 1)
    nn.init.zeros_(prior.head.weight)
    assert NextTokenLoss(prior)(tokens.to(torch.int32)).item() == pytest.approx(3.0)  # 8 equal chances: 3 bits

    for tokenizer in (ImageTokenizer(5, 8, 1, quantizer=BSQ(4)), ImageTokenizer(5, 8, 1, latent_dim=4)):
        images = torch.randint(256, (2, 10, 15, 3), dtype=torch.uint8)
        pixels = images.float() / 255 - 0.5
        error = (tokenizer(pixels)[0] - pixels).square().mean()
        assert torch.allclose(ReconstructionLoss(tokenizer)(images), error)


def test_neighbor_distance_by_hand():
    right, up = [1.0, 0.0], [0.0, 3.0]
    grid = torch.tensor([[[right, right], [up, up]]])
    # Down: both pairs are at a right angle, squared distance 2. To the right: all equal, 0.
    assert training.neighbor_distance(grid).item() == pytest.approx(2.0)
    grid = torch.tensor([[[right, up], [up, up], [right, [-1.0, 0.0]]]])
    # Down: a right angle, equal; a right angle twice. To the right: a right angle, equal, opposite.
    assert training.neighbor_distance(grid).item() == pytest.approx((2 + 0 + 2 + 2) / 4 + (2 + 0 + 4) / 3)
    grid = torch.tensor([[[right, up, up], [right, [5.0, 0.0], [-1.0, 0.0]]]])
    # Down: equal, a right angle twice. To the right: a right angle, equal; equal, opposite, a squared distance of 4.
    assert training.neighbor_distance(grid).item() == pytest.approx((0 + 2 + 2) / 3 + (2 + 0 + 0 + 4) / 4)
    tokenizer, images = ImageTokenizer(5, 8, 1, quantizer=BSQ(4)), torch.randint(256, (2, 10, 15, 3)).byte()
    distance = training.neighbor_distance(tokenizer(images.float() / 255 - 0.5)[1])
    plain, smooth = (ReconstructionLoss(tokenizer, weight)(images).item() for weight in (0.0, 0.5))
    assert smooth == pytest.approx(plain + 0.5 * distance.item())


def test_the_smoothness_term_makes_neighbors_equal_more_often():
    frames = data.load("supertuxkart", "valid")[::64]
    agreements = []
    for smoothness in (0.0, 0.1):
        torch.manual_seed(0)
        tokenizer = ImageTokenizer(10, 16, 1, quantizer=BSQ(6))
        loss = ReconstructionLoss(tokenizer, smoothness)
        optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
        for _ in range(30):
            optimizer.zero_grad()
            loss(frames).backward()
            optimizer.step()
        grid = tokenizer.encode(frames)
        agreements.append((grid[:, :, 1:] == grid[:, :, :-1]).double().mean().item())
    assert agreements[1] > agreements[0] + 0.1


class Spy(nn.Module):
    """Passes on what it is given and remembers every example that it was trained on."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss
        self.model = loss.model
        self.seen: set[bytes] = set()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        assert self.training
        self.seen |= {example.numpy().tobytes() for example in batch}
        return self.loss(batch)


def test_the_loop_trains_on_the_examples_it_is_given_and_on_nothing_else(tmp_path):
    spy = Spy(NextTokenLoss(Prior(256, 4, 8, 1, 1)))
    examples = torch.randint(256, (10, 4), generator=torch.Generator().manual_seed(0))
    validated = []

    def validate() -> dict[str, float]:
        validated.append(spy.training)
        return {"figure": 0.0}

    fit(spy, examples, Settings(5, 4, 1e-3), tmp_path, validate)
    assert spy.seen == {example.numpy().tobytes() for example in examples}
    assert validated == [False] * 5  # called, and in eval mode


def test_the_commands_train_on_no_frame_of_valid_or_unseen(tmp_path, monkeypatch):
    """What each command hands to the loop, against the frames and the tokens of the two held-out splits."""
    given: list[torch.Tensor] = []

    def record(loss, examples, *rest):
        given.append(examples)
        raise KeyboardInterrupt  # before anything is trained

    monkeypatch.setattr(training, "fit", record)
    with pytest.raises(KeyboardInterrupt):
        train_cli.tokenizer("spy", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_cli.autoencoder("spy", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_cli.prior("spy", tmp_path)
    frames = {row.numpy().tobytes() for split in ("valid", "unseen") for row in data.load("supertuxkart", split)}
    tokens = {
        row.flatten().to(torch.int32).numpy().tobytes()
        for split in ("valid", "unseen")
        for row in tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids
    }
    assert [len(examples) for examples in given] == [2 * 7156, 2 * 7156, 7156]
    for examples, held_out in zip(given, (frames, frames, tokens), strict=True):
        for places in torch.arange(len(examples)).split(500):
            assert all(example.numpy().tobytes() not in held_out for example in examples[places])


def test_held_out_examples_are_refused():
    frames = data.load("supertuxkart", "valid")
    mine = torch.zeros(3, 100, 150, 3, dtype=torch.uint8)
    refuse_held_out(mine, frames)
    with pytest.raises(DataError, match="1 of these examples belong to the splits valid or unseen"):
        refuse_held_out(torch.cat([mine, frames[9:10]]), frames)
