"""How to train, and what of it cannot be."""

import math
from dataclasses import dataclass

from arlib.storage import DataError

MOST_SEED = 10**9  # the seeds of a run's steps are made of it, and have to stay below 2^63


@dataclass
class Settings:
    """How to train. The same settings and seed on the same machine give the same curve, however often interrupted."""

    steps: int
    batch_size: int  # over all processes together
    learning_rate: float
    seed: int = 0
    precision: str = "32-true"  # or "bf16-mixed": matrix products in bfloat16, all else in float32
    accelerator: str = "cpu"
    devices: int = 1  # processes of this node (this machine)
    nodes: int = 1  # machines, each with so many devices
    workers: int = 1  # threads that read pictures ahead of training
    checkpoint_seconds: float = 120.0
    validations: int = 20  # how often in the run `validate` is called

    def __post_init__(self):
        for name in ("steps", "batch_size", "devices", "nodes", "workers", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name.replace('_', ' ')} is a number above 0, not {getattr(self, name)}.")
        if not 0 <= self.seed <= MOST_SEED:
            raise DataError(f"The seed lies between 0 and {MOST_SEED:,}, not at {self.seed}.")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise DataError(f"The precision is 32-true or bf16-mixed, not {self.precision}.")
        if self.batch_size % self.processes:
            raise DataError(f"A batch of {self.batch_size} cannot be shared equally by {self.processes} processes.")
        import torch  # here, as options that are refused before need not wait for it

        there = {"cpu": True, "auto": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(self.accelerator):
            raise DataError(
                f"There is no accelerator {self.accelerator!r} here; "
                f"there are {', '.join(name for name in there if there[name])}."
            )

    @property
    def processes(self) -> int:
        """How many share each batch."""
        return self.devices * self.nodes
