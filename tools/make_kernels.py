"""Write arlib/browser/kernels.js: the kernels of matrix.js, as WebAssembly, made of kernels.wat by wasmtime.

    python tools/make_kernels.py

A page opened from a file may load scripts and no more, so the module travels in one, in base64.
"""

import base64
import textwrap
from pathlib import Path

import wasmtime

FOLDER = Path(__file__).resolve().parent.parent / "arlib" / "browser"
HEAD = """// Made by tools/make_kernels.py of kernels.wat, the place to read: a WebAssembly module in base64.
"use strict";
((ptb) => {
  ptb.KERNELS = [
"""
TAIL = """  ].join("");
})((globalThis.ptb ??= {}));
"""


def script(text: str) -> str:
    """The script of a module in WebAssembly's text format."""
    lines = textwrap.wrap(base64.b64encode(wasmtime.wat2wasm(text)).decode(), 110)
    return HEAD + "".join(f'    "{line}",\n' for line in lines) + TAIL


if __name__ == "__main__":
    (FOLDER / "kernels.js").write_text(script((FOLDER / "kernels.wat").read_text(encoding="utf-8")), encoding="utf-8")
