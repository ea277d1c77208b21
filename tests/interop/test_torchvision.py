import functools
import re

import jax
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.interop import load_torchvision_state_dict, save_torchvision_state_dict
from tests.interop.networks import abstract

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")

pytestmark = pytest.mark.extra


@functools.cache
def reference(name):
    """One of torchvision's networks with random parameters and running statistics."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)().eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif key.endswith("num_batches_tracked"):
                value.fill_(len(key))
    return network


def state_dict(name):
    return {key: value.numpy() for key, value in reference(name).state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_network_equals_torchvision(name):
    model = abstract(f"torchvision/{name}")
    state = state_dict(name)
    report = load_torchvision_state_dict(model, state)
    assert report.initial == ()
    assert report.loaded == len(list(reference(name).parameters()))

    saved = save_torchvision_state_dict(model)
    assert list(saved) == list(state)
    for key, value in state.items():
        assert saved[key].dtype == value.dtype, key
        assert saved[key].tobytes() == value.tobytes(), key

    model.eval()
    graph, arrays = nnx.split(model)
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 65, 65)).astype(np.float32)
    logits = jax.jit(lambda arrays, x: nnx.merge(graph, arrays, copy=True)(x))(
        arrays, images.transpose(0, 2, 3, 1)
    )
    with torch.no_grad():
        expected = reference(name)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * expected.std())


def test_a_quantized_resnet_gets_all_but_activations_and_quantizers():
    model = abstract("resnet18", 2)
    state = state_dict("resnet18")
    report = load_torchvision_state_dict(model, state)
    stayed = re.compile(
        r"stages/\d/\d/((units/\d/)?activation/(bias_in|slope|bias_out)"
        r"|(units/\d|shortcut)/conv/input_quantizer/(start|intervals|in_scale|out_scale))"
    )
    assert len(report.initial) == 24 * 3 + 19 * 4
    assert all(stayed.fullmatch(path) for path in report.initial)
    assert "24 of activation/bias_in, 24 of activation/bias_out" in str(report)
    assert "19 of input_quantizer/start" in str(report)
    assert f"loaded 62 of {62 + len(report.initial)} parameters" in str(report)
    np.testing.assert_array_equal(
        model.stages[3][0].shortcut.conv.kernel[...],
        state["layer4.0.downsample.0.weight"].transpose(2, 3, 1, 0),
    )


def test_a_quantized_mobilenet_keeps_its_own_first_convolution():
    model = abstract("mobilenet_v2", 4)
    state = state_dict("mobilenet_v2")
    report = load_torchvision_state_dict(model, state)
    kernels = [path for path in report.initial if path.endswith("kernel")]
    assert kernels == ["blocks/0/units/0/conv/kernel"]
    assert "last_activation/clip" in report.initial
    for block, n, name in ((0, 2, "features.1.conv.1"), (1, 2, "features.2.conv.2")):
        np.testing.assert_array_equal(
            model.blocks[block].units[n].conv.kernel[...],
            state[f"{name}.weight"].transpose(2, 3, 1, 0),
        )


def test_old_files_without_batch_counts_load():
    state = {
        name: value
        for name, value in state_dict("resnet18").items()
        if not name.endswith("num_batches_tracked")
    }
    model = abstract("torchvision/resnet18")
    assert load_torchvision_state_dict(model, state).initial == ()


def test_another_depth_is_refused():
    with pytest.raises(ValueError, match=r"layer1\.2\.conv1\.weight is missing") as error:
        load_torchvision_state_dict(abstract("torchvision/resnet34"), state_dict("resnet18"))
    assert "layer4.2.bn2.running_var is missing" in str(error.value)


def test_only_torchvisions_networks_are_saved_under_its_names():
    with pytest.raises(TypeError, match="must be one of torchvision's networks"):
        save_torchvision_state_dict(abstract("resnet8", 2))
