import pytest

from n2uq_jax.workdir.stages import is_integer_only, network_kind, teachers, title


@pytest.mark.parametrize(
    ("stage", "whole_run", "kind"),
    [
        ({"quantized": False}, True, "float32"),
        ({"quantized": True}, False, "W2A3"),
        ({"quantized": True}, True, "W2A3, integers alone"),
        ({"quantized": True, "integer_only": True}, False, "W2A3, integers alone"),
    ],
)
def test_what_a_network_is_called(stage, whole_run, kind):
    config = {"model": {"w_bits": 2, "a_bits": 3, "integer_only": whole_run}, "s": stage}
    assert network_kind(config, "s") == kind
    assert is_integer_only(config, "s") == kind.endswith("alone")


def test_another_method_is_named():
    config = {"model": {"w_bits": 2, "a_bits": 2, "method": "lsq"}, "s": {"quantized": True}}
    assert network_kind(config, "s") == "W2A2 lsq"


def test_what_a_run_is_called_and_who_teaches():
    config = {
        "model": {"name": "resnet8"},
        "data": {"name": "digits"},
        "stages": ["float", "quantized"],
        "float": {"teacher": None},
        "quantized": {"teacher": "float"},
    }
    assert title(config) == "resnet8 on digits"
    assert teachers(config) == {"quantized": "float"}
