"""Odd input on the command line: each ends with one clear line and exit code 2, and changes nothing in its folder."""

import os
import random
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

import arlib
from arlib import checkpoints, data

FRAME = data.files("supertuxkart", "valid")[0]
# A training that goes on by mistake ends soon.
RUN = ["--name", "x", "--out", "run", "--steps", 1]
SMALL = [*RUN, "--batch-size", 1, "--data", "one", "--valid", "two", "--size", "20x20"]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, pixels: bytes = b"", bits: int = 8, kind: int = 2) -> bytes:
    """A PNG file whose header may lie about its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def odd_pictures(frame: bytes) -> dict[str, bytes]:
    """Files that are called pictures."""
    good = png(150, 100, (b"\0" + bytes(450)) * 100)
    noisy = png(150, 100, b"".join(b"\0" + random.Random(row).randbytes(450) for row in range(100)))
    return {
        "empty.png": b"",
        "text.png": b"not a picture\n",
        "signature.png": b"\x89PNG\r\n\x1a\n",
        "no pixels.png": png(150, 100),
        "few pixels.png": png(150, 100, bytes(1000)),
        "zero wide.png": png(0, 100),
        "huge.png": png(60_000, 60_000),
        "endless.png": png(2**31 - 1, 2**31 - 1),
        "no such kind.png": png(150, 100, (b"\0" + bytes(450)) * 100, kind=5),
        "no such depth.png": png(150, 100, (b"\0" + bytes(450)) * 100, bits=3),
        "bad crc.png": good[:20] + b"\x01" + good[21:],
        "half.png": noisy[: len(noisy) // 2],
        "no chunk.png": good[:33] + bytes(4) + good[37:],
        "half.webp": frame[: len(frame) // 2],
        "riff.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        "start.jpg": b"\xff\xd8\xff\xe0",
        "zeros.jpg": b"\xff\xd8" + bytes(1000),
        "gif.png": b"GIF89a\x96\x00\x64\x00\x80\x00\x00",
        "bmp.png": b"BM" + bytes(60),
        "tiff.png": b"II*\x00\xff\xff\xff\x7f",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 150 100\n",
        "pdf.png": b"%PDF-1.7\n",
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="150" height="100"/>',
        "ico.png": b"\0\0\1\0\1\0" + bytes(16),
        "ppm.png": b"P6\n150 100\n255\n",
        "ppm of text.png": b"P3\n150 100\n255\n1 2 x",
        "psd.png": b"8BPS\0\1" + bytes(20),
        "noise.png": bytes(range(256)) * 40,
    }


def odd_files(good: bytes) -> dict[str, bytes]:
    """Files that are called .ptb, of a good one."""
    broken = {f"byte {place}.ptb": place for place in (0, 3, 4, 5, 8, 12, 16, 19, 20, 60, len(good) - 1)}
    cut = {f"first {length}.ptb": good[:length] for length in (1, 3, 4, 12, 19, 20, 21, len(good) - 1)}
    return {
        "empty.ptb": b"",
        "text.ptb": b"PTB is not all that it takes\n" * 10,
        "longer.ptb": good + b"\0",
        "twice.ptb": good + good,
        "zeros.ptb": bytes(200),
        "long.ptb": b"PTB" + bytes(3_000_000),
        **cut,
        **{name: good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for name, at in broken.items()},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Odd pictures, odd files and odd names, made once; no test leaves anything in it."""
    here = tmp_path_factory.mktemp("odd")
    good = arlib.compress(data.read_image(FRAME))
    for name, content in (odd_pictures(FRAME.read_bytes()) | odd_files(good)).items():
        (here / name).write_bytes(content)
    (here / "good.ptb").write_bytes(good)
    (here / "a.webp").write_bytes(FRAME.read_bytes())
    Image.new("RGB", (1, 1)).save(here / "pixel.png")
    Image.new("RGB", (150, 99)).save(here / "short.png")
    for name in ("folder", "folder.png", "folder.ptb", "folder.safetensors", "folder.tokens", "only bad", "one", "two"):
        (here / name).mkdir()
    (here / "only bad" / "a.png").write_bytes(b"not a picture")
    (here / "one" / "a.png").write_bytes(png(150, 100, (b"\0" + bytes(450)) * 100))
    Image.new("RGB", (150, 100), "white").save(here / "two" / "b.png")
    (here / "loop.png").symlink_to("loop.png")
    (here / "gone.png").symlink_to("nowhere.png")
    (here / "garbage.tokens").write_bytes(os.urandom(200))
    (here / "garbage.safetensors").write_bytes(bytes(range(200)))
    return here


