import numpy as np
import pytest

from n2uq_jax.export import build_program
from n2uq_jax.export.program.interpreter import Interpreter, Steps
from tests.export.integer_network import SHAPE, network, parameters


class Kinds(Interpreter):
    """Writes down what kind of step each operation is."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = {"thresholds": [], "product": [], "integers": [], "float": []}

    def apply_thresholds(self, quantizer, source):
        self.seen["thresholds"].append(quantizer.name)

    def multiply(self, product):
        self.seen["product"].append(product.name)

    def integers(self, op):
        self.seen["integers"].append(op.name)

    def compute(self, op):
        self.seen["float"].append(op)


@pytest.mark.parametrize("folded", [("block", "head"), ("head",)])
def test_every_operation_is_one_kind_of_step(folded):
    program = build_program((network, parameters()), SHAPE, image_dtype=np.uint8)
    kinds = Kinds(program.network(1), folded)
    kinds.walk()
    seen = kinds.seen
    assert seen["thresholds"] == list(folded)
    assert seen["product"] == ["stem", "block#2", "head#2"]
    assert sum(map(len, seen.values())) == len(kinds.ops)
    assert {"sub", "shift_right_arithmetic", "reduce_window_max"} <= set(seen["integers"])
    on_data = [op for op in seen["float"] if op.outputs[0] in kinds.network.graph.from_data]
    assert on_data == Steps(program.network(1), folded).float_ops
    names = [op.name for op in on_data]
    if "block" in folded:
        assert names == ["mul"]
    else:
        assert "activation_codes" in names
