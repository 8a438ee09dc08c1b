"""JPEG, WebP, AVIF and JPEG XL at their best: all the ways in which `codecs.py` writes a frame by them.

A peer has settings, and each setting a scale of qualities. All of them are tried, and of those files that fit a limit,
headers counted, the one of the best PSNR counts. `settings.py` tries many more settings than the race does and prints
what each is worth; what hardly ever wins does not race, to save time.

These choices matter. The defaults, with which most comparisons are made, please the eye and cost PSNR:

* WebP with one segment instead of four saves the segments' header and does not trade errors between them.
* AVIF with `tune=psnr`: since its version 1.4 libavif encodes for the eye ("iq") unless told otherwise.
* JPEG from mozjpeg, with trellis quantization and its table for PSNR instead of the standard's.

Pillow has neither the first nor the third. `webp` has all of libwebp's settings, `pyvips` brings mozjpeg, and
`pillow-jxl-plugin` brings JPEG XL. Only the benchmarks need these packages, so they are imported at their first use;
requirements.txt in this folder has their versions.
"""

import importlib.metadata
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from arlib import metrics

LARGEST = 1200  # bytes: larger files are of no use here
SHARP_YUV = 26  # the place of use_sharp_yuv among the 29 numbers of WebPConfig; the package does not name it

Write = Callable[[np.ndarray, Any], bytes]


@dataclass(frozen=True)
class Setting:
    """One way to write a frame `(H, W, 3) uint8`; a higher quality makes a larger file, or nearly so.

    A setting that does not race is tried only when this script is run. Where `largest` is given, it wins for small
    files only, and no larger ones are made.
    """

    name: str
    write: Write
    qualities: Sequence[float]
    races: bool = True
    largest: int = LARGEST


@dataclass(frozen=True)
class File:
    """A written frame: its size in bytes, how far it is from the original as PSNR in dB, and how it was written."""

    size: int
    psnr: float
    setting: str
    quality: float
    content: bytes


def pillow(kind: str, **options: Any) -> Write:
    def write(frame: np.ndarray, quality: float) -> bytes:
        if kind == "JXL":
            _jpeg_xl()
        file = io.BytesIO()
        Image.fromarray(frame).save(file, kind, quality=quality, **options)
        return file.getvalue()

    return write


def _jpeg_xl() -> None:
    """Make Pillow know JPEG XL, and decode it in this thread: starting others takes longer than such a picture."""
    import pillow_jxl.JpegXLImagePlugin

    pillow_jxl.JpegXLImagePlugin.DECODE_THREADS = 0


def mozjpeg(subsample: bool, table: int = 3, **options: bool) -> Write:
    def write(frame: np.ndarray, quality: float) -> bytes:
        import pyvips

        image = pyvips.Image.new_from_array(frame, interpretation="srgb")
        given = {"optimize_coding": True, "trellis_quant": True, "quant_table": table, "keep": "none", **options}
        return image.jpegsave_buffer(Q=quality, subsample_mode="on" if subsample else "off", **given)

    return write


def webp(preset: str = "DEFAULT", sharp: bool = False, **options: int) -> Write:
    """WebP at its slowest method. The options are fields of libwebp's WebPConfig."""

    def write(frame: np.ndarray, quality: float) -> bytes:
        import webp

        config = webp.WebPConfig.new(webp.WebPPreset[preset], quality=quality, method=6)
        for name, value in options.items():
            setattr(config.ptr, name, value)
        if webp.ffi.sizeof("WebPConfig") != 29 * 4:
            raise RuntimeError("This version of libwebp keeps use_sharp_yuv elsewhere.")
        webp.ffi.cast("int *", config.ptr)[SHARP_YUV] = sharp
        return bytes(webp.WebPPicture.from_numpy(frame).encode(config).buffer())

    return write


def webp_qualities(first: int, step: int = 2) -> list[float]:
    """Qualities for every second of libwebp's quantizers, from the coarsest.

    A quality q up to 75 gives quantizer 127 (1 - (q / 150)^⅓) of 0 to 127: a fifth of them lie between q = 0 and 1.
    """
    return [150 * (level / 127) ** 3 for level in range(first, 90, step)]


AVIF_QUALITIES = [round(100 - quantizer * 100 / 63) for quantizer in range(63, 15, -1)]  # one for each of libaom's


def avif(tune: str = "psnr", speed: int = 4, subsampling: str = "4:2:0", **options: Any) -> Write:
    return pillow("AVIF", speed=speed, subsampling=subsampling, advanced={"tune": tune}, max_threads=1, **options)


def jpeg_xl(effort: int) -> Write:
    """Pillow's plugin writes a bare codestream, which has no container."""
    return pillow("JXL", effort=effort, num_threads=0)


