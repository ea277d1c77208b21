import numpy as np

from n2uq_jax.data.dataset import ArraySource, pixel_statistics


def test_statistics_are_those_of_the_pixels():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std, images.std((0, 1, 2)) / 255, rtol=1e-12)


def test_a_record_in_memory_has_its_image_label_and_name():
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    source = ArraySource("tiny/train", images, np.array([7, 8, 9], np.int32))
    assert len(source) == 3
    record = source[1]
    np.testing.assert_array_equal(record["image"], [[[4], [5]], [[6], [7]]])
    assert (record["label"], record["name"]) == (8, "tiny/train[1]")
    assert type(record["label"]) is int
