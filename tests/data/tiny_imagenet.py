"""ILSVRC tars of a few made-up images, and the real TFDS builder run on them.

The images are smooth random fields, so that JPEG loses little, in the sizes and kinds that ImageNet
has: color, gray, CMYK, a PNG that is called .JPEG, and one that is cut short.
"""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

SYNSETS = ("n01440764", "n01739381", "n02105855", "n02391049")  # labels 0, 60, 157, 340 of 1000
# Names that the builder knows as CMYK and PNG, and converts.
KNOWN_CMYK = "n01739381_1309.JPEG"
KNOWN_PNG = "n02105855_2933.JPEG"
# The same kinds under names it does not know, which reach the reader as they are.
RAW_GREY = "n01440764_9001.JPEG"
RAW_CMYK = "n01440764_9002.JPEG"
RAW_PNG = "n01440764_9003.JPEG"
TRUNCATED = "n02391049_9004.JPEG"


def random_image(seed, size=(90, 70)):
    """A smooth color image of `size` (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encode(image, mode="RGB", file_format="JPEG", **options):
    buffer = io.BytesIO()
    if file_format == "JPEG":
        options["quality"] = 95
    image.convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def train_files(images_per_synset):
    """{synset: {file name: bytes}}."""
    files = {
        synset: {
            f"{synset}_{number}.JPEG": encode(
                random_image(1000 * row + number, (90 + 10 * number, 70 + 5 * row))
            )
            for number in range(images_per_synset)
        }
        for row, synset in enumerate(SYNSETS)
    }
    special = {
        KNOWN_CMYK: encode(random_image(1), "CMYK"),
        KNOWN_PNG: encode(random_image(2), "RGB", "PNG"),
        RAW_GREY: encode(random_image(3), "L"),
        RAW_CMYK: encode(random_image(4), "CMYK"),
        RAW_PNG: encode(random_image(5), "RGB", "PNG"),
        TRUNCATED: encode(random_image(6))[:-500],
    }
    for name, content in special.items():
        files[name.split("_")[0]][name] = content
    return files


def make_tars(folder, images_per_synset=6, validation_images=10):
    """Writes ILSVRC2012_img_train.tar (one tar a synset inside) and ILSVRC2012_img_val.tar."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as train:
        for synset, files in train_files(images_per_synset).items():
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for name, content in files.items():
                    _add(tar, name, content)
            _add(train, f"{synset}.tar", inner.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as validation:
        for number in range(validation_images):
            content = encode(random_image(9000 + number, (100 + number, 80)))
            _add(validation, f"ILSVRC2012_val_{number + 1:08d}.JPEG", content)
    return folder


def prepare(folder, **sizes):
    """Makes the tars, runs the documented command in a process of its own, returns the data_dir."""
    manual_dir, data_dir = make_tars(Path(folder) / "tars", **sizes), Path(folder) / "tfds"
    command = [sys.executable, "-m", "n2uq_jax", "prepare"]
    command += ["--manual_dir", str(manual_dir), "--data_dir", str(data_dir)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "imagenet2012 is ready" in result.stdout
    return data_dir


def _add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
