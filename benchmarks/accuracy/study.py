"""Quantization methods on real images: the same float network, batches and budget for all.

    python benchmarks/accuracy/study.py --out runs/accuracy --seeds 0 1 2 3 4
    python benchmarks/accuracy/study.py --out runs/held_out --split held_out --variants lsq lsq@1
    python benchmarks/accuracy/table.py runs/accuracy/results.jsonl

Every finished run is a line of OUT/results.jsonl: its settings, its curve, its time. The command
goes on where it was stopped, and runs whatever of the variants, bits and seeds has no line yet. A
variant is one of VARIANTS, and ``NAME@FACTOR`` trains its quantizers at FACTOR times the learning
rate of the other parameters. The library's own trainer does the training.
"""

import argparse
import datetime
import json
import platform
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

import n2uq_jax as n2uq
from n2uq_jax.cli.compiled import keep_compiled
from n2uq_jax.data.idx import read_idx_folder
from n2uq_jax.nn import quantizers
from n2uq_jax.quantizers import effective_intervals, thresholds
from n2uq_jax.training.config import default_config
from n2uq_jax.training.run import train
from n2uq_jax.workdir.metrics import read_metrics

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"

VARIANTS: dict[str, dict[str, Any]] = {
    "float": {"quantized.quantized": False},  # the same network and budget without quantizers
    "n2uq": {},  # the paper's recipe: quantizers at a tenth of the learning rate
    "n2uq_calibrated": {"quantized.calibrate": True},
    "n2uq_uniform": {"model.method": "n2uq_uniform"},
    "n2uq_unscaled": {"model.method": "n2uq_unscaled"},
    "lsq": {"model.method": "lsq"},
    "pact": {"model.method": "pact"},
    "dorefa": {"model.method": "dorefa"},
}
"""Fields of the configuration in which each differs from the paper's recipe."""


def base_config(arguments: argparse.Namespace, seed: int) -> ConfigDict:
    """Returns what all runs of a seed have in common."""
    config = default_config()
    config.unlock()
    config.seed = seed
    config.model.name = arguments.network
    config.model.width = arguments.width
    config.model.stem_stride = arguments.stem_stride
    config.data.name = "idx"
    config.data.dir = str(data_folder(arguments))
    config.data.flip = True
    config.batch_size = arguments.batch_size
    config.eval_batch_size = 1000
    config.float.epochs = arguments.float_epochs
    config.quantized.epochs = arguments.epochs
    config.eval_every = arguments.eval_every
    config.log_every = config.checkpoint_every = 10**6  # at evaluations alone
    config.keep_checkpoints = 1
    config.figures = False
    return config


def data_folder(arguments: argparse.Namespace) -> Path:
    """Returns where the images of this study are: a fixed subset, drawn once."""
    folder = Path(arguments.out) / "data" / f"{arguments.split}_{arguments.images}"
    if not folder.is_dir():
        train_split, test = read_idx_folder(Path(arguments.data))
        order = np.random.default_rng(0).permutation(len(train_split))
        chosen, rest = order[: arguments.images], order[arguments.images :][: len(test)]
        if arguments.split == "held_out":
            held_out = train_split.images[rest], train_split.labels[rest]
        else:
            held_out = test.images, test.labels
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_split(partial, "train", train_split.images[chosen], train_split.labels[chosen])
        write_split(partial, "t10k", *held_out)
        partial.rename(folder)
    return folder


