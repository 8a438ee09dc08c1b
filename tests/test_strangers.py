"""Weights and token files from strangers: whatever stands in them is one error that names the file, and a quick one."""

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import arlib
from arlib import checkpoints
from arlib.checkpoints import CheckpointError
from arlib.quantizers import BSQ
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

PRIOR = Prior(16, 12, 16, 1, 2).config
TOKENIZER = ImageTokenizer(25, 8, 1, quantizer=BSQ(12)).config
VQ = {"name": "VQ", "codebook_size": 4, "latent_dim": 2}
PYRAMID = {"name": "Pyramid", "quantizer": VQ, "cut": 0.5}


def header(kind: str, config: object, **extra: object) -> str:
    return json.dumps({"kind": kind, "config": config, **extra})


WRONG = {
    "a list": ("[]", "no object with a kind"),
    "a number": ("7", "no object with a kind"),
    "no JSON": ("{", "is not JSON"),
    "nested without end": ("[" * 100_000, "is not JSON"),
    "no kind": ('{"config": {}}', "names no kind"),
    "a kind that is a list": ('{"kind": [], "config": {}}', "The kind in the header"),
    "no config": ('{"kind": "prior"}', "names no config"),
    "a config in words": ('{"kind": "prior", "config": "large"}', "config in the header"),
    "a grid that is a number": (header("prior", PRIOR, grid=3), "The grid in the header"),
    "an unknown key": (header("prior", {**PRIOR, "color": 3}), "unexpected keyword argument 'color'"),
    "a large unknown number": (header("prior", {**PRIOR, "color": 10**9}), "color .* is a number of at most 1024"),
    "no heads": (header("prior", {**PRIOR, "heads": 0}), "heads in the header of .* is 0; .* between 1 and 256"),
    "heads that do not fit": (header("prior", {**PRIOR, "heads": 3}), "3 heads cannot share"),
    "a wide one": (header("prior", {**PRIOR, "width": 10**9}), "width in the header of .* is 1000000000"),
    "a deep one": (header("prior", {**PRIOR, "depth": 10**7}), "depth in the header of .* is 10000000"),
    "a depth within limits": (header("prior", {**PRIOR, "depth": 250}), "do not fit .* asks for more"),
    "a long one": (header("prior", {**PRIOR, "length": 65536, "width": 1000}), "length in the header"),
    "a negative depth": (header("prior", {**PRIOR, "depth": -1}), "depth in the header"),
    "half a width": (header("prior", {**PRIOR, "width": 16.5}), "width in the header of .* is 16.5"),
    "a width in words": (header("prior", {**PRIOR, "width": "16"}), "width in the header of .* is 16"),
    "a width that is true": (header("prior", {**PRIOR, "width": True}), "width in the header"),
    "NaN heads": (header("prior", {**PRIOR, "heads": float("nan")}), "heads in the header"),
    "endless width": (header("prior", {**PRIOR, "width": 10**400}), "width in the header"),
    "large scales": (header("prior", {**PRIOR, "scales": [1, 10**6]}), "scales in the header"),
    "a quantizer in words": (header("tokenizer", {**TOKENIZER, "quantizer": "BSQ"}), "describes no model"),
    "an unknown quantizer": (header("tokenizer", {**TOKENIZER, "quantizer": {"name": "?"}}), "no quantizer '\\?'"),
    "63 bits": (header("tokenizer", {**TOKENIZER, "quantizer": {"name": "BSQ", "bits": 63}}), "bits in the header"),
    "no patch": (header("tokenizer", {**TOKENIZER, "patch_size": 0}), "patch_size in the header"),
    "a large patch": (header("tokenizer", {**TOKENIZER, "patch_size": 10**6}), "patch_size in the header"),
    "no patch size": (header("tokenizer", {"width": 3}), "describes no model"),
    "many blocks of pixels": (header("tokenizer", {**TOKENIZER, "refine": 10**6}), "refine in the header"),
    "no sides": (header("tokenizer", {**TOKENIZER, "quantizer": {**PYRAMID, "sides": []}}), "sides of a pyramid"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_strange_header_is_one_quick_error_that_names_the_file(tmp_path, case):
    content, words = WRONG[case]
    path = tmp_path / "strange.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={"arlib": content})
    load = arlib.load_tokenizer if '"tokenizer"' in content else arlib.load_prior
    started = time.process_time()
    with pytest.raises(CheckpointError, match=words) as caught:
        load(str(path))
    assert time.process_time() - started < 1
    assert "strange.safetensors" in str(caught.value)


def test_numbers_at_the_limits_are_no_reason_to_refuse(tmp_path):
    path = tmp_path / "prior.safetensors"
    checkpoints.save(path, "prior", Prior(4, 65536, 1, 0, 1), grid="256×256")
    assert arlib.load_prior(str(path)).length == 65536
    checkpoints.save(path, "prior", Prior(4, 4, 2, 256, 1), grid="2×2")
    assert len(arlib.load_prior(str(path)).blocks) == 256


def test_a_model_is_not_stopped_by_another_that_was(tmp_path):
    """The hook that counts weights is gone after a refusal."""
    path = tmp_path / "strange.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={"arlib": header("prior", {**PRIOR, "depth": 250})})
    with pytest.raises(CheckpointError):
        arlib.load_prior(str(path))
    Prior(16, 12, 16, 3, 2)


def test_weights_that_are_no_numbers_are_neither_loaded_nor_saved(tmp_path):
    path, prior = tmp_path / "prior-a.safetensors", Prior(16, 12, 16, 1, 2)
    for value in (float("nan"), float("inf"), 1e6):  # the last has no float16
        with torch.no_grad():
            prior.head.weight[3, 3] = value
        with pytest.raises(CheckpointError, match=r"head\.weight are not all finite"):
            checkpoints.save(path, "prior", prior)
    assert not path.exists()
    with torch.no_grad():
        prior.head.weight[3, 3] = 0
    checkpoints.save(path, "prior", prior)
    weights, told = load_file(path), checkpoints.read_header(path)
    weights["start"][0] = float("nan")
    save_file(weights, path, metadata={"arlib": json.dumps(told)})
    with pytest.raises(CheckpointError, match=r"prior-a.*start are not all finite"):
        arlib.load_prior(str(path))


@pytest.mark.parametrize("missing", ["grid", "tokenizer"])
def test_a_prior_without_what_a_pipeline_needs(run, tmp_path, missing):
    path = tmp_path / "prior-a.safetensors"
    told = {"grid": "3×4", "tokenizer": "book"}
    del told[missing]
    checkpoints.save(path, "prior", Prior(16, 12, 16, 1, 2), **told)
    code, out, err = run("generate", "--out", tmp_path / "new", "--prior", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"prior-a.safetensors names no {missing}" in " ".join(err.split())


def test_the_files_of_a_data_set_name_what_is_wrong(run, tmp_path):
    path: Path = tmp_path / "a.tokens"
    path.write_bytes(b"PTBT" + bytes([1, 0, 63, 0]) + bytes(24))
    code, _, err = run("train", "prior", "--name", "x", "--out", tmp_path / "run", "--tokens", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "a.tokens is damaged" in err
