import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.compilation import construct, quick_jit
from n2uq_jax.paths import by_path


def test_a_program_of_the_cpu_is_compiled_without_optimization_and_computes_the_same():
    x = jnp.arange(7)
    np.testing.assert_array_equal(quick_jit(lambda x: 3 * x + 1)(x), [1, 4, 7, 10, 13, 16, 19])


@pytest.mark.parametrize(
    ("backend", "options"), [("cpu", {"xla_backend_optimization_level": 0}), ("tpu", {})]
)
def test_no_other_backend_is_given_an_option_that_it_may_not_know(monkeypatch, backend, options):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "jit", lambda f, compiler_options: compiler_options)
    assert quick_jit(jnp.sin) == options


def test_a_network_is_constructed_as_its_function_does_up_to_the_last_bit():
    def build():
        return models.create("resnet8", w_bits=2, a_bits=2, width=2, rngs=nnx.Rngs(3))

    constructed, called = construct(build), build()
    assert nnx.graphdef(constructed) == nnx.graphdef(called)
    expected = by_path(nnx.state(called, nnx.Param))
    for name, value in by_path(nnx.state(constructed, nnx.Param)).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-7, err_msg=name)
