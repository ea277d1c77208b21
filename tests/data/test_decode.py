import io

import numpy as np
import pytest
from PIL import Image

from n2uq_jax.data.dataset import CorruptRecordError
from n2uq_jax.data.decode import decode_rgb, decode_rgb_fast, image_size
from tests.data.tiny_imagenet import encode, random_image

IMAGE = random_image(0, (90, 70))
PIXELS = np.asarray(IMAGE).astype(int)
GRAY = np.asarray(IMAGE.convert("L").convert("RGB")).astype(int)


def with_transparency(image):
    image = image.copy()
    image.putalpha(128)
    return image


KINDS = {
    "color": (encode(IMAGE), PIXELS),
    "gray": (encode(IMAGE, "L"), GRAY),
    "CMYK": (encode(IMAGE, "CMYK"), PIXELS),
    "PNG": (encode(IMAGE, "RGB", "PNG"), PIXELS),
    "gray PNG": (encode(IMAGE, "L", "PNG"), GRAY),
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


@pytest.mark.parametrize("kind", ["color", "gray", "CMYK"])
def test_pixels_are_pillows(kind):
    content, _ = KINDS[kind]
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(content), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_fast_decoding_differs_by_little(kind):
    content, expected = KINDS[kind]
    decoded, scale = decode_rgb_fast(content, rows=70)
    assert decoded.shape == (70, 90, 3)
    assert scale == 1
    assert np.abs(decoded - expected).mean() < 4


LARGE = random_image(1, (600, 400))
ENCODINGS = [
    {"subsampling": subsampling, "restart_marker_blocks": restart, "progressive": progressive}
    for subsampling in ("4:4:4", "4:2:2", "4:2:0")
    for restart in (0, 5)
    for progressive in (False, True)
]


@pytest.mark.parametrize("options", ENCODINGS)
@pytest.mark.parametrize("rows", [1, 16, 203, 399, 400])
def test_the_rows_asked_for_are_those_of_the_whole(options, rows):
    content = encode(LARGE, **options)
    whole, _ = decode_rgb_fast(content, rows=400)
    part, scale = decode_rgb_fast(content, rows=rows)
    assert scale == 1
    height = 400 if options["progressive"] else min(400, -(-rows // 16) * 16)
    np.testing.assert_array_equal(part, whole[:height])


@pytest.mark.parametrize(
    ("min_scale", "scale"),
    [(1, 1), (0.51, 1), (0.5, 0.5), (0.3, 0.375), (0.2, 0.25), (0.01, 0.125)],
)
@pytest.mark.parametrize("rows", [160, 400])
def test_scale_is_the_smallest_allowed(min_scale, scale, rows):
    whole, _ = decode_rgb_fast(encode(LARGE), 400)
    decoded, found = decode_rgb_fast(encode(LARGE), rows, min_scale)
    assert found == scale
    assert decoded.shape == (rows * scale, 600 * scale, 3)
    reduced = Image.fromarray(whole).resize(
        (int(600 * scale), int(400 * scale)), Image.Resampling.BOX
    )
    assert np.abs(decoded - np.asarray(reduced, float)[: len(decoded)]).mean() < 2


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
    with pytest.raises(CorruptRecordError, match=message):
        decode_rgb_fast(content, rows=20)


def test_size_of_no_image():
    with pytest.raises(CorruptRecordError, match="are no image"):
        image_size(b"hello")
