"""The measures, on values that can be worked out by hand."""

import math
import warnings

import pytest
import torch

from arlib import metrics


def test_mean_squared_error_and_psnr_of_two_flat_pictures():
    black = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    others = torch.stack([torch.full((8, 8, 3), 255), torch.full((8, 8, 3), 51)]).to(torch.uint8)
    assert metrics.mse(black, others).tolist() == pytest.approx([1.0, 0.04])  # 51 / 255 is a fifth
    assert metrics.psnr(black, others).tolist() == pytest.approx([0.0, 10 * math.log10(25)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # infinity is no accident
        assert metrics.psnr(black, black).tolist() == [math.inf, math.inf]


def test_errors_count_the_difference_of_two_pictures_not_their_sum():
    images, others = torch.full((1, 8, 8, 3), 153, dtype=torch.uint8), torch.full((1, 8, 8, 3), 102, dtype=torch.uint8)
    assert metrics.mse(images, others).tolist() == pytest.approx([0.04])  # 51 / 255 again
    assert metrics.mse(others, images).tolist() == pytest.approx([0.04])
    assert metrics.psnr(images, others).tolist() == pytest.approx([10 * math.log10(25)])
    for measure in (metrics.mse, metrics.psnr, metrics.ssim):
        assert measure(images, others).dtype == torch.float64
        assert measure(images[:0], others[:0]).dtype == torch.float64


def test_structural_similarity_of_flat_pictures_is_that_of_their_means():
    """Without variance one term of Wang et al. is left: (2ab + c) / (a² + b² + c), with c = (0.01 · 255)²."""
    images, others = torch.full((1, 8, 8, 3), 10, dtype=torch.uint8), torch.full((1, 8, 8, 3), 2, dtype=torch.uint8)
    constant = 2.55**2
    assert metrics.ssim(images, others).item() == pytest.approx((40 + constant) / (104 + constant), rel=1e-6)


def test_structural_similarity_is_one_for_equal_pictures_only():
    images = torch.randint(256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert metrics.ssim(images, images).tolist() == pytest.approx([1.0, 1.0])
    assert (metrics.ssim(images, images.flip(0)) < 0.5).all()


def test_usage_and_entropy_of_a_few_tokens():
    tokens = torch.tensor([[0, 0, 3, 3], [3, 3, 1, 1]])
    assert metrics.codebook_usage(tokens, 8) == 3 / 8
    assert metrics.entropy(tokens) == pytest.approx(0.5 * 1 + 0.5 * 2)  # frequencies 1/2, 1/4, 1/4
    assert metrics.entropy(torch.arange(8)) == pytest.approx(3)  # a token that occurs once counts too


def test_a_prior_that_knows_nothing_needs_every_bit():
    tokens = torch.randint(16, (5, 7))
    flat = metrics.bits(lambda batch: torch.zeros(*batch.shape, 16), tokens, batch_size=2)
    assert flat.shape == (5, 7)
    assert torch.allclose(flat, torch.full((5, 7), 4.0))


def test_a_prior_that_gives_a_quarter_needs_two_bits():
    logits = torch.log(torch.tensor([0.25, 0.75]))
    surprises = metrics.bits(lambda batch: logits.expand(*batch.shape, 2), torch.tensor([[0, 1]]))
    assert surprises[0].tolist() == pytest.approx([2.0, -math.log2(0.75)])


def test_bits_hand_order_and_labels_to_the_prior_with_their_batch():
    seen = []

    def prior(batch, order, label):
        seen.append((order, label))
        return torch.zeros(*batch.shape, 4)

    order, label = torch.arange(6).view(3, 2) % 2, torch.tensor([4, 5, 6])
    metrics.bits(prior, torch.zeros(3, 2, dtype=torch.int64), batch_size=2, order=order, label=label)
    assert [one.tolist() for one, _ in seen] == [[[0, 1], [0, 1]], [[0, 1]]]
    assert [one.tolist() for _, one in seen] == [[4, 5], [6]]
    metrics.bits(prior, torch.zeros(3, 2, dtype=torch.int64), order=order[0], label=label)
    assert seen[-1][0].tolist() == [0, 1]
    metrics.bits(prior, torch.zeros(3, 2, dtype=torch.int64), batch_size=1, order=order[0], label=label)
    assert [one.tolist() for one, _ in seen[-3:]] == [[0, 1]] * 3  # one order for all isn't cut into batches


def gaussian(count: int, size: int, seed: int) -> torch.Tensor:
    """Correlated features, `(count, size)`."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mix + torch.randn(size, generator=generator)


def test_frechet_distance_in_one_dimension_by_hand():
    """Means 2 and 5, variances 2 and 8: (5 - 2)² + 2 + 8 - 2 · √16 = 11."""
    assert metrics.frechet(torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [7.0]])) == pytest.approx(11)


def test_frechet_distance_of_axes_that_do_not_mix_is_the_sum_over_them():
    mean, spread = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 4.0, 9.0])
    other_mean, other_spread = torch.tensor([3.0, 1.0, 0.0]), torch.tensor([4.0, 4.0, 0.0])
    expected = (3**2 + (1 - 2) ** 2) + 0 + (2**2 + 3**2)  # along an axis: (m - m')² + (s - s')²
    value = metrics.frechet((mean, spread.diag()), (other_mean, other_spread.diag()))
    assert value == pytest.approx(expected)


def test_frechet_distance_agrees_with_the_square_root_of_the_product_itself():
    features, others = gaussian(200, 6, 1), gaussian(300, 6, 2)
    (mean, covariance), (other_mean, other_covariance) = metrics.moments(features), metrics.moments(others)
    values, vectors = torch.linalg.eig(covariance @ other_covariance)  # no symmetric form: complex eigenvalues
    root = vectors @ values.sqrt().diag() @ torch.linalg.inv(vectors)
    assert torch.allclose((root @ root).real, covariance @ other_covariance)
    expected = (mean - other_mean).square().sum() + (covariance + other_covariance - 2 * root.real).trace()
    assert metrics.frechet(features, others) == pytest.approx(expected.item())
    assert metrics.frechet(others, features) == pytest.approx(expected.item())
    assert metrics.frechet(metrics.moments(features), others) == pytest.approx(expected.item())


def test_frechet_distance_to_itself_is_nothing_even_where_features_never_vary():
    features = gaussian(50, 80, 1)  # a covariance of rank 49
    assert metrics.frechet(features, features) == pytest.approx(0, abs=1e-3 * features.var().item())
    assert metrics.frechet(torch.ones(4, 3), torch.ones(4, 3)) == pytest.approx(0)


def test_moments_of_two_rows_by_hand():
    mean, covariance = metrics.moments(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert mean.tolist() == [2.0, 4.0]
    assert covariance.tolist() == [[2.0, 4.0], [4.0, 8.0]]


def test_moments_need_two_rows():
    with pytest.raises(ValueError, match="two rows"):
        metrics.moments(torch.zeros(1, 3))


def test_the_floor_falls_like_one_over_n_and_the_extrapolation_takes_it_away():
    reals, others = gaussian(8000, 8, 1)[:4000], gaussian(8000, 8, 1)[4000:]
    floors = [metrics.frechet_floor(reals, n, metrics.moments(others)) for n in (100, 400, 1600)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2]
    pair = metrics.frechet_floor(reals, 400)
    assert 1.5 * floors[1] < pair < 2.5 * floors[1]  # two small sets, two errors
    measured = metrics.frechet(reals[:400], metrics.moments(others))
    assert abs(metrics.frechet_extrapolated(reals[:400], metrics.moments(others))) < measured
    with pytest.raises(ValueError, match="takes 4002 real pictures; here are 4000"):
        metrics.frechet_floor(reals, 2001)


def test_the_floor_of_all_real_pictures_is_their_distance_to_the_rest():
    """However they are shuffled, all of them are all of them."""
    reals, rest = gaussian(50, 4, 1), metrics.moments(gaussian(60, 4, 2))
    assert metrics.frechet_floor(reals, 50, rest) == pytest.approx(metrics.frechet(reals, rest))


def test_the_extrapolation_follows_a_line_to_the_distance_of_the_distributions():
    fakes, reals = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(16)
    truth = 16 * (2 - 1) ** 2  # every axis: standard deviation 1 against 2
    reference = (reals, 4 * torch.eye(16))
    assert metrics.frechet_extrapolated(fakes[:200], reference) == pytest.approx(truth, rel=0.05)
    assert metrics.frechet_extrapolated(fakes, reference) == metrics.frechet_extrapolated(fakes, reference)


def test_precision_and_recall_on_a_line():
    reals = torch.arange(10.0)[:, None]  # with k = 1 every ball reaches to 1 on both sides
    assert metrics.precision_recall(reals + 0.5, reals, k=1) == (1.0, 1.0)
    assert metrics.precision_recall(reals + 100, reals, k=1) == (0.0, 0.0)
    half = torch.cat([torch.arange(5.0), 100 + torch.arange(5.0)])[:, None]  # half of the fakes are nowhere near
    assert metrics.precision_recall(half, reals, k=1) == (0.5, 0.6)  # and reals 0 to 5 lie in a ball of a fake
    with pytest.raises(ValueError, match="more than 5 pictures"):
        metrics.precision_recall(reals[:5], reals)


def test_collapsed_samples_keep_their_precision_and_lose_recall():
    reals = gaussian(500, 4, 1)
    collapsed = reals[:5].repeat(100, 1) + 1e-3 * gaussian(500, 4, 3)
    precision, recall = metrics.precision_recall(collapsed, reals)
    assert precision == 1.0
    assert recall < 0.02


def test_distinct_samples_are_counted():
    tokens = torch.tensor([[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[0, 1], [3, 2]]])
    assert metrics.distinct(tokens) == 2
