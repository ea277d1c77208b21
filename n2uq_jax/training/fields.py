"""What a field of a configuration may hold, once: its check, its message and its documentation."""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar


class Kind(abc.ABC):
    """The values that a field may hold, beside None where it is optional."""

    type: ClassVar[type]
    """What the command line reads a value as."""

    words: str
    """What is expected, such as ``"an integer from 1 on"``."""

    @abc.abstractmethod
    def fault(self, value: Any) -> str | None:
        """Says what was expected and what came.

        Args:
          value: what came.

        Returns:
          A clause such as ``"must be at least 1, got 0"``; None if the value is of the kind.
        """


@dataclasses.dataclass(frozen=True)
class Integer(Kind):
    """An integer.

    Args:
      least: the smallest.
      most: the largest; None if there is none.
    """

    least: int
    most: int | None = None
    type = int

    @property
    def words(self) -> str:  # type: ignore[override]
        """What is expected."""
        return f"an integer {self._range}"

    @property
    def _range(self) -> str:
        if self.most is None:
            return f"from {self.least} on"
        power = self.most.bit_length()
        most = f"2**{power} - 1" if power > 16 and self.most == 2**power - 1 else f"{self.most}"
        return f"from {self.least} to {most}"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be {self.words}, got {value!r}"
        if value < self.least or (self.most is not None and value > self.most):
            bound = f"at least {self.least}" if self.most is None else self._range
            return f"must be {bound}, got {value}"
        return None


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A finite number.

    Args:
      least: the smallest.
      most: the largest.
      above: whether it must be larger than ``least``.
    """

    least: float = 0
    most: float = math.inf
    above: bool = False
    type = float

    @property
    def words(self) -> str:  # type: ignore[override]
        """What is expected."""
        return f"a number {self._range}"

    @property
    def _range(self) -> str:
        if self.most < math.inf:
            return f"in {self.least:g}..{self.most:g}"
        return f"{'above' if self.above else 'at least'} {self.least:g}"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be {self.words}, got {value!r}"
        inside = self.least < value if self.above else self.least <= value
        if not (math.isfinite(value) and inside and value <= self.most):
            return f"must be finite and {self._range}, got {value}"
        return None


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of a few words.

    Args:
      options: the words.
    """

    options: Sequence[str]
    type = str

    @property
    def words(self) -> str:  # type: ignore[override]
        """What is expected."""
        return ", ".join(self.options)

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        return None if value in self.options else f"must be one of {self.words}; got {value!r}"


@dataclasses.dataclass(frozen=True)
class Flag(Kind):
    """True or False."""

    type = bool
    words = "True or False"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        return None if isinstance(value, bool) else f"must be True or False, got {value!r}"


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """A string."""

    type = str
    words = "text"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        return None if isinstance(value, str) else f"must be a string, got {value!r}"


@dataclasses.dataclass(frozen=True)
class Steps(Kind):
    """A first and a last step."""

    type = tuple
    words = "a first and a last step from 1 on"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        numbers = (
            [v for v in value if isinstance(v, int)] if isinstance(value, tuple | list) else []
        )
        if len(numbers) != 2 or len(value) != 2 or not 1 <= numbers[0] <= numbers[1]:
            return f"must be {self.words}, got {value}"
        return None


@dataclasses.dataclass(frozen=True)
class Names(Kind):
    """Names that differ from each other, at least one."""

    type = tuple
    words = "names in order"

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        if not isinstance(value, tuple | list) or not all(isinstance(v, str) for v in value):
            return f"must be a tuple of names, got {value!r}"
        if not value:
            return "must name at least one stage, got none"
        if len(set(value)) < len(value):
            return f"must differ from each other, got {', '.join(value)}"
        return None


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a configuration.

    Args:
      name: with the groups that it is in, such as ``"data.flip"``.
      kind: what it may hold.
      default: what it holds unless a config says otherwise.
      about: what it is, and what a default of None means.
      optional: whether it may be None.
    """

    name: str
    kind: Kind
    default: Any
    about: str
    optional: bool = False

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value; None if the field may hold it."""
        return None if value is None and self.optional else self.kind.fault(value)

    @property
    def expected(self) -> str:
        """What it may hold, in words."""
        return f"{self.kind.words}, or None" if self.optional else self.kind.words
