"""Run notebooks in place, so that a run again changes only what really changed.

`make notebooks` runs all of them, `python tools/run_notebooks.py book/00-tour.ipynb` runs one. A notebook that raises,
or that writes to stderr (as a warning does), is reported and its file left as it was.
"""

import hashlib
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parent.parent / "book"
SECONDS_PER_CELL = 600
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def as_text(notebook: NotebookNode) -> str:
    """The file's text: nbformat sorts the keys, and there is one newline at the end."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def with_stable_widget_ids(notebook: NotebookNode) -> NotebookNode:
    """Widgets get random ids; each is replaced by one made from its place in the order of creation."""
    text = as_text(notebook)
    for number, identifier in enumerate(notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})):
        text = text.replace(identifier, hashlib.sha256(f"widget {number}".encode()).hexdigest()[: len(identifier)])
    return nbformat.reads(text, as_version=4)


def run(path: Path) -> None:
    """Execute one notebook and write it back; raises where a cell raised or warned."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["kernelspec"] = KERNEL
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        startup_timeout=SECONDS_PER_CELL,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,  # else a table that is printed in a loop becomes many boxes on the site
        resources=where,
    )
    client.execute()
    # Not the patch version of the Python that ran it, which differs from one machine to the next.
    notebook.metadata["language_info"].pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"cell {cell.execution_count} wrote to stderr:\n{output.text}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(as_text(with_stable_widget_ids(notebook)), encoding="utf-8")
    partial.replace(path)


def main() -> int:
    """Run the notebooks that are named, or all of them; 1 where one failed."""
    failed = 0
    for path in [Path(name) for name in sys.argv[1:]] or sorted(BOOK.glob("*.ipynb")):
        print(f"{path.name} … ", end="", flush=True)
        try:
            run(path)
            print("done")
        except (OSError, RuntimeError, CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"failed, and its file is as it was:\n{error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
