"""What a trained model is kept with: its weights file and its card."""

import resource
import shlex
import sys
from pathlib import Path

import torch

from arlib import checkpoints
from arlib.judges import Judge
from arlib.settings import Settings
from arlib.sharp import Detail
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

Model = ImageTokenizer | Prior | Judge | Detail

LEARNED_FROM = {
    "supertuxkart": "the train split of the SuperTuxKart frames (data/README.md), with the mirror image of each",
    "digits": "the train split of MNIST (LeCun, Cortes and Burges 1998; data/README.md)",
    "cifar10": "the train split of CIFAR-10 (Krizhevsky 2009; data/README.md), with the mirror image of each",
}
LICENSES = {
    "digits": "CC BY-SA 3.0, that of MNIST",
    "cifar10": "trained on CIFAR-10 (Krizhevsky 2009), whose pictures have no license",
}


def weights_path(out: Path, kind: str, name: str) -> Path:
    """Where the weights of a new model go."""
    return out / f"{kind}-{name}.safetensors"


def save(out: Path, kind: str, name: str, model: Model, **extra: str) -> Path:
    """Write the weights of a trained model into its folder; `extra` joins the header."""
    path = weights_path(out, kind, name)
    checkpoints.save(path, kind, model, **extra)
    return path


def write(
    path: Path,
    model: Model,
    seconds: float,
    settings: Settings,
    figures: dict[str, str],
    learned_from: str,
    source: str | None = None,
) -> None:
    """The card: how to train the model again, what it learned from, and the figures that the stored file reaches.

    `source` is the data set behind it, whose license holds, or None where there is no named one.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    facts = {
        "trained by": f"`python -m arlib {shlex.join(arguments)}`",
        "seed": str(settings.seed),
        "time": f"{seconds / 60:.1f} minutes on {machine(model)}",
        "memory": f"{peak_memory() / 1e9:.1f} GB at most, pictures and all",
        "parameters": f"{checkpoints.parameter_count(model):,}, stored as float16",
        **figures,
        "learned from": learned_from,
        "license": LICENSES.get(source or "", "that of the pictures it learned from"),
    }
    card = checkpoints.write_card(path, facts)
    print(f"{path}\n{card}\n{settings.steps * settings.batch_size / seconds:,.1f} examples a second")


def peak_memory() -> int:
    """The most memory that this process has held at once, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(model: torch.nn.Module) -> str:
    """Where the model was trained, in words."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return f"a GPU ({torch.cuda.get_device_name(device)})"
    return f"a CPU, threads: {torch.get_num_threads()}" if device.type == "cpu" else f"an accelerator ({device.type})"
