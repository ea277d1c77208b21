import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.interop import load_n2uq_state_dict, save_n2uq_state_dict
from n2uq_jax.models import create
from n2uq_jax.nn import BatchNorm
from tests import golden
from tests.interop.networks import abstract, seeded

FAMILIES = ["resnet18", "resnet18_fp_downsample", "resnet50", "mobilenet_v2"]


def network(table, bits):
    name, _, float_downsample = table.partition("_fp")
    return abstract(name, bits, quantize_downsample=not float_downsample)


def state_dict(table="resnet18", bits=2):
    state = golden.state_dict(table, bits, dtype=np.float32)
    for i, name in enumerate(n for n in state if n.endswith("num_batches_tracked")):
        state[name] = np.array(1000 + i, np.int64)
    return state


@pytest.mark.parametrize(
    "table",
    [t if "18" in t else pytest.param(t, marks=pytest.mark.slow) for t in FAMILIES],
)
def test_round_trip_changes_no_byte(table):
    model = network(table, 3)
    state = state_dict(table, 3)
    load_n2uq_state_dict(model, state)
    saved = save_n2uq_state_dict(model)
    assert list(saved) == list(state)
    for name, value in state.items():
        assert (saved[name].dtype, saved[name].shape) == (value.dtype, value.shape), name
        assert saved[name].tobytes() == value.tobytes(), name


def test_values_arrive_in_their_places():
    model = abstract("resnet18", 2)
    state = state_dict()
    load_n2uq_state_dict(model, state)
    block = model.stages[1][0]
    unit = block.units[1]
    np.testing.assert_array_equal(
        unit.conv.kernel[...], state["layer2.0.conv2.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        unit.conv.input_quantizer.intervals[...], state["layer2.0.quan2.a"]
    )
    np.testing.assert_array_equal(
        block.shortcut.conv.input_quantizer.out_scale[...], state["layer2.0.downsample.0.scale2"][0]
    )
    np.testing.assert_array_equal(
        block.activation.bias_in[...], state["layer2.0.bias31.bias"].reshape(-1)
    )
    np.testing.assert_array_equal(model.head.kernel[...], state["fc.weight"].T)


def test_training_counts_its_batches():
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    norm(jnp.ones((2, 3)))
    norm(jnp.ones((2, 3)))
    norm.eval()
    norm(jnp.ones((2, 3)))
    assert int(norm.num_batches[...]) == 2


def test_the_float_twin_has_the_same_names_without_the_quantizers():
    twin = abstract("mobilenet_v2", None)
    state = {
        name: value
        for name, value in state_dict("mobilenet_v2", 4).items()
        if "quan" not in name and not re.search(r"conv\d\.(clip_val|zero)", name)
    }
    load_n2uq_state_dict(twin, state)
    assert list(save_n2uq_state_dict(twin)) == list(state)


def without(name):
    return lambda state: {k: v for k, v in state.items() if k != name}


def changed(name, change):
    return lambda state: {**state, name: change(state[name])}


FAULTS = {
    "missing": (without("layer1.0.quan1.a"), "layer1.0.quan1.a is missing"),
    "extra": (lambda s: {**s, "fc.scale": np.ones(1)}, "fc.scale is unexpected"),
    "shape": (changed("fc.weight", lambda v: v[:10]), r"fc.weight has shape \(10, 512\), expected"),
    "NaN": (changed("bn1.bias", lambda v: v * np.nan), "bn1.bias has 64 values that are NaN"),
    "infinite": (changed("fc.bias", lambda v: v / 0.0), "fc.bias has 1000 values that are NaN or"),
    "dtype": (changed("fc.bias", lambda v: v.astype(int)), "fc.bias has dtype int64, expected a"),
    "count": (
        changed("bn1.num_batches_tracked", lambda v: -v),
        "tracked is not in 0 .. 2147483647",
    ),
    "clip_val": (
        changed("layer1.0.conv1.clip_val", lambda v: v + 1),
        r"layer1.0.conv1.clip_val is \[3.0\], but it is a constant: \[2.0\]",
    ),
    "eps": (changed("layer1.0.quan1.eps", lambda v: v * 2), "quan1.eps is .*constant: .0.001"),
}


@pytest.fixture(scope="module")
def resnet18():
    return abstract("resnet18", 2)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, resnet18):
    break_, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        load_n2uq_state_dict(resnet18, break_(state_dict()))


def test_all_faults_at_once_and_nothing_is_loaded():
    model = seeded("resnet8", 2, width=4)
    before = save_n2uq_state_dict(model)
    state = {name: value + 1 for name, value in before.items()}
    del state["fc.bias"], state["conv1.weight"]
    state["head.bias"] = np.zeros(10)
    with pytest.raises(ValueError, match="faults") as error:
        load_n2uq_state_dict(model, state)
    for fault in ("fc.bias is missing", "conv1.weight is missing", "head.bias is unexpected"):
        assert fault in str(error.value)
    after = save_n2uq_state_dict(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_wrong_bits_show_in_every_quantizer(resnet18):
    with pytest.raises(ValueError, match=r"19 faults.*\n.*\.a has shape \(7,\), expected \(3,\)"):
        load_n2uq_state_dict(resnet18, state_dict("resnet18", 3))


def test_networks_of_another_method_are_refused():
    model = nnx.eval_shape(
        lambda: create("resnet8", w_bits=2, a_bits=2, method="lsq", rngs=nnx.Rngs(0))
    )
    with pytest.raises(TypeError, match="m must be quantized by N2UQ, got method='lsq'"):
        save_n2uq_state_dict(model)


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="must be a ResNet or MobileNetV2"):
        load_n2uq_state_dict(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), {})
