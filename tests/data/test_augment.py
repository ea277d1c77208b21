import numpy as np
import pytest

from n2uq_jax.data.augment import PadAndCrop, Resize

IMAGE = np.arange(1, 13, dtype=np.uint8).reshape(4, 3, 1)


def shifted(image, down, right):
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[row, column] = image[row - down, column - right]
    return result


@pytest.mark.parametrize("flip", [False, True])
def test_all_shifts_and_only_shifts_occur(flip):
    transform = PadAndCrop((4, 3), padding=1, flip=flip)
    seen = {transform(IMAGE, np.random.default_rng(seed)).tobytes() for seed in range(300)}
    moves = [shifted(IMAGE, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    if flip:
        moves += [move[:, ::-1] for move in moves]
    assert seen == {move.tobytes() for move in moves}


def test_a_shift_beyond_the_image_leaves_nothing_of_it():
    transform = PadAndCrop((4, 3), padding=6)
    seen = {transform(IMAGE, np.random.default_rng(seed)).tobytes() for seed in range(2000)}
    steps = range(-6, 7)
    assert seen == {shifted(IMAGE, down, right).tobytes() for down in steps for right in steps}


def test_the_generator_decides_and_nothing_else():
    transform = PadAndCrop((4, 3), padding=2, flip=True)
    seeds = range(20)
    first, again = ([transform(IMAGE, np.random.default_rng(s)) for s in seeds] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) > 10
    np.testing.assert_array_equal(IMAGE, np.arange(1, 13).reshape(4, 3, 1))


def test_resize_keeps_size_and_constants():
    assert Resize((4, 3))(IMAGE) is IMAGE
    constant = np.full((4, 3, 2), 77, np.uint8)
    np.testing.assert_array_equal(Resize((9, 8))(constant), np.full((9, 8, 2), 77))
    assert PadAndCrop((9, 8))(constant, np.random.default_rng(0)).shape == (9, 8, 2)


def test_resize_refuses_bytes():
    with pytest.raises(TypeError, match="expected a uint8 array"):
        Resize((4, 3))(b"\xff\xd8")
