"""What a run or a network will be, told before anything is computed."""

from n2uq_jax.preflight.layers import check as check
