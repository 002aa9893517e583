"""The training: its loop, what goes into it, and what survives of it."""
