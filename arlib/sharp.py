"""Sharper pictures from the same tokens (chapter 16).

The decoder of a tokenizer that has learned with the squared error paints the mean of all pictures that the tokens could
mean, and a mean is blurred. A `SharpDecoder` leaves that decoder as it is and adds the detail that it lacks: tokens and
files stay what they were, to the bit. Two losses teach it, one with a judge that learns to tell its pictures from real
ones, one with the local statistics of the real ones. No loss that compares pixel with pixel could: the mean is best.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from arlib import checkpoints
from arlib.checkpoints import CheckpointError
from arlib.realism import PatchJudge, blur
from arlib.tokenizer import BATCH, ChannelNorm, ImageTokenizer, describe, to_float, to_uint8

MARGIN = 2  # patches: as far as the plain decoder of `book` looks
COARSE = 2.0  # pixels: what a blur of this sigma keeps is no detail
LARGEST_WEIGHT = 0.05  # of the judge's term; VQGAN's limit of 10,000 never binds
JUDGE_RATE = 2e-3  # the judge's learning rate, to the end


class Detail(nn.Module):
    """What a blurred picture lacks: pixels `(B, C, H, W)` and features `(B, F, H / p, W / p)` to detail `(B, C, H, W)`.

    All of it are 3×3 convolutions of pixels after the patches lie side by side, and the features of the patches are
    drawn apart smoothly. So each pixel is treated like its neighbor, in the middle of a patch or at its edge: where
    pixels and features are constant, detail comes from the grain alone, and a grid of patches is not within reach.
    Grain is noise that the net may shape: what no token knows can be made up of it. Of what the net draws, only what a
    blur takes away is detail: it can't change the colors of a surface. At first all detail is 0.
    """

    def __init__(self, features: int = 128, width: int = 32, depth: int = 2, channels: int = 3):
        super().__init__()
        self.config = {"features": features, "width": width, "depth": depth, "channels": channels}
        self.look = nn.Conv2d(channels + 1, width, 3, padding=1)
        self.ask = nn.Conv2d(features, width, 1)
        self.layers = nn.ModuleList([_layer(width) for _ in range(depth)])
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.float()  # whatever torch's default dtype is

    def forward(self, pixels: torch.Tensor, features: torch.Tensor, grain: torch.Tensor | None = None) -> torch.Tensor:
        """The grain is `(B, 1, H, W)`: by default new in each step of training, else always the same."""
        if grain is None:
            fixed = fixed_grain(pixels)
            grain = torch.randn(fixed.shape, dtype=pixels.dtype, device=pixels.device) if self.training else fixed
        asked = F.interpolate(self.ask(features), pixels.shape[2:], mode="bilinear")
        x = self.look(torch.cat([pixels, grain], dim=1)) + asked
        for layer in self.layers:
            x = x + layer(x)
        drawn = self.last(x)
        return drawn - blur(drawn, COARSE)


def _layer(width: int) -> nn.Sequential:
    """What a `ResidualBlock` adds, under other names: `training` would use Muon for its matrices, whose steps are large
    however small the gradients are, and the game with the judge goes round in circles."""
    return nn.Sequential(
        ChannelNorm(width), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 1)
    )


def fixed_grain(pixels: torch.Tensor) -> torch.Tensor:
    """White noise for pictures `(B, C, H, W)`, always the same: `(B, 1, H, W)`."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, *pixels.shape[2:], generator=generator, dtype=torch.float32)
    return noise.to(pixels).expand(len(pixels), -1, -1, -1)


