"""Binary spherical quantization, against codes worked out by hand and the paper's definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib.quantizers import BSQ


def test_codes_worked_out_by_hand():
    # Dimension 0 counts 1, dimension 1 counts 2, dimension 2 counts 4; zero and minus zero are not negative.
    latent = torch.tensor([[0.3, -2.0, 5.0], [-1.0, -1.0, -1.0], [0.0, -0.0, -1e-30], [-0.1, 7.0, 0.1]])
    assert BSQ(3).encode(latent).tolist() == [1 + 4, 0, 1 + 2, 2 + 4]


@given(st.integers(1, 18))
def test_every_code_comes_back_and_its_vector_lies_on_the_sphere(bits):
    quantizer = BSQ(bits)
    codes = torch.arange(0, 2**bits, max(1, 2**bits // 1000))
    vectors = quantizer.decode(codes)
    assert torch.equal(quantizer.encode(vectors), codes)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(codes)), atol=1e-6)
    assert torch.allclose(vectors.abs(), torch.tensor(1 / math.sqrt(bits)))


def test_forward_gives_the_vector_of_the_code():
    latent = torch.randn(5, 7, 10, generator=torch.Generator().manual_seed(0))
    quantizer = BSQ(10)
    assert torch.allclose(quantizer(latent), quantizer.decode(quantizer.encode(latent)), atol=1e-6)


def test_the_nearest_corner_is_the_one_taken():
    latent = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    quantizer = BSQ(6)
    on_sphere = latent / latent.norm(dim=-1, keepdim=True)
    distances = torch.cdist(on_sphere, quantizer.decode(torch.arange(64)))
    assert torch.equal(quantizer.encode(latent), distances.argmin(dim=-1))


def test_the_gradient_is_that_of_the_normalisation_alone():
    latent = torch.randn(4, 10, generator=torch.Generator().manual_seed(2), requires_grad=True)
    weights = torch.randn(4, 10, generator=torch.Generator().manual_seed(3))
    (BSQ(10)(latent) * weights).sum().backward()
    assert latent.grad is not None
    # d(u/|u|) = (I - û ûᵀ) / |u|, written out.
    length = latent.detach().norm(dim=-1, keepdim=True)
    unit = latent.detach() / length
    expected = (weights - unit * (unit * weights).sum(-1, keepdim=True)) / length
    assert torch.allclose(latent.grad, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_latents_give_the_same_codes(dtype):
    latent = torch.randn(500, 18, generator=torch.Generator().manual_seed(4)).to(dtype)
    assert torch.equal(BSQ(18).encode(latent), BSQ(18).encode(latent.double()))


@pytest.mark.parametrize("bits", [0, -1, 19])
def test_one_to_eighteen_bits(bits):
    with pytest.raises(ValueError, match="1 to 18"):
        BSQ(bits)
