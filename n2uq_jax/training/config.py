"""The configuration of a run: its fields and their defaults."""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def default_config() -> ConfigDict:
    """Returns every field of a configuration with its default.

    A config file calls this in its ``get_config()`` and changes what it needs; the command line
    changes the rest: ``--config.batch_size=256``.

    A field that is None until it is given a value has a type nevertheless, so that the command line
    can set it; ``--config.FIELD=None`` takes the value away.

    Returns:
      The configuration; a misspelt field raises an error.
    """
    config = ConfigDict()
    config.seed = 0
    config.x64 = False  # double precision throughout; for studies of reproducibility

    config.model = ConfigDict()
    config.model.name = "resnet8"
    config.model.w_bits = 2
    config.model.a_bits = 2
    config.model.dtype = "float32"  # of the computation; "bfloat16" for mixed precision
    config.model.quantize_downsample = True
    config.model.width = 16  # channels of the first stage, of the small networks
    config.model.stem_stride = 1  # of the small networks; 2 halves the resolution at once
    config.model.integer_only = False  # every quantized stage trains the integer-only form
    config.model.stream_bits = 16  # of its residual stream, 8 to 16
    config.model.stem_bits = 8  # of its first convolution's weights, 2 to 8
    config.model.head_bits = 8  # of its last layer's weights and inputs, 2 to 8

    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.dir = placeholder(str)  # an IDX folder, or where TFDS keeps its data sets
    config.data.image_size = placeholder(int)  # pixels a side; None: the data set's own
    config.data.crop_padding = placeholder(int)  # of random shift; None: the data set's own
    config.data.flip = False  # mirror half of the training images
    config.data.num_workers = 0  # decoding processes beside each training process
    config.data.prefetch = 2  # batches on their way to the devices
    config.data.max_bad_records = 100

    config.batch_size = 128  # over all devices
    config.eval_batch_size = 256
    config.accumulate = 1  # microbatches a step
    config.batch_norm = "global"  # or "per_device", as the authors ran it

    config.mesh = ConfigDict()
    config.mesh.data = placeholder(int)  # devices along the data axis; None: all that are left
    config.mesh.fsdp = 1  # devices that parameters and optimizer state are spread over
    config.mesh.slices = 1  # TPU slices, joined along the data axis

    config.stages = ("float", "quantized")  # trained one after another, each a field below
    config.float = stage_config(quantized=False)
    config.quantized = stage_config(quantized=True, init="float", teacher="float")
    # A third stage, for who names it: fine-tunes the integer-only form of the quantized network.
    config.integer = stage_config(
        quantized=True, integer_only=True, init="quantized", teacher="float", epochs=5.0
    )
    config.integer.learning_rate = 2.5e-4

    config.checkpoint_every = placeholder(int)  # steps; None: every epoch
    config.keep_checkpoints = 2  # newest ones, beside the best
    config.log_every = 50  # steps
    config.eval_every = 1  # epochs
    config.profile_steps = placeholder(tuple)  # first and last step of a profile
    config.figures = True
    config.export = False  # end with the integer model in WORKDIR/artifact, proven and evaluated
    return config.lock()


def stage_config(*, quantized: bool, **changes: Any) -> ConfigDict:
    """Returns the fields of one training stage with their defaults.

    Args:
      quantized: whether the network has quantizers in this stage; False for its float twin.
      **changes: fields that differ from their defaults.

    Returns:
      The stage's part of a configuration.
    """
    stage = ConfigDict()
    stage.quantized = quantized
    stage.integer_only = False  # the form whose evaluation is integer arithmetic
    stage.epochs = 30.0
    stage.learning_rate = 2.5e-3
    stage.quantizer_lr_factor = 0.1  # of quantizer parameters, relative to the others
    stage.schedule = "linear"  # to 0; or "linear_per_epoch", "cosine", "constant"
    stage.warmup_epochs = 0.0
    stage.weight_decay = 0.0  # decoupled, of kernels alone
    # Where parameters come from: None for random ones, an earlier stage, a workdir, or a file of
    # torchvision's or the authors' weights, or such as "hf://timm/resnet18.tv_in1k".
    stage.init = placeholder(str)
    # Whose softmax is the target: None for labels, an earlier stage, a workdir, or a network of
    # models.create such as "torchvision/resnet101" with its weights below.
    stage.teacher = placeholder(str)
    stage.teacher_weights = placeholder(str)
    stage.label_weight = 0.0  # share of the labels' cross-entropy beside a teacher's
    stage.label_smoothing = 0.0
    stage.temperature = 1.0
    stage.update(changes)
    return stage
