"""The price of bits: the context model is causal, a rate is the bits a coder would need, and dear bits are saved."""

import math

import pytest
import torch
from torch import nn

from arlib import rate
from arlib.quantizers import BSQ, VQ, Product
from arlib.rate import ContextModel, RateDistortionLoss
from arlib.tokenizer import ImageTokenizer, to_float


def tokenizer(qualities: int = 2) -> ImageTokenizer:
    torch.manual_seed(0)
    model = ImageTokenizer(5, 16, 1, Product([BSQ(3), BSQ(3)]), refine=1, qualities=qualities)
    if model.dial is not None:
        torch.nn.init.normal_(model.dial)
    return model


def quantizer_of(model: ImageTokenizer) -> Product:
    assert isinstance(model.quantizer, Product)
    return model.quantizer


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randint(256, (count, 20, 30, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_bit_is_guessed_from_what_comes_before_it_alone():
    """Flip one bit: no guess changes of the patches before, of those out of the window, and of the bits up to it."""
    torch.manual_seed(0)
    model = ContextModel(bits=3, qualities=1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    signs = torch.where(torch.rand(1, 3, 6, 7) < 0.5, -1.0, 1.0)
    quality = torch.tensor([0])
    place = {"row": 2, "column": 3, "bit": 1}
    flipped = signs.clone()
    flipped[0, place["bit"], place["row"], place["column"]] *= -1
    changed = (model(signs, quality) - model(flipped, quality))[0].abs() > 1e-6
    expected = torch.zeros(3, 6, 7, dtype=torch.bool)
    expected[:, 3:5, 1:6] = True  # the two rows below, two patches to either side
    expected[:, 2, 4:6] = True  # two patches to the right
    expected[2, 2, 3] = True  # the bits after it in its own patch
    assert torch.equal(changed, expected)


def test_a_rate_is_the_surprise_of_the_signs_in_bits():
    model = tokenizer()
    loss = RateDistortionLoss(model, [1e-3, 1e-4])
    for parameter in loss.context.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    quality = torch.tensor([0, 1])
    images = pictures()
    distortion, bits = loss.measure(to_float(images), quality)
    tokens = model.encode(images, quality)
    signs = quantizer_of(model).decode(tokens).sign().permute(0, 3, 1, 2)
    shares = loss.context(signs, quality).sigmoid()
    surprise = -torch.where(signs > 0, shares, 1 - shares).log2()
    torch.testing.assert_close(bits, surprise.sum(1).mean((1, 2)), rtol=1e-4, atol=1e-4)
    again = model.forward(to_float(images), quality)[0]
    torch.testing.assert_close(distortion, (again - to_float(images)).square().mean((1, 2, 3)))


def test_an_untaught_context_model_asks_a_bit_for_each_bit():
    loss = RateDistortionLoss(tokenizer(), [1e-3, 1e-4])
    for parameter in loss.context.parameters():
        torch.nn.init.zeros_(parameter)
    _, bits = loss.measure(to_float(pictures()), torch.tensor([0, 1]))
    torch.testing.assert_close(bits, torch.full((2,), 6.0))


def test_each_quality_pays_its_price_and_weighs_about_the_same(monkeypatch):
    """The loss by hand: at prices of 4e-3 and 1e-3 the weights are 2^-0.3 and 2^0.3."""
    loss = RateDistortionLoss(tokenizer(), [4e-3, 1e-3])
    monkeypatch.setattr(loss, "measure", lambda *_: (torch.tensor([0.5, 0.25]), torch.tensor([8.0, 16.0])))
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([0, 1]))
    monkeypatch.setattr(rate, "vary", lambda pixels: pixels)
    expected = (2**-0.3 * (0.5 + 0.032) + 2**0.3 * (0.25 + 0.016)) / 2
    assert loss(pictures()).item() == pytest.approx(expected, rel=1e-5)


class Said(nn.Module):
    """A tokenizer that always says the same latents and gives back every picture."""

    def __init__(self, latent: torch.Tensor):
        super().__init__()
        self.latent = latent

    def forward(self, pixels: torch.Tensor, quality: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels, self.latent


def test_the_gradient_of_a_rate_is_that_of_soft_bits():
    """Where each +1 is guessed with the logit 0.5, a bit b costs a constant less b / 2; soft bits are b."""
    loss = RateDistortionLoss(tokenizer(), [1e-3, 1e-4])
    latent = torch.randn(1, 2, 2, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss.model = Said(latent)  # type: ignore[assignment]
    for parameter in loss.context.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        loss.context.guess.bias.fill_(0.5)  # type: ignore[union-attr]
    distortion, bits = loss.measure(torch.zeros(1, 10, 10, 3), torch.tensor([0]))
    assert distortion.item() == 0
    (slope,) = torch.autograd.grad(bits.sum(), latent)
    parts = latent.view(1, 2, 2, 2, 3)
    soft = torch.sigmoid(2 * 3**0.5 * parts / parts.norm(dim=-1, keepdim=True))
    (expected,) = torch.autograd.grad(-0.5 * soft.sum() / 4 / math.log(2), latent)
    torch.testing.assert_close(slope, expected)


def test_a_sign_learns_what_others_are_guessed_from_it():
    """The second bit has the logit of the first one's sign, here +1: more of it, and a second +1 costs less."""
    loss = RateDistortionLoss(tokenizer(), [1e-3, 1e-4])
    for parameter in loss.context.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        loss.context.bits_before[1, 0] = 1.0
    latent = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 6).requires_grad_()
    loss.model = Said(latent)  # type: ignore[assignment]
    _, bits = loss.measure(torch.zeros(1, 5, 5, 3), torch.tensor([0]))
    assert bits.item() == pytest.approx(5 + math.log2(1 + math.exp(-1)))
    (slope,) = torch.autograd.grad(bits.sum(), latent)
    near = 3**0.5 * torch.tensor([1.0, 1.0, 0.0]) / 2**0.5
    wrong = 1 / (1 + math.e)  # how much of the guess is on the other sign
    pull = torch.tensor([-wrong, -2 * torch.sigmoid(2 * near[1]) * torch.sigmoid(-2 * near[1]), 0.0]) / math.log(2)
    unit = near / near.norm()
    expected = 3**0.5 * (pull - unit * (unit * pull).sum()) / 2**0.5  # through the normalization
    torch.testing.assert_close(slope[0, 0, 0, :3], expected)


def test_a_high_price_teaches_the_encoder_to_save_bits():
    """Smooth pictures with a little noise: after the same training the dear setting needs fewer bits than the cheap."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(60, 190, 30).expand(32, 20, 30)[..., None]
    noise = 25 * torch.randn(32, 20, 30, 3, generator=generator)
    images = (ramp + noise).clamp(0, 255).to(torch.uint8)
    loss = RateDistortionLoss(tokenizer(), [3e-2, 1e-5])
    optimizer = torch.optim.AdamW(loss.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss(images[torch.randperm(32, generator=generator)[:8]]).backward()
        optimizer.step()
    with torch.no_grad():
        errors, bits = (
            torch.stack(each)
            for each in zip(*(loss.measure(to_float(images), torch.full((32,), q)) for q in (0, 1)), strict=True)
        )
    assert bits[0].mean() < 0.7 * bits[1].mean()
    assert errors[0].mean() > errors[1].mean()


@pytest.mark.parametrize("prices", [[1e-3], [1e-3, 0.0], [1e-3, math.nan], [1e-3, math.inf], [1e-3, -1.0]])
def test_prices_that_are_none_are_refused(prices):
    with pytest.raises(ValueError, match="price"):
        RateDistortionLoss(tokenizer(), prices)


def test_codes_that_are_no_signs_are_refused():
    model = ImageTokenizer(5, 16, 1, VQ(8, 4), qualities=2)
    with pytest.raises(ValueError, match="signs"):
        RateDistortionLoss(model, [1e-3, 1e-4])


def test_pictures_vary_within_the_range_of_pixels():
    torch.manual_seed(0)
    pixels = to_float(pictures(8))
    seen = [rate.vary(pixels) for _ in range(20)]
    assert all(each.shape == pixels.shape and each.abs().max() <= 0.5 for each in seen)
    assert any(torch.equal(each, pixels) for each in seen) or len({each.sum().item() for each in seen}) > 10
    assert len({each.sum().item() for each in seen}) > 10


def test_a_third_of_the_pictures_gets_other_colors_by_a_third_at_most():
    """Of a flat gray, which enlarging leaves alone, what comes out is the gain of each channel."""
    torch.manual_seed(0)
    gains = torch.cat([rate.vary(torch.full((50, 10, 10, 3), 0.1)) for _ in range(8)]).add(0.5) / 0.6
    each = gains[:, 0, 0]
    torch.testing.assert_close(gains, each[:, None, None].expand_as(gains))
    changed = (each - 1).abs() > 1e-3
    assert 100 < changed.all(1).sum() <= changed.any(1).sum() < 170
    assert 0.7 <= each.min() < 0.71
    assert 1.29 < each.max() < 1.3001
    assert rate.vary(torch.full((50, 10, 10, 3), -0.5)).max() == -0.5  # black stays black


def test_a_third_of_the_batches_is_a_part_enlarged():
    """Of a slope that falls to the right and down, what comes out is less steep, by the share that was cut out."""
    torch.manual_seed(0)
    down, right = torch.meshgrid(torch.arange(40.0) / 40, torch.arange(60.0) / 60, indexing="ij")
    slope = (0.4 * (down + right) - 0.45)[None, :, :, None].expand(1, 40, 60, 3)
    shares, corners = [], []
    for _ in range(400):
        image = rate.vary(slope)
        middle = image[0, 10:30, 15:45]
        rows, columns = middle.diff(dim=0) * 40 / 0.4, middle.diff(dim=1) * 60 / 0.4
        if rows.mean((0, 1)).sub(rows.mean()).abs().max() < 1e-4:  # no other colors, which would differ by channel
            shares.append((rows.mean().item(), columns.mean().item()))
            corners.append((image[0, 3, 3, 0] - slope[0, 3, 3, 0]).item())
    assert 220 < len(shares) < 310
    cut = [(rows, columns) for rows, columns in shares if rows < 0.999 or columns < 0.999]
    assert 0.25 < len(cut) / len(shares) < 0.42
    assert all(0.685 < share < 1.001 for each in cut for share in each)
    assert all(abs(rows - columns) < 0.03 for rows, columns in cut)
    assert min(min(each) for each in cut) < 0.72
    # The part may begin anywhere, from the corner itself to as far as it still fits: 0.3 · 0.4 · 2 of gray.
    assert -0.01 < min(corners) < 0.03
    assert 0.1 < max(corners) < 0.26


def test_curves_show_psnr_and_bits_at_each_setting_as_means_over_pictures():
    loss, images = RateDistortionLoss(tokenizer(), [1e-3, 1e-4]), pictures(35)  # more than are computed at a time
    figures = loss.validate(images)
    assert len(figures) == 4
    for quality in (0, 1):
        with torch.no_grad():
            error, bits = loss.measure(to_float(images), torch.full((35,), quality))
        ratio = sum(-10 * math.log10(each) for each in error.tolist()) / 35
        assert figures[f"quality {quality}: valid PSNR"] == pytest.approx(ratio, rel=1e-4)
        assert figures[f"quality {quality}: valid bits a patch"] == pytest.approx(bits.mean().item(), rel=1e-4)
