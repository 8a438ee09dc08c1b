"""`python -m arlib train sharp`, and what `decompress --sharp` does: more detail in the pictures of the same tokens."""

from collections.abc import Sequence
from typing import Annotated

import torch
import typer

import arlib
from arlib import checkpoints, data, metrics, realism, sharp, training
from arlib.cli import cards, moments
from arlib.cli.options import Name, Out, Resume, Size, takes_settings
from arlib.codec import Codec, CodecError
from arlib.data import DataError
from arlib.settings import Settings
from arlib.sharp import AdversarialLoss, Detail, SharpDecoder, StatisticsLoss

JUDGED = 8  # the judge of the card learns from every eighth picture
LEARNED_FROM = "the train split of the SuperTuxKart frames (data/README.md)"
LOSSES = {"adversarial": AdversarialLoss, "statistics": StatisticsLoss}


@takes_settings(steps=2000, batch_size=8, learning_rate=1e-3, many=False)
def train(
    name: Name,
    out: Out,
    loss: Annotated[str, typer.Option(help="What makes it sharp: adversarial or statistics.")],
    tokenizer: Annotated[str, typer.Option(help="Whose tokens it decodes; it stays as it is.")] = "book",
    strength: Annotated[float | None, typer.Option(help="How much sharpness counts next to the error.")] = None,
    depth: Annotated[int, typer.Option(help="Residual blocks, each of a 3×3 convolution of pixels.")] = 2,
    width: Size = 24,
    resume: Resume = False,
    *,
    settings: Settings,
) -> None:
    """Train a sharp decoder: what a tokenizer's own decoder blurs, learned from the frames."""
    if loss not in LOSSES:
        raise DataError(f"The loss is {' or '.join(LOSSES)}, not {loss}.")
    weights = checkpoints.find("tokenizer", tokenizer)
    plain = arlib.load_tokenizer(str(weights))
    torch.manual_seed(settings.seed)
    model = SharpDecoder(plain, Detail(plain.width, width, depth, plain.channels))
    chosen = LOSSES[loss](model) if strength is None else LOSSES[loss](model, strength)
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


def figures_of(decoder: SharpDecoder, images: torch.Tensor, held_out: torch.Tensor) -> dict[str, str]:
    """Error and realism of the held-out pictures; `images` are what a fresh judge learns from."""
    some, again = images[::JUDGED], decoder.reconstruct(held_out)
    lines = realism.grid_lines(again)
    judged = realism.fresh_judge(decoder.reconstruct(some), some, again, held_out)
    floor = realism.halves(held_out, held_out)
    return {
        "valid PSNR": f"{metrics.psnr(held_out, again).mean():.2f} dB (mean over pictures)",
        "valid SSIM": f"{metrics.ssim(held_out, again).mean():.3f}",
        "valid power by octave": ", ".join(f"{power:.2f}" for power in realism.octaves(again, held_out))
        + " (of the originals', from coarse to fine)",
        "valid lines of the grid": f"{lines[0].max():.2f} across, {lines[1].max():.2f} down (no line is 1)",
        "valid patch distance": f"{realism.halves(again, held_out):.4f} (two halves of the originals: {floor:.4f})",
        "valid fresh judge": f"{judged:.3f} of places right (0.5 is the goal)",
    }


def decoder_for(model: str, tokenizer: str | None, decoder: str) -> SharpDecoder:
    """The sharp decoder of that name for the tokens of a prior. Raises `CheckpointError` where it is for others."""
    weights = tokenizer or checkpoints.read_header(checkpoints.find("prior", model))["tokenizer"]
    return sharp.load(decoder, weights)


def decompress(
    codec: Codec, files: Sequence[bytes], decoder: SharpDecoder | None, share: float
) -> Sequence[torch.Tensor | CodecError]:
    """Files to their pictures, each `(H, W, C) uint8` or a `CodecError`, by the codec's decoder or a sharper one."""
    if decoder is None:
        return codec.decompress_batch(files)
    grids = codec.decompress_tokens_batch(files)
    return [grid if isinstance(grid, CodecError) else decoder.decode(grid[None], share)[0] for grid in grids]
