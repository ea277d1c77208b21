"""What a network computes: its trace, and what is understood of it."""
