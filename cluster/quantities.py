"""Amounts as Kubernetes writes them: 500m, 2, 16Gi, 1e3."""

import re

UNITS = {
    "": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def amount(text: object) -> float | None:
    """The number that is meant; None where it is none."""
    found = re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]{0,2})", str(text).strip())
    if not found or found[2] not in UNITS:
        return None
    try:
        return float(found[1]) * UNITS[found[2]]
    except ValueError:
        return None
