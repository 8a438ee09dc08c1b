"""Coarse to fine: the tables by hand, sums of maps that are what decoding gives, and gradients that get through."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from arlib import scales
from arlib.quantizers import VQ
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.training import ReconstructionLoss


def build(sides=(1, 2, 4), **options) -> Pyramid:
    """A pyramid as after training: random codes and random convolutions."""
    torch.manual_seed(0)
    pyramid = Pyramid(VQ(16, 3), sides, **options)
    nn.init.normal_(pyramid.quantizer.codes)
    pyramid.quantizer.usage.fill_(1.0)
    return pyramid.eval()


def latents(side=4, count=5) -> torch.Tensor:
    return torch.randn(count, side, side, 3, generator=torch.Generator().manual_seed(1))


def test_where_maps_end():
    assert scales.ends((1, 2, 4)) == [1, 5, 21]
    assert scales.ends((1, 2, 4, 7)) == [1, 5, 21, 70]
    assert scales.ends([1]) == [1]


@pytest.mark.parametrize("sides", [(), (2, 4), (1, 1), (1, 4, 2), (0, 1), (1, 2, 2)])
def test_sides_that_make_no_pyramid(sides):
    for build_ in (scales.ends, scales.tables, lambda sides: Pyramid(VQ(4, 2), sides)):
        with pytest.raises(ValueError, match="begin with 1 and grow"):
            build_(sides)


def test_parents_by_hand():
    source, block = scales.tables((1, 2, 4))
    assert source.dtype == block.dtype == torch.int64
    assert block.tolist() == [0] + [1] * 4 + [2] * 16
    assert source[:5].tolist() == [-1, 0, 0, 0, 0]
    assert source[5:].view(4, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_parents_by_hand_where_cells_do_not_fit():
    """Seven cells over four: the parent is the cell that holds the corner at the top left, 0 0 1 1 2 2 3."""
    source, block = scales.tables((1, 2, 4, 7))
    assert len(source) == len(block) == 70
    assert torch.equal(source[:21], scales.tables((1, 2, 4))[0])
    assert block[21:].tolist() == [3] * 49
    rows = [[0, 0, 1, 1, 2, 2, 3], [4, 4, 5, 5, 6, 6, 7], [8, 8, 9, 9, 10, 10, 11], [12, 12, 13, 13, 14, 14, 15]]
    expected = [[5 + place for place in rows[row]] for row in (0, 0, 1, 1, 2, 2, 3)]
    assert source[21:].view(7, 7).tolist() == expected


@given(st.sets(st.integers(2, 12), max_size=4))
def test_every_cell_has_a_parent_one_scale_up_and_every_parent_has_children(larger):
    sides = (1, *sorted(larger))
    source, block = scales.tables(sides)
    assert len(source) == scales.ends(sides)[-1]
    assert block.bincount().tolist() == [side**2 for side in sides]
    assert source[0] == -1
    assert torch.equal(block[source[1:]], block[1:] - 1)
    assert set(source[1:].tolist()) == set(range(len(source) - sides[-1] ** 2))


def test_the_maps_by_hand():
    """Codes -1, 0 and 1, and no convolution but half of what it is given: φ(h) = h / 2 + 0.

    The mean of 3, 3, -1, -1 is 1: code 1, of which φ leaves ½. What is left, 2.5, 2.5, -1.5, -1.5, is 1, 1, -1, -1.
    """
    pyramid = Pyramid(VQ(3, 1), (1, 2)).eval()
    pyramid.quantizer.codes.copy_(torch.tensor([[-1.0], [0.0], [1.0]]))
    for convolution in pyramid.smooth:
        for parameter in convolution.parameters():
            nn.init.zeros_(parameter)
    latent = torch.tensor([3.0, 3.0, -1.0, -1.0]).view(1, 2, 2, 1)
    tokens = pyramid.encode(latent)
    assert tokens.tolist() == [[2, 2, 2, 0, 0]]
    assert pyramid.decode(tokens).flatten().tolist() == [1.0, 1.0, 0.0, 0.0]
    assert pyramid.decode(tokens[:, :1]).flatten().tolist() == [0.5] * 4
    assert pyramid(latent).flatten().tolist() == [1.0, 1.0, 0.0, 0.0]
    assert pyramid.loss(latent).item() == pytest.approx(0.25 * (4 + 4 + 1 + 1) / 4)


def reference(pyramid: Pyramid, latent: torch.Tensor) -> tuple[list[int], list[torch.Tensor]]:
    """The tokens of one grid of latents, and the sums of its maps, straight from the definition: `(side, side, d)`."""
    finest, tokens, total, sums = pyramid.sides[-1], [], torch.zeros_like(latent), []
    for scale, side in enumerate(pyramid.sides):
        left, cells = latent - total, torch.zeros(side, side, latent.shape[-1])
        for row, column in itertools.product(range(side), range(side)):
            # Cell i covers from its first place, rounded down, to its last, rounded up.
            rows = slice(row * finest // side, -(-(row + 1) * finest // side))
            columns = slice(column * finest // side, -(-(column + 1) * finest // side))
            mean = left[rows, columns].flatten(0, 1).mean(0)
            tokens.append(int((pyramid.quantizer.codes - mean).square().sum(-1).argmin()))
            cells[row, column] = pyramid.quantizer.codes[tokens[-1]]
        large = F.interpolate(cells.permute(2, 0, 1)[None], (finest, finest), mode="bilinear", align_corners=False)
        total = total + ((large + pyramid.smooth[scale](large)) / 2)[0].permute(1, 2, 0)
        sums.append(total)
    return tokens, sums


@pytest.mark.parametrize("sides", [(1, 2, 4), (1, 3, 4), (1, 2, 4, 7)])
def test_tokens_and_sums_are_those_of_the_definition(sides):
    pyramid, latent = build(sides), latents(sides[-1], 3)
    tokens = pyramid.encode(latent)
    assert tokens.shape == (3, pyramid.length)
    assert tokens.dtype == torch.int64
    with torch.no_grad():
        for sample in range(3):
            expected, sums = reference(pyramid, latent[sample])
            assert tokens[sample].tolist() == expected
            for end, total in zip(pyramid.ends, sums, strict=True):
                partial = pyramid.decode(tokens[sample : sample + 1, :end])[0]
                torch.testing.assert_close(partial, total, rtol=1e-5, atol=1e-5)


def test_the_sum_of_the_maps_is_decode_of_encode():
    pyramid, latent = build(), latents()
    with torch.no_grad():
        assert torch.equal(pyramid(latent), pyramid.decode(pyramid.encode(latent)))
    with pytest.raises(ValueError, match=r"after \[1, 5, 21\] tokens, not after 20"):
        pyramid.decode(torch.zeros(1, 20, dtype=torch.int64))


def test_a_sequence_of_tokens_is_the_maps_in_raster_order():
    """Another token of the finest map changes its own cell most, and so for every cell."""
    pyramid = build((1, 3))
    tokens = torch.zeros(1, 10, dtype=torch.int64)
    with torch.no_grad():
        for convolution in pyramid.smooth:
            for parameter in convolution.parameters():
                parameter.zero_()
        before = pyramid.decode(tokens)
        for row, column in itertools.product(range(3), range(3)):
            changed = tokens.clone()
            changed[0, 1 + 3 * row + column] = 1
            where = (pyramid.decode(changed) != before).any(-1)[0]
            assert where.nonzero().tolist() == [[row, column]]


def test_gradients_reach_the_convolutions_and_pass_through_to_the_encoder():
    pyramid = build(cut=0.0).train()
    latent = latents().requires_grad_()
    weights = torch.randn(latent.shape)
    (pyramid(latent) * weights).sum().backward()
    assert torch.equal(latent.grad, weights)  # type: ignore[arg-type]
    for convolution in pyramid.smooth:
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in convolution.parameters())
    # And a step against it makes the sum of maps nearer to what is wanted: φ learns.
    pyramid.eval()
    wanted, latent = torch.randn(latent.shape), latents()
    optimizer = torch.optim.Adam(pyramid.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(pyramid(latent), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_commitment_draws_latents_to_the_sum_and_moves_nothing_else():
    pyramid, latent = build().train(), latents().requires_grad_()
    before = {name: value.clone() for name, value in pyramid.state_dict().items()}
    pyramid.loss(latent).backward()
    with torch.no_grad():
        total = pyramid.decode(pyramid.encode(latent))
    expected = 0.25 * 2 * (latent.detach() - total) / latent.numel()
    torch.testing.assert_close(latent.grad, expected)
    assert all(parameter.grad is None for parameter in pyramid.parameters())
    assert all(torch.equal(value, before[name]) for name, value in pyramid.state_dict().items())


def test_a_tokenizer_learns_through_a_pyramid():
    """Encoder, φ and decoder all get gradients, and codes come from the residuals of all scales."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(2, 8, 1, quantizer=Pyramid(VQ(16, 3), (1, 2, 4)), channels=1)
    images = torch.randint(256, (16, 8, 8, 1), dtype=torch.uint8)
    loss = ReconstructionLoss(tokenizer).train()
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        value = loss(images)
        optimizer.zero_grad()
        value.backward()
        if step == 1:  # from the second batch on there are codes
            without = [name for name, it in loss.named_parameters() if it.grad is None or not it.grad.any()]
            assert without == []
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[1:6])


