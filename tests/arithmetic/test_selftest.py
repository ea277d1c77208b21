import jax
import jax.numpy as jnp
import pytest

import n2uq_jax as n2uq
from n2uq_jax.arithmetic import SelfTest
from n2uq_jax.arithmetic.convolution import Convolution


@pytest.mark.usefixtures("optimized")
def test_this_backend_is_exact():
    result = n2uq.selftest()
    assert result.ok
    assert result.backend == jax.default_backend()
    assert {key[0] for key in result.wrong} == {"float32", "bfloat16", "int8", "default"}
    assert len(result.wrong) == 28
    assert str(result).startswith(f"convolutions of codes on {result.backend}: exact\n")


def test_inexact_backend_is_found_out(monkeypatch):
    def careless(self, x, w, accumulator, convolve=Convolution.__call__):
        sums = convolve(self, x, w, accumulator)
        return sums.astype(jnp.bfloat16).astype(sums.dtype)

    monkeypatch.setattr(Convolution, "__call__", careless)
    result = n2uq.selftest()
    assert not result.ok
    assert all(result.wrong[operands, 4, "3x3"] > 0 for operands in ("float32", "int8"))


def test_report_counts_wrong_sums():
    result = SelfTest("tpu", {("int8", 4, "3x3"): 7, ("default", 8, "1x1"): 0})
    assert not result.ok
    lines = str(result).split("\n")
    assert lines[0] == "convolutions of codes on tpu: NOT EXACT"
    assert lines[1].split() == ["int8", "4", "bits", "3x3", "7", "sums", "differ"]
