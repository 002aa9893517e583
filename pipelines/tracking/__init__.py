"""What is told of a run: to a journal on the disk first, from there to MLflow."""
