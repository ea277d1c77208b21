import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.nn.integer import Pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_integers_around_the_rounded_mean():
    pixels = Pixels(MEAN, STD)
    assert pixels.zero_point == (124, 116, 104)
    images = jnp.asarray([[[[0, 0, 0], [255, 255, 255], [124, 116, 104]]]], jnp.uint8)
    floats = pixels(images)
    pixels.eval()
    ints = pixels(images)
    assert floats.codes.dtype == jnp.float32
    assert ints.codes.dtype == jnp.int32
    expected = [[[[-124, -116, -104], [131, 139, 151], [0, 0, 0]]]]
    np.testing.assert_array_equal(ints.codes, expected)
    np.testing.assert_array_equal(floats.codes, expected)
    assert ints.max_code == 151
    normalized = (np.asarray(images) / 255 - np.float32(MEAN)) / np.float32(STD)
    np.testing.assert_allclose(ints.dequantize(), normalized, atol=0.5 / 255 / min(STD) + 1e-6)


def test_normalized_images_are_refused():
    with pytest.raises(TypeError, match="uint8 pixels, got float32: do not normalize"):
        Pixels(MEAN, STD)(jnp.zeros((1, 2, 2, 3)))
    with pytest.raises(ValueError, match="3 channels last"):
        Pixels(MEAN, STD)(jnp.zeros((1, 2, 2, 1), jnp.uint8))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.0,)), ((1.5,), (1,)), ((0.5, 0.5), (1,))])
def test_statistics_must_make_sense(mean, std):
    with pytest.raises(ValueError, match="mean"):
        Pixels(mean, std)
