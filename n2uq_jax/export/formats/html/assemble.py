"""One file of the folder ``page``: a template, a style, scripts, and what they work on."""

import base64
import hashlib
import html
import json
import string
from importlib import resources
from typing import Any

SCRIPTS = ("network", "image", "drawing", "maps", "result", "main")
"""In the order in which they build on each other."""


def assemble(about: dict[str, Any], module: bytes) -> str:
    """Puts a page together.

    A policy in its head forbids the page every request, and every script and style but its own,
    which it names by their digests.

    Args:
      about: what :func:`~n2uq_jax.export.formats.html.about.describe_page` says.
      module: WebAssembly.

    Returns:
      HTML that refers to nothing outside itself.
    """
    style = _text("style.css")
    script = '"use strict";\n' + "\n".join(_text(f"{name}.js") for name in SCRIPTS)
    policy = {
        "default-src": "'none'",
        "script-src": f"{_digest(script)} 'wasm-unsafe-eval'",
        "style-src": _digest(style),
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return string.Template(_text("page.html")).substitute(
        policy="; ".join(f"{key} {value}" for key, value in policy.items()),
        title=html.escape(about["title"]),
        style=style,
        # In a script element nothing is escaped, and it ends where its closing tag stands.
        about=json.dumps(about, allow_nan=False).replace("<", "\\u003c"),
        module=base64.b64encode(module).decode(),
        script=script,
    )


def _text(name: str) -> str:
    return (resources.files("n2uq_jax.export.formats.html") / "page" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
