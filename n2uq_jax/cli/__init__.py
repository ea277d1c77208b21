"""The command ``n2uq``: a file for each verb, and what they share."""
