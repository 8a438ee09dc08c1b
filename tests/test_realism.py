"""Measures of realism, on pictures whose answer can be worked out, and next to Pillow's unsharp masking."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from scipy import ndimage, signal  # type: ignore[import-untyped]

from arlib import data, realism


def noise(count: int = 8, height: int = 60, width: int = 80, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        (128 + 30 * torch.randn(count, height, width, 1, generator=generator))
        .clamp(0, 255)
        .byte()
        .expand(-1, -1, -1, 3)
    )


def test_a_planted_grid_is_found_where_it_is_and_none_in_noise():
    quiet = realism.grid_lines(noise(32))
    assert quiet.shape == (2, 2)
    assert ((quiet > 0.75) & (quiet < 1.3)).all()
    edges = torch.zeros(80)
    edges[::5] = 20
    across = realism.grid_lines((noise(32) + edges[:, None]).clamp(0, 255).byte())
    # 20 on every fifth column is 4 at each multiple of 1/5; of 80 in a row, over noise of variance 900.
    assert across[0].tolist() == pytest.approx([1 + 16 * 80 / 900] * 2, rel=0.1)
    assert ((across[1] > 0.75) & (across[1] < 1.3)).all()
    down = realism.grid_lines((noise(32) + edges[:60, None, None]).clamp(0, 255).byte())
    assert down[1].tolist() == pytest.approx([1 + 16 * 60 / 900] * 2, rel=0.1)
    assert ((down[0] > 0.75) & (down[0] < 1.3)).all()
    with pytest.raises(ValueError, match="not of 61"):
        realism.grid_lines(noise(2, 61))


def test_octaves_see_which_waves_are_weaker():
    x = torch.arange(160)
    waves = [20 * (2 * torch.pi * cycles / 160 * x).sin() for cycles in (3, 7, 14, 30, 60)]  # one in each octave
    for weak in range(5):
        whole = 128 + torch.stack(waves).sum(0)
        rows = [whole, whole - 0.5 * waves[weak]]
        originals, images = (row.round().byte()[None, None, :, None].expand(1, 96, -1, 3).contiguous() for row in rows)
        expected = [0.25 if octave == weak else 1 for octave in range(5)]
        assert realism.octaves(images, originals) == pytest.approx(expected, abs=0.05)
    assert realism.octaves(noise(), noise()) == [1] * 5


def test_gradient_energy_of_half_the_contrast_is_a_quarter():
    images = noise()
    assert realism.gradient_energy(images, images) == 1
    assert realism.gradient_energy(128 + ((images.int() - 128) // 2).byte(), images) == pytest.approx(0.25, abs=0.02)


def test_the_patch_distance_of_doubled_contrast_is_the_patches_mean_square():
    """Twice as large: |m|² + tr(C + 4 C - 2 · 2 C) = |m|² + tr C, what numpy finds by looking at each patch."""
    images = (100 + torch.randint(10, (6, 40, 40, 1), generator=torch.Generator().manual_seed(0))).expand(-1, -1, -1, 3)
    doubled = 100 + 2 * (images - 100)
    gray = images[..., 0].numpy() / 255
    patches = np.lib.stride_tricks.sliding_window_view(gray, (7, 7), axis=(1, 2))[:, ::4, ::4].reshape(-1, 49)
    patches = patches - patches.mean(1, keepdims=True)
    expected = (patches**2).sum(1).mean()
    assert realism.patch_distance(doubled.byte(), images.byte()) == pytest.approx(expected, rel=0.01)
    assert realism.patch_distance(images.byte(), images.byte()) == pytest.approx(0, abs=1e-6)


def test_halves_of_the_originals_are_the_floor_and_blur_lies_above_it():
    images = data.load("supertuxkart", "valid")[:64]
    blurred = torch.stack(
        [torch.from_numpy(np.array(Image.fromarray(it.numpy()).filter(ImageFilter.GaussianBlur(1)))) for it in images]
    )
    floor = realism.halves(images, images)
    assert 0 < floor < 0.3 * realism.halves(blurred, images)


@pytest.mark.parametrize(("amount", "sigma"), [(0.5, 1), (1.2, 1), (2, 2)])
def test_unsharp_masking_is_pillows_but_for_its_rounding(amount, sigma):
    images = data.load("supertuxkart", "valid")[:2]
    ours = realism.unsharp(images, amount, sigma)
    mask = ImageFilter.UnsharpMask(radius=sigma, percent=round(100 * amount), threshold=0)
    theirs = torch.from_numpy(np.stack([np.array(Image.fromarray(it.numpy()).filter(mask)) for it in images]))
    change = (theirs.int() - images.int()).abs().float().mean()
    assert (ours.int() - theirs.int()).abs().float().mean() < 0.3 * change
    assert torch.equal(realism.unsharp(images, 0), images)


def test_noise_is_as_strong_as_asked_and_the_same_in_all_colors():
    gray = torch.full((4, 50, 50, 3), 128, dtype=torch.uint8)
    noisy = realism.noisy(gray, 7)
    assert noisy.float().std().item() == pytest.approx(7, rel=0.05)
    assert torch.equal(noisy[..., 0], noisy[..., 2])
    assert torch.equal(noisy, realism.noisy(gray, 7))
    assert not torch.equal(noisy, realism.noisy(gray, 7, seed=1))


def test_a_fresh_judge_guesses_between_equals_and_sees_what_is_smooth():
    reals = [noise(16, seed=seed) for seed in range(4)]
    assert realism.fresh_judge(reals[0], reals[1], reals[2], reals[3], steps=20, batch_size=4) == pytest.approx(
        0.5, abs=0.1
    )
    flat = torch.full_like(reals[0], 128)
    assert realism.fresh_judge(flat, reals[1], flat, reals[3], steps=20, batch_size=4) > 0.9


def test_a_judge_can_know_where_patches_begin():
    place = realism.phases(10, 15, 5)
    assert place.shape == (4, 10, 15)
    assert torch.allclose(place[:, :5, :5], place[:, 5:, 10:], atol=1e-5)
    assert len(place[:, :5, :5].flatten(1).T.round(decimals=3).unique(dim=0)) == 25


@pytest.mark.parametrize("sigma", [0.7, 1, 2])
def test_a_blur_is_scipys(sigma):
    pixels = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    assert np.allclose(realism.blur(pixels, sigma), expected, atol=1e-4)


def test_halves_compare_even_pictures_with_odd_ones_both_ways():
    images, originals = noise(6), (noise(6, seed=1).int() // 2 + 60).byte()
    pairs = [([0, 2, 4], [1, 3, 5]), ([1, 3, 5], [0, 2, 4])]
    there, back = (realism.patch_distance(images[some], originals[others]) for some, others in pairs)
    assert realism.halves(images, originals) == pytest.approx((there + back) / 2, rel=1e-5)


def test_gradients_are_counted_across_and_down():
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    originals, images = (grid[None, :, :, None].expand(-1, -1, -1, 3).byte() for grid in (rows + columns, 2 * rows))
    # 1 and 1 in each step become 2 and 0, so 4 for 2 of the squares.
    assert realism.gradient_energy(images, originals) == pytest.approx(2, rel=1e-4)


def test_a_line_is_compared_with_the_three_frequencies_on_either_side():
    x = torch.arange(100)
    # A wave of amplitude 20 at 1/5, next to it (20 of 100) 6 at 17, 4 at 19, 2 at 22; what is farther is left out.
    heights = {20: 20, 17: 6, 19: 4, 22: 2, 16: 30, 24: 30}
    wave = 128 + torch.stack([height * (2 * torch.pi * at / 100 * x).cos() for at, height in heights.items()]).sum(0)
    images = wave.round().clamp(0, 255).byte()[None, None, :, None].expand(1, 10, 100, 3)
    expected = 20**2 / ((6**2 + 4**2 + 2**2) / 6)
    assert realism.grid_lines(images)[0, 0].item() == pytest.approx(expected, rel=0.1)


def test_noise_ends_at_black_and_white():
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).repeat(20000).view(1, 200, 200, 1).expand(-1, -1, -1, 3)
    moved = realism.noisy(black_and_white, 5).int() - black_and_white.int()
    # A Gaussian's half that points outwards is cut off: half stay, the mean of the others is 5 · sqrt(2 / pi).
    for color, sign in ((0, 1), (255, -1)):
        inward = sign * moved[black_and_white == color]
        assert inward.min() == 0
        assert inward.float().mean() == pytest.approx(0.5 * 5 * (2 / torch.pi) ** 0.5, rel=0.05)


def test_a_judge_says_a_number_each_4_pixels_and_sees_28():
    judge = realism.PatchJudge()
    pixels = torch.rand(1, 3, 60, 80, requires_grad=True)
    judged = judge(pixels)
    assert judged.shape == (1, 1, 15, 20)
    (seen,) = torch.autograd.grad(judged[0, 0, 7, 10], pixels)
    rows, columns = (seen.abs().sum(dim=(0, 1, axis)).nonzero().flatten() for axis in (3, 2))
    # The layers see 26, and the small blur of what is shown reaches 1 more on each side.
    assert (len(rows), len(columns)) == (28, 28)


def test_where_an_octave_begins():
    """Of 64 cycles in a picture of 128 pixels the last octave has those from 32 on, the one before those from 16 on."""
    bands = realism._octave(128, 128)
    begin = {1: -1, 2: 0, 4: 1, 8: 2, 16: 3, 32: 4}  # cycles: the octave that they begin
    expected = [next(begin[least] for least in sorted(begin, reverse=True) if least <= max(1, at)) for at in range(65)]
    assert bands.shape == (128, 65)
    assert bands[0].tolist() == bands[:65, 0].tolist() == expected
    assert bands[-1, 0] == bands[1, 0] == -1
    assert bands[64, 64] == 4  # a corner, 64 · √2 cycles from the middle
    assert (bands[3, 3], bands[2, 3]) == (1, 0)  # 4.24 and 3.6 cycles
    assert realism._octave(128, 96)[0].tolist() != expected


def test_the_spectrum_is_scipys():
    pictures = realism.gray(noise(3, 24, 30))
    window = np.outer(signal.windows.hann(24), signal.windows.hann(30))
    flat = pictures.numpy() - pictures.mean(dim=(1, 2)).numpy()[:, None, None]
    expected = np.square(np.abs(np.fft.rfft2(flat * window))).mean(0)
    assert realism._power(pictures).dtype == torch.float64
    assert np.allclose(realism._power(pictures), expected, rtol=1e-3, atol=1e-6)


def test_what_a_judge_is_shown():
    judge, pixels = realism.PatchJudge(period=4), torch.rand(2, 3, 12, 16) - 0.5
    judge.layers = torch.nn.Sequential()
    shown = judge(pixels)
    blurred = ndimage.uniform_filter(pixels.numpy(), (1, 1, 3, 3), mode="nearest")
    assert torch.allclose(shown[:, :3], 2 * pixels)
    assert np.allclose(shown[:, 3:6], 8 * (pixels.numpy() - blurred), atol=1e-5)
    across, down = torch.arange(16) * torch.pi / 2, torch.arange(12) * torch.pi / 2
    for channel, (values, axis) in enumerate(
        [(across.cos(), 1), (across.sin(), 1), (down.cos(), 2), (down.sin(), 2)], start=6
    ):
        expected = values.expand(12, 16) if axis == 1 else values[:, None].expand(12, 16)
        assert torch.allclose(shown[:, channel], expected.expand(2, 12, 16), atol=1e-5)


def test_a_judge_layer_by_layer():
    judge, x = realism.PatchJudge(width=5), torch.randn(2, 10, 12, 16)
    assert judge.period == 5  # as the book's patches
    judged, weights = judge.layers(x), judge.state_dict()
    for number, stride, shape in ((0, 2, (5, 10)), (2, 2, (10, 5)), (4, 1, (10, 10)), (6, 1, (1, 10))):
        weight = weights[f"layers.{number}.weight"]
        assert weight.shape[:2] == shape
        x = F.conv2d(x, weight, weights[f"layers.{number}.bias"], stride, padding=1)
        x = x if number == 6 else torch.where(x > 0, x, 0.2 * x)
    assert torch.allclose(judged, x, atol=1e-5)


def test_black_is_0_and_white_1():
    images = torch.tensor([0, 255], dtype=torch.uint8)[None, None, :, None].expand(1, 1, 2, 3)
    assert realism.gray(images)[0, 0].tolist() == pytest.approx([0, 1])
    red, green, blue = realism.gray(255 * torch.eye(3, dtype=torch.uint8)[None, None])[0, 0].tolist()
    assert (red, green, blue) == pytest.approx((0.299, 0.587, 0.114))  # of ITU-R BT.601


def test_patches_are_taken_every_four_pixels():
    """Of a pattern that repeats itself after four pixels all patches are the same."""
    pattern = torch.randint(256, (4, 4), dtype=torch.uint8).repeat(6, 7)
    mean, covariance = realism.patch_moments(pattern[None, ..., None].expand(1, -1, -1, 3))
    first = realism.gray(pattern[None, ..., None].expand(1, -1, -1, 3))[0, :7, :7].flatten()
    assert torch.allclose(mean.float(), first - first.mean(), atol=1e-5)
    assert covariance.abs().max() < 1e-8


def test_places_of_either_kind_count_as_much_as_the_other(monkeypatch):
    """Of 33 real pictures a quarter of the places are right, of one decoded picture all."""
    monkeypatch.setattr(realism, "BATCH", 10)

    class Bright(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean(dim=1, keepdim=True)

    reals = torch.zeros(33, 4, 4, 3, dtype=torch.uint8)
    reals[:, 0] = 255
    fakes = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    assert realism.places_right(Bright(), fakes, reals) == (0.25 + 1) / 2  # type: ignore[arg-type]
    assert realism.places_right(Bright(), reals, fakes) == (0.75 + 0) / 2  # type: ignore[arg-type]


def test_a_judge_learns_by_the_logistic_loss():
    """The same steps again, written out: the classes as targets of a cross-entropy."""
    fakes, reals = noise(9, 20, 20), noise(7, 20, 20, seed=1)
    state = torch.random.get_rng_state()
    judge = realism.train_judge(fakes, reals, steps=3, batch_size=5, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(4)
    other = realism.PatchJudge()
    optimizer = torch.optim.AdamW(other.parameters(), lr=2e-3, betas=(0.9, 0.99))
    draws = torch.Generator().manual_seed(4)
    for _ in range(3):
        optimizer.zero_grad()
        for images, target in ((reals, 1.0), (fakes, 0.0)):
            batch = images[torch.randint(len(images), (5,), generator=draws)]
            judged = other(batch.permute(0, 3, 1, 2) / 255 - 0.5)
            F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, target)).backward()
        optimizer.step()
    for mine, theirs in zip(judge.parameters(), other.parameters(), strict=True):
        # Each step of Adam is 0.002 long; where a gradient is all rounding, it may go either way.
        assert (mine - theirs).abs().mean() < 2e-5
    right = realism.places_right(judge, fakes[:3], reals[:3])
    assert realism.fresh_judge(fakes, reals, fakes[:3], reals[:3], 3, 5, 4) == right


def test_pictures_of_another_kind_are_refused():
    for wrong in (noise().float(), noise()[..., :1], noise()[0]):
        with pytest.raises(ValueError, match=r"\(N, H, W, 3\) uint8"):
            realism.octaves(wrong, wrong)
