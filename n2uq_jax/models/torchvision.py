"""torchvision's own float networks: teachers and starting points."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models import mobilenet_v2
from n2uq_jax.models.forms import PostActivation, PostActivationUnit
from n2uq_jax.models.layers import Precision, max_pool
from n2uq_jax.models.resnet import ResidualNetwork, ResNetShape


class TorchvisionResNet(ResidualNetwork):
    """torchvision's ResNet, version 1.5: a bottleneck's stride is in its 3x3 convolution.

    Args:
      shape: the convolutions, with an ImageNet stem.
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(
        self,
        shape: ResNetShape,
        *,
        num_classes: int = 1000,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        form = PostActivation(Precision(dtype=dtype, param_dtype=param_dtype))
        self.stem = PostActivationUnit(
            shape.stem_conv, relu_and_pool, precision=form.precision, rngs=rngs
        )
        super().__init__(shape, num_classes, form=form, rngs=rngs)


def relu_and_pool(x: jax.Array) -> jax.Array:
    """Returns the max-pooled ReLU, which follows the first normalization."""
    return max_pool(nnx.relu(x))


class TorchvisionMobileNetV2(mobilenet_v2.InvertedResidualNetwork):
    """torchvision's MobileNetV2, without the dropout that it trains with.

    Args:
      in_features: channels of the images.
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018.
    """

    def __init__(
        self,
        *,
        in_features: int = 3,
        num_classes: int = 1000,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        form = PostActivation(Precision(dtype=dtype, param_dtype=param_dtype), activation=nnx.relu6)
        shared: dict[str, Any] = {"precision": form.precision, "rngs": rngs}
        shape = mobilenet_v2.MobileNetShape(in_features=in_features)
        (_, *first), *blocks = shape.blocks  # the first block does not widen here
        self.stem = PostActivationUnit(shape.stem_conv, nnx.relu6, **shared)
        super().__init__([first, *blocks], form=form, rngs=rngs)
        self.last = PostActivationUnit(shape.last_conv, nnx.relu6, **shared)
        self.head = form.head(shape.last_features, num_classes, rngs=rngs)
