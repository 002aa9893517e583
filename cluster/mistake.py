"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Says what is wrong, where, and the way out; the command line prints it and ends with status 2."""


class AwayError(UserError):
    """A server does not answer; it may answer the next one who asks: the command line ends with status 1."""
