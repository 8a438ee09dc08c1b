"""The book's figures: what is shown is what was given."""

import matplotlib
import numpy as np
import torch
from matplotlib.colors import to_rgba

from arlib import plots

matplotlib.use("agg")
import matplotlib.pyplot as plt


def test_every_picture_is_shown_as_it_is_under_its_title():
    images = torch.randint(256, (3, 10, 15, 3), dtype=torch.uint8)
    figure = plots.show_images(images, ["a", "b", "c"], columns=2)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == ["a", "b", "c"]
    for axis, image in zip(shown, images, strict=True):
        assert np.array_equal(np.asarray(axis.images[0].get_array()), image.numpy())
    assert len(figure.axes) == 4  # the last place stays empty
    plt.close(figure)


def test_equal_tokens_have_equal_colors_and_others_do_not():
    figure, axis = plt.subplots()
    plots.show_tokens(torch.tensor([[5, 5], [6, 1023]]), axis, 1024)
    shown = np.asarray(axis.images[0].get_array())
    assert np.array_equal(shown[0, 0], shown[0, 1])
    assert not np.array_equal(shown[0, 0], shown[1, 0])
    assert not np.array_equal(shown[1, 0], shown[1, 1])
    plots.show_tokens(torch.arange(1024).view(32, 32), axis, 1024)
    colors = (np.asarray(axis.images[1].get_array()) * 255).round().reshape(-1, 3)
    assert len({tuple(color) for color in colors.tolist()}) == 1024
    plt.close(figure)


def test_the_figures_have_no_ground_of_their_own():
    """So that they lie on a light page as on a dark one."""
    figure = plots.show_images(torch.zeros(1, 10, 15, 3, dtype=torch.uint8), columns=1)
    assert to_rgba(figure.get_facecolor())[3] == 0
    plt.close(figure)
