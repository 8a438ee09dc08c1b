"""Settings for all tests, and the command line as a fixture."""

import sys

import pytest
from hypothesis import settings

from arlib import cli

# A property holds or does not, however slow the machine is today.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `python -m arlib …` in this process: its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["arlib", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
