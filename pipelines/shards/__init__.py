"""`perceiver verify` and `perceiver inspect`: shards without a run."""
