"""The image tokenizer: shapes, exactness, reach, and input that it cannot take."""

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import nn

import arlib
from arlib import data
from arlib.patches import patchify
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer, Quantizer, ResidualBlock, to_float, to_uint8


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
    # The straight-through sum u + (û - u) is û up to its last bit, so a value may round to the next gray level.
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


def test_a_plain_auto_encoder_decodes_latents():
    torch.manual_seed(0)
    model, images = ImageTokenizer(2, 8, 1, latent_dim=6, channels=1).eval(), pictures(1)
    latents = model.encode(images)
    assert latents.shape == (3, HEIGHT, WIDTH, 6)
    reconstruction, same = model(to_float(images))
    torch.testing.assert_close(latents, same.detach())
    assert (model.decode(latents).int() - to_uint8(reconstruction.detach()).int()).abs().max() <= 1
    for wrong in (latents[0], latents[..., :5], latents.long()):
        with pytest.raises(ValueError, match=r"\(B, h, w, 6\) latents"):
            model.decode(wrong)


def test_a_block_adds_to_what_it_is_given():
    block, x = ResidualBlock(8), torch.randn(2, 8, 3, 3)
    nn.init.zeros_(block.mix.weight)
    nn.init.constant_(block.mix.bias, 0.5)  # type: ignore[arg-type]
    assert torch.equal(block(x), x + 0.5)


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


def test_gray_levels_survive_the_way_to_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


# ---- Other channels, several codebooks, pyramids ----


def seen(quantizer: Quantizer) -> Quantizer:
    """A quantizer whose codes are random latents, as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    for part in quantizer.modules():
        if isinstance(part, VQ):
            part.codes.copy_(0.3 * torch.randn(part.codes.shape, generator=generator))
            part.usage.fill_(1.0)
    return quantizer


def build(quantizer: Quantizer, channels: int, depth: int = 1, patch_size: int = 2) -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(patch_size, 8, depth, quantizer=seen(quantizer), channels=channels).eval()


# Of each a grid of 5 × 7, no side of which is the number of channels, of codebooks or of a latent's numbers.
KINDS: dict[str, Callable[[], Quantizer]] = {
    "BSQ": lambda: BSQ(6),
    "VQ": lambda: VQ(16, 6),
    "Product": lambda: Product([VQ(16, 4), VQ(16, 2)]),
    "Residual": lambda: Residual([VQ(16, 6), VQ(16, 6), VQ(16, 6), VQ(16, 6)]),
}
HEIGHT, WIDTH = 5, 7


def pictures(channels: int, height: int = 2 * HEIGHT, width: int = 2 * WIDTH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (3, height, width, channels), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_grids_of_every_kind(kind, channels):
    tokenizer, images = build(KINDS[kind](), channels), pictures(channels)
    assert isinstance(tokenizer.quantizer, nn.Module)
    grid = tokenizer.encode(images)
    books = tokenizer.quantizer.codebooks
    assert grid.shape == ((3, HEIGHT, WIDTH) if books == 1 else (3, HEIGHT, WIDTH, books))
    assert grid.dtype == torch.int64
    assert len(grid.unique()) > 4
    assert tokenizer.token_dims == grid.dim()
    decoded = tokenizer.decode(grid)
    assert decoded.shape == images.shape
    # What training sees is what the tokens alone give, up to the last bit of the straight-through sum.
    in_training = to_uint8(tokenizer(to_float(images))[0].detach())
    assert (in_training.int() - decoded.int()).abs().max() <= 1
    again = ImageTokenizer.from_config(tokenizer.config).eval()
    again.load_state_dict(tokenizer.state_dict())
    assert torch.equal(again.decode(grid), decoded)
    assert again.channels == channels


def box(changed: torch.Tensor) -> tuple[int, int, int, int]:
    """The first and the last row, the first and the last column of what is True, `(H, W)`."""
    rows, columns = changed.nonzero().unbind(1)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def edit_one_token(tokenizer: ImageTokenizer, grid: torch.Tensor, place: tuple[int, ...]) -> torch.Tensor:
    """Which pixels change where a token of the first picture changes, `(H, W)`, in the decoder's own floats."""
    assert tokenizer.quantizer is not None
    changed = grid.clone()
    changed[(0, *place)] = (changed[(0, *place)] + 5) % tokenizer.codebook_size
    with torch.no_grad():
        before, after = (tokenizer.paint(tokenizer.quantizer.decode(tokens)) for tokens in (grid, changed))
    assert torch.equal(to_uint8(after), tokenizer.decode(changed))
    assert torch.equal(before[1:], after[1:])
    return (before != after).any(-1)[0]