def seen(folder: Path) -> dict[str, int]:
    """Every file of a folder, and when it was written."""
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(run, folder, monkeypatch):
    """Run a command in that folder: one line on standard error, exit code 2, and nothing written. Give the line."""

    def call(*arguments: object) -> str:
        monkeypatch.chdir(folder)
        before = seen(folder)
        code, out, err = run(*arguments)
        after = seen(folder)
        for path in sorted(after.keys() - before.keys(), reverse=True):  # so that the other tests find what they expect
            Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("arlib: ")
        assert err.count("\n") == 1, err
        assert err.endswith(".\n"), err
        assert "Traceback" not in err
        assert after == before
        return err

    return call


@pytest.mark.parametrize("name", odd_pictures(b"RIFF"))
def test_what_is_called_a_picture(refused, name):
    assert name in refused("reconstruct", name, "new.png")


@pytest.mark.parametrize("name", odd_files(bytes(212)))
@pytest.mark.parametrize("command", ["decompress", "info"])
def test_what_is_called_a_ptb_file(refused, command, name):
    assert name in refused(command, name, *(["new.png"] if command == "decompress" else []))


PLACES = [
    (["reconstruct", "folder.png", "new.png"], "folder.png"),
    (["reconstruct", "loop.png", "new.png"], "loop.png"),
    (["reconstruct", "gone.png", "new.png"], "gone.png"),
    (["reconstruct", "", "new.png"], ""),
    (["reconstruct", "a.webp/b.png", "new.png"], "a.webp/b.png"),
    (["reconstruct", "n" * 5000 + ".png", "new.png"], "nnn"),
    (["reconstruct", "a\0b.png", "new.png"], ""),
    (["reconstruct", "\udcff.png", "new.png"], ".png"),
    (["reconstruct", "/dev/null", "new.png"], "/dev/null"),
    (["reconstruct", "pixel.png", "new.png"], "--fit"),
    (["reconstruct", "short.png", "new.png"], "--fit"),
    (["reconstruct", "a.webp", "new.xyz"], "new.xyz"),
    (["reconstruct", "a.webp", "new"], "new"),
    (["reconstruct", "a.webp", "folder.png"], "folder.png"),
    (["reconstruct", "a.webp", "nowhere/new.png"], "nowhere"),
    (["reconstruct", "a.webp", "n" * 300 + ".png"], "too long"),
    (["reconstruct", "a.webp", "a.webp/new.png"], "a.webp"),
    (["reconstruct", "a.webp", "/proc/new.png"], "/proc"),
    (["reconstruct", "a.webp", "a\0b.png"], ""),
    (["reconstruct", "a.webp", "a.webp"], "--force"),
    (["compress", "a.webp", "good.ptb"], "--force"),
    (["compress", "a.webp", "new.png"], ".ptb"),
    (["compress", "a.webp", "nowhere/new.ptb"], "nowhere"),
    (["compress", "a.webp", "pixel.png", "new.ptb"], "folder"),
    (["compress", "a.webp", "a.webp", "folder"], "both"),
    (["compress", "folder", "one"], "folder"),
    (["compress", "only bad", "folder"], "a.png"),
    (["compress", "nowhere", "folder"], "nowhere"),
    (["compress", "short.png", "new.ptb"], "--fit"),
    (["decompress", "good.ptb", "new.ptb"], "new.ptb"),
    (["decompress", "good.ptb", "pixel.png"], "--force"),
    (["decompress", "good.ptb", "nowhere/a.png"], "nowhere"),
    (["decompress", "folder", "one"], ".ptb"),
    (["decompress", "folder.ptb", "new.png"], "not a folder"),
    (["decompress", "nowhere.ptb", "new.png"], "nowhere.ptb"),
    (["info", "folder.ptb"], "folder.ptb"),
    (["info", "a.webp"], "a.webp"),
    (["tokenize", "folder", "new.tokens"], "folder"),
    (["tokenize", "only bad", "new.tokens"], "a.png"),
    (["tokenize", "nowhere", "new.tokens"], "nowhere"),
    (["tokenize", "one", "folder.tokens", "--force"], "folder.tokens"),
    (["tokenize", "one", "nowhere/new.tokens"], "nowhere"),
    (["generate", "--out", "a.webp"], "a.webp"),
    (["generate", "--out", "a.webp/new", "--count", 1], "a.webp"),
    (["generate", "--out", "new", "--from", "text.png", "--keep", "top"], "text.png"),
    (["generate", "--out", "new", "--from", "a.webp", "--mask", "text.png"], "text.png"),
    (["generate", "--out", "new", "--from", "a.webp", "--mask", "pixel.png"], "pixel.png"),
]


