"""Peers that do not fit beside what we require: each in a folder of its own under build/peers.

They are fetched without what they require, and the rest is named here: what they require in full brings CUDA,
cloud clients and old versions of what we have. What is not in their folder, they find in our environment.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path("build") / "peers"

PACKAGES = {
    "img2dataset": (
        "img2dataset==1.47.0", "webdataset==0.2.111", "opencv-python-headless==4.14.0.94",
        "albumentations==1.4.24", "albucore==0.0.23", "simsimd==6.5.16", "stringzilla==5.3.2",
        "fire==0.7.1", "termcolor==3.3.0",
        "ExifRead-nocycle==3.0.1", "pandas==2.3.3", "pytz==2026.6", "tzdata==2026.6", "braceexpand==0.1.7",
    ),
    "mosaicml-streaming": (
        "mosaicml-streaming==0.13.0", "catalogue==2.0.10", "zstd==1.5.7.2", "xxhash==4.1.0",
        "python-snappy==0.7.3", "cramjam==2.14.0", "Brotli==1.2.1",
    ),
}  # fmt: skip


STAND_INS = {"img2dataset": "wandb"}
"""Imported at the top, in each of its processes, and never called: an empty module takes its place."""


def version(peer: str) -> str:
    """As it is pinned."""
    return PACKAGES[peer][0].partition("==")[2]


def fetched(peer: str) -> Path:
    """The folder to put before all others on the path; there once, then kept."""
    home = HOME.absolute() / f"{peer}-{version(peer)}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            pip += ["--no-deps", "--ignore-requires-python", "--target", f"{folder}/whole"]
            subprocess.run([*pip, *PACKAGES[peer]], check=True)
            if peer in STAND_INS:
                Path(folder, "whole", f"{STAND_INS[peer]}.py").touch()
            os.replace(f"{folder}/whole", home)  # noqa: PTH105, as short as it gets
    return home
