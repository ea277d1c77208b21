"""Sets every activation quantizer from data, in one run of the network."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.conversion.calibration.batch_norm import Forward, call_model, reestimate_batch_norm
from n2uq_jax.conversion.calibration.batches import inputs_of, joined, naming_the_batch
from n2uq_jax.conversion.calibration.choose import Calibrated, choose, possible_signs, sample
from n2uq_jax.conversion.calibration.fit import Fit
from n2uq_jax.conversion.calibration.starting import start
from n2uq_jax.nn import LSQ, PACT, ActivationQuantizer, DoReFa, QuantizedLayer
from n2uq_jax.nn.lazy import parameter_paths, reject_new_parameters
from n2uq_jax.nn.methods import InputQuantizer
from n2uq_jax.nn.windowed import WindowedLayer
from n2uq_jax.paths import path_name
from n2uq_jax.progress import Progress, shown
from n2uq_jax.quantizers import QArray


def calibrate(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    forward: Forward = call_model,
    batch_norm: bool = True,
    progress: Progress | None = None,
) -> dict[str, Calibrated]:
    r"""Sets thresholds and scales from data, in place, so that a converted network starts usable.

    The network is run once, on all batches together, without gradient and dropout. When a
    quantizer's input arrives, it is fitted: equally spaced thresholds of smallest squared error,
    or thresholds at the input's quantiles, whichever leaves the smaller error in the output of its
    layer, with weights quantized; then stretched and moved as long as that error falls, and its
    output scale makes up for what weights lose in size. (A layer inside a transformation such as
    ``nnx.scan`` does not show its output: there the error of the input itself decides.) Later
    layers see the quantized values of the earlier ones. A quantizer whose rule left ``signed`` open
    becomes unsigned if its input has no negative values, else whatever measures better. A shared
    quantizer is fitted to the inputs of all its calls.

    If the network has BatchNorm, a constant and a factor a channel behind a layer without bias do
    not matter; only the correlation with the float layer's output does, and the quantizer's lowest
    level may stand for any value, as suits asymmetric inputs. BatchNorm normalizes by the
    statistics of the data meanwhile, and keeps new running statistics afterwards; see
    :func:`n2uq_jax.reestimate_batch_norm`.

    Quantizers of other methods than N2UQ get the starting values of their papers: LSQ's steps, of
    inputs and of weights, :math:`2 \langle|v|\rangle/\sqrt{Q_P}`. PACT's clip gets the range of
    smallest squared error.

    Args:
      model: an NNX module with quantizers in it. Weights stay as they are.
      batches: arrays, or tuples whose first entry is one; a few hundred examples will do. They are
        concatenated, so the memory is that of one run on all of them.
      forward: how to run the model, if not as ``model(x)``.
      batch_norm: re-estimate BatchNorm's running statistics too, if there is any.
      progress: told about each quantizer; None for a bar, in a terminal or a notebook, once it has
        taken three seconds.

    Returns:
      What was chosen for each quantizer that was run, by path. The others keep their parameters.

    Raises:
      TypeError: if a batch is no array.
      ValueError: if the model has no quantizer of inputs, or none was run; if batches are not
        finite, differ in shape behind the batch axis, or are not what the model takes; if the model
        makes parameters when it is called; or if a quantizer inside a transformation is to choose
        its sign. Nothing is changed then.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import n2uq_jax as n2uq
      >>> layer = n2uq.nn.QuantLinear(4, 2, w_bits=4, a_bits=4, rngs=nnx.Rngs(0))
      >>> images = 100 * jnp.linspace(0, 1, 256).reshape(64, 4)
      >>> chosen = n2uq.calibrate(layer, [images])
      >>> list(chosen)
      ['input_quantizer']
      >>> bool(90 < 2 * layer.input_quantizer.out_scale[...] < 120)  # the largest code's value
      True
    """
    if not _calibrated(model):
        raise ValueError("model has no quantizer of inputs: call n2uq_jax.quantize first.")
    inputs = list(inputs_of(batches))
    x = joined(inputs)
    has_norm = batch_norm and any(
        isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_modules(model)
    )
    scratch = nnx.view(
        nnx.clone(model),
        deterministic=True,
        use_running_average=not has_norm,
        raise_if_not_found=False,
    )
    with shown(progress) as told, naming_the_batch(x):
        calibration = _Calibration(scratch, normalized=has_norm, progress=told)
        forward(scratch, x)
        told("Calibrating", len(calibration.chosen), len(calibration.chosen))
    reject_new_parameters(scratch, parameter_paths(model))
    if not calibration.chosen:
        raise ValueError("no quantizer of inputs was run: pass forward to say how to run model.")

    result = nnx.clone(model)
    _start_weight_quantizers(result)
    fitted = _calibrated(scratch)
    for path, quantizer in _calibrated(result).items():
        if path in calibration.chosen:
            nnx.update(quantizer, nnx.state(fitted[path], nnx.Param))
            _set_sign(quantizer, calibration.chosen[path])
    if has_norm:
        reestimate_batch_norm(result, inputs, forward=forward)
    for path, quantizer in _calibrated(model).items():
        if path in calibration.chosen:
            _set_sign(quantizer, calibration.chosen[path])
    nnx.update(model, nnx.state(result))
    return calibration.chosen


def _calibrated(model: nnx.Module) -> dict[str, Any]:
    """Returns every quantizer of inputs by path, of whatever method."""
    return {
        path_name(path): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, InputQuantizer)
    }


def _set_sign(quantizer: Any, chosen: Calibrated) -> None:
    if isinstance(quantizer, ActivationQuantizer | LSQ):
        quantizer.signed = chosen.signed


def _start_weight_quantizers(model: nnx.Module) -> None:
    for _, module in nnx.iter_modules(model):
        if isinstance(module, QuantizedLayer):
            module.start_weight_quantizer()


class _CalibratedQuantizer(ActivationQuantizer):
    """A quantizer that is fitted to its input whenever it is called.

    Args:
      path: where it stands in the model.
      calibration: what it reports to.
    """

    path: str
    calibration: "_Calibration"

    def __call__(self, x: jax.Array) -> QArray:
        fit = self.calibration.fit(self, x)
        return fit(x, signed=bool(self.signed))


class _Started(nnx.Module):
    """What makes another quantizer start from its input whenever it is called."""

    path: str
    calibration: "_Calibration"

    def __call__(self, x: jax.Array) -> QArray:
        self.calibration.start(self, x)
        return super().__call__(x)


class _StartedLSQ(_Started, LSQ):
    pass


class _StartedPACT(_Started, PACT):
    pass


class _StartedDoReFa(_Started, DoReFa):
    pass


_WATCHED = {
    ActivationQuantizer: _CalibratedQuantizer,
    LSQ: _StartedLSQ,
    PACT: _StartedPACT,
    DoReFa: _StartedDoReFa,
}


class _Calibration:
    """Fits the quantizers of a copy of a model, and remembers what it chose."""

    def __init__(self, model: nnx.Module, *, normalized: bool, progress: Progress):
        self.normalized = normalized
        self._progress, self._total = progress, len(_calibrated(model))
        self.chosen: dict[str, Calibrated] = {}
        self.samples: dict[str, jax.Array] = {}
        self.layers: dict[int, Any] = {}
        _start_weight_quantizers(model)
        for path, quantizer in _calibrated(model).items():
            # The class and not the instance: transformations such as nnx.scan make copies.
            kind = next(kind for kind in _WATCHED if isinstance(quantizer, kind))
            quantizer.__class__ = _WATCHED[kind]
            quantizer.path, quantizer.calibration = path, self
        for _, module in nnx.iter_modules(model):
            if isinstance(module, QuantizedLayer):
                self.layers[id(module.input_quantizer)] = module

    def start(self, quantizer: Any, x: jax.Array) -> None:
        samples, signs = self.sampled(quantizer, x, getattr(quantizer, "signed", False))
        self.chosen[quantizer.path] = start(quantizer, samples, signs)

    def sampled(
        self, quantizer: Any, x: jax.Array, signed: bool | None
    ) -> tuple[jax.Array, tuple[bool, ...]]:
        """Returns samples of all calls of a quantizer, and the signs that it may have."""
        path, samples = quantizer.path, sample(x)
        self._progress("Calibrating", len(self.chosen), self._total)
        if isinstance(x, jax.core.Tracer):
            return samples, _sign_in_transformation(path, signed)
        if path in self.samples:
            samples = jnp.concatenate([self.samples[path], samples])
        self.samples[path] = samples
        return samples, possible_signs(signed, samples)

    def fit(self, quantizer: _CalibratedQuantizer, x: jax.Array) -> Fit:
        path = quantizer.path
        samples, signs = self.sampled(quantizer, x, quantizer.signed)
        layer = self.layers.get(id(quantizer))
        if layer is not None:
            _check_batch_axis(path, x, layer)
        self.chosen[path], best = choose(
            samples,
            quantizer.bits,
            signs,
            layer,
            x,
            equal=not quantizer.learn_thresholds,
            normalized=self.normalized,
        )
        _assign(quantizer, best)
        quantizer.signed = self.chosen[path].signed
        return best


def _check_batch_axis(path: str, x: jax.Array, layer: QuantizedLayer) -> None:
    # A window tells how many axes an example has; inside a transformation one may be mapped away.
    concrete = not isinstance(x, jax.core.Tracer)
    if concrete and isinstance(layer, WindowedLayer) and x.ndim == len(layer.kernel_size) + 1:
        raise ValueError(f"the input of {path} has shape {x.shape}, without a batch axis.")


def _sign_in_transformation(path: str, signed: bool | None) -> tuple[bool, ...]:
    if signed is None:
        raise ValueError(
            f"{path} runs inside a transformation such as nnx.scan, where its sign "
            "cannot be chosen from data: say signed=True or False in its rule."
        )
    return (signed,)


def _assign(quantizer: ActivationQuantizer, fit: Fit) -> None:
    for name, value in fit._asdict().items():
        parameter = getattr(quantizer, name)
        shape = parameter[...].shape
        if value.ndim < len(shape):  # thresholds per channel start out equal
            value = value[..., None]
        parameter[...] = jnp.broadcast_to(value, shape).astype(parameter[...].dtype)
