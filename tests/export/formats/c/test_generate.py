import itertools
import re

import pytest

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.layers import Threshold
from tests.export.formats.c.networks import Builder
from tests.export.formats.c.programs import every_layer


def test_the_header_says_shapes_and_scale():
    build, output = every_layer(0)
    network = build.network(output)
    header = generate(network, "digits").header
    for line in ("DIGITS_HEIGHT 9", "DIGITS_WIDTH 7", "DIGITS_CHANNELS 3", "DIGITS_CLASSES 17"):
        assert f"#define {line}\n" in header
    assert "int digits_run(const digits_input *images" in header
    assert float.fromhex("0x1.0000000000000p+0") == network.scale
    assert "#define DIGITS_SCALE 0x1.0000000000000p+0f" in header


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_weights_take_their_bit_width(bits):
    build = Builder(0, (3, 3, 1), zero=False)
    x = build.thresholds(build.conv("image", 16, (1, 1)), 3)
    network = build.network(build.conv(x, 16, (3, 3), bits=bits))
    arrays = re.findall(r"uint64_t weights_\d+\[\] = \{(.*?)\}", generate(network).code, re.DOTALL)
    # Inputs, taps and outputs are multiples of what a block holds, so that nothing is filled up.
    assert arrays[-1].count("0x") == 16 * 9 * 16 * bits // 64


@pytest.mark.parametrize("prefix", ["", "2bits", "a-b", "a b"])
def test_a_prefix_is_an_identifier(prefix):
    build, output = every_layer(0)
    with pytest.raises(ValueError, match="prefix must be a C identifier"):
        generate(build.network(output), prefix)


def test_only_products_read_images_whose_zero_is_not_0():
    build = Builder(0, (4, 4, 2), zero=True)
    network = build.network(build.pool("image", "max", (2, 2)))
    with pytest.raises(ValueError, match="only products subtract"):
        generate(network)


def test_kept_tensors_lie_apart():
    build, output = every_layer(0)
    network = build.network(output)
    kept = [layer.output for layer in network.layers if isinstance(layer, Threshold)]
    stored = generate(network, kept=[*kept, output]).stored
    taken = []
    for name in [*kept, output]:
        place = stored[name]
        height, width, _ = place.tensor.shape
        size = {"U8": 1, "I16": 2, "I32": 4}[place.element]
        taken.append((place.offset, place.offset + height * width * place.pitch * size))
    taken.sort()
    assert len(taken) == 5
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(taken))
    assert set(generate(network).stored) <= set(stored)
