"""Tensors under PyTorch's names and layouts, tied to the variables of a Flax model."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.nn import BatchNorm
from n2uq_jax.paths import path_name

StateDict = dict[str, np.ndarray]
"""PyTorch's names and arrays in PyTorch's layouts (OIHW kernels)."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a state dict and the variable it belongs to.

    Args:
      name: its name in PyTorch.
      variable: where its values live here.
      shape: its shape in PyTorch, with the same number of elements.
      axes: the axis of the variable that each axis of the tensor is; None to reshape alone.
      integer: a count, stored as int64.
      minimum: the least value that it may have.
    """

    name: str
    variable: nnx.Variable
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    integer: bool = False
    minimum: float = -math.inf

    def read(self) -> np.ndarray:
        """Returns the variable's values as the PyTorch tensor."""
        value = np.asarray(self.variable[...])
        if self.axes is not None:
            value = value.transpose(self.axes)
        return np.array(value.reshape(self.shape), np.int64 if self.integer else None, order="C")

    def fault(self, value: np.ndarray) -> str | None:
        """Says why ``value`` cannot be this tensor, or returns None.

        Args:
          value: what came under this name.

        Returns:
          The fault as a clause without its subject, or None.
        """
        if value.shape != self.shape:
            return f"has shape {value.shape}, expected {self.shape}"
        expected = jnp.integer if self.integer else jnp.floating
        if not jnp.issubdtype(value.dtype, expected):
            return (
                f"has dtype {value.dtype}, expected {'an integer' if self.integer else 'a float'}"
            )
        if self.integer:
            limit = np.iinfo(self.variable.dtype).max
            return None if 0 <= value.min() <= value.max() <= limit else f"is not in 0 .. {limit}"
        if bad := int((~np.isfinite(value)).sum()):
            return f"has {bad} values that are NaN or infinite"
        low = int((value < self.minimum).sum())
        return f"has {low} values below {self.minimum:g}" if low else None

    def write(self, value: np.ndarray) -> None:
        """Stores a faultless tensor in the variable, in the variable's dtype.

        Args:
          value: an array that :meth:`fault` finds nothing wrong with.
        """
        if self.axes is not None:
            value = value.transpose(np.argsort(self.axes))
        value = value.reshape(self.variable.shape)
        self.variable.set_value(jnp.asarray(value, self.variable.dtype))


@dataclasses.dataclass(frozen=True)
class Constant:
    """A tensor that never changes and has no variable here.

    Args:
      name: its name in PyTorch.
      value: float32; the only value it may have, up to the rounding of the dtype it was stored in.
    """

    name: str
    value: np.ndarray

    def read(self) -> np.ndarray:
        """Returns the constant."""
        return self.value.copy()

    def fault(self, value: np.ndarray) -> str | None:
        """Says why ``value`` is not this constant, or returns None.

        Args:
          value: what came under this name.

        Returns:
          The fault as a clause without its subject, or None.
        """
        if value.shape != self.value.shape:
            return f"has shape {value.shape}, expected {self.value.shape}"
        if not self._equals(value):
            return f"is {value.tolist()}, but it is a constant: {self.value.tolist()}"
        return None

    def _equals(self, value: np.ndarray) -> bool:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return np.array_equal(value, self.value)
        dtypes = [value.dtype]
        if value.dtype.itemsize > 2:  # 16-bit values that were widened again
            dtypes += [np.dtype(np.float16), np.dtype(jnp.bfloat16)]
        stored = (self.value.astype(dtype).astype(value.dtype) for dtype in dtypes)
        return any(np.array_equal(value, constant) for constant in stored)

    def write(self, value: np.ndarray) -> None:
        """Does nothing."""


