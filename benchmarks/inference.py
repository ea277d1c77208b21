"""Times one network in every engine: XLA, ONNX Runtime, and the C program with each kernel.

ONNX Runtime also runs torchvision's float network of the same architecture, in float32 and in its
own int8. All engines take turns in one process, so that what else the machine does meets all of
them; medians of their times are comparable within one run, and between runs as ratios alone.
Beside the time on the clock stands that of the processor, in all threads: on a machine that is
shared, with one thread, it tells more.

    python benchmarks/inference.py --networks resnet18 --bits 2 4 --artifacts /tmp/artifacts
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import onnxruntime
from flax import nnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

import n2uq_jax as n2uq
from n2uq_jax.export.formats.c.compile import shared_library
from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import Source

Run = Callable[[], object]


@dataclasses.dataclass
class Row:
    """Times of one engine at one number of threads and one batch size."""

    network: str
    bits: int | None
    engine: str
    threads: int
    batch: int
    kilobytes: int  # of what is loaded: a model file, or a library
    clock: list[float] = dataclasses.field(default_factory=list)  # ms an image, one a round
    processor: list[float] = dataclasses.field(default_factory=list)  # the same, of all threads

    @property
    def medians(self) -> tuple[float, float]:
        """The medians of both times."""
        return statistics.median(self.clock), statistics.median(self.processor)


def artifact(network: str, bits: int, folder: Path, options: argparse.Namespace) -> Path:
    """Exports an integer-only network, unless that was done before."""
    directory = folder / f"{network}_w{bits}a{bits}_{options.size}"
    if not directory.exists():
        model = n2uq.models.create(
            network, w_bits=bits, a_bits=bits, integer_only=True, rngs=nnx.Rngs(0)
        )
        model.eval()
        shape = (options.size, options.size, 3)
        images = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
        formats = ("stablehlo", "onnx", "c")
        n2uq.export_model(model, directory, image_shape=shape, images=images, formats=formats)
    return directory


class Images(quantization.CalibrationDataReader):
    """A few images of noise: ranges of activations do not change the time."""

    def __init__(self, size: int):
        noise = np.random.default_rng(0).normal(size=(4, 1, 3, size, size)).astype(np.float32)
        self.images: Iterator[np.ndarray] = iter(noise)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next image, by the name of the model's input."""
        image = next(self.images, None)
        return None if image is None else {"images": image}


def float_models(network: str, folder: Path, size: int) -> dict[str, Path]:
    """Writes torchvision's network in float32, and as ONNX Runtime quantizes it."""
    import torch
    import torchvision

    paths = {kind: folder / f"{network}_{size}_{kind}.onnx" for kind in ("float32", "int8")}
    if not paths["int8"].exists():
        model = torchvision.models.get_model(network).eval()
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, size, size),),
            paths["float32"],
            input_names=["images"],
            dynamic_axes={"images": {0: "batch"}},
            dynamo=False,
        )
        # Folds what is constant, as biases behind an identity: quantize_static wants that.
        quant_pre_process(paths["float32"], paths["float32"], skip_symbolic_shape=True)
        quantization.quantize_static(
            paths["float32"],
            paths["int8"],
            Images(size),
            quant_format=quantization.QuantFormat.QOperator,
            # Its fast kernels on x86 take unsigned activations.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
    return paths


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Opens a model with a number of threads, which do not spin when it has nothing to do."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def float_engines(network: str, threads: int, batch: int, options) -> Iterator[tuple[Row, Run]]:
    """Yields ONNX Runtime's own networks."""
    shape = (batch, 3, options.size, options.size)
    images = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for kind, path in float_models(network, options.artifacts, options.size).items():
        opened = session(path, threads)
        row = Row(network, None, f"ONNX Runtime {kind}", threads, batch, _kilobytes(path))
        yield row, lambda opened=opened: opened.run(None, {"images": images})


def integer_engines(
    network: str, bits: int, threads: int, batch: int, options
) -> Iterator[tuple[Row, Run]]:
    """Yields what runs the integer-only network."""
    directory = artifact(network, bits, options.artifacts, options)
    shape = (batch, options.size, options.size, 3)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)

    def row(engine: str, file: Path) -> Row:
        return Row(network, bits, engine, threads, batch, _kilobytes(file))

    if threads == os.cpu_count():  # XLA takes all that the process has
        loaded = n2uq.load_artifact(directory)
        xla = row("XLA", directory / "weights.safetensors")
        yield xla, lambda: jax.block_until_ready(loaded(images))
    opened = session(directory / "model.onnx", threads)
    (name,) = [x.name for x in opened.get_inputs()]
    ours = row("ONNX Runtime ours", directory / "model.onnx")
    yield ours, lambda: opened.run(None, {name: images})
    source = Source(*((directory / f"model.{end}").read_text() for end in "ch"))
    library = shared_library(source)
    for kernel in (None, *(options.kernels or NativeProgram(source).kernels)):
        program = NativeProgram(source, threads=threads, kernel=kernel)
        native = row(f"C {kernel or 'fastest'}", library)
        yield native, lambda program=program: program(images)


def measure(engines: list[tuple[Row, Run]], rounds: int) -> None:
    """Lets engines take turns."""
    for _, run in engines:
        run()
    for _ in range(rounds):
        for row, run in engines:
            time.sleep(0.02)  # threads of the one before go to sleep
            run()
            start, processor_start = time.perf_counter(), time.process_time()
            run()
            row.clock.append((time.perf_counter() - start) * 1e3 / row.batch)
            row.processor.append((time.process_time() - processor_start) * 1e3 / row.batch)


def table(rows: list[Row]) -> str:
    """Returns rows as text, each beside ONNX Runtime's int8 of the same setting."""
    int8 = {
        (r.network, r.threads, r.batch): r.medians for r in rows if r.engine == "ONNX Runtime int8"
    }
    lines = [
        "| network | bits | engine | threads | batch | ms an image | of int8's | processor ms "
        "| of int8's | kB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        cells = [r.network, r.bits or "", r.engine, r.threads, r.batch]
        for own, other in zip(r.medians, int8[r.network, r.threads, r.batch], strict=True):
            cells += [f"{own:.2f}", f"{own / other:.2f}"]
        lines.append(f"| {' | '.join(map(str, [*cells, f'{r.kilobytes:,}']))} |")
    return "\n".join(lines)


def _kilobytes(path: Path) -> int:
    return round(path.stat().st_size / 1000)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next(line.split(": ")[1] for line in text.splitlines() if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18"])
    parser.add_argument("--bits", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--size", type=int, default=224, help="height and width of images")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--kernels", nargs="*", help="to force, beside the fastest; default: all")
    parser.add_argument("--artifacts", type=Path, help="where exported networks are kept")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    options.artifacts = options.artifacts or Path(tempfile.mkdtemp())
    options.artifacts.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for network in options.networks:
        for threads in options.threads:
            for batch in options.batch:
                engines = list(float_engines(network, threads, batch, options))
                for bits in options.bits:
                    engines += integer_engines(network, bits, threads, batch, options)
                measure(engines, options.rounds)
                rows += [row for row, _ in engines]
    about = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {k: version(k) for k in ("n2uq_jax", "jax", "onnxruntime")},
        "size": options.size,
        "rounds": options.rounds,
    }
    print(json.dumps(about))
    print(table(rows))
    if options.json:
        results = [dataclasses.asdict(row) | {"medians": row.medians} for row in rows]
        options.json.write_text(json.dumps({**about, "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
