"""`perceiver manifests` and `perceiver lint`: the files of a cluster."""
