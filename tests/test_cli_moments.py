"""What a model can do on its way, as pictures in the run's folder and on TensorBoard's page."""

import io
import math

import numpy as np
import pytest
import torch
from conftest import noise
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import arlib
from arlib import data, orders, sampling
from arlib.cli import moments
from arlib.quantizers import BSQ, VQ
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior


def test_pictures_of_a_moment_are_a_file_and_on_the_board(tmp_path):
    images = noise(3, 6, 8, 3)
    write = moments.keep(tmp_path, "things", lambda: images, 2)
    write(12)
    write(345)
    names = [path.name for path in sorted((tmp_path / "moments").iterdir())]
    assert names == ["things-0000012.png", "things-0000345.png"]
    page = data.read_image(tmp_path / "moments" / names[0], 2 * 6 + 2, 2 * 8 + 2)
    assert torch.equal(page, moments.contact_sheet(images, 2))
    assert torch.equal(page[8:, :8], images[2])
    board = EventAccumulator(str(tmp_path / "curves"), size_guidance={"images": 0})
    board.Reload()
    events = board.Images("things")
    assert sorted(event.step for event in events) == [12, 345]
    with Image.open(io.BytesIO(events[0].encoded_image_string)) as shown:
        assert torch.equal(torch.from_numpy(np.array(shown)), page)


def test_a_contact_sheet_fills_its_last_row_with_white():
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 2, 2, 3)
    sheet = moments.contact_sheet(images, 2, gap=1)
    assert sheet[..., 0].tolist() == [
        [0, 0, 255, 1, 1],
        [0, 0, 255, 1, 1],
        [255] * 5,
        [2, 2, 255, 255, 255],
        [2, 2, 255, 255, 255],
    ]
    assert moments.contact_sheet(images[[0, 1, 2, 0]], 3, gap=1).shape == (5, 8, 3)


def test_samples_of_a_moment_are_the_same_each_time_and_a_column_is_a_class(tmp_path):
    tokenizer = arlib.ImageTokenizer(7, 8, 1, arlib.quantizers.BSQ(4), channels=1)
    prior = arlib.Prior(16, 16, 8, 1, 1, classes=10).eval()
    (tmp_path / "curves").mkdir()
    write = moments.samples(tmp_path, prior, tokenizer, (4, 4))
    write(1)
    write(2)
    first, second = sorted((tmp_path / "moments").iterdir())
    assert first.read_bytes() == second.read_bytes()
    page = data.read_image(first, 4 * 28 + 6, 10 * 28 + 18, channels=1)
    tokens = sampling.generate(prior, 40, label=torch.arange(40) % 10)
    images = tokenizer.decode(orders.unraster(tokens, 4, 4))
    assert torch.equal(page[30:58, 60:88], images[12])


@pytest.mark.parametrize(("side", "columns"), [(63, 10), (64, 4)])
def test_pictures_stand_above_what_the_tokenizer_makes_of_them(tmp_path, side, columns):
    tokenizer = ImageTokenizer(1, 4, 0, BSQ(3))
    images = noise(12, 2, side, 3)
    (tmp_path / "curves").mkdir()
    moments.reconstructions(tmp_path, tokenizer, images)(1)
    width = columns * side + (columns - 1) * 2
    page = data.read_image(tmp_path / "moments" / "reconstructions-0000001.png", 2 + 2 + 2, width)
    some = images[:columns]
    for number, (image, again) in enumerate(zip(some, tokenizer.reconstruct(some), strict=True)):
        here = page[:, number * (side + 2) :][:, :side]
        assert torch.equal(torch.cat([here[:2], here[-2:]]), torch.cat([image, again]))


@pytest.mark.parametrize(
    ("patch_size", "grid", "options", "shape"),
    [
        (16, (2, 4), {}, (1, 4)),  # 64 pixels wide: four in one row
        (9, (2, 7), {}, (4, 10)),  # 63 pixels
        (32, (5,), {"scales": (1, 2)}, (4, 10)),
        (16, (2, 4), {"classes": 3}, (1, 3)),
        (16, (2, 4), {"classes": 5}, (4, 5)),
        (9, (3, 3), {"classes": 5, "any_order": True}, (4, 5)),
    ],
)
def test_samples_of_a_moment_stand_in_rows(tmp_path, patch_size, grid, options, shape):
    length, classes = math.prod(grid), options.get("classes")
    prior = Prior(16, length, 8, 1, 1, **options).eval()
    quantizer = Pyramid(VQ(16, 4), options["scales"]) if "scales" in options else BSQ(4)
    tokenizer = ImageTokenizer(patch_size, 8, 0, quantizer).eval()
    (tmp_path / "curves").mkdir()
    moments.samples(tmp_path, prior, tokenizer, grid)(1)
    count = shape[0] * shape[1]
    tokens = sampling.generate(
        prior,
        count,
        label=torch.arange(count) % classes if classes else None,
        order=orders.shuffled(length, 0) if "any_order" in options else None,
    )
    images = tokenizer.decode(tokens.unflatten(1, grid))
    rows, columns = (number * side + (number - 1) * 2 for number, side in zip(shape, images.shape[1:3], strict=True))
    page = data.read_image(tmp_path / "moments" / "samples-0000001.png", rows, columns)
    for number, image in enumerate(images):
        down, across = number // shape[1] * (images.shape[1] + 2), number % shape[1] * (images.shape[2] + 2)
        assert torch.equal(page[down : down + images.shape[1], across : across + images.shape[2]], image)
