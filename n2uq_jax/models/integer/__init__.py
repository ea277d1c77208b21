"""The integer-only form of the networks: its layers, its blocks, and the whole."""
