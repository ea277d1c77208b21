r"""Times networks in every engine: XLA, ONNX Runtime, and the C program with each kernel.

ONNX Runtime also runs torchvision's float network of the same architecture, in float32 and in its
own int8. All engines take turns in one process, so that what else the machine does meets all of
them; medians of their times are comparable within one run, and between runs as ratios alone.
Beside the time on the clock stands that of the processor, in all threads: on a machine that is
shared, with one thread, it tells more. Each file is also opened in a process of its own, which says
by how much that and running one image have let its memory grow.

    python benchmarks/inference.py --networks resnet18 --bits 2 4 --artifacts /tmp/artifacts \
        --results benchmarks/results/inference.json

Results are written after each number of threads and batch size; those that the file has are not
measured again. `--prepare` exports and compiles alone. `inference_page.py` makes a page of a file.
"""

import argparse
import ctypes
import dataclasses
import itertools
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
from typing import Any

import jax
import numpy as np
import onnxruntime
from flax import nnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

import n2uq_jax as n2uq
from n2uq_jax.export.formats.c.compile import compiler, shared_library
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
    kernel: str | None = None  # that was forced, of a C program
    kilobytes: int = 0  # of that file
    workspace: int | None = None  # of a C program and the batch, kB
    grown: int | None = None  # peak of the memory that opening it and running an image took, kB
    clock: list[float] = dataclasses.field(default_factory=list)  # ms an image, one a round
    processor: list[float] = dataclasses.field(default_factory=list)  # the same, of all threads

    def __post_init__(self) -> None:
        """Looks the file's size up."""
        self.kilobytes = round(self.file.stat().st_size / 1000)

    def result(self) -> dict[str, object]:
        """What is written: the file's name, and medians of both times."""
        medians = [round(statistics.median(times), 3) for times in (self.clock, self.processor)]
        rounded = {k: [round(ms, 3) for ms in getattr(self, k)] for k in ("clock", "processor")}
        return dataclasses.asdict(self) | rounded | {"file": self.file.name, "medians": medians}


def artifact(network: str, bits: int, options, *, integer_only: bool = True) -> Path:
    """Exports a network as it begins, unless that was done before."""
    form = "" if integer_only else "_paper"
    directory = options.artifacts / f"{network}_w{bits}a{bits}{form}_{options.size}"
    if not directory.exists():
        model = n2uq.models.create(
            network, w_bits=bits, a_bits=bits, integer_only=integer_only, rngs=nnx.Rngs(0)
        )
        model.eval()
        images = images_of(1, options.size, integer_only, seed=0)
        formats = ("stablehlo", "onnx", "c") if integer_only else ("stablehlo", "c")
        n2uq.export_model(
            model, directory, image_shape=images.shape[1:], images=images, formats=formats
        )
    return directory


def images_of(batch: int, size: int, integer_only: bool, seed: int = 1) -> np.ndarray:
    """Returns noise: pixels, or normalized images."""
    rng, shape = np.random.default_rng(seed), (batch, size, size, 3)
    if integer_only:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.normal(size=shape).astype(np.float32)


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
    directory = artifact(network, bits, options)
    images = images_of(batch, options.size, integer_only=True)

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
    source = source_of(directory)
    library = shared_library(source)
    # Kernels one by one for one image in one thread alone.
    kernels = NativeProgram(source).kernels if threads == batch == 1 else []
    for kernel in (None, *(kernels if options.kernels is None else options.kernels)):
        program = NativeProgram(source, threads=threads, kernel=kernel)
        native = row("C", library)
        native.kernel, native.workspace = kernel, round(program.workspace_size(batch) / 1000)
        yield native, lambda program=program: program(images)


def paper_engines(
    network: str, bits: int, threads: int, batch: int, options
) -> Iterator[tuple[Row, Run]]:
    """Yields the C program of the paper's form."""
    source = source_of(artifact(network, bits, options, integer_only=False))
    program = NativeProgram(source, threads=threads)
    native = Row(network, bits, "C, paper's form", threads, batch, shared_library(source))
    native.workspace = round(program.workspace_size(batch) / 1000)
    images = images_of(batch, options.size, integer_only=False)
    yield native, lambda: program(images)


def source_of(directory: Path) -> Source:
    """Reads the C program of an artifact."""
    return Source(*((directory / f"model.{end}").read_text() for end in "ch"))


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


def measure_memory(rows: list[Row]) -> None:
    """Lets a process of its own open each file and run one image; XLA's are left out."""
    if not Path("/proc/self/clear_refs").exists():
        return
    grown = {}
    for row in rows:
        if row.engine != "XLA":
            if row.file not in grown:
                command = [sys.executable, __file__, "--grow", str(row.file)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                grown[row.file] = int(done.stdout)
            row.grown = grown[row.file]


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


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next(line.split(": ")[1] for line in text.splitlines() if line.startswith("model name"))


def _extensions() -> list[str]:
    """Names the vector instructions of an x86 processor that kernels choose by."""
    names = ("avx2", "avx512vbmi", "avx512_vnni", "avx_vnni")
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [name for name in names if name in words]


def about(options: argparse.Namespace) -> dict[str, object]:
    """Describes the machine and the versions."""
    runtime = Path(onnxruntime.__file__).parent / "capi"
    compiled = subprocess.run(
        [*compiler(), "--version"], capture_output=True, text=True, check=True
    )
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "extensions": _extensions(),
        "cores": os.cpu_count(),
        "versions": {k: version(k) for k in ("n2uq_jax", "jax", "onnxruntime")}
        | {"compiler": compiled.stdout.splitlines()[0]},
        "onnxruntime_kilobytes": round(sum(p.stat().st_size for p in runtime.glob("*.so*")) / 1000),
        "size": options.size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18"])
    parser.add_argument("--bits", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--paper", nargs="*", type=int, default=[], help="bits of the paper's form")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--size", type=int, default=224, help="height and width of images")
    parser.add_argument("--rounds", type=int, default=21, help="of one image; of more a third")
    parser.add_argument("--kernels", nargs="*", help="to force, beside the fastest; default: all")
    parser.add_argument("--artifacts", type=Path, help="where exported networks are kept")
    parser.add_argument("--results", type=Path, help="the .json to write, or to continue")
    parser.add_argument("--prepare", action="store_true", help="export and compile, and stop")
    parser.add_argument("--grow", type=Path, help="file of one engine, whose memory is measured")
    options = parser.parse_args()
    if options.grow:
        print(grown_memory(options.grow))
        return
    options.artifacts = options.artifacts or Path(tempfile.mkdtemp())
    options.artifacts.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {**about(options), "rows": []}
    if options.results and options.results.exists():
        results = json.loads(options.results.read_text())
    done = {(r["network"], r["threads"], r["batch"]) for r in results["rows"]}
    settings = itertools.product(options.networks, options.threads, options.batch)
    for setting in (s for s in settings if s not in done):
        engines = list(float_engines(*setting, options))
        for make, bits in ((integer_engines, options.bits), (paper_engines, options.paper)):
            for b in bits:
                network, *threads_and_batch = setting
                engines += make(network, b, *threads_and_batch, options)
        if options.prepare:
            continue
        load = os.getloadavg()[0]
        measure(engines, options.rounds if setting[-1] == 1 else -(-options.rounds // 3))
        rows = [row for row, _ in engines]
        if setting[1:] == (1, 1):
            measure_memory(rows)  # of the files, which are the same elsewhere
        results["rows"] += [row.result() | {"load": round(load, 2)} for row in rows]
        for row in rows:
            print(json.dumps({k: v for k, v in row.result().items() if v and k != "clock"}))
        if options.results:
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
