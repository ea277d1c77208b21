"""ResNet-34 with 4-bit weights and activations on ImageNet.

Command (DIR: where TFDS prepared imagenet2012):
  n2uq train --config configs/resnet34_w4a4.py --config.data.dir=DIR
Hardware: eight GPUs or a TPU host; hours: not measured yet.
Top-1: 76.0 in the paper; here: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.recipes import imagenet


def get_config() -> ConfigDict:
    return imagenet("resnet34", bits=4)