@pytest.mark.parametrize(("arguments", "words"), PLACES)
def test_files_that_are_not_there_or_not_to_be_written(refused, arguments, words):
    assert words in refused(*arguments)


OPTIONS = [
    (["compress", "a.webp", "new.ptb", "--quality", -1], "between 0 and 7"),
    (["compress", "a.webp", "new.ptb", "--quality", 8], "between 0 and 7"),
    (["compress", "a.webp", "new.ptb", "--quality", 10**30], ""),
    (["compress", "a.webp", "new.ptb", "--quality", "best"], "--quality"),
    (["compress", "a.webp", "new.ptb", "--max-bytes", 0], "fit"),
    (["compress", "a.webp", "new.ptb", "--max-bytes", -5], ""),
    (["compress", "a.webp", "new.ptb", "--max-bytes", 12], "fit"),
    (["compress", "a.webp", "new.ptb", "--max-bytes", "1e3"], "--max-bytes"),
    (["compress", "a.webp", "new.ptb", "--label", "7"], "--label"),
    (["compress", "a.webp", "new.ptb", "--prior", ""], ""),
    (["compress", "a.webp", "new.ptb", "--prior", "nothing"], "nothing"),
    (["compress", "a.webp", "new.ptb", "--prior", "../../x"], "../../x"),
    (["compress", "a.webp", "new.ptb", "--prior", "sha256:"], "sha256:"),
    (["compress", "a.webp", "new.ptb", "--prior", "sha256:xyz"], "sha256:xyz"),
    (["compress", "a.webp", "new.ptb", "--prior", "[red]*"], "[red]*"),
    (["compress", "a.webp", "new.ptb", "--prior", "folder.safetensors"], "folder.safetensors"),
    (["compress", "a.webp", "new.ptb", "--prior", "garbage.safetensors"], "garbage.safetensors"),
    (["compress", "a.webp", "new.ptb", "--prior", checkpoints.find("tokenizer", "book")], "prior"),
    (["compress", "a.webp", "new.ptb", "--tokenizer", "fine"], "another tokenizer"),
    (["decompress", "good.ptb", "new.png", "--prior", "fine"], "model"),
    (["decompress", "good.ptb", "new.png", "--sharp", -0.1], ""),
    (["decompress", "good.ptb", "new.png", "--sharp", 1.5], ""),
    (["decompress", "good.ptb", "new.png", "--sharp", "nan"], ""),
    (["decompress", "good.ptb", "new.png", "--sharp", 1, "--decoder", "nothing"], "nothing"),
    (["generate", "--out", "new", "--count", 0], "--count"),
    (["generate", "--out", "new", "--count", -3], "--count"),
    (["generate", "--out", "new", "--seed", 2**64], "--seed"),
    (["generate", "--out", "new", "--temperature", -1], "temperature"),
    (["generate", "--out", "new", "--temperature", "nan"], "temperature"),
    (["generate", "--out", "new", "--temperature", "inf"], "temperature"),
    (["generate", "--out", "new", "--top-k", 0], "top"),
    (["generate", "--out", "new", "--top-k", -1], "top"),
    (["generate", "--out", "new", "--top-p", 0], "top"),
    (["generate", "--out", "new", "--top-p", 1.5], "top"),
    (["generate", "--out", "new", "--top-p", "nan"], "top"),
    (["generate", "--out", "new", "--guidance", "nan"], "--guidance"),
    (["generate", "--out", "new", "--guidance", 1e300], "--guidance"),
    (["generate", "--out", "new", "--guidance", 2], "label"),
    (["generate", "--out", "new", "--label", "cat"], "--label"),
    (["generate", "--out", "new", "--prior", "digits-7x7", "--label", "cat"], "'cat'"),
    (["generate", "--out", "new", "--prior", "digits-7x7", "--label", "-1"], "'-1'"),
    (["generate", "--out", "new", "--prior", "digits-7x7", "--label", ""], "''"),
    (["generate", "--out", "new", "--prior", "digits-7x7", "--label", "²"], "'²'"),
    (["generate", "--out", "new", "--from", "a.webp", "--keep", "middle"], "--keep"),
    (["generate", "--out", "new", "--from", "a.webp", "--keep-rows", -1], "--keep-rows"),
    (["generate", "--out", "new", "--from", "a.webp", "--keep-rows", 21], "--keep-rows"),
    (["generate", "--out", "new", "--from", "a.webp"], "--keep"),
    (["generate", "--out", "new", "--keep", "top"], "--from"),
    (["generate", "--out", "new", "--order", "backwards"], "backwards"),
    (["generate", "--out", "new", "--order", "shuffled"], "shuffled"),
    (["generate", "--out", "new", "--order", "random"], "order"),
    (["generate", "--out", "new", "--prior", "cifar-any", "--order", "shuffled -1"], "shuffled -1"),
    (["generate", "--out", "new", "--at-once", 0], ""),
    (["generate", "--out", "new", "--at-once", 4], ""),
    (["generate", "--out", "new", "--prior", "digits-scales", "--at-once", 4], "--at-once"),
    (["generate", "--out", "new", "--tokenizer", "fine"], "another tokenizer"),
    (["tokenize", "test", "new.tokens"], "test"),
    (["tokenize", "valid", "new.tokens", "--data", "imagenet"], "imagenet"),
    (["tokenize", "unseen", "new.tokens", "--data", "digits"], "unseen"),
    (["tokenize", "valid", "new.tokens", "--data", "digits"], "--data"),
    (["tokenize", "one", "new.tokens", "--quality", 3], "dial"),
    (["tokenize", "one", "new.tokens", "--tokenizer", "fine", "--quality", 80], "between 0 and 7"),
    (["tokenize", "one", "new.tokens", "--moved", 1], "--moved"),
    (["evaluate", "--data", "imagenet"], "imagenet"),
    (["evaluate", "--data", "digits"], "digits"),
    (["evaluate", "--prior", "nothing"], "nothing"),
    (["evaluate", "--prior", "book", "--tokenizer", "fine"], "another tokenizer"),
    (["evaluate-samples", "--prior", "book"], "judge"),
    (["evaluate-samples", "--prior", "digits-7x7", "--count", 99], "--count"),
    (["evaluate-samples", "--prior", "digits-7x7", "--top-p", 2], "top"),
]


