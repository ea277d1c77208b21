"""Integer-only networks: proofs, other runtimes, other compiler flags, fewer bits.

    python benchmarks/integer_only.py proof --model resnet18 --bits 2
    python benchmarks/integer_only.py runtimes --model resnet18 --bits 2 --images 32
    python benchmarks/integer_only.py native --model resnet18 --bits 1 2 3 4 w2a4 --images 2
    python benchmarks/integer_only.py flags --model resnet18 --bits 2
    python benchmarks/integer_only.py stream_bits --workdir runs/digits_w2a2
    python benchmarks/integer_only.py bytes

Each prints a table; the last columns of `native` and `runtimes` count what differs.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from export_proof import NETWORKS, make_unkind
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax import data
from n2uq_jax.export import build_program, export_model
from n2uq_jax.nn.integer import set_grids
from n2uq_jax.workdir.config_json import read_workdir
from n2uq_jax.workdir.model import open_dataset

FLAGS = [
    "",
    "--xla_cpu_enable_fast_math=true",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_prefer_vector_width=128",
    "--xla_cpu_prefer_vector_width=512",
    "--xla_force_host_platform_device_count=8",
]
"""What changes float code; the last one splits a batch over 8 devices."""

STREAM_BITS = (16, 12, 10, 8)


def network(name: str, bits: int | str, size: int) -> nnx.Module:
    """Returns an integer-only network with unkind parameters, its grids set on noise.

    Args:
      name: of the architecture.
      bits: of weights and activations; or of each, as ``"w2a4"``.
      size: height and width of the noise.
    """
    w_bits, a_bits = str(bits)[1:].split("a") if "a" in str(bits) else (bits, bits)
    model = n2uq.models.create(
        name, w_bits=int(w_bits), a_bits=int(a_bits), integer_only=True, rngs=nnx.Rngs(0)
    )
    make_unkind(model, np.random.default_rng(0))
    set_grids(model, [pixels(16, size)])
    model.eval()
    return model


def pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_header(*cells: str) -> None:
    print_row(*cells)
    print_row(*["---"] * len(cells))


def prove_export(arguments: argparse.Namespace) -> None:
    """Exports each network and compares every integer of every layer, then images."""
    print_header(
        *("network", "bits", "folded", "kept in float", "integers compared", "codes compared"),
        *("codes differ", "logits differ by", "verdict", "seconds", "peak GB"),
    )
    for name in arguments.model:
        for bits in arguments.bits:
            begin = time.perf_counter()
            model = network(name, bits, arguments.size)
            images = pixels(arguments.images, arguments.size)
            with tempfile.TemporaryDirectory() as folder:
                exported = export_model(
                    model, f"{folder}/artifact", image_shape=images.shape[1:], images=images
                )
            proof, program = exported.proof, exported.program
            print_row(
                name,
                bits,
                len(program.folded),
                len(program.unfolded),
                f"{proof.values:,}",
                f"{sum(layer.codes for layer in proof.data.layers.values()):,}",
                proof.data.differing + sum(edge.differing for edge in proof.edges),
                f"{proof.data.largest_logit_difference:g}",
                f"{proof.verdict}{', integer-only' if proof.integer_only else ''}",
                f"{time.perf_counter() - begin:.0f}",
                f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}",
            )


def compare_runtimes(arguments: argparse.Namespace) -> None:
    """Compares codes and logits of ONNX Runtime and qonnx, from pixels on, with XLA's."""
    from export_formats import FORMATS

    print_header("network", "bits", "runtime", "codes", "codes differ", "logits", "logits differ")
    for name in arguments.model:
        for bits in arguments.bits:
            model = network(name, bits, arguments.size)
            images = pixels(arguments.images, arguments.size)
            program = build_program(model, images.shape[1:])
            logits, expected = program.codes(images)
            for runtime, run in FORMATS.items():
                got_logits, got = run(program, images, None)
                wrong = sum(
                    int((np.asarray(got[k]) != np.asarray(v)).sum()) for k, v in expected.items()
                )
                codes = sum(np.size(v) for v in expected.values())
                differing = int((np.asarray(got_logits) != np.asarray(logits)).sum())
                print_row(name, bits, runtime, f"{codes:,}", wrong, f"{logits.size:,}", differing)