class SharpDecoder(nn.Module):
    """A tokenizer and the detail that its pictures lack: `decode` of the same tokens, as sharp as is asked for."""

    def __init__(self, tokenizer: ImageTokenizer, detail: Detail):
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False)
        self.detail = detail

    @torch.no_grad()
    def plain(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens to the plain picture `(B, C, H, W)`, in [-0.5, 0.5], and the features `(B, F, h, w)` behind it."""
        assert self.tokenizer.quantizer is not None
        *layers, paint = self.tokenizer.decoder
        features = self.tokenizer.quantizer.decode(tokens).permute(0, 3, 1, 2)
        for layer in layers:
            features = layer(features)
        return paint(features), features

    @torch.no_grad()
    def decode(self, tokens: torch.Tensor, sharp: float = 1.0) -> torch.Tensor:
        """Tokens `(B, h, w) int64` to pictures `(B, H, W, C) uint8`, mixed of the plain ones and the sharp ones.

        `sharp` is the share of the sharp ones: 0 is exactly what the tokenizer decodes, 1 has all of the detail. Pixels
        are mixed before they are rounded. Raises `ValueError` for another share, and as `ImageTokenizer.decode` does.
        """
        check_share(sharp)
        plain = self.tokenizer.decode(tokens)  # also refuses what are no tokens
        if sharp == 0:
            return plain
        parts = [self.plain(batch) for batch in tokens.split(BATCH)]
        mixed = [pixels + sharp * self.detail(pixels, features) for pixels, features in parts]
        return torch.cat([to_uint8(pixels.permute(0, 2, 3, 1)) for pixels in mixed])

    def reconstruct(self, images: torch.Tensor, sharp: float = 1.0) -> torch.Tensor:
        """`(B, H, W, C) uint8` to the same, by way of the tokens."""
        return self.decode(self.tokenizer.encode(images), sharp)


def check_share(sharp: float) -> None:
    """Raise `ValueError` unless it is a share between 0 and 1."""
    if not 0 <= sharp <= 1:  # a NaN is not either
        raise ValueError(f"How sharp is a number between 0 (plain) and 1, not {sharp}.")


def mix(plain: torch.Tensor, sharp: torch.Tensor, share: float) -> torch.Tensor:
    """Pictures between two decodings of the same tokens: `(N, H, W, C) uint8` twice to the same, `share` of `sharp`.

    All trade-offs between error and realism lie on such a line (Yan et al. 2021). Raises `ValueError` for a share
    outside 0 to 1, or for pictures that do not match.
    """
    check_share(share)
    if plain.shape != sharp.shape or plain.dtype != torch.uint8 or sharp.dtype != torch.uint8:
        raise ValueError(f"Only like pictures can be mixed, uint8, not {describe(plain)} and {describe(sharp)}.")
    return to_uint8(torch.lerp(to_float(plain), to_float(sharp), share))


class SharpLoss(nn.Module):
    """What the two losses share: they take tokens `(B, h, w)` and their originals `(B, H, W, C) uint8`.

    In training they look at `side`×`side` patches of each picture, somewhere. The plain decoder is given `MARGIN` more
    on each side, so what it paints inside is what it paints in the whole picture.
    """

    def __init__(self, decoder: SharpDecoder, side: int = 12):
        super().__init__()
        self.model = decoder
        self.side = side

    def pictures(self, tokens: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The sharp pictures and the originals, both `(B, C, H, W)` float."""
        patch, edge, real = self.model.tokenizer.patch_size, 0, to_float(images).permute(0, 3, 1, 2)
        size = self.side + 2 * MARGIN
        if self.training and size <= min(tokens.shape[1:]):
            row, column = (int(torch.randint(length - size + 1, ())) for length in tokens.shape[1:])
            tokens = tokens[:, row : row + size, column : column + size]
            real = real[:, :, row * patch : (row + size) * patch, column * patch : (column + size) * patch]
            edge = MARGIN
        pixels, features = self.model.plain(tokens.long())
        pixels, real, features = inside(pixels, edge * patch), inside(real, edge * patch), inside(features, edge)
        return pixels + self.model.detail(pixels, features), real


def inside(maps: torch.Tensor, edge: int) -> torch.Tensor:
    """`(B, C, H, W)` without `edge` rows and columns on each side."""
    return maps[:, :, edge : maps.shape[2] - edge, edge : maps.shape[3] - edge]


class AdversarialLoss(SharpLoss):
    """A judge and a decoder that play against each other.

    The losses are hinges. In each step the judge learns first, with an optimizer of its own: it must keep up while the
    decoder's learning rate falls, or the decoder slides back to the blur. For the first `alone` steps only the
    judge learns, so that the decoder never follows one that knows nothing yet. The decoder's term is weighed by
    VQGAN's rule (Esser et al. 2021), as strong as the error, measured by their gradients at the last layer, times
    `strength`; above `LARGEST_WEIGHT` it is cut off. One process alone trains with it.
    """

    def __init__(self, decoder: SharpDecoder, strength: float = 4.0, alone: int = 100, side: int = 12):
        super().__init__(decoder, side)
        self.judge = PatchJudge(period=decoder.tokenizer.patch_size)
        self.optimizer = torch.optim.AdamW(self.judge.parameters(), lr=JUDGE_RATE, betas=(0.5, 0.9))
        self.strength = strength
        self.alone = alone
        self.steps = 0

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        fake, real = self.pictures(tokens, images)
        if self.training:
            self.teach(fake.detach(), real)
            self.steps += 1
        error = F.l1_loss(fake, real)
        if self.steps <= self.alone:
            return 0 * error
        constants = {name: weight.detach() for name, weight in self.judge.named_parameters()}
        deceiving = -torch.func.functional_call(self.judge, constants, fake).mean()
        return error + balance(error, deceiving, self.model.detail.last.weight, self.strength) * deceiving

    def teach(self, fake: torch.Tensor, real: torch.Tensor) -> None:
        """One step of the judge: above 1 for what is real, below -1 for what is not."""
        judged_real, judged_fake = self.judge(torch.cat([real, fake])).chunk(2)
        (F.relu(1 - judged_real).mean() + F.relu(1 + judged_fake).mean()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def get_extra_state(self) -> dict:
        """What a checkpoint needs beyond the weights, so that a resumed run goes on exactly."""
        return {"steps": self.steps, "optimizer": self.optimizer.state_dict()}

    def set_extra_state(self, state: dict) -> None:
        self.steps = state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])