Entry = Tensor | Constant


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a state dict left alone in a network.

    Args:
      loaded: how many parameters got new values.
      initial: the "/"-joined paths of the parameters that stayed at their initial value.
    """

    loaded: int
    initial: tuple[str, ...]

    @classmethod
    def of(cls, m: nnx.Module, entries: Sequence[Entry]) -> "LoadReport":
        """Returns the report on a network whose ``entries`` were loaded.

        Args:
          m: the network.
          entries: what was loaded.
        """
        written = {id(entry.variable) for entry in entries if isinstance(entry, Tensor)}
        paths = {
            id(variable): path_name(path)
            for path, variable in nnx.iter_graph(m)
            if isinstance(variable, nnx.Param)
        }
        initial = tuple(path for key, path in paths.items() if key not in written)
        return cls(len(paths) - len(initial), initial)

    def __str__(self) -> str:
        total = self.loaded + len(self.initial)
        text = f"loaded {self.loaded} of {total} parameters"
        if not self.initial:
            return text
        counts = collections.Counter("/".join(path.split("/")[-2:]) for path in self.initial)
        names = ", ".join(f"{count} of {name}" for name, count in counts.items())
        return f"{text}; at their initial value: {names}"


def conv(name: str, layer: nnx.Conv) -> Iterator[Tensor]:
    """Yields the weight of a convolution without bias.

    Args:
      name: the layer's name in PyTorch.
      layer: its kernel has shape ``(height, width, in / groups, out)`` here, ``(out, in / groups,
        height, width)`` in PyTorch.

    Yields:
      One tensor.
    """
    height, width, inputs, outputs = layer.kernel.shape
    yield Tensor(f"{name}.weight", layer.kernel, (outputs, inputs, height, width), (3, 2, 0, 1))


def linear(name: str, layer: nnx.Linear) -> Iterator[Tensor]:
    """Yields the weight and the bias of a linear layer.

    Args:
      name: the layer's name in PyTorch.
      layer: its kernel has shape ``(in, out)`` here, ``(out, in)`` in PyTorch.

    Yields:
      Two tensors.
    """
    inputs, outputs = layer.kernel.shape
    yield Tensor(f"{name}.weight", layer.kernel, (outputs, inputs), (1, 0))
    yield vector(f"{name}.bias", layer.bias)


def batch_norm(name: str, layer: BatchNorm) -> Iterator[Tensor]:
    """Yields the five tensors of a batch normalization.

    Args:
      name: the layer's name in PyTorch.
      layer: with parameters and statistics of shape ``(features,)``, and a count of batches.

    Yields:
      Weight, bias, running mean, running variance (0 or more) and the count, in PyTorch's order.
    """
    yield vector(f"{name}.weight", layer.scale)
    yield vector(f"{name}.bias", layer.bias)
    yield vector(f"{name}.running_mean", layer.mean)
    yield Tensor(f"{name}.running_var", layer.var, layer.var.shape, minimum=0)
    yield Tensor(f"{name}.num_batches_tracked", layer.num_batches, (), integer=True)


def vector(name: str, variable: nnx.Variable | None) -> Tensor:
    """Returns a tensor of the shape its variable has here.

    Args:
      name: the tensor's name in PyTorch.
      variable: not None; Flax's types allow a layer without a bias or a scale.

    Returns:
      The tensor.
    """
    assert variable is not None, name
    return Tensor(name, variable, variable.shape)


def load(entries: Sequence[Entry], state: Mapping[str, np.ndarray], owner: str) -> None:
    """Stores a state dict in the variables of ``entries``: all of it, or nothing.

    Args:
      entries: every tensor that the state dict must have.
      state: the state dict, with no other tensors.
      owner: whose names they are, for the message.

    Raises:
      ValueError: if a tensor is missing, unexpected, of another shape or dtype, not finite, out of
        its range, or a constant of another value: with the number of such tensors and the first
        and the last of them.
    """
    expected = {entry.name: entry for entry in entries}
    arrays = {name: np.asarray(value) for name, value in state.items()}
    faults = [f"{name} is missing" for name in expected if name not in arrays]
    faults += [f"{name} is unexpected" for name in arrays if name not in expected]
    for name, entry in expected.items():
        if name in arrays and (fault := entry.fault(arrays[name])):
            faults.append(f"{name} {fault}")
    if faults:
        lines = "\n  ".join(_shorten(faults, 5, 3))
        raise ValueError(
            f"state does not fit the network under {owner} names, {len(faults)} faults in "
            f"{len(expected)} expected tensors:\n  {lines}"
        )
    for name, entry in expected.items():
        entry.write(arrays[name])


def save(entries: Sequence[Entry]) -> StateDict:
    """Returns a network's state dict.

    Args:
      entries: every tensor of it, in PyTorch's order.

    Returns:
      Names and arrays, in that order, in PyTorch's layouts; arrays have their variables' dtypes,
      and counts are int64.
    """
    return {entry.name: entry.read() for entry in entries}


def sample(names: Sequence[str], most: int = 5) -> str:
    """Returns the first names in a row, and how many there are if those are not all."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def _shorten(lines: Sequence[str], first: int, last: int) -> list[str]:
    """Leaves out the middle of a long list, saying how many lines are missing."""
    hidden = len(lines) - first - last
    if hidden <= 1:
        return list(lines)
    return [*lines[:first], f"… and {hidden} more …", *lines[-last:]]
