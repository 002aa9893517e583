"""Raw files and shards in buckets: brought there by bare boto3, and looked at as readers see them."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster.storage import Object, store
from preprocessing.job import Spread, shard_with
from preprocessing.settings import DataSettings
from preprocessing.shards import Shards

AT_ONCE = 8
Sharded = Callable[..., tuple[Shards, bool]]


def put(place: str, name: str, data: bytes) -> None:
    """One object, as other people's tools write it."""
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


def upload(folder: Path, place: str) -> str:
    """Every file of the folder as an object."""
    import boto3

    client = boto3.client("s3")
    bucket, _, prefix = place.removeprefix("s3://").partition("/")

    def send(path: Path) -> None:
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        [*pool.map(send, [path for path in folder.rglob("*") if path.is_file()])]
    return place


def contents(place: str) -> dict[str, str]:
    """sha256 of everything at the place but the ledger, whose stamps are the place's own."""
    home = store(place)
    names = [one.name for one in home.list() if not one.name.startswith(".ledger/")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(names, (hashlib.sha256(data).hexdigest() for data in pool.map(home.read, names)),
                        strict=True))  # fmt: skip


def listed(place: str) -> dict[str, Object]:
    """What the place says of everything in it."""
    return {one.name: one for one in store(place).list()}


def in_a_thread(asked: DataSettings, place: str, spread: Spread = map) -> tuple[Shards, bool]:
    """Shards without Ray, in a thread of their own.

    The process that decodes belongs to a thread, and keeps the environment that it was started with.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(shard_with, spread, asked, place, lambda *_: None).result()


def uploads(bucket: str) -> list[Any]:
    """Uploads in parts that are not complete."""
    import boto3

    return boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
