"""`train sharp` from its options to a decoder that `decompress --sharp` takes, and what its card tells."""

import functools
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import rows_of_card
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_codec import load, random_grids, write_weights

import arlib
from arlib import checkpoints, data, metrics, realism, sharp, training
from arlib.cli import sharpening
from arlib.codec import CodecError
from arlib.quantizers import BSQ
from arlib.sharp import AdversarialLoss, Detail, StatisticsLoss
from arlib.tokenizer import ImageTokenizer

FEW = 16  # frames of each split, as all take minutes
SMALL = ["--steps", 2, "--batch-size", 2, "--width", 4, "--depth", 1]


@pytest.fixture
def frames(tmp_path, monkeypatch) -> dict[str, torch.Tensor]:
    paths = {split: data.files("supertuxkart", split)[: 20 * FEW : 20] for split in ("train", "valid")}
    some = {split: torch.stack([data.read_image(path) for path in paths[split]]) for split in paths}
    monkeypatch.setattr(data, "load", lambda name, split: {"supertuxkart": some}[name][split])
    monkeypatch.setattr(realism, "fresh_judge", functools.partial(realism.fresh_judge, steps=5))
    monkeypatch.chdir(tmp_path)
    return some


@pytest.mark.parametrize(
    ("loss", "kind", "strength"), [("adversarial", AdversarialLoss, 4.0), ("statistics", StatisticsLoss, 2.5)]
)
def test_a_sharp_decoder_is_trained_used_and_described(run, frames, monkeypatch, loss, kind, strength):
    learned = []
    fit = training.fit

    def watched(chosen, examples, settings, *rest):
        learned.append((chosen, examples))
        return fit(chosen, examples, settings, *rest)

    monkeypatch.setattr(training, "fit", watched)
    named = [] if loss == "adversarial" else ["--strength", strength]
    code, _, _ = run("train", "sharp", "--name", "x", "--out", "run", "--loss", loss, *SMALL, *named)
    assert code == 0
    (chosen, (tokens, images)), plain = learned[0], arlib.load_tokenizer("book")
    assert (type(chosen), chosen.strength) == (kind, strength)
    assert torch.equal(tokens.long(), plain.encode(frames["train"]))
    assert torch.equal(images, frames["train"])

    weights = Path("run/decoder-x.safetensors")
    decoder = sharp.load(str(weights))
    book = checkpoints.sha256(checkpoints.find("tokenizer", "book"))
    assert checkpoints.read_header(weights)["tokenizer"] == f"sha256:{book}"
    assert (decoder.detail.config["width"], decoder.detail.config["depth"]) == (4, 1)
    # The last layer begins with zeros, and a judge learns alone for the first hundred steps.
    assert decoder.detail.last.weight.any() == (loss == "statistics")
    assert len(list(Path("run/moments").glob("reconstructions-*.png"))) > 0

    valid = frames["valid"]
    again, lines = decoder.reconstruct(valid), realism.grid_lines(decoder.reconstruct(valid))
    card = rows_of_card(weights)
    judged = re.fullmatch(r"([\d.]+) of places right \(0\.5 is the goal\)", card["valid fresh judge"])
    few = frames["train"][::8]
    expected = realism.fresh_judge(decoder.reconstruct(few), few, again, valid)
    assert judged is not None
    assert float(judged[1]) == pytest.approx(expected, abs=6e-4)
    assert {name: figure for name, figure in card.items() if "valid" in name and "judge" not in name} == {
        "valid PSNR": f"{metrics.psnr(valid, again).mean():.2f} dB (mean over pictures)",
        "valid SSIM": f"{metrics.ssim(valid, again).mean():.3f}",
        "valid power by octave": ", ".join(f"{power:.2f}" for power in realism.octaves(again, valid))
        + " (of the originals', from coarse to fine)",
        "valid lines of the grid": f"{lines[0].max():.2f} across, {lines[1].max():.2f} down (no line is 1)",
        "valid patch distance": f"{realism.halves(again, valid):.4f} "
        f"(two halves of the originals: {realism.halves(valid, valid):.4f})",
    }
    assert card["learned from"] == "the train split of the SuperTuxKart frames (data/README.md)"
    curves = EventAccumulator("run/curves")
    curves.Reload()
    followed = {"valid mean squared error", "valid patch distance"}
    assert set(curves.Tags()["scalars"]) == {"loss", "learning rate", *followed}
    frame = data.files("supertuxkart", "valid")[0]
    assert run("compress", frame, "a.ptb")[0] == 0
    assert run("decompress", "a.ptb", "a.png", "--sharp", 1, "--decoder", weights)[0] == 0
    assert torch.equal(data.read_image("a.png"), decoder.reconstruct(data.read_image(frame)[None])[0])


