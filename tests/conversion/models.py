"""Models in the style of public code, which know nothing of quantization."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx


class CNN(nnx.Module):
    """The network of an MNIST tutorial, with BatchNorm and dropout."""

    def __init__(self, rngs: nnx.Rngs, width: int = 4):
        self.conv1 = nnx.Conv(1, width, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm1 = nnx.BatchNorm(width, rngs=rngs)
        self.conv2 = nnx.Conv(width, 2 * width, kernel_size=(3, 3), use_bias=False, rngs=rngs)
        self.batch_norm2 = nnx.BatchNorm(2 * width, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.linear1 = nnx.Linear(4 * 2 * width, 16, rngs=rngs)
        self.linear2 = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.avg_pool(nnx.relu(self.batch_norm1(self.conv1(x))), (2, 2), strides=(2, 2))
        x = nnx.avg_pool(nnx.relu(self.batch_norm2(self.conv2(x))), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        return self.linear2(nnx.relu(self.linear1(self.dropout(x))))


class Block(nnx.Module):
    """A transformer's encoder block."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(features, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, features, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(features, rngs=rngs)
        self.mlp = nnx.Sequential(
            nnx.Linear(features, 2 * features, rngs=rngs),
            nnx.gelu,
            nnx.Linear(2 * features, features, rngs=rngs),
        )

    def __call__(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nnx.Module):
    """A small vision transformer."""

    def __init__(self, rngs: nnx.Rngs, features: int = 8, depth: int = 2):
        self.patches = nnx.Conv(1, features, (2, 2), strides=(2, 2), padding="VALID", rngs=rngs)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, 16, features)))
        self.blocks = nnx.List([Block(features, 2, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(features, rngs=rngs)
        self.head = nnx.Linear(features, 3, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1]) + self.position[...]
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(self.norm(x), axis=1))


class ResNet(linen.Module):
    """The residual network of a public example, which is told its layers."""

    conv: Any = linen.Conv
    width: int = 4

    @linen.compact
    def __call__(self, x, train: bool = True):
        norm = functools.partial(linen.BatchNorm, use_running_average=not train, momentum=0.9)
        x = linen.relu(norm(name="norm_init")(linen.Conv(self.width, (3, 3), name="conv_init")(x)))
        for i, width in enumerate((self.width, 2 * self.width)):
            y = self.conv(width, (3, 3), 1 + (i > 0), use_bias=False)(x)
            y = self.conv(width, (3, 3), use_bias=False)(linen.relu(norm()(y)))
            if i:
                x = self.conv(width, (1, 1), 2, use_bias=False, name="conv_proj")(x)
            x = linen.relu(x + norm()(y))
        return linen.Dense(3)(x.mean((1, 2)))


class Shared(nnx.Module):
    """Calls one linear layer from two places."""

    def __init__(self, rngs: nnx.Rngs):
        self.stem = nnx.Linear(3, 4, rngs=rngs)
        self.left = nnx.Linear(4, 4, rngs=rngs)
        self.right = self.left
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.stem(x))
        return self.head(nnx.relu(self.left(x)) + 4 * nnx.relu(self.right(2 * x)))


class Scanned(nnx.Module):
    """Keeps its hidden layers stacked and scans over them."""

    def __init__(self, rngs: nnx.Rngs, depth: int = 3):
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(key):
            return nnx.Linear(4, 4, rngs=nnx.Rngs(key))

        self.stem = nnx.Linear(3, 4, rngs=rngs)
        self.hidden = stack(jax.random.split(rngs.params(), depth))
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x, layer):
            return nnx.relu(layer(x))

        return self.head(forward(nnx.relu(self.stem(x)), self.hidden))


class ScannedNorm(nnx.Module):
    """Scans over stacked blocks that have a BatchNorm."""

    def __init__(self, rngs: nnx.Rngs, depth: int = 2):
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(key):
            rngs = nnx.Rngs(key)
            return nnx.Sequential(
                nnx.Linear(4, 4, use_bias=False, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.relu
            )

        self.stem = nnx.Linear(64, 4, rngs=rngs)
        self.hidden = stack(jax.random.split(rngs.params(), depth))
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x, block):
            return block(x)

        return self.head(forward(nnx.relu(self.stem(x.reshape(x.shape[0], -1))), self.hidden))


class Ensemble(nnx.Module):
    """Runs several members on the same features by vmap, and sums what they say."""

    def __init__(self, rngs: nnx.Rngs, members: int = 3):
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(key):
            return nnx.Linear(8, 4, rngs=nnx.Rngs(key))

        self.stem = nnx.Linear(64, 8, rngs=rngs)
        self.members = stack(jax.random.split(rngs.params(), members))
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        @nnx.vmap(in_axes=(0, None), out_axes=0)
        def run(member, x):
            return nnx.relu(member(x))

        x = nnx.relu(self.stem(x.reshape(x.shape[0], -1)))
        return self.head(run(self.members, x).sum(0))


class Lazy(nnx.Module):
    """Finds out at its first call how many features its last layer reads."""

    def __init__(self, rngs: nnx.Rngs):
        self.rngs = rngs
        self.stem = nnx.Linear(64, 8, rngs=rngs)
        self.hidden = nnx.Linear(8, 8, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.head = nnx.data(None)

    def __call__(self, x):
        x = nnx.relu(self.stem(x.reshape(x.shape[0], -1)))
        x = nnx.relu(self.norm(self.hidden(x)))
        if self.head is None:
            self.head = nnx.Linear(x.shape[-1], 3, rngs=self.rngs)
        return self.head(x)


def images(n: int = 8, seed: int = 0) -> jax.Array:
    """Images of shape (n, 8, 8, 1) of three kinds, with a little noise."""
    noise = 0.3 * jax.random.normal(jax.random.key(seed), (n, 8, 8, 1))
    down, across = jnp.meshgrid(jnp.linspace(-1, 1, 8), jnp.linspace(-1, 1, 8))
    kinds = jnp.stack([down, across, -down - across])
    return noise + kinds[jnp.arange(n) % 3][..., None]
