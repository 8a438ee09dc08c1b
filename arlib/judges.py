"""A judge: a small classifier of real pictures. It says what class a picture seems to be, and its features measure
how far a set of samples is from a set of real pictures (chapters 13 to 15).

The net is a short residual network (He et al. 2016) in the spirit of David Page's ResNet-9. It has GroupNorm (Wu and
He 2018) where that one has BatchNorm, so it computes in training what it computes afterwards, and a picture's features
do not depend on the pictures next to it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from arlib import checkpoints
from arlib.tokenizer import describe, to_float

BATCH = 100  # how many pictures pass through the net at a time


class Judge(nn.Module):
    """From pictures of `channels` channels and `size` × `size` pixels to logits of `classes` classes.

    `width` is the number of channels of the first convolution; a picture has 4 · `width` features, what the last layer
    before the logits makes of it.
    """

    def __init__(self, channels: int, size: int, classes: int = 10, width: int = 32):
        super().__init__()
        self.channels = channels
        self.size = size
        self.classes = classes
        self.width = width
        self.body = nn.Sequential(
            convolution(channels, width),
            convolution(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(2 * width),
            convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            Residual(8 * width),
            convolution(8 * width, 4 * width, 1),
        )
        self.head = nn.Linear(4 * width, classes)
        self.float()  # whatever torch's default dtype is

    @property
    def config(self) -> dict:
        """What `from_config` needs to build the same net."""
        return {"channels": self.channels, "size": self.size, "classes": self.classes, "width": self.width}

    @classmethod
    def from_config(cls, config: dict) -> "Judge":
        return cls(**config)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(B, H, W, C)` float in [-0.5, 0.5] to logits `(B, classes)`."""
        return self.head(self._features(pixels))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """`(N, H, W, C) uint8` to `(N, 4 · width) float32`; raises `ValueError` for another shape or dtype."""
        return self._judge(images)[0]

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """The class that each picture seems to be: `(N, H, W, C) uint8` to `(N,) int64`; raises as `features`."""
        return self._judge(images)[1].argmax(dim=-1)

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and classes in one pass: `(N, H, W, C) uint8` to `(N, F) float32` and `(N,) int64`."""
        features, logits = self._judge(images)
        return features, logits.argmax(dim=-1)

    @torch.no_grad()
    def _judge(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and logits of all pictures, a few at a time on the judge's device; the result is where they are."""
        shape = (self.size, self.size, self.channels)
        if images.dtype != torch.uint8 or images.shape[1:] != shape or not len(images):
            expected = ", ".join(map(str, shape))
            raise ValueError(f"This judge takes pictures (N, {expected}) uint8, not {describe(images)}.")
        device = self.head.weight.device
        features = [self._features(to_float(batch.to(device))).float() for batch in images.split(BATCH)]
        logits = [self.head(batch) for batch in features]
        return torch.cat(features).to(images.device), torch.cat(logits).to(images.device)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        # The greatest of all places: it learns faster here than the mean does.
        return self.body(pixels.permute(0, 3, 1, 2)).amax(dim=(2, 3))


class Residual(nn.Module):
    """x plus two convolutions of it, `(B, C, h, w)` to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def convolution(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, GroupNorm over groups of eight channels, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.ReLU(),
    )


class ClassificationLoss(nn.Module):
    """Cross-entropy of a judge: pictures `(B, H, W, C) uint8` and classes `(B,) int64` to a scalar in nats.

    In training each picture is moved by up to `shift` pixels either way (what is empty then takes the color of the
    edge), mirrored half of the time where `flips` is set (never for digits: a mirrored 2 is no digit), and the classes
    are smoothed by a tenth (Szegedy et al. 2016).
    """

    def __init__(self, judge: Judge, shift: int = 2, flips: bool = False, smoothing: float = 0.1):
        super().__init__()
        self.model = judge
        self.shift = shift
        self.flips = flips
        self.smoothing = smoothing

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.cross_entropy(self.model(to_float(images)).float(), labels)
        moved = augment(images, self.shift, self.flips)
        return F.cross_entropy(self.model(to_float(moved)).float(), labels, label_smoothing=self.smoothing)


def augment(images: torch.Tensor, shift: int, flips: bool, generator: torch.Generator | None = None) -> torch.Tensor:
    """Each picture of `(B, H, W, C)` moved by up to `shift` pixels, and mirrored half of the time with `flips`."""
    count, height, width = images.shape[:3]
    rows = torch.arange(height) + torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    if flips:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.clamp(0, height - 1).to(images.device), columns.clamp(0, width - 1).to(images.device)
    return images[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def load(name: str) -> Judge:
    """A trained judge by its permanent name ("digits", "cifar10"), its hash or its file (see `checkpoints.load`)."""
    return checkpoints.load("judge", name, Judge.from_config)
