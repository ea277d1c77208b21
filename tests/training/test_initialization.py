import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import data
from n2uq_jax.nn import QuantLinear
from n2uq_jax.paths import by_path
from n2uq_jax.training.config import default_config, stage_config
from n2uq_jax.training.initialization import copy_shared_state, initialize, load_teacher


class Tiny(nnx.Module):
    def __init__(self, seed, quantized, features=3):
        rngs = nnx.Rngs(seed)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        if quantized:
            self.linear = QuantLinear(4, features, w_bits=2, a_bits=2, rngs=rngs)
        else:
            self.linear = nnx.Linear(4, features, rngs=rngs)


def arrays(model):
    return {name: np.asarray(value) for name, value in by_path(nnx.state(model)).items()}


def test_what_a_twin_shares_is_copied_and_quantizers_stay():
    source, target = Tiny(0, quantized=False), Tiny(1, quantized=True)
    source.norm.mean.set_value(jnp.arange(4.0))
    before = arrays(target)
    copy_shared_state(source, target)
    after, shared = arrays(target), arrays(source)
    for name, value in after.items():
        expected = shared[name] if name in shared else before[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    assert len(after) == len(shared) + 4
    assert not np.array_equal(before["linear/kernel"], after["linear/kernel"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Tiny(0, quantized=False, features=5), r"linear/bias \(5,\), linear/kernel \(4, 5\)"),
        (Tiny(0, quantized=True), "linear/input_quantizer/in_scale"),
    ],
    ids=["shape", "name"],
)
def test_state_that_the_network_has_not_is_named(source, message):
    target = Tiny(1, quantized=False)
    before = arrays(target)
    with pytest.raises(ValueError, match=f"init has state that the network has not: {message}"):
        copy_shared_state(source, target)
    assert all(np.array_equal(value, before[name]) for name, value in arrays(target).items())


def test_where_parameters_come_from(tmp_path):
    source, target = Tiny(0, quantized=False), Tiny(1, quantized=False)
    before = arrays(target)
    initialize(target, None, {"float": source})
    assert all(np.array_equal(value, before[name]) for name, value in arrays(target).items())
    initialize(target, "float", {"float": source})
    np.testing.assert_array_equal(target.linear.kernel[...], source.linear.kernel[...])
    with pytest.raises(FileNotFoundError, match=r"init must be an earlier stage \(float\)"):
        initialize(target, str(tmp_path / "nothing"), {"float": source})


def test_the_teacher_is_an_earlier_stage_or_nobody():
    config, digits = default_config(), data.load("digits")
    trained = {"float": Tiny(0, quantized=False)}
    trained["float"].train()
    assert load_teacher(stage_config(quantized=True), trained, digits, config) is None
    stage = stage_config(quantized=True, teacher="float")
    assert load_teacher(stage, trained, digits, config) is trained["float"]
    assert trained["float"].norm.use_running_average
    stage = stage_config(quantized=True, teacher="torchvision/resnet18")
    with pytest.raises(ValueError, match="teacher_weights for 'torchvision/resnet18' must be"):
        load_teacher(stage, trained, digits, config)
