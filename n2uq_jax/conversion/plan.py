"""What rules do to a model: a table of what is quantized, what is not, and why."""

import dataclasses
from collections.abc import Iterable, Sequence

from flax import nnx

from n2uq_jax.conversion.layers import quantized_form
from n2uq_jax.conversion.modules import modules
from n2uq_jax.conversion.rules import Rule
from n2uq_jax.tables import format_table


@dataclasses.dataclass(frozen=True)
class Decision:
    """What happens to one layer.

    Args:
      paths: where it stands; several if it is shared.
      kind: its class.
      rule: the rule that quantizes it; None if it stays as it is.
      reason: why.
    """

    paths: tuple[str, ...]
    kind: str
    rule: Rule | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to every layer; prints as a table.

    Args:
      decisions: one a layer, in the model's order.
      shadowed: rules that decide nothing, because earlier ones match each of their layers.
    """

    decisions: tuple[Decision, ...]
    shadowed: tuple[Rule, ...] = ()

    @property
    def quantized(self) -> dict[str, Rule]:
        """The rule of each layer that is quantized, by its first path."""
        return {d.paths[0]: d.rule for d in self.decisions if d.rule is not None}

    def __str__(self) -> str:
        header = ("layer", "kind", "weights", "inputs", "why")
        lines = [format_table([header, *(_row(decision) for decision in self.decisions)])]
        for rule in self.shadowed:
            lines.append(
                f"rule {rule.path!r} decides nothing: earlier rules match each of its layers"
            )
        return "\n".join(lines)


def plan(model: nnx.Module, rules: Iterable[Rule]) -> Plan:
    """Applies rules to a model's paths, without changing anything.

    The first rule that matches a layer decides; a shared layer is matched by any of its paths. The
    first and the last layer, in the order in which the model's constructors assign them, stay
    float unless a rule spells out their path: ``"conv1"`` or ``"conv1|conv2"``, not ``".*"``.

    Args:
      model: any NNX module.
      rules: in order of precedence.

    Returns:
      A decision for each layer with a kernel, and for each embedding.

    Raises:
      TypeError: if ``model`` is no NNX module or ``rules`` no sequence of rules.
      ValueError: if a rule matches no layer.
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(
            f"model must be an nnx.Module, got {type(model).__name__}; a Linen model is quantized "
            "by n2uq_jax.conversion.linen.quantize."
        )
    if isinstance(rules, Iterable):
        rules = tuple(rules)  # a generator is read once
    if not isinstance(rules, tuple) or not all(isinstance(rule, Rule) for rule in rules):
        raise TypeError(f"rules must be a sequence of n2uq_jax.Rule, got {rules!r}.")
    found: dict[int, tuple[nnx.Module, list[str]]] = {}
    for path, module in modules(model).items():
        if quantized_form(module) is not None or isinstance(module, nnx.Embed | nnx.bridge.ToNNX):
            found.setdefault(id(module), (module, []))[1].append(path)
    for rule in rules:
        if not any(rule.matches(path) for _, paths in found.values() for path in paths):
            known = ", ".join(paths[0] for _, paths in found.values()) or "none"
            raise ValueError(
                f"rules: {rule.path!r} matches no layer; the layers are: {known}. Layers that the "
                "model makes in its first call are there after it."
            )
    ends = [key for key, (module, _) in found.items() if quantized_form(module) is not None]
    decisions = [
        _decide(module, paths, rules, key == ends[0], key == ends[-1])
        if key in ends
        else Decision(tuple(paths), type(module).__name__, None, _why_float(module))
        for key, (module, paths) in found.items()
    ]
    deciding = {i for _, paths in found.values() if (i := _first_match(rules, paths)) is not None}
    shadowed = [rule for i, rule in enumerate(rules) if i not in deciding]
    return Plan(tuple(decisions), tuple(shadowed))


def _decide(
    layer: nnx.Module, paths: list[str], rules: Sequence[Rule], first: bool, last: bool
) -> Decision:
    def stays(reason: str) -> Decision:
        return Decision(tuple(paths), type(layer).__name__, None, reason)

    i = _first_match(rules, paths)
    rule = None if i is None else rules[i]
    form = quantized_form(layer)
    assert form is not None
    obstacle = form.unsupported(layer)
    if obstacle is not None:
        return stays(obstacle)
    if rule is None:
        return stays("no rule matches")
    if rule.leaves_float:
        return stays(f"rule {rule.path!r} leaves it float")
    if (first or last) and not any(map(rule.names, paths)):
        return stays(f"the {'first' if first else 'last'} layer: no rule spells out its path")
    return Decision(tuple(paths), type(layer).__name__, rule, f"rule {rule.path!r}")


def _first_match(rules: Sequence[Rule], paths: Sequence[str]) -> int | None:
    return next((i for i, rule in enumerate(rules) if any(map(rule.matches, paths))), None)


def _why_float(module: nnx.Module) -> str:
    if isinstance(module, nnx.bridge.ToNNX):
        return "a Linen module: build it with the layers of n2uq_jax.nn.linen"
    return "a table, not a product"


def _row(decision: Decision) -> tuple[str, ...]:
    rule = decision.rule
    bits = ("float", "float")
    if rule is not None:
        inputs = "float"
        if rule.a_bits is not None:
            sign = {None: "", True: " signed", False: " unsigned"}[rule.signed]
            inputs = f"{rule.a_bits} bit{sign}"
        bits = (f"{rule.w_bits} bit", inputs)
    return " = ".join(decision.paths), decision.kind, *bits, decision.reason
