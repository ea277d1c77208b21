"""Networks to and from PyTorch."""

from n2uq_jax.interop.n2uq import load_n2uq_state_dict as load_n2uq_state_dict
from n2uq_jax.interop.n2uq import save_n2uq_state_dict as save_n2uq_state_dict
