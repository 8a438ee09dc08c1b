"""A budget is a promise: no file is larger, and what cannot be is refused with what could."""

import json
import re
from pathlib import Path

import pytest
import torch

import arlib
from arlib import checkpoints, codec, data, dial, metrics
from arlib.codec import CodecError
from arlib.quantizers import BSQ, Product
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

FRAMES = data.files("supertuxkart", "valid")[:2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random models under the names of the shipped ones: `fine` spends up to four bits a patch, `book` two."""
    folder = tmp_path_factory.mktemp("data")
    weights = folder / "weights"
    (folder / "frames").mkdir()
    weights.mkdir()
    torch.manual_seed(0)
    fine = ImageTokenizer(5, 8, 1, Product([BSQ(2), BSQ(2)]), refine=1, qualities=8)
    torch.nn.init.normal_(fine.get_parameter("dial"))
    tokenizers = {"fine": fine, "book": ImageTokenizer(5, 8, 1, BSQ(2))}
    priors = {
        "fine": Prior(4, 1200, 8, 1, 2, classes=8, codebooks=2),
        "book": Prior(4, 600, 8, 1, 2),
    }
    for name, grid in (("fine", "20×30×2"), ("book", "20×30")):
        checkpoints.save(weights / f"tokenizer-{name}.safetensors", "tokenizer", tokenizers[name])
        tokens = checkpoints.sha256(weights / f"tokenizer-{name}.safetensors")[:24]
        path = weights / f"prior-{name}.safetensors"
        checkpoints.save(path, "prior", priors[name], tokenizer=f"sha256:{tokens}", grid=grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLIB_DATA", str(folder))
        index = {name: arlib.load_codec(name).hash for name in priors}
    (weights / "codecs.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ARLIB_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    dial.load.cache_clear()
    yield tmp_path
    dial.load.cache_clear()


def frames() -> torch.Tensor:
    return torch.stack([data.read_image(path) for path in FRAMES])


def error_of(frame: torch.Tensor, content: bytes) -> float:
    return metrics.mse(frame[None], arlib.decompress(content)[None]).item()


@pytest.mark.parametrize("budget", [310, 330, 1000])
def test_no_file_is_larger_than_its_budget(place, budget):
    files = dial.compress_batch(frames(), budget)
    assert all(isinstance(content, bytes) and len(content) <= budget for content in files)
    assert files[1] == arlib.compress(frames()[1], max_bytes=budget)
    assert {codec.find(content) for content in files if isinstance(content, bytes)} == {"fine"}


def test_a_larger_budget_makes_a_better_picture_and_a_choice_beats_the_dial_alone(place):
    """At 310 bytes the choice decides, at 1,000 all fits: no picture of the dial is better than what is found."""
    frame, model = frames()[0], arlib.load_codec("fine")
    contents = [arlib.compress(frame, max_bytes=budget) for budget in (310, 320, 1000)]
    errors = [error_of(frame, content) for content in contents]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < error_of(frame, model.compress(frame, label=7))


def test_what_fits_nowhere_is_refused_with_the_smallest_size_there_is(place):
    with pytest.raises(CodecError, match="does not fit into 100 bytes: its smallest file has") as caught:
        arlib.compress(frames()[0], max_bytes=100)
    smallest = int(re.findall(r"\d+", str(caught.value))[-1])
    assert len(arlib.compress(frames()[0], max_bytes=smallest)) <= smallest


def test_a_quality_is_a_setting_of_the_dial_and_the_files_label(place):
    frame, model = frames()[0], arlib.load_codec("fine")
    for quality in (0, 7):
        content = arlib.compress(frame, quality=quality)
        assert model.label(content) == quality
        assert torch.equal(model.decompress_tokens(content), model.tokenizer.encode(frame[None], quality)[0])
    assert arlib.compress(frame) == arlib.load_codec("book").compress(frame)


@pytest.mark.parametrize("options", [{"quality": 8}, {"quality": -1}, {"quality": 1, "max_bytes": 500}])
def test_what_the_dial_does_not_have_is_refused(place, options):
    with pytest.raises(ValueError, match=r"quality|qualities|Labels"):
        arlib.compress(frames()[0], **options)


def test_the_command_keeps_the_budget_and_replaces_nothing_unasked(run, place):
    code, out, err = run("compress", FRAMES[0], "x.ptb", "--max-bytes", 330)
    assert (code, err) == (0, "")
    content = Path("x.ptb").read_bytes()
    assert content == arlib.compress(frames()[0], max_bytes=330)
    code, out, err = run("compress", FRAMES[1], "x.ptb", "--quality", 3)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "x.ptb would be replaced" in err
    assert "--force" in err
    assert Path("x.ptb").read_bytes() == content
    assert run("compress", FRAMES[1], "x.ptb", "--quality", 3, "--force")[0] == 0
    assert Path("x.ptb").read_bytes() == arlib.compress(frames()[1], quality=3)
    assert run("decompress", "x.ptb", "x.png")[0] == 0
    before = Path("x.png").read_bytes()
    code, _, err = run("decompress", "x.ptb", "x.png")
    assert (code, "x.png would be replaced" in err) == (2, True)
    assert Path("x.png").read_bytes() == before
    assert run("decompress", "x.ptb", "x.png", "--force")[0] == 0


def test_many_are_refused_before_one_is_written(run, place):
    for name in ("in", "out"):
        Path(name).mkdir()
    for number, frame in enumerate(frames()):
        data.write_image(f"in/{number}.png", frame)
    Path("out/1.ptb").write_bytes(b"mine")
    code, _, err = run("compress", "in", "out", "--max-bytes", 330)
    assert (code, "out/1.ptb would be replaced" in err) == (2, True)
    assert [path.name for path in Path("out").iterdir()] == ["1.ptb"]
    assert run("compress", "in", "out", "--max-bytes", 330, "--force")[0] == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.ptb", "1.ptb"]
    assert Path("out/0.ptb").read_bytes() == arlib.compress(frames()[0], max_bytes=330)
    # Decompressed into the folder of the originals, 0.png would be lost.
    code, _, err = run("decompress", "out", "in")
    assert (code, "in/0.png and 1 other file would be replaced" in err) == (2, True)


WRONG: dict[str, tuple[list, str]] = {
    "too small": (["--max-bytes", 100], "does not fit into 100 bytes"),
    "nothing": (["--max-bytes", 0], "does not fit into 0 bytes"),
    "no setting": (["--quality", 8], "between 0 and 7"),
    "both": (["--max-bytes", 500, "--quality", 3], "name one of them"),
    "a model too": (["--max-bytes", 500, "--prior", "book"], "no other model"),
    "a label too": (["--quality", 3, "--label", "3"], "no other model"),
    "no number": (["--max-bytes", "many"], "integer"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_one_line_and_leave_nothing(run, place, case):
    options, words = WRONG[case]
    code, out, err = run("compress", FRAMES[0], "x.ptb", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not list(place.iterdir())
