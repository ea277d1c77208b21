"""Proof that an integer program computes what the network does."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.program.build import compute_constants, trace_network
from n2uq_jax.export.program.execution import threshold_tensors
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.progress import Progress, silent
from n2uq_jax.export.thresholds.chain import Chain, compile_chain
from n2uq_jax.export.thresholds.folding import MAX_ENUMERATED
from n2uq_jax.export.thresholds.thresholds import Thresholds, apply
from n2uq_jax.export.trace.graph import evaluate
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.reference import Model, evaluation_function


@dataclasses.dataclass(frozen=True)
class EdgeProof:
    """One quantizer's thresholds against the network's float arithmetic.

    Args:
      quantizer: its name.
      product: the layer whose accumulators it reads.
      low: the smallest accumulator of any channel.
      high: the largest.
      method: ``"enumeration"`` of every accumulator; or ``"bisection"``, where the range is too
        wide for that and the chain is monotone for certain, so that both sides of every threshold
        decide.
      values: how many accumulators were compared, over all channels.
      differing: how many of them have another code in the network.
      channels: number of channels of each kind.
    """

    quantizer: str
    product: str
    low: int
    high: int
    method: str
    values: int
    differing: int
    channels: dict[str, int]


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """The codes of one quantizer on data.

    Args:
      codes: how many were compared.
      differing: how many differ.
      largest_share: share of the most frequent code.
    """

    codes: int
    differing: int
    largest_share: float


@dataclasses.dataclass(frozen=True)
class DataComparison:
    """The program against the network on images.

    Args:
      images: how many.
      layers: per quantizer.
      largest_logit_difference: over all logits.
      differing_top1: images whose largest logit is another.
      shared: float values that several layers read although the model does not isolate them; the
        reference does.
      plain_flips: codes that differ between that reference and the network's plain jitted
        evaluation; 0 where ``shared`` is 0, since both are the same then.
    """

    images: int
    layers: dict[str, LayerComparison]
    largest_logit_difference: float
    differing_top1: int
    shared: int
    plain_flips: int

    @property
    def differing(self) -> int:
        """Codes that differ in any layer."""
        return sum(layer.differing for layer in self.layers.values())


@dataclasses.dataclass(frozen=True)
class Proof:
    """What :func:`prove` found.

    Args:
      backend: platform that the network's arithmetic was compiled for.
      tensors: names of the program's weights and parameters that differ from the network's.
      edges: every folded quantizer.
      data: the comparison on images.
    """

    backend: str
    tensors: list[str]
    edges: list[EdgeProof]
    data: DataComparison

    @property
    def ok(self) -> bool:
        """Whether every threshold, weight and parameter, code and top-1 is the network's.

        Logits are not asked for: the head is float arithmetic, which a compiler may merge with
        what is in front of it in one program and not in the other.
        """
        return not (
            self.tensors
            or any(edge.differing for edge in self.edges)
            or self.data.differing
            or self.data.differing_top1
        )

    @property
    def values(self) -> int:
        """Accumulators compared, over all edges."""
        return sum(edge.values for edge in self.edges)

    def __str__(self) -> str:
        kinds = sum((Counter(edge.channels) for edge in self.edges), Counter())
        channels = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        wrong = sum(edge.differing for edge in self.edges)
        data = self.data
        codes = sum(layer.codes for layer in data.layers.values())
        lines = [
            f"integer program on {self.backend}: "
            + ("EQUAL to the network" if self.ok else "NOT EQUAL to the network"),
            f"  thresholds: {len(self.edges)} layers, {self.values:,} accumulators compared, "
            f"{wrong:,} codes differ ({channels})",
            f"  weights and parameters: {len(self.tensors)} differ",
            f"  on {data.images:,} images: {data.differing:,} of {codes:,} codes differ, "
            f"{data.differing_top1} top-1, largest logit difference "
            f"{data.largest_logit_difference:g}",
        ]
        if data.shared:
            lines.append(
                f"  {data.shared} values that the model does not isolate were isolated; its plain "
                f"jitted evaluation has {data.plain_flips:,} other codes"
            )
        return "\n".join(lines)


def prove(
    program: IntegerProgram,
    model: Model,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Proof:
    """Compares an integer program with the network it was made from.

    First every accumulator of every folded quantizer, through the network's own arithmetic,
    compiled anew; then weights and parameters; then the whole program on images, against the
    jitted float32 evaluation on this backend.

    Args:
      program: to be proven.
      model: what it was built from.
      images: float32, shape ``(n, *program.image_shape)``.
      batch_size: of the comparison on images.
      progress: told about each step.

    Returns:
      What was compared, and what differs.

    Raises:
      ValueError: if ``images`` do not have the program's shape.
    """
    _check_images(program, images)
    function, parameters = evaluation_function(model)
    network = trace_network(function, parameters, program.image_shape)
    constants = compute_constants(network, parameters)
    _, used = network.live(program.folded)
    return Proof(
        backend=jax.default_backend(),
        tensors=[name for name in used if not _same(program.tensors[name], constants[name])],
        edges=list(_prove_edges(program, network, constants, progress)),
        data=compare(program, model, images, batch_size=batch_size, progress=progress),
    )


def _same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _prove_edges(
    program: IntegerProgram,
    network: TracedNetwork,
    constants: Mapping[str, Any],
    progress: Progress,
) -> Iterator[EdgeProof]:
    by_value = {network.constants[name]: array for name, array in constants.items()}
    quantizers = [q for q in network.quantizers if q.name in program.folded]
    for i, quantizer in enumerate(quantizers):
        progress("Comparing every accumulator", i, len(quantizers))
        assert quantizer.product is not None
        weight = constants[f"{quantizer.product.name}/weight"]
        chain = compile_chain(network, quantizer, weight, by_value)
        arrays = threshold_tensors(program.tensors, quantizer.name)
        enumerated = chain.span <= MAX_ENUMERATED
        thresholds = Thresholds(**arrays, levels=quantizer.levels, low=chain.low, high=chain.high)
        yield EdgeProof(
            quantizer=quantizer.name,
            product=quantizer.product.name,
            low=int(chain.low.min()),
            high=int(chain.high.max()),
            method="enumeration" if enumerated else "bisection",
            values=chain.values if enumerated else _around_points(chain, arrays).size,
            differing=count_differing(chain, arrays),
            channels=dict(Counter(thresholds.kinds().tolist())),
        )
    progress("Comparing every accumulator", len(quantizers), len(quantizers))


def count_differing(chain: Chain, arrays: Mapping[str, np.ndarray]) -> int:
    """Counts the accumulators at which thresholds and the network's arithmetic disagree.

    Args:
      chain: the network's arithmetic.
      arrays: ``points``, ``steps`` and ``base``.

    Returns:
      The number, over all channels; a channel with a narrow range may count its last accumulator
      more than once.
    """
    if chain.span > MAX_ENUMERATED:
        accumulators = _around_points(chain, arrays)
        return int(_count(dict(arrays), accumulators, chain.at(accumulators)))
    return sum(
        int(_count(dict(arrays), accumulators, codes)) for accumulators, codes in chain.enumerate()
    )


def _around_points(chain: Chain, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns both sides of every threshold, and the ends of the range.

    They decide about everything in between where the chain is monotone for certain.
    """
    points = arrays["points"].T.astype(np.int64)
    around = np.concatenate([points, points + 1, chain.low[None], chain.high[None]])
    return np.clip(around, chain.low, chain.high).astype(np.int32)


