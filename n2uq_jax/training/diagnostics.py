"""How the quantizers of a network are doing while it trains."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.compilation import quick_jit
from n2uq_jax.nn import QuantizedLayer, quantizer_inputs, quantizers
from n2uq_jax.paths import path_name
from n2uq_jax.quantizers import effective_intervals, quantize_activation
from n2uq_jax.training.state import GraphDefs
from n2uq_jax.training.step import Pixels


def make_diagnostics(
    graphdefs: GraphDefs, pixels: Pixels
) -> Callable[[nnx.State, nnx.State, jax.Array], dict[str, jax.Array]]:
    """Returns a jitted function that measures a network's activation quantizers.

    Args:
      graphdefs: the static halves.
      pixels: normalization.

    Returns:
      A function of parameters, batch statistics and uint8 images. It returns ``min_interval``, the
      smallest effective interval of any quantizer, and ``saturated_share``, the share of all
      activations that have the highest code; nothing if no quantizer has learned thresholds.
    """

    @quick_jit
    def diagnose(params, batch_stats, images):
        model = nnx.merge(graphdefs.eval, params, batch_stats)
        layers = quantizers(model)
        if not layers:
            return {}
        inputs = quantizer_inputs(model, pixels(images))
        smallest = [effective_intervals(q.intervals[...]).min() for q in layers.values()]
        saturated, total = jnp.zeros((), jnp.float32), 0
        for path, arrays in inputs.items():
            layer = layers[path]
            for x in arrays:
                q = quantize_activation(
                    x,
                    layer.start[...],
                    layer.intervals[...],
                    layer.in_scale[...],
                    layer.out_scale[...],
                )
                saturated += jnp.sum(q.codes == q.max_code)
                total += x.size
        return {"min_interval": jnp.stack(smallest).min(), "saturated_share": saturated / total}

    return diagnose


def make_weight_codes(
    graphdefs: GraphDefs,
) -> Callable[[nnx.State, nnx.State], dict[str, jax.Array]]:
    """Returns a jitted function that gives the codes of every quantized kernel, as int16.

    Args:
      graphdefs: the static halves.

    Returns:
      A function of parameters and batch statistics; codes by the layer's path.
    """

    @quick_jit
    def weight_codes(params, batch_stats):
        model = nnx.merge(graphdefs.eval, params, batch_stats)
        return {
            path_name(path): layer.quantized_kernel().codes.astype(jnp.int16)
            for path, layer in nnx.iter_modules(model)
            if isinstance(layer, QuantizedLayer)
        }

    return weight_codes


def changed_share(before: dict[str, jax.Array], after: dict[str, jax.Array]) -> float:
    """Returns the share of weight codes that differ, in 0..1.

    Args:
      before: from the function of :func:`make_weight_codes`.
      after: from the same function, later.
    """
    changed = sum(int((before[name] != after[name]).sum()) for name in after)
    return changed / max(1, sum(codes.size for codes in after.values()))
