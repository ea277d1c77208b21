"""Compares what ONNX Runtime, qonnx and StableHLO make of a program with the program itself.

Once from the images on, where each runtime rounds the first convolution in its own way, and once
from the same output of the first convolution on.

    python benchmarks/export_formats.py --model resnet18 --bits 2
"""

import argparse
import warnings
from collections.abc import Callable

import jax
import numpy as np
import onnx
import onnxruntime
from export_proof import NETWORKS, make_unkind
from flax import nnx
from onnx.utils import Extractor

import n2uq_jax as n2uq
from n2uq_jax.export import IntegerProgram, build_program
from n2uq_jax.export.artifact.tensors import flatten, pack_tensors, unflatten
from n2uq_jax.export.formats.onnx.runtime import to_onnx
from n2uq_jax.export.formats.qonnx import to_qonnx
from n2uq_jax.export.formats.stablehlo import to_stablehlo
from n2uq_jax.export.program.execution import Execution
from n2uq_jax.export.trace.graph import Op

Codes = dict[str, np.ndarray]


class FromStem(Execution):
    """Runs a program with a given output of its first convolution, or remembers it."""

    stem = None

    def compute(self, op: Op) -> None:
        """Takes the given output in place of the first convolution."""
        first = op.name == "conv_general_dilated" and self.network.graph.inputs[0] in op.inputs
        if first and self.stem is not None:
            self.env[op.outputs[0]] = self.stem
        else:
            super().compute(op)
        if first:
            self.stem = self.env[op.outputs[0]]


def reference(program: IntegerProgram, images: np.ndarray) -> tuple[np.ndarray, Codes, np.ndarray]:
    """Returns logits, codes, and the output of the first convolution that they came from."""

    @jax.jit
    def run(tensors, thresholds, images):
        execution = FromStem(program.network(len(images)), tensors, thresholds, images)
        logits, codes = execution.results()
        return logits, codes, execution.stem

    logits, codes, stem = run(program.tensors, program.thresholds, images)
    return np.asarray(logits), codes, np.asarray(stem)


def stablehlo(program: IntegerProgram, images: np.ndarray, stem: np.ndarray | None):
    weights, _ = pack_tensors(flatten(program))
    if stem is None:
        serialised = to_stablehlo(program, codes=True)
        return jax.export.deserialize(bytearray(serialised)).call(weights, images)

    def run(weights, images, stem):
        tensors, thresholds = unflatten(weights, program.folded)
        execution = FromStem(program.network(len(images)), tensors, thresholds, images)
        execution.stem = stem
        return execution.results()

    arguments = (flatten(program), images, stem)
    exported = jax.export.export(jax.jit(run))(*arguments)
    return jax.export.deserialize(exported.serialize()).call(*arguments)


def from_stem(serialised: bytes) -> tuple[onnx.ModelProto, str]:
    """Cuts an ONNX model behind its first convolution; returns also the new input's name."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(serialised))
    convolution = next(n for n in model.graph.node if n.op_type == "Conv")
    last = next(n for n in model.graph.node if convolution.output[0] in n.input)
    assert last.op_type == "Transpose"
    outputs = [o.name for o in model.graph.output]
    cut = Extractor(model).extract_model([last.output[0]], outputs)
    # The extractor leaves the new input among the inner values as well, which qonnx refuses.
    ends = {value.name for value in (*cut.graph.input, *cut.graph.output)}
    inner = [value for value in cut.graph.value_info if value.name not in ends]
    del cut.graph.value_info[:]
    cut.graph.value_info.extend(inner)
    return cut, last.output[0]


def onnx_runtime(program: IntegerProgram, images: np.ndarray, stem: np.ndarray | None):
    serialised, feed = to_onnx(program, codes=True), {"images": images}
    if stem is not None:
        model, name = from_stem(serialised)
        serialised, feed = model.SerializeToString(), {name: stem}
    session = onnxruntime.InferenceSession(serialised, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return split(dict(zip(names, session.run(None, feed), strict=True)))


def qonnx(program: IntegerProgram, images: np.ndarray, stem: np.ndarray | None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        serialised = to_qonnx(program, batch_size=len(images), codes=True)
        model, feed = onnx.load_from_string(serialised), {"images": images}
        if stem is not None:
            model, name = from_stem(serialised)
            feed = {name: stem}
        return split(execute_onnx(ModelWrapper(model).transform(InferShapes()), feed))


def split(outputs: Codes) -> tuple[np.ndarray, Codes]:
    return outputs.pop("logits"), outputs


FORMATS: dict[str, Callable] = {
    "StableHLO": stablehlo,
    "ONNX Runtime": onnx_runtime,
    "qonnx": qonnx,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=NETWORKS, default="resnet18")
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    arguments = parser.parse_args()
    model = n2uq.models.create(
        arguments.model, w_bits=arguments.bits, a_bits=arguments.bits, rngs=nnx.Rngs(0)
    )
    make_unkind(model, np.random.default_rng(0))
    shape = (arguments.size, arguments.size, 3)
    images = np.random.default_rng(1).normal(size=(arguments.images, *shape)).astype(np.float32)
    program = build_program(model, shape)
    logits, expected, stem = reference(program, images)
    print("| format | from | codes | differ, folded layers | differ, other layers | top-1 differ |")
    print("|---" * 6 + "|")
    for name, run in FORMATS.items():
        for start, given in (("first convolution's output", stem), ("images", None)):
            got_logits, got = run(program, images, given)
            assert got.keys() == expected.keys()
            wrong = {n: int((np.asarray(got[n]) != np.asarray(expected[n])).sum()) for n in got}
            folded = sum(count for n, count in wrong.items() if n in program.folded)
            top1 = np.asarray(got_logits).argmax(-1) != logits.argmax(-1)
            codes = sum(np.size(array) for array in expected.values())
            cells = [name, start, f"{codes:,}", folded, sum(wrong.values()) - folded, top1.sum()]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
