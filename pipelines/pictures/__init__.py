"""Pictures of data, of training and of what a model looked at."""
