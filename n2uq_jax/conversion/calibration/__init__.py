"""Thresholds, scales and running statistics from data."""
