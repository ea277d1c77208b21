"""The proof that an integer program computes what its network does."""
