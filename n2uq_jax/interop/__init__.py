"""Networks to and from PyTorch."""

from n2uq_jax.interop.checkpoint import load_checkpoint as load_checkpoint
from n2uq_jax.interop.checkpoint import load_state_dict as load_state_dict
from n2uq_jax.interop.checkpoint import read_checkpoint as read_checkpoint
from n2uq_jax.interop.n2uq import load_n2uq_state_dict as load_n2uq_state_dict
from n2uq_jax.interop.n2uq import save_n2uq_state_dict as save_n2uq_state_dict
from n2uq_jax.interop.state_dict import LoadReport as LoadReport
from n2uq_jax.interop.torchvision import load_torchvision_state_dict as load_torchvision_state_dict
from n2uq_jax.interop.torchvision import save_torchvision_state_dict as save_torchvision_state_dict
