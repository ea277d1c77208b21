"""Training: from a config to a workdir with checkpoints and metrics."""
