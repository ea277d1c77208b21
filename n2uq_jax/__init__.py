"""Very-low-bit neural networks in JAX: learned thresholds, uniform levels, integer export."""

import importlib
from typing import Any

from n2uq_jax import models as models
from n2uq_jax import nn as nn
from n2uq_jax import quantizers as quantizers
from n2uq_jax.arithmetic import selftest as selftest

__version__ = "0.1.0.dev0"

# Imported on first use, so that `import n2uq_jax` needs jax, flax and numpy alone.
_LAZY: dict[str, str] = {
    "Rule": "n2uq_jax.conversion.rules",
    "calibrate": "n2uq_jax.conversion.calibration.calibrate",
    "conversion": "n2uq_jax.conversion",
    "interop": "n2uq_jax.interop",
    "load": "n2uq_jax.workdir.model",
    "load_artifact": "n2uq_jax.export.artifact.folder",
    "optimizer_labels": "n2uq_jax.nn.labels",
    "quantize": "n2uq_jax.conversion.quantize",
    "reestimate_batch_norm": "n2uq_jax.conversion.calibration.batch_norm",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = importlib.import_module(_LAZY[name])
        return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    raise AttributeError(f"module 'n2uq_jax' has no attribute {name!r}")
