"""Shards raw files on a Ray cluster in a process that a test may kill, and prints how far it is."""

import sys

from preprocessing.job import shard
from preprocessing.settings import DataSettings, ImageSettings


def asked(raw: str) -> DataSettings:
    """Settings for small pictures, some of them broken, in many shards."""
    return DataSettings(
        raw=raw, modalities=("image",), shard_size=6, max_refused=1.0, image=ImageSettings(size=8)
    )


def main(address: str, raw: str, place: str) -> None:
    """One line for each progress, `done total`, and the digest in the end."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    shards, _ = shard(asked(raw), place, lambda done, total: say(f"{done} {total}"))
    say(shards.digest)


def say(line: str) -> None:
    """In one piece, so that nobody reads half a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
