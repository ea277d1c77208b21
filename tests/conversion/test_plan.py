import jax.numpy as jnp
import pytest
from flax import linen, nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion import plan
from tests.conversion.models import CNN, Shared, ViT


def reasons(model, *rules):
    return {d.paths[0]: d.reason for d in plan(model, rules).decisions}


def test_first_and_last_layer_stay_float_unless_spelled_out():
    model = CNN(nnx.Rngs(0))
    assert list(plan(model, [n2uq.Rule(".*", 4, 4)]).quantized) == ["conv2", "linear1"]
    assert list(plan(model, [n2uq.Rule("conv1|linear1", 4, 4)]).quantized) == ["conv1", "linear1"]
    assert reasons(model, n2uq.Rule(".*", 4, 4)) == {
        "conv1": "the first layer: no rule spells out its path",
        "conv2": "rule '.*'",
        "linear1": "rule '.*'",
        "linear2": "the last layer: no rule spells out its path",
    }


def test_the_first_rule_that_matches_decides():
    model = CNN(nnx.Rngs(0))
    rules = [n2uq.Rule("linear1"), n2uq.Rule("conv2", 2, 3), n2uq.Rule(".*", 4, 4)]
    assert plan(model, rules).quantized == {"conv2": rules[1]}
    assert reasons(model, *rules)["linear1"] == "rule 'linear1' leaves it float"
    assert reasons(model, rules[1])["linear1"] == "no rule matches"


def test_attention_and_nested_layers_have_paths():
    found = list(plan(ViT(nnx.Rngs(0), depth=1), [n2uq.Rule(".*", 4, 4)]).quantized)
    projections = [f"blocks/0/attention/{name}" for name in ("query", "key", "value", "out")]
    assert found == [*projections, "blocks/0/mlp/layers/0", "blocks/0/mlp/layers/2"]


def test_a_shared_layer_is_one_decision_that_any_of_its_paths_matches():
    model = Shared(nnx.Rngs(0))
    decision = plan(model, [n2uq.Rule("right", 4, 4)]).decisions[1]
    assert decision.paths == ("left", "right")
    assert decision.rule is not None


def test_prints_a_table():
    rows = str(plan(CNN(nnx.Rngs(0)), [n2uq.Rule("conv2", 2, 3, signed=True)])).splitlines()
    assert rows[0].split() == ["layer", "kind", "weights", "inputs", "why"]
    assert rows[1].split()[:4] == ["conv1", "Conv", "float", "float"]
    assert " ".join(rows[2].split()) == "conv2 Conv 2 bit 3 bit signed rule 'conv2'"


class Odd(nnx.Module):
    """Layers that cannot be quantized, each for another reason."""

    def __init__(self, rngs):
        class Twice(nnx.Linear):
            def __call__(self, x):
                return 2 * super().__call__(x)

        self.first = nnx.Linear(2, 2, rngs=rngs)
        self.own = Twice(2, 2, rngs=rngs)
        self.hook = nnx.Linear(2, 2, dot_general=lambda *a, **k: None, rngs=rngs)
        self.general = nnx.LinearGeneral(2, 2, axis=-1, batch_axis={0: 3}, rngs=rngs)
        self.circular = nnx.ConvTranspose(2, 2, (3,), padding="CIRCULAR", rngs=rngs)
        self.batched = nnx.Einsum("bi,bio->bo", (3, 2, 2), rngs=rngs)
        self.late = nnx.Einsum("a,ab->b", (2, 2), rngs=rngs)
        self.late.einsum_str = None
        self.done = n2uq.nn.QuantLinear(2, 2, w_bits=2, a_bits=2, rngs=rngs)
        self.table = nnx.Embed(3, 2, rngs=rngs)
        self.foreign = nnx.bridge.ToNNX(linen.Dense(2), rngs=rngs)
        self.last = nnx.Linear(2, 2, rngs=rngs)


