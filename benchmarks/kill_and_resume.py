"""Kills a run at random moments until it is done, and compares it with an undisturbed one.

python benchmarks/kill_and_resume.py --kills 5                    the whole quickstart
python benchmarks/kill_and_resume.py --kills 20 --processes 2     two processes, a tiny network
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.paths import by_path

LAUNCHER = Path(__file__).resolve().parents[1] / "launch" / "local_cluster.sh"
TINY = [
    "--config.model.width=4",
    "--config.model.stem_stride=2",
    "--config.float.epochs=4",
    "--config.quantized.epochs=4",
    "--config.checkpoint_every=5",
    "--config.log_every=1",
    "--config.figures=False",
    "--config.export=False",
]


def start(workdir: Path, processes: int) -> subprocess.Popen:
    flags = ["--config", "digits_w2a2", "--workdir", str(workdir)]
    if processes == 1:
        command = [sys.executable, "-m", "n2uq_jax.main", *flags]
    else:
        one_device = ["--devices-per-process", "1"]  # more of them only wait for each other
        command = [str(LAUNCHER), str(processes), *one_device, "--", *flags, *TINY]
    environment = {
        **os.environ,
        "N2UQ_PYTHON": sys.executable,
        # Most of a short run is compilation, which every start repeats.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
    }
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def measurements(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def parameters(workdir: Path) -> dict[str, np.ndarray]:
    return {name: np.asarray(v) for name, v in by_path(nnx.state(n2uq.load(workdir))).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder, "undisturbed"), Path(folder, "killed")
        if start(undisturbed, args.processes).wait() != 0:
            sys.exit("the undisturbed run failed")
        # Progress, not time, sets the moments: a machine's speed changes from run to run.
        total = measurements(undisturbed)
        targets = sorted(moments.sample(range(1, total), args.kills))
        for kill, target in enumerate(targets, 1):
            process = start(killed, args.processes)
            while measurements(killed) < target:
                if process.poll() is not None:
                    sys.exit(f"a run ended by itself with exit status {process.returncode}")
                time.sleep(0.02)
            time.sleep(moments.uniform(0, 0.5))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"kill {kill} after measurement {target} of {total}", flush=True)
        if start(killed, args.processes).wait() != 0:
            sys.exit("the resumed run failed")
        expected, got = parameters(undisturbed), parameters(killed)
        different = [name for name in expected if not np.array_equal(expected[name], got[name])]
        print(f"{args.kills} kills, {len(expected)} arrays, {len(different)} differ: {different}")
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
