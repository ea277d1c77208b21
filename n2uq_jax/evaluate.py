"""Evaluates a trained network or its integer model on the data set it was trained for.

python -m n2uq_jax.evaluate --workdir DIR
python -m n2uq_jax.evaluate --artifact DIR
"""

import json

from absl import app, flags

from n2uq_jax.messages import show_messages

_WORKDIR = flags.DEFINE_string("workdir", None, "A folder that n2uq_jax.main wrote.")
_ARTIFACT = flags.DEFINE_string("artifact", None, "A folder that n2uq_jax.export wrote.")
_STAGE = flags.DEFINE_string("stage", None, "Training stage. Default: the last one.")
_BEST = flags.DEFINE_bool("best", False, "The checkpoint of the highest top-1, not the newest.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data are now, if they have moved.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Default: that of the run.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Reads the flags, evaluates and prints one line of JSON."""
    show_messages()
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    if _ARTIFACT.value is not None:
        from n2uq_jax.export.workdir import evaluate_artifact

        metrics = evaluate_artifact(
            _ARTIFACT.value, data_dir=_DATA_DIR.value, batch_size=_BATCH_SIZE.value
        )
    else:
        from n2uq_jax.training.evaluation import evaluate_workdir

        assert _WORKDIR.value is not None  # one of the two flags is required
        metrics = evaluate_workdir(
            _WORKDIR.value,
            stage=_STAGE.value,
            best=_BEST.value,
            data_dir=_DATA_DIR.value,
            batch_size=_BATCH_SIZE.value,
        )
    print(json.dumps(metrics))


if __name__ == "__main__":
    flags.mark_flags_as_mutual_exclusive(["workdir", "artifact"], required=True)
    app.run(main)
