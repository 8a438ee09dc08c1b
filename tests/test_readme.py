"""The README's example runs, and each value has the shape that the comment behind it names."""

import re
from typing import Any

import torch
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.DOTALL)
SHAPE = re.compile(r"^(\w+) = .*#.*?(\(\d+[^a-z]*\))(?: (\w+))?")


def test_the_example_runs_and_gives_the_shapes_it_names():
    assert EXAMPLE is not None
    names: dict[str, Any] = {}
    checked = 0
    with torch.no_grad():
        for line in EXAMPLE[1].splitlines():
            exec(line, names)
            if (found := SHAPE.match(line)) is None:
                continue
            shape = tuple(int(side) for side in re.findall(r"\d+", found[2]))
            value = names[found[1]]
            assert tuple(value.shape) == shape, line
            if found[3] in ("uint8", "int64"):
                assert str(value.dtype) == f"torch.{found[3]}", line
            checked += 1
    assert checked >= 9
    assert len(names["codec"].compress(names["frames"][0])) < 500
    assert len(names["data"]) < 60  # the last of them is a digit


def test_every_file_that_the_readme_names_is_there():
    for target in re.findall(r"\]\(((?!http)[^)#]+)", README):
        assert (ROOT / target).exists(), target
