"""Quantization methods by name: which quantizer reads a layer's input, and which its kernel."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax.typing import Dtype

from n2uq_jax.nn.activation import PACT, ActivationQuantizer
from n2uq_jax.nn.uniform import LSQ, DoReFa, LSQWeight
from n2uq_jax.quantizers import QArray, quantize_dorefa_weight, quantize_sawb, quantize_weight
from n2uq_jax.quantizers.sawb import COEFFICIENTS

Method = Literal["n2uq", "n2uq_uniform", "n2uq_unscaled", "lsq", "pact", "dorefa"]
"""How a layer quantizes.

=================  ==================================  ===========================================
name               inputs                              kernels
=================  ==================================  ===========================================
``n2uq``           learned thresholds                  entropy-preserving scale a channel
``n2uq_uniform``   equal thresholds, learned scales    entropy-preserving scale a channel
``n2uq_unscaled``  learned thresholds                  largest magnitude a channel
``lsq``            learned step                        learned step
``pact``           learned clip                        SAWB: range from statistics
``dorefa``         clip at 1                           tanh
=================  ==================================  ===========================================

The second and third are ablations of the first; the others are what the paper compares with.
"""

InputQuantizer = ActivationQuantizer | LSQ | PACT | DoReFa
"""What may read a layer's input."""


def is_n2uq(method: Method) -> bool:
    """Whether a method's inputs have the thresholds of N2UQ."""
    return method.startswith("n2uq")


def check_method(
    method: Any,
    *,
    w_bits: int | None = None,
    a_bits: int | None = None,
    signed: bool | None = False,
    per_channel: bool = False,
) -> None:
    """Raises if there is no such method, or it cannot do what a layer asks for.

    Args:
      method: one of :data:`Method`.
      w_bits: bit width of the weights, in 1..8; None if there is none.
      a_bits: bit width of the inputs, in 1..8; None if there is none.
      signed: whether input codes are on both sides of zero; None if that is open.
      per_channel: whether thresholds are per channel.

    Raises:
      ValueError: naming the argument.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}; got {method!r}.")
    widths = {"lsq": range(2, 9), "dorefa": range(2, 9), "pact": sorted(COEFFICIENTS)}
    allowed = widths.get(method, range(1, 9))
    if w_bits is not None and w_bits not in allowed:
        raise ValueError(
            f"w_bits must be from {allowed[0]} to {allowed[-1]} with method={method!r}, "
            f"got {w_bits}."
        )
    if a_bits is None or is_n2uq(method):
        return
    if per_channel:
        raise ValueError(f"per_channel must be False with method={method!r}, got True.")
    if signed and method != "lsq":
        raise ValueError(f"signed must be False with method={method!r}, got True.")
    if signed is not False and method == "lsq" and a_bits == 1:
        raise ValueError("a_bits must be from 2 to 8 for signed codes of method='lsq', got 1.")


def input_quantizer(
    method: Method,
    bits: int,
    *,
    signed: bool | None = False,
    channels: int | None = None,
    param_dtype: Dtype = jnp.float32,
) -> InputQuantizer:
    """Builds the quantizer of a layer's input.

    Args:
      method: what :func:`check_method` has passed, with the other arguments.
      bits: 1 to 8.
      signed: codes on both sides of zero; None is False until calibration chooses.
      channels: None for one set of thresholds a tensor, else the size of the input's last axis.
      param_dtype: dtype of its parameters.

    Returns:
      A module that maps float arrays to QArrays.
    """
    if method == "lsq":
        return LSQ(bits, signed=signed, param_dtype=param_dtype)
    if method == "pact":
        return PACT(bits, detach_scale=True, param_dtype=param_dtype)
    if method == "dorefa":
        return DoReFa(bits)
    return ActivationQuantizer(
        bits,
        signed=signed,
        channels=channels,
        learn_thresholds=method != "n2uq_uniform",
        param_dtype=param_dtype,
    )


def weight_quantizer(
    method: Method, bits: int, *, param_dtype: Dtype = jnp.float32
) -> LSQWeight | None:
    """Builds the quantizer of a layer's kernel, where that has parameters.

    Args:
      method: one of :data:`Method`.
      bits: of the weights.
      param_dtype: dtype of its parameters.

    Returns:
      A module that maps kernels to QArrays; None where :func:`quantize_kernel` needs none.
    """
    return LSQWeight(bits, param_dtype=param_dtype) if method == "lsq" else None


def quantize_kernel(method: Method, kernel: jax.Array, bits: int) -> QArray:
    """Quantizes a kernel by a method whose weights need no parameters.

    Args:
      method: one of :data:`Method`, but not ``"lsq"``.
      kernel: float array, output channels last.
      bits: of the weights.

    Returns:
      Codes of the kernel's shape, and a scale of shape ``()`` or ``(channels,)``.
    """
    if method == "pact":
        return quantize_sawb(kernel, bits)
    if method == "dorefa":
        return quantize_dorefa_weight(kernel, bits)
    return quantize_weight(kernel, bits, entropy_preserving=method != "n2uq_unscaled")
