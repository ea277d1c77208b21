"""What an artifact can hold beside its weights: one file, or one room, for each format."""
