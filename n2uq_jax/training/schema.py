"""Every field of a configuration: of this list its defaults, checks, help and page are made."""

from typing import get_args

from n2uq_jax import models
from n2uq_jax.data.dataset import Interpolation
from n2uq_jax.models.create import TORCHVISION
from n2uq_jax.nn import Method
from n2uq_jax.tables import format_table
from n2uq_jax.training.fields import (
    Choice,
    Field,
    Flag,
    Integer,
    Names,
    Number,
    Steps,
    Text,
)
from n2uq_jax.training.optimizer import SCHEDULES, SLOW_GROUPS

DTYPES = ("float32", "bfloat16")
NETWORKS = tuple(name for name in models.names() if not name.startswith(TORCHVISION))
BITS = Integer(1, 8)

RUN = (
    Field("seed", Integer(0, 2**32 - 1), 0, "of the parameters, the order and the augmentation"),
    Field("x64", Flag(), False, "double precision throughout; for studies of reproducibility"),
    Field("stages", Names(), ("float", "quantized"), "trained one after another, each a group"),
    Field("batch_size", Integer(1), 128, "images a step, over all devices"),
    Field("eval_batch_size", Integer(1), 256, "images at a time in evaluation, over all devices"),
    Field("accumulate", Integer(1), 1, "microbatches a step"),
    Field(
        "batch_norm",
        Choice(("global", "per_device")),
        "global",
        "whose statistics normalize; per_device is how the authors ran it",
    ),
    Field("checkpoint_every", Integer(1), None, "steps; None: every epoch", optional=True),
    Field("keep_checkpoints", Integer(1), 2, "newest ones, beside the best"),
    Field("log_every", Integer(1), 50, "steps"),
    Field("eval_every", Number(above=True), 1.0, "epochs"),
    Field("profile_steps", Steps(), None, "steps that are profiled; None: none", optional=True),
    Field("figures", Flag(), True, "draw pictures at the end"),
    Field(
        "export",
        Flag(),
        False,
        "end with the integer model in WORKDIR/artifact, proven and evaluated",
    ),
)
MODEL = (
    Field("model.name", Choice(NETWORKS), "resnet8", "the network"),
    Field("model.w_bits", BITS, 2, "bit width of the weights"),
    Field("model.a_bits", BITS, 2, "bit width of the activations"),
    Field("model.method", Choice(get_args(Method)), "n2uq", "how the layers quantize"),
    Field("model.dtype", Choice(DTYPES), "float32", "of the computation"),
    Field("model.quantize_downsample", Flag(), True, "False keeps shortcuts' convolutions float"),
    Field("model.width", Integer(1), 16, "channels of the first stage, of the small networks"),
    Field("model.stem_stride", Integer(1), 1, "of the small networks; 2 halves the resolution"),
    Field(
        "model.integer_only", Flag(), False, "every quantized stage trains the integer-only form"
    ),
    Field("model.stream_bits", Integer(8, 16), 16, "of its residual stream"),
    Field("model.stem_bits", Integer(2, 8), 8, "of its first convolution's weights"),
    Field("model.head_bits", Integer(2, 8), 8, "of its last layer's weights and inputs"),
)
DATA = (
    Field("data.name", Text(), "digits", "digits, idx, or a data set of TFDS"),
    Field("data.dir", Text(), None, "an IDX folder, or where TFDS keeps its data sets", True),
    Field("data.image_size", Integer(1), None, "pixels a side; None: the data set's own", True),
    Field("data.crop_padding", Integer(0), None, "of random shift; None: the data set's own", True),
    Field("data.flip", Flag(), False, "mirror half of the training images"),
    Field(
        "data.interpolation",
        Choice(get_args(Interpolation)),
        "opencv",
        "of TFDS's random crops; pillow gives torchvision's pixels, as the authors had them",
    ),
    Field("data.num_workers", Integer(0), 0, "decoding processes beside each training process"),
    Field("data.prefetch", Integer(1), 2, "batches on their way to the devices"),
    Field("data.max_bad_records", Integer(0), 100, "unreadable images; more of them end the run"),
)
MESH = (
    Field("mesh.data", Integer(1), None, "devices along the data axis; None: all others", True),
    Field("mesh.fsdp", Integer(1), 1, "devices that parameters and optimizer are spread over"),
    Field("mesh.slices", Integer(1), 1, "TPU slices, joined along the data axis"),
)
STAGE = (
    Field("quantized", Flag(), True, "False for the float twin"),
    Field("integer_only", Flag(), False, "the form whose evaluation is integer arithmetic"),
    Field("epochs", Number(), 30.0, "passes over the training images"),
    Field("learning_rate", Number(), 2.5e-3, "at its peak"),
    Field("quantizer_lr_factor", Number(), 0.1, "of quantizers, relative to the others"),
    Field(
        "slow_group",
        Choice(SLOW_GROUPS),
        "all",
        "which quantizer parameters that is; authors: those that their script's names match",
    ),
    Field("schedule", Choice(SCHEDULES), "linear", "how the learning rate falls"),
    Field("warmup_epochs", Number(), 0.0, "in which the learning rate rises"),
    Field("calibrate", Flag(), False, "set quantizers from images first, if init brings none"),
    Field("weight_decay", Number(), 0.0, "decoupled, of kernels alone"),
    Field(
        "init",
        Text(),
        None,
        "first parameters: an earlier stage, a workdir, a file of torchvision's or the authors' "
        "weights, or such as hf://timm/resnet18.tv_in1k; None: random ones",
        optional=True,
    ),
    Field(
        "teacher",
        Text(),
        None,
        "whose softmax is the target: an earlier stage, a workdir, or a network of models.create "
        "such as torchvision/resnet101; None: labels",
        optional=True,
    ),
    Field("teacher_weights", Text(), None, "of a network that is the teacher, as for init", True),
    Field("label_weight", Number(0, 1), 0.0, "share of the labels' cross-entropy beside a teacher"),
    Field("label_smoothing", Number(0, 1), 0.0, "share that all classes get"),
    Field("temperature", Number(above=True), 1.0, "of the teacher's softmax and the student's"),
)
"""The fields of each group that ``stages`` names."""

