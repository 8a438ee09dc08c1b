"""Sharp decoders: the plain picture stays what it was, detail has no grid, and both losses teach what they say."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage  # type: ignore[import-untyped]
from torch import nn

from arlib import sharp, training
from arlib.quantizers import BSQ
from arlib.realism import blur
from arlib.sharp import AdversarialLoss, Detail, SharpDecoder, StatisticsLoss
from arlib.tokenizer import ImageTokenizer, to_float
from arlib.training import Settings


def some_decoder(patch_size: int = 5) -> SharpDecoder:
    """An untrained decoder whose detail is not 0 any more."""
    torch.manual_seed(0)
    decoder = SharpDecoder(ImageTokenizer(patch_size, 16, 1, BSQ(6)), Detail(features=16, width=8, depth=1))
    torch.nn.init.normal_(decoder.detail.last.weight, std=0.05)
    return decoder.eval()


def some_tokens(count: int = 3, side: int = 16) -> torch.Tensor:
    return torch.randint(64, (count, side, side), generator=torch.Generator().manual_seed(1))


def some_pictures(count: int = 3, side: int = 80) -> torch.Tensor:
    return torch.randint(256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def test_a_new_decoder_is_the_plain_one():
    decoder = SharpDecoder(ImageTokenizer(5, 16, 1, BSQ(6)), Detail(features=16, width=8, depth=1))
    assert torch.equal(decoder.decode(some_tokens()), decoder.tokenizer.decode(some_tokens()))


def test_the_slider_goes_from_the_plain_picture_to_the_sharp_one():
    decoder, tokens = some_decoder(), some_tokens()
    plain, half, whole = (decoder.decode(tokens, share) for share in (0, 0.5, 1))
    assert torch.equal(plain, decoder.tokenizer.decode(tokens))
    pixels, features = decoder.plain(tokens)
    detailed = ((pixels + decoder.detail(pixels, features) + 0.5) * 255).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert torch.equal(whole, detailed.to(torch.uint8))
    assert (whole.int() - plain.int()).abs().float().mean() > 3
    assert torch.equal(sharp.mix(plain, whole, 0), plain)
    assert torch.equal(sharp.mix(plain, whole, 1), whole)
    # Where nothing was clipped, half way is half way, but for the rounding of both.
    inner = (detailed > 0).logical_and(detailed < 255) & (plain > 0) & (plain < 255)
    assert ((plain.int() + whole.int() - 2 * half.int()).abs()[inner] <= 2).all()
    assert ((plain.int() + whole.int() - 2 * sharp.mix(plain, whole, 0.5).int()).abs() <= 1).all()


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan, math.inf])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match="between 0"):
        some_decoder().decode(some_tokens(), share)
    with pytest.raises(ValueError, match="between 0"):
        sharp.mix(some_pictures(), some_pictures(), share)


def test_only_pictures_alike_are_mixed_and_only_tokens_are_decoded():
    with pytest.raises(ValueError, match="like pictures"):
        sharp.mix(some_pictures(), some_pictures(2), 0.5)
    with pytest.raises(ValueError, match="like pictures"):
        sharp.mix(some_pictures(), some_pictures().float(), 0.5)
    with pytest.raises(ValueError, match="Tokens lie in"):
        some_decoder().decode(some_tokens() + 64)


def test_detail_of_what_is_constant_is_none_but_for_the_grain_and_knows_no_patches():
    detail = some_decoder().detail
    pixels, features = torch.full((1, 3, 60, 60), 0.2), torch.randn(16)[None, :, None, None].expand(1, 16, 12, 12)
    edge = 3 + 8  # three 3×3 convolutions reach three pixels, the blur eight
    with torch.no_grad():
        drawn = detail(pixels, features, torch.zeros(1, 1, 60, 60))
    assert torch.allclose(drawn[:, :, edge:-edge, edge:-edge], torch.zeros(()), atol=1e-6)
    assert drawn.abs().max() > 1e-3  # at the edges of the picture
    # With grain, moving the grain by any number of pixels moves the detail, and nothing else does.
    grain = torch.randn(1, 1, 60, 60)
    with torch.no_grad():
        here, moved = detail(pixels, features, grain), detail(pixels, features, grain.roll((1, 2), (2, 3)))
    first, last = edge + 1, -edge - 3
    assert torch.allclose(
        here[:, :, first:last, first:last], moved[:, :, first + 1 : last + 1, first + 2 : last + 2], atol=1e-6
    )
    assert here[:, :, edge:-edge, edge:-edge].std() > 1e-3
    # Detail that is drawn patch by patch, as the plain decoder paints, fails the same test.
    patches = torch.nn.functional.pixel_shuffle(grain.new_ones(1, 25, 12, 12) * torch.randn(1, 25, 1, 1), 5)
    by_patch = patches - blur(patches, sharp.COARSE)
    assert by_patch[:, :, edge:-edge, edge:-edge].abs().max() > 1e-2


def test_detail_leaves_the_colors_of_a_surface_alone():
    detail = some_decoder().detail
    drawn = detail(to_float(some_pictures()).permute(0, 3, 1, 2), torch.randn(3, 16, 16, 16))
    coarse = F.avg_pool2d(drawn, 20)
    assert coarse.std() < 0.1 * drawn.std()
    assert drawn.std() > 1e-3


def test_grain_is_new_in_training_and_the_same_ever_after():
    detail = some_decoder().detail
    inputs = torch.zeros(2, 3, 20, 20), torch.zeros(2, 16, 4, 4)
    first, second = detail(*inputs)
    assert torch.equal(first, second)
    assert torch.equal(first, detail(*inputs)[1])
    detail.train()
    first, second = detail(*inputs)
    assert not torch.allclose(first, second)


def test_detail_layer_by_layer():
    torch.manual_seed(0)
    detail, grain = Detail(features=6, width=4, depth=2).eval(), torch.randn(2, 1, 20, 24)
    weights = {name: torch.randn_like(weight) for name, weight in detail.state_dict().items()}
    detail.load_state_dict(weights)
    pixels, features = torch.rand(2, 3, 20, 24) - 0.5, torch.randn(2, 6, 4, 4)

    def convolved(x: torch.Tensor, name: str, side: int) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        assert weight.shape[2:] == (side, side)
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=side // 2)

    asked = F.interpolate(convolved(features, "ask", 1), (20, 24), mode="bilinear", align_corners=False)
    x = convolved(torch.cat([pixels, grain], 1), "look", 3) + asked
    for layer in ("layers.0", "layers.1"):
        gain, bias = weights[f"{layer}.0.weight"], weights[f"{layer}.0.bias"]
        normed = F.layer_norm(x.permute(0, 2, 3, 1), (4,), gain, bias).permute(0, 3, 1, 2)
        x = x + convolved(F.gelu(convolved(normed, f"{layer}.1", 3)), f"{layer}.3", 1)
    drawn = convolved(x, "last", 3).numpy()
    coarse = ndimage.gaussian_filter(drawn, (0, 0, 2, 2), mode="nearest", truncate=4)
    assert np.allclose(detail(pixels, features, grain).detach(), drawn - coarse, rtol=1e-3, atol=1e-3)
    # Outside of training the grain is that of the seed 0, the same for each picture.
    fixed = torch.randn(1, 1, 20, 24, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    assert torch.equal(detail(pixels, features), detail(pixels, features, fixed))
    assert sharp.fixed_grain(pixels).shape == (2, 1, 20, 24)


def test_a_loss_looks_at_as_many_patches_as_it_is_told():
    decoder = some_decoder()
    for loss in (AdversarialLoss(decoder, side=5), StatisticsLoss(decoder, side=5)):
        assert loss.train().pictures(some_tokens(), some_pictures())[0].shape == (3, 3, 25, 25)
    assert not any(weight.requires_grad for weight in decoder.tokenizer.parameters())


def test_three_bands_lie_between_four_blurs():
    pixels = to_float(some_pictures(1, 40)).permute(0, 3, 1, 2)
    filters = torch.zeros(1, 3, 1, 1)
    filters[0, 1] = 1  # what is green
    levels = [pixels.numpy()]
    for sigma in (0.7, 1.4, 2.8):
        levels.append(ndimage.gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4))
    for band, found in enumerate(sharp.responses(pixels, filters)[0]):
        assert np.allclose(found, (levels[band] - levels[band + 1])[0, 1], atol=1e-4)


def gradients(module: nn.Module) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in module.parameters()]
    return [gradient.clone() for gradient in found if gradient is not None]


def test_at_first_the_judge_learns_alone_and_never_from_the_decoders_aim():
    loss = AdversarialLoss(some_decoder(), alone=1).train()
    before = [parameter.clone() for parameter in loss.judge.parameters()]
    loss(some_tokens(), some_pictures()).backward()
    assert not any(grad.any() for grad in gradients(loss.model.detail))
    assert not any(torch.equal(*pair) for pair in zip(before, loss.judge.parameters(), strict=True))

    loss.zero_grad()
    loss(some_tokens(), some_pictures()).backward()
    assert all(grad.any() for grad in gradients(loss.model.detail.last))
    assert gradients(loss.model.tokenizer) == gradients(loss.judge) == []  # so `training` leaves both alone


def test_a_judge_that_is_taught_tells_the_two_apart():
    loss = AdversarialLoss(some_decoder()).train()
    fake, real = torch.zeros(4, 3, 40, 40), to_float(some_pictures(4, 40)).permute(0, 3, 1, 2)
    for _ in range(30):
        loss.teach(fake, real)
    assert loss.judge(real).mean() > 0.5
    assert loss.judge(fake).mean() < -0.5


def test_the_weight_makes_gradients_equally_long_and_has_a_limit():
    last = torch.tensor([3.0, 4.0], requires_grad=True)
    assert sharp.balance(0.1 * last.sum(), 5 * last.sum(), last) == pytest.approx(0.02, rel=1e-3)
    assert sharp.balance(0.1 * last.sum(), 5 * last.sum(), last, 2) == pytest.approx(0.04, rel=1e-3)
    assert sharp.balance(1e9 * last.sum(), last.sum(), last).item() == pytest.approx(sharp.LARGEST_WEIGHT)


def test_a_loss_looks_at_the_same_window_of_both_pictures():
    decoder, patch = SharpDecoder(ImageTokenizer(5, 16, 1, BSQ(6)), Detail(features=16, width=8, depth=1)), 5
    for height, width, whole in ((9, 16, False), (16, 9, False), (8, 16, True), (16, 8, True)):
        tokens = torch.randint(64, (1, height, width))
        plain = decoder.plain(tokens)[0]
        # The original is the plain picture itself, to 1/255, so wherever the window lies both show the same.
        images = decoder.tokenizer.decode(tokens)
        loss = sharp.SharpLoss(decoder, side=5).train()
        for _ in range(6):
            fake, real = loss.pictures(tokens, images)
            assert fake.shape == real.shape == (plain.shape if whole else (1, 3, 5 * patch, 5 * patch))
            assert (fake.clamp(-0.5, 0.5) - real).abs().max() < 0.003
    decoder = some_decoder()
    fake, real = sharp.SharpLoss(decoder).eval().pictures(some_tokens(), some_pictures())
    assert torch.equal(
        ((fake + 0.5) * 255).round().clamp(0, 255).permute(0, 2, 3, 1).byte(), decoder.decode(some_tokens())
    )
    assert torch.equal(real, to_float(some_pictures()).permute(0, 3, 1, 2))


def test_reconstruct_is_as_sharp_as_it_is_asked_to_be():
    decoder, images = some_decoder(), some_pictures()
    tokens = decoder.tokenizer.encode(images)
    assert torch.equal(decoder.reconstruct(images), decoder.decode(tokens, 1))
    assert torch.equal(decoder.reconstruct(images, 0.3), decoder.decode(tokens, 0.3))


def test_deceiving_the_judge_counts_strength_times_the_error():
    loss = AdversarialLoss(some_decoder(), strength=0.01, alone=0).eval()
    assert loss(some_tokens(), some_pictures()) == 0
    loss.steps = 1
    fake, real = loss.pictures(some_tokens(), some_pictures())
    error, taken_for_real = (fake - real).abs().mean(), loss.judge(fake).mean()
    last = loss.model.detail.last.weight
    lengths = [torch.autograd.grad(each, last, retain_graph=True)[0].norm() for each in (error, taken_for_real)]
    weight = 0.01 * lengths[0] / lengths[1]
    assert weight < sharp.LARGEST_WEIGHT
    added = loss(some_tokens(), some_pictures()) - error
    assert added.item() == pytest.approx(-(weight * taken_for_real).item(), rel=0.05)
    # A judge that nothing moves has no say, and certainly none for what it sees through.
    nothing = 0 * last.sum()
    assert sharp.balance(last.sum(), nothing, last).item() == pytest.approx(sharp.LARGEST_WEIGHT)


@pytest.mark.parametrize(("said", "then"), [(1.5, 1.5 - 2e-3), (-1.5, -1.5 + 2e-3)])
def test_a_judge_learns_nothing_from_what_it_is_sure_of(said, then):
    loss = AdversarialLoss(some_decoder())
    last = loss.judge.layers[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, said)  # of whatever it sees
    loss.teach(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20))
    assert last.bias.item() == pytest.approx(then, abs=1e-4)


def test_the_statistics_are_of_columns_or_of_rows_in_the_grid_of_patches(monkeypatch):
    lines = (torch.arange(120) % 5 == 0).float()[:, None].expand(1, 3, 120, 120) - 0.5
    monkeypatch.setattr(StatisticsLoss, "pictures", lambda *_: (lines, lines.roll(1, 2)))
    columns: list[float] = []
    rows: list[float] = []
    for seed in range(8):
        values = []
        for strength in (0, 1, 3):
            loss = StatisticsLoss(some_decoder(), strength)
            torch.manual_seed(seed)
            values.append(loss(some_tokens(), some_pictures()).item())
        assert values[0] == pytest.approx(0.4)  # two of five pixels are wrong
        assert values[2] - values[0] == pytest.approx(3 * (values[1] - values[0]), rel=1e-3, abs=1e-5)
        torch.manual_seed(seed)
        *_, turned = (int(torch.randint(high, ())) for high in (5, 5, 2))
        (rows if turned else columns).append(values[1] - values[0])
    # A column has the same pixels as before, elsewhere. The rows of a phase were light and are dark, or the other way.
    assert 0 < max(columns) < 0.3 * min(rows) < max(rows) < 1


def test_sets_are_the_columns_that_lie_a_patch_apart():
    maps = torch.arange(2 * 23 * 31).view(1, 2, 23, 31).float()
    sets = sharp.phase_sets(maps, window=2, patch=5)
    assert sets.shape == (1, 2, 2 * 3, 5, 20)
    for square, (row, column) in enumerate((row, column) for row in (0, 10) for column in (0, 10, 20)):
        for phase in range(5):
            expected = maps[0, 1, row : row + 10, [column + phase, column + phase + 5]]
            assert sets[0, 1, square, phase].sort().values.tolist() == expected.flatten().sort().values.tolist()
    # A line on the edge of each patch and as many lines elsewhere: the same in a square as a whole, not in its sets.
    grid, scattered = torch.zeros(2, 1, 1, 20, 20)
    grid[..., ::5], scattered[..., [1, 7, 13, 19]] = 1, 1
    assert torch.equal(*(each.unfold(3, 10, 10).flatten(4).sum((2, 4)) for each in (grid, scattered)))
    ours, theirs = (sharp.phase_sets(each, 2, 5).sort(dim=-1).values for each in (grid, scattered))
    assert (ours - theirs).abs().mean() > 0.1


def distance(images: torch.Tensor, others: torch.Tensor, filters: torch.Tensor) -> float:
    """What the statistics say of two pictures `(1, 80, 80, 3) uint8`, the edges left out."""
    pixels = [to_float(each).permute(0, 3, 1, 2) for each in (images, others)]
    found = [sharp.responses(each, filters)[:, :, 3:-3, 3:-3] for each in pixels]
    ours, theirs = (sharp.phase_sets(each, 2, 5).sort(dim=-1).values for each in found)
    return F.l1_loss(ours, theirs).item()


def test_statistics_ask_what_there_is_and_not_where():
    filters = sharp.random_filters(3, count=4)
    rows = torch.arange(80)[:, None, None].expand(80, 80, 3)
    stripes = (rows % 2 * 255).to(torch.uint8)[None]
    here, moved, flat = stripes, stripes.roll(1, 1), torch.full_like(stripes, 128)
    # Stripes moved by a pixel: for the squared error as wrong as can be, for the statistics the same.
    assert distance(here, moved, filters) < 0.01 * distance(here, flat, filters)


def test_filters_have_length_1_and_are_blind_to_brightness():
    filters = sharp.random_filters(3, count=4)
    assert filters.flatten(1).norm(dim=1).tolist() == pytest.approx([1] * 4)
    assert filters.flatten(1).sum(dim=1).tolist() == pytest.approx([0] * 4, abs=1e-5)
    pixels = to_float(some_pictures(1, 40)).permute(0, 3, 1, 2)
    assert sharp.responses(pixels, filters).shape == (1, 12, 36, 36)
    assert torch.allclose(sharp.responses(pixels + 0.2, filters), sharp.responses(pixels, filters), atol=1e-5)
    # The three bands add up to what the widest blur takes away.
    whole = F.conv2d(pixels - blur(pixels, 2.8), filters)
    assert torch.allclose(sharp.responses(pixels, filters).unflatten(1, (3, 4)).sum(1), whole, atol=1e-5)


def make(kind: str) -> AdversarialLoss | StatisticsLoss:
    torch.manual_seed(0)
    return AdversarialLoss(some_decoder(), alone=2) if kind == "adversarial" else StatisticsLoss(some_decoder())


@pytest.mark.parametrize("kind", ["adversarial", "statistics"])
def test_a_run_that_was_cut_off_goes_on_exactly(kind, tmp_path):
    examples, settings = (some_tokens(8), some_pictures(8)), Settings(6, 2, 1e-3, checkpoint_seconds=0)
    whole, parts = [make(kind) for _ in range(2)]
    training.fit(whole, examples, settings, tmp_path / "whole")

    def cut(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(parts, examples, settings, tmp_path / "parts", moments=cut)
    again = make(kind)
    training.fit(again, examples, settings, tmp_path / "parts", resume=True)
    first, second = whole.state_dict(), again.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first if name != "_extra_state")
    assert (first["model.detail.last.weight"] != some_decoder().detail.last.weight).any()
    plain = some_decoder().tokenizer.state_dict()
    assert all(torch.equal(first[f"model.tokenizer.{name}"], plain[name]) for name in plain)
