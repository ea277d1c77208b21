import io

import numpy as np
import pytest
from PIL import Image

from n2uq_jax.data.dataset import CorruptRecordError
from n2uq_jax.data.decode import decode_rgb, image_size
from tests.data.tiny_imagenet import encode, random_image

IMAGE = random_image(0, (90, 70))
PIXELS = np.asarray(IMAGE).astype(int)
GREY = np.asarray(IMAGE.convert("L").convert("RGB")).astype(int)


def with_transparency(image):
    image = image.copy()
    image.putalpha(128)
    return image


KINDS = {
    "colour": (encode(IMAGE), PIXELS),
    "grey": (encode(IMAGE, "L"), GREY),
    "CMYK": (encode(IMAGE, "CMYK"), PIXELS),
    "PNG": (encode(IMAGE, "RGB", "PNG"), PIXELS),
    "grey PNG": (encode(IMAGE, "L", "PNG"), GREY),
    "PNG with alpha": (encode(with_transparency(IMAGE), "RGBA", "PNG"), PIXELS),
    "bytes after the end": (encode(IMAGE) + b"rubbish", PIXELS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_the_rgb_image(kind):
    content, expected = KINDS[kind]
    assert image_size(content) == (70, 90)
    decoded = decode_rgb(content)
    assert decoded.shape == (70, 90, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - expected).mean() < 3
    if "PNG" in kind:
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("kind", ["colour", "grey", "CMYK"])
def test_pixels_are_pillows(kind):
    content, _ = KINDS[kind]
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(content), expected)


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        ((0, 0), (400, 600)),
        ((201, 10), (400, 600)),
        ((200, 300), (200, 300)),
        ((60, 80), (100, 150)),
    ],
)
def test_jpeg_is_decoded_at_the_smallest_size_that_suffices(wanted, shape):
    content = encode(random_image(1, (600, 400)))
    decoded = decode_rgb(content, *wanted)
    assert decoded.shape == (*shape, 3)
    full = decode_rgb(content).astype(float)
    factor = 400 // shape[0]
    means = full.reshape(shape[0], factor, shape[1], factor, 3).mean((1, 3))
    assert np.abs(decoded - means).mean() < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(IMAGE)[:-500], "JPEG image of .* bytes: .*truncated"),
        (encode(IMAGE, "RGB", "PNG")[:-500], "PNG image of .* bytes"),
        (b"\xff\xd8\xff\xe0 and no more", "starting with ff d8 ff e0 are no image"),
        (b"hello", "5 bytes starting with 68 65 6c 6c are no image"),
        (b"", "0 bytes starting with nothing are no image"),
    ],
)
def test_corrupt_bytes(content, message):
    with pytest.raises(CorruptRecordError, match=message):
        decode_rgb(content)


def test_size_of_no_image():
    with pytest.raises(CorruptRecordError, match="are no image"):
        image_size(b"hello")
