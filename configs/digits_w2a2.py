"""A 2-bit ResNet-8 on scikit-learn's 8x8 digits, and its integer-only form: the quickstart.

Command: n2uq train --config configs/digits_w2a2.py --workdir runs/digits_w2a2
Hardware: any machine; two CPU cores are enough.
Expected: see the README.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.model.name = "resnet8"
    config.data.name = "digits"
    config.batch_size = 128
    config.stages = ("float", "quantized", "integer")
    config.float.epochs = 30.0
    config.quantized.epochs = 30.0
    config.integer.epochs = 8.0
    config.checkpoint_every = 110  # steps: ten epochs
    config.eval_every = 10
    config.log_every = 10
    config.export = True
    return config
