"""Chapter 12, "An image file of our own", as a page: its figure, its control for JupyterLab, and whom it cites."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from PIL import Image

import arlib

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "12-image-file"

# What the documents that this book's subject comes from cite: arXiv numbers, DOIs and one issue.
CITED = [
    "1711.00937",  # VQ-VAE
    "2012.09841",  # VQGAN
    "2406.07548",  # BSQ
    "2406.06525",  # LlamaGen
    "2406.11838",  # MAR
    "1611.01704",  # Ballé 2017
    "1809.02736",  # Minnen 2018
    "10.1145/214762.214771",  # Witten, Neal and Cleary
    "2409.04410",  # Open-MAGVIT2
    "2404.02905",  # VAR
    "2412.01827",  # RandAR, by its name
    "pytorch/issues/147889",
]


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def sources(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("work", CITED)
def test_what_the_sources_cite_is_in_the_bibliography(work):
    assert work in (ROOT / "book" / "bibliography.md").read_text(encoding="utf-8")


# ---- The control for JupyterLab --------------------------------------------------------------------------------------


@pytest.fixture
def control(sources, monkeypatch):
    """The cell of the control, run as in JupyterLab, and the figures that it shows."""
    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.setenv("JPY_SESSION_NAME", "12-image-file.ipynb")
    shown = []
    [source] = [source for source in sources if "def file_of" in source]
    [imports] = [source for source in sources if source.startswith("import base64")]
    names: dict = {}
    exec(imports[: imports.index("torch.set_num_threads")], names)
    names["display"] = lambda *given: shown.extend(given)
    exec(source, names)
    return names, shown


def test_an_uploaded_picture_gives_its_file(control, capsys):
    names, shown = control
    upload, out = shown[:2]
    content = io.BytesIO()
    Image.linear_gradient("L").resize((320, 200)).convert("RGB").save(content, "JPEG")
    names["plt"].close("all")
    told = {"name": "a.jpg", "type": "image/jpeg", "size": content.tell(), "last_modified": datetime.now(tz=UTC)}
    upload.value = ({**told, "content": content.getvalue()},)
    (link,) = shown[2:]
    file = re.search('base64,([^"]+)"', link.data)
    assert file is not None
    data = names["base64"].b64decode(file[1])
    assert arlib.decompress(data).shape == (100, 150, 3)
    assert f"the .ptb has {len(data)}" in str(out.outputs) + capsys.readouterr().out


def test_what_is_no_picture_is_said_to_be_none(control, capsys):
    names, shown = control
    assert names["file_of"](b"PTB\1") is None
    assert "can't read" in capsys.readouterr().out
    assert len(shown) == 2


def test_the_page_carries_no_widget(notebook):
    assert "widgets" not in notebook.metadata or not any(notebook.metadata.widgets.values())
    assert "widget-view" not in json.dumps([cell.get("outputs", []) for cell in notebook.cells])


# ---- The figure ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values(notebook):
    [html] = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if 'data-figure="fields"' in output.get("data", {}).get("text/html", "")
    ]
    assert len(html) < 150_000
    [found] = re.findall(r"^const data = (.*);$", html, re.MULTILINE)
    return json.loads(found)


def quiet(values, kept):
    return sum(not kept & set(file) for damage in values["damages"] for file in damage["objecting"])


def test_the_figure_knows_what_the_ladder_says(values):
    assert quiet(values, {"coder", "version", "model", "file", "tokens"}) == 8
    assert quiet(values, {"coder", "version", "tokens"}) == 8
    assert quiet(values, {"coder", "version", "model", "file"}) > 8
    assert quiet(values, {"key"}) == 24  # the file is genuine where only its reader is wrong
    assert quiet(values, {"key", "version", "tokens"}) == 0


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


@pytest.mark.browser
def test_fields(figure, values):
    it = figure(CHAPTER, "fields")
    assert shown(it, "size") == "0 bytes"
    assert shown(it, "quiet") == f"{quiet(values, {'coder'})} of 56"
    it.get_by_label("tokens' checksum").check()
    it.get_by_label("magic and version").check()
    assert shown(it, "size") == "8 bytes"
    assert shown(it, "quiet") == "8 of 56"
    assert shown(it, "cut in half") == "8 after decoding"
    assert shown(it, "from a later version") == "8 refused at once"
    assert shown(it, "forged, both checksums right") == "8 come out wrong"
    it.get_by_label("file's checksum").check()
    assert shown(it, "cut in half") == "8 refused at once"
    it.get_by_label("a secret key").check()
    assert shown(it, "quiet") == "0 of 56"
    assert shown(it, "size") == "44 bytes"


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "fields")
    it.page.set_viewport_size({"width": 400, "height": 900})
    assert it.page.evaluate("document.documentElement.scrollWidth") <= 400
