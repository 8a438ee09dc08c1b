"""Training on one's own pictures: any size that patches tile, and held-out pictures of one's own."""

import warnings
from pathlib import Path

import pytest
import torch
from conftest import write_noise

import arlib
from arlib import checkpoints, data, tokenset, training
from arlib.cli import common, examples
from arlib.quantizers import BSQ
from arlib.storage import DataError, Notice
from arlib.tokenizer import ImageTokenizer

QUICK = ("--steps", 3, "--batch-size", 2, "--width", 8, "--depth", 1)


@pytest.fixture
def mine(tmp_path):
    """Twenty pictures of noise, 24×36, in a folder."""
    return tmp_path / "mine", write_noise(tmp_path / "mine", 20, 24, 36)


def test_every_tenth_picture_is_held_out(mine):
    folder, images = mine
    dataset = examples.pictures(str(folder), None, "24x36", 6)
    assert torch.equal(dataset.held_out, images[[9, 19]])
    rest = images[[number for number in range(20) if number not in (9, 19)]]
    assert torch.equal(dataset.learned[torch.arange(36)], torch.cat([rest, rest.flip(2)]))
    assert dataset.header == {"size": "24×36"}
    assert dataset.described.startswith("18 pictures of one's own, 24×36 pixels")
    assert "2 held out" in dataset.described


def test_held_out_pictures_of_a_folder_are_measured_and_never_learned(mine, tmp_path):
    folder, images = mine
    valid = tmp_path / "valid"
    valid.mkdir()
    for number in (3, 4):  # copies under other names
        data.write_image(valid / f"copy-{number}.png", images[number])
    dataset = examples.pictures(str(folder), valid, "24x36", 6)
    assert torch.equal(dataset.held_out, images[[3, 4]])
    with pytest.warns(Notice, match=r"03\.png shows a held-out picture"):
        learned = dataset.learned[torch.arange(20)]
    assert torch.equal(learned, images[[0, 1, 2, 5, 5, *range(5, 20)]])