def write_split(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes images and labels as two IDX files."""
    for kind, values in (("images", images[..., 0]), ("labels", labels.astype(np.uint8))):
        header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        path = folder / f"{split}-{kind}-idx{values.ndim}-ubyte"
        path.write_bytes(header + np.ascontiguousarray(values).tobytes())


def variant_changes(name: str) -> dict[str, Any]:
    """Returns the fields that a variant changes; ``NAME@FACTOR`` sets the learning-rate factor."""
    name, _, factor = name.partition("@")
    if name not in VARIANTS:
        raise SystemExit(f"variants must be of {', '.join(VARIANTS)}, got {name!r}.")
    return VARIANTS[name] | ({"quantized.quantizer_lr_factor": float(factor)} if factor else {})


def run(config: ConfigDict, workdir: Path) -> tuple[float, float]:
    """Trains, and returns the seconds it took, and those of the processor."""
    begin, cpu = time.perf_counter(), time.process_time()
    train(config, workdir, Console(quiet=True))
    return time.perf_counter() - begin, time.process_time() - cpu


def float_network(arguments: argparse.Namespace, seed: int) -> Path:
    """Trains the float network that all variants of a seed start from, once."""
    name = f"{arguments.network}_w{arguments.width}_{arguments.split}_seed{seed}"
    workdir = Path(arguments.out) / "float" / name
    config = base_config(arguments, seed)
    config.stages = ("float",)
    run(config, workdir)  # at once, if it is there already
    return workdir


def learned_thresholds(workdir: Path) -> dict[str, list[float]]:
    """Returns the thresholds of every quantizer of N2UQ, in units of ``in_scale * x``."""
    return {
        path: thresholds(q.start[...], effective_intervals(q.intervals[...])).tolist()
        for path, q in quantizers(n2uq.load(workdir)).items()
    }


def study(arguments: argparse.Namespace) -> None:
    """Runs what has no result yet, seed by seed: each finished seed is a full comparison."""
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    for seed in arguments.seeds:
        for bits in arguments.bits:
            for variant in arguments.variants:
                key = run_key(arguments, variant, bits, seed)
                if any(key.items() <= line.items() for line in read_results(results)):
                    continue
                source = float_network(arguments, seed)
                config = base_config(arguments, seed)
                config.stages = ("quantized",)
                config.model.w_bits = config.model.a_bits = bits
                config.quantized.init = config.quantized.teacher = str(source)
                changes = variant_changes(variant)
                config.update_from_flattened_dict(changes)
                workdir = out / "current" / f"{variant}_{bits}_{seed}"
                seconds, cpu = run(config, workdir)
                started = read_metrics(source / "metrics.jsonl")[-1]
                curve = [m for m in read_metrics(workdir / "metrics.jsonl") if m["kind"] == "eval"]
                line = key | {
                    "config": changes | {"stem_stride": arguments.stem_stride},
                    "top1": curve[-1]["top1"],
                    "float_top1": started["top1"],
                    "curve": [[m["epoch"], m["top1"], m["loss"]] for m in curve],
                    "thresholds": learned_thresholds(workdir),
                    "seconds": round(seconds, 1),
                    "cpu_seconds": round(cpu, 1),
                    "date": datetime.date.today().isoformat(),
                    "versions": {"jax": jax.__version__, "n2uq_jax": n2uq.__version__},
                    "machine": f"{platform.machine()} {jax.default_backend()}",
                }
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                shutil.rmtree(workdir)
                jax.clear_caches()  # each run compiles its own programs
                print(f"{variant:16} {bits} bits, seed {seed}: {line['top1']:.2%}", flush=True)


SETTINGS = (
    "network",
    "width",
    "stem_stride",
    "split",
    "images",
    "batch_size",
    "float_epochs",
    "epochs",
)
"""What all runs of a comparison have in common."""


def run_key(
    arguments: argparse.Namespace, variant: str, bits: int, seed: int
) -> dict[str, str | int | float]:
    """Returns what tells one run from another."""
    return {
        "variant": variant,
        "bits": 32 if variant == "float" else bits,
        "seed": seed,
        **{name: getattr(arguments, name) for name in SETTINGS},
    }


def read_results(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of finished runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of results, resumed if it is there")
    parser.add_argument("--data", default=FASHION_MNIST, help="folder of IDX files")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--bits", nargs="+", type=int, default=[2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--split", choices=("test", "held_out"), default="test")
    parser.add_argument("--network", default="resnet8")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--stem_stride", type=int, default=2)
    parser.add_argument("--images", type=int, default=20_000, help="of the training images")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--float_epochs", type=float, default=10.0)
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("--eval_every", type=int, default=2, help="epochs")
    keep_compiled()
    study(parser.parse_args())


if __name__ == "__main__":
    main()
