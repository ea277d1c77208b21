"""A workdir: what a run leaves behind, and how to read it."""
