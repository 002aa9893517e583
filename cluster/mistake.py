"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Says what is wrong, where, and the way out; the command line prints it and ends with status 2."""
