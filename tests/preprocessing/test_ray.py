"""On Ray, the same bytes as in one process."""

from pathlib import Path
from typing import Any

import pytest
from making import pictures, published, settings, sharded

from cluster.mistake import UserError
from preprocessing.job import on_ray, shard

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("cpus", [1, 2])
def test_ray_builds_the_same_bytes_as_one_process(tmp_path: Path, cpus: int, ray_session: None) -> None:
    import ray

    asked = settings(pictures(tmp_path / "raw", 45))
    (tmp_path / "raw" / "cat" / "empty.png").touch()
    sharded(asked, tmp_path / "alone")
    context = ray.data.DataContext.get_current()
    limits = context.execution_options.resource_limits
    seen: list[tuple[int, int]] = []

    try:
        context.execution_options.resource_limits = limits.copy(cpu=cpus)
        _, skipped = shard(asked, str(tmp_path / "ray"), lambda done, total: seen.append((done, total)))
    finally:
        context.execution_options.resource_limits = limits

    assert not skipped
    assert published(tmp_path / "ray") == published(tmp_path / "alone")
    assert seen[0] == (0, 91)
    assert seen[-1] == (91, 91)
    assert sorted(seen) == seen


def test_a_users_mistake_in_a_task_comes_back_as_one(tmp_path: Path, ray_session: None) -> None:
    with pytest.raises(UserError, match="the disk of x is full") as mistake:
        list(on_ray(mistaken, ["x"]))

    assert type(mistake.value) is UserError
    assert "Traceback" not in str(mistake.value)


def mistaken(text: str) -> dict[str, Any]:
    raise UserError(f"the disk of {text} is full")
