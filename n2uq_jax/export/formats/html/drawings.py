"""How a drawing has to look to be like the images that a network knows."""

import numpy as np

INK = 64
"""Pixels that differ from the background by more than this are ink."""


def background(images: np.ndarray) -> str | None:
    """Tells whether images are bright on dark or dark on bright, by the pixels at their border.

    Args:
      images: uint8, shape ``(n, height, width, 1)``.

    Returns:
      ``"dark"``, ``"bright"``, or None if their borders are neither.
    """
    inside = np.zeros(images.shape[1:3], bool)
    inside[1:-1, 1:-1] = True
    border = images[:, ~inside]
    for name, far in (("dark", border), ("bright", 255 - border.astype(int))):
        if (far <= INK).mean() > 0.75:
            return name
    return None


def ink_box(images: np.ndarray) -> tuple[int, int, int, int] | None:
    """Finds where the ink of images lies: the median of the boxes around it.

    Args:
      images: uint8, shape ``(n, height, width, 1)``.

    Returns:
      ``(top, left, bottom, right)`` in pixels, the last two exclusive; None if the images have no
      even background.
    """
    ground = background(images)
    if ground is None:
        return None
    ink: np.ndarray = (images if ground == "dark" else 255 - images)[..., 0] > INK
    ink = ink[ink.any((1, 2))]
    if not len(ink):
        return None
    top, bottom = _ends(np.any(ink, axis=2))
    left, right = _ends(np.any(ink, axis=1))
    return top, left, bottom, right


def _ends(taken: np.ndarray) -> tuple[int, int]:
    """Returns the medians of the first taken place and of the one after the last."""
    first, last = taken.argmax(1), taken.shape[1] - taken[:, ::-1].argmax(1)
    return round(float(np.median(first))), round(float(np.median(last)))
