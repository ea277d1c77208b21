"""A generated program as a callable."""

import ctypes
import os
import re
from typing import Any

import numpy as np

from n2uq_jax.export.formats.c.compile import shared_library
from n2uq_jax.export.formats.c.generate import Source
from n2uq_jax.export.formats.c.plan import ALIGNMENT

_ELEMENTS = {"U8": np.uint8, "I16": np.int16, "I32": np.int32, "F32": np.float32}
_TYPES: dict[str, np.dtype[Any]] = {
    "uint8_t": np.dtype(np.uint8),
    "int32_t": np.dtype(np.int32),
    "float": np.dtype(np.float32),
}


class _Options(ctypes.Structure):
    _fields_ = (("threads", ctypes.c_int), ("kernel", ctypes.c_char_p))


def _cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class NativeProgram:
    """A compiled network: calling it maps images to logits.

    Args:
      source: what :func:`~n2uq_jax.export.formats.c.generate.generate` wrote.
      threads: that compute an image each. Fewer images than threads they share one by one, and
        wait for each other several times a layer, so that each wants a core that is idle. None:
        one a core, and never more than images.
      kernel: the kernel to use wherever it can be; None: the fastest for each layer.
      prefix: as the program was generated with.
      flags: more of the compiler's.

    Attributes:
      image_shape: ``(height, width, channels)``.
      classes: the number of logits.
      image_dtype: uint8 for pixels, float32 for normalized images.
      output_dtype: int32 for integer logits, else float32.
      scale: of the integer logits; 1 for others.
      kernels: those that this processor has, the fastest first.
      stored: where tensors lie in the workspace of an image.

    Raises:
      CompilerError: if there is no compiler.
      ValueError: if ``threads`` is below 1, or this processor has no such kernel.
    """

    def __init__(
        self,
        source: Source,
        *,
        threads: int | None = None,
        kernel: str | None = None,
        prefix: str = "model",
        flags: tuple[str, ...] = (),
    ):
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}.")
        self.threads = threads
        self.kernel = kernel
        self.stored = source.stored
        about = dict(re.findall(rf"^#define {prefix.upper()}_(\w+) (\S+)$", source.header, re.M))
        height, width, channels = (int(about[key]) for key in ("HEIGHT", "WIDTH", "CHANNELS"))
        self.image_shape = (height, width, channels)
        self.classes = int(about["CLASSES"])
        types = re.findall(rf"^typedef (\w+) {prefix}_(?:input|output);$", source.header, re.M)
        self.image_dtype, self.output_dtype = (_TYPES[name] for name in types)
        self.scale = np.float32(float.fromhex(about["SCALE"].removesuffix("f")))
        loaded = ctypes.CDLL(str(shared_library(source, prefix, flags)))
        self._run = getattr(loaded, f"{prefix}_run_with")
        self._workspace_size = getattr(loaded, f"{prefix}_workspace_size_with")
        self._workspace_size.argtypes = [ctypes.POINTER(_Options), ctypes.c_size_t]
        self._workspace_size.restype = ctypes.c_size_t
        name = getattr(loaded, f"{prefix}_kernel_name")
        name.argtypes, name.restype = [ctypes.c_size_t], ctypes.c_char_p
        self.kernels: list[str] = []
        while (found := name(len(self.kernels))) is not None:
            self.kernels.append(found.decode())
        if kernel is not None and kernel not in self.kernels:
            raise ValueError(f"kernel must be one of {self.kernels}, got {kernel!r}.")

    def workspace_size(self, batch: int) -> int:
        """Returns the bytes that a batch takes beside the images and the logits."""
        return self._workspace_size(self._options(batch), batch)

    def _options(self, batch: int) -> _Options:
        threads = max(1, min(batch, _cores())) if self.threads is None else self.threads
        return _Options(threads, self.kernel.encode() if self.kernel else None)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes logits.

        Args:
          images: of :attr:`image_dtype`, shape ``(batch, *image_shape)``.

        Returns:
          Of :attr:`output_dtype`, shape ``(batch, classes)``.

        Raises:
          TypeError: if ``images`` have another dtype.
          ValueError: if they have another shape.
        """
        return self._computed(images)[0]

    def tensors(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the tensors that the program was generated to keep.

        Args:
          image: of :attr:`image_dtype`, shape ``image_shape``.

        Returns:
          Arrays of shape ``(height, width, channels)`` by name. Others that the source names may
          have been overwritten.
        """
        _, workspace = self._computed(np.asarray(image)[None])
        workspace = workspace[-workspace.ctypes.data % ALIGNMENT :]
        found = {}
        for name, stored in self.stored.items():
            if stored.offset is not None:
                height, width, channels = stored.tensor.shape
                shape = (height, width, stored.pitch)
                laid = np.ndarray(shape, _ELEMENTS[stored.element], workspace, stored.offset)
                found[name] = laid[:, :, :channels]
        return found

    def _computed(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.asarray(images)
        if images.dtype != self.image_dtype:
            what = "uint8, 0..255" if self.image_dtype == np.uint8 else "float32, normalized"
            raise TypeError(f"images must be {what}, got {images.dtype}.")
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"images must be (batch, *{self.image_shape}), got {images.shape}.")
        images = np.ascontiguousarray(images)
        logits = np.empty((len(images), self.classes), self.output_dtype)
        # One a call, so that threads may share the program.
        workspace = np.empty(self.workspace_size(len(images)), np.uint8)
        status = self._run(
            ctypes.byref(self._options(len(images))),
            images.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(len(images)),
            logits.ctypes.data_as(ctypes.c_void_p),
            workspace.ctypes.data_as(ctypes.c_void_p),
        )
        assert status == 0, status
        return logits, workspace

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes logits in the network's own unit: float32, shape ``(batch, classes)``."""
        return self(images).astype(np.float32) * self.scale
