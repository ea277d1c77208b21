"""Writes the list of fields in docs/configuration.md: ``python docs/configuration.py``."""

from pathlib import Path

from n2uq_jax.training.schema import page

PAGE = Path(__file__).with_suffix(".md")

if __name__ == "__main__":
    head, _, _ = PAGE.read_text().partition("## The run")
    PAGE.write_text(head + page())
