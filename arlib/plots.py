"""The book's figures: one look for all, readable on a light and on a dark page."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#7a7f87"  # a gray that stands out from white and from black
COLORS = ["#3b82c4", "#e07b39", "#3f9c6b", "#b25fb0", "#c94f4f", "#8a7f3d"]


def use_style() -> None:
    """Make matplotlib draw as this book does: transparent ground, gray ink, few lines."""
    plt.rcParams.update(
        {
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.dpi": 110,
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.titlesize": "medium",
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "image.interpolation": "nearest",
        }
    )


def show_images(images: torch.Tensor, titles: Sequence[str] = (), columns: int = 4, width: float = 8.0) -> Figure:
    """Pictures `(N, H, W, 3) uint8` side by side, `columns` in a row, a title above each."""
    use_style()
    rows = -(-len(images) // columns)
    height, image_width = images.shape[1:3]
    title_room = 0.28 if titles else 0.0
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, rows * (width / columns * height / image_width + title_room)),
        squeeze=False,
    )
    for number, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if number < len(images):
            axis.imshow(images[number].numpy())
            if number < len(titles):
                axis.set_title(titles[number])
    return figure


def show_tokens(grid: torch.Tensor, axis: Axes, codebook_size: int) -> None:
    """A grid of tokens `(h, w)`, each token in a color of its own: equal colors are equal tokens."""
    colors = np.random.default_rng(0).uniform(0.1, 0.95, (codebook_size, 3))
    axis.imshow(colors[grid.numpy()])
    axis.set_axis_off()
