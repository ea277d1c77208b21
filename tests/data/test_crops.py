import io

import numpy as np
import pytest
from PIL import Image

from n2uq_jax.data.crops import RandomResizedCrop, ResizeCenterCrop, sample_crop
from n2uq_jax.data.decode import decode_rgb
from tests.data.tiny_imagenet import encode, random_image


@pytest.fixture(scope="module")
def torch_transforms():
    return pytest.importorskip("torchvision.transforms")


def boxes(height, width, count=3000):
    rng = np.random.default_rng(0)
    return np.array([sample_crop(height, width, rng) for _ in range(count)])


def test_boxes_lie_inside_and_have_the_allowed_shapes():
    top, left, height, width = boxes(375, 500).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 375).all()
    assert (left + width <= 500).all()
    area = height * width / (375 * 500)
    assert 0.075 < area.min() < 0.1
    assert 0.95 < area.max() <= 1
    ratio = width / height
    assert 0.74 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.35


@pytest.mark.extra
def test_boxes_are_distributed_as_torchvisions(torch_transforms):
    import torch

    torch.manual_seed(0)
    image = torch.zeros(3, 375, 500)
    draw = torch_transforms.RandomResizedCrop.get_params
    theirs = [draw(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    quantiles = np.linspace(0.05, 0.95, 10)
    ours = np.quantile(boxes(375, 500), quantiles, axis=0)
    np.testing.assert_allclose(ours, np.quantile(np.array(theirs), quantiles, axis=0), atol=16)


@pytest.mark.parametrize(("height", "width", "box"), [(10, 1000, (10, 13)), (1000, 10, (13, 10))])
def test_very_long_images_give_the_central_box(height, width, box):
    assert (boxes(height, width, 50)[:, 2:] <= (height, width)).all()

    class Never:  # a generator that always asks for more than there is
        def random(self, count):
            return np.array([1.0] + [0.5] * (count - 1))

    top, left, *size = sample_crop(height, width, Never())
    assert tuple(size) == box
    assert abs(2 * top + size[0] - height) <= 1
    assert abs(2 * left + size[1] - width) <= 1


@pytest.mark.parametrize("original", [(500, 375), (2000, 1500)])
def test_random_crop_shows_the_box_it_drew(original):
    """Against the same box cut from the full image and resized by Pillow."""
    image = random_image(1, original)
    content = encode(image)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        top, left, height, width = sample_crop(original[1], original[0], rng)
        mirrored = rng.random() < 0.5
        expected = Image.fromarray(decode_rgb(content)).resize(
            (64, 64), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
        )
        expected = np.asarray(expected)[:, ::-1] if mirrored else np.asarray(expected)
        result = RandomResizedCrop(64)(content, np.random.default_rng(seed))
        assert result.shape == (64, 64, 3)
        difference, moved_by_a_pixel = (
            np.abs(np.roll(result, shift, axis=1).astype(int) - expected).mean() for shift in (0, 1)
        )
        assert difference < 2
        assert moved_by_a_pixel > 2 * difference


@pytest.mark.parametrize("original", [(500, 375), (60, 33)])
def test_pillows_interpolation_is_torchvisions_to_the_pixel(original):
    content = encode(random_image(1, original))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        top, left, height, width = sample_crop(original[1], original[0], rng)
        mirrored = rng.random() < 0.5
        box = decode_rgb(content)[top : top + height, left : left + width]
        expected = np.asarray(Image.fromarray(box).resize((48, 48), Image.Resampling.BILINEAR))
        result = RandomResizedCrop(48, interpolation="pillow")(content, np.random.default_rng(seed))
        np.testing.assert_array_equal(result, expected[:, ::-1] if mirrored else expected)


def test_no_flip():
    content = encode(random_image(2))
    for seed in range(4):
        plain = RandomResizedCrop(32, flip=False)(content, np.random.default_rng(seed))
        either = RandomResizedCrop(32, flip=True)(content, np.random.default_rng(seed))
        assert np.array_equal(plain, either) or np.array_equal(plain, either[:, ::-1])


@pytest.mark.extra
@pytest.mark.parametrize("original", [(500, 375), (300, 441), (256, 256), (60, 33)])
def test_center_crop_is_torchvisions_to_the_pixel(torch_transforms, original):
    content = encode(random_image(3, original))
    reference = Image.open(io.BytesIO(content))
    for step in (torch_transforms.Resize(256), torch_transforms.CenterCrop(224)):
        reference = step(reference)
    np.testing.assert_array_equal(ResizeCenterCrop(256, 224)(content), np.asarray(reference))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colors_have_the_same_shape(mode):
    content = encode(random_image(4), mode)
    assert ResizeCenterCrop(73, 64)(content).shape == (64, 64, 3)
    assert RandomResizedCrop(64)(content, np.random.default_rng(0)).shape == (64, 64, 3)


def test_arrays_are_refused():
    with pytest.raises(TypeError, match="data: ndarray, expected the bytes"):
        ResizeCenterCrop(73, 64)(np.zeros((9, 9, 3), np.uint8))
