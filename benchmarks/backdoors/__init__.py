"""The bench of backdoors: its rows, and the merges that they are measured under."""
