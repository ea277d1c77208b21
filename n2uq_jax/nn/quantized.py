"""What every quantized layer shares: options, input quantizer, dtypes, bias, its float form."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import Operands
from n2uq_jax.arithmetic.exactness import check_operands
from n2uq_jax.nn.methods import (
    InputQuantizer,
    Method,
    check_method,
    input_quantizer,
    quantize_kernel,
    weight_quantizer,
)
from n2uq_jax.nn.uniform import LSQWeight
from n2uq_jax.quantizers import QArray
from n2uq_jax.quantizers.bits import check_bits

HOOKS = (
    "conv_general_dilated", "conv_general_dilated_cls", "dot_general", "dot_general_cls",
    "einsum_op", "promote_dtype", "preferred_element_type",
)  # fmt: skip
"""Arguments by which Flax's layers compute in another way."""


class QuantizedLayer(nnx.Module):
    """A layer of Flax that multiplies integer codes and owns the quantizer of its input.

    A subclass names this class and the float layer as its bases, in this order, and says how it
    multiplies; see :class:`n2uq_jax.nn.QuantLinear`.

    Args:
      *args: positional arguments of the float layer.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``. None
        is False until :func:`n2uq_jax.calibrate` chooses.
      per_channel: thresholds per index of the input's last axis instead of per tensor.
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: the float layer's other arguments, without those that replace its arithmetic.

    Raises:
      TypeError: if an option or argument is of a wrong type, unknown, or one of :data:`HOOKS`.
      ValueError: if one has a wrong value.
    """

    float_class: ClassVar[Any]
    """The layer of Flax that this one is the quantized form of."""

    in_features: Any
    kernel: nnx.Param
    bias: nnx.Param | None
    dtype: Any
    param_dtype: Any
    precision: Any

    def __init__(
        self,
        *args: Any,
        w_bits: int,
        a_bits: int | None,
        signed: bool | None = False,
        per_channel: bool = False,
        method: Method = "n2uq",
        operands: Operands | None = None,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        for name in HOOKS:
            if name in kwargs:
                reject_hook(name)
        check_options(a_bits=a_bits, signed=signed, per_channel=per_channel, operands=operands)
        signature = inspect.signature(self.float_class.__init__)
        bound = signature.bind(self, *args, rngs=rngs, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        self.w_bits = check_bits("w_bits", w_bits)
        self.a_bits = None if a_bits is None else check_bits("a_bits", a_bits)
        check_method(
            method, w_bits=self.w_bits, a_bits=self.a_bits, signed=signed, per_channel=per_channel
        )
        self.method = method
        self.operands = operands
        self.check_arguments(arguments)
        super().__init__(**arguments)
        self.weight_quantizer: LSQWeight | None = nnx.data(
            weight_quantizer(method, self.w_bits, param_dtype=self.param_dtype)
        )
        self.start_weight_quantizer()
        self.input_quantizer: InputQuantizer | None = nnx.data(None)
        if self.a_bits is not None:
            self.input_quantizer = input_quantizer(
                method,
                self.a_bits,
                signed=signed,
                channels=self.input_channels() if per_channel else None,
                param_dtype=self.param_dtype,
            )

    @classmethod
    def from_float(cls, layer: Any, **options: Any) -> Self:
        """Builds the quantized form of a float layer around the layer's own parameters.

        Kernel and bias are the same ``nnx.Variable`` objects, with their metadata. Where they carry
        leading axes, as the layers of an ``nnx.vmap`` or ``nnx.scan`` over axis 0 do, the
        quantizer's parameters get them too.

        Args:
          layer: a layer of :attr:`float_class`.
          **options: ``w_bits``, ``a_bits``, ``signed``, ``per_channel``, ``method`` and
            ``operands``.

        Returns:
          The quantized layer.

        Raises:
          ValueError: if the layer is :meth:`unsupported`.
        """
        if reason := cls.unsupported(layer):
            raise ValueError(f"layer has no quantized form: {reason}.")
        replaced = ("self", "rngs", "kernel_init", "bias_init", "kernel_metadata", "bias_metadata")
        names = inspect.signature(cls.float_class.__init__).parameters
        arguments = {n: getattr(layer, n) for n in names if n not in (*replaced, *HOOKS)}
        zeros = nnx.initializers.zeros_init()
        new = cls(**arguments, **options, kernel_init=zeros, rngs=nnx.Rngs(0))
        new.kernel, new.bias = layer.kernel, layer.bias
        stack = tuple(layer.kernel.shape[: layer.kernel.ndim - len(cls.kernel_shape_of(layer))])
        new.start_weight_quantizer()
        if stack and new.input_quantizer is not None:
            for name, parameter in nnx.state(new.input_quantizer, nnx.Param).items():
                stacked = jnp.broadcast_to(parameter[...], stack + parameter.shape)
                setattr(new.input_quantizer, name, nnx.Param(stacked))
        return new

    @classmethod
    def unsupported(cls, layer: Any) -> str | None:
        """Says why a layer of :attr:`float_class` has no quantized form.

        Args:
          layer: the float layer.

        Returns:
          A reason, or None if :meth:`from_float` takes it.
        """
        if isinstance(layer, QuantizedLayer):
            return "quantized already"
        if type(layer).__call__ is not cls.float_class.__call__:
            return f"a subclass of {cls.float_class.__name__} with a __call__ of its own"
        defaults = inspect.signature(cls.float_class.__init__).parameters
        for name in HOOKS:
            if name in defaults and getattr(layer, name) is not defaults[name].default:
                return f"its {name} is not Flax's own"
        expected, shape = cls.kernel_shape_of(layer), tuple(layer.kernel.shape)
        if shape[len(shape) - len(expected) :] != expected:
            return f"its kernel has shape {shape}, but its arguments say {expected}"
        return None

    @classmethod
    def kernel_shape_of(cls, layer: Any) -> tuple[int, ...]:
        """Returns the shape that the arguments of a float layer give its kernel.

        Args:
          layer: the float layer.
        """
        return tuple(layer.kernel_shape)

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for arguments of the float layer that the quantized one cannot have.

        Args:
          arguments: all of them by name, which a subclass may bring into a canonical form.
        """

    def input_channels(self) -> int:
        """Returns the size of the input's last axis, for thresholds per channel.

        Raises:
          ValueError: if the layer does not contract that axis.
        """
        return self.in_features

    def call_float(self, x: jax.Array) -> jax.Array:
        """Returns what the float layer makes of ``x``, with the same kernel and bias.

        Args:
          x: a float array, as the float layer takes it.
        """
        return self.float_class.__call__(self, x)

    def quantized_kernel(self) -> QArray:
        """Returns the kernel as the layer's product takes it.

        Returns:
          Codes with the output channels on the last axis, and one scale for each of them.
        """
        return self.quantize_kernel(self.kernel[...])

    def quantize_kernel(self, kernel: jax.Array) -> QArray:
        """Quantizes the kernel, in any arrangement, by the layer's method.

        Args:
          kernel: float array, output channels last.

        Returns:
          Codes of the same shape, and one scale or one for each output channel.
        """
        if self.weight_quantizer is not None:
            return self.weight_quantizer(kernel)
        return quantize_kernel(self.method, kernel, self.w_bits)

    def start_weight_quantizer(self) -> None:
        """Gives the kernel's quantizer, if it has parameters, the values that suit the kernel."""
        if self.weight_quantizer is not None:
            self.weight_quantizer.start(self.kernel[...], len(self.kernel_shape_of(self)))

    def quantize_inputs(self, inputs: jax.Array | QArray) -> tuple[QArray | jax.Array, jnp.dtype]:
        """Applies the input quantizer, if there is one.

        Args:
          inputs: a float array, or a QArray if the layer has no quantizer.

        Returns:
          What the layer's product takes, and the dtype of the layer's output.

        Raises:
          TypeError: for a QArray where the layer quantizes by itself, or inputs that are no floats.
        """
        values = inputs.codes if isinstance(inputs, QArray) else jnp.asarray(inputs)
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise TypeError(f"inputs must be of a float dtype, got {values.dtype}.")
        dtype = jnp.dtype(self.dtype or jnp.result_type(values, self.kernel[...]))
        if isinstance(inputs, QArray):
            if self.input_quantizer is not None:
                reject_codes()
            return map_codes(lambda codes: codes.astype(dtype), inputs), dtype
        values = values.astype(dtype)
        return (values if self.input_quantizer is None else self.input_quantizer(values)), dtype

    def multiply(
        self,
        product: Callable[..., jax.Array],
        x: QArray | jax.Array,
        w: QArray,
        **arguments: Any,
    ) -> jax.Array:
        """Calls a product of codes with the layer's options, and names the layer in its errors.

        Args:
          product: a function of :mod:`n2uq_jax.arithmetic`.
          x: the layer's input.
          w: the layer's kernel.
          **arguments: what else the product takes.

        Returns:
          Its result.

        Raises:
          ValueError: if the product refuses these codes.
        """
        try:
            return product(x, w, operands=self.operands, precision=self.precision, **arguments)
        except ValueError as error:
            name = f"{type(self).__name__} with a kernel of shape {tuple(self.kernel.shape)}"
            raise ValueError(f"{name}: {error}") from error

    def add_bias(self, y: jax.Array) -> jax.Array:
        """Adds the bias, if there is one, in the dtype of ``y`` of shape ``(..., features)``.

        Args:
          y: the layer's product, scaled.

        Returns:
          An array of the same shape and dtype.
        """
        if self.bias is None:
            return y
        return y + self.bias[...].astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def check_options(*, a_bits: Any, signed: Any, per_channel: Any, operands: Any) -> None:
    """Checks the options of a quantized layer, apart from ``w_bits``.

    Args:
      a_bits: None, or a bit width.
      signed: None, True or False.
      per_channel: True or False.
      operands: None, or one of :data:`n2uq_jax.arithmetic.Operands`.

    Raises:
      TypeError: if one is of a wrong type.
      ValueError: if one has a wrong value.
    """
    if a_bits is not None:
        check_bits("a_bits", a_bits)
    if signed is not None and not isinstance(signed, bool):
        raise TypeError(f"signed must be True, False or None, got {signed!r}.")
    if not isinstance(per_channel, bool):
        raise TypeError(f"per_channel must be True or False, got {per_channel!r}.")
    check_operands(operands)


def reject_hook(name: str) -> NoReturn:
    """Raises for an argument that would compute a layer's product in another way."""
    raise TypeError(
        f"{name} is not an argument of a quantized layer: its product runs on integer codes; "
        "choose their type with operands."
    )


def reject_codes() -> NoReturn:
    """Raises for codes that come into a layer with a quantizer of its own."""
    raise TypeError(
        "inputs is a QArray, but this layer quantizes its input itself; pass a float array, or "
        "build the layer with a_bits=None."
    )


def map_codes(f: Callable[[jax.Array], jax.Array], x: Any) -> Any:
    """Applies ``f`` to the codes of a QArray, or to a plain array."""
    return dataclasses.replace(x, codes=f(x.codes)) if isinstance(x, QArray) else f(x)
