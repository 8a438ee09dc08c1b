"""`python -m arlib compress`, `decompress` and `info`: pictures and `.ptb` files, one at a time or many."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from arlib.cli.options import Compiled, Force
from arlib.cli.terminal import console
from arlib.storage import DataError

app = typer.Typer()

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
    dialled = max_bytes is not None or quality is not None
    if dialled and ((prior, tokenizer, label) != (None, None, None) or None not in (max_bytes, quality)):
        raise DataError("--max-bytes and --quality choose the model: name one of them, and no other model or label.")
    import torch

    import arlib
    from arlib import data, dial
    from arlib.cli import coding, listing
    from arlib.cli.common import counted, label_number

    pairs = coding.plan(sources, out, ".ptb", listing.image_files, force)
    prior = dial.DIALLED if dialled else dial.PLAIN if prior is None else prior
    model = arlib.load_codec(prior, tokenizer)
    if quality is not None:
        model.tokenizer.check_quality(quality, 1)
    number = label_number(label, model.classes, coding.learned_data(prior, tokenizer)) if quality is None else quality

    def read(path: Path) -> torch.Tensor:
        return data.read_image(path, *model.size, fit, model.tokenizer.channels)

    def code(images: list[torch.Tensor]) -> Sequence[bytes | DataError]:
        if max_bytes is not None:
            return dial.compress_batch(torch.stack(images), max_bytes)
        labels = None if number is None else torch.full((len(images),), number)
        return model.compress_batch(torch.stack(images), labels)

    done, pace = coding.convert(pairs, "compressing", read, code, coding.write_bytes)
    before, after = (sum(pair[which].stat().st_size for pair in done) for which in (0, 1))
    console.print(
        f"{out}: {after:,} bytes in {counted(len(done), 'file')}, {before / after:.1f} times smaller than {before:,}. "
        f"{pace}."
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
    machine_code: Compiled = False,
    force: Force = False,
) -> None:
    """Turn .ptb files back into pictures."""
    import torch

    import arlib
    from arlib import codec, data
    from arlib.cli import coding, listing, sharpening
    from arlib.cli.common import counted
    from arlib.sharp import check_share

    pairs = coding.plan(sources, out, ".png", listing.ptb_files, force)
    check_share(share)

    @functools.cache
    def load(name: str) -> codec.Codec:
        model = arlib.load_codec(name, tokenizer)
        if machine_code:
            torch.set_num_threads(1)  # see arlib.compiled
            model.twin = arlib.compiled.CompiledTwin(model.prior)
        return model

    sharper = functools.cache(lambda name: sharpening.decoder_for(name, tokenizer, decoder) if share else None)

    def code(files: list[bytes]) -> list[torch.Tensor | DataError]:
        names: list[str | DataError] = [coding.attempt(codec.find, file) if prior is None else prior for file in files]
        results: dict[int, torch.Tensor | DataError] = {}
        for number, name in enumerate(names):
            if isinstance(name, DataError):
                results[number] = name
            elif number not in results:
                same = [other for other, its_name in enumerate(names) if its_name == name]
                some = [files[other] for other in same]
                results |= zip(same, sharpening.decompress(load(name), some, sharper(name), share), strict=True)
        return [results[number] for number in range(len(files))]

    done, pace = coding.convert(pairs, "decompressing", coding.read_file, code, data.write_image)
    console.print(f"{out}: {counted(len(done), 'picture') if out.is_dir() else 'one picture'}. {pace}.")


@app.command()
def info(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .ptb file.")],
    prior: Named = None,
    tokenizer: TokenizerName = None,
) -> None:
    """Show the header of a .ptb file, and where its bits went."""
    import arlib
    from arlib import codec
    from arlib.cli import coding
    from arlib.cli.common import class_name

    content = coding.read_file(source)
    try:
        header = codec.read_header(content)
        name = codec.find(content) if prior is None else prior
        model = arlib.load_codec(name, tokenizer)
        ledger, label = model.ledger(content), model.label(content) if model.classes else None
    except codec.CodecError as error:
        raise DataError(f"{source}: {error}") from None
    table = Table("header", "", title=str(source))
    table.add_row("version", str(header.version))
    table.add_row("model", f"{header.model} ({name})")
    if model.classes:
        what = "quality" if model.tokenizer.qualities else "label"
        table.add_row(what, "none" if label is None else class_name(label, coding.learned_data(name, tokenizer)))
    table.add_row("checksum of the tokens", f"{header.tokens_checksum:08x}")
    table.add_row("checksum of the file", f"{header.file_checksum:08x}")
    console.print(table)
    console.print(coding.ledger_table(ledger))
