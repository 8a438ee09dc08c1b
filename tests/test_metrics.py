"""The measures, on values that can be worked out by hand."""

import math

import pytest
import torch

from arlib import metrics


def test_mean_squared_error_and_psnr_of_two_flat_pictures():
    black = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    others = torch.stack([torch.full((8, 8, 3), 255), torch.full((8, 8, 3), 51)]).to(torch.uint8)
    assert metrics.mse(black, others).tolist() == pytest.approx([1.0, 0.04])  # 51 / 255 is a fifth
    assert metrics.psnr(black, others).tolist() == pytest.approx([0.0, 10 * math.log10(25)])
    assert metrics.psnr(black, black).tolist() == [math.inf, math.inf]


def test_structural_similarity_is_one_for_equal_pictures_only():
    images = torch.randint(256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert metrics.ssim(images, images).tolist() == pytest.approx([1.0, 1.0])
    assert (metrics.ssim(images, images.flip(0)) < 0.5).all()


def test_usage_and_entropy_of_a_few_tokens():
    tokens = torch.tensor([[0, 0, 3, 3], [3, 3, 1, 1]])
    assert metrics.codebook_usage(tokens, 8) == 3 / 8
    assert metrics.entropy(tokens) == pytest.approx(0.5 * 1 + 0.5 * 2)  # frequencies 1/2, 1/4, 1/4


def test_a_prior_that_knows_nothing_needs_every_bit():
    tokens = torch.randint(16, (5, 7))
    flat = metrics.bits(lambda batch: torch.zeros(*batch.shape, 16), tokens, batch_size=2)
    assert flat.shape == (5, 7)
    assert torch.allclose(flat, torch.full((5, 7), 4.0))


def test_a_prior_that_gives_a_quarter_needs_two_bits():
    logits = torch.log(torch.tensor([0.25, 0.75]))
    surprises = metrics.bits(lambda batch: logits.expand(*batch.shape, 2), torch.tensor([[0, 1]]))
    assert surprises[0].tolist() == pytest.approx([2.0, -math.log2(0.75)])
