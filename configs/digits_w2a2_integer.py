"""A 2-bit ResNet-8 on scikit-learn's 8x8 digits, trained as integers from the float twin on.

Without the paper's form in between, which the quickstart's config has.

Command: n2uq train --config digits_w2a2_integer --workdir runs/digits_w2a2_integer
Hardware: any machine; two CPU cores are enough.
Expected: not measured yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.model.name = "resnet8"
    config.model.integer_only = True
    config.data.name = "digits"
    config.batch_size = 128
    config.float.epochs = 40.0
    config.quantized.epochs = 40.0
    config.checkpoint_every = 55  # steps: five epochs
    config.eval_every = 5
    config.log_every = 10
    config.export = True
    return config
