import pytest
from flax import nnx

import n2uq_jax as n2uq


def create(**options):
    return nnx.eval_shape(
        lambda: n2uq.models.create("resnet8", width=4, num_classes=10, rngs=nnx.Rngs(0), **options)
    )


@pytest.fixture(scope="module")
def paper():
    return n2uq.check(create(w_bits=2, a_bits=3), (8, 8, 3))


def test_the_paper_form_keeps_in_float_what_its_export_does(paper):
    becomes = {layer.cost.path: layer.becomes for layer in paper.layers}
    assert becomes["conv"] == becomes["head"] == "float: no quantizer"
    assert becomes["stages/0/0/units/1/conv"] == "integer thresholds"
    assert becomes["stages/1/0/shortcut/conv"].startswith("float: reads 2 values together")
    assert becomes["stages/0/0/units/0/conv"] == "float: reads the images through float layers"


@pytest.mark.slow  # compiles what the structure alone has told
def test_the_same_is_unfolded_once_there_are_values(paper):
    from n2uq_jax.export.program.build import build_program

    model = n2uq.models.create(
        "resnet8", width=4, num_classes=10, w_bits=2, a_bits=3, rngs=nnx.Rngs(0)
    )
    program = build_program(model, (8, 8, 3))
    float_ones = {layer.cost.path for layer in paper.layers if layer.folds is False}
    assert {name.removesuffix("/input_quantizer") for name in program.unfolded} == float_ones
    assert sorted(program.unfolded.values()) == sorted(
        layer.why for layer in paper.layers if layer.folds is False
    )


def test_bits_bytes_and_operations_add_up(paper):
    layer = next(one for one in paper.layers if one.cost.path == "stages/0/0/units/1/conv")
    assert (layer.inputs, layer.cost.w_bits, layer.cost.a_bits) == ("3-bit codes", 2, 3)
    assert layer.bytes == 3 * 3 * 4 * 4 * 2 // 8
    assert layer.cost.macs == 8 * 8 * 3 * 3 * 4 * 4
    lines = str(paper).splitlines()
    assert lines[0].split() == ["layer", "weights", "inputs", "in", "export", "bytes", "MMAC"]
    assert len(lines) == len(paper.layers) + 2
    assert lines[-1].split()[2] == f"{paper.bytes:,}"


def test_an_integer_only_network_has_integers_everywhere():
    found = n2uq.check(create(w_bits=2, a_bits=2, integer_only=True), (8, 8, 3))
    stem, *middle, head = found.layers
    assert (stem.cost.w_bits, stem.becomes) == (8, "integers")
    assert stem.inputs.startswith("integers -")
    assert (head.cost.w_bits, head.becomes) == (8, "integers")
    assert {layer.becomes for layer in middle} == {"integer thresholds"}


def test_a_model_of_ones_own_and_a_float_one():
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 8, rngs=rngs)]
    model = nnx.Sequential(*layers)
    assert {layer.becomes for layer in n2uq.check(model, (4,)).layers} == {"float: no quantizer"}
    signed = n2uq.quantize(model, [n2uq.Rule("layers/2", w_bits=4, a_bits=4, signed=True)])
    assert n2uq.check(signed, (4,)).layers[1].inputs == "signed 4-bit codes"
    with pytest.raises(TypeError, match="shape"):
        n2uq.check(model, (5,))
