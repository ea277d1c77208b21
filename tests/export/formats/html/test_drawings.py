import numpy as np
import pytest

from n2uq_jax.export.formats.html.drawings import background, ink_box


def bars(boxes, shape=(8, 8)):
    """Bright boxes (top, left, bottom, right) on dark, one an image."""
    images = np.zeros((len(boxes), *shape, 1), np.uint8)
    for image, (top, left, bottom, right) in zip(images, boxes, strict=True):
        image[top:bottom, left:right] = 200
    return images


def test_the_background_is_what_borders_have():
    images = bars([(2, 2, 6, 5)] * 3)
    assert background(images) == "dark"
    assert background(255 - images) == "bright"
    noise = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)
    assert background(noise) is None
    assert ink_box(noise) is None


def test_ink_may_touch_the_border_a_little():
    # A digit that is as tall as its image touches 4 of 28 border pixels.
    assert background(bars([(0, 3, 8, 5)])) == "dark"


@pytest.mark.parametrize("bright", [False, True])
def test_the_ink_box_is_the_median_one(bright):
    images = bars([(0, 2, 8, 5), (1, 1, 8, 6), (1, 2, 6, 6)])
    assert ink_box(255 - images if bright else images) == (1, 2, 8, 6)


def test_blank_images_have_no_part_in_it():
    images = bars([(1, 2, 8, 6), (0, 0, 0, 0), (0, 0, 0, 0)])
    assert ink_box(images) == (1, 2, 8, 6)
    assert ink_box(images[1:]) is None
