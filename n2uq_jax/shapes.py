"""Array types that carry shapes, as in ``Float[Array, "*batch channels"]``.

They are those of jaxtyping, whose notation for shapes they use. The package does not need it:
without it they mean an array of any shape. Nothing is checked at run time but in tests.
"""

from typing import TYPE_CHECKING

from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped
else:
    try:
        from jaxtyping import Float, Shaped
    except ImportError:
        from typing import Annotated as Float
        from typing import Annotated as Shaped

__all__ = ["Array", "Float", "Shaped"]
