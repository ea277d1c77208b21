"""ResNet-34 with 3-bit weights and activations and float shortcuts on ImageNet.

Command (DIR: where TFDS prepared imagenet2012):
  n2uq train --config configs/resnet34_w3a3_float_shortcuts.py --config.data.dir=DIR
Hardware: eight GPUs or a TPU host; hours: not measured yet.
Top-1: 75.3 in the paper; here: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.recipes import imagenet


def get_config() -> ConfigDict:
    return imagenet("resnet34", bits=3, quantize_downsample=False)
