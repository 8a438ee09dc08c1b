"""What every checker of an exercise has in common. `chapter07` and its like hold the checkers, a module a chapter.

A checker runs the reader's answer on fresh random input. It prints its verdict and returns it, says why a wrong answer
is wrong, and never raises.
"""

import copy
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and why; true exactly where it is right."""

    right: bool
    reason: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.reason}"

    def _ipython_display_(self) -> None:
        """Show nothing where a call to a checker ends a cell: the checker has printed the verdict."""


class Wrong(Exception):
    """An answer is wrong; the message says why."""


def checker(check: Callable[..., str]) -> Callable[..., Verdict]:
    """Make a checker of a function that returns words of praise for a right answer and raises `Wrong` for another.

    It runs with gradients on and float32 as the default dtype, whatever the notebook has set, and puts torch's random
    state and that dtype back at the end.
    """

    @wraps(check)
    def checked(*answers: Any) -> Verdict:
        dtype = torch.get_default_dtype()
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.seed()
                torch.set_default_dtype(torch.float32)
                verdict = Verdict(True, check(*answers))
        except Wrong as wrong:
            verdict = Verdict(False, str(wrong))
        except (Exception, SystemExit) as error:  # whatever an answer does that its checker did not think of
            verdict = Verdict(False, f"while it was checked, this was raised: {_told(error)}.")
        finally:
            torch.set_default_dtype(dtype)
        print(verdict)
        return verdict

    return checked


def call(answer: Any, *inputs: Any) -> Any:
    """What the reader's function returns for copies of `inputs`, so that it may change what it was given.

    Raises `Wrong` where it is no function, raises, or returns nothing, as the stubs do.
    """
    if not callable(answer):
        raise Wrong(f"a function is asked for, and this is {_name(answer)}.")
    try:
        result = answer(*copy.deepcopy(inputs))
    except (Exception, SystemExit) as error:
        raise Wrong(f"your function raised {_told(error)}.") from error
    if result is None or result is ...:
        raise Wrong("your function returns nothing yet. Fill in its body, and end it with a return.")
    return result


def number(answer: Any) -> float:
    """The reader's number, as a float. Raises `Wrong` where there is none yet, or it is no single number."""
    if answer is None or answer is ...:
        raise Wrong("there is no number yet. Put yours in the place of the dots.")
    if isinstance(answer, bool):
        raise Wrong("a number is asked for, and this is True or False.")
    try:
        value = math.nan if isinstance(answer, str | bytes) else float(answer)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Wrong(f"one finite number is asked for, and this is {_name(answer)}.")
    return value


def tensor(answer: Any, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> torch.Tensor:
    """The reader's tensor. Raises `Wrong` where it is none, or one of another shape or dtype."""
    if not isinstance(answer, torch.Tensor):
        raise Wrong(f"a tensor is asked for, and this is {_name(answer)}.")
    if tuple(answer.shape) != tuple(shape):
        raise Wrong(f"the shape is {tuple(answer.shape)} and has to be {tuple(shape)}.")
    if dtype is not None and answer.dtype != dtype:
        raise Wrong(f"the dtype is {answer.dtype} and has to be {dtype}.")
    return answer


def diagnosis(answer: Any, right: dict[str, str], hints: dict[str, str]) -> None:
    """Raise `Wrong` unless the reader's dictionary gives each patient its name in `right`.

    `hints` say how to find out, by the right name. The values are all the names that there are to choose from.
    """
    first, *_, last = right
    if not isinstance(answer, dict) or set(answer) != set(right):
        raise Wrong(f'a dictionary with the keys "{first}" to "{last}" is asked for.')
    named = {patient: name for patient, name in answer.items() if name is not ... and name is not None}
    if not named:
        raise Wrong("there is no diagnosis yet. Put the names in the place of the dots.")
    for patient, name in named.items():
        if not isinstance(name, str) or name not in right.values():
            raise Wrong(f"{name!r} of {patient} is none of the names to choose from.")
    for patient, name in named.items():
        if name != right[patient]:
            raise Wrong(f"{patient} is not {name!r}. {hints[right[patient]]}")
    if len(named) < len(right):
        raise Wrong(f"what you have is right; {len(right) - len(named)} still without a name.")


def _name(answer: Any) -> str:
    return repr(answer) if isinstance(answer, float | str) else f"of type {type(answer).__name__}"


def _told(error: BaseException) -> str:
    """An error in one line, with the line of the reader's code that raised it where that can be told."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "ipykernel" in frame.filename]
    where = f" (line {frames[-1].lineno} of your cell)" if frames else ""
    words = str(error).splitlines()[0].removesuffix(".") if str(error) else "no message"  # the verdict has a full stop
    return f"{type(error).__name__}: {words}{where}"