@jax.jit
def _count(arrays, accumulators, codes):
    return jnp.sum(apply(arrays, accumulators) != codes.astype(jnp.int32))


def compare(
    program: IntegerProgram,
    model: Model,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> DataComparison:
    """Compares a program with a network on images: codes of every layer, logits, top-1.

    Args:
      program: the integer program.
      model: what it was built from.
      images: float32, shape ``(n, *program.image_shape)``.
      batch_size: how many to evaluate at a time.
      progress: told about each batch.

    Returns:
      What was compared, and what differs.

    Raises:
      ValueError: if ``images`` do not have the program's shape.
    """
    _check_images(program, images)
    function, parameters = evaluation_function(model)
    batch_size = min(batch_size, len(images))
    network = program.network(jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), jnp.float32))
    plain = jax.jit(function)
    with_codes = jax.jit(functools.partial(_evaluate, network, ()))
    isolated = jax.jit(functools.partial(_evaluate, network, network.shared))
    reference = isolated if network.shared else with_codes
    differing: Counter[str] = Counter()
    counts: dict[str, np.ndarray] = {}
    plain_flips = differing_top1 = 0
    largest = 0.0
    for start in range(0, len(images), batch_size):
        progress("Comparing on images", start, len(images))
        batch, n = _batch(images, start, batch_size)
        logits, codes = program.codes(batch)
        expected_logits, expected = reference(parameters, batch)
        if network.shared:
            _, flipped = with_codes(parameters, batch)
            plain_flips += sum(int((flipped[k][:n] != expected[k][:n]).sum()) for k in expected)
        else:
            # Nothing had to be isolated, so looking at the codes must not have changed anything.
            expected_logits = plain(parameters, batch)
        for name, values in expected.items():
            a, b = np.asarray(codes[name])[:n], np.asarray(values)[:n]
            differing[name] += int((a != b).sum())
            seen = np.bincount(b.astype(np.int64).ravel(), minlength=256)
            counts[name] = counts.get(name, 0) + seen
        a, b = np.asarray(logits)[:n], np.asarray(expected_logits)[:n]
        largest = max(largest, float(np.abs(a - b).max()))
        differing_top1 += int((a.argmax(-1) != b.argmax(-1)).sum())
    progress("Comparing on images", len(images), len(images))
    layers = {
        name: LayerComparison(int(c.sum()), differing[name], float(c.max() / c.sum()))
        for name, c in counts.items()
    }
    return DataComparison(
        images=len(images),
        layers=layers,
        largest_logit_difference=largest,
        differing_top1=differing_top1,
        shared=len(network.shared),
        plain_flips=plain_flips,
    )


def _check_images(program: IntegerProgram, images: np.ndarray) -> None:
    if images.shape[1:] != program.image_shape or len(images) == 0:
        raise ValueError(
            f"images must have shape (n, {', '.join(map(str, program.image_shape))}), "
            f"got {images.shape}."
        )


def _evaluate(network: TracedNetwork, isolated, parameters, images):
    """Returns the network's own logits and codes."""
    graph = network.graph
    env = {graph.parameters[name]: array for name, array in parameters.items()}
    env[graph.inputs[0]] = images
    evaluate(graph.ops, env, isolated)
    return env[graph.outputs[0]], {q.name: env[q.codes] for q in network.quantizers}


def _batch(images: np.ndarray, start: int, size: int) -> tuple[np.ndarray, int]:
    """Returns a full batch, of which the first ``n`` images count."""
    batch = images[start : start + size]
    n = len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], size - n, axis=0)]), n