def patches_around(row: int, column: int, reach: int, patch_size: int = 2) -> tuple[int, int, int, int]:
    """The box of pixels of the patches up to `reach` away, cut off at the picture's edge."""
    first, left = max(row - reach, 0), max(column - reach, 0)
    last, right = min(row + reach, HEIGHT - 1), min(column + reach, WIDTH - 1)
    return first * patch_size, (last + 1) * patch_size - 1, left * patch_size, (right + 1) * patch_size - 1


def changes_lie_where_they_should(tokenizer: ImageTokenizer, grid: torch.Tensor, depth: int) -> bool:
    """Does the edit of any one token change the patches around it, as far as the decoder reaches, and no others?"""
    for row, column in ((0, 0), (2, 3), (4, 1), (1, 6), (3, 5)):
        for place in [(row, column, book) for book in range(grid.shape[3])] if grid.dim() == 4 else [(row, column)]:
            if box(edit_one_token(tokenizer, grid, place)) != patches_around(row, column, depth):
                return False
    return True


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_changes_its_own_place_in_the_picture(kind, channels, depth):
    tokenizer = build(KINDS[kind](), channels, depth)
    assert changes_lie_where_they_should(tokenizer, tokenizer.encode(pictures(channels)), depth)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_changes_the_tokens_of_its_own_place(kind, depth):
    """The encoder: latents change as far as it reaches, and tokens nowhere else."""
    tokenizer, images = build(KINDS[kind](), 1, depth), pictures(1)
    for row, column in ((0, 0), (2, 3), (4, 1), (1, 6)):
        changed = images.clone()
        changed[0, 2 * row, 2 * column] ^= 255
        with torch.no_grad():
            before, after = (tokenizer(to_float(batch))[1] for batch in (images, changed))
        where = (before != after).any(-1)[0]
        assert box(where) == patches_around(row, column, depth, patch_size=1)
        tokens = (tokenizer.encode(images) != tokenizer.encode(changed)).view(3, HEIGHT, WIDTH, -1).any(-1)
        assert not (tokens[0] & ~where).any()


def viewed_pixels(self, latent):
    """The mistake: `(B, h, w, d)` memory read as `(B, d, h, w)`."""
    batch, height, width, dim = latent.shape
    return self.decoder(latent.reshape(batch, dim, height, width)).permute(0, 2, 3, 1).float()


def viewed_latent(self, pixels, quality):
    encoded = self.encoder(pixels.permute(0, 3, 1, 2))
    batch, dim, height, width = encoded.shape
    return encoded.reshape(batch, height, width, dim).float()


def test_a_view_in_place_of_a_permute_is_found_by_the_edit(monkeypatch):
    """It fails by no shape, and written in both directions it even trains; the edit of one token finds it each time."""
    images = pictures(1)
    tokenizer = build(KINDS["Product"](), 1)
    right = tokenizer.encode(images)
    monkeypatch.setattr(ImageTokenizer, "paint", viewed_pixels)
    assert tokenizer.decode(right).shape == images.shape
    assert not changes_lie_where_they_should(tokenizer, right, 1)

    monkeypatch.setattr(ImageTokenizer, "_latent", viewed_latent)
    wrong = tokenizer.encode(images)
    assert wrong.shape == right.shape
    in_training = to_uint8(tokenizer(to_float(images))[0].detach())
    assert (in_training.int() - tokenizer.decode(wrong).int()).abs().max() <= 1  # both ways agree with each other
    assert not changes_lie_where_they_should(tokenizer, wrong, 1)


def test_a_view_in_one_direction_is_found_by_the_reconstruction_too(monkeypatch):
    images, tokenizer = pictures(1), build(KINDS["VQ"](), 1)
    in_training = to_uint8(tokenizer(to_float(images))[0].detach())
    monkeypatch.setattr(ImageTokenizer, "paint", viewed_pixels)
    assert (in_training.int() - tokenizer.decode(tokenizer.encode(images)).int()).abs().max() > 1


def test_rows_for_columns_fail_by_their_shape_on_a_grid_that_is_not_square(monkeypatch):
    images, tokenizer = pictures(3), build(KINDS["VQ"](), 3)

    def transposed(self, latent):
        return self.decoder(latent.permute(0, 3, 2, 1)).permute(0, 2, 3, 1).float()

    monkeypatch.setattr(ImageTokenizer, "paint", transposed)
    assert tokenizer.decode(tokenizer.encode(images)).shape == (3, 14, 10, 3)


