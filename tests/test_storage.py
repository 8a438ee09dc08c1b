"""Files are written whole or not at all, and the reason of a failure is told in its own words."""

import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from arlib.storage import DataError, write_atomically


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("The disk is odd."), "The disk is odd"),
        (SafetensorError("No such tensor."), "No such tensor"),
        (SafetensorError("...and no other"), "...and no other"),
    ],
)
def test_a_failed_write_tells_why_and_leaves_the_old_file_alone(tmp_path, error, reason):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise error

    with pytest.raises(DataError) as told:
        write_atomically(path, fail)
    assert str(told.value) == f"{path} cannot be written: {reason}."
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_whole_file_has_the_permissions_of_any_other_and_a_long_name_is_no_obstacle(tmp_path):
    path = tmp_path / ("a" * 250)
    names = []

    def write(partial: Path) -> None:
        names.append(partial.name)
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))  # as some writers do
        partial.write_text("new")

    write_atomically(path, write)
    write_atomically(str(path), write)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert path.read_text() == "new"
    assert len(set(names)) == 2  # nobody else's
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "other"}
