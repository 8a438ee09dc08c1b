"""One training loop for every model: Lightning Fabric for devices and precision, checkpoints by time, exact resume.

A batch is a pure function of the seed and the step, so a run that was killed goes on with the very batches it would
have seen, and several processes share the batches that one process would have had.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from arlib import orders, runs
from arlib.data import DataError, write_atomically
from arlib.tokenizer import ImageTokenizer, to_float
from arlib.transformer import Prior

WEIGHT_DECAY = 0.01
LABELS_LEFT_OUT = 0.1
MOST_SEED = 10**9  # the seeds of a run's steps are made of it, and have to stay below 2^63
IN_BLOCKS = tuple(f".{name}.weight" for name in ("query_key_value", "out", "up", "down", "conv", "mix"))


class ReconstructionLoss(nn.Module):
    """Mean squared error of a tokenizer's (or auto-encoder's) reconstruction: `(B, H, W, C) uint8` to a scalar.

    What the quantizer asks for is added, as the commitment of VQ. `smoothness` weighs another term, the distance on the
    sphere between the latents of neighbouring patches. Where a picture leaves the code free, a patch then takes its
    neighbour's: the tokens are easier to predict, and a prior needs fewer bits for them.
    """

    def __init__(self, tokenizer: ImageTokenizer, smoothness: float = 0.0):
        super().__init__()
        self.model = tokenizer
        self.smoothness = smoothness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = to_float(images)
        reconstruction, latent = self.model(pixels)
        loss = F.mse_loss(reconstruction, pixels)
        if self.smoothness:  # a grid of one row has no neighbours: the mean of none of them is NaN, and 0 times NaN too
            loss = loss + self.smoothness * neighbour_distance(latent)
        return loss if self.model.quantizer is None else loss + self.model.quantizer.loss(latent)


def neighbour_distance(latent: torch.Tensor) -> torch.Tensor:
    """Mean squared distance on the unit sphere from each latent to the one above plus to the one at its left."""
    on_sphere = F.normalize(latent, dim=-1)
    down = (on_sphere[:, 1:] - on_sphere[:, :-1]).square().sum(-1).mean()
    right = (on_sphere[:, :, 1:] - on_sphere[:, :, :-1]).square().sum(-1).mean()
    return down + right


class NextTokenLoss(nn.Module):
    """Teacher-forced surprise of a prior in bits per token, a scalar: `(B, T)` tokens of any integer dtype, by place.

    A prior with classes takes `labels (B,)` too; in train mode one in ten is left out, so that the prior learns to do
    without (Ho and Salimans 2022, arXiv 2207.12598). A prior of any order reads every sequence in an order of its own.
    """

    def __init__(self, prior: Prior):
        super().__init__()
        self.model = prior

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        tokens, order = tokens.long(), None
        if labels is not None:
            labels = labels.long()
            if self.training:
                labels = labels.masked_fill(torch.rand(len(labels), device=labels.device) < LABELS_LEFT_OUT, -1)
        if self.model.places is not None:
            order = orders.random(len(tokens), tokens.shape[1]).to(tokens.device)
            tokens = orders.arrange(tokens, order)
        logits = self.model(tokens, order, labels).float()
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten()) / math.log(2)


@dataclass
class Settings:
    """How to train. The same settings and seed on the same machine give the same curve, however often interrupted."""

    steps: int
    batch_size: int  # over all processes together
    learning_rate: float
    seed: int = 0
    precision: str = "32-true"  # or "bf16-mixed": matrix products in bfloat16, all else in float32
    accelerator: str = "cpu"
    devices: int = 1
    checkpoint_seconds: float = 120.0
    validations: int = 20  # how often in the run `validate` is called

    def __post_init__(self):
        for name in ("steps", "batch_size", "devices", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name.replace('_', ' ')} is a number above 0, not {getattr(self, name)}.")
        if not 0 <= self.seed <= MOST_SEED:
            raise DataError(f"The seed lies between 0 and {MOST_SEED:,}, not at {self.seed}.")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise DataError(f"The precision is 32-true or bf16-mixed, not {self.precision}.")
        there = {"cpu": True, "auto": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(self.accelerator):
            raise DataError(
                f"There is no accelerator {self.accelerator!r} here; "
                f"there are {', '.join(name for name in there if there[name])}."
            )


def fit(
    loss: nn.Module,
    examples: torch.Tensor | tuple[torch.Tensor, ...],
    settings: Settings,
    folder: str | Path,
    validate: Callable[[], dict[str, float]] | None = None,
    resume: bool = False,
    moments: Callable[[int], None] | None = None,
) -> float:
    """Train `loss.model` on `examples` (first axis: one example each) and return the seconds it took, all runs counted.

    Several tensors of examples, as pictures and their labels, are what `loss` is called with together. Six times in the
    run `moments(step)` is called, to keep what the model can do by then; its model is in eval mode.
    `folder` receives the curves (TensorBoard) and `last.ckpt`, from which `resume=True` goes on. `validate` gives
    named figures for the curves; its model is in eval mode. Raises `DataError` where the folder holds a run already
    and `resume` was not asked for, or was asked for and there is none.
    """
    if isinstance(examples, torch.Tensor):
        examples = (examples,)
    folder = Path(folder)
    checkpoint, done = folder / runs.CHECKPOINTS[0], 0
    if runs.holds_a_run(folder) != resume:
        raise DataError(
            f"There is no checkpoint {checkpoint} to resume from. Leave --resume out to begin."
            if resume
            else f"{checkpoint} holds an earlier run. Continue it with --resume, or name another folder."
        )
    begun = runs.begun_with(loss, examples, settings)
    found = checkpoint
    if resume:
        found, done = runs.checkpoint_to_resume(folder, begun)
    if not resume and any(folder.glob("*.safetensors")):
        raise DataError(f"{folder} holds the weights of a trained model already. Name another folder.")
    if settings.batch_size % settings.devices:
        raise DataError(f"A batch of {settings.batch_size} cannot be shared equally by {settings.devices} processes.")
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,  # type: ignore[arg-type]
        # What a killed run wrote after its checkpoint is taken off the curves.
        loggers=TensorBoardLogger(folder, name="curves", version="", purge_step=done if resume else None),
    )
    fabric.launch()
    wrapped, *optimizers = fabric.setup(loss, *make_optimizers(loss, settings))
    named = {f"optimizer {number}": optimizer for number, optimizer in enumerate(optimizers)}
    state = {"loss": wrapped, **named, "step": 0, "seconds": 0.0, "begun with": begun}
    if resume:
        fabric.load(found, state)
    saved_at = time.monotonic()
    started = saved_at - state["seconds"]

    alone = runs.alone_in(folder) if fabric.is_global_zero else nullcontext()
    with alone, progress_bar(disable=not fabric.is_global_zero) as progress:
        bar = progress.add_task("training", total=settings.steps, completed=state["step"], loss=math.nan)
        for step in range(state["step"], settings.steps):
            loss.train()
            # What is drawn at random in a step, as an order, is a function of seed and step too.
            torch.manual_seed((settings.seed * 1_000_003 + step) * 1_009 + fabric.global_rank)
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = learning_rate(step, settings)
                optimizer.zero_grad()
            chosen = batch_indices(len(examples[0]), step, settings)[fabric.global_rank :: fabric.world_size]
            value = wrapped(*(fabric.to_device(part[chosen]) for part in examples))
            mean = float(fabric.all_reduce(value.detach(), reduce_op="mean"))  # type: ignore[arg-type]
            if not math.isfinite(mean):
                raise DataError(
                    f"Training diverged: the loss of step {step + 1} is {mean}, and no weights are written. "
                    "Try another folder and a smaller learning rate."
                )
            fabric.backward(value)
            torch.nn.utils.clip_grad_norm_(wrapped.parameters(), max_norm=1.0)
            for optimizer in optimizers:
                optimizer.step()
            done = step + 1
            fabric.log_dict({"loss": mean, "learning rate": learning_rate(step, settings)}, step)
            progress.update(bar, completed=done, loss=mean)
            if validate and fabric.is_global_zero and done % max(1, settings.steps // settings.validations) == 0:
                loss.eval()
                fabric.log_dict(validate(), step)
            if moments and fabric.is_global_zero and done in moment_steps(settings.steps):
                loss.eval()
                moments(done)
            # Every process must take part in a save or none, so the first one's clock decides.
            due = fabric.broadcast(time.monotonic() - saved_at > settings.checkpoint_seconds)
            if due or done == settings.steps:
                saved_at = time.monotonic()
                save_checkpoint(fabric, checkpoint, state | {"step": done, "seconds": saved_at - started})
    loss.eval()
    return time.monotonic() - started


def moment_steps(steps: int) -> list[int]:
    """Six moments of a run, each about three times as late as the one before it, the last at its end."""
    return sorted({max(1, round(steps / 3**power)) for power in range(6)})


def make_optimizers(loss: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov and Hutter 2019), and Muon (Jordan et al. 2024) for the matrices inside of blocks.

    Muon makes the singular values of each update about equal: five Newton-Schulz steps, which torch takes in bfloat16,
    bring all but the smallest to between 0.6 and 1.2. Scaled to AdamW's size (Liu et al. 2025, arXiv 2502.16982) it
    shares its learning rate, and both priors and tokenizers reach the same loss in fewer steps.
    """
    parameters = dict(loss.named_parameters())
    matrices = sorted(name for name in parameters if name.endswith(IN_BLOCKS))
    others = [parameter for name, parameter in parameters.items() if name not in matrices]
    rate = settings.learning_rate
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
    ]
    if matrices:
        optimizers.append(MatrixMuon([parameters[name] for name in matrices], rate))
    return optimizers


