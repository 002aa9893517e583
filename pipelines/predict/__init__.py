"""`perceiver predict`: a registered model over any inputs."""
