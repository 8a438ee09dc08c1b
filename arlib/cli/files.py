"""`python -m arlib compress`, `decompress` and `info`: pictures and `.ptb` files, one at a time or many."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import checkpoints, codec, data, dial
from arlib.cli import sharp
from arlib.cli.common import Force, check_unwritten, class_name, counted, data_of, label_number
from arlib.codec import BATCH, CodecError
from arlib.data import DataError
from arlib.sharp import check_share

app = typer.Typer()
console = Console(markup=False, emoji=False)  # names of files are as they are

S = TypeVar("S")
T = TypeVar("T")
Sources = Annotated[list[Path], typer.Argument(metavar="IN...", help="Files, or folders of them.")]
TokenizerName = Annotated[str | None, typer.Option("--tokenizer", help="The prior's own, if left out.")]
Named = Annotated[
    str | None, typer.Option("--prior", help="Name, hash or file of the prior; found by the file, if left out.")
]


@app.command()
def compress(
    sources: Sources,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .ptb file to write, or a folder for many.")],
    max_bytes: Annotated[
        int | None, typer.Option(help="The most bytes a file may have: the best picture that fits.")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="From 0, the smallest files, to 7, the best pictures.")] = None,
    prior: Annotated[str | None, typer.Option("--prior", help="Name, hash or file of the prior; book.")] = None,
    tokenizer: TokenizerName = None,
    label: Annotated[
        str | None, typer.Option(help="The pictures' class, by name or number, if the prior knows it.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut images of another size.")] = False,
    force: Force = False,
) -> None:
    """Turn pictures into .ptb files."""
    if max_bytes is not None or quality is not None:
        if (prior, tokenizer, label) != (None, None, None) or None not in (max_bytes, quality):
            raise DataError(
                "--max-bytes and --quality choose the model: name one of them, and no other model or label."
            )
        prior = dial.DIALLED
    pairs = plan(sources, out, ".ptb", data.folder_files, force)
    prior = prior or dial.PLAIN
    model = arlib.load_codec(prior, tokenizer)
    if quality is not None:
        model.tokenizer.check_quality(quality, 1)
    number = label_number(label, model.classes, learned_data(prior, tokenizer)) if quality is None else quality

    def read(path: Path) -> torch.Tensor:
        return data.read_image(path, *model.size, fit, model.tokenizer.channels)

    def code(images: list[torch.Tensor]) -> Sequence[bytes | DataError]:
        if max_bytes is not None:
            return dial.compress_batch(torch.stack(images), max_bytes)
        labels = None if number is None else torch.full((len(images),), number)
        return model.compress_batch(torch.stack(images), labels)

    done = convert(pairs, "compressing", read, code, write_bytes)
    before, after = (sum(pair[which].stat().st_size for pair in done) for which in (0, 1))
    console.print(
        f"{out}: {after:,} bytes in {counted(len(done), 'file')}, {before / after:.1f} times smaller than {before:,}."
    )


@app.command()
def decompress(
    sources: Sources,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The image to write, or a folder for many (as PNG).")],
    prior: Named = None,
    tokenizer: TokenizerName = None,
    share: Annotated[
        float, typer.Option("--sharp", help="From 0, the plain picture, to 1, all the detail that --decoder adds.")
    ] = 0.0,
    decoder: Annotated[str, typer.Option(help="Name, hash or file of the sharp decoder.")] = "book-adversarial",
    force: Force = False,
) -> None:
    """Turn .ptb files back into pictures."""
    pairs = plan(sources, out, ".png", ptb_files, force)
    check_share(share)
    load = functools.cache(lambda name: arlib.load_codec(name, tokenizer))
    sharper = functools.cache(lambda name: sharp.decoder_for(name, tokenizer, decoder) if share else None)

    def code(files: list[bytes]) -> list[torch.Tensor | DataError]:
        names: list[str | DataError] = [attempt(codec.find, file) if prior is None else prior for file in files]
        results: dict[int, torch.Tensor | DataError] = {}
        for number, name in enumerate(names):
            if isinstance(name, DataError):
                results[number] = name
            elif number not in results:
                same = [other for other, its_name in enumerate(names) if its_name == name]
                some = [files[other] for other in same]
                results |= zip(same, sharp.decompress(load(name), some, sharper(name), share), strict=True)
        return [results[number] for number in range(len(files))]

    done = convert(pairs, "decompressing", read_file, code, data.write_image)
    console.print(f"{out}: {counted(len(done), 'picture')}." if out.is_dir() else f"{out}: one picture.")


@app.command()
def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .ptb file.")],
    prior: Named = None,
    tokenizer: TokenizerName = None,
) -> None:
    """Show the header of a .ptb file, and where its bits went."""
    content = read_file(source)
    try:
        header = codec.read_header(content)
        name = prior or codec.find(content)
        model = arlib.load_codec(name, tokenizer)
        ledger, label = model.ledger(content), model.label(content) if model.classes else None
    except CodecError as error:
        raise DataError(f"{source}: {error}") from None
    table = Table("header", "", title=str(source))
    table.add_row("version", str(header.version))
    table.add_row("model", f"{header.model} ({name})")
    if model.classes:
        what = "quality" if model.tokenizer.qualities else "label"
        table.add_row(what, "none" if label is None else class_name(label, learned_data(name, tokenizer)))
    table.add_row("checksum of the tokens", f"{header.tokens_checksum:08x}")
    table.add_row("checksum of the file", f"{header.file_checksum:08x}")
    console.print(table)
    console.print(ledger_table(ledger))


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
        check_unwritten([out], force)
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
) -> list[tuple[Path, Path]]:
    """Read, code and write a batch of files at a time, with a bar on standard error; give the pairs that are done.

    A bad file does not keep the others from being done. Its `DataError` is raised after them; of several, one that
    tells how many and what is wrong with the first.
    """
    done, errors = [], []
    batches = [pairs[first : first + BATCH] for first in range(0, len(pairs), BATCH)]
    screen = Console(stderr=True)
    for batch in track(batches, doing, console=screen, transient=True, disable=not screen.is_terminal):
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
                errors.append(error)
    if errors and len(pairs) > 1:
        raise DataError(f"{len(errors)} of {len(pairs)} files failed, the others are written. The first: {errors[0]}")
    if errors:
        raise errors[0]
    return done


def attempt(function: Callable[..., T], *arguments: object) -> T | DataError:
    """What the function returns, or the `DataError` that it raises."""
    try:
        return function(*arguments)
    except DataError as error:
        return error


def ptb_files(folder: Path) -> list[Path]:
    """The `.ptb` files of a folder and of those below it; `DataError` if there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".ptb" and not path.is_dir())
    if not paths:
        raise DataError(f"{folder} holds no .ptb file.")
    return paths


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def write_bytes(path: Path, content: bytes) -> None:
    data.write_atomically(path, lambda partial: partial.write_bytes(content))
