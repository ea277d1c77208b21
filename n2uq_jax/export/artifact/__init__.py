"""The artifact: an integer program in a folder."""
