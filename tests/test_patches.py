"""Patches, against a picture cut by hand and against PyTorch's own unfold."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from arlib.patches import patchify, unpatchify


def test_a_picture_cut_by_hand():
    picture = torch.arange(16).view(1, 4, 4, 1)
    patches = patchify(picture, 2)
    assert patches.shape == (1, 2, 2, 4)
    assert patches[0].tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]]


def test_the_colors_of_a_pixel_stay_together():
    picture = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]])
    assert patchify(picture, 1).tolist() == [[[[1, 2, 3], [4, 5, 6]]]]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_there_and_back_and_as_unfold_does_it(batch, rows, columns, patch_size, channels):
    shape = (batch, rows * patch_size, columns * patch_size, channels)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(rows * columns))
    patches = patchify(images, patch_size)
    assert torch.equal(unpatchify(patches, patch_size), images)
    unfolded = F.unfold(images.permute(0, 3, 1, 2), patch_size, stride=patch_size)  # (B, C * p * p, h * w)
    expected = unfolded.view(batch, channels, patch_size**2, rows, columns).permute(0, 3, 4, 2, 1)
    assert torch.equal(patches, expected.flatten(3))


@pytest.mark.parametrize("patch_size", [0, -5, 3, 7, 100])
def test_patches_that_do_not_tile_the_picture_are_refused(patch_size):
    with pytest.raises(ValueError, match="100 pixels high and 150 wide"):
        patchify(torch.zeros(1, 100, 150, 3), patch_size)
