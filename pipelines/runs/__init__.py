"""Annotated run files, and the raw files of the demo."""
