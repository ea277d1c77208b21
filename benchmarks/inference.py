r"""Times one network in every engine: XLA, ONNX Runtime, and the C program with each kernel.

ONNX Runtime also runs torchvision's float network of the same architecture, in float32 and in its
own int8. All engines take turns in one process, so that what else the machine does meets all of
them; medians of their times are comparable within one run, and between runs as ratios alone.
Beside the time on the clock stands that of the processor, in all threads: on a machine that is
shared, with one thread, it tells more. Then each engine runs once more in a process of its own,
which says by how much opening the network and running one image have let its memory grow.

    python benchmarks/inference.py --networks resnet18 --bits 2 4 --artifacts /tmp/artifacts \
        --results benchmarks/results/inference
"""

import argparse
import ctypes
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
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
    file: Path  # what is loaded: a model, or a library
    kilobytes: int = 0  # of that file
    workspace: int | None = None  # of a C program and the batch, kB
    grown: int | None = None  # peak of the memory that opening it and running an image took, kB
    clock: list[float] = dataclasses.field(default_factory=list)  # ms an image, one a round
    processor: list[float] = dataclasses.field(default_factory=list)  # the same, of all threads

    def __post_init__(self) -> None:
        """Looks the file's size up."""
        self.kilobytes = round(self.file.stat().st_size / 1000)

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
        row = Row(network, None, f"ONNX Runtime {kind}", threads, batch, path)
        yield row, lambda opened=opened: opened.run(None, {"images": images})


def integer_engines(
    network: str, bits: int, threads: int, batch: int, options
) -> Iterator[tuple[Row, Run]]:
    """Yields what runs the integer-only network."""
    directory = artifact(network, bits, options.artifacts, options)
    shape = (batch, options.size, options.size, 3)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)

    def row(engine: str, file: Path) -> Row:
        return Row(network, bits, engine, threads, batch, file)

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
        native.workspace = round(program.workspace_size(batch) / 1000)
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
        "| of int8's | file, kB | workspace, kB | memory grows by, kB |",
        "|" + " --- |" * 12,
    ]
    for r in rows:
        cells = [r.network, r.bits or "", r.engine, r.threads, r.batch]
        for own, other in zip(r.medians, int8[r.network, r.threads, r.batch], strict=True):
            cells += [f"{own:.2f}", f"{own / other:.2f}"]
        sizes = (
            "" if size is None else f"{size:,}" for size in (r.kilobytes, r.workspace, r.grown)
        )
        lines.append(f"| {' | '.join(map(str, [*cells, *sizes]))} |")
    return "\n".join(lines)


def measure_memory(row: Row) -> None:
    """Lets a process of its own open a network and run one image; XLA's is left out."""
    if row.engine == "XLA" or not Path("/proc/self/clear_refs").exists():
        return
    command = [sys.executable, __file__, "--grow", str(row.file)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    row.grown = int(result.stdout)


def grown_memory(file: Path) -> int:
    """Opens a network, runs one image, and returns the peak of what that took, in kB."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    if file.suffix == ".onnx":
        opened = session(file, 1)
        (given,) = opened.get_inputs()
        shape = [n if isinstance(n, int) else 1 for n in given.shape]
        dtype = np.float32 if given.type == "tensor(float)" else np.uint8
        opened.run(None, {given.name: np.zeros(shape, dtype)})
    else:
        library = ctypes.CDLL(str(file))
        library.model_workspace_size.restype = ctypes.c_size_t
        workspace = np.empty(library.model_workspace_size(ctypes.c_size_t(1)), np.uint8)
        # Of any network here: an image and the logits are smaller.
        arrays = np.zeros(2**20, np.uint8), np.zeros(2**16, np.int32), workspace
        image, logits, scratch = (a.ctypes.data_as(ctypes.c_void_p) for a in arrays)
        status = library.model_run(image, ctypes.c_size_t(1), logits, scratch)
        assert status == 0, status
    return _status("VmHWM") - before


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))


def draw(rows: list[Row], path: Path) -> None:
    """Draws time and memory of one thread beside ONNX Runtime's int8."""
    from n2uq_jax.report.style import (
        BLUE,
        INK,
        NEUTRAL,
        TEXT_SIZE,
        TITLE_SIZE,
        new_figure,
        save,
        style_axes,
    )

    first = rows[0]
    shown = [
        r
        for r in rows
        if (r.network, r.threads, r.batch) == (first.network, first.threads, first.batch)
        and (not r.engine.startswith("C ") or r.engine == "C fastest")
    ]
    names = [f"{r.engine}, {r.bits} bits" if r.bits else r.engine for r in shown]
    colors = [BLUE if r.engine.startswith("C ") else NEUTRAL for r in shown]
    figure = new_figure(8, 0.35 * len(shown) + 0.9)
    panels = (
        ("processor time, of int8's", [r.medians[1] for r in shown]),
        ("file, MB", [r.kilobytes / 1000 for r in shown]),
        ("memory grows by, MB", [(r.grown or 0) / 1000 for r in shown]),
    )
    int8 = next(r.medians[1] for r in shown if r.engine == "ONNX Runtime int8")
    for axes, (name, values) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        style_axes(axes)
        scaled = [v / int8 for v in values] if "int8" in name else values
        bars = axes.barh(names, scaled, color=colors, height=0.6)
        axes.bar_label(
            bars,
            [f"{v:.2f}" if "int8" in name else f"{v:.1f}" for v in scaled],
            padding=3,
            fontsize=TEXT_SIZE,
            color=INK,
        )
        axes.set_title(name, loc="left", fontsize=TITLE_SIZE, color=INK)
        axes.margins(x=0.25)
        axes.grid(False)
    figure.axes[0].invert_yaxis()
    save(figure, path)


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
    parser.add_argument("--results", type=Path, help="stem of the .json and .png to write")
    parser.add_argument("--grow", type=Path, help="file of one engine, whose memory is measured")
    options = parser.parse_args()
    if options.grow:
        print(grown_memory(options.grow))
        return
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
    for row in rows:
        measure_memory(row)
    runtime = Path(onnxruntime.__file__).parent / "capi"
    about = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {k: version(k) for k in ("n2uq_jax", "jax", "onnxruntime")},
        "onnxruntime_kilobytes": round(sum(p.stat().st_size for p in runtime.glob("*.so*")) / 1000),
        "size": options.size,
        "rounds": options.rounds,
    }
    print(json.dumps(about))
    print(table(rows))
    if options.results:
        results = [
            dataclasses.asdict(row) | {"file": row.file.name, "medians": row.medians}
            for row in rows
        ]
        text = json.dumps({**about, "rows": results}, indent=1) + "\n"
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.with_suffix(".json").write_text(text)
        draw(rows, options.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
