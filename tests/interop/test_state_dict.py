import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.interop import state_dict
from n2uq_jax.interop.state_dict import Constant, LoadReport
from n2uq_jax.nn import BatchNorm


def layers():
    """A convolution, a normalization and a linear layer, and their tensors."""
    rngs = nnx.Rngs(0)
    conv = nnx.Conv(4, 6, (3, 5), feature_group_count=2, use_bias=False, rngs=rngs)
    norm = BatchNorm(6, rngs=rngs)
    linear = nnx.Linear(6, 2, rngs=rngs)
    entries = [
        *state_dict.conv("conv1", conv),
        *state_dict.batch_norm("bn1", norm),
        *state_dict.linear("fc", linear),
    ]
    return nnx.List([conv, norm, linear]), entries


def states():
    """A state dict of the layers, every number another."""
    shapes = {
        "conv1.weight": (6, 2, 3, 5),
        "bn1.weight": (6,),
        "bn1.bias": (6,),
        "bn1.running_mean": (6,),
        "bn1.running_var": (6,),
        "bn1.num_batches_tracked": (),
        "fc.weight": (2, 6),
        "fc.bias": (2,),
    }
    state = {
        name: np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape) + i / 16
        for i, (name, shape) in enumerate(shapes.items())
    }
    state["bn1.num_batches_tracked"] = np.array(7)
    return state


def test_layouts_are_those_of_pytorch_and_come_back():
    (conv, norm, linear), entries = layers()
    state = states()
    state_dict.load(entries, state, "the")
    for out, inputs, y, x in [(0, 0, 0, 0), (5, 1, 2, 4), (3, 0, 1, 2)]:
        assert conv.kernel[y, x, inputs, out] == state["conv1.weight"][out, inputs, y, x]
    assert linear.kernel[4, 1] == state["fc.weight"][1, 4]
    np.testing.assert_array_equal(norm.var[...], state["bn1.running_var"])
    assert norm.num_batches[...] == 7
    saved = state_dict.save(entries)
    assert list(saved) == list(state)
    for name, value in state.items():
        assert saved[name].dtype == value.dtype, name
        np.testing.assert_array_equal(saved[name], value)


def test_values_take_the_dtype_of_the_variable():
    (_, _, linear), entries = layers()
    state = states()
    state["fc.bias"] = np.array([0.1, 0.2], np.float16)
    state_dict.load(entries, state, "the")
    assert linear.bias.dtype == jnp.float32
    np.testing.assert_array_equal(linear.bias[...], np.float32(np.float16([0.1, 0.2])))


def test_a_negative_variance_is_refused_and_zero_is_not():
    (_, norm, _), entries = layers()
    state = states()
    state["bn1.running_var"] = np.array([1, 0, -0.25, 2, -1, 3], np.float32)
    with pytest.raises(ValueError, match=r"bn1\.running_var has 2 values below 0"):
        state_dict.load(entries, state, "the")
    state["bn1.running_var"] = np.abs(state["bn1.running_var"])
    state["bn1.running_mean"] -= 100
    state_dict.load(entries, state, "the")
    assert norm.var[1] == 0


@pytest.mark.parametrize("stored", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_a_constant_may_have_been_rounded_by_its_checkpoint(stored):
    eps = Constant("eps", np.array([1e-3], np.float32))
    rounded = eps.value.astype(stored)
    assert eps.fault(rounded) is None
    assert eps.fault(rounded.astype(np.float32)) is None  # bfloat16 is read as float32
    assert "is a constant" in eps.fault(rounded * np.asarray(1.02, stored))


def test_the_float16_eps_of_the_authors_is_accepted_and_its_neighbors_are_not():
    eps = Constant("eps", np.array([1e-3], np.float32))
    stored = np.array([0.0010004], np.float16)
    assert eps.fault(stored) is None
    for neighbor in (np.nextafter(stored, np.float16(1)), np.nextafter(stored, np.float16(0))):
        assert "is a constant" in eps.fault(neighbor)


def test_a_fraction_is_no_integer_constant():
    eps = Constant("eps", np.array([1e-3], np.float32))
    assert "is a constant" in eps.fault(np.array([0]))
    assert "is a constant" in eps.fault(np.array([np.nan], np.float32))
    assert Constant("two", np.array([2], np.float32)).fault(np.array([2])) is None


def test_many_faults_make_a_short_message_with_the_first_the_last_and_their_number():
    _, entries = layers()
    state = {f"layer{i}.weight": np.zeros(1, np.float32) for i in range(600)}
    with pytest.raises(
        ValueError, match="under somebody's names, 608 faults in 8 expected"
    ) as error:
        state_dict.load(entries, state, "somebody's")
    lines = str(error.value).splitlines()
    assert len(lines) == 10
    assert lines[1:3] == ["  conv1.weight is missing", "  bn1.weight is missing"]
    assert lines[6] == "  … and 600 more …"
    assert lines[-1] == "  layer599.weight is unexpected"


def test_few_faults_are_all_named():
    _, entries = layers()
    with pytest.raises(ValueError, match="8 faults") as error:
        state_dict.load(entries, {}, "the")
    assert [line.split()[0] for line in str(error.value).splitlines()[1:]] == list(states())


def test_a_report_tells_what_kept_its_initial_value():
    model, entries = layers()
    report = LoadReport.of(model, entries[:-2])
    assert (report.loaded, report.initial) == (3, ("2/bias", "2/kernel"))
    assert str(report) == (
        "loaded 3 of 5 parameters; at their initial value: 1 of 2/bias, 1 of 2/kernel"
    )
    assert str(LoadReport.of(model, entries)) == "loaded 5 of 5 parameters"


def test_a_sample_of_names():
    assert state_dict.sample(list("abcde")) == "a, b, c, d, e"
    assert state_dict.sample(list("abcdef"), most=2) == "a, b, … (6 in all)"