class MatrixMuon(torch.optim.Muon):
    """Muon on weights of any shape: a convolution's `(out, in, 3, 3)` is the matrix `(out, in · 9)` that it applies."""

    def __init__(self, parameters: list[nn.Parameter], rate: float):
        self.parameters = parameters
        self.matrices = [nn.Parameter(parameter.detach().view(len(parameter), -1)) for parameter in parameters]
        super().__init__(self.matrices, lr=rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")

    def step(self, closure=None):
        for matrix, parameter in zip(self.matrices, self.parameters, strict=True):
            # Anew each time, as the model may have moved to another device.
            matrix.data = parameter.data.view(len(parameter), -1)
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        return super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for parameter in self.parameters:
            parameter.grad = None


def save_checkpoint(fabric: Fabric, path: Path, state: dict) -> None:
    """Save beside `path` and then move, so that a kill at any moment leaves one whole checkpoint.

    Every process calls this, the first one writes. Raises `DataError` where that fails, as on a full disk.
    """

    def write(partial: Path) -> None:
        fabric.save(partial, state)
        runs.rotate(path.parent)

    if fabric.is_global_zero:
        write_atomically(path, write)
    else:
        fabric.save(path, state)


def batch_indices(count: int, step: int, settings: Settings) -> torch.Tensor:
    """Which examples step `step` sees: each epoch is one seeded shuffle of all of them, `(batch_size,) int64`."""
    places = range(step * settings.batch_size, (step + 1) * settings.batch_size)
    return torch.stack([epoch_order(count, settings.seed, place // count)[place % count] for place in places])


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The shuffle of one epoch, `(count,) int64`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))


def learning_rate(step: int, settings: Settings) -> float:
    """A linear warm-up over the first 3 % of the run, times a cosine from 1 to 0.02 over all of it."""
    share = step / settings.steps
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * min(1.0, (share + 1 / settings.steps) / 0.03) * (0.02 + 0.98 * cosine)


def progress_bar(disable: bool = False) -> Progress:
    """A bar with the steps done, the loss and the time left, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.5f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=disable,
    )
