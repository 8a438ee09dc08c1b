"""What a model can do at six moments of its training, as pictures: in the run's folder, and on TensorBoard's page."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from arlib import data, orders, sampling
from arlib.sharp import SharpDecoder
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior


def keep(out: Path, what: str, images_of: Callable[[], torch.Tensor], columns: int) -> Callable[[int], None]:
    """What `training.fit` calls at its moments: the pictures `(N, H, W, C) uint8`, in rows, become one picture.

    It is out/moments/WHAT-STEP.png, and WHAT on TensorBoard's page of images.
    """

    def write(step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and most commands do without

        page = contact_sheet(images_of(), columns)
        folder = out / "moments"
        folder.mkdir(exist_ok=True)
        data.write_image(folder / f"{what}-{step:07}.png", page)
        with SummaryWriter(str(out / "curves")) as board:
            board.add_image(what, page.numpy(), step, dataformats="HWC")

    return write


def contact_sheet(images: torch.Tensor, columns: int, gap: int = 2) -> torch.Tensor:
    """Pictures `(N, H, W, C) uint8` side by side on white, `columns` in a row: `(H', W', C) uint8`."""
    missing = -len(images) % columns
    framed = F.pad(images, (0, 0, 0, gap, 0, gap, 0, missing), value=255)
    rows = framed.unflatten(0, (-1, columns))
    return rows.transpose(1, 2).flatten(2, 3).flatten(0, 1)[:-gap, :-gap].contiguous()


def reconstructions(out: Path, tokenizer: ImageTokenizer | SharpDecoder, images: torch.Tensor) -> Callable[[int], None]:
    """Ten held-out pictures `(N, H, W, C)`, or four large ones, and under each what the tokenizer makes of it."""
    some = images[: few(images.shape[2])]
    return keep(out, "reconstructions", lambda: torch.cat([some, tokenizer.reconstruct(some)]), len(some))


def samples(out: Path, prior: Prior, tokenizer: ImageTokenizer, grid: tuple[int, ...]) -> Callable[[int], None]:
    """Samples from the same random numbers each time; with classes, each column is one class.

    A prior of any order speaks in a random order, which is the same each time too.
    """
    classes = prior.config.get("classes", 0)
    columns = classes or few(tokenizer.patch_size * (grid[1] if len(grid) > 1 else 1))
    count = 4 * columns if columns > 4 else columns

    def images_of() -> torch.Tensor:
        labels = torch.arange(count) % classes if classes else None
        order = orders.shuffled(prior.length, 0) if prior.config.get("any_order") else None
        tokens = sampling.generate(prior, count, seed=0, order=order, label=labels)
        return tokenizer.decode(orders.unraster(tokens, *grid))

    return keep(out, "samples", images_of, columns)


def few(width: int) -> int:
    """How many pictures of this width stand in a row."""
    return 10 if width < 64 else 4
