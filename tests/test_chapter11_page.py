"""Chapter 11, on arithmetic: its figure adds as float32, float64 and whole numbers do."""

import numpy as np
import pytest

CHAPTER = "11-arithmetic"
TERMS = [[2.89, 0.38], [0.2, -0.51], [0.65, 0.83], [2.27, 0.21]]
TERMS += [[1.65, -0.75], [1.16, 0.27], [-0.76, 0.71], [-2.04, 0.18]]


def sums(kind):
    """The four sums: left to right, right to left, two lanes, pairs."""

    def chain(values):
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def halves(values):
        middle = len(values) // 2
        return values[0] if middle == 0 else halves(values[:middle]) + halves(values[middle:])

    values = [kind(x) * kind(w) for x, w in TERMS]
    return [chain(values), chain(values[::-1]), chain(values[::2]) + chain(values[1::2]), halves(values)]


def test_the_numbers_of_the_figure_part_in_both_floats():
    assert len(set(map(float, sums(np.float32)))) == len(set(sums(float))) == 4


@pytest.mark.browser
def test_sum_orders(figure):
    it = figure(CHAPTER, "sum-orders")

    def shown(name):
        return it.locator(f'[data-name="{name}"]').text_content()

    for arithmetic, kind in (("float32", np.float32), ("float64", float)):
        it.get_by_label(arithmetic, exact=True).check()
        for order, expected in zip(("left to right", "right to left", "two lanes", "pairs"), sums(kind), strict=True):
            it.get_by_label(order, exact=True).check()
            assert kind(shown("sum")) == expected
        assert shown("count") == "4"
    it.get_by_label("fixed point", exact=True).check()
    whole = sum(round(x * 2**14) * round(w * 2**16) for x, w in TERMS)
    for order in ("left to right", "right to left", "two lanes", "pairs"):
        it.get_by_label(order, exact=True).check()
        assert shown("sum") == f"{whole} units of 2^-30"
    assert shown("count") == "1"


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "sum-orders")
    it.page.set_viewport_size({"width": 400, "height": 900})
    box, inside = it.bounding_box(), it.locator("svg").bounding_box()
    assert box["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= box["x"] + box["width"]
