"""`perceiver submit` and `perceiver jobs`: runs as jobs of a Ray cluster."""
