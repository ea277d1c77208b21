import numpy as np
import pytest
from PIL import Image

from n2uq_jax import predict
from n2uq_jax.data.crops import ResizeCenterCrop


def test_crops_as_evaluation_does(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    preprocessing = {
        "resize_shorter_side": 37,
        "center_crop": [32, 32],
        "channels": "RGB",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
    }
    expected = ResizeCenterCrop(37, 32)(path.read_bytes()) / np.float32(255)
    expected = (expected - np.float32([0.5, 0.4, 0.3])) / np.float32([0.2, 0.3, 0.4])
    np.testing.assert_allclose(predict.read_image(str(path), preprocessing), expected, rtol=1e-6)


def test_resizes_to_what_the_network_saw(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.full((20, 30, 3), 51, np.uint8)).save(path)
    preprocessing = {"resize": [8, 6], "channels": "grey", "mean": [0.1], "std": [0.5]}
    image = predict.read_image(str(path), preprocessing)
    assert image.shape == (8, 6, 1)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, (0.2 - 0.1) / 0.5, rtol=1e-6)


def test_says_what_is_wrong(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    preprocessing = {"resize": [8, 8], "channels": "grey", "mean": [0.0], "std": [1.0]}
    with pytest.raises(ValueError, match=r"notes.txt is no image"):
        predict.read_image(str(tmp_path / "notes.txt"), preprocessing)
    with pytest.raises(FileNotFoundError):
        predict.read_image(str(tmp_path / "absent.png"), preprocessing)
    with pytest.raises(ValueError, match="does not say how to preprocess"):
        predict.read_image(str(tmp_path / "absent.png"), None)


PREPROCESSING = {"resize": [8, 8], "channels": "grey", "mean": [0.2], "std": [0.5]}


def seen(tmp_path, image):
    path = tmp_path / "image.png"
    image.save(path)
    return predict.look(str(path), PREPROCESSING)


def stroke(side=8, ink=255, paper=0):
    pixels = np.full((side, side), paper, np.uint8)
    pixels[:, side // 2] = ink
    return Image.fromarray(pixels)


def test_an_image_like_the_training_data_is_shown_as_the_network_sees_it(tmp_path):
    found = seen(tmp_path, stroke())
    assert found.warnings == ()
    assert str(found) == "8x8 grey, mean 0.12, of 8x8 pixels"
    assert found.thumbnail().splitlines() == ["        ██      "] * 8
    assert len(found.thumbnail(rows=3).splitlines()) == 3


def test_what_misleads_a_network_is_said(tmp_path):
    assert "shrunk 25-fold" in seen(tmp_path, stroke(side=200)).warnings[0]
    (inverted,) = seen(tmp_path, stroke(ink=0, paper=255)).warnings
    assert "inverted, it seems: its mean is 0.88, that of the training images 0.20" in inverted
    transparent = stroke().convert("RGBA")
    transparent.putalpha(stroke())
    assert "transparency was dropped" in seen(tmp_path, transparent).warnings[0]
    opaque = stroke().convert("RGBA")
    assert seen(tmp_path, opaque).warnings == ()