def test_a_damaged_file_among_others_stays_an_error():
    codec, decoder = arlib.load_codec("book"), sharpening.decoder_for("book", None, "book-statistics")
    good = (Path(__file__).parent / "golden" / "00.ptb").read_bytes()
    picture = decoder.decode(codec.decompress_tokens(good)[None], 0.5)[0]
    first, error, last = sharpening.decompress(codec, [good, b"no file", good], decoder, 0.5)
    assert isinstance(error, CodecError)
    assert all(isinstance(one, torch.Tensor) and torch.equal(one, picture) for one in (first, last))
    assert torch.equal(sharpening.decompress(codec, [good], None, 1)[0], codec.decompress(good))  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path_factory, monkeypatch) -> Path:
    """A working folder with a file, and a data folder with a codec, its decoder, and a decoder of other tokens."""
    folder, here = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("here")
    write_weights(folder)
    weights = folder / "weights"
    checkpoints.save(weights / "tokenizer-other.safetensors", "tokenizer", ImageTokenizer(25, 8, 1, BSQ(4)))
    (weights / "codecs.json").write_text(json.dumps({"tiny": load(folder, "tiny").hash}))
    for name in ("tiny", "other"):
        detail = Detail(features=8, width=4, depth=1)
        torch.nn.init.normal_(detail.last.weight, std=0.1)
        made_for = f"sha256:{checkpoints.sha256(weights / f'tokenizer-{name}.safetensors')}"
        checkpoints.save(weights / f"decoder-{name}.safetensors", "decoder", detail, tokenizer=made_for)
    monkeypatch.setenv("ARLIB_DATA", str(folder))
    monkeypatch.chdir(here)
    Path("x.ptb").write_bytes(load(folder, "tiny").compress_tokens(random_grids(1)[0]))
    return here


def test_a_decoder_is_for_the_tokens_of_one_tokenizer(place):
    decoder = arlib.load_decoder("tiny")
    assert torch.equal(decoder.tokenizer.decode(random_grids(2)), arlib.load_tokenizer("tiny").decode(random_grids(2)))
    assert torch.equal(arlib.load_decoder("tiny", "tiny").decode(random_grids(2)), decoder.decode(random_grids(2)))
    with pytest.raises(checkpoints.CheckpointError, match="made for the tokens of another tokenizer"):
        arlib.load_decoder("other", "tiny")
    with pytest.raises(checkpoints.CheckpointError, match="there are: other, tiny"):
        arlib.load_decoder("none")


def test_decompress_is_as_sharp_as_it_is_asked_to_be(run, place):
    assert run("decompress", "x.ptb", "plain.png")[0] == 0
    assert run("decompress", "x.ptb", "zero.png", "--sharp", "0", "--decoder", "tiny")[0] == 0
    assert Path("plain.png").read_bytes() == Path("zero.png").read_bytes()
    for share in (0.25, 1):
        assert run("decompress", "x.ptb", f"{share}.png", "--sharp", share, "--decoder", "tiny")[0] == 0
        expected = arlib.load_decoder("tiny").decode(random_grids(1), share)[0]
        assert torch.equal(data.read_image(f"{share}.png"), expected)
        assert not torch.equal(expected, data.read_image("plain.png"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sharp", "1.5"], "between 0 .* not 1.5"),
        (["--sharp=-0.1"], "between 0 .* not -0.1"),
        (["--sharp", "nan"], "between 0 .* not nan"),
        (["--sharp", "much"], "--sharp.* valid number"),
        (["--sharp", "1", "--decoder", "other"], "decoder other was made for the tokens of another tokenizer"),
        (["--sharp", "1", "--decoder", "none"], "there are: other, tiny"),
        (["--sharp", "1", "--decoder", "x.ptb"], "no decoder 'x.ptb'"),
    ],
)
def test_a_wrong_slider_is_one_line(run, place, options, words):
    code, out, err = run("decompress", "x.ptb", "y.png", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(words, err), err
    assert not Path("y.png").exists()


def test_there_are_two_losses(run, place):
    code, _, err = run("train", "sharp", "--name", "x", "--out", "x", "--loss", "gradient")
    assert code == 2
    assert "adversarial or statistics, not gradient" in err
