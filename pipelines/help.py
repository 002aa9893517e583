"""The help text, kept between calls: laying it out takes longer than a person likes to wait."""

import hashlib
import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path

from cluster.storage import write_whole

ROOT = Path(__file__).parent.parent
SETTINGS = tuple(
    ROOT / room / "settings.py" for room in ("cluster", "perceiver", "pipelines", "preprocessing")
)


def kept_or_made(prog: str, make: Callable[[], None], folder: Path) -> str:
    """What `make` prints, from `folder` if it was made there before from the same settings for this width."""
    facts = [prog, str(shutil.get_terminal_size().columns)]
    facts += [
        f"{path} {(found := path.stat()).st_mtime_ns} {found.st_size}" for path in (*SETTINGS, Path(__file__))
    ]
    path = folder / f"help-{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:16]}.txt"
    with suppress(OSError):
        return path.read_text()
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        make()
    with suppress(OSError):  # a home that cannot be written costs time, not the help
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, printed.getvalue().encode())
    return printed.getvalue()
