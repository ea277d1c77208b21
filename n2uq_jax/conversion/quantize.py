"""Any NNX model with quantized layers in place of its own."""

from collections.abc import Iterable
from typing import TypeVar

from flax import nnx

from n2uq_jax.conversion.layers import quantized_form
from n2uq_jax.conversion.modules import modules, replace_modules
from n2uq_jax.conversion.plan import plan
from n2uq_jax.conversion.rules import Rule

M = TypeVar("M", bound=nnx.Module)


def quantize(model: M, rules: Iterable[Rule]) -> M:
    """Copies a model and quantizes the layers that rules name.

    Weights, biases, their metadata and everything else are copied as they are. A layer that is
    shared stays shared, with one quantizer. The scale of the weights is one an output channel: the
    kernel's last axis for Conv and Linear, and the axes of ``out_features``, flattened, for
    LinearGeneral; for ConvTranspose the last axis, or the one before it with
    ``transpose_kernel``; for Einsum the axes that the input has not. New quantizers have the
    thresholds of the uniform quantizer of ``[0, 2]``, or ``[-1, 1]`` if signed: call
    :func:`n2uq_jax.calibrate` next.

    Args:
      model: any NNX module; it is not modified. Layers under ``nnx.vmap`` or ``nnx.scan`` must be
        stacked on axis 0.
      rules: the first that matches a layer's path decides; see :func:`n2uq_jax.conversion.plan`,
        which prints what happens to every layer, and why.

    Returns:
      The quantized copy, of the same class.

    Raises:
      TypeError: if ``model`` is no NNX module or ``rules`` no sequence of rules.
      ValueError: if a rule matches no layer, no layer would be quantized, or a layer cannot be
        quantized as its rule says.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.

    Example:
      >>> from flax import nnx
      >>> import n2uq_jax as n2uq
      >>> rngs = nnx.Rngs(0)
      >>> layers = [nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 8, rngs=rngs), nnx.relu]
      >>> model = nnx.Sequential(*layers, nnx.Linear(8, 2, rngs=rngs))
      >>> rules = [n2uq.Rule("layers/2", w_bits=2, a_bits=4)]
      >>> quantized = n2uq.quantize(model, rules)
      >>> [type(layer).__name__ for layer in quantized.layers[::2]]
      ['Linear', 'QuantLinear', 'Linear']
    """
    decided = plan(model, rules)
    if not decided.quantized:
        raise ValueError(f"rules quantize no layer of the model:\n{decided}")
    copy = nnx.clone(model)
    layers = modules(copy)
    replacements = {}
    for path, rule in decided.quantized.items():
        form = quantized_form(layers[path])
        assert form is not None
        try:
            replacements[id(layers[path])] = form.from_float(layers[path], **rule.options)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return replace_modules(copy, replacements)
