"""The help text, kept between calls: laying it out takes longer than a person likes to wait."""

import hashlib
import io
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from textwrap import fill

from cluster.storage import write_whole
from pipelines.rooms import sources


def kept_or_made(prog: str, make: Callable[[], None], folder: Path) -> str:
    """What `make` prints, from `folder` if it was made there before by the same code for this width."""
    width = shutil.get_terminal_size().columns
    facts = [prog, str(width)]
    facts += [f"{path} {(found := path.stat()).st_mtime_ns} {found.st_size}" for path in sources()]
    path = folder / f"help-{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:16]}.txt"
    with suppress(OSError):
        return path.read_text()
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        make()
    text = wrapped(printed.getvalue(), width)
    with suppress(OSError):  # a home that cannot be written costs time, not the help
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    return text


def wrapped(text: str, width: int) -> str:
    """The same in lines that fit: tyro makes one line of each paragraph before its tables."""
    lines = (fill(line, width) if len(line) > width else line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
