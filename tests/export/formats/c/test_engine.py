import concurrent.futures
import os

import numpy as np
import pytest

from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from n2uq_jax.export.formats.c.layers import Threshold
from tests.export.formats.c.float_networks import every_float_layer
from tests.export.formats.c.networks import CLASSES
from tests.export.formats.c.programs import every_layer

FAST = ("-O0",)


def test_a_callable_takes_bytes_of_its_shape(compiler, small):
    build, network = small
    source = generate(network)
    program = NativeProgram(source, threads=2, flags=FAST)
    assert program.image_shape == (3, 3, 1)
    assert program.classes == 5
    images = build.images(7)
    expected = interpret(network, images)[network.output][:, 0, 0]
    assert (program(images) == expected).all()
    assert program(images[:0]).shape == (0, 5)
    with pytest.raises(TypeError, match=r"uint8, 0\.\.255, got float32"):
        program(images.astype("float32"))
    with pytest.raises(ValueError, match=r"\(batch, \*\(3, 3, 1\)\), got \(7, 3, 3\)"):
        program(images[..., 0])
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        NativeProgram(source, threads=0, flags=FAST)
    with pytest.raises(ValueError, match=r"kernel must be one of .*reference.*got 'gpu'"):
        NativeProgram(source, kernel="gpu", flags=FAST)


@pytest.mark.parametrize("threads", [None, 1, 2, 3, 8])
def test_threads_take_images_or_share_them(compiler, threads):
    build, output = every_layer(0)
    network = build.network(output)
    program = NativeProgram(generate(network), threads=threads, flags=FAST)
    for count in (0, 1, 2, 5):
        images = build.images(count)
        expected = interpret(network, images)[output][:, 0, 0] if count else np.zeros((0, CLASSES))
        np.testing.assert_array_equal(program(images), expected)


def test_a_thread_has_a_workspace_of_its_own(compiler, small):
    source = generate(small[1])
    one, three = (NativeProgram(source, threads=n, flags=FAST) for n in (1, 3))
    # 64 bytes align what comes behind them.
    each = one.workspace_size(1) - 64
    assert one.workspace_size(100) == each + 64
    assert three.workspace_size(3) == three.workspace_size(100) == 3 * each + 64
    # Images that are fewer than threads go one after another.
    assert three.workspace_size(2) < 2 * each


def test_threads_are_as_many_as_cores_unless_told(compiler, small, monkeypatch):
    program = NativeProgram(generate(small[1]), flags=FAST)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    each = program.workspace_size(1) - 64
    assert program.workspace_size(2) == 2 * each + 64
    assert program.workspace_size(50) == 3 * each + 64


def test_kept_tensors_are_those_of_the_interpreter(compiler):
    build, output = every_layer(0)
    network = build.network(output)
    kept = [layer.output for layer in network.layers if isinstance(layer, Threshold)]
    program = NativeProgram(generate(network, kept=kept), flags=FAST)
    (image,) = build.images(1)
    expected, found = interpret(network, image[None]), program.tensors(image)
    for name in (*kept, output):
        np.testing.assert_array_equal(found[name], expected[name][0], err_msg=name)


def test_a_network_of_floats_takes_and_gives_floats(compiler):
    build, network = every_float_layer(0)
    source = generate(network)
    assert "typedef float model_input;" in source.header
    assert "typedef float model_output;" in source.header
    assert "normalized images of floats in, logits of floats out" in source.header
    program = NativeProgram(source, flags=FAST)
    images = build.images(3)
    logits = program(images)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(program.logits(images), logits)
    np.testing.assert_array_equal(logits, interpret(network, images)[network.output][:, 0, 0])
    with pytest.raises(TypeError, match="images must be float32, normalized, got uint8"):
        program(images.astype(np.uint8))


def test_logits_are_scaled_in_float32(compiler, small):
    build, network = small
    scaled = network.__class__(**{**vars(network), "scale": 0.1})
    program = NativeProgram(generate(scaled), flags=FAST)
    images = build.images(3)
    logits = program.logits(images)
    assert logits.dtype == np.float32
    assert (logits == program(images).astype(np.float32) * np.float32(0.1)).all()


def test_threads_share_a_program(compiler, small):
    build, network = small
    program = NativeProgram(generate(network), flags=FAST)
    batches = [build.images(5) for _ in range(20)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(program, batches))
    for images, result in zip(batches, results, strict=True):
        assert (result == interpret(network, images)[network.output][:, 0, 0]).all()
