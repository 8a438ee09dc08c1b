"""A budget is a promise: no file is larger, and what cannot be is refused with what could."""

import contextlib
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import arlib
from arlib import checkpoints, choice, codec, data, dial, metrics
from arlib.codec import Codec, CodecError
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


# ---- The parts of the search ----


@pytest.fixture
def model(place, monkeypatch) -> Codec:
    monkeypatch.setattr(choice, "quick", contextlib.nullcontext)  # float32, whatever the processor
    return dial.load("fine")


def test_sizes_are_about_those_of_the_files(model):
    settings = torch.linspace(0, 7, 12)
    images = frames()[torch.arange(12) % 2]
    grids, labels = dial.tokens_at(model, images, settings)
    each = [model.tokenizer.encode(images[[row]], setting) for row, setting in enumerate(settings.tolist())]
    assert torch.equal(grids, torch.cat(each))
    assert labels.tolist() == [0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7]
    lengths = torch.tensor([len(content) for content in model.compress_tokens_batch(grids, labels)])
    guessed = dial.sizes(model, grids, labels)
    assert (lengths - guessed).max() <= dial.SPARE  # tokens that are all 0 make files without a payload
    sequences = grids.flatten(1)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.normal_()  # labels, too, now count
        shares = model.prior(sequences, label=labels).log_softmax(-1).gather(-1, sequences[..., None])
    bits = math.log2(9) - shares.sum((1, 2)) / math.log(2)  # 8 labels and none
    over = dial.sizes(model, grids, labels) - (16 + bits / 8)
    assert over.min() > -1e-3  # they are rounded up
    assert over.max() < 1 + 1e-3


def test_pictures_are_blurred_as_far_as_is_asked():
    images = frames()
    assert torch.equal(dial.blurred(images, 0), images)
    spread = [dial.blurred(images, sigma).float().std().item() for sigma in (0, 0.5, 1, 4)]
    assert spread == sorted(set(spread), reverse=True)


def test_the_highest_setting_is_found_to_a_thirty_second_of_the_span(monkeypatch):
    """Files have some bytes at setting 0 and 100 more at each other one; of the budget, 3 bytes are to spare."""
    monkeypatch.setattr(dial, "tokens_at", lambda model, images, settings: (images + 100 * settings, None))
    monkeypatch.setattr(dial, "sizes", lambda model, grids, labels: grids)
    model: Any = SimpleNamespace(tokenizer=SimpleNamespace(qualities=8))
    at_0 = torch.tensor([-300.0, -299.9, 50.0, 50.1, 153.0, 400.0, 401.0])
    steps = dial.highest(model, at_0, 403) * 32 / 7
    assert steps.tolist() == [32, 31, 16, 15, 11, 0, 0]


def test_a_choice_begins_half_a_setting_above_and_must_be_better_than_no_choice(model, monkeypatch):
    given: list[torch.Tensor] = []
    bad = torch.zeros(3, 20, 30, 2, dtype=torch.int64)

    def choose(model, images, latent, labels, settings, max_bytes):
        assert torch.equal(latent, model.tokenizer.latents(images, settings))
        given.extend((settings, labels))
        return answer

    monkeypatch.setattr(dial, "chosen", choose)
    images, low = frames()[[0, 1, 0]], torch.tensor([0.0, 0.7, 6.8])
    good, _ = dial.tokens_at(model, images, torch.full((3,), 7.0))
    plain, _ = dial.tokens_at(model, images, low)
    for pictures, answer in ((images, bad), (model.tokenizer.decode(good), good)):
        grids, labels = dial.chosen_from(model, pictures, low, 330)
        settings, rounded = given[-2:]
        torch.testing.assert_close(settings, torch.tensor([0.5, 1.2, 7.0]))
        assert rounded.tolist() == [0, 1, 7]
        if answer is bad:  # at setting 0 even plain tokens may be too many
            assert torch.equal(grids, torch.stack([bad[0], plain[1], plain[2]]))
            assert labels.tolist() == [0, 1, 7]
        else:
            assert torch.equal(grids, good)
            assert labels.tolist() == rounded.tolist()


def test_a_choice_has_the_bits_that_header_and_label_leave_and_a_price_that_falls_with_the_setting(monkeypatch):
    given: list[tuple] = []
    monkeypatch.setattr(choice, "choose", lambda *arguments: given.append(arguments))
    model: Any = SimpleNamespace(prior="prior", tokenizer="tokenizer", classes=7)
    images, settings = torch.zeros(2, 1), torch.tensor([0.0, 2.0])
    # A label is one of 8: 3 bits. Rounds: one for each 40 bytes, 8 to 32 of them.
    for max_bytes, bits, rounds in (
        (320, 8 * 301 - 3, 8),
        (400, 8 * 381 - 3, 10),
        (5000, 8 * 4981 - 3, 32),
        (18, 1, 8),
    ):
        dial.chosen(model, images, "latent", "labels", settings, max_bytes)  # type: ignore[arg-type]
        assert given[-1][:2] == ("prior", "tokenizer")
        assert given[-1][2] is images
        assert given[-1][3:5] == ("latent", "labels")
        assert given[-1][5].tolist() == [bits, bits]
        torch.testing.assert_close(given[-1][6], torch.tensor([1.2e-3, 1.2e-3 * 0.36]))
        assert given[-1][7] == rounds


