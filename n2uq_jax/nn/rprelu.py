"""The shifted, per-channel PReLU that stands in front of every activation quantizer."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer


class RPReLU(nnx.Module):
    r"""A PReLU with a learned slope and learned shifts per channel.

    .. math:: y = \operatorname{PReLU}(x + b_{in}) + b_{out}, \qquad
      \operatorname{PReLU}(v) = v \text{ if } v > 0 \text{ else } \alpha v

    Args:
      features: size of the input's last axis.
      dtype: dtype of the computation (default: inferred from input and parameters).
      param_dtype: dtype of the three parameters.
      slope_init: initializer of ``slope``; default 0.25.
      bias_init: initializer of ``bias_in`` and ``bias_out``; default 0.
      rngs: the key stream ``params``.

    Reference:
      Liu et al., "ReActNet", ECCV 2020.
    """

    def __init__(
        self,
        features: int,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        slope_init: Initializer = nnx.initializers.constant(0.25),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        rngs: nnx.Rngs,
    ):
        self.bias_in = nnx.Param(bias_init(rngs.params(), (features,), param_dtype))
        self.slope = nnx.Param(slope_init(rngs.params(), (features,), param_dtype))
        self.bias_out = nnx.Param(bias_init(rngs.params(), (features,), param_dtype))
        self.features = features
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the activation to ``x`` of shape ``(..., features)``."""
        if x.shape[-1:] != (self.features,):
            raise ValueError(f"x must have {self.features} channels last, got shape {x.shape}.")
        dtype = self.dtype or jnp.result_type(x, self.slope[...])
        shape = (1,) * (x.ndim - 1) + (self.features,)
        bias_in, slope, bias_out = (
            p[...].astype(dtype).reshape(shape) for p in (self.bias_in, self.slope, self.bias_out)
        )
        shifted = x.astype(dtype) + bias_in
        return jnp.where(shifted > 0, shifted, slope * shifted) + bias_out
