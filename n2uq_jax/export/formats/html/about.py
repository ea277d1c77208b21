"""What a page must know of its network, as JSON."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from n2uq_jax.export.formats.c.layers import Conv, Dense, LayerList
from n2uq_jax.export.formats.c.plan import Stored
from n2uq_jax.export.formats.c.tensors import tensors
from n2uq_jax.export.formats.c.weights import numbers_of
from n2uq_jax.export.formats.html.drawings import background, ink_box

LARGEST_DRAWING = 64
"""Gray images up to so many pixels a side can be drawn."""


def describe_page(
    network: LayerList,
    stored: Mapping[str, Stored],
    *,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: dict[str, Any] | None = None,
    images: np.ndarray | None = None,
    samples: np.ndarray | None = None,
) -> dict[str, Any]:
    """Describes a network to the page.

    Args:
      network: the layers.
      stored: where the tensors of its codes lie.
      title: of the page; None for one that says what the network takes.
      class_names: one a logit; None: numbers.
      preprocessing: how an image file becomes the network's input; None: it is resized.
      images: uint8, as the network knows them, shape ``(n, *image_shape)``.
      samples: those to show.

    Returns:
      JSON-able: what the folder's scripts read.
    """
    height, width, channels = network.image_shape
    found = tensors(network)
    classes = found[network.output].shape[2]
    gray = channels == 1
    return {
        "title": title or f"a network for images of {height} by {width}",
        "height": height,
        "width": width,
        "channels": channels,
        "classes": classes,
        "scale": float(np.float32(network.scale)),
        "classNames": list(class_names or map(str, range(classes))),
        "weights": _weights(network),
        "layers": [_layer(name, stored[tensor]) for name, tensor in network.codes.items()],
        "preparation": _preparation(preprocessing, height, width),
        "drawable": gray and max(height, width) <= LARGEST_DRAWING,
        "background": background(images) if gray and images is not None else None,
        "inkBox": ink_box(images) if gray and images is not None else None,
        "samples": [
            base64.b64encode(image.tobytes()).decode()
            for image in (() if samples is None else samples)
        ],
    }


def _layer(name: str, place: Stored) -> dict[str, Any]:
    height, width, channels = place.tensor.shape
    return {
        "name": name.removesuffix("/input_quantizer"),
        "height": height,
        "width": width,
        "channels": channels,
        "low": place.tensor.low,
        "high": place.tensor.high,
        "bits": (place.tensor.high - place.tensor.low).bit_length(),
        "element": place.element,
        "offset": place.offset,
        "pitch": place.pitch,
    }


def _weights(network: LayerList) -> dict[str, int]:
    """Counts the weights, and those of the bit width that most of them have."""
    counts: Counter[int] = Counter()
    for layer in network.layers:
        if isinstance(layer, Conv | Dense):
            counts[numbers_of(layer.weight).bits] += layer.weight.size
    ((bits, most),) = counts.most_common(1)
    return {"count": counts.total(), "bits": bits, "ofThoseBits": most}


def _preparation(preprocessing: dict[str, Any] | None, height: int, width: int) -> dict[str, Any]:
    if preprocessing is None or "resize" in preprocessing:
        return {"resize": [height, width]}
    side, crop = preprocessing["resize_shorter_side"], preprocessing["center_crop"]
    return {"shorterSide": side, "crop": list(crop)}
