"""What is known of each primitive operation, once for everybody who asks."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Primitive:
    """The properties of one primitive.

    Args:
      pointwise: whether each element of the result depends on the same element of the operands.
      moves: whether it only moves elements, or leaves them as they are.
      signs: how the result follows each operand under IEEE rounding, ``"+"`` or ``"-"``; empty if
        it need not be monotone.
      onnx: the ONNX operator with the same operands; empty if there is none.
    """

    pointwise: bool = False
    moves: bool = False
    signs: str = ""
    onnx: str = ""


def _pointwise(onnx: str = "", signs: str = "") -> Primitive:
    return Primitive(pointwise=True, signs=signs, onnx=onnx)


def _identity() -> Primitive:
    return Primitive(pointwise=True, moves=True, signs="+")


def _move(*, signs: str = "") -> Primitive:
    return Primitive(moves=True, signs=signs)


PRIMITIVES: dict[str, Primitive] = {
    # Arithmetic.
    "abs": _pointwise("Abs"),
    "add": _pointwise("Add", "++"),
    "ceil": _pointwise("Ceil", "+"),
    "clamp": _pointwise(signs="+++"),
    "cos": _pointwise("Cos"),
    "div": _pointwise("Div"),
    "erf": _pointwise("Erf"),
    "erf_inv": _pointwise(),
    "erfc": _pointwise(),
    "exp": _pointwise("Exp"),
    "exp2": _pointwise(),
    "expm1": _pointwise(),
    "floor": _pointwise("Floor", "+"),
    "integer_pow": _pointwise(),
    "log": _pointwise("Log"),
    "log1p": _pointwise(),
    "logistic": _pointwise("Sigmoid"),
    "max": _pointwise("Max", "++"),
    "min": _pointwise("Min", "++"),
    "mul": _pointwise("Mul"),
    "neg": _pointwise("Neg", "-"),
    "nextafter": _pointwise(),
    "pow": _pointwise("Pow"),
    "reduce_precision": _pointwise(),
    "rem": _pointwise(),
    "round": _pointwise(signs="+"),
    "rsqrt": _pointwise(),
    "shift_left": _pointwise(),
    "shift_right_arithmetic": _pointwise(),
    "shift_right_logical": _pointwise(),
    "sign": _pointwise("Sign", "+"),
    "sin": _pointwise("Sin"),
    "sqrt": _pointwise("Sqrt"),
    "square": _pointwise(),
    "sub": _pointwise("Sub", "+-"),
    "tanh": _pointwise("Tanh"),
    # Comparisons and logic.
    "and": _pointwise("And"),
    "eq": _pointwise("Equal"),
    "ge": _pointwise("GreaterOrEqual", "+-"),
    "gt": _pointwise("Greater", "+-"),
    "is_finite": _pointwise(),
    "le": _pointwise("LessOrEqual", "-+"),
    "lt": _pointwise("Less", "-+"),
    "ne": _pointwise(),
    "not": _pointwise("Not"),
    "or": _pointwise("Or"),
    "select_n": _pointwise(),
    "xor": _pointwise("Xor"),
    # The same elements.
    "convert_element_type": _identity(),
    "copy": _identity(),
    "name": _identity(),
    "optimization_barrier": _identity(),
    "stop_gradient": _identity(),
    # The same elements elsewhere.
    "broadcast_in_dim": _move(signs="+"),
    "concatenate": _move(),
    "expand_dims": _move(signs="+"),
    "pad": _move(),
    "reshape": _move(signs="+"),
    "rev": _move(),
    "slice": _move(),
    "squeeze": _move(signs="+"),
    "transpose": _move(),
}
"""By the name that JAX gives the primitive."""

UNKNOWN = Primitive()
"""What is known of every other primitive: nothing."""

RESHAPES = frozenset({"reshape", "squeeze", "expand_dims"})
"""Primitives that keep the elements in row-major order."""

IDENTITIES = frozenset({"copy", "name", "optimization_barrier", "stop_gradient"})
"""Primitives that keep elements, places and dtype."""

POINTWISE = frozenset(name for name, row in PRIMITIVES.items() if row.pointwise)
MOVES = frozenset(name for name, row in PRIMITIVES.items() if row.moves)
AFFINE = frozenset({"add", "sub", "mul", "neg"})

KEEPS_CODES = MOVES | AFFINE | {"max", "reduce_window_max"}
"""Primitives that leave codes codes of the same width, if their other operands are literals."""

PRODUCTS = frozenset({"conv_general_dilated", "dot_general"})
"""Primitives that multiply two arrays and sum."""


def known(name: str) -> Primitive:
    """Returns what is known of a primitive, or of one of this library's operations."""
    return PRIMITIVES.get(name, UNKNOWN)
