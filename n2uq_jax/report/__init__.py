"""What a run left behind, and what its network costs, as tables and pictures."""
