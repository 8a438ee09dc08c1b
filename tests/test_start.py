"""How a command starts: help and refusals without torch, and `import arlib` that imports a name when it is used."""

import json
import subprocess
import sys
from pathlib import Path

import arlib

COMMANDS = ["tokenize", "reconstruct", "evaluate", "generate", "evaluate-samples", "compress", "decompress", "info"]
TRAINED = ["autoencoder", "tokenizer", "prior", "judge", "sharp"]
HELP = [["--help"], ["train", "--help"]]
HELP += [[name, "--help"] for name in COMMANDS] + [["train", name, "--help"] for name in TRAINED]

NEW = ["--name", "x", "--out", "new"]
REFUSED = [
    [],
    ["draw"],
    ["compress"],
    ["compress", "a.png"],
    ["compress", "a.png", "a.ptb", "--quality", "best"],
    ["compress", "a.png", "a.ptb", "--quality", "3", "--max-bytes", "300"],
    ["compress", "a.png", "a.ptb", "--loud"],
    ["decompress", "a.ptb", "a.png", "--sharp", "very"],
    ["info"],
    ["generate"],
    ["generate", "--out", "new", "--seed", "-1"],
    ["generate", "--out", "new", "--count", "many"],
    ["generate", "--out", "new", "--count", "1000000"],
    ["generate", "--out", "new", "--from", "a.png"],
    ["generate", "--out", "a file"],
    ["evaluate-samples", "--prior", "book", "--count", "2"],
    ["tokenize", "valid", "a.tokens", "--precision", "8"],
    ["tokenize", "valid", "a.tokens", "--mirror", "--moved", "1"],
    ["train", "tokenizer", "--out", "new"],
    ["train", "tokenizer", "--name", "a/b", "--out", "new"],
    ["train", "tokenizer", *NEW, "--width", "0"],
    ["train", "tokenizer", *NEW, "--size", "64"],
    ["train", "prior", *NEW, "--steps", "0"],
    ["train", "prior", *NEW, "--precision", "8"],
    ["train", "judge", "--name", "x", "--out", "a file"],
    ["train", "sharp", *NEW, "--loss", "none"],
]

# Each command line in turn, in one process: its exit code, and whether torch has been imported by then.
IN_TURN = """
import contextlib, io, json, sys
from arlib import cli
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, code = ["arlib", *arguments], 0
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
    found.append([arguments, code, "torch" in sys.modules, said.getvalue()])
print(json.dumps(found))
"""


def python(folder: Path, *arguments: str) -> str:
    """What a fresh Python prints, started in that folder."""
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_help_imports_no_torch(tmp_path):
    for arguments, code, torch, said in json.loads(python(tmp_path, "-c", IN_TURN, json.dumps(HELP))):
        assert (code or 0, torch) == (0, False), arguments
        assert "Usage" in said, arguments


def test_what_the_form_refuses_imports_no_torch(tmp_path):
    (tmp_path / "a file").touch()
    for arguments, code, torch, said in json.loads(python(tmp_path, "-c", IN_TURN, json.dumps(REFUSED))):
        assert (code, torch) == (2, False), (arguments, said)
        assert said.startswith("arlib: "), arguments
        assert said.count("\n") == 1, arguments
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_coding_imports_nothing_that_trains_or_draws(tmp_path):
    frame = next((Path(arlib.__file__).parent.parent / "data" / "frames" / "valid").rglob("*.webp"))
    slow = "('lightning_fabric', 'tensorboard', 'skimage', 'scipy', 'matplotlib', 'IPython', 'torch._dynamo')"
    watch = f"import atexit, sys; atexit.register(lambda: print([name for name in {slow} if name in sys.modules]));"
    run = "from arlib import cli; cli.main()"
    for arguments in (["compress", str(frame), "a.ptb"], ["decompress", "a.ptb", "a.png"]):
        assert python(tmp_path, "-c", watch + run, *arguments).splitlines()[-1] == "[]"


def test_every_name_of_the_library_is_there_and_listed_before_it_is_used(tmp_path):
    script = (
        "import sys, arlib; assert 'torch' not in sys.modules; assert set(arlib.__all__) <= set(dir(arlib));"
        "assert arlib.Prior.__name__ == 'Prior'; assert arlib.codec.__name__ == 'arlib.codec';"
        "assert all(hasattr(arlib, name) for name in arlib.__all__); assert not hasattr(arlib, 'nothing');"
        "from arlib import *; print(load_codec.__name__)"
    )
    assert python(tmp_path, "-c", script) == "load_codec\n"
