"""What options stand for: quantizers, sizes, classes, and the part of a picture that is drawn anew."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from PIL import Image

from arlib import checkpoints, data
from arlib.cli import common, completing, terminal
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior


def quantizer(name="vq", bits=4, codebooks=1, residual=False, latent_dim=6, scales=None, cut=0.5):
    return common.make_quantizer(name, bits, codebooks, residual, latent_dim, scales, cut)


def shapes(*codebooks: Any) -> list[tuple[int, int]]:
    """How many codes each codebook has, and how many numbers a code."""
    return [(book.codebook_size, book.latent_dim) for book in codebooks]


@pytest.mark.parametrize("bits", [1, 10, 18])
def test_bsq_has_a_sign_a_bit(bits):
    made = quantizer("bsq", bits)
    assert isinstance(made, BSQ)
    assert made.codebook_size == 2**bits


@pytest.mark.parametrize(("bits", "latent_dim"), [(1, 1), (4, 6), (5, 2)])
def test_a_codebook_has_a_vector_for_each_code(bits, latent_dim):
    made = quantizer("vq", bits, latent_dim=latent_dim)
    assert isinstance(made, VQ)
    assert shapes(made) == [(2**bits, latent_dim)]


def test_several_codebooks_share_a_latent_or_its_parts():
    product, residual = quantizer(codebooks=3), quantizer(codebooks=3, residual=True)
    assert isinstance(product, Product)
    assert isinstance(residual, Residual)
    assert shapes(*product.each) == [(16, 2)] * 3
    assert shapes(*residual.each) == [(16, 6)] * 3


@pytest.mark.parametrize("cut", [0.0, 0.25, 1.0])
def test_a_pyramid_has_the_sides_that_are_named(cut):
    made = quantizer(scales="1,2,4", cut=cut)
    assert isinstance(made, Pyramid)
    assert (tuple(made.sides), made.cut, made.codebook_size) == ((1, 2, 4), cut, 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "pq"}, "bsq or vq, not pq"),
        ({"bits": 0}, "1 to 18 bits"),
        ({"bits": 19}, "1 to 18 bits"),
        ({"codebooks": 0}, "1 to 18 bits"),
        ({"latent_dim": 0}, "1 to 18 bits"),
        ({"codebooks": 4}, "4 codebooks cannot share 6 numbers equally"),
        ({"name": "bsq", "scales": "1,2"}, "goes with --quantizer vq and one codebook"),
        ({"codebooks": 2, "scales": "1,2"}, "goes with --quantizer vq and one codebook"),
        ({"scales": "1,two"}, "names sides like 1,2,4"),
        ({"scales": "1,2", "cut": -0.1}, "between 0 and 1, not -0.1"),
        ({"scales": "1,2", "cut": 1.1}, "between 0 and 1, not 1.1"),
    ],
)
def test_quantizers_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        quantizer(**options)


@pytest.mark.parametrize(
    ("name", "patch_size", "channels", "fits"),
    [
        ("supertuxkart", 25, 3, True),
        ("supertuxkart", 20, 3, False),  # 150 are no twenties
        ("supertuxkart", 30, 3, False),  # and 100 no thirties
        ("digits", 7, 1, True),
        ("digits", 7, 3, False),
        ("cifar10", 4, 1, False),
    ],
)
def test_a_tokenizer_takes_pictures_of_its_colors_that_its_patches_tile(name, patch_size, channels, fits):
    model = ImageTokenizer(patch_size, 8, 0, BSQ(4), channels=channels)
    if fits:
        common.check_fits(model, name)
    else:
        with pytest.raises(
            data.DataError, match=rf"The pictures of {name} are .* patches of {patch_size}×{patch_size}"
        ):
            common.check_fits(model, name)


def test_a_tokenizer_of_no_set_counts_as_one_of_frames(tmp_path):
    checkpoints.save(tmp_path / "a.safetensors", "tokenizer", ImageTokenizer(17, 8, 0, BSQ(4)))
    assert common.data_of(str(tmp_path / "a.safetensors")) == "supertuxkart"


def test_guidance_has_limits():
    prior = Prior(4, 4, 8, 1, 1)
    for guidance in (-100.0, 0.0, 100.0):
        common.check_spoken(prior, guidance, 2)
    for guidance in (-100.5, 101.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="--guidance lies between -100 and 100"):
            common.check_spoken(prior, guidance, 2)


def test_numbers_and_names():
    assert common.numbers("8e-4,4e-4") == [8e-4, 4e-4]
    assert common.numbers("1") == [1.0]
    for text in ("", "1,", "1;2", "one"):
        with pytest.raises(data.DataError, match="is not a list of numbers"):
            common.numbers(text)
    assert [common.class_name(label, "digits") for label in (0, 9, 10)] == ["0", "9", "10"]
    assert [common.class_name(label, "cifar10") for label in (5, 10)] == ["dog", "10"]
    assert common.class_name(0, "supertuxkart") == "0"


def test_rows_are_kept_from_none_to_all():
    image = torch.zeros(28, 28, 1, dtype=torch.uint8)
    for rows in (0, 1, 4):
        drawn = completing.to_draw(image, 7, rows, None, None, False)
        assert (drawn.sum(), drawn[7 * rows :].all()) == (28 * (28 - 7 * rows), True)
    for rows in (-1, 5):
        with pytest.raises(ValueError, match="--keep-rows lies between 0 and 4"):
            completing.to_draw(image, 7, rows, None, None, False)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_brighter_than_the_middle_of_a_mask_is_drawn(tmp_path, mode):
    mask = Image.new("L", (28, 28), 127)
    mask.paste(128, (0, 0, 10, 5))
    mask.convert(mode).save(tmp_path / "mask.png")
    image = torch.zeros(28, 28, 1, dtype=torch.uint8)
    drawn = completing.to_draw(image, 7, None, None, tmp_path / "mask.png", False)
    assert (drawn.dtype, drawn.sum()) == (torch.bool, 50)
    assert drawn[:5, :10].all()
    mask.resize((56, 56), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    with pytest.raises(data.DataError, match="--fit"):
        completing.to_draw(image, 7, None, None, tmp_path / "large.png", False)
    assert completing.to_draw(image, 7, None, None, tmp_path / "large.png", True)[:4, :9].all()


@pytest.mark.parametrize(
    ("keep", "rows", "columns"),
    [
        ("top", slice(6, None), slice(None)),
        ("bottom", slice(7), slice(None)),
        ("left", slice(None), slice(8, None)),
        ("right", slice(None), slice(9)),
        ("outside", slice(3, 10), slice(4, 13)),
    ],
)
def test_what_is_kept_of_an_uneven_picture_is_no_more_than_half(keep, rows, columns):
    expected = torch.zeros(13, 17, dtype=torch.bool)
    expected[rows, columns] = True
    drawn = completing.to_draw(torch.zeros(13, 17, 1, dtype=torch.uint8), 1, None, keep, None, False)
    assert torch.equal(drawn, expected)


def test_what_would_be_replaced_is_named_and_counted(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c", "d")]
    common.check_unwritten(paths, False)
    for there, words in enumerate(("a would be", "a and 1 other file would be", "a and 2 other files would be")):
        paths[there].touch()
        with pytest.raises(data.DataError, match=f"{words} replaced. Name another place, .*--force"):
            common.check_unwritten(paths, False)
    common.check_unwritten(paths, True)
    assert [common.counted(count, "file") for count in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


def test_a_pace_in_words():
    assert terminal.pace(3, 0.5) == "6.0 pictures a second"
    assert terminal.pace(5000, 4) == "1,250.0 pictures a second"
    assert terminal.pace(0, 0) == "0.0 pictures a second"


WORK = """
import sys
from arlib.cli.terminal import metered
with metered(":car: [red]a[/red]", 4) as meter:
    meter.advance(3)
    meter.progress.refresh()
    if sys.stderr.isatty():
        print("a file [blue]b[/blue] :bus:", end="", file=sys.stderr, flush=True)
"""


def test_a_bar_stands_on_a_terminal_alone_with_names_as_they_are():
    reading, writing = os.openpty()
    everything = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=writing, env=everything, check=True
    )
    os.close(writing)
    shown = re.sub(r"\x1b\[[\d;]*m", "", os.read(reading, 1 << 16).decode())  # without colors
    os.close(reading)
    assert done.stdout == b""
    assert ":car: [red]a[/red] " in shown
    assert "a file [blue]b[/blue] :bus:" in shown
    assert "3/4" in shown
    assert shown.endswith("\x1b[1A\x1b[2K")  # at the end its line is taken away
    quiet = subprocess.run([sys.executable, "-c", WORK], capture_output=True, check=True, env=everything)
    assert (quiet.stdout, quiet.stderr) == (b"", b"")
