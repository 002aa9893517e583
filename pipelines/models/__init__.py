"""Trained weights as something that answers, is evaluated and is registered."""
