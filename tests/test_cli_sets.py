"""The command line with digits, several codebooks, classes and orders; tiny models, trained for a few steps."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import arlib
from arlib import checkpoints, data, sampling, tokenset, training
from arlib.cli import common, completing, examples

FRAME = data.files("supertuxkart", "valid")[0]
RUN = ["--name", "x", "--out", "run"]
TOKENIZER, PRIOR = ["train", "tokenizer", *RUN], ["train", "prior", *RUN]
GENERATE = ["generate", "--out", "new"]
WRONG: dict[str, tuple[list[object], str]] = {
    "an unknown quantizer": ([*TOKENIZER, "--quantizer", "fsq"], "bsq or vq"),
    "no codebook": ([*TOKENIZER, "--codebooks", 0], "at least one codebook"),
    "19 bits of vq": ([*TOKENIZER, "--quantizer", "vq", "--bits", 19], "1 to 18 bits"),
    "numbers that cannot be shared": ([*TOKENIZER, "--quantizer", "vq", "--codebooks", 3], "share 32 numbers"),
    "scales in words": ([*TOKENIZER, "--quantizer", "vq", "--scales", "one"], "sides like 1,2,4"),
    "scales that do not begin with 1": ([*TOKENIZER, "--quantizer", "vq", "--scales", "2,4"], "begin with 1"),
    "a cut above one": (
        [*TOKENIZER, "--quantizer", "vq", "--scales", "1,2", "--cut", 1.5],
        "between 0 and 1, not 1.5",
    ),
    "scales of bsq": ([*TOKENIZER, "--scales", "1,2"], "goes with --quantizer vq"),
    "a patch that tiles no digit": ([*TOKENIZER, "--data", "digits", "--patch-size", 5], "28 pixels high and 28 wide"),
    "a judge of frames": (["train", "judge", *RUN, "--data", "supertuxkart"], "digits or cifar10"),
    "an unknown order": ([*PRIOR, "--order", "spiral"], "raster, places, random or scales"),
    "scales of the book's tokens": ([*PRIOR, "--order", "scales"], "tokens of a pyramid"),
    "classes of the book's tokens": ([*PRIOR, "--classes"], "no labels"),
    "valid tokens of no file": ([*PRIOR, "--valid", "none"], "cannot be read"),
    "another tokenizer than the tokens'": ([*PRIOR, "--tokenizer", "text.safetensors"], "no file"),
    "a split of no set": (["tokenize", "train", "x.tokens", "--data", "mario"], "no data set 'mario'"),
    "a split that the digits have not": (["tokenize", "unseen", "x.tokens", "--data", "digits"], "train, valid, test"),
    "digits for a tokenizer of colors": (
        ["tokenize", "valid", "x.tokens", "--data", "digits"],
        "gray, 28×28 pixels; this tokenizer takes color ones in patches of 5×5",
    ),
    "frames for a tokenizer of digits": (
        ["evaluate", "--prior", "digits-4x4", "--data", "supertuxkart"],
        "color, 100×150 pixels; this tokenizer takes gray ones in patches of 7×7",
    ),
    "frames that move": (["tokenize", "valid", "x.tokens", "--moved", 1], "splits of digits and cifar10"),
    "moved and mirrored": (["tokenize", "valid", "x.tokens", "--moved", 1, "--mirror"], "leave --mirror out"),
    "tokens taken no time": ([*PRIOR, "--tokens", "x.tokens:0"], "once or more"),
    "repeated tokens of no file": ([*PRIOR, "--tokens", "x.tokens:2"], "x.tokens cannot be read"),
    "figures of no set": (["evaluate", "--data", "mario"], "no data set 'mario'"),
    "a label without classes": ([*GENERATE, "--label", "dog"], "learned no classes"),
    "guidance without a label": ([*GENERATE, "--guidance", 2], "name a label"),
    "no such label": ([*GENERATE, "--prior", "digits-4x4", "--label", 11], "no class '11'; there are 0, 1"),
    "endless guidance": ([*GENERATE, "--prior", "digits-4x4", "--label", 1, "--guidance", "inf"], "not at inf"),
    "guidance that is no number": (
        [*GENERATE, "--prior", "digits-4x4", "--label", 1, "--guidance", "nan"],
        "not at nan",
    ),
    "several at once in scales": ([*GENERATE, "--prior", "digits-scales", "--at-once", 2], "leave --at-once out"),
    "samples of scales, several at once": (
        ["evaluate-samples", "--prior", "digits-scales", "--at-once", 2],
        "leave --at-once out",
    ),
    "a digit of another size": ([*GENERATE, "--prior", "digits-4x4", "--from", "small.png", "--keep", "top"], "--fit"),
    "an order in words": ([*GENERATE, "--order", "spiral"], "shuffled"),
    "an order that was not learned": ([*GENERATE, "--order", "random"], "order"),
    "several at once in one order": ([*GENERATE, "--at-once", 2], "any order"),
    "none at once": ([*GENERATE, "--at-once", 0], "at least 1"),
    "keep without from": ([*GENERATE, "--keep", "top"], "go together"),
    "from without keep": ([*GENERATE, "--from", FRAME], "go together"),
    "two ways to keep": ([*GENERATE, "--from", FRAME, "--keep", "top", "--keep-rows", 3], "go together"),
    "an unknown part": ([*GENERATE, "--from", FRAME, "--keep", "middle"], "top, bottom, left, right, outside"),
    "a mask of no file": ([*GENERATE, "--from", FRAME, "--mask", "none.png"], "no file"),
    "a mask of another size": ([*GENERATE, "--from", FRAME, "--mask", "small.png"], "--fit"),
    "a file with a label and no classes": (["compress", FRAME, "x.ptb", "--label", 3], "learned no classes"),
    "a folder that cannot be made": ([*GENERATE[:2], "small.png/new", "--count", 1], "is a file. Name a folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_code_two_and_leaves_nothing(run, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("small.png")
    if case == "a folder that cannot be made":  # found out after the sampling, so that it is made short
        monkeypatch.setattr(sampling, "generate", lambda *rest, **more: torch.zeros(1, 600, dtype=torch.int64))
    arguments, words = WRONG[case]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("arlib: ")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


@pytest.fixture
def few(monkeypatch) -> None:
    """A few digits of each split, as all of them take a while."""
    load, labels = data.load, data.labels
    monkeypatch.setattr(data, "load", lambda name, split: load(name, split)[::250])
    monkeypatch.setattr(data, "labels", lambda name, split: labels(name, split)[::250])


KINDS: dict[str, tuple[list[object], list[object], tuple[int, ...]]] = {
    "one codebook, raster": (["--patch-size", 7, "--quantizer", "vq"], [], (4, 4)),
    "one codebook, any order": (["--patch-size", 7], ["--order", "random"], (4, 4)),
    "product": (["--patch-size", 14, "--quantizer", "vq", "--codebooks", 2], [], (2, 2, 2)),
    "residual, any order": (
        ["--patch-size", 14, "--quantizer", "vq", "--codebooks", 2, "--residual"],
        ["--order", "random"],
        (2, 2, 2),
    ),
    "scales": (["--patch-size", 7, "--quantizer", "vq", "--scales", "1,2,4"], ["--order", "scales"], (21,)),
    "scales, one at a time": (["--patch-size", 7, "--quantizer", "vq", "--scales", "1,2,4"], [], (21,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_digits_from_the_first_command_to_the_last(run, few, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    how, order, shape = KINDS[kind]
    quick = ["--steps", 6, "--batch-size", 8, "--width", 8, "--depth", 1]
    learn = ["--name", "x", "--data", "digits", "--bits", 4, *how, *quick]
    assert run("train", "tokenizer", "--out", "tokenizer", *learn)[0] == 0
    tokenizer = Path("tokenizer/tokenizer-x.safetensors")
    card = tokenizer.with_suffix(".md").read_text(encoding="utf-8")
    assert "| license | CC BY-SA 3.0, that of MNIST |" in card
    usage = re.search(r"\| valid codebook usage \| ([^|]*) \|", card)
    assert usage is not None
    assert usage[1].count("%") == (2 if "--codebooks" in how else 1)
    write = ["tokenize", "train", "moved.tokens", "--data", "digits", "--tokenizer", tokenizer, "--moved", 3]
    assert run(*write)[0] == 0
    moved = examples.moved(data.load("digits", "train"), "digits", 3)
    assert torch.equal(tokenset.read("moved.tokens").grids, arlib.load_tokenizer(str(tokenizer)).encode(moved))
    for split, named in (("train", ["--data", "digits"]), ("valid", [])):
        code, out, _ = run("tokenize", split, f"{split}.tokens", *named, "--tokenizer", tokenizer)
        assert code == 0
        assert "bytes of pixels" in " ".join(out.split())
    written = tokenset.read("valid.tokens")
    assert torch.equal(written.grids, arlib.load_tokenizer(str(tokenizer)).encode(data.load("digits", "valid")))
    assert written.labels is not None
    assert torch.equal(written.labels, data.labels("digits", "valid"))
    known = [
        "--tokens",
        "train.tokens:2",
        "--tokens",
        "moved.tokens",
        "--valid",
        "valid.tokens",
        "--tokenizer",
        tokenizer,
        "--classes",
    ]
    assert run("train", "prior", "--name", "x", "--out", "prior", *known, *order, *quick, "--heads", 1)[0] == 0
    prior = Path("prior/prior-x.safetensors")
    header = checkpoints.read_header(prior)
    assert checkpoints.parse_grid(header["grid"]) == shape
    assert header["config"]["classes"] == 10
    assert header.get("order") == ("shuffled 7" if "random" in order else None)
    card = prior.with_suffix(".md").read_text(encoding="utf-8")
    assert "with their labels" in card
    assert ("in random orders" in card) == ("random" in order)

    names = ["--prior", prior, "--tokenizer", tokenizer]
    assert run("generate", "--out", "new", "--count", 2, "--label", 7, "--guidance", 1.5, *names)[0] == 0
    with Image.open("new/0001.png") as image:
        assert (image.mode, image.size) == ("L", (28, 28))
    assert "no class '10'; there are 0, 1, 2" in run("generate", "--out", "new", "--label", 10, *names)[2]
    digit = data.load("digits", "valid")[0]
    data.write_image("digit.png", digit)
    assert run("generate", "--out", "done", "--from", "digit.png", "--keep", "top", "--count", 1, *names)[0] == 0
    assert run("reconstruct", "digit.png", "again.png", "--tokenizer", tokenizer)[0] == 0
    again = arlib.load_tokenizer(str(tokenizer)).reconstruct(digit[None])[0]
    assert torch.equal(data.read_image("again.png", 28, 28, channels=1), again)
    files = [] if "random" in order else ["--label", 3]
    code, out, _ = run("compress", "digit.png", "digit.ptb", *names, *files)
    assert (code, Path("digit.ptb").stat().st_size < 60) == (0, True)
    assert run("decompress", "digit.ptb", "from-file.png", *names)[0] == 0
    assert Path("from-file.png").read_bytes() == Path("again.png").read_bytes()
    code, out, _ = run("info", "digit.ptb", *names)
    assert re.search(rf"label +│ {'3' if files else 'none'} ", out)
    code, out, _ = run("evaluate", "--data", "digits", *names)
    assert code == 0
    assert re.search(r"valid +│ 20 ", out)
    assert ("with their labels, in random orders." if "random" in order else "with their labels.") in " ".join(
        out.split()
    )
    code, out, _ = run("evaluate", "--tokenizer", tokenizer)  # the data set is that of the tokenizer
    assert (code, "bits" in out) == (0, False)


def test_what_a_run_can_do_at_six_moments_is_kept(run, few, tmp_path):
    out = tmp_path / "run"
    tokenizer = ["train", "tokenizer", "--name", "x", "--out", out, "--data", "digits", "--patch-size", 7]
    assert run(*tokenizer, "--width", 8, "--depth", 1, "--steps", 300, "--batch-size", 2)[0] == 0
    steps = [1, 4, 11, 33, 100, 300]
    paths = sorted((out / "moments").iterdir())
    assert [path.name for path in paths] == [f"reconstructions-{step:07}.png" for step in steps]
    # Ten digits of 28×28 above their reconstructions, with lines of two pixels between them.
    height, width = 2 * 28 + 2, 10 * 28 + 9 * 2
    pages = [data.read_image(path, height, width, channels=1) for path in paths]
    digits = data.load("digits", "valid")
    assert all(torch.equal(page[:28, 30:58], digits[1]) for page in pages)
    last = arlib.load_tokenizer(str(out / "tokenizer-x.safetensors")).reconstruct(digits[:1])[0]
    assert (pages[-1][30:, :28].int() - last.int()).abs().max() <= 1  # the file is in float16
    assert not torch.equal(pages[0][30:], pages[-1][30:])
    board = EventAccumulator(str(out / "curves"), size_guidance={"images": 0})
    board.Reload()
    # One file each, and TensorBoard reads those of one second in the order of their names.
    assert sorted(event.step for event in board.Images("reconstructions")) == steps


def test_a_judge_is_trained_and_has_a_card(run, few, tmp_path):
    learn = ["train", "judge", "--name", "x", "--out", tmp_path, "--steps", 3, "--batch-size", 8, "--width", 8]
    assert run(*learn)[0] == 0
    path = tmp_path / "judge-x.safetensors"
    assert checkpoints.read_header(path)["data"] == "digits"
    judge, digits = arlib.load_judge(str(path)), data.load("digits", "valid")
    right = (judge.classify(digits) == data.labels("digits", "valid")).double().mean().item()
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| valid accuracy | {right:.2%} |" in card
    assert "| test accuracy | " in card


def test_the_data_set_of_a_tokenizer_whose_header_names_none(tmp_path):
    path = tmp_path / "tokenizer-x.safetensors"
    for patch_size, channels, name in (7, 1, "digits"), (4, 3, "cifar10"), (25, 3, "supertuxkart"):
        model = arlib.ImageTokenizer(patch_size, 8, 0, arlib.quantizers.BSQ(4), channels=channels)
        checkpoints.save(path, "tokenizer", model)
        assert common.data_of(str(path)) == name
    checkpoints.save(path, "tokenizer", model, data="cifar10")
    assert common.data_of(str(path)) == "cifar10"


def test_the_parts_that_are_kept():
    tokenizer = arlib.ImageTokenizer(1, 8, 0, arlib.quantizers.BSQ(4), channels=1)
    image = torch.zeros(4, 6, 1, dtype=torch.uint8)

    def drawn(keep: str) -> list[str]:
        places = completing.places_in(completing.to_draw(image, 1, None, keep, None, False), tokenizer, (4, 6))
        return ["".join(".#"[place] for place in row) for row in places.view(4, 6).long().tolist()]

    assert drawn("top") == ["......", "......", "######", "######"]
    assert drawn("bottom") == ["######", "######", "......", "......"]
    assert drawn("left") == ["...###"] * 4
    assert drawn("right") == ["###..."] * 4
    assert drawn("outside") == ["......", ".####.", ".####.", "......"]
    rows = completing.to_draw(image, 2, 1, None, None, False)
    assert rows.tolist() == [[False] * 6] * 2 + [[True] * 6] * 2


def test_a_token_is_drawn_where_any_of_its_pixels_is(tmp_path):
    hole = torch.zeros(28, 28, 1, dtype=torch.uint8)
    hole[13, 20] = 255  # row 1, column 2 of a grid of 4×4
    data.write_image(tmp_path / "mask.png", hole)
    image = torch.zeros(28, 28, 1, dtype=torch.uint8)
    drawn = completing.to_draw(image, 7, None, None, tmp_path / "mask.png", False)
    one = arlib.ImageTokenizer(7, 8, 0, arlib.quantizers.BSQ(4), channels=1)
    assert completing.places_in(drawn, one, (4, 4)).nonzero().flatten().tolist() == [6]
    assert completing.places_in(drawn, one, (4, 4, 2)).nonzero().flatten().tolist() == [12, 13]
    pyramid = arlib.scales.Pyramid(arlib.quantizers.VQ(4, 2), (1, 2, 4))
    several = arlib.ImageTokenizer(7, 8, 0, pyramid, channels=1)
    # The whole, the upper right quarter, and the same token as above.
    assert completing.places_in(drawn, several, (21,)).nonzero().flatten().tolist() == [0, 2, 5 + 6]


def test_what_is_kept_stays_and_the_rest_is_drawn(run, tmp_path):
    """A frame whose left half is kept: the decoder sees a new token only near the seam."""
    assert run("generate", "--out", tmp_path, "--count", 1, "--from", FRAME, "--keep", "left")[0] == 0
    whole = arlib.load_tokenizer("book").reconstruct(data.read_image(FRAME)[None])[0]
    completed = data.read_image(tmp_path / "0000.png")
    assert torch.equal(completed[:, :50], whole[:, :50])
    assert not torch.equal(completed[:, 100:], whole[:, 100:])


def test_labels_by_name_and_by_number():
    assert common.label_number("dog", 10, "cifar10") == common.label_number("5", 10, "cifar10") == 5
    assert common.label_number("5", 10, "digits") == 5
    assert common.label_number(None, 0, "digits") is None
    with pytest.raises(data.DataError, match="there are airplane, automobile"):
        common.label_number("unicorn", 10, "cifar10")
    with pytest.raises(data.DataError, match="there are 0, 1"):
        common.label_number("dog", 10, "digits")
    with pytest.raises(data.DataError, match="there are 0 to 2"):
        common.label_number("3", 3, "supertuxkart")


def test_cifar10_is_mirrored_has_class_names_and_no_license(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = torch.randint(256, (20, 32, 32, 3), dtype=torch.uint8)
    monkeypatch.setattr(data, "load", lambda name, split: pictures if split == "train" else pictures[:8].flip(1))
    monkeypatch.setattr(data, "labels", lambda name, split: torch.arange(20 if split == "train" else 8) % 10)
    quick = ["--steps", 2, "--batch-size", 4, "--width", 8, "--depth", 1]
    given, fit = [], training.fit

    def record(loss, examples, *rest):
        given.append(examples)
        return fit(loss, examples, *rest)

    monkeypatch.setattr(training, "fit", record)
    learn = ["train", "tokenizer", "--name", "x", "--out", "run", "--data", "cifar10", "--patch-size", 8, "--bits", 5]
    assert run(*learn, *quick)[0] == 0
    assert torch.equal(given[0][torch.arange(40)], torch.cat([pictures, pictures.flip(2)]))
    tokenizer = Path("run/tokenizer-x.safetensors")
    told = "| license | trained on CIFAR-10 (Krizhevsky 2009), whose pictures have no license |"
    assert told in tokenizer.with_suffix(".md").read_text(encoding="utf-8")
    assert checkpoints.read_header(tokenizer)["data"] == "cifar10"
    for more, name in ([], "a"), (["--mirror"], "b"):
        write = ["tokenize", "train", f"{name}.tokens", "--data", "cifar10", "--tokenizer", tokenizer, *more]
        assert run(*write)[0] == 0
    sets = ["--tokens", "a.tokens", "--tokens", "b.tokens", "--tokenizer", tokenizer]
    assert run("train", "prior", "--name", "x", "--out", "prior", *sets, "--classes", "--heads", 1, *quick)[0] == 0
    prior = Path("prior/prior-x.safetensors")
    assert told in prior.with_suffix(".md").read_text(encoding="utf-8")
    assert [len(part) for part in given[1]] == [36, 36]  # every tenth is held out
    names = ["--prior", prior, "--tokenizer", tokenizer]
    assert run("generate", "--out", "new", "--count", 1, "--label", "dog", *names)[0] == 0
    assert data.read_image("new/0000.png", 32, 32).shape == (32, 32, 3)
    assert "there are airplane, automobile, bird" in run("generate", "--out", "new", "--label", "unicorn", *names)[2]
    assert run("compress", "new/0000.png", "x.ptb", "--label", "ship", *names)[0] == 0
    assert re.search(r"label +│ ship ", run("info", "x.ptb", *names)[1])