GROUPS = {"The run": RUN, "The network": MODEL, "The data": DATA, "The devices": MESH}
"""All other fields, by what they are about."""

FIELDS = tuple(field for group in GROUPS.values() for field in group)


def field_of(path: str) -> Field | None:
    """Returns the field of a path in a configuration, None if there is none.

    Args:
      path: such as ``"data.flip"``, or ``"quantized.epochs"``, where any name stands for a stage's.
    """
    named = {field.name: field for field in FIELDS}
    if path in named:
        return named[path]
    group, _, name = path.rpartition(".")
    if not group or "." in group or group in {f.name.partition(".")[0] for f in FIELDS}:
        return None
    return next((field for field in STAGE if field.name == name), None)


def listing() -> str:
    """Returns the list of all fields as a table, which ``n2uq check --fields`` prints."""
    rows = [("field", "default", "what it may be")]
    lines = []
    for prefix, fields in _groups():
        for field in fields:
            rows.append((prefix + field.name, repr(field.default), field.expected))
            lines.append(f"    {field.about}")
    table = format_table(rows).splitlines()
    return "\n".join(
        [table[0], *(line for pair in zip(table[1:], lines, strict=True) for line in pair)]
    )


def names() -> str:
    """Returns the names of all fields in brief, each group once: ``data.{name dir flip}``."""
    parts = [field.name for field in RUN]
    for group in (MODEL, DATA, MESH):
        prefix = group[0].name.partition(".")[0]
        parts.append(f"{prefix}.{{{' '.join(f.name.partition('.')[2] for f in group)}}}")
    return " ".join([*parts, f"STAGE.{{{' '.join(field.name for field in STAGE)}}}"])


def page() -> str:
    """Returns the list of all fields in Markdown, which docs/configuration.md shows."""
    parts = []
    for title, (prefix, fields) in zip((*GROUPS, "A stage"), _groups(), strict=True):
        parts += [f"## {title}", "", "| field | default | what it may be | what it is |"]
        parts.append("| --- | --- | --- | --- |")
        for field in fields:
            name, default = f"`{prefix}{field.name}`", f"`{field.default!r}`"
            parts.append(f"| {name} | {default} | {field.expected} | {field.about} |")
        parts.append("")
    return "\n".join(parts)


def _groups() -> list[tuple[str, tuple[Field, ...]]]:
    return [*(("", fields) for fields in GROUPS.values()), ("STAGE.", STAGE)]