def test_frames_of_valid_and_unseen_are_never_learned_among_one_s_own(tmp_path):
    learned = data.files("supertuxkart", "train")[:2]
    # The last picture is held out, and the first is its copy.
    frames = [learned[1], *data.files("supertuxkart", "unseen")[:2], *learned]
    for number, path in enumerate(frames):
        (tmp_path / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    with pytest.warns(Notice, match="shows a held-out picture"):
        dataset = examples.pictures(str(tmp_path), None, None, 5)
    assert torch.equal(dataset.learned[torch.arange(4)], data.read_image(learned[0])[None].expand(4, -1, -1, -1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "24x35"), "6×6"),
        (("--size", "24"), "A size is height and width like 64x96"),
        (("--size", "0x24"), "A size is height and width"),
        (("--size", "99999x24"), "each of 1 to 4,096 pixels"),
        (("--data", "digits", "--size", "24x36"), "--valid and --size are for a folder of images"),
        (("--data", "supertuxkart", "--valid", "mine"), "--valid and --size are for a folder of images"),
        (("--size", "24x36", "--valid", "nowhere"), "nowhere is not a folder"),
        (("--size", "24x36", "--nodes", 0), "nodes is a number above 0"),
        (("--size", "24x36", "--workers", 0), "workers is a number above 0"),
        (("--size", "24x36", "--devices", 3), "cannot be shared equally by 3"),
        (("--size", "24x36", "--devices", 2, "--nodes", 2), "cannot be shared equally by 4"),
    ],
)
def test_options_that_cannot_be_are_one_line_before_any_work(run, mine, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(
        *("train", "tokenizer", "--name", "x", "--out", "run", "--data", "mine", "--patch-size", 6, *QUICK), *options
    )
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert not (tmp_path / "run").exists()


def test_one_picture_alone_needs_others_to_be_followed_on(mine, tmp_path):
    folder, images = mine
    alone = tmp_path / "alone"
    alone.mkdir()
    data.write_image(alone / "0.png", images[0])
    with pytest.raises(DataError, match=r"holds one picture, .* --valid"):
        examples.pictures(str(alone), None, "24x36", 6)
    (folder / "00.png").unlink()
    assert len(examples.pictures(str(alone), folder, "24x36", 6).held_out) == 19


def test_every_tenth_grid_is_held_out_with_its_mirror_image_and_its_label(tmp_path):
    grids = torch.arange(12)[:, None, None].repeat(1, 2, 2)
    a, b, few, one = (tmp_path / f"{name}.tokens" for name in ("a", "b", "few", "one"))
    tokenset.write(a, grids, 32, "ab" * 32, torch.arange(12))
    tokenset.write(b, grids + 12, 32, "ab" * 32, torch.arange(12))
    tokenset.write(few, grids[:3], 32, "ab" * 32)
    tokenset.write(one, grids[:1], 32, "ab" * 32)

    def tokens(*paths):
        train, held_out = examples.tokens(list(paths), None)
        learned = train.grids[torch.arange(len(train.grids))][:, 0, 0].tolist()
        return train, held_out, learned, None if held_out is None else held_out.grids[:, 0, 0].tolist()

    kept = [*range(9), 10, 11]
    train, held_out, learned, rest = tokens(a, Path(f"{b}:2"))
    assert (learned, rest) == ([*kept, *(place + 12 for place in kept), *(place + 12 for place in kept)], [9, 21])
    assert (train.labels.tolist(), held_out.labels.tolist()) == (kept * 3, [9, 9])
    assert train.grids[torch.tensor([12, 0, 25])][:, 0, 0].tolist() == [13, 0, 15]  # in the order that is asked for
    assert tokens(few)[2:] == ([0, 1], [2])
    assert tokens(one)[1:3] == (None, [0])


def test_from_a_folder_of_any_size_to_files_and_back(run, mine, tmp_path, monkeypatch):
    """24×36 pixels, a size that none of the book's data sets has, through every command."""
    monkeypatch.chdir(tmp_path)
    folder, images = mine
    learn = ("train", "tokenizer", "--name", "own", "--out", "t", "--data", folder, "--size", "24x36")
    code, out, _ = run(*learn, "--patch-size", 6, "--bits", 4, *QUICK)
    assert code == 0
    assert "examples a second" in out
    weights = "t/tokenizer-own.safetensors"
    assert checkpoints.read_header(weights)["size"] == "24×36"
    assert common.shape_of(weights) == (24, 36, 3)
    again = arlib.load_tokenizer(weights).reconstruct(images[[9, 19]])
    card = (tmp_path / "t" / "tokenizer-own.md").read_text(encoding="utf-8")
    error = ((again.double() - images[[9, 19]].double()) / 255).square().mean()
    assert f"| valid MSE | {error:.5f} (pixels in [0, 1]) |" in card
    assert run("tokenize", folder, "own.tokens", "--tokenizer", weights)[0] == 0
    assert tokenset.read("own.tokens").grids.shape == (20, 4, 6)
    speak = ("train", "prior", "--name", "own", "--out", "p", "--tokens", "own.tokens", "--tokenizer", weights)
    assert run(*speak, "--heads", 1, *QUICK)[0] == 0
    assert "| valid bits |" in (tmp_path / "p" / "prior-own.md").read_text(encoding="utf-8")
    names = ("--prior", "p/prior-own.safetensors", "--tokenizer", weights)
    assert run("compress", folder / "07.png", "a.ptb", *names)[0] == 0
    assert run("decompress", "a.ptb", "a.png", *names)[0] == 0
    expected = arlib.load_tokenizer(weights).reconstruct(images[7:8])[0]
    assert torch.equal(data.read_image("a.png", 24, 36), expected)
    assert run("generate", "--out", "new", "--count", 1, *names)[0] == 0


@pytest.mark.parametrize("size", ["25×36", "x", 5, "0×36", "99999×36", None])
def test_a_stranger_s_header_with_a_wrong_size_is_told(size, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tokenizer-x.safetensors"
    checkpoints.save(path, "tokenizer", ImageTokenizer(6, 8, 0, BSQ(4)), size=size)
    with pytest.raises(checkpoints.CheckpointError, match=r"The size in the header of .*tokenizer-x\.safetensors"):
        common.shape_of(str(path))


def test_a_bad_picture_stands_no_run_still(run, mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = mine
    (folder / "05.png").write_bytes(b"no picture")
    learn = ("train", "tokenizer", "--name", "x", "--out", "t", "--data", folder, "--size", "24x36", "--patch-size", 6)
    code, _, err = run(*learn, *QUICK, "--steps", 20)
    assert code == 0
    assert err.count("05.png is not an image that Pillow can read. The next file stands in for it") == 1
    assert training.first_process()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(examples.pictures(str(folder), None, "24x36", 6).learned) == 36
