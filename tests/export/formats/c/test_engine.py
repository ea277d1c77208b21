import concurrent.futures

import numpy as np
import pytest

from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret

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
