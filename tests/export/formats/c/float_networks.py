"""Networks of floats: of every layer of them, and of every operation on elements."""

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.c.layers import FloatConv, LayerList, Pool
from n2uq_jax.export.formats.c.lowering import lower
from n2uq_jax.export.formats.c.tensors import tensors
from tests.export import integer_network

CLASSES = 17
SHAPE = (7, 6, 8)


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "bias": rng.normal(size=8).astype(np.float32),
        "kernel": rng.normal(size=(3, 3, 8, 8)).astype(np.float32),
        "start": np.float32(-0.6),
        "intervals": np.full(3, 0.4, np.float32),
        "head": rng.normal(size=(8, CLASSES)).astype(np.float32),
    }


def network_of(function):
    """Returns the layers of a network with a function of floats behind a product of codes."""

    def network(p, images):
        bias = integer_network.row(p["bias"])
        codes = integer_network.quantize(p, images + bias).codes
        sums = integer_network.sums_of_codes(codes, jnp.round(p["kernel"]).clip(-1, 1))
        x = function(sums.astype(jnp.float32) * 0.1 + images, bias)
        return x.mean((1, 2)) @ p["head"]

    return lower(build_program((network, parameters()), SHAPE))


def exact_operations(x, bias):
    """Operations that IEEE 754 rounds correctly, so that all compilers agree."""
    y = jnp.abs(x) + bias
    y = jnp.where((y >= 0) & ~(y > 2) | (x != x), y * bias, jnp.maximum(y, x) - bias)
    y = y / (jnp.square(x) + 0.5) + jnp.minimum(x, bias) - jnp.sign(x)
    y = jnp.floor(y) + jnp.round(y * 3) + jnp.ceil(-y)
    return jnp.clip(jnp.sqrt(jnp.abs(y)), 0.1, 1.7) - jnp.abs(x)


def library_operations(x, bias):
    """Operations of which libraries give different last bits."""
    y = jnp.exp(-jnp.abs(x)) + jnp.tanh(x) * jax.nn.sigmoid(bias + x) + jax.lax.erf(x)
    y = y + jnp.abs(x) ** 1.5
    return y + jnp.log1p(jnp.abs(y)) + jnp.sin(x) * jnp.cos(x) * jax.lax.rsqrt(jnp.abs(y) + 1)


class FloatBuilder:
    """Adds layers of floats with random numbers."""

    def __init__(self, seed, image_shape):
        self.random = np.random.default_rng(seed)
        self.image_shape = image_shape
        self.layers = []

    def add(self, layer):
        self.layers.append(layer)
        return layer.output

    def shape(self, name):
        return tensors(self.network(name))[name].shape

    def network(self, output):
        zero = np.zeros(self.image_shape[2], np.uint8)
        layers = tuple(self.layers)
        return LayerList("image", self.image_shape, zero, layers, output, float_image=True)

    def conv(self, x, features, kernel, *, groups=1, **options):
        inputs = self.shape(x)[2] // groups
        weight = self.random.normal(size=(*kernel, inputs, features)).astype(np.float32)
        return self.add(FloatConv(x, f"t{len(self.layers)}", weight, groups=groups, **options))

    def pool(self, x, kind, window, stride=(1, 1), padding=((0, 0), (0, 0))):
        return self.add(Pool(x, f"t{len(self.layers)}", kind, window, stride, padding))

    def images(self, batch):
        return self.random.normal(size=(batch, *self.image_shape)).astype(np.float32)


def every_float_layer(seed):
    """Returns a builder, and a network with every shape of convolution and pool."""
    build = FloatBuilder(seed, (9, 8, 3))
    x = build.conv("image", 20, (3, 2), stride=(1, 2), padding=((2, 1), (0, 2)), dilation=(2, 1))
    x = build.pool(x, "max", (2, 3), padding=((1, 0), (1, 2)))
    x = build.conv(x, 40, (1, 2), groups=4)
    x = build.conv(x, 40, (3, 3), groups=40, padding=((1, 1), (1, 1)))
    x = build.pool(x, "sum", (3, 2), (2, 1), ((1, 1), (0, 0)))
    return build, build.network(build.conv(x, CLASSES, build.shape(x)[:2]))
