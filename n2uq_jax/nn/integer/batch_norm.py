"""Batch normalization that writes into an integer stream."""

import jax.numpy as jnp
from flax import nnx
from jax import lax

from n2uq_jax.arithmetic.rescaling import rescale
from n2uq_jax.nn.batch_norm import BatchNorm
from n2uq_jax.nn.integer.grid import Grid
from n2uq_jax.quantizers import QArray


class IntegerBatchNorm(BatchNorm):
    r"""Normalizes sums of products of codes, and rounds the result to a grid.

    In evaluation this is integer arithmetic alone,

    .. math:: n = \operatorname{clamp}((M_c\,v + B_c) \gg S_c)

    with int32 constants that are computed from the running statistics, the parameters, the scale
    of the sums and the step of the grid; see
    :func:`~n2uq_jax.arithmetic.rescaling.make_rescaling`. In training the sums are scaled,
    normalized by the statistics of the batch in float, and rounded straight-through.

    Args:
      num_features: size of the input's last axis.
      rngs: the key stream ``params``.
      **kwargs: passed to :class:`~n2uq_jax.nn.BatchNorm`.

    Attributes:
      deterministic: True for integers, False for floats; ``model.eval()`` and ``model.train()``
        switch it together with ``use_running_average``. With the latter alone True, floats are
        normalized by running statistics: for fine-tuning with fixed statistics.
    """

    def __init__(self, num_features: int, *, rngs: nnx.Rngs, **kwargs):
        super().__init__(num_features, rngs=rngs, **kwargs)
        self.deterministic = False

    def __call__(self, sums: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Normalizes.

        Args:
          sums: with ``deterministic``, int32 codes whose ``max_code`` bounds them; else float ones.
          grid: what the result lies on.

        Returns:
          A QArray on the grid, of the same kind.

        Raises:
          TypeError: if the sums are of the other kind.
        """
        integer = jnp.issubdtype(sums.codes.dtype, jnp.integer)
        if integer != self.deterministic:
            kind = "int32" if self.deterministic else "float"
            raise TypeError(
                f"sums must be {kind} where deterministic={self.deterministic}, got "
                f"{sums.codes.dtype}: switch whole models by train() and eval()."
            )
        if not integer:
            return grid.round(super().__call__(sums.dequantize()))
        return grid.clamp(rescale(sums.codes, self.rescaling(sums, grid)))

    def rescaling(self, sums: QArray, grid: Grid):
        """Returns the constants that evaluation uses.

        Args:
          sums: of which scale and bound count.
          grid: what the result lies on.

        Returns:
          A :class:`~n2uq_jax.arithmetic.rescaling.Rescaling`, one map a channel.
        """
        ones = jnp.ones((self.num_features,), jnp.float32)
        scale = ones if self.scale is None else self.scale[...]
        bias = 0 * ones if self.bias is None else self.bias[...]
        mean, var, scale, bias = lax.optimization_barrier(
            (self.mean[...], self.var[...], scale, bias)
        )
        gain = scale / jnp.sqrt(var + self.epsilon)
        return grid.rescaling(sums, gain, bias - mean * gain)
