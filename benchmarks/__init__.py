"""Every figure that the README gives, with the script that measures it."""
