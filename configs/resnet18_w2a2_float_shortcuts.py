"""ResNet-18 with 2-bit weights and activations and float shortcuts on ImageNet.

Command (DIR: where TFDS prepared imagenet2012):
  n2uq train --config configs/resnet18_w2a2_float_shortcuts.py --config.data.dir=DIR
Hardware: eight GPUs or a TPU host; hours: not measured yet.
Top-1: 69.7 in the paper; here: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.recipes import imagenet


def get_config() -> ConfigDict:
    return imagenet("resnet18", bits=2, quantize_downsample=False)
