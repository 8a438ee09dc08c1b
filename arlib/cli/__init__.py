"""The command line, `python -m arlib`: each command is a few calls of the library, in the order the book tells them.

A command imports what it works with itself, once its options are known to be good: torch takes seconds, and neither
help nor a refusal needs it.
"""

import io
import os
import sys
import warnings

import typer

import arlib
from arlib.cli import files, generate, pictures, samples, sharp, train
from arlib.storage import Notice

INTERRUPTED = 130  # the exit code, as shells give it: 128 and the number of the signal

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=arlib.__doc__)
app.add_typer(train.app, name="train")
train.app.command("sharp")(sharp.train)
for group in (pictures, generate, samples, files):
    app.add_typer(group.app)


def main() -> None:
    """Run a command; whatever was wrong with what it was given is one line on standard error and exit code 2.

    An interrupt (Ctrl-C) is one line and exit code 130, so that `arlib … && rm …` removes nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows a sign it lacks as a question mark
    try:
        with warnings.catch_warnings():
            warnings.showwarning = say  # type: ignore[assignment]
            warnings.filterwarnings("ignore", module="PIL")  # of tags and sizes; what matters is raised
            warnings.simplefilter("always", Notice)
            # Typer catches an interrupt and returns its code instead.
            code = app(standalone_mode=False, prog_name="arlib")
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except typer.TyperException as error:
        complain(f"{error.format_message().rstrip('.?')}. --help behind a command tells what it takes.")
    except OSError as error:  # a full disk, or a folder that can't be written to
        name = f"{error.filename} cannot be used: " if error.filename else ""
        complain(f"{name}{error.strerror or error}.")
    except ValueError as error:
        complain(str(error))
    if code == INTERRUPTED:
        complain("interrupted.", INTERRUPTED)
    leave(code or 0)


def complain(message: str, code: int = 2) -> None:
    say(message)
    leave(code)


def leave(code: int) -> None:
    """End with that exit code, once standard output has taken all; where it can't, as on a full disk, with 2."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try it again, and fail with 120
        if not code:
            code = 2
            say(f"{error.strerror}.")
    sys.exit(code)


def say(message: Warning | str, *details: object) -> None:
    """One line on standard error; the details of a warning, its file and line, are left out."""
    print("arlib: " + " ".join(str(message).split()), file=sys.stderr)
