"""Integer programs as one C file that runs anywhere."""
