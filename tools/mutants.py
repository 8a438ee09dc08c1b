"""Change the library in small ways, one at a time, and see whether its tests notice.

`make mutants` goes through all rooms, `make mutants ROOM=metrics` through one, `tools/mutants.py metrics cli.files`
through several. mutmut (pinned in tools/mutants.txt) makes the changes, and forks for each a process that has torch
imported already. A room is tried by its own tests, in a copy, _build/mutants/ROOM. What no test noticed is printed: a
test is missing, or nothing needs that code, or the change changes nothing (`shape[+2]` for `shape[-2]` of four).

mutmut passes over functions with decorators, so the copy applies decorators in a line of their own. The words of errors
are left alone, and mutmut doesn't change constants outside of functions. Of its changes we leave out those that any
test notices which gets to the line: arguments and variables that become None, and all but one of a text. In checkers of
exercises numbers and texts are left alone: they are the cases that a checker tries, and what it says of them.
"""

import ast
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARY, TESTS = ROOT / "arlib", ROOT / "tests"
HOME = ROOT / "_build" / "mutants"
MUTMUT = [sys.executable, str(Path(__file__).resolve()), "--mutmut"]

# Where a room's tests aren't in test_ROOM*.py, or where those alone don't try all of it.
TRIED_BY = {
    "_trained": ["test_codec", "test_shipped_digits", "test_dial", "test_cli_sharp", "test_default_dtype"],
    "checkpoints": ["test_checkpoints", "test_strangers"],
    "cli.cards": ["test_cards"],
    "cli.common": ["test_cli_common", "test_cli_files", "test_cli_sets", "test_own_pictures"],
    "cli.completing": ["test_cli_common", "test_cli_generate", "test_cli_sets"],
    "cli.examples": ["test_cli_examples", "test_own_pictures"],
    "cli.files": ["test_cli_files", "test_cli_many", "test_dial", "test_cli_sharp"],
    "cli.learning": ["test_cli_learning"],
    "cli.moments": ["test_cli_moments"],
    "cli.samples": ["test_cli_samples"],
    "cli.scoring": ["test_cli_scoring", "test_cli_sets", "test_evaluation"],
    "cli.sharp": ["test_cli_sharp"],
    "cli.sharpening": ["test_cli_sharp"],
    "cli.terminal": ["test_cli_common", "test_cli_report"],
    "cli.train": ["test_cli_train"],
    "codec": ["test_codec", "test_codec_relatives"],
    "container": ["test_codec", "test_chapter12"],
    "data": ["test_data", "test_folders"],
    "fixedpoint": ["test_fixedpoint", "test_speaker"],
    "losses": ["test_training"],
    "optimizers": ["test_training"],
    "packing": ["test_tokenset"],
    "scales": ["test_scales", "test_quantizers"],
    "sharp": ["test_sharp", "test_cli_sharp"],
    "symptoms": ["test_symptoms"],
    "tables": ["test_fixedpoint"],
    "transformer": ["test_transformer", "test_speaker"],
}
DESELECTED = [
    # Imports a copy of arlib elsewhere, where mutmut finds no settings of its own.
    "tests/test_data.py::test_outside_its_checkout_too",
    # Whole pictures take hours in steps that are not compiled: numba cannot compile what mutmut makes of a function.
    "tests/test_compiled.py::test_the_compiled_twin_decodes_the_golden_files",
    "tests/test_compiled.py::test_the_command_line_writes_the_same_pictures_compiled",
]
# These draw, or only hold what others test.
LEFT_OUT = {"__init__", "__main__", "plots", "widgets"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}


def tests_of(room: str) -> list[str]:
    """The files that try a room, relative to the project: those of its name; for `cli.files` those of all of `cli`."""
    folder, _, name = room.rpartition(".")
    begin = {"": name, "exercises": name, "cli": folder}[folder]
    names = TRIED_BY.get(room) or sorted(path.stem for path in TESTS.glob(f"test_{begin}*.py"))
    return [f"tests/{name}.py" for name in names]


def path_of(room: str) -> str:
    """The file of a room: `cli.files` is arlib/cli/files.py."""
    return f"arlib/{room.replace('.', '/')}.py"


