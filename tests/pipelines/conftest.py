"""What several tests of pipelines stand on."""

from pathlib import Path

import pytest


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind, of which nothing is made yet."""
    if request.param == "folder":
        return str(tmp_path / "a training")
    return f"s3://{request.getfixturevalue('bucket')}/a training"