def test_says_why_a_layer_is_not_quantized():
    assert reasons(Odd(nnx.Rngs(0)), n2uq.Rule(".*", 4, 4)) == {
        "first": "the first layer: no rule spells out its path",
        "own": "a subclass of Linear with a __call__ of its own",
        "hook": "its dot_general is not Flax's own",
        "general": "it has batch axes",
        "circular": "its padding is circular",
        "batched": "'bi,bio->bo' is no matrix product of input and kernel",
        "late": "it gets its einsum_str in the call",
        "done": "quantized already",
        "table": "a table, not a product",
        "foreign": "a Linen module: build it with the layers of n2uq_jax.nn.linen",
        "last": "the last layer: no rule spells out its path",
    }


def test_a_rule_that_matches_nothing_is_an_error_that_lists_the_layers():
    with pytest.raises(ValueError, match=r"'conv3' matches no layer; the layers are: conv1, conv2"):
        plan(CNN(nnx.Rngs(0)), [n2uq.Rule("conv3", 4, 4)])


def test_a_rule_that_earlier_ones_shadow_is_reported():
    model = CNN(nnx.Rngs(0))
    rules = [n2uq.Rule("conv.", 4, 4), n2uq.Rule("conv2", 2, 2), n2uq.Rule("linear1", 2, 2)]
    decided = plan(model, rules)
    assert decided.shadowed == (rules[1],)
    assert decided.quantized["conv2"] == rules[0]
    assert str(decided).splitlines()[-1] == (
        "rule 'conv2' decides nothing: earlier rules match each of its layers"
    )
    assert plan(model, rules[::-1]).shadowed == ()
    repeated = plan(model, [rules[1], rules[1]])
    assert repeated.shadowed == (rules[1],)


def test_rules_may_come_from_a_generator():
    model = CNN(nnx.Rngs(0))
    rules = [n2uq.Rule("conv2", 2, 2), n2uq.Rule("linear1", 4, 4)]
    assert plan(model, (rule for rule in rules)) == plan(model, rules)
    result = n2uq.quantize(model, (rule for rule in rules))
    assert (result.conv2.w_bits, result.linear1.w_bits) == (2, 4)


def test_arguments_of_another_type_are_errors():
    with pytest.raises(TypeError, match=r"model must be an nnx.Module, got Dense"):
        plan(linen.Dense(2), [])
    with pytest.raises(TypeError, match=r"rules must be a sequence of n2uq_jax.Rule, got Rule"):
        plan(CNN(nnx.Rngs(0)), n2uq.Rule(".*"))
    with pytest.raises(TypeError, match=r"rules must be a sequence of n2uq_jax.Rule, got \('conv2"):
        plan(CNN(nnx.Rngs(0)), ["conv2"])


def test_the_first_and_last_layer_are_those_of_the_constructor_after_a_jitted_step():
    class Base(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Linear(2, 2, rngs=rngs)

    class Net(Base):
        def __init__(self, rngs):
            super().__init__(rngs)
            self.a, self.z = (nnx.Linear(2, 2, rngs=rngs) for _ in range(2))
            self.blocks = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(11)])
            self.head = nnx.Linear(2, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.a(self.stem(x)))

    model = Net(nnx.Rngs(0))
    rules = [n2uq.Rule(".*", 2, 2)]
    before = str(plan(model, rules))
    nnx.jit(lambda model, x: model(x))(model, jnp.ones((1, 2)))
    assert list(vars(model)) != list(vars(Net(nnx.Rngs(0))))  # what this is about
    for same in (model, nnx.clone(model)):
        assert str(plan(same, rules)) == before
    first, *between, last = plan(model, rules).decisions
    assert (first.paths, last.paths) == (("stem",), ("head",))
    assert [d.paths[0] for d in between] == ["a", "z", *(f"blocks/{i}" for i in range(11))]
    assert all(d.rule is not None for d in between)
