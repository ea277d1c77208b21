"""Batch normalization with PyTorch's running variance."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


class BatchNorm(nnx.BatchNorm):
    r"""``nnx.BatchNorm`` whose running variance is unbiased, with the paper's constants.

    The batch is normalized by its biased variance, as everywhere; what is averaged for
    evaluation is :math:`\frac{n}{n-1}` times it, over the ``n`` values of a channel. As in PyTorch
    the layer counts its training batches in ``num_batches``, which nothing here reads.

    Args:
      num_features: size of the input's last axis.
      momentum: weight of the old running statistics in an update; PyTorch's 0.1 is 0.9 here.
      epsilon: added to the variance.
      rngs: the key stream ``params``.
      **kwargs: passed to ``nnx.BatchNorm``.
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        super().__init__(num_features, momentum=momentum, epsilon=epsilon, rngs=rngs, **kwargs)
        # nnx.BatchNorm keeps these in float32 whatever the dtype of the parameters.
        dtype = jnp.promote_types(self.param_dtype, jnp.float32)
        self.mean = nnx.BatchStat(self.mean[...].astype(dtype))
        self.var = nnx.BatchStat(self.var[...].astype(dtype))
        self.num_batches = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Normalizes ``x``; in training it also updates the running statistics."""
        before = self.var[...]
        y = super().__call__(x, use_running_average, mask=mask)
        if use_running_average is None:
            use_running_average = self.use_running_average
        if not use_running_average:
            n = self._values_per_channel(x, mask)
            kept = self.momentum * before
            self.var[...] = kept + (self.var[...] - kept) * (n / jnp.maximum(n - 1, 1))
            self.num_batches[...] += 1
        return y

    def _values_per_channel(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        dtype = self.var[...].dtype
        if mask is None:
            n = jnp.asarray(x.size // self.num_features, dtype)
        else:
            axes = [i for i in range(x.ndim) if i != self.axis % x.ndim]
            n = jnp.broadcast_to(mask, x.shape).sum(axes, dtype=dtype)
        if self.axis_name is None:
            return n
        return lax.psum(n, self.axis_name, axis_index_groups=self.axis_index_groups)
