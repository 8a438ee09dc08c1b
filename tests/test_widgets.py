"""Figures that answer: what `widgets.show` puts into a cell. That they answer is tested chapter by chapter."""

import base64
import json
import re

import pytest
import torch

from arlib import widgets


@pytest.fixture
def figures(tmp_path, monkeypatch):
    (tmp_path / "common.js").write_text("const shared = '</script>';\n")
    (tmp_path / "common.css").write_text(".ptb-figure { color: inherit; }\n")
    (tmp_path / "probe.js").write_text("export default { render({ model, el }) { el.append(model.get('x')); } };\n")
    monkeypatch.setattr(widgets, "FIGURES", tmp_path)


def test_source_data_and_words_are_in_the_output(figures):
    page = widgets.show("probe", {"x": [1, 2.5, "</script><b>"]}, 'Move <it> & "see".').data
    assert "Move &lt;it&gt; &amp; &quot;see&quot;." in page
    source = re.search(r"^const source = (.*);$", page, re.MULTILINE)
    data = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert source is not None
    assert data is not None
    assert json.loads(data[1]) == {"x": [1, 2.5, "</script><b>"]}
    assert json.loads(source[1]).startswith("const shared = '</script>';\nexport default")
    assert page.count("</script>") == 1  # nothing inside ends the element too early


def test_equal_figures_have_equal_outputs_and_others_another_id(figures):
    first, again, other = (widgets.show("probe", {"x": x}, "words").data for x in (1, 1, 2))
    assert first == again
    ids = [re.search(r'id="(figure-\w+)"', page) for page in (first, other)]
    assert len({found[1] for found in ids if found}) == 2


def test_an_unknown_figure_is_refused_with_those_there_are(figures):
    with pytest.raises(ValueError, match=r"no figure 'prob'\. There are: probe\."):
        widgets.show("prob", {}, "words")


def test_a_figure_without_words_is_refused(figures):
    with pytest.raises(ValueError, match="Words"):
        widgets.show("probe", {}, " ")


def test_numbers_that_json_lacks_are_refused(figures):
    with pytest.raises(ValueError, match="JSON"):
        widgets.show("probe", {"x": float("nan")}, "words")


def test_pack_keeps_every_byte():
    values = torch.arange(256).to(torch.uint8).view(16, 16).T
    assert list(base64.b64decode(widgets.pack(values))) == values.flatten().tolist()


def test_pack_refuses_what_is_not_bytes():
    with pytest.raises(TypeError, match="uint8"):
        widgets.pack(torch.zeros(3))