PEERS: dict[str, list[Setting]] = {
    "JPEG": [
        Setting("mozjpeg 4:2:0", mozjpeg(True), range(1, 60)),
        Setting("mozjpeg 4:4:4", mozjpeg(False), range(1, 60)),
        Setting("mozjpeg 4:2:0, standard table", mozjpeg(True, table=0), range(1, 60)),
        Setting("mozjpeg 4:4:4, standard table", mozjpeg(False, table=0), range(1, 60), races=False),
        Setting("mozjpeg 4:2:0, no trellis", mozjpeg(True, trellis_quant=False), range(1, 60), races=False),
        Setting(
            "mozjpeg 4:2:0, progressive", mozjpeg(True, interlace=True, optimize_scans=True), range(1, 60), races=False
        ),
        *(
            Setting(
                f"libjpeg {name}{', progressive' * progressive}",
                pillow("JPEG", optimize=True, progressive=progressive, subsampling=subsampling),
                range(60),
                races=False,
            )
            for progressive in (False, True)
            for subsampling, name in enumerate(("4:4:4", "4:2:2", "4:2:0"))
        ),
    ],
    "WebP": [
        *(
            Setting(
                f"1 segment, sns {sns}{', sharp_yuv' * sharp}",
                webp(sharp=sharp, segments=1, sns_strength=sns),
                webp_qualities(first),
            )
            for sns, first in ((0, 0), (50, 1), (100, 0))
            for sharp in (False, True)
        ),
        *(
            Setting(
                f"preset {preset.lower()}{', sharp_yuv' * sharp}",
                webp(preset, sharp),
                webp_qualities(0),
                races=False,
            )
            for preset in ("DEFAULT", "PICTURE", "PHOTO", "DRAWING", "ICON", "TEXT")
            for sharp in (False, True)
        ),
        Setting("1 segment, sns 0, no filter", webp(segments=1, filter_strength=0), webp_qualities(0), races=False),
        Setting("1 segment, sns 0, autofilter", webp(segments=1, autofilter=1), webp_qualities(0), races=False),
    ],
    "AVIF": [
        Setting("4:4:4, speed 2", avif(speed=2, subsampling="4:4:4"), AVIF_QUALITIES),
        Setting("4:2:0, speed 4", avif(), AVIF_QUALITIES, largest=600),
        Setting("4:2:2, speed 4", avif(subsampling="4:2:2"), AVIF_QUALITIES, races=False),
        Setting("4:2:0, speed 4, limited range", avif(range="limited"), AVIF_QUALITIES, races=False),
        *(
            Setting(f"{sampling}, speed 4, tune={tune}", avif(tune, subsampling=sampling), AVIF_QUALITIES, races=False)
            for tune in ("iq", "ssim")
            for sampling in ("4:4:4", "4:2:0")
        ),
        *(
            Setting(f"{sampling}, speed {speed}", avif(speed=speed, subsampling=sampling), AVIF_QUALITIES, races=False)
            for speed, sampling in ((0, "4:4:4"), (1, "4:4:4"), (2, "4:2:0"), (4, "4:4:4"), (6, "4:4:4"), (6, "4:2:0"))
        ),
    ],
    "JPEG XL": [
        Setting("effort 3", jpeg_xl(3), range(60)),
        Setting("effort 5", jpeg_xl(5), range(60)),
        Setting("effort 9", jpeg_xl(9), range(0, 60, 2)),
        Setting("effort 7", jpeg_xl(7), range(60), races=False),
        Setting("effort 9, other qualities", jpeg_xl(9), range(1, 60, 2), races=False),
        Setting("effort 10", jpeg_xl(10), range(0, 60, 2), races=False),
    ],
}


def racing(peer: str) -> list[Setting]:
    return [setting for setting in PEERS[peer] if setting.races]


def read(content: bytes) -> torch.Tensor:
    """The picture in a file, `(H, W, 3) uint8`."""
    with Image.open(io.BytesIO(content)) as image:
        return torch.from_numpy(np.array(image.convert("RGB")))


def written(frame: torch.Tensor, settings: Sequence[Setting]) -> list[File]:
    """A frame `(H, W, 3) uint8` in all the ways there are, each scale of qualities up to its first file too large."""
    files, pixels = [], frame.numpy()
    for setting in settings:
        last = b""
        for quality in setting.qualities:
            content = setting.write(pixels, quality)
            if len(content) > setting.largest:
                break
            if content != last:  # two qualities may share a quantizer
                psnr = metrics.psnr(frame[None], read(content)[None]).item()
                files.append(File(len(content), psnr, setting.name, quality, content))
            last = content
    return files


def best(files: Sequence[File], limit: float) -> File | None:
    """The file of the best PSNR among those of at most `limit` bytes."""
    return max((file for file in files if file.size <= limit), key=lambda file: file.psnr, default=None)


def front(files: Sequence[File]) -> list[File]:
    """The files, by size, that are better than each smaller one: only these are ever the best below a limit."""
    kept: list[File] = []
    for file in sorted(files, key=lambda file: (file.size, -file.psnr)):
        if not kept or file.psnr > kept[-1].psnr:
            kept.append(file)
    return kept


def version(peer: str) -> dict[str, Any]:
    """What writes a peer's files: the package and its version, the settings, and how many qualities each has."""
    package = {"JPEG": "pyvips-binary", "WebP": "webp", "AVIF": "pillow", "JPEG XL": "pillow-jxl-plugin"}[peer]
    written_by = f"{package} {importlib.metadata.version(package)}"
    if peer == "AVIF":
        written_by += f" (libavif {features.version('avif')})"
    return {"by": written_by, "settings": settings(peer)}


def settings(peer: str) -> dict[str, int]:
    """The settings that race, and how many qualities each has."""
    return {setting.name: len(setting.qualities) for setting in racing(peer)}