def test_a_pyramid_of_tokens():
    tokenizer, images = build(Pyramid(VQ(16, 6), (1, 2, 5), cut=0.25), 1), pictures(1, 10, 10)
    tokens = tokenizer.encode(images)
    assert tokens.shape == (3, 1 + 4 + 25)
    assert tokens.dtype == torch.int64
    assert tokenizer.token_dims == 2
    in_training = to_uint8(tokenizer(to_float(images))[0].detach())
    assert (in_training.int() - tokenizer.decode(tokens).int()).abs().max() <= 1
    for count in (1, 5, 30):
        assert tokenizer.decode(tokens[:, :count]).shape == images.shape
    assert not torch.equal(tokenizer.decode(tokens[:, :5]), tokenizer.decode(tokens))
    again = ImageTokenizer.from_config(tokenizer.config).eval()
    again.load_state_dict(tokenizer.state_dict())
    assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))
    assert again.config == tokenizer.config


def test_a_pyramids_token_changes_the_place_of_its_cell():
    """A cell reaches its neighbors' centers, as enlarging interpolates; φ adds one patch, and so does each block."""
    sides, finest, depth = (1, 2, 4, 8), 8, 1
    tokenizer = build(Pyramid(VQ(16, 6), sides), 1, depth)
    tokens = tokenizer.encode(pictures(1, 16, 16))
    first = 0
    for side in sides:
        for row, column in {(0, 0), (side - 1, side // 2), (side // 2, 0)}:
            changed = edit_one_token(tokenizer, tokens, (first + row * side + column,))
            top, bottom, left, right = (pixel // 2 for pixel in box(changed))
            size = finest // side
            spread = (size if side < finest else 0) // 2 + 1 + depth
            if side == 1:  # one cell is the same everywhere
                assert (top, bottom, left, right) == (0, 7, 0, 7)
                continue
            assert top == max(0, row * size - spread)
            assert bottom == min(finest - 1, (row + 1) * size - 1 + spread)
            assert left == max(0, column * size - spread)
            assert right == min(finest - 1, (column + 1) * size - 1 + spread)
        first += side**2


def test_what_other_grids_refuse():
    gray = build(KINDS["Product"](), 1)
    with pytest.raises(ValueError, match=r"\(B, H, W, 1\) uint8, not \(3, 10, 14, 3\) uint8"):
        gray.encode(pictures(3))
    with pytest.raises(ValueError, match=r"a grid \(B, h, w, codebooks\) int64, not \(1, 5, 7\) int64"):
        gray.decode(torch.zeros(1, 5, 7, dtype=torch.int64))
    with pytest.raises(ValueError, match="has 2 codebooks, not 3"):
        gray.decode(torch.zeros(1, 5, 7, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\[0, 16\)"):
        gray.decode(torch.full((1, 5, 7, 2), 16))
    with pytest.raises(ValueError, match=r"a grid \(B, h, w\) int64"):
        build(KINDS["VQ"](), 1).decode(torch.zeros(1, 5, 7, 1, dtype=torch.int64))
    pyramid = build(Pyramid(VQ(16, 6), (1, 2, 5)), 1)
    with pytest.raises(ValueError, match="pictures of 10×10 pixels, not of 10×14"):
        pyramid.encode(pictures(1))
    with pytest.raises(ValueError, match=r"a sequence \(B, T\) int64"):
        pyramid.decode(torch.zeros(1, 5, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"after \[1, 5, 30\] tokens, not after 6"):
        pyramid.decode(torch.zeros(1, 6, dtype=torch.int64))


def test_the_configuration_of_a_color_tokenizer_names_no_channels():
    """So that the files that were written before there were others keep their hash."""
    assert "channels" not in ImageTokenizer(5, 8, 1, quantizer=BSQ(4)).config
    assert ImageTokenizer(5, 8, 1, quantizer=BSQ(4), channels=1).config["channels"] == 1


# ---- A dial, and refined pixels ----


def dialled(qualities: int) -> ImageTokenizer:
    torch.manual_seed(0)
    model = ImageTokenizer(5, 16, 1, Product([BSQ(3), BSQ(3)]), refine=1, qualities=qualities)
    nn.init.normal_(model.get_parameter("dial"))
    return model


def test_the_dial_moves_tokens_and_between_two_settings_lies_their_mixture():
    model, images = dialled(3), pictures(3, 20, 30)
    assert not torch.equal(model.encode(images, 0), model.encode(images, 2))
    assert torch.equal(model.encode(images), model.encode(images, 2))
    each = torch.stack([model.encode(images, setting)[row] for row, setting in enumerate((0, 1.5, 2))])
    assert torch.equal(model.encode(images, torch.tensor([0.0, 1.5, 2.0])), each)
    dial = model.get_parameter("dial")
    with torch.no_grad():
        mixed = model.encode(images, 1.25)
        dial[1] = 0.75 * dial[1] + 0.25 * dial[2]
    assert torch.equal(mixed, model.encode(images, 1))


@pytest.mark.parametrize("quality", [-0.1, 2.1, math.nan, torch.tensor([0.0]), torch.tensor([0.0, 9.0])])
def test_settings_that_the_dial_does_not_have_are_refused(quality):
    with pytest.raises(ValueError, match="quality"):
        dialled(3).encode(pictures(3, 20, 30)[:2], quality)


def test_a_tokenizer_without_a_dial_takes_no_quality():
    model = ImageTokenizer(5, 16, 1, BSQ(3))
    assert (model.qualities, dialled(3).qualities) == (0, 3)
    with pytest.raises(ValueError, match="no dial"):
        model.encode(pictures(3, 20, 30), 1)


def test_a_dial_and_refined_pixels_are_part_of_the_configuration():
    model = dialled(3)
    again = ImageTokenizer.from_config(model.config)
    again.load_state_dict(model.state_dict())
    images = pictures(3, 20, 30)
    assert torch.equal(again.reconstruct(images), model.reconstruct(images))
    assert {"refine", "qualities"}.isdisjoint(ImageTokenizer(5, 16, 1, BSQ(3)).config)
    for switches in ({"refine": 1}, {"qualities": 2}):
        with pytest.raises(ValueError, match="depth 0"):
            ImageTokenizer(5, 16, 0, BSQ(3), **switches)
    with pytest.raises(ValueError, match="two settings"):
        ImageTokenizer(5, 16, 1, BSQ(3), qualities=1)


def test_a_seam_is_within_reach_of_the_layers_that_refine_pixels():
    """A pixel at a patch's edge depends on the neighboring patch's code even if no block of patches looks around."""
    model = dialled(2)
    with torch.no_grad():
        model.get_parameter("decoder.1.conv.weight")[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    tokens = torch.zeros(1, 4, 6, 2, dtype=torch.int64)
    other = tokens.clone()
    other[0, 1, 2] = 5
    changed = (model.decode(tokens) != model.decode(other)).any(-1)[0]
    assert changed[5:10, 10:15].any()
    assert changed[5:10, 9].any()
    assert not changed[:, :8].any()


def test_a_setting_is_added_to_the_first_layers_bias():
    model, images = dialled(3), pictures(3, 20, 30)
    plain = ImageTokenizer(5, 16, 1, Product([BSQ(3), BSQ(3)]), refine=1)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name != "dial"})
    bias = plain.get_parameter("encoder.0.bias")
    before = bias.detach().clone()
    dial = model.get_parameter("dial").detach()
    for setting, row in ((0, dial[0]), (0.25, 0.75 * dial[0] + 0.25 * dial[1]), (1, dial[1]), (2, dial[2])):
        with torch.no_grad():
            bias.copy_(before + row)
        torch.testing.assert_close(model.latents(images, setting), plain.latents(images), rtol=0, atol=1e-5)


def test_tokens_are_those_of_the_latents_at_each_pictures_setting():
    model, images = dialled(3), pictures(3, 20, 30).repeat(12, 1, 1, 1)  # more than pass at a time
    settings = torch.linspace(0, 2, 36)
    latents = model.latents(images, settings)
    assert latents.shape == (36, 4, 6, 6)
    assert isinstance(model.quantizer, Product)
    assert torch.equal(model.quantizer.encode(latents), model.encode(images, settings))
    torch.testing.assert_close(latents, model(to_float(images), settings)[1].detach(), rtol=0, atol=1e-5)
    assert torch.equal(model.latents(images), model.latents(images, 2))


def test_the_largest_shipped_tokenizer_fits_its_weights():
    """Every layer is where it was when they were written."""
    fine = arlib.load_tokenizer("fine")
    assert (fine.refine, fine.qualities, fine.token_dims) == (2, 8, 4)
    images = torch.stack([data.read_image(path) for path in data.files("supertuxkart", "valid")[:2]])
    assert (fine.reconstruct(images).float() - images).square().mean() < 255**2 / 10**2.5  # 25 dB
