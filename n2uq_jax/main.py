"""Trains a network: ``python -m n2uq_jax.main --config configs/digits_w2a2.py``."""

import logging
import os
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from n2uq_jax.messages import show_messages

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    "digits_w2a2",
    "A config file, or the name of one that is installed. --config.FIELD=VALUE changes a field.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/CONFIG-NAME.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of a cluster.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where the cluster does not tell."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Where the cluster does not tell.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Where the cluster does not tell.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_timeout", 60, "Seconds of silence after which a process ends the others.", 1
)
_CPU_DEVICES = flags.DEFINE_integer("cpu_devices", None, "Run on this many fake CPU devices.")


def main(argv: list[str]) -> None:
    """Reads the flags and trains."""
    show_messages(logging.INFO)
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    import jax

    if _CPU_DEVICES.value:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
    if _DISTRIBUTED.value:
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            heartbeat_timeout_seconds=_HEARTBEAT.value,
        )

    from n2uq_jax.training.preemption import Preempted
    from n2uq_jax.training.run import train

    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = _WORKDIR.value or os.path.join("runs", name)
    try:
        train(_CONFIG.value, workdir)
    except Preempted as preempted:
        if jax.process_index() == 0:
            print(f"Stopped by SIGTERM after saving {preempted}. The same command goes on there.")
        return
    if _CONFIG.value.export and jax.process_index() == 0:
        from n2uq_jax.export.workdir import export_and_evaluate

        print(export_and_evaluate(workdir, os.path.join(workdir, "artifact")))


def run() -> None:
    """Entry point: finds installed configs by name, then runs :func:`main`."""
    from n2uq_jax.training.config_file import find_config

    for i, argument in enumerate(sys.argv):
        flag, equals, value = argument.partition("=")
        if flag.lstrip("-") == "config" and equals:
            sys.argv[i] = f"--config={find_config(value)}"
        elif flag.lstrip("-") == "config" and i + 1 < len(sys.argv):
            sys.argv[i : i + 2] = [f"--config={find_config(sys.argv[i + 1])}"]
            break
    else:
        if not any(a.lstrip("-").startswith("config=") for a in sys.argv):
            sys.argv.append(f"--config={find_config('digits_w2a2')}")
    app.run(main)


if __name__ == "__main__":
    run()
