"""Makes a workdir of a PyTorch checkpoint: ``python -m n2uq_jax.convert --arch resnet18 ...``."""

from absl import app, flags

from n2uq_jax.messages import show_messages

_ARCH = flags.DEFINE_string(
    "arch", None, "A network of n2uq.models.names(), such as resnet18.", required=True
)
_BITS = flags.DEFINE_integer("bits", None, "Of weights and activations. Default: a float network.")
_W_BITS = flags.DEFINE_integer("w_bits", None, "Of the weights, where they have other bits.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A .safetensors, .pth or .pth.tar file.", required=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder to make.", required=True)
_DATA = flags.DEFINE_string("data", "imagenet2012", "The data set that the network classifies.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where the data set is.")


def main(argv: list[str]) -> None:
    """Reads the flags and converts."""
    show_messages()
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")

    from n2uq_jax.training.convert import convert

    try:
        convert(
            _ARCH.value,
            _CHECKPOINT.value,
            _WORKDIR.value,
            w_bits=_W_BITS.value or _BITS.value,
            a_bits=_BITS.value,
            data=_DATA.value,
            data_dir=_DATA_DIR.value,
        )
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"Nothing was written. {error}") from error
    print(f"wrote {_WORKDIR.value}; next: python -m n2uq_jax.evaluate --workdir {_WORKDIR.value}")


if __name__ == "__main__":
    app.run(main)
