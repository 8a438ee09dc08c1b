"""The kernels of the codec in JavaScript are made of kernels.wat. (tests/browser/matrix.test.mjs runs them.)"""

import make_kernels  # tools/, as conftest.py says


def test_script_is_made_of_the_text():
    text = (make_kernels.FOLDER / "kernels.wat").read_text(encoding="utf-8")
    script = (make_kernels.FOLDER / "kernels.js").read_text(encoding="utf-8")
    assert script == make_kernels.script(text), "Run tools/make_kernels.py."
    assert make_kernels.script(text.replace("f64x2.add", "f64x2.sub", 1)) != script
