"""The image tokenizer: shapes, exactness, reach, and input that it cannot take."""

from typing import cast

import pytest
import torch
from torch import nn

from arlib.patches import patchify
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer, to_float, to_uint8


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(256, (3, 100, 150, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("patch_size", [1, 2, 5, 10, 25, 50])
def test_any_patch_size_that_divides_the_picture(images, patch_size):
    tokenizer = ImageTokenizer(patch_size, width=8, depth=1, quantizer=BSQ(6)).eval()
    grid = tokenizer.encode(images)
    assert grid.shape == (3, 100 // patch_size, 150 // patch_size)
    assert grid.dtype == torch.int64
    assert 0 <= grid.min() <= grid.max() < 64
    again = tokenizer.decode(grid)
    assert again.shape == images.shape
    assert again.dtype == torch.uint8


def test_a_patch_that_does_not_tile_the_picture_is_refused(images):
    with pytest.raises(ValueError, match="choose a patch size that divides both"):
        ImageTokenizer(7, 8, 1, quantizer=BSQ(6)).encode(images)


@pytest.mark.parametrize("bits", range(1, 19))
def test_one_to_eighteen_bits(images, bits):
    tokenizer = ImageTokenizer(25, width=8, depth=1, quantizer=BSQ(bits)).eval()
    grid = tokenizer.encode(images)
    assert grid.max() < 2**bits
    assert tokenizer.codebook_size == 2**bits
    assert tokenizer.decode(grid).shape == images.shape


def test_the_linear_code_is_one_matrix_applied_to_each_patch(images):
    model = ImageTokenizer(5, depth=0, latent_dim=10).eval()
    convolution = cast(nn.Conv2d, model.encoder[0])
    matrix = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # (10, p * p * 3), the order of patchify
    assert convolution.bias is not None
    expected = patchify(to_float(images), 5) @ matrix.T + convolution.bias
    assert torch.allclose(model.encode(images), expected, atol=1e-5)


def test_the_decoder_is_given_the_tokens_and_nothing_else(images):
    tokenizer = ImageTokenizer(5, width=8, depth=1, quantizer=BSQ(10)).eval()
    in_training, _ = tokenizer(to_float(images))
    decoded = tokenizer.decode(tokenizer.encode(images))
    # The straight-through sum u + (û - u) is û up to its last bit, so a value may round to the next grey level.
    assert (to_uint8(in_training.detach()).int() - decoded.int()).abs().max() <= 1


def test_a_block_reaches_one_patch_further(images):
    for depth in (0, 1, 2):
        model = ImageTokenizer(5, width=8, depth=depth, latent_dim=4).eval()
        changed = images[:1].clone()
        changed[0, 52, 77] ^= 255  # a pixel of the patch in row 10, column 15
        differs = (model.encode(images[:1]) != model.encode(changed)).any(-1)[0]
        rows, columns = differs.nonzero().unbind(1)
        assert (rows.min(), rows.max()) == (10 - depth, 10 + depth)
        assert (columns.min(), columns.max()) == (15 - depth, 15 + depth)


def test_many_pictures_pass_a_few_at_a_time(images):
    tokenizer = ImageTokenizer(25, width=8, depth=1, quantizer=BSQ(4)).eval()
    many = images.repeat(25, 1, 1, 1)
    assert torch.equal(tokenizer.encode(many)[:3], tokenizer.encode(images))
    assert len(tokenizer.reconstruct(many)) == 75


def test_a_configuration_builds_the_same_network_again():
    for model in (ImageTokenizer(10, 16, 2, quantizer=BSQ(7)), ImageTokenizer(25, depth=0, latent_dim=3)):
        twin = ImageTokenizer.from_config(model.config)
        assert {k: v.shape for k, v in twin.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
        assert twin.config == model.config


def test_input_of_another_kind_is_refused_in_words(images):
    tokenizer = ImageTokenizer(25, 8, 1, quantizer=BSQ(4))
    with pytest.raises(ValueError, match=r"not \(3, 100, 150, 3\) float32"):
        tokenizer.encode(images.float())
    with pytest.raises(ValueError, match=r"uint8, not \(100, 150, 3\)"):
        tokenizer.encode(images[0])
    with pytest.raises(ValueError, match="no picture"):
        tokenizer.encode(images[:0])
    with pytest.raises(ValueError, match=r"\[0, 16\)"):
        tokenizer.decode(torch.full((1, 4, 6), 16))
    with pytest.raises(ValueError, match=r"\[0, 16\)"):
        tokenizer.decode(torch.full((1, 4, 6), -1))
    with pytest.raises(ValueError, match="grid"):
        tokenizer.decode(torch.zeros(1, 24, dtype=torch.int64))
    with pytest.raises(ValueError, match="latents"):
        ImageTokenizer(5, depth=0, latent_dim=3).decode(torch.zeros(1, 4, 6, 4))
    with pytest.raises(ValueError, match="no codebook"):
        _ = ImageTokenizer(5, depth=0, latent_dim=3).codebook_size
    with pytest.raises(ValueError, match="either a quantizer or"):
        ImageTokenizer(5)


def test_grey_levels_survive_the_way_to_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]
