"""The recipe of the starter checkpoint."""
