"""Prepares a TFDS image classification data set as ArrayRecord files, once: ``n2uq prepare``.

This is the only part of the project that needs TensorFlow; training reads what it leaves without
it.
"""

from __future__ import annotations

from pathlib import Path

IMAGENET_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def prepare_command(name: str, data_dir: str) -> str:
    """Returns the command that prepares a data set, for messages.

    Args:
      name: a TFDS data set.
      data_dir: where the prepared data set goes.
    """
    name_part = "" if name == "imagenet2012" else f"--data {name} "
    manual_part = "--manual_dir TARS " if _is_imagenet(name) else ""
    return f"n2uq prepare {name_part}{manual_part}--data_dir {data_dir}"


def prepare(name: str, data_dir: Path, manual_dir: Path | None = None) -> dict[str, int]:
    """Runs the data set's own TFDS builder into ArrayRecord files; does nothing if they are there.

    TFDS writes to a temporary folder and renames it at the end, so an interrupted run leaves
    nothing that looks whole.

    Args:
      name: a TFDS data set.
      data_dir: where the prepared data set goes.
      manual_dir: the files that TFDS cannot download; for imagenet2012 the two tars.

    Returns:
      Number of records of each split.

    Raises:
      FileNotFoundError: a tar of imagenet2012 is missing.
    """
    if _is_imagenet(name):
        if manual_dir is None:
            raise FileNotFoundError(
                f"manual_dir: None, expected the folder that holds {' and '.join(IMAGENET_TARS)}"
            )
        for tar in IMAGENET_TARS:
            # TFDS would leave the split out with no more than a warning.
            if not (manual_dir / tar).is_file():
                raise FileNotFoundError(
                    f"manual_dir: no file {manual_dir / tar}; "
                    "get it from https://image-net.org/download-images"
                )
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    )
    return {split: info.num_examples for split, info in builder.info.splits.items()}


def _is_imagenet(name: str) -> bool:
    return name.split(":")[0] == "imagenet2012"
