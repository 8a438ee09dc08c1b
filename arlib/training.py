"""One training loop for every model: Lightning Fabric for devices and precision, checkpoints by time, exact resume.

A batch is a pure function of the seed and the step, so a run that was killed goes on with the very batches it would
have seen, and several processes share the batches that one process would have had.
"""

import contextlib
import math
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from arlib import runs
from arlib.folders import Examples
from arlib.losses import NextTokenLoss as NextTokenLoss
from arlib.losses import ReconstructionLoss as ReconstructionLoss
from arlib.losses import neighbor_distance as neighbor_distance
from arlib.optimizers import learning_rate, make_optimizers
from arlib.settings import MOST_SEED as MOST_SEED
from arlib.settings import Settings as Settings
from arlib.storage import DataError, write_atomically

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fit(
    loss: nn.Module,
    examples: Examples | tuple[Examples, ...],
    settings: Settings,
    folder: str | Path,
    validate: Callable[[], dict[str, float]] | None = None,
    resume: bool = False,
    moments: Callable[[int], None] | None = None,
) -> float:
    """Train `loss.model` on `examples` (first axis: one example each) and return the seconds it took, all runs counted.

    Several tensors of examples, as pictures and their labels, are what `loss` is called with together. What is read
    from files (`folders.Folder`) is read ahead, by `settings.workers` threads. Six times in the run `moments(step)` is
    called, to keep what the model can do by then; its model is in eval mode.
    `folder` receives the curves (TensorBoard) and `last.ckpt`, from which `resume=True` goes on. `validate` gives
    named figures for the curves; its model is in eval mode. Raises `DataError` where the folder holds a run already
    and `resume` was not asked for, or was asked for and there is none.
    """
    examples = examples if isinstance(examples, tuple) else (examples,)
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
    fabric = make_fabric(settings, folder, done if resume else None)
    fabric.launch()
    wrapped, *optimizers = fabric.setup(loss, *make_optimizers(loss, settings))
    named = {f"optimizer {number}": optimizer for number, optimizer in enumerate(optimizers)}
    state = {"loss": wrapped, **named, "step": 0, "seconds": 0.0, "begun with": begun}
    if resume:
        fabric.load(found, state)
    saved_at = time.monotonic()
    started = saved_at - state["seconds"]

    def shares() -> Iterator[torch.Tensor]:
        """What this process sees of each step's batch."""
        for step in range(state["step"], settings.steps):
            yield batch_indices(len(examples[0]), step, settings)[fabric.global_rank :: fabric.world_size]

    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(runs.alone_in(folder))
        if fabric.world_size > 1:
            stack.enter_context(together())
        progress = stack.enter_context(progress_bar(disable=not fabric.is_global_zero))
        bar = progress.add_task("training", total=settings.steps, completed=state["step"], loss=math.nan)
        batches = stack.enter_context(contextlib.closing(read_ahead(examples, shares(), settings.workers)))
        for step, batch in enumerate(batches, state["step"]):
            loss.train()
            # What is drawn at random in a step, as an order, is a function of seed and step too.
            torch.manual_seed((settings.seed * 1_000_003 + step) * 1_009 + fabric.global_rank)
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = learning_rate(step, settings)
                optimizer.zero_grad()
            value = wrapped(*(fabric.to_device(part) for part in batch))
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


def make_fabric(settings: Settings, folder: Path, resumed_at: int | None) -> "Fabric":
    """What Lightning Fabric needs to know of a run: its processes, its numbers, and where its curves go."""
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import TensorBoardLogger

    return Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="ddp" if settings.processes > 1 else "auto",
        precision=settings.precision,  # type: ignore[arg-type]
        # What a killed run wrote after its checkpoint is taken off the curves.
        loggers=TensorBoardLogger(folder, name="curves", version="", purge_step=resumed_at),
    )


def first_process() -> bool:
    """Whether this is the process that writes: of those that train together, the first one."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Say in words that another process of this run has died: its neighbors only see a closed connection."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL", "onnection", "imed out", "imeout")):
            raise
        reason = re.sub(r"^\[.*?\] ", "", str(error)).split(". ")[0]  # without the place in another library's source
        raise DataError(
            f"Another process of this run has ended or cannot be reached ({reason}). "
            "Once all can be, --resume goes on from the last checkpoint, with as many processes as there are then."
        ) from None


def read_ahead(
    examples: tuple[Examples, ...], choices: Iterable[torch.Tensor], workers: int
) -> Generator[tuple[torch.Tensor, ...]]:
    """The batches that `choices` ask for, in their order, while threads read the next ones.

    Pillow decodes and scales outside Python's global lock, so threads are enough.
    """
    # The setting is each thread's own. Without it every reader has a team of threads, whose spinning halves the speed.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque = deque()
    try:
        for chosen in choices:
            waiting.append(pool.submit(lambda chosen: tuple(part[chosen] for part in examples), chosen))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def moment_steps(steps: int) -> list[int]:
    """Six moments of a run, each about three times as late as the one before it, the last at its end."""
    return sorted({max(1, round(steps / 3**power)) for power in range(6)})


def save_checkpoint(fabric: "Fabric", path: Path, state: dict) -> None:
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
