"""What a network costs to evaluate: parameters and multiply-accumulates of every layer."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core

from n2uq_jax.isolation import MARK_PREFIX
from n2uq_jax.nn.integer import IntegerConv, IntegerLinear
from n2uq_jax.paths import path_name
from n2uq_jax.primitives import IDENTITIES, KEEPS_CODES, POINTWISE, PRODUCTS, RESHAPES

FLOAT_BITS = 32
"""Bits of an operand that is not quantized, whatever dtype training used."""

_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Under these parameters an operation keeps the computation that it calls."""

_PASSES = (IDENTITIES | RESHAPES | {"convert_element_type", "transpose"}) - {"optimization_barrier"}
"""Primitives whose result is all of their operand."""


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one input.

    Args:
      path: "/"-joined path of its module; empty for a product of two activations.
      kind: ``"conv"`` or ``"matmul"``.
      output_shape: without the batch axis.
      weights: number of weights in its kernel.
      macs: multiply-accumulates, products with padding included.
      w_bits: bit width of the weights, 32 for floats.
      a_bits: bit width of the inputs, 32 for floats.
      input_bytes: what it reads of activations, see :attr:`Cost.activation_bytes`.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    weights: int
    macs: int
    w_bits: int
    a_bits: int
    input_bytes: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network for one input.

    Args:
      layers: one entry a convolution or matrix product, in the order of evaluation.
      parameters: number of values in all parameters, quantizers and normalizations included.
      activation_bytes: of all tensors that pass from one layer to another, each once: what
        convolutions, matrix products and pools read, and residual streams. Pointwise arithmetic
        and thresholds are taken to be part of the layer in front of them, so that its sums are not
        stored. Up to 8 bits take a byte, up to 16 two, and a float four.
    """

    layers: tuple[LayerCost, ...]
    parameters: int
    activation_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bit_operations(self) -> int:
        """Sum over all layers of multiply-accumulates times both bit widths."""
        return sum(layer.macs * layer.w_bits * layer.a_bits for layer in self.layers)


def cost(model: nnx.Module, input_shape: Sequence[int], dtype: Any = jnp.float32) -> Cost:
    r"""Counts the multiply-accumulates of a network's evaluation from its trace.

    A convolution with an output of :math:`h \times w \times c` and windows of
    :math:`k_h \times k_w` over :math:`d` channels a group takes
    :math:`h w c \cdot k_h k_w d` of them. Normalizations and activations are not counted. A loop
    counts as often as it runs where that is known (``lax.scan``), and once where not.

    Args:
      model: any NNX module, left as it is; an abstract one of ``nnx.eval_shape`` will do.
      input_shape: shape of one input without its batch axis, such as ``(224, 224, 3)``.
      dtype: of the input.

    Returns:
      The cost for one input.
    """
    graph, state = nnx.split(model)

    def forward(state, x):
        copy = nnx.merge(graph, state, copy=True)
        copy.eval()
        return copy(x)

    x = jax.ShapeDtypeStruct((1, *input_shape), dtype)
    jaxpr = jax.make_jaxpr(forward)(jax.tree.map(_abstract, state), x).jaxpr
    parameters = nnx.to_flat_state(state)
    values = [_Value(source=path_name(path)) for path, _ in parameters]
    modules = {path_name(path): module for path, module in nnx.iter_modules(model)}
    found = _Found(modules)
    _walk(jaxpr, [*values, _Value(is_data=True, size=math.prod(input_shape))], found, times=1)
    total = sum(math.prod(v.shape) for _, v in parameters if isinstance(v, nnx.Param))
    return Cost(_merge_repeated(found.layers), total, found.activation_bytes())


@dataclasses.dataclass(eq=False)
class _Value:
    """What is known of a value, which is the same object wherever it is only passed on.

    Args:
      source: its parameter.
      is_data: whether it depends on the input.
      bits: its bit width, if it holds integers.
      size: elements for one input, without what it is padded with.
      readers: primitives that read it.
    """

    source: str | None = None
    is_data: bool = False
    bits: int | None = None
    size: int = 0
    readers: list[str] = dataclasses.field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What it takes where it is stored."""
        bits = self.bits or FLOAT_BITS
        return self.size * (1 if bits <= 8 else 2 if bits <= 16 else 4)


