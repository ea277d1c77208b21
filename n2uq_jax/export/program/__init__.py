"""The integer program: how it is built, and how it is carried out."""
