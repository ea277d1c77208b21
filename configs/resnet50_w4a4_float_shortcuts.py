"""ResNet-50 with 4-bit weights and activations and float shortcuts on ImageNet.

Command (DIR: where TFDS prepared imagenet2012):
  n2uq train --config configs/resnet50_w4a4_float_shortcuts.py --config.data.dir=DIR
Hardware: eight GPUs or a TPU host; hours: not measured yet.
Top-1: 78.0 in the paper; here: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.recipes import imagenet


def get_config() -> ConfigDict:
    return imagenet("resnet50", bits=4, quantize_downsample=False)
