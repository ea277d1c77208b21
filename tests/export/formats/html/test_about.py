import base64
import dataclasses

import numpy as np
import pytest

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.html.about import describe_page
from tests.export.formats.c.networks import Builder


@pytest.fixture
def network():
    """Two layers of codes behind a stem of 8 bits."""
    build = Builder(0, (9, 8, 1), zero=False)
    x = build.conv("image", 8, (3, 3), bits=8, odd=False)
    first = build.thresholds(x, 3)
    second = build.thresholds(build.conv(first, 24, (3, 3), bits=2), 1)
    network = build.network(build.dense(second, 5))
    return dataclasses.replace(network, codes={"a/input_quantizer": first, "b": second}, scale=0.5)


def described(network, **options):
    stored = generate(network, kept=tuple(network.codes.values())).stored
    return describe_page(network, stored, **options)


def test_layers_are_those_of_the_quantizers(network):
    about = described(network)
    first, second = about["layers"]
    assert (first["name"], second["name"]) == ("a", "b")
    assert (first["height"], first["width"], first["channels"]) == (7, 6, 8)
    assert (first["bits"], first["low"], first["high"]) == (2, 0, 3)
    assert (second["bits"], second["low"], second["high"]) == (1, 0, 1)
    assert first["element"] == "U8"
    assert first["pitch"] == 16
    assert first["offset"] != second["offset"]


def test_weights_are_counted_by_their_bits(network):
    sizes = [9 * 8, 9 * 8 * 24, 5 * 4 * 24 * 5]
    assert described(network)["weights"] == {"count": sum(sizes), "bits": 8, "ofThoseBits": 2472}


def test_without_anything_known_classes_are_numbers(network):
    about = described(network)
    assert about["classNames"] == ["0", "1", "2", "3", "4"]
    assert about["preparation"] == {"resize": [9, 8]}
    assert about["background"] is about["inkBox"] is None
    assert about["samples"] == []
    assert about["scale"] == 0.5
    assert about["drawable"]


def test_images_say_how_to_draw(network):
    images = np.zeros((3, 9, 8, 1), np.uint8)
    images[:, 2:7, 3:5] = 255
    about = described(network, images=images, samples=images[:1], class_names=list("abcde"))
    assert about["background"] == "dark"
    assert about["inkBox"] == (2, 3, 7, 5)
    assert base64.b64decode(about["samples"][0]) == images[0].tobytes()
    assert about["classNames"] == list("abcde")


def test_color_images_are_not_drawn():
    build = Builder(0, (6, 6, 3), zero=True)
    network = build.network(build.dense("image", 5))
    images = np.zeros((3, 6, 6, 3), np.uint8)
    crop = {"resize_shorter_side": 8, "center_crop": (6, 6)}
    about = described(network, images=images, preprocessing=crop)
    assert not about["drawable"]
    assert about["background"] is None
    assert about["preparation"] == {"shorterSide": 8, "crop": [6, 6]}
    assert about["title"] == "a network for images of 6 by 6"
