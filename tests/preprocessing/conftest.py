"""What several tests of preprocessing stand on."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of malformed and unusual files with its manifest.csv, unpacked."""
    place = os.environ.get("PERCEIVER_TEST_DATA")
    if not place:
        pytest.skip("PERCEIVER_TEST_DATA is not set: it names the folder of dev-bad.tar.xz")
    archive = Path(place) / "dev-bad.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there")
    folder = tmp_path_factory.mktemp("malformed")
    # tar, not tarfile: the archive holds a pipe and names that are no UTF-8 on purpose.
    subprocess.run(["tar", "xJf", str(archive), "-C", str(folder)], check=True)
    return folder / "dev"
