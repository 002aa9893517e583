"""What the kernel tells of a process of this machine."""

from pathlib import Path


def born(pid: int) -> int | None:
    """When it started, in the kernel's ticks; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name stands in parentheses and may hold spaces; field 22 of proc(5), counted from 1.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
