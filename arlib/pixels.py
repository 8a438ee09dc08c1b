"""What a picture file holds, of whatever kind, as sRGB colors or as gray levels of 8 bits."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from arlib.storage import DataError

WIDE = 65535  # the greatest of 16 bits
ORIENTATION = 0x0112  # the tag of EXIF that says how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}  # of a profile, and Pillow's mode for it


@contextlib.contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Whatever a decoder raises on the file is one `DataError` that names it.

    Decoders of damaged files raise nearly everything: beside `OSError` there are `struct.error`, `TypeError`,
    `RuntimeError`, `MemoryError`, `IndexError` and more.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that Pillow can read.") from None
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{path} cannot be read as an image: {reason}.") from None


def to_srgb(opened: Image.Image, gray: bool) -> Image.Image:
    """An opened image, whatever its mode, upright and in mode "RGB" or, with `gray`, "L".

    Gray levels of 16 bits keep their upper 8. Integers of 32 bits are taken for levels from 0 to 65,535, floats for
    levels from 0 (black) to 1 (white). An ICC profile that is not sRGB's own is converted to sRGB; one that is damaged,
    or that is for other colors than the image's, is left aside. Transparent parts become white; colors become gray by
    their brightness (ITU-R 601). Raises `ValueError` for integers or floats outside of their range, and whatever
    Pillow's decoders raise.
    """
    opened.load()
    # By hand: exif_transpose also writes the other tags anew, and fails where one of those is odd.
    turn = TURNS.get(opened.getexif().get(ORIENTATION) or 0)
    image = opened if turn is None else opened.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        image = _levels(image)
    if image.mode == "La":  # from which Pillow knows one way alone: the alpha is taken out of the levels
        image = image.convert("LA")
    profile = opened.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        colors = _profiled(image.convert("RGB"), profile)
        colors.putalpha(image.getchannel("A"))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colors)
    else:
        image = _profiled(image.convert("RGB") if image.mode == "P" else image, profile)
    if image.mode == "LAB":  # from which Pillow knows no way to gray
        image = image.convert("RGB")
    return image.convert("L" if gray else "RGB")


def _levels(image: Image.Image) -> Image.Image:
    """Integers or floats, mode "I…" or "F", as gray levels of 8 bits; `ValueError` for one outside of the range."""
    levels = np.asarray(image)
    most = 1 if image.mode == "F" else WIDE
    least, greatest = levels.min(), levels.max()
    if not 0 <= least <= greatest <= most:
        kind = "floats" if image.mode == "F" else "integers"
        raise ValueError(f"its {kind} lie between {least} and {greatest}, and not between 0 and {most:,}")
    return Image.fromarray((np.rint(levels * 255) if most == 1 else levels >> 8).astype(np.uint8))


def _profiled(image: Image.Image, content: bytes | None) -> Image.Image:
    """The image as its ICC profile means it, in sRGB; as it is where there is none that can be used."""
    if not content:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        # Of the profile that everybody means, not a level is to change.
        known = "sRGB" in ImageCms.getProfileDescription(profile)
        if known or SPACES.get(profile.profile.xcolor_space) != image.mode:
            return image
        srgb: Any = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB") or image
    except (OSError, ImageCms.PyCMSError):
        return image