@pytest.mark.parametrize(("arguments", "words"), OPTIONS)
def test_options_that_cannot_be(refused, arguments, words):
    assert words in refused(*arguments)


TRAINED = [
    (["tokenizer", *RUN, "--data", "nowhere"], "nowhere"),
    (["tokenizer", *RUN, "--data", "folder"], "folder"),
    (["tokenizer", *RUN, "--data", "only bad"], ""),
    (["tokenizer", *RUN, "--data", "one"], "--valid"),
    (["tokenizer", *RUN, "--data", "one", "--valid", "folder"], "folder"),
    (["tokenizer", *RUN, "--data", "one", "--valid", "one", "--size", "64"], "64x96"),
    (["tokenizer", *RUN, "--data", "one", "--valid", "one", "--size", "0x5"], "0x5"),
    (["tokenizer", *RUN, "--data", "one", "--valid", "one", "--size", "99999x5"], "99999x5"),
    (["tokenizer", *RUN, "--data", "one", "--valid", "one", "--size", "12x10"], "12"),
    (["tokenizer", *SMALL, "--patch-size", 7], "7"),
    (["tokenizer", *SMALL, "--quantizer", "pq"], "pq"),
    (["tokenizer", *SMALL, "--bits", 0], "bits"),
    (["tokenizer", *SMALL, "--bits", 19], "bits"),
    (["tokenizer", *SMALL, "--codebooks", 0], "codebook"),
    (["tokenizer", *SMALL, "--quantizer", "vq", "--codebooks", 5], "equally"),
    (["tokenizer", *SMALL, "--scales", "1,2"], "--scales"),
    (["tokenizer", *SMALL, "--quantizer", "vq", "--scales", "a,b"], "--scales"),
    (["tokenizer", *SMALL, "--quantizer", "vq", "--scales", "4,2"], ""),
    (["tokenizer", *SMALL, "--quantizer", "vq", "--scales", "0"], ""),
    (["tokenizer", *SMALL, "--quantizer", "vq", "--scales", "1,2", "--cut", 2], "--cut"),
    (["tokenizer", *SMALL, "--prices", "a"], "numbers"),
    (["tokenizer", *SMALL, "--prices", "1e-3,-1"], "price"),
    (["tokenizer", *SMALL, "--prices", "1e-3"], "dial"),
    (["tokenizer", *SMALL, "--batch-size", 0], "batch size"),
    (["tokenizer", *SMALL, "--steps", -1], "steps"),
    (["tokenizer", *SMALL, "--learning-rate", "nan"], "learning rate"),
    (["tokenizer", *SMALL, "--workers", 0], "workers"),
    (["tokenizer", *SMALL, "--devices", 0], "devices"),
    (["tokenizer", *SMALL, "--devices", 3], "3"),
    (["tokenizer", *SMALL, "--seed", 10**10], "--seed"),
    (["tokenizer", *SMALL, "--resume"], "--resume"),
    (["autoencoder", *SMALL, "--latent-dim", 0], ""),
    (["prior", *RUN, "--tokens", "nowhere.tokens"], "nowhere.tokens"),
    (["prior", *RUN, "--tokens", "folder.tokens"], "folder.tokens"),
    (["prior", *RUN, "--tokens", "garbage.tokens"], "garbage.tokens"),
    (["prior", *RUN, "--tokens", "a.webp"], "a.webp"),
    (["prior", *RUN, "--tokens", data.root() / "tokens" / "valid.tokens"], "valid"),
    (["prior", *RUN, "--tokens", f"{data.root() / 'tokens' / 'train.tokens'}:0"], "once or more"),
    (["prior", *RUN, "--valid", "garbage.tokens"], "garbage.tokens"),
    (["prior", *RUN, "--order", "backwards"], "backwards"),
    (["prior", *RUN, "--order", "places"], "codebooks"),
    (["prior", *RUN, "--order", "scales"], "pyramid"),
    (["prior", *RUN, "--classes"], "labels"),
    (["prior", *RUN, "--heads", 7], "heads"),
    (["prior", *RUN, "--tokenizer", "fine"], "another tokenizer"),
    (["judge", *RUN, "--data", "supertuxkart"], "classes"),
    (["sharp", *RUN, "--loss", "none"], "none"),
    (["sharp", *RUN, "--loss", "statistics", "--tokenizer", "nothing"], "nothing"),
]


@pytest.mark.parametrize(("arguments", "words"), TRAINED)
def test_trainings_that_cannot_begin(refused, arguments, words):
    assert words in refused("train", *arguments)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"])
def test_every_mode_of_pixels_is_converted_or_refused(run, tmp_path, monkeypatch, mode):
    """A gray ramp: what is converted keeps it, so that nothing is read as all white or all black."""
    monkeypatch.chdir(tmp_path)
    levels = torch.arange(256, dtype=torch.uint8).repeat_interleave(60)[:15000].reshape(100, 150)
    ramp = Image.fromarray(levels.numpy())
    wide = {"I;16": "uint16", "I": "int32", "F": "float32"}
    if mode in wide:
        picture = Image.fromarray(
            (levels.numpy().astype("float64") * (257 if mode != "F" else 1 / 255)).astype(wide[mode])
        )
    else:
        picture = ramp.convert("RGB").convert(mode)
    picture.save("ramp.tif")
    code, out, err = run("reconstruct", "ramp.tif", "new.png")
    if code:
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert not Path("new.png").exists()
    else:
        again = data.read_image("new.png").double().mean(2)
        assert again[:10].mean() < 60 < 190 < again[-10:].mean()
