"""Which code made a model: the package's version, its git commit if it has one, a sha256 of all of it."""

import hashlib
import subprocess
from importlib import metadata
from pathlib import Path

from pipelines.rooms import ROOMS, ROOT, sources

GIT_SECONDS = 10.0


def code_version(root: Path = ROOT) -> dict[str, str]:
    """As tags; `code.commit` only where the code lies in a git repository of its own."""
    commit = _commit(root)
    return {
        "code.version": _package(),
        "code.sha256": code_sha256(root),
        **({"code.commit": commit} if commit else {}),
    }


def code_sha256(root: Path = ROOT) -> str:
    """Of every Python file of the rooms, by its name and content."""
    digest = hashlib.sha256()
    for path in sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _package() -> str:
    try:
        return metadata.version("perceiver-pipeline")
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit(root: Path) -> str:
    """The commit, and whether files differ from it."""
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    changed = commit and _git(root, "status", "--porcelain", "--", *ROOMS)
    return f"{commit}, changed since" if changed else commit


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
