"""Tensors under PyTorch's names and layouts, tied to the variables of a Flax model."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.nn import BatchNorm

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
    """

    name: str
    variable: nnx.Variable
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    integer: bool = False

    def read(self) -> np.ndarray:
        """Returns the variable's values as the PyTorch tensor."""
        value = np.asarray(self.variable[...])
        if self.axes is not None:
            value = value.transpose(self.axes)
        return np.array(value.reshape(self.shape), np.int64 if self.integer else None, order="C")

    def fault(self, value: np.ndarray) -> str | None:
        """Says why ``value`` cannot be this tensor, or returns None."""
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
        bad = int((~np.isfinite(value)).sum())
        return f"has {bad} values that are NaN or infinite" if bad else None

    def write(self, value: np.ndarray) -> None:
        """Stores a faultless tensor in the variable, in the variable's dtype."""
        if self.axes is not None:
            value = value.transpose(np.argsort(self.axes))
        value = value.reshape(self.variable.shape)
        self.variable.set_value(jnp.asarray(value, self.variable.dtype))


@dataclasses.dataclass(frozen=True)
class Constant:
    """A tensor that never changes and has no variable here.

    Args:
      name: its name in PyTorch.
      value: the only value it may have.
    """

    name: str
    value: np.ndarray

    def read(self) -> np.ndarray:
        """Returns the constant."""
        return self.value.copy()

    def fault(self, value: np.ndarray) -> str | None:
        """Says why ``value`` is not this constant, or returns None."""
        if value.shape != self.value.shape:
            return f"has shape {value.shape}, expected {self.value.shape}"
        if not np.array_equal(value, self.value):
            return f"is {value.tolist()}, but it is a constant: {self.value.tolist()}"
        return None

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
        """Returns the report on a network whose ``entries`` were loaded."""
        written = {id(entry.variable) for entry in entries if isinstance(entry, Tensor)}
        paths = {
            id(variable): "/".join(map(str, path))
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
    """Yields the weight of a convolution without bias."""
    height, width, inputs, outputs = layer.kernel.shape
    yield Tensor(f"{name}.weight", layer.kernel, (outputs, inputs, height, width), (3, 2, 0, 1))


def linear(name: str, layer: nnx.Linear) -> Iterator[Tensor]:
    """Yields the weight and the bias of a linear layer."""
    inputs, outputs = layer.kernel.shape
    yield Tensor(f"{name}.weight", layer.kernel, (outputs, inputs), (1, 0))
    yield vector(f"{name}.bias", layer.bias)


def batch_norm(name: str, layer: BatchNorm) -> Iterator[Tensor]:
    """Yields the five tensors of a batch normalization."""
    yield vector(f"{name}.weight", layer.scale)
    yield vector(f"{name}.bias", layer.bias)
    yield vector(f"{name}.running_mean", layer.mean)
    yield vector(f"{name}.running_var", layer.var)
    yield Tensor(f"{name}.num_batches_tracked", layer.num_batches, (), integer=True)


def vector(name: str, variable: nnx.Variable | None) -> Tensor:
    """Returns a tensor of the shape its variable has here."""
    assert variable is not None, name
    return Tensor(name, variable, variable.shape)


def load(entries: Sequence[Entry], state: Mapping[str, np.ndarray], owner: str) -> None:
    """Stores a state dict in the variables of ``entries``: all of it, or nothing.

    Args:
      entries: every tensor that the state dict must have.
      state: the state dict, with no other tensors.
      owner: whose names they are, for the message.

    Raises:
      ValueError: with every tensor that is missing, unexpected, of another shape or dtype, not
        finite, or a constant of another value.
    """
    expected = {entry.name: entry for entry in entries}
    arrays = {name: np.asarray(value) for name, value in state.items()}
    faults = [f"{name} is missing" for name in expected if name not in arrays]
    faults += [f"{name} is unexpected" for name in arrays if name not in expected]
    for name, entry in expected.items():
        if name in arrays and (fault := entry.fault(arrays[name])):
            faults.append(f"{name} {fault}")
    if faults:
        lines = "\n  ".join(faults)
        raise ValueError(
            f"state does not fit the network under {owner} names, {len(faults)} faults in "
            f"{len(expected)} expected tensors:\n  {lines}"
        )
    for name, entry in expected.items():
        entry.write(arrays[name])


def save(entries: Sequence[Entry]) -> StateDict:
    """Returns the state dict of ``entries``, in their order."""
    return {entry.name: entry.read() for entry in entries}
