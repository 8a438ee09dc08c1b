"""`python -m arlib train sharp`: a decoder that paints more detail from the same tokens."""

from typing import Annotated

import typer

from arlib.cli.options import Name, Out, Resume, Size, takes_settings
from arlib.settings import Settings
from arlib.storage import DataError

LEARNED_FROM = "the train split of the SuperTuxKart frames (data/README.md)"


def checked_loss(loss: str) -> str:
    """The loss, if there is one of that name; else `DataError`, before any work begins."""
    if loss not in ("adversarial", "statistics"):
        raise DataError(f"The loss is adversarial or statistics, not {loss}.")
    return loss


@takes_settings(steps=2000, batch_size=8, learning_rate=1e-3, many=False)
def train(
    name: Name,
    out: Out,
    loss: Annotated[str, typer.Option(help="What makes it sharp: adversarial or statistics.", callback=checked_loss)],
    tokenizer: Annotated[str, typer.Option(help="Whose tokens it decodes; it stays as it is.")] = "book",
    strength: Annotated[float | None, typer.Option(help="How much sharpness counts next to the error.")] = None,
    depth: Annotated[int, typer.Option(help="Residual blocks, each of a 3×3 convolution of pixels.")] = 2,
    width: Size = 24,
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train a sharp decoder: what a tokenizer's own decoder blurs, learned from the frames."""
    import torch

    import arlib
    from arlib import checkpoints, data, metrics, realism, sharp, training
    from arlib.cli import cards, moments
    from arlib.cli.sharpening import JUDGED, figures_of
    from arlib.sharp import AdversarialLoss, Detail, SharpDecoder, StatisticsLoss

    weights = checkpoints.find("tokenizer", tokenizer)
    plain = arlib.load_tokenizer(str(weights))
    torch.manual_seed(settings.seed)
    model = SharpDecoder(plain, Detail(plain.width, width, depth, plain.channels))
    kind = AdversarialLoss if loss == "adversarial" else StatisticsLoss
    chosen = kind(model) if strength is None else kind(model, strength)
    images, held_out = (data.load("supertuxkart", split) for split in ("train", "valid"))
    few = held_out[::JUDGED]
    tokens = plain.encode(images).to(torch.int32)

    def validate() -> dict[str, float]:
        pictures = model.reconstruct(few)
        error = metrics.mse(few, pictures).mean().item()
        return {"valid mean squared error": error, "valid patch distance": realism.patch_distance(pictures, few)}

    keep = moments.reconstructions(out, model, few)
    seconds = training.fit(chosen, (tokens, images), settings, out, validate, resume, keep)
    path = cards.save(out, "decoder", name, model.detail, tokenizer=f"sha256:{checkpoints.sha256(weights)}")
    figures = figures_of(sharp.load(str(path)), images, held_out)
    cards.write(path, model.detail, seconds, settings, figures, LEARNED_FROM, "supertuxkart")