def balance(error: torch.Tensor, other: torch.Tensor, last: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """The weight that makes the gradient of `other` at the last layer `strength` times as long as the error's.

    `last` are that layer's weights; `LARGEST_WEIGHT` is the most.
    """
    lengths = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, other)]
    return (strength * lengths[0] / (lengths[1] + 1e-4)).clamp(max=LARGEST_WEIGHT).detach()


class StatisticsLoss(SharpLoss):
    """The error plus, `strength` times, the distance of local statistics.

    What filters respond to edges and textures is compared as sets, within windows of `window`×`window` patches: which
    values there are counts, where they are does not. The distance of two sets of numbers is the mean difference after
    sorting, the Wasserstein distance in one dimension; the filters are new random ones in each step, so it is a sliced
    one of small neighborhoods (as in texture synthesis, Heitz et al. 2021). Fixed filters would be deceived by
    patterns that they do not see. The columns, or rows, of each phase in the grid of patches are a set of their own:
    else a grid could hide in the window.
    """

    def __init__(self, decoder: SharpDecoder, strength: float = 8.0, window: int = 3, side: int = 12):
        super().__init__(decoder, side)
        self.strength = strength
        self.window = window

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        fake, real = self.pictures(tokens, images)
        patch = self.model.tokenizer.patch_size
        down, across, turned = (int(torch.randint(high, ())) for high in (patch, patch, 2))
        filters = random_filters(fake.shape[1]).to(fake)
        maps = [responses(each, filters)[:, :, down:, across:] for each in (fake, real)]
        sets = [phase_sets(each.mT if turned else each, self.window, patch).sort(dim=-1).values for each in maps]
        return F.l1_loss(fake, real) + self.strength * F.l1_loss(sets[0], sets[1])


def random_filters(channels: int, count: int = 8, side: int = 5) -> torch.Tensor:
    """`(count, channels, side, side)`: random directions of length 1 that do not see brightness."""
    filters = torch.randn(count, channels, side, side)
    filters -= filters.mean(dim=(1, 2, 3), keepdim=True)
    return filters / filters.flatten(1).norm(dim=1)[:, None, None, None]


def responses(pixels: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """What filters `(F, C, s, s)` find in three bands of pixels `(B, C, H, W)`: `(B, 3 F, H - s + 1, W - s + 1)`."""
    levels = [pixels, *(blur(pixels, sigma) for sigma in (0.7, 1.4, 2.8))]
    return torch.cat([F.conv2d(fine - coarse, filters) for fine, coarse in itertools.pairwise(levels)], dim=1)


def phase_sets(maps: torch.Tensor, window: int, patch: int) -> torch.Tensor:
    """`(B, C, H, W)` cut into squares of `window`×`window` patches, and each into columns that are a patch apart.

    `(B, C, squares, patch, window² · patch)`; what is left over at the right and below is dropped.
    """
    side = window * patch
    rows, columns = maps.shape[2] // side, maps.shape[3] // side
    maps = maps[:, :, : rows * side, : columns * side].reshape(*maps.shape[:2], rows, side, columns, window, patch)
    return maps.permute(0, 1, 2, 4, 6, 3, 5).flatten(5).flatten(2, 3)


def load(name: str, weights: str | None = None) -> SharpDecoder:
    """A sharp decoder by its permanent name ("book-adversarial"), its hash or its file, with its own tokenizer.

    `weights` is the name, hash or path of the tokenizer whose tokens are to be decoded. Raises `CheckpointError` where
    the decoder was made for another, and as `checkpoints.load` does.
    """
    wanted = checkpoints.read_header(checkpoints.find("decoder", name))["tokenizer"]
    path = checkpoints.find("tokenizer", weights or wanted)
    if f"sha256:{checkpoints.sha256(path)}" != wanted:
        raise CheckpointError(f"The decoder {name} was made for the tokens of another tokenizer than {path.stem}.")
    tokenizer = checkpoints.load("tokenizer", str(path), ImageTokenizer.from_config)
    return SharpDecoder(tokenizer, checkpoints.load("decoder", name, lambda config: Detail(**config))).eval()
