"""Networks by name."""

from n2uq_jax.models.create import create as create
from n2uq_jax.models.create import names as names
from n2uq_jax.models.create import options as options
