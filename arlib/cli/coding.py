"""What `compress`, `decompress` and `info` share: which file becomes which, a batch at a time, and the ledger."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from arlib import checkpoints, codec, data
from arlib.cli.common import check_out, check_unwritten, data_of
from arlib.cli.terminal import metered
from arlib.codec import BATCH, CodecError
from arlib.data import DataError

S = TypeVar("S")
T = TypeVar("T")


def learned_data(prior: str, tokenizer: str | None) -> str:
    """The data set that a prior's tokenizer has learned, whose classes the prior's may be."""
    return data_of(tokenizer or checkpoints.read_header(checkpoints.find("prior", prior))["tokenizer"])


def ledger_table(ledger: codec.Ledger) -> Table:
    """The ledger, a row each, and the sum, which is the file's size."""
    size = sum(ledger.values())
    table = Table("ledger", show_footer=True)
    table.columns[0].footer = "file"
    table.add_column("bits", f"{size:,.3f}", justify="right")
    table.add_column("bytes", f"{size / 8:,.3f}", justify="right")
    table.add_column("share", "100.00%", justify="right")
    for row, bits in ledger.items():
        table.add_row(row, f"{bits:,.3f}", f"{bits / 8:,.3f}", f"{bits / size:.2%}")
    return table


def plan(
    sources: list[Path], out: Path, suffix: str, files_of: Callable[[Path], Sequence[Path]], force: bool
) -> list[tuple[Path, Path]]:
    """Which file becomes which: one file the file OUT, many, or those of a folder, files of their names in OUT.

    Raises `DataError` where OUT has another ending than it should, is no folder, or two files would become one; and
    without `force` where one of them is there already.
    """
    if len(sources) == 1 and not sources[0].is_dir() and not out.is_dir():
        if suffix == ".png":
            data.check_suffix(out)
        elif out.suffix.lower() != suffix:
            raise DataError(f"{out} does not end in {suffix}.")
        check_out(out, force)
        return [(sources[0], out)]
    if not out.is_dir():
        raise DataError(f"{out} is not a folder. Many files go into a folder: make it first.")
    paths = [path for source in sources for path in (files_of(source) if source.is_dir() else [source])]
    pairs: dict[Path, Path] = {}
    for path in paths:
        target = out / f"{path.stem}{suffix}"
        if target in pairs:
            raise DataError(f"{pairs[target]} and {path} would both become {target}.")
        pairs[target] = path
    check_unwritten(list(pairs), force)
    return [(path, target) for target, path in pairs.items()]


def convert(
    pairs: list[tuple[Path, Path]],
    doing: str,
    read: Callable[[Path], S],
    code: Callable[[list[S]], Sequence[T | DataError]],
    write: Callable[[Path, T], None],
) -> tuple[list[tuple[Path, Path]], str]:
    """Read, code and write a batch of files at a time, with a bar on standard error.

    Give the pairs that are done and their pace in words. A bad file does not keep the others from being done. Its
    `DataError` is raised after them; of several, one that tells how many and what is wrong with the first.
    """
    done, failed, first = [], 0, None
    with metered(doing, len(pairs)) as meter:
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            inputs = [attempt(read, path) for path, _ in batch]
            good = [each for each in inputs if not isinstance(each, DataError)]
            coded = iter(code(good) if good else [])
            for (path, target), each in zip(batch, inputs, strict=True):
                result = each if isinstance(each, DataError) else next(coded)
                if isinstance(result, CodecError):
                    result = DataError(f"{path}: {result}")
                error = result if isinstance(result, DataError) else attempt(write, target, result)
                if error is None:
                    done.append((path, target))
                else:
                    failed, first = failed + 1, first or error
            meter.advance(len(batch))
    if first is not None and len(pairs) > 1:
        raise DataError(f"{failed:,} of {len(pairs):,} files failed, the others are written. The first: {first}")
    if first is not None:
        raise first
    return done, meter.pace


def attempt(function: Callable[..., T], *arguments: object) -> T | DataError:
    """What the function returns, or the `DataError` that it raises, without what the function knew, as a picture."""
    try:
        return function(*arguments)
    except DataError as error:
        return error.with_traceback(None)


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def write_bytes(path: Path, content: bytes) -> None:
    data.write_atomically(path, lambda partial: partial.write_bytes(content))
