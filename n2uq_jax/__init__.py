"""Very-low-bit neural networks in JAX: learned thresholds, uniform levels, integer export."""

import importlib
from typing import TYPE_CHECKING, Any

from n2uq_jax import models as models
from n2uq_jax import nn as nn
from n2uq_jax import quantizers as quantizers
from n2uq_jax.arithmetic import selftest as selftest
from n2uq_jax.nn import optimizer_labels as optimizer_labels

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from n2uq_jax import conversion as conversion
    from n2uq_jax import data as data
    from n2uq_jax import export as export
    from n2uq_jax import interop as interop
    from n2uq_jax import report as report
    from n2uq_jax import training as training
    from n2uq_jax import workdir as workdir
    from n2uq_jax.conversion import Rule as Rule
    from n2uq_jax.conversion import calibrate as calibrate
    from n2uq_jax.conversion import quantize as quantize
    from n2uq_jax.conversion import reestimate_batch_norm as reestimate_batch_norm
    from n2uq_jax.export import export_model as export_model
    from n2uq_jax.export import load_artifact as load_artifact
    from n2uq_jax.models.to_integer import to_integer_only as to_integer_only
    from n2uq_jax.preflight import check as check
    from n2uq_jax.report.cost import cost as cost
    from n2uq_jax.workdir.model import load as load

# The same, imported on first use: `import n2uq_jax` needs jax, flax and numpy alone.
_LAZY = {
    "conversion": "n2uq_jax",
    "data": "n2uq_jax",
    "export": "n2uq_jax",
    "interop": "n2uq_jax",
    "report": "n2uq_jax",
    "training": "n2uq_jax",
    "workdir": "n2uq_jax",
    "Rule": "n2uq_jax.conversion",
    "calibrate": "n2uq_jax.conversion",
    "quantize": "n2uq_jax.conversion",
    "reestimate_batch_norm": "n2uq_jax.conversion",
    "export_model": "n2uq_jax.export",
    "load_artifact": "n2uq_jax.export",
    "check": "n2uq_jax.preflight",
    "cost": "n2uq_jax.report.cost",
    "load": "n2uq_jax.workdir.model",
    "to_integer_only": "n2uq_jax.models.to_integer",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'n2uq_jax' has no attribute {name!r}")
    if _LAZY[name] == __name__:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY} - {"TYPE_CHECKING", "Any", "importlib"})
