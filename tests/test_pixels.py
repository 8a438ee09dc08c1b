"""Pictures of every mode: read rightly or refused in one line, and a bad one never keeps a batch from its good ones."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from arlib import data
from arlib.pixels import to_srgb

SIZE = (150, 100)


def level(path: Path, channels: int = 3) -> list[int]:
    """The one color of a picture."""
    pixels = data.read_image(path, channels=channels).flatten(0, 1)
    assert (pixels == pixels[0]).all()
    return pixels[0].tolist()


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("a.png", np.full((100, 150), 77 * 256 + 200, np.uint16), 77),
        ("a.tif", np.full((100, 150), 77 * 256 + 200, np.uint16), 77),
        ("a.tif", np.full((100, 150), 65535, np.uint16), 255),
        ("a.tif", np.full((100, 150), 77 * 256 + 200, np.int32), 77),
        ("a.tif", np.full((100, 150), 0.5, np.float32), 128),
        ("a.tif", np.full((100, 150), 1, np.float32), 255),
        ("a.tif", np.full((100, 150), 0, np.float32), 0),
    ],
)
def test_wide_grays_keep_their_level(tmp_path, name, array, expected):
    Image.fromarray(array).save(tmp_path / name)
    assert level(tmp_path / name) == [expected] * 3
    assert level(tmp_path / name, channels=1) == [expected]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((100, 150), 65536, np.int32), "integers lie between 65536 and 65536, and not between 0 and 65,535"),
        (np.full((100, 150), -1, np.int32), "integers lie between -1"),
        (np.full((100, 150), 1.5, np.float32), "floats lie between 1.5 and 1.5, and not between 0 and 1"),
        (np.full((100, 150), -0.5, np.float32), "floats"),
        (np.full((100, 150), np.nan, np.float32), "floats lie between nan"),
        (np.full((100, 150), np.inf, np.float32), "floats lie between inf"),
    ],
)
def test_levels_outside_of_the_documented_range_are_refused(tmp_path, array, words):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(data.DataError, match=words):
        data.read_image(tmp_path / "a.tif")


def test_colors_of_sixteen_bits(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">HHH", 200 * 256, 100 * 256, 50 * 256) * 150 for _ in range(100))
    (tmp_path / "a.ppm").write_bytes(
        b"P6 150 100 65535\n" + struct.pack(">HHH", 200 * 257, 100 * 257, 50 * 257) * 15000
    )
    assert level(tmp_path / "a.ppm") == [200, 100, 50]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 150, 100, 16, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(file)
    assert level(tmp_path / "a.png") == [200, 100, 50]


MODES: dict[str, tuple[str, Any, Any]] = {
    "1": ("a.png", 1, [255] * 3),
    "L": ("a.png", 90, [90] * 3),
    "LA": ("a.png", (90, 255), [90] * 3),
    "RGBA": ("a.png", (90, 40, 20, 255), [90, 40, 20]),
    "CMYK": ("a.tif", (55, 155, 205, 0), [200, 100, 50]),
    "YCbCr": ("a.tif", (90, 128, 128), [90] * 3),
    "LAB": ("a.tif", (137, 128, 128), None),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_that_files_hold(tmp_path, mode):
    name, color, expected = MODES[mode]
    Image.new(mode, SIZE, color).save(tmp_path / name)
    found = level(tmp_path / name)
    if expected is not None:
        assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) <= 1
    else:  # L* = 53.6 without a color is a middle gray in sRGB
        assert max(found) - min(found) <= 2
        assert abs(found[0] - 128) <= 3


@pytest.mark.parametrize("mode", ["P", "PA", "HSV", "RGBa", "La", "RGBX"])
def test_the_other_modes_of_pillow_are_converted_too(mode):
    image = Image.new("RGBA", SIZE, (200, 100, 50, 255))
    if mode in ("P", "PA"):
        image = image.convert("RGB").quantize(2).convert(mode)
    elif mode == "La":
        image = image.convert("LA").convert("La")
    else:
        image = image.convert("RGB" if mode in ("HSV", "RGBX") else "RGBA").convert(mode)
    assert image.mode == mode
    gray = 124
    colored: Any = to_srgb(image, False).getpixel((3, 3))
    for found, wanted in zip(colored, [gray] * 3 if mode == "La" else [200, 100, 50], strict=True):
        assert abs(found - wanted) <= 3
    brightness: Any = to_srgb(image, True).getpixel((3, 3))
    assert abs(brightness - gray) <= 2


def test_a_profile_is_converted_and_that_of_srgb_changes_nothing(tmp_path):
    color = (200, 100, 50)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", SIZE, color).save(tmp_path / "srgb.png", icc_profile=srgb)
    assert level(tmp_path / "srgb.png") == list(color)
    # Red and green exchanged: the colorants of sRGB under each other's names.
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    swapped = bytearray(srgb)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    Image.new("RGB", SIZE, color).save(tmp_path / "named srgb.png", icc_profile=bytes(swapped))
    assert level(tmp_path / "named srgb.png") == list(color)  # by its name: no two makers' numbers are the same
    swapped = swapped.replace(b"s\0R\0G\0B", b"s\0W\0A\0P")
    Image.new("RGB", SIZE, color).save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    found = level(tmp_path / "swapped.png")
    assert max(abs(one - other) for one, other in zip(found, (100, 200, 50), strict=True)) <= 2
    Image.new("RGBA", SIZE, (*color, 255)).save(tmp_path / "alpha.png", icc_profile=bytes(swapped))
    assert level(tmp_path / "alpha.png") == found
    Image.new("RGB", SIZE, color).quantize(2).save(tmp_path / "palette.png", icc_profile=bytes(swapped))
    assert level(tmp_path / "palette.png") == found


def test_a_profile_of_grays_is_converted(tmp_path):
    """The smallest profile: grays whose levels are proportional to their light."""
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)  # D50, as every profile's light is
    tags = {
        b"wtpt": white,
        b"kTRC": b"curv" + bytes(8),
        b"desc": b"desc" + struct.pack(">II", 0, 7) + b"linear" + bytes(79),
    }
    start, listed = 128 + 4 + 12 * len(tags), b""
    for name, content in tags.items():
        listed += name + struct.pack(">II", start, len(content))
        start += len(content)
    head = struct.pack(">III", start, 0, 0x02100000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28) + white[8:]
    profile = head + bytes(48) + struct.pack(">I", len(tags)) + listed + b"".join(tags.values())
    Image.new("L", SIZE, 128).save(tmp_path / "a.png", icc_profile=profile)
    expected = 255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055)  # the curve of sRGB
    assert level(tmp_path / "a.png", channels=1)[0] == pytest.approx(expected, abs=1)
    assert level(tmp_path / "a.png") == pytest.approx([expected] * 3, abs=1)


def test_white_shows_through_what_is_partly_transparent(tmp_path):
    Image.new("RGBA", SIZE, (200, 100, 50, 51)).save(tmp_path / "a.png")
    assert level(tmp_path / "a.png") == pytest.approx([255 - 55 / 5, 255 - 155 / 5, 255 - 205 / 5], abs=1)


@pytest.mark.parametrize(
    "profile", [b"nonsense", b"\0" * 200, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_a_profile_that_cannot_be_meant_is_left_aside(tmp_path, profile):
    Image.new("RGB", SIZE, (200, 100, 50)).save(tmp_path / "a.png", icc_profile=profile)
    assert level(tmp_path / "a.png") == [200, 100, 50]
    Image.new("LAB", SIZE, (137, 128, 128)).save(tmp_path / "a.tif", icc_profile=profile)
    assert level(tmp_path / "a.tif") == pytest.approx([128] * 3, abs=3)
    assert level(tmp_path / "a.tif", channels=1) == pytest.approx([128], abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_rotation_mark_is_obeyed(tmp_path, orientation):
    size = SIZE if orientation <= 4 else SIZE[::-1]
    image = Image.effect_noise(size, 60)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    assert (data.read_image(tmp_path / "a.png", channels=1)[..., 0].numpy() == upright).all()


def test_an_odd_tag_of_exif_does_not_keep_a_picture_from_being_turned(tmp_path):
    # One more tag beside the orientation: the width as text.
    entries = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc\0") + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0" * 4
    Image.effect_noise((100, 150), 60).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert (data.read_image(tmp_path / "a.jpg", channels=1)[..., 0].numpy() == expected).all()


@pytest.mark.parametrize(
    "error",
    [TypeError("odd"), struct.error("odd"), RuntimeError("odd."), MemoryError(), IndexError("odd"), AssertionError()],
)
def test_whatever_a_decoder_raises_is_one_error_that_names_the_file(tmp_path, monkeypatch, error):
    Image.new("RGB", SIZE).save(tmp_path / "a.png")

    def fail(self):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(data.DataError, match=r"a\.png cannot be read as an image: (odd|MemoryError|AssertionError)\.$"):
        data.read_image(tmp_path / "a.png")


def test_damage_at_any_place_is_a_picture_or_one_error(tmp_path):
    """Every format, cut and with changed bytes: nothing but `DataError` comes out."""
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA"):
        file = io.BytesIO()
        Image.effect_noise(SIZE, 60).convert("RGB").save(file, format=kind)
        whole = file.getvalue()
        for _ in range(12):
            damaged = bytearray(whole[: generator.integers(1, len(whole) + 1)])
            for place in generator.integers(0, min(len(damaged), 200), 3):
                damaged[place] = generator.integers(256)
            (tmp_path / "a.png").write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(data.DataError):
                    assert data.read_image(tmp_path / "a.png", fit=True).shape == (100, 150, 3)


def test_one_bad_file_does_not_keep_a_folder_from_its_good_ones(tmp_path):
    for name in ("a", "c"):
        Image.new("RGB", SIZE, "red").save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_text("no picture")
    with pytest.warns(data.Notice, match=r"1 of 3 files are left out. The first: .*b\.png is not an image"):
        images = data.load_folder(tmp_path)
    assert torch.equal(images[:, 0, 0], torch.tensor([[255, 0, 0]] * 2, dtype=torch.uint8))
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.png").unlink()
    with pytest.raises(data.DataError, match="not an image"):
        data.load_folder(tmp_path)


def test_tokenize_leaves_a_bad_file_out_and_says_so(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", SIZE, "red").save(folder / "a.png")
    (folder / "b.png").write_text("no picture")
    code, out, err = run("tokenize", folder, tmp_path / "x.tokens")
    assert code == 0
    assert "1 picture in" in " ".join(out.split())
    assert err.startswith("arlib: 1 of 2 files are left out.")
    assert err.count("\n") == 1
