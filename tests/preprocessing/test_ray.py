"""On Ray, the same bytes as in one process."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from in_buckets import contents, upload
from making import pictures, published, settings, sharded

from cluster.mistake import UserError
from preprocessing.job import keys_named, on_ray, shard
from preprocessing.plan import Work
from preprocessing.samples import Part, Sample

pytestmark = pytest.mark.ray


def test_ray_builds_the_same_bytes_as_one_process(tmp_path: Path, ray_session: None) -> None:
    asked = settings(pictures(tmp_path / "raw", 45))
    (tmp_path / "raw" / "cat" / "empty.png").touch()
    sharded(asked, tmp_path / "alone")
    seen: list[tuple[int, int]] = []

    _, skipped = shard(asked, str(tmp_path / "ray"), lambda done, total: seen.append((done, total)))

    assert not skipped
    assert published(tmp_path / "ray") == published(tmp_path / "alone")
    assert seen[0] == (0, 91)
    assert seen[-1] == (91, 91)
    assert sorted(seen) == seen


@pytest.mark.s3
def test_workers_blocks_and_places_do_not_change_a_byte(tmp_path: Path, bucket: str) -> None:
    """On a Ray of its own: its workers have the environment that it is started in, credentials too."""
    root = pictures(tmp_path / "raw", 45)
    sharded(settings(root), tmp_path / "alone")
    jobs = [(str(root), str(tmp_path / f"{workers}-{rows}"), workers, rows)
            for workers in (1, 2, 4) for rows in (1, 3)]  # fmt: skip
    jobs.append((upload(root, f"s3://{bucket}/raw"), f"s3://{bucket}/shards", 2, 1))
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

    subprocess.run([sys.executable, "-c", ON_RAY, json.dumps(jobs)], check=True, timeout=900,
                   env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)})  # fmt: skip

    whole = published(tmp_path / "alone")
    assert [contents(place) == whole for _, place, _, _ in jobs] == [True] * 7


ON_RAY = """
import json, os, sys, tempfile
from functools import partial
import ray
from making import settings
from preprocessing.job import on_ray, shard, shard_with

with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=4, _temp_dir=scratch, **quiet)
    options = ray.data.DataContext.get_current().execution_options
    for raw, place, workers, rows in json.loads(sys.argv[1]):
        options.resource_limits = options.resource_limits.copy(cpu=workers)
        if rows == 1:
            shard(settings(raw), place, lambda *_: None)
        else:
            shard_with(partial(on_ray, rows_a_block=rows), settings(raw), place, lambda *_: None)
    ray.shutdown()
"""


def test_a_users_mistake_in_a_task_comes_back_as_one(tmp_path: Path, ray_session: None) -> None:
    asked = settings(pictures(tmp_path, 1))
    gone = Sample("cat/gone", "cat", (Part("image", "cat/gone.png", 5, 1),))
    text = Work(name="0", split="train", samples=(gone,)).text().decode()

    with pytest.raises(UserError, match="changed while it was read") as mistake:
        list(on_ray(partial(keys_named, settings=asked), [text]))

    assert type(mistake.value) is UserError
    assert "Traceback" not in str(mistake.value)
