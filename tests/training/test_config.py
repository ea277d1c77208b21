import pytest

from n2uq_jax.training import config as C


def test_misspelt_fields_are_errors():
    with pytest.raises(AttributeError, match="batchsize"):
        C.default_config().batchsize = 3
