"""How Sphinx builds the documentation: ``python -m sphinx -W -b html docs docs/_build``."""

import dataclasses
import inspect
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml

import n2uq_jax
from n2uq_jax import nn
from n2uq_jax.nn import linen

project = "n2uq_jax"
author = "the n2uq_jax authors"
project_copyright = "the n2uq_jax authors, Apache-2.0"
version = release = n2uq_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "n2uq_jax"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# A single pair of backticks in a docstring is code, as in Markdown.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False


@dataclasses.dataclass(frozen=True)
class Default:
    """A default value that prints as one would write it."""

    value: Any

    def __repr__(self) -> str:
        if isinstance(self.value, type):
            return self.value.__name__
        return repr(self.value) if isinstance(self.value, int | str) else "..."


def constructor(layer: type) -> inspect.Signature:
    """Returns the signature of a layer, which the metaclass of ``nnx.Module`` hides."""
    parameters = [
        parameter
        if parameter.default in (inspect.Parameter.empty, None)
        else parameter.replace(default=Default(parameter.default))
        for parameter in inspect.signature(layer.__init__).parameters.values()
    ]
    return inspect.Signature(parameters[1:])


for layer in [*vars(nn).values(), linen.Conv, linen.Dense, linen.ActivationQuantizer]:
    if isinstance(layer, type):
        layer.__signature__ = constructor(layer)


def mathml(visitor: Any, node: nodes.Node) -> None:
    """Writes a formula as MathML, which browsers draw without a script, so without a network."""
    # docutils has no command for larger parentheses; browsers stretch some by themselves.
    code = re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", node.astext())
    is_block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(code, as_block=is_block)
    visitor.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Tells Sphinx of :func:`mathml`."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
