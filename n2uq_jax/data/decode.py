"""From the bytes of an image file to RGB pixels, whatever the file turns out to hold.

ImageNet's files are all called .JPEG. Most are; some are gray, some CMYK, one is a PNG, and some
have flaws that one decoder forgives and another does not.
"""

from __future__ import annotations

import io
import math

import numpy as np
import simplejpeg
from PIL import Image

from n2uq_jax.data.dataset import CorruptRecordError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_FAST_COLORS = frozenset({"YCbCr", "Gray", "RGB"})


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels, from the header alone.

    Args:
      data: the bytes of an image file.

    Returns:
      (height, width).

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


def decode_rgb(data: bytes) -> np.ndarray:
    """Decodes an image file, to the pixels that Pillow gives.

    libjpeg-turbo (simplejpeg) decodes YCbCr, gray and RGB JPEGs; what it does not, or refuses,
    Pillow tries: CMYK JPEGs, PNG and other formats. Transparency is dropped.

    Args:
      data: the bytes of the file.

    Returns:
      uint8 [height, width, 3].

    Raises:
      CorruptRecordError: no decoder can read it whole.
    """
    if data[:2] == _JPEG_START:
        try:
            if simplejpeg.decode_jpeg_header(data)[2] in _FAST_COLORS:
                return simplejpeg.decode_jpeg(data, "RGB")
        except ValueError:
            pass  # damaged, or only unusual: Pillow tells
    image = _open(data)
    try:
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise CorruptRecordError(f"{image.format} image of {len(data)} bytes: {error}") from error


def decode_rgb_fast(data: bytes, rows: int, min_scale: float = 1.0) -> tuple[np.ndarray, float]:
    """Decodes what a crop in training needs, as fast as libjpeg-turbo can.

    No row below the first `rows`, a block's rest aside; reduced in the DCT domain where that is
    enough; with the faster inverse DCT and color upsampling (on photographs at quality 95, 1.8
    gray levels from `decode_rgb` on average). What `decode_rgb` passes to Pillow comes whole, at
    full size.

    Args:
      data: the bytes of the file.
      rows: how many rows are needed, at full size.
      min_scale: the result may be smaller than the image by 1/2, 3/8, 1/4 or 1/8, but not by more
        than this; 1: full size.

    Returns:
      uint8 [at least rows·scale, width·scale, 3], and its scale.

    Raises:
      CorruptRecordError: no decoder can read it whole.
    """
    if data[:2] == _JPEG_START and data[-2:] == _JPEG_END:
        try:
            top = _lower_height(data, rows)
            height, width, colors, _ = simplejpeg.decode_jpeg_header(top)
            if colors in _FAST_COLORS:
                image = simplejpeg.decode_jpeg(
                    top,
                    "RGB",
                    fastdct=True,
                    fastupsample=True,
                    min_height=math.ceil(height * min_scale),
                    min_width=math.ceil(width * min_scale),
                    min_factor=2,
                    strict=top is data,  # or it complains of the data of the rows left out
                )
                # In eighths exactly: the decoder rounds sizes up.
                return image, round(8 * max(image.shape) / max(height, width)) / 8
        except ValueError:
            pass
    return decode_rgb(data), 1.0


def _lower_height(data: bytes, rows: int) -> bytes | bytearray:
    """The same JPEG with a header that announces fewer rows, so that decoding stops there.

    Rounded up to whole blocks, 16 rows being the tallest in use. Only for sequential JPEGs, whose
    blocks come from top to bottom; others are returned as they are.
    """
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in (0xC0, 0xC1):  # start of frame: length, precision, height, width
            height = int.from_bytes(data[position + 5 : position + 7])
            lowered = -(-rows // 16) * 16
            if lowered >= height:
                return data
            patched = bytearray(data)
            patched[position + 5 : position + 7] = lowered.to_bytes(2)
            return patched
        if 0xC2 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data  # progressive or lossless
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return data


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise much besides UnidentifiedImageError
        raise CorruptRecordError(
            f"{len(data)} bytes starting with {data[:4].hex(' ') or 'nothing'} are no image"
        ) from error
