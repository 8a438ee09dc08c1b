"""What `train sharp` measures, and what `decompress --sharp` does: more detail in the pictures of the same tokens."""

from collections.abc import Sequence

import torch

from arlib import checkpoints, metrics, realism, sharp
from arlib.codec import Codec, CodecError
from arlib.sharp import SharpDecoder

JUDGED = 8  # the judge of the card learns from every eighth picture


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
