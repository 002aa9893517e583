"""What a setting must satisfy, and the complaint that names it where it does not."""


def require(holds: bool, complaint: str) -> None:
    """A fact that has to hold.

    Raises:
        ValueError: it does not.
    """
    if not holds:
        raise ValueError(complaint)


def share(name: str, value: float) -> None:
    """A number from 0 to 1."""
    require(0 <= value <= 1, f"{name} ({value}) is a share: choose a number from 0 to 1")


def whole(name: str, value: int, least: int = 1) -> None:
    """A whole number, not below the least."""
    require(value >= least, f"{name} ({value}) is too small: the least is {least}")
