"""ResNet-18 with 2-bit weights and activations on ImageNet, integer arithmetic throughout.

Command (DIR: where TFDS prepared imagenet2012):
  n2uq train --config configs/resnet18_w2a2_integer.py --config.data.dir=DIR
Hardware: eight GPUs or a TPU host; hours: not measured yet.
Top-1: 69.4 in the paper for the form with float layers; here: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.recipes import imagenet


def get_config() -> ConfigDict:
    config = imagenet("resnet18", bits=2)
    config.stages = ("float", "quantized", "integer")
    config.integer.teacher = config.quantized.teacher
    config.integer.teacher_weights = config.quantized.teacher_weights
    return config