def compare_native(arguments: argparse.Namespace) -> None:
    """Compares codes and logits of the C program, with each kernel forced in turn, with XLA's."""
    print_header(
        *("network", "bits", "pixels", "kernel", "codes", "codes differ"),
        *("logits", "logits differ", "largest code"),
    )
    for workdir in arguments.workdir or ():
        model = n2uq.load(workdir, stage="integer")
        config = read_workdir(workdir)["config"]
        batch = next(iter(data.eval_batches(open_dataset(config["data"]), arguments.images)))
        bits = f"w{config['model']['w_bits']}a{config['model']['a_bits']}"
        print_native(Path(workdir).name, bits, model, batch["image"], arguments.emulated)
    for name in arguments.model:
        for bits in arguments.bits:
            images = pixels(arguments.images, arguments.size)
            model = network(name, bits, arguments.size)
            print_native(name, bits, model, images, arguments.emulated)


EMULATED = ("-DN2UQ_EMULATED", "-DSIMDE_NO_NATIVE", "-Wno-psabi")
"""SIMDe computes the instructions that this processor has not, and those that it has."""


def print_native(name: str, bits: str, model: nnx.Module, images: np.ndarray, emulated: bool):
    """Prints a line for each kernel that runs here, or in emulation."""
    from n2uq_jax.export.formats.c import generate, lower
    from n2uq_jax.export.formats.c.engine import NativeProgram

    program = build_program(model, images.shape[1:])
    expected_logits, expected = jax.tree.map(np.asarray, program.codes(images))
    layers = lower(program)
    source = generate(layers, kept=layers.codes.values())
    flags = EMULATED if emulated else ()
    for kernel in NativeProgram(source, flags=flags).kernels:
        native = NativeProgram(source, kernel=kernel, flags=flags)
        logits = native.logits(images)
        wrong = codes = largest = 0
        for image, *wanted in zip(images, *expected.values(), strict=True):
            tensors = native.tensors(image)
            for quantizer, want in zip(expected, wanted, strict=True):
                got = tensors[layers.codes[quantizer]].reshape(want.shape)
                wrong += int((got != want).sum())
                codes += want.size
                largest = max(largest, int(got.max()))
        print_row(
            *(name, bits, images.shape[1], kernel, f"{codes:,}", wrong, f"{logits.size:,}"),
            *(int((logits != expected_logits).sum()), largest),
        )


def compare_flags(arguments: argparse.Namespace) -> None:
    """Runs one artifact in processes with other compiler flags, and compares all integers."""
    print_header("network", "bits", "XLA_FLAGS", "batch", "codes and logits", "digest", "equal")
    for name in arguments.model:
        for bits in arguments.bits:
            with tempfile.TemporaryDirectory() as folder:
                export_for_flags(name, bits, arguments.size, Path(folder))
                first = None
                for flags in FLAGS:
                    for batch in (1, 7, 64):
                        count, digest = run_with_flags(flags, batch, folder)
                        first = first or {}
                        equal = first.setdefault("digest", digest) == digest
                        print_row(
                            *(name, bits, flags or "none", batch, f"{int(count):,}"),
                            *(digest[:12], "yes" if equal else "NO"),
                        )


def export_for_flags(name: str, bits: int, size: int, folder: Path) -> None:
    """Writes a program that returns its codes too, its weights, and images."""
    from n2uq_jax.export.artifact.tensors import flatten, pack_tensors, serialise_tensors
    from n2uq_jax.export.formats.stablehlo import to_stablehlo

    program = build_program(network(name, bits, size), (size, size, 3))
    packed, _ = pack_tensors(flatten(program))
    (folder / "model.stablehlo").write_bytes(to_stablehlo(program, codes=True))
    (folder / "weights.safetensors").write_bytes(serialise_tensors(packed))
    np.save(folder / "images.npy", pixels(64, size))


def run_with_flags(flags: str, batch: int, folder: str) -> tuple[str, str]:
    command = [sys.executable, __file__, "digest", "--folder", folder, "--batch", str(batch)]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    count, digest = output.stdout.split()
    return count, digest


def print_digest(arguments: argparse.Namespace) -> None:
    """Prints how many integers the program in a folder gives, and a digest of them."""
    import jax.export
    from jax.sharding import NamedSharding, PartitionSpec
    from safetensors.numpy import load_file

    folder = Path(arguments.folder)
    program = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    weights = load_file(folder / "weights.safetensors")
    images, batch = np.load(folder / "images.npy"), arguments.batch
    mesh = jax.make_mesh((jax.device_count(),), ("batch",))
    split = NamedSharding(mesh, PartitionSpec("batch" if batch % mesh.size == 0 else None))
    run = jax.jit(program.call)
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        if mesh.size > 1:
            part = jax.device_put(part, split) if len(part) == batch else part
        parts.append(jax.tree.map(np.asarray, run(weights, part)))
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    leaves = jax.tree.leaves(joined)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in leaves))
    print(sum(a.size for a in leaves), digest.hexdigest())


