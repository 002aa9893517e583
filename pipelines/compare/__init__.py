"""`perceiver compare`: runs side by side."""
