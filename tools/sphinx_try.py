"""A Sphinx extension: the scripts of the page "Try it". A page that is opened from a file may load scripts and no more.

Into `_static/try` go the page's own script, the codec (arlib/browser) as a text from which the page makes its worker,
the frames, and for each codec its weights, which a click loads.
"""

import base64
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = "book/try"
CODECS = {"book": ("prior-book", "tokenizer-book"), "fine": ("prior-fine", "tokenizer-fine")}
SOURCES = ROOT / "arlib" / "browser"


def codec_source() -> str:
    """The scripts of the codec, in the order in which they build on each other."""
    names = (SOURCES / "scripts.txt").read_text(encoding="utf-8").split()
    return "\n".join((SOURCES / name).read_text(encoding="utf-8") for name in names)


def page_source(*names: str) -> str:
    return "".join((ROOT / "book" / "_try" / name).read_text(encoding="utf-8") for name in names)


def weights_script(name: str) -> str:
    """A script that puts the weights of a codec, in base64, where the page finds them."""
    files = dict(zip(("prior", "tokenizer"), CODECS[name], strict=True))
    texts = {
        part: base64.b64encode((ROOT / "data" / "weights" / f"{file}.safetensors").read_bytes()).decode()
        for part, file in files.items()
    }
    return f"globalThis.TRY.weights[{json.dumps(name)}] = {json.dumps(texts)};\n"


def write_scripts(app: Any, error: Exception | None) -> None:
    """After the pages have been built."""
    if error is not None or app.builder.name != "html" or PAGE not in app.env.found_docs:
        return
    folder = Path(app.outdir) / "_static" / "try"
    folder.mkdir(parents=True, exist_ok=True)
    frames = (ROOT / "book" / "_static" / "try.json").read_text(encoding="utf-8")
    shipped = json.loads((ROOT / "data" / "weights" / "codecs.json").read_text(encoding="utf-8"))
    sizes = {
        name: sum((ROOT / "data" / "weights" / f"{file}.safetensors").stat().st_size for file in files)
        for name, files in CODECS.items()
    }
    begin = f"globalThis.TRY = {{ weights: {{}}, sizes: {json.dumps(sizes)}, shipped: {json.dumps(shipped)} }};\n"
    worker = codec_source() + page_source("reading.js", "worker.js")
    parts = [begin, f"TRY.source = {json.dumps(worker)};\n", f"TRY.data = {frames.strip()};\n", codec_source()]
    (folder / "codec.js").write_text("".join(parts), encoding="utf-8")
    page = page_source("reading.js", "parts.js", "pictures.js", "tasks.js", "page.js")
    (folder / "page.js").write_text(page, encoding="utf-8")
    for name in CODECS:
        (folder / f"weights-{name}.js").write_text(weights_script(name), encoding="utf-8")


def add_scripts(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The page alone loads them, and none of the weights."""
    if page == PAGE:
        for name in ("codec.js", "page.js"):
            app.add_js_file(f"try/{name}", loading_method="defer")


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True}
