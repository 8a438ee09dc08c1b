"""`python -m arlib train …`: the three models of the book, all trained by `arlib.training.fit`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

import arlib
from arlib import checkpoints, data, metrics, tokenset, training
from arlib.cli.report import prior_figures, tokenizer_figures
from arlib.patches import check_divides
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.training import NextTokenLoss, ReconstructionLoss, Settings
from arlib.transformer import Prior

FRAMES = "the SuperTuxKart frames (data/README.md), with the mirror image of each"

app = typer.Typer(help="Train a model; its folder can be watched with TensorBoard and resumed.")

Name = Annotated[str, typer.Option(help="The name of the new model.")]
Out = Annotated[Path, typer.Option(help="The folder for curves, checkpoints and the trained weights.")]
Source = Annotated[str, typer.Option("--data", help="supertuxkart (its train split), or a folder of images.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Precision = Annotated[str, typer.Option(help="32-true, or bf16-mixed for matrix products in bfloat16.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]
Devices = Annotated[int, typer.Option(help="How many processes share each batch.")]


@app.command()
def autoencoder(
    name: Name,
    out: Out,
    patch_size: int = 5,
    latent_dim: Annotated[int, typer.Option(help="How many numbers stand for a patch.")] = 10,
    depth: Annotated[int, typer.Option(help="Residual blocks on each side; 0 is the linear code.")] = 1,
    width: int = 64,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 2e-3,
    seed: int = 0,
    source: Source = "supertuxkart",
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train a patch auto-encoder: a tokenizer without a quantizer."""
    torch.manual_seed(seed)
    model = ImageTokenizer(patch_size, width, depth, latent_dim=latent_dim)
    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    train_on_images("autoencoder", name, ReconstructionLoss(model), source, settings, out, resume)


@app.command()
def tokenizer(
    name: Name,
    out: Out,
    patch_size: int = 5,
    bits: Annotated[int, typer.Option(help="Bits per token, 1 to 18.")] = 10,
    depth: Annotated[int, typer.Option(help="Residual blocks on each side.")] = 2,
    width: int = 128,
    smoothness: Annotated[float, typer.Option(help="How strongly neighbouring patches attract each other.")] = 1e-3,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
    source: Source = "supertuxkart",
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train an image tokenizer with binary spherical quantization."""
    torch.manual_seed(seed)
    model = ImageTokenizer(patch_size, width, depth, quantizer=BSQ(bits))
    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    train_on_images("tokenizer", name, ReconstructionLoss(model, smoothness), source, settings, out, resume)


@app.command()
def prior(
    name: Name,
    out: Out,
    tokens: Annotated[list[Path] | None, typer.Option(help="Data sets of tokens (repeat it); the book's own.")] = None,
    width: int = 128,
    depth: int = 6,
    heads: int = 4,
    positions: Annotated[bool, typer.Option(help="Position embeddings.")] = True,
    shift: Annotated[bool, typer.Option(help="Without the shift, row t reads token t: the classic mistake.")] = True,
    steps: int = 1000,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    resume: Resume = False,
) -> None:
    """Train a causal prior on tokens."""
    sets = [tokenset.read(path) for path in tokens or [data.root() / "tokens" / "train.tokens"]]
    if len({(one.tokenizer, one.bits, one.grids.shape[1:]) for one in sets}) > 1:
        raise data.DataError("These data sets of tokens come from different tokenizers, whose codes mean other things.")
    grids = torch.cat([one.grids for one in sets])
    held_out = tokenset.read(data.root() / "tokens" / "valid.tokens")
    unseen = tokenset.read(data.root() / "tokens" / "unseen.tokens")
    refuse_held_out(grids, torch.cat([held_out.grids, unseen.grids]))

    torch.manual_seed(seed)
    height, columns = grids.shape[1:]
    model = Prior(2 ** sets[0].bits, height * columns, width, depth, heads, positions, shift)
    comparable = sets[0].tokenizer == held_out.tokenizer

    def validate() -> dict[str, float]:
        return {"valid bits per token": metrics.bits(model, held_out.grids.flatten(1)[::8]).mean().item()}

    settings = Settings(steps, batch_size, learning_rate, seed, precision, accelerator, devices)
    examples = grids.flatten(1).to(torch.int32)
    seconds = training.fit(NextTokenLoss(model), examples, settings, out, validate if comparable else None, resume)
    extra = {"tokenizer": f"sha256:{sets[0].tokenizer}", "grid": f"{height}×{columns}"}
    path = save(out, "prior", name, model, **extra)
    figures = prior_figures(arlib.load_prior(str(path)), held_out.grids) if comparable else {}
    write_card(path, model, seconds, settings, figures, "the data sets of tokens that the command names")


def train_on_images(
    kind: str, name: str, loss: ReconstructionLoss, source: str, settings: Settings, out: Path, resume: bool
) -> None:
    """Train on the pictures of `source` and their mirror images; follow the error on valid frames."""
    images = data.load(source, "train") if source == "supertuxkart" else data.load_folder(source)
    held_out = data.load("supertuxkart", "valid")
    refuse_held_out(images, torch.cat([held_out, data.load("supertuxkart", "unseen")]))
    check_divides(images.shape[1], images.shape[2], loss.model.patch_size)

    def validate() -> dict[str, float]:
        some = held_out[::8]
        return {"valid mean squared error": metrics.mse(some, loss.model.reconstruct(some)).mean().item()}

    examples = torch.cat([images, images.flip(2)])
    seconds = training.fit(loss, examples, settings, out, validate, resume)
    path = save(out, kind, name, loss.model)
    stored = checkpoints.load(kind, str(path), ImageTokenizer.from_config)
    learned_from = "pictures of one's own" if source != "supertuxkart" else f"the train split of {FRAMES}"
    write_card(path, loss.model, seconds, settings, tokenizer_figures(stored, held_out), learned_from)


def refuse_held_out(examples: torch.Tensor, held_out: torch.Tensor) -> None:
    """Raise `DataError` where an example is one of the held-out ones: what chooses or reports must not be learned."""
    known = {example.numpy().tobytes() for example in held_out}
    found = sum(example.numpy().tobytes() in known for example in examples)
    if found:
        raise data.DataError(
            f"{found} of these examples belong to the splits valid or unseen, which nothing is trained on. "
            "Train on the split train, or on pictures of your own."
        )


def save(out: Path, kind: str, name: str, model: ImageTokenizer | Prior, **extra: str) -> Path:
    path = out / f"{kind}-{name}.safetensors"
    checkpoints.save(path, kind, model, **extra)
    return path


def write_card(
    path: Path,
    model: ImageTokenizer | Prior,
    seconds: float,
    settings: Settings,
    figures: dict[str, str],
    learned_from: str,
) -> None:
    """The card: how to train the model again, what it learned from, and the figures that the stored file reaches."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    facts = {
        "trained by": f"`python -m arlib {shlex.join(arguments)}`",
        "seed": str(settings.seed),
        "time": f"{seconds / 60:.1f} minutes on a CPU, threads: {torch.get_num_threads()}",
        "parameters": f"{checkpoints.parameter_count(model):,}, stored as float16",
        **figures,
        "learned from": learned_from,
        "licence": "that of the pictures it learned from",
    }
    card = checkpoints.write_card(path, facts)
    print(f"{path}\n{card}")