def compare_stream_bits(arguments: argparse.Namespace) -> None:
    """Turns a trained network into integer-only ones, and evaluates them without training."""
    config = read_workdir(arguments.workdir)["config"]
    model = n2uq.load(arguments.workdir, stage=arguments.stage)
    dataset = open_dataset(config["data"])
    batches = data.train_batches(dataset, 128)
    sample = [np.array(next(batches)["image"]) for _ in range(4)]
    images, labels = [], []
    for batch in data.eval_batches(dataset, 100):
        kept = batch["weight"] > 0
        images.append(batch["image"][kept])
        labels.append(batch["label"][kept])
    print_header("stream, bits", "top-1", "images")

    def top1(run, prepare) -> float:
        right = [
            (np.asarray(run(prepare(x))).argmax(-1) == y).mean() * len(y)
            for x, y in zip(images, labels, strict=True)
        ]
        return sum(right) / sum(map(len, labels))

    def normalized(x):
        return data.normalize(jax.numpy.asarray(x), dataset.mean, dataset.std)

    evaluate = nnx.jit(lambda model, x: model(x))
    count = sum(map(len, labels))
    print_row("paper's form", f"{top1(lambda x: evaluate(model, x), normalized):.2%}", count)
    for bits in STREAM_BITS:
        integer = n2uq.to_integer_only(model, sample, stream_bits=bits)
        print_row(bits, f"{top1(lambda x, m=integer: evaluate(m, x), np.asarray):.2%}", count)


def count_bytes(arguments: argparse.Namespace) -> None:
    """Counts the activations that an image moves between layers, from the cost table."""
    print_header("network", "float, MB an image", "paper's form", "integer-only", "ratio")
    for name in arguments.model:

        def moved(name=name, dtype=np.float32, bits=2, **options) -> int:
            model = nnx.eval_shape(
                lambda: n2uq.models.create(
                    name, w_bits=bits, a_bits=bits, rngs=nnx.Rngs(0), **options
                )
            )
            return n2uq.cost(model, (224, 224, 3), dtype).activation_bytes

        before, after = moved(), moved(dtype=np.uint8, integer_only=True)
        sizes = [f"{size / 1e6:.2f}" for size in (moved(bits=None), before, after)]
        print_row(name, *sizes, f"{before / after:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True)
    for name, function, images in (
        ("proof", prove_export, 1000),
        ("runtimes", compare_runtimes, 32),
        ("flags", compare_flags, 64),
        ("bytes", count_bytes, 0),
    ):
        verb = verbs.add_parser(name, help=function.__doc__.split("\n")[0])
        verb.add_argument("--model", nargs="+", choices=NETWORKS, default=NETWORKS)
        verb.add_argument("--bits", nargs="+", type=int, default=[2, 4])
        verb.add_argument("--images", type=int, default=images)
        verb.add_argument("--size", type=int, default=64, help="height and width of the images")
        verb.set_defaults(run=function)
    verb = verbs.add_parser("native", help=compare_native.__doc__.split("\n")[0])
    verb.add_argument("--model", nargs="*", choices=NETWORKS, default=NETWORKS)
    verb.add_argument("--bits", nargs="+", default=["1", "2", "3", "4", "w2a4"])
    verb.add_argument("--images", type=int, default=2)
    verb.add_argument("--size", type=int, default=64, help="height and width of the images")
    verb.add_argument("--workdir", nargs="*", help="trained networks with a stage integer, too")
    verb.add_argument("--emulated", action="store_true", help="kernels for other processors")
    verb.set_defaults(run=compare_native)
    verb = verbs.add_parser("stream_bits", help=compare_stream_bits.__doc__.split("\n")[0])
    verb.add_argument("--workdir", required=True)
    verb.add_argument("--stage", default="quantized", help="in the paper's form")
    verb.set_defaults(run=compare_stream_bits)
    verb = verbs.add_parser("digest", help="one process of flags")
    verb.add_argument("--folder", required=True)
    verb.add_argument("--batch", type=int, required=True)
    verb.set_defaults(run=print_digest)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
