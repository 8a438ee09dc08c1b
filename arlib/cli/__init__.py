"""The command line, `python -m arlib`: each command is a few calls of the library, in the order the book tells them."""

import sys

import typer

import arlib
from arlib.cli import files, generate, pictures, samples, sharp, train

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=arlib.__doc__)
app.add_typer(train.app, name="train")
train.app.command("sharp")(sharp.train)
for group in (pictures, generate, samples, files):
    app.add_typer(group.app)


def main() -> None:
    """Run a command; whatever was wrong with what it was given is one line on standard error and exit code 2."""
    try:
        app(standalone_mode=False, prog_name="arlib")
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        complain(f"{error.format_message().rstrip('.?')}. --help behind a command tells what it takes.")
    except ValueError as error:
        complain(str(error))


def complain(message: str) -> None:
    print("arlib: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
