"""What happens, in which order: settings, stages, tracking and the command line."""