def prepared(source: str) -> str:
    """A room's source as mutmut needs it: `f = decorator(f)` in place of decorators, errors left alone."""
    lines = source.replace(", strict=True)", ")").splitlines()  # a safeguard that no right code ever meets
    changes: list[tuple[int, int, list[str]]] = []  # first line, line after the last, what to put there
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Raise):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] += "  # pragma: no mutate"
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            names = [ast.unparse(it) for it in node.decorator_list]
            if names in (["classmethod"], ["staticmethod"]):  # which mutmut knows
                continue
            indent, whole = " " * node.col_offset, node.name
            for name in reversed(names):
                whole = f"{name}({whole})"
            end = node.end_lineno or node.lineno
            changes.append((node.decorator_list[0].lineno - 1, node.lineno - 1, []))
            changes.append((end, end, [f"{indent}{node.name} = {whole}"]))
    for start, end, instead in sorted(changes, reverse=True):
        lines[start:end] = instead
    return "\n".join(lines) + "\n"


def make_copy(room: str) -> Path:
    """A fresh copy of what mutmut needs, with its settings for one room."""
    folder = HOME / room
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(LIBRARY, folder / "arlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TESTS, folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mutants").mkdir()
    for path in ROOT.iterdir():
        if path.name not in {"arlib", "tests", "pyproject.toml"} and not path.name.startswith((".", "_build")):
            (folder / "mutants" / path.name).symlink_to(path)
    target = folder / path_of(room)
    target.write_text(prepared(target.read_text(encoding="utf-8")), encoding="utf-8")
    settings = {
        "source_paths": ["arlib"],
        "only_mutate": [path_of(room)],
        "pytest_add_cli_args_test_selection": tests_of(room),
        # The last two collect garbage at the end of each run, which takes longer than most tests.
        "pytest_add_cli_args": [
            *[f"-pno:{it}" for it in ("cacheprovider", "unraisableexception", "threadexception")],
            *[f"--deselect={it}" for it in DESELECTED],
            "-m=not browser",  # those look at the built pages
        ],
        "process_isolation": "forkserver",  # torch's threads don't survive a fork
        "timeout_multiplier": 3.0,
        "timeout_constant": 2.0,
        "use_git_change_detection": False,
    }
    written = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{written}\n", encoding="utf-8")
    return folder


def run(room: str) -> tuple[int, list[str]]:
    """How many changes were tried, and the names of those that no test noticed."""
    folder = make_copy(room)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [*MUTMUT, "run", "--max-children", "1"],
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    meta = folder / "mutants" / f"{path_of(room)}.meta"
    if done.returncode or not meta.exists():
        print("\n".join((folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-30:]))
        raise SystemExit(f"{room}: mutmut didn't end well. All it said is in {folder / 'log.txt'}.")
    codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    return len(codes), [name for name, code in codes.items() if code in (0, 5, 33, None)]  # passed, or no test


def difference(room: str, name: str) -> str:
    """What a mutant changes, as lines with - and +."""
    shown = subprocess.run([*MUTMUT, "show", name], cwd=HOME / room, capture_output=True, text=True).stdout
    lines = [line for line in shown.splitlines() if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    return "\n".join([f"# {name}", *lines])


def mutmut() -> None:
    """mutmut's own command line, with a choice of its changes."""
    from mutmut.__main__ import cli
    from mutmut.mutation import mutators as known

    mutators: Any = known
    whole = {operator.__name__: operator for _, operator in mutators.mutation_operators}

    def arguments(node: Any) -> Iterator[Any]:
        return (it for it in whole["operator_arg_removal"](node) if len(it.args) < len(node.args))

    def texts(node: Any) -> Iterator[Any]:
        return itertools.islice(whole["operator_string"](node), 1)

    ours = {"operator_arg_removal": arguments, "operator_string": texts}
    left_out = {"operator_assignment"}
    if Path.cwd().name.startswith("exercises."):
        left_out |= {"operator_number", "operator_string"}
    mutators.mutation_operators[:] = [
        (kind, ours.get(operator.__name__, operator))
        for kind, operator in mutators.mutation_operators
        if operator.__name__ not in left_out
    ]
    sys.argv[1:] = sys.argv[2:]
    cli()


def main() -> int:
    """Try the rooms that are named, or all; 1 where a change went unnoticed."""
    files = [path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py") if path.stem not in LEFT_OUT]
    everything = sorted(".".join(file.with_suffix("").parts) for file in files)
    rooms = sys.argv[1:] or everything
    if unknown := [room for room in rooms if room not in everything]:
        print(f"There is no room {unknown[0]!r}. Rooms: {', '.join(everything)}.")
        return 2
    missed = 0
    for room in rooms:
        started = time.monotonic()
        count, survivors = run(room)
        for name in survivors:
            print(difference(room, name))
        missed += len(survivors)
        took = time.monotonic() - started
        print(
            f"{room}: {count} mutants, {count - len(survivors)} noticed, {len(survivors)} not, {took:.0f} s", flush=True
        )
    return int(missed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--mutmut"]:
        mutmut()
    sys.exit(main())
