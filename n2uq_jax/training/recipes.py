"""The paper's recipe for ImageNet, which its configs share."""

from ml_collections import ConfigDict

from n2uq_jax.training.config import default_config

_STARTING_POINTS = {
    name: f"hf://timm/{name}.tv_in1k" for name in ("resnet18", "resnet34", "resnet50")
}


def imagenet(name: str, bits: int, *, quantize_downsample: bool = True) -> ConfigDict:
    """Returns the configuration of a row of the paper's table.

    Adam without weight decay for 128 epochs of 512 images a step; a learning rate that falls from
    2.5e-3 to 0 once an epoch, a tenth of it for quantizers; the softmax of torchvision's ResNet-101
    is the target, and labels are not used. torchvision's weights come from the Hugging Face hub.

    With float shortcuts the quantized ResNet starts from torchvision's weights, as in the paper.
    Otherwise the paper starts from float weights of the same topology and does not say how they
    were trained; here the float twin is trained first by the same recipe, a ResNet's from
    torchvision's weights. Who has the authors' float weights sets ``float.init`` to the file and
    ``float.epochs`` to 0.

    Args:
      name: a name of :func:`n2uq_jax.models.names`.
      bits: bit width of weights and activations.
      quantize_downsample: False keeps the shortcuts' convolutions float.

    Returns:
      The configuration.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4.1, and its code.
    """
    config = default_config()
    config.model.name = name
    config.model.w_bits = bits
    config.model.a_bits = bits
    config.model.quantize_downsample = quantize_downsample
    config.data.name = "imagenet2012"
    config.data.image_size = 224
    config.data.flip = True
    config.data.num_workers = 16
    config.batch_size = 512
    config.eval_batch_size = 512
    for stage in (config.float, config.quantized):
        stage.epochs = 128.0
        stage.learning_rate = 2.5e-3
        stage.schedule = "linear_per_epoch"
        stage.teacher = "torchvision/resnet101"
        stage.teacher_weights = "hf://timm/resnet101.tv_in1k"
    first = "float" if quantize_downsample else "quantized"
    config.stages = ("float", "quantized") if quantize_downsample else ("quantized",)
    config[first].init = _STARTING_POINTS.get(name)
    return config