def test_a_file_that_is_larger_than_was_guessed_is_made_simpler_and_refused_if_that_does_not_help(monkeypatch):
    """Three pictures in two batches, whose files are as long as their tokens say."""
    lengths, simplified = [100, 101, 102], []

    def compress(grids, labels):
        assert len(grids) == len(labels)
        return [bytes(int(grid)) for grid in grids]

    def simpler(model, image, low, max_bytes):
        simplified.append((int(image), max_bytes))
        return bytes(int(image) - 1)

    monkeypatch.setattr(codec, "BATCH", 2)
    monkeypatch.setattr(dial, "load", lambda name: SimpleNamespace(compress_tokens_batch=compress))
    monkeypatch.setattr(dial, "highest", lambda model, images, max_bytes: torch.zeros(len(images)))
    monkeypatch.setattr(dial, "chosen_from", lambda model, images, low, max_bytes: (images, low))
    monkeypatch.setattr(dial, "simpler", simpler)
    first, second, third = dial.compress_batch(torch.tensor(lengths), 100)
    assert (first, second) == (bytes(100), bytes(100))
    assert isinstance(third, CodecError)
    assert "its smallest file has 101" in str(third)
    assert simplified == [(101, 100), (102, 100)]


def test_a_budget_of_a_header_alone_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(dial, "highest", None)
    with pytest.raises(CodecError, match="does not fit into 16 bytes: the header of a file alone has 16"):
        dial.compress(frames()[0], max_bytes=16)


def plain(model: Codec, frame: torch.Tensor, setting: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, tokens and labels of one picture at a setting."""
    latent = model.tokenizer.latents(frame[None], setting)
    grid, labels = dial.tokens_at(model, frame[None], torch.tensor([setting]))
    return latent, grid, labels


def test_a_simpler_picture_is_one_of_a_lower_setting_then_a_blurred_one_that_looks_like_the_picture(model, monkeypatch):
    frame, low = frames()[0], torch.tensor(2.1)
    sizes = [402, 401, 400, 399]  # a lower setting, and blurred by 0.5, 0.7 and 1 pixels
    for tried in range(4):
        guesses = iter(sizes)
        monkeypatch.setattr(dial, "sizes", lambda *given, guesses=guesses: torch.tensor(next(guesses)))
        content = dial.simpler(model, frame, low, sizes[tried] + dial.SPARE)
        setting = low.item() - 0.3 if tried == 0 else 0.0
        expected = next(number for number, size in enumerate(sizes) if size <= sizes[tried])
        assert len(list(guesses)) == 3 - expected
        latent, _, labels = plain(model, dial.blurred(frame[None], dial.BLURS[expected])[0], setting)
        grid = dial.chosen(model, frame[None], latent, labels, torch.tensor([setting]), sizes[tried] + dial.SPARE)
        assert content == model.compress_tokens_batch(grid, labels)[0]
        assert model.label(content) == (2 if tried == 0 else 0)


def test_no_setting_is_below_0_and_the_most_blurred_picture_is_the_last_that_is_tried(model, monkeypatch):
    frame = frames()[0]
    content = dial.simpler(model, frame, torch.tensor(0.1), 1000)
    assert model.label(content) == 0
    latent, _, labels = plain(model, frame, 0.0)
    assert (
        content
        == model.compress_tokens_batch(dial.chosen(model, frame[None], latent, labels, torch.zeros(1), 1000), labels)[0]
    )
    monkeypatch.setattr(dial, "BLURS", (0.0, 8.0, 0.5))
    frame = torch.randint(256, frame.shape, generator=torch.Generator().manual_seed(0)).byte()
    _, grid, labels = plain(model, dial.blurred(frame[None], 0.5)[0], 0.0)
    assert not torch.equal(grid, plain(model, dial.blurred(frame[None], 8.0)[0], 0.0)[1])
    assert dial.simpler(model, frame, torch.tensor(0.1), 20) == model.compress_tokens_batch(grid, labels)[0]


def test_a_simpler_picture_may_fill_its_budget_to_the_last_byte(model, monkeypatch):
    monkeypatch.setattr(dial, "sizes", lambda *given: torch.tensor(0.0))
    _, grid, labels = plain(model, frames()[0], 2.0)
    monkeypatch.setattr(dial, "chosen", lambda *given: grid)
    (content,) = model.compress_tokens_batch(grid, labels)
    assert dial.simpler(model, frames()[0], torch.tensor(2.3), len(content)) == content


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