def test_in_training_some_pictures_keep_only_their_first_maps():
    torch.manual_seed(0)
    latent = latents(4, 400)
    pyramid = build(cut=0.6)
    with torch.no_grad():
        sums = [pyramid.decode(pyramid.encode(latent)[:, :end]) for end in pyramid.ends]
        out = pyramid.train()(latent)
    kept = [int((out - total).flatten(1).abs().amax(1).le(1e-5).sum()) for total in sums]
    assert sum(kept) == 400
    # Six in ten are cut, to one, two or all three of the maps.
    assert all(abs(count - 80) < 35 for count in kept[:2])
    assert abs(kept[2] - 240) < 40
    for cut, whole in ((0.0, 400), (1.0, 133)):
        pyramid = build(cut=cut)
        with torch.no_grad():
            out = pyramid.train()(latent)
        assert abs(int((out - sums[2]).flatten(1).abs().amax(1).le(1e-5).sum()) - whole) < 40 * bool(cut) + 1


def test_only_forward_in_train_mode_moves_codes():
    pyramid, latent = build(), latents()
    before = pyramid.quantizer.codes.clone()
    pyramid(latent)
    pyramid.train().encode(latent)
    assert torch.equal(pyramid.quantizer.codes, before)
    pyramid(latent)
    assert not torch.equal(pyramid.quantizer.codes, before)


def test_the_first_batch_gives_the_codes_from_residuals_of_all_scales():
    torch.manual_seed(0)
    pyramid, latent = Pyramid(VQ(64, 3), (1, 2, 4)).train(), latents()
    for convolution in pyramid.smooth:
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    pyramid(latent)
    # Before there are codes all maps are zeros, so what is left over is the means of the latents themselves.
    sizes = (1, 2, 4)
    cells = [F.adaptive_avg_pool2d(latent.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1) for side in sizes]
    rows = torch.cat([cell.flatten(0, 2) for cell in cells])
    distance, nearest = (pyramid.quantizer.codes[:, None] - rows).abs().amax(dim=-1).min(dim=1)
    assert distance.max() < 1e-5
    assert len({scale for index in nearest.tolist() for scale in range(3) if index < (5, 25, 105)[scale]}) == 3
    assert pyramid.quantizer.usage.all()


def test_half_precision_gives_the_same_tokens_nearly_always():
    pyramid, latent = build(), latents(4, 200)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = pyramid.encode(latent)
    assert (tokens[:, :1] == pyramid.encode(latent)[:, :1]).all()
    assert (tokens == pyramid.encode(latent)).double().mean() > 0.9
