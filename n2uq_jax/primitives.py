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
      c: the expression in C, of float operands and truth values; empty if there is none.
    """

    pointwise: bool = False
    moves: bool = False
    signs: str = ""
    onnx: str = ""
    c: str = ""


def _pointwise(onnx: str = "", signs: str = "", c: str = "") -> Primitive:
    return Primitive(pointwise=True, signs=signs, onnx=onnx, c=c)


def _identity() -> Primitive:
    return Primitive(pointwise=True, moves=True, signs="+")


def _move(*, signs: str = "") -> Primitive:
    return Primitive(moves=True, signs=signs)


PRIMITIVES: dict[str, Primitive] = {
    # Arithmetic.
    "abs": _pointwise("Abs", c="fabsf({0})"),
    "add": _pointwise("Add", "++", c="{0} + {1}"),
    "ceil": _pointwise("Ceil", "+", c="ceilf({0})"),
    "clamp": _pointwise(signs="+++", c="{1} < {0} ? {0} : {1} > {2} ? {2} : {1}"),
    "cos": _pointwise("Cos", c="cosf({0})"),
    "div": _pointwise("Div", c="{0} / {1}"),
    "erf": _pointwise("Erf", c="erff({0})"),
    "erf_inv": _pointwise(),
    "erfc": _pointwise(c="erfcf({0})"),
    "exp": _pointwise("Exp", c="expf({0})"),
    "exp2": _pointwise(c="exp2f({0})"),
    "expm1": _pointwise(c="expm1f({0})"),
    "floor": _pointwise("Floor", "+", c="floorf({0})"),
    "integer_pow": _pointwise(c="{0} * {0}"),
    "log": _pointwise("Log", c="logf({0})"),
    "log1p": _pointwise(c="log1pf({0})"),
    "logistic": _pointwise("Sigmoid", c="1.0f / (1.0f + expf(-{0}))"),
    "max": _pointwise("Max", "++", c="larger_float({0}, {1})"),
    "min": _pointwise("Min", "++", c="smaller_float({0}, {1})"),
    "mul": _pointwise("Mul", c="{0} * {1}"),
    "neg": _pointwise("Neg", "-", c="-{0}"),
    "nextafter": _pointwise(),
    "pow": _pointwise("Pow", c="powf({0}, {1})"),
    "reduce_precision": _pointwise(),
    "rem": _pointwise(c="fmodf({0}, {1})"),
    "round": _pointwise(signs="+", c="rintf({0})"),
    "rsqrt": _pointwise(c="1.0f / sqrtf({0})"),
    "shift_left": _pointwise(),
    "shift_right_arithmetic": _pointwise(),
    "shift_right_logical": _pointwise(),
    "sign": _pointwise("Sign", "+", c="{0} > 0.0f ? 1.0f : {0} < 0.0f ? -1.0f : {0}"),
    "sin": _pointwise("Sin", c="sinf({0})"),
    "sqrt": _pointwise("Sqrt", c="sqrtf({0})"),
    "square": _pointwise(c="{0} * {0}"),
    "sub": _pointwise("Sub", "+-", c="{0} - {1}"),
    "tanh": _pointwise("Tanh", c="tanhf({0})"),
    # Comparisons and logic.
    "and": _pointwise("And", c="{0} & {1}"),
    "eq": _pointwise("Equal", c="{0} == {1}"),
    "ge": _pointwise("GreaterOrEqual", "+-", c="{0} >= {1}"),
    "gt": _pointwise("Greater", "+-", c="{0} > {1}"),
    "is_finite": _pointwise(c="{0} - {0} == 0.0f"),
    "le": _pointwise("LessOrEqual", "-+", c="{0} <= {1}"),
    "lt": _pointwise("Less", "-+", c="{0} < {1}"),
    "ne": _pointwise(c="{0} != {1}"),
    "not": _pointwise("Not", c="!{0}"),
    "or": _pointwise("Or", c="{0} | {1}"),
    "select_n": _pointwise(c="{0} ? {2} : {1}"),
    "xor": _pointwise("Xor", c="{0} ^ {1}"),
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