@dataclasses.dataclass
class _Found:
    """What the walk through a network has met.

    Args:
      modules: the network's, by path.
      layers: its products.
      read: what they and pools read, by identity, and how often.
      kept: values behind a barrier or a pool, and how often.
    """

    modules: dict[str, Any]
    layers: list[LayerCost] = dataclasses.field(default_factory=list)
    read: dict[int, tuple[_Value, int]] = dataclasses.field(default_factory=dict)
    kept: dict[int, tuple[_Value, int]] = dataclasses.field(default_factory=dict)

    def activation_bytes(self) -> int:
        """Returns the bytes of all tensors that pass between layers."""
        streams = {
            key: (value, times)
            for key, (value, times) in self.kept.items()
            if len(value.readers) > 1 or not POINTWISE.issuperset(value.readers)
        }
        return sum(value.bytes * times for value, times in {**streams, **self.read}.values())


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _walk(jaxpr: Any, arguments: list[_Value], found: _Found, times: int) -> list[_Value]:
    """Follows a jaxpr's values, adds to what was found, and returns its results."""
    known = dict(zip(jaxpr.invars, arguments, strict=True))

    def look_up(atom: Any) -> _Value:
        return _Value() if isinstance(atom, core.Literal) else known.get(atom, _Value())

    for equation in jaxpr.eqns:
        inputs = [look_up(atom) for atom in equation.invars]
        name = equation.primitive.name
        body = next((equation.params[k] for k in _CALLS if k in equation.params), None)
        if name in PRODUCTS:
            _add_product(equation, inputs, found, times)
        if body is not None and len(_open(body).invars) == len(inputs):
            repeats = equation.params.get("length", 1)
            results = _walk(_open(body), inputs, found, times * repeats)
        elif name in _PASSES and not _mark(equation):
            results = inputs
        else:
            results = [_result(equation, inputs, out) for out in equation.outvars]
            for value in {id(value): value for value in inputs}.values():
                value.readers.append(name)
        if name.startswith("reduce_window"):
            found.read |= {id(value): (value, times) for value in inputs if value.is_data}
            found.kept |= {id(value): (value, times) for value in results if value.is_data}
        if name == "optimization_barrier":
            results = [dataclasses.replace(value, readers=[]) for value in inputs]
            found.kept |= {
                id(value): (value, times)
                for value, out in zip(results, equation.outvars, strict=True)
                if value.is_data and value.size == _size(out)
            }
        known.update(zip(equation.outvars, results, strict=True))
    return [look_up(atom) for atom in jaxpr.outvars]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _mark(equation: Any) -> str:
    """Returns what marks an equation as one of this library's, empty if nothing does."""
    mark = equation.params.get("name") if equation.primitive.name == "name" else None
    return mark if isinstance(mark, str) and mark.startswith(MARK_PREFIX) else ""


def _size(atom: Any) -> int:
    return math.prod(atom.aval.shape)  # the batch is one input


def _result(equation: Any, inputs: list[_Value], out: Any) -> _Value:
    sources = {value.source for value in inputs} - {None}
    variables = [
        value
        for atom, value in zip(equation.invars, inputs, strict=True)
        if not isinstance(atom, core.Literal)
    ]
    bits = None
    mark = _mark(equation)
    if "/" in mark:
        bits = int(mark.rpartition("/")[2]).bit_length()
    elif equation.primitive.name == "clamp":
        bits = _clamped_bits(*(equation.invars[i] for i in (0, 2)))
    elif equation.primitive.name in KEEPS_CODES and len(variables) == 1:
        bits = variables[0].bits
    return _Value(
        source=sources.pop() if len(sources) == 1 else None,
        is_data=any(value.is_data for value in inputs),
        bits=bits,
        size=inputs[0].size if equation.primitive.name == "pad" else _size(out),
    )


def _clamped_bits(low: Any, high: Any) -> int | None:
    """Returns the bit width of integers between two literals."""
    if not all(
        isinstance(end, core.Literal) and np.asarray(end.val).dtype.kind in "iu"
        for end in (low, high)
    ):
        return None
    ends = int(low.val), int(high.val)
    # Of two's complement, where -128 takes as many bits as 127.
    return max((~end if end < 0 else end).bit_length() for end in ends) + (ends[0] < 0)


def _add_product(equation: Any, inputs: list[_Value], found: _Found, times: int) -> None:
    (out,) = equation.outvars
    shapes = [atom.aval.shape for atom in equation.invars]
    if equation.primitive.name == "conv_general_dilated":
        kind = "conv"
        kernel = equation.params["dimension_numbers"].rhs_spec
        terms = math.prod(shapes[1]) // shapes[1][kernel[0]]
    else:
        kind = "matmul"
        (contracted, _), _ = equation.params["dimension_numbers"]
        terms = math.prod(shapes[0][axis] for axis in contracted)
    weight = next((i for i in (1, 0) if not inputs[i].is_data), None)
    path, module = "", None
    if weight is not None and inputs[weight].source:
        path = str(inputs[weight].source).rpartition("/")[0]
        module = found.modules.get(path)
    activation = inputs[1 - weight if weight is not None else 0]
    if activation.bits is None and isinstance(module, IntegerConv) and module.grid is None:
        activation.bits = 8  # it takes pixels as they are
    found.read |= {id(value): (value, times) for value in inputs if value.is_data}
    layer = LayerCost(
        path=path,
        kind=kind,
        output_shape=tuple(out.aval.shape[1:]),
        weights=0 if weight is None else math.prod(shapes[weight]),
        macs=times * math.prod(out.aval.shape) * terms,
        w_bits=_weight_bits(module),
        a_bits=activation.bits or FLOAT_BITS,
        input_bytes=times * sum(value.bytes for value in inputs if value.is_data),
    )
    found.layers.append(layer)


def _weight_bits(module: Any) -> int:
    """Returns the bits of a layer's weights; integer layers have them under another name."""
    bits = module.bits if isinstance(module, IntegerConv | IntegerLinear) else None
    return bits or getattr(module, "w_bits", None) or FLOAT_BITS


def _merge_repeated(layers: list[LayerCost]) -> tuple[LayerCost, ...]:
    """Adds up the calls of a layer that is called more than once."""
    merged: dict[str, LayerCost] = {}
    for i, layer in enumerate(layers):
        key = layer.path or str(i)
        first = merged.get(key)
        merged[key] = (
            layer
            if first is None
            else dataclasses.replace(
                first,
                macs=first.macs + layer.macs,
                input_bytes=first.input_bytes + layer.input_bytes,
            )
        )
    return tuple(merged.values())
