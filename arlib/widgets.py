"""Figures that answer: they respond in JupyterLab and on a page without kernel or network.

Each figure is an ES module in `arlib/figures`, with the signature that anywidget has too:
`export default { render({ model, el }) }`. `show` puts its source and its data into the cell's output, as HTML.
"""

import base64
import hashlib
import html
import json
from pathlib import Path

import torch
from IPython.display import HTML

FIGURES = Path(__file__).resolve().parent / "figures"

# The source is imported from a Blob, so that no file beside the page is needed. Where scripts do not run (a notebook
# that is not trusted) the words in the div are all there is to see. Arrow keys stay in the figure: with them JupyterLab
# would choose another cell, and no slider would move.
PAGE = """<div class="ptb-figure" id="{id}" data-figure="{name}" role="group" aria-label="{words}"><p>{words}</p></div>
<style>{style}</style>
<script type="module">
const source = {source};
const data = {data};
const address = URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }}));
const figure = (await import(address)).default;
URL.revokeObjectURL(address);
for (const el of document.querySelectorAll("#{id}:not([data-drawn])")) {{
  el.setAttribute("data-drawn", "");
  el.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && event.stopPropagation());
  figure.render({{ model: {{ get: (key) => data[key] }}, el }});
}}
</script>"""


def show(name: str, data: dict, words: str) -> HTML:
    """The figure of that name (`arlib/figures/NAME.js`), as the output of a cell.

    `data` is what the figure's `model.get(key)` gives, anything that JSON can hold; round its numbers to what agrees on
    all machines. `words` tell what can be moved and what is seen; they stand above the figure, and alone where it
    cannot run. Raises `ValueError` for an unknown figure, and where the words are missing.
    """
    file = FIGURES / f"{name}.js"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in FIGURES.glob("*.js") if path.stem != "common"))
        raise ValueError(f"There is no figure {name!r}. There are: {known}.")
    if not words.strip():
        raise ValueError("Words that tell what the figure shows are missing.")
    source = (FIGURES / "common.js").read_text(encoding="utf-8") + file.read_text(encoding="utf-8")
    values = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return HTML(
        PAGE.format(
            id="figure-" + hashlib.sha256((source + values).encode()).hexdigest()[:12],
            name=name,
            words=html.escape(words),
            style=(FIGURES / "common.css").read_text(encoding="utf-8"),
            source=_in_script(json.dumps(source)),
            data=_in_script(values),
        )
    )


def pack(values: torch.Tensor) -> str:
    """A uint8 tensor's bytes as base64, which the figures' `unpack` turns into a Uint8Array. Raises `TypeError`."""
    if values.dtype != torch.uint8:
        raise TypeError(f"Only uint8 is packed, byte for byte; this is {values.dtype}.")
    return base64.b64encode(values.contiguous().cpu().numpy().tobytes()).decode()


def _in_script(text: str) -> str:
    """A JSON text that may stand inside <script>: no "</script>" in it ends the element too early."""
    return text.replace("<", "\\u003c")
