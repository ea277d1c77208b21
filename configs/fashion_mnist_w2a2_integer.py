"""A 2-bit ResNet-14 on Fashion-MNIST that is integer arithmetic from pixels to logits.

Command: n2uq train --config fashion_mnist_w2a2_integer --workdir runs/fashion_integer
Data: Debian's package dataset-fashion-mnist, or --config.data.dir=FOLDER with its four IDX files.
Hardware: two CPU cores, about an hour. On a GPU: not measured yet.
Measured: not yet.
"""

from ml_collections import ConfigDict

from n2uq_jax.training.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.model.name = "resnet14"
    config.model.width = 16
    config.model.stem_stride = 2  # half the resolution: four times as fast on a CPU
    config.data.name = "idx"
    config.data.dir = "/usr/share/datasets/fashion-mnist"
    config.data.flip = True
    config.batch_size = 128
    config.eval_batch_size = 500
    config.stages = ("float", "quantized", "integer")
    config.float.epochs = 10.0
    config.quantized.epochs = 22.0
    config.integer.epochs = 5.0
    return config
