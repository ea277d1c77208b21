import numpy as np
import pytest
from onnx import numpy_helper

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph
from n2uq_jax.export.formats.onnx.window import Codes, Window
from tests.export.formats.onnx.nodes import run_nodes
from tests.export.formats.onnx.test_products import KINDS, PADDED, conv, product_of, weights

X = np.arange(2 * 7 * 6 * 5, dtype=np.uint8).reshape(2, 7, 6, 5)


def window_of(weight, **options):
    product, _ = product_of(conv(**options), X, weight)
    return Window.of(product, Codes("x", KINDS[np.uint8], X.shape, product.codes), weight)


@pytest.mark.parametrize("optimized", [True, False])
def test_patches_hold_what_each_window_reads(optimized):
    window = window_of(weights((3, 2, 5, 4), 2), strides=(2, 1), **PADDED, dilation=(1, 2))
    graph = OnnxGraph(21)
    output = window.patches(graph, window.padded(graph, "x"))
    # The places themselves are made when the model is loaded.
    assert max(numpy_helper.to_array(t).size for t in graph.initializers.values()) < 10
    patches = run_nodes(graph, output, X, optimized=optimized)
    padded = np.pad(X, ((0, 0), *PADDED["padding"], (0, 0)))
    assert patches.shape == (2, 4, 5, 30)
    for y, x in np.ndindex(4, 5):
        read = padded[:, 2 * y : 2 * y + 3, x : x + 3 : 2]
        np.testing.assert_array_equal(patches[:, y, x], read.reshape(2, -1))


def test_windows_of_one_pixel_need_no_patches():
    graph = OnnxGraph(21)
    window = window_of(weights((1, 1, 5, 4), 2))
    assert window.patches(graph, window.padded(graph, "x")) == "x"
    assert window_of(weights((1, 1, 5, 4), 2), strides=(2, 2)).patches(graph, "x") != "x"


def test_transposed_convolutions_are_refused():
    with pytest.raises(NotInOnnx, match="transposed layer"):
        window_of(weights((3, 3, 5, 4), 2), lhs_dilation=(2, 2))
