"""Exports a trained network: ``python -m n2uq_jax.export --workdir W --out A``."""

import sys

from absl import app, flags

from n2uq_jax.messages import show_messages

_WORKDIR = flags.DEFINE_string("workdir", None, "A folder that n2uq_jax.main wrote.")
_OUT = flags.DEFINE_string("out", None, "The artifact to write.")
_FORMAT = flags.DEFINE_list("format", ["stablehlo"], "Among stablehlo, onnx, qonnx.")
_STAGE = flags.DEFINE_string("stage", None, "Training stage. Default: the last one.")
_IMAGES = flags.DEFINE_integer(
    "images", 1000, "Evaluation images to compare on; 0: noise, and no data set.", lower_bound=0
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data are now, if they have moved.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an artifact that is there.")


def main(argv: list[str]) -> None:
    """Reads the flags, exports and prints the verdict."""
    show_messages()
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")

    from n2uq_jax.export.progress import progress_bar
    from n2uq_jax.export.workdir import export_workdir

    try:
        with progress_bar() as progress:
            exported = export_workdir(
                str(_WORKDIR.value),
                str(_OUT.value),
                formats=_FORMAT.value,
                images=_IMAGES.value,
                stage=_STAGE.value,
                data_dir=_DATA_DIR.value,
                overwrite=_OVERWRITE.value,
                progress=progress,
            )
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"Nothing was written. {error}") from error
    print(exported)
    if not exported.proof.ok:
        sys.exit(1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    app.run(main)
