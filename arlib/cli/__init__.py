"""The command line, `python -m arlib`: each command is a few calls of the library, in the order the book tells them."""

import sys
import warnings

import typer

import arlib
from arlib import data
from arlib.cli import files, generate, pictures, samples, sharp, train

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=arlib.__doc__)
app.add_typer(train.app, name="train")
train.app.command("sharp")(sharp.train)
for group in (pictures, generate, samples, files):
    app.add_typer(group.app)


def main() -> None:
    """Run a command; whatever was wrong with what it was given is one line on standard error and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = say
            warnings.filterwarnings("ignore", module="PIL")  # of tags and sizes; what matters is raised
            warnings.simplefilter("always", data.Notice)
            app(standalone_mode=False, prog_name="arlib")
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        complain(f"{error.format_message().rstrip('.?')}. --help behind a command tells what it takes.")
    except ValueError as error:
        complain(str(error))


def complain(message: str) -> None:
    say(message)
    sys.exit(2)


def say(message: Warning | str, *details: object) -> None:
    """One line on standard error; the details of a warning, its file and line, are left out."""
    print("arlib: " + " ".join(str(message).split()), file=sys.stderr)
