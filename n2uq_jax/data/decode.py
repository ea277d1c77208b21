"""From the bytes of an image file to RGB pixels, whatever the file turns out to hold.

ImageNet's files are all called .JPEG. Most are; some are grey, some CMYK, one is a PNG, and some
have flaws that one decoder forgives and another does not.
"""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from n2uq_jax.data.dataset import CorruptRecordError

_JPEG_START = b"\xff\xd8"
_FAST_COLOURS = frozenset({"YCbCr", "Gray", "RGB"})


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels, from the header alone.

    Raises:
        CorruptRecordError: `data` is no image.
    """
    if data[:2] == _JPEG_START:
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            pass
        else:
            return int(height), int(width)
    width, height = _open(data).size
    return height, width


def decode_rgb(data: bytes, min_height: int = 0, min_width: int = 0) -> np.ndarray:
    """Decodes an image file.

    libjpeg-turbo (simplejpeg) decodes YCbCr, grey and RGB JPEGs; what it does not, or refuses,
    Pillow tries: CMYK JPEGs, PNG and other formats. Transparency is dropped.

    Args:
        data: the bytes of the file.
        min_height: smallest height wanted. A JPEG is decoded straight to the smallest of 1/2, 3/8,
            1/4 and 1/8 of its size that has it (scaling in the DCT domain); 0: at full size.
        min_width: likewise; both hold.

    Returns:
        uint8 [height, width, 3].

    Raises:
        CorruptRecordError: no decoder can read it whole.
    """
    if data[:2] == _JPEG_START:
        try:
            if simplejpeg.decode_jpeg_header(data)[2] in _FAST_COLOURS:
                return simplejpeg.decode_jpeg(
                    data, "RGB", min_height=min_height, min_width=min_width, min_factor=2
                )
        except ValueError:
            pass  # damaged, or only unusual: Pillow tells
    image = _open(data)
    try:
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise CorruptRecordError(f"{image.format} image of {len(data)} bytes: {error}") from error


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise much besides UnidentifiedImageError
        raise CorruptRecordError(
            f"{len(data)} bytes starting with {data[:4].hex(' ') or 'nothing'} are no image"
        ) from error
