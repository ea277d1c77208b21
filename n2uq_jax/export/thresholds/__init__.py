"""Integer thresholds, read off the network's own arithmetic."""
