"""What all exercises share, and how they stand in the notebooks. Each chapter's own tests hand in wrong answers."""

import ast
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode

from arlib import exercises
from arlib.exercises import Wrong, checker

BOOK = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = [path for path in sorted(BOOK.glob("[0-9]*.ipynb")) if path.name[:2] != "00"]  # the tour has no exercises


@checker
def doubling(answer):
    value = torch.rand(3)
    result = exercises.tensor(exercises.call(answer, value), (3,), torch.float32)
    if not torch.equal(result, 2 * value):
        raise Wrong("that is not twice the input.")
    return "twice the input."


@checker
def half(answer):
    if exercises.number(answer) != 0.5:
        raise Wrong("not a half.")
    return "a half."


def test_a_right_answer_is_told_so_and_is_true(capsys):
    verdict = doubling(lambda value: value.mul_(2))  # what it was given is its own
    assert verdict
    assert capsys.readouterr().out == "Right: twice the input.\n"


def ends_with_a_full_stop(value):
    raise ValueError("Two are too many.")


def fails(value):
    raise KeyError("missing\nand more")


WRONG = [
    (doubling, lambda value: value, "Not yet: that is not twice the input."),
    (doubling, lambda value: None, "Not yet: your function returns nothing yet."),
    (doubling, lambda value: ..., "Not yet: your function returns nothing yet."),
    (doubling, lambda: 0, "Not yet: your function raised TypeError:"),
    (doubling, fails, "Not yet: your function raised KeyError: 'missing\\nand more'."),
    (doubling, 7, "Not yet: a function is asked for, and this is of type int."),
    (doubling, lambda value: [1, 2, 3], "Not yet: a tensor is asked for, and this is of type list."),
    (doubling, lambda value: torch.zeros(2), "Not yet: the shape is (2,) and has to be (3,)."),
    (doubling, lambda value: torch.zeros(3).int(), "Not yet: the dtype is torch.int32"),
    (half, ..., "Not yet: there is no number yet."),
    (half, "0.5", "Not yet: one finite number is asked for, and this is '0.5'."),
    (half, 10**400, "Not yet: one finite number is asked for, and this is of type int."),
    (half, float("nan"), "Not yet: one finite number is asked for, and this is nan."),
    (half, torch.ones(2), "Not yet: one finite number is asked for, and this is of type Tensor."),
    (doubling, lambda value: sys.exit(3), "Not yet: your function raised SystemExit: 3."),
    (half, True, "Not yet: a number is asked for, and this is True or False."),
    (half, 0.25, "Not yet: not a half."),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(check, answer, reason, capsys):
    verdict = check(answer)
    assert not verdict
    assert str(verdict).startswith(reason)
    assert capsys.readouterr().out == f"{verdict}\n"


def test_a_number_may_be_a_tensor_of_one():
    assert half(torch.tensor(0.5))


def test_a_checker_that_is_itself_wrong_does_not_raise():
    @checker
    def broken(answer):
        return 1 / 0

    assert "ZeroDivisionError" in str(broken(1))


def test_input_is_fresh_and_the_random_state_is_left_alone():
    seen = []

    @checker
    def look(answer):
        seen.append(torch.rand(4))
        return "seen"

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    look(None)
    look(None)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.equal(*seen)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def defined(cell: NotebookNode) -> set[str]:
    """The names that a cell gives a value to."""
    names = set()
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_a_chapters_stubs_fail_and_its_solutions_pass(path):
    """As committed; nbval runs the cells and compares what the checkers print."""
    notebook = nbformat.read(path, as_version=4)
    stubs, solutions = tagged(notebook, "exercise"), tagged(notebook, "solution")
    assert 4 <= len(stubs) == len(solutions) <= 6
    for stub, solution in zip(stubs, solutions, strict=True):
        assert [output.text.split(":")[0] for output in stub.outputs] == ["Not yet"], stub.source
        assert [output.text.split(":")[0] for output in solution.outputs] == ["Right"], solution.source
        assert not defined(stub) & defined(solution), f"a solution overwrites the reader's {defined(stub)}"
        assert "hide-cell" in solution.metadata.tags
        assert solution.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}


def test_an_error_that_ends_with_a_full_stop_does_not_get_a_second_one():
    assert str(doubling(ends_with_a_full_stop)).endswith("Two are too many.")
    assert ".." not in str(doubling(ends_with_a_full_stop))
