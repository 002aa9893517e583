"""What a run's settings and the options of `perceiver manifests` mean for a cluster, or why they cannot."""

import calendar
import difflib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from posixpath import normpath
from urllib.parse import urlparse
from zoneinfo import available_timezones

from cluster.deployment import Deployment, Volume, cluster_name, ray_of, tag_of
from cluster.mistake import UserError
from cluster.storage import is_bucket
from pipelines.manifests.kinds import LAUNCHERS
from pipelines.manifests.options import Manifests, ManifestsOptions
from pipelines.settings import RunSettings

BY_THE_CLOCK = ("cronjob", "raycronjob")
CPUS = 4
"""Of a rank whose settings name no number: what one GPU's reader and augmentation take."""

PLACES = ("workspace", "checkpoints", "data.raw", "data.shards", "data.labels")
CRON = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
NAMES = {*calendar.month_abbr, *calendar.day_abbr}


def deployment(asked: Manifests) -> Deployment:
    """Everything that the files say.

    Raises:
        UserError: something that a cluster could not do, or not see.
    """
    options, settings = asked.options, asked.settings
    _refuse_image(options.image)
    _refuse_lacking(options, settings)
    _refuse_tracking(settings.tracking.uri)
    cluster = settings.cluster
    cpus = cluster.cpus_per_worker or CPUS
    spot = options.spot if options.spot >= 0 else cluster.most - cluster.fewest
    return Deployment(
        name=cluster_name(settings.name) or "perceiver", namespace=options.namespace,
        run_file=Path(settings.run_file).read_text(encoding="utf-8"),
        options=tuple(_options(asked, cpus)), image=options.image, ray_version=version("ray"),
        fewest=cluster.fewest, most=cluster.most, spot=spot, ranks_per_node=options.ranks_per_node,
        cpus=cpus, gpus=cluster.gpus_per_worker, memory_gib=options.memory_gib,
        checkpoint_seconds=options.checkpoint_seconds, idle_seconds=options.idle_seconds,
        token_secret=options.token_secret, env_secret=options.env_secret, spot_nodes=options.spot_nodes,
        cron=options.cron, timezone=options.timezone,
        volume=options.volume, aws=options.aws, gcp=options.gcp,
    )  # fmt: skip


def _options(asked: Manifests, cpus: int) -> Iterator[str]:
    """The options behind the run file: those that were given, and the places as the nodes see them."""
    settings = asked.settings
    ours = {f"--{name}": _seen(name, _value(settings, name), asked.options.volume) for name in PLACES}
    ours |= {
        "--tracking.uri": settings.tracking.uri,
        "--cluster.address": "",
        "--cluster.cpus-per-worker": str(cpus),
        "--cluster.autoscales": "True",
    }
    yield from _others(asked.given, set(ours))
    for option, value in ours.items():
        if value:
            yield from (option, value)


def _value(settings: RunSettings, name: str) -> str:
    owner = settings.data if name.startswith("data.") else settings
    return getattr(owner, name.removeprefix("data.")) or ""


def _seen(name: str, place: str, volume: Volume) -> str:
    """The place as a node sees it: a bucket as it is, a folder on the volume.

    Raises:
        UserError: it lies elsewhere.
    """
    if not place or (is_bucket(place) and name != "workspace"):
        return place
    there = normpath(place if place.startswith("/") else f"{volume.path}/{place}")
    if urlparse(place).scheme or place.startswith("~") or not f"{there}/".startswith(f"{volume.path}/"):
        bucket = "" if name == "workspace" else f", or a bucket: --{name} s3://bucket/prefix"
        raise UserError(
            f"{name} is {place}, which the cluster's nodes do not see: they share {volume.path}. Give a "
            f"relative path, which lies below it, or a path that begins with it{bucket}."
        )
    return there


def _others(given: Sequence[str], replaced: set[str]) -> Iterator[str]:
    """The words of options that are not replaced."""
    kept = True
    for word in given:
        if word.startswith("--"):
            kept = word.partition("=")[0].replace("_", "-") not in replaced
        if kept:
            yield word


def _refuse_image(image: str) -> None:
    ours, tag = version("ray"), tag_of(image)
    if not image:
        raise UserError(
            "manifests needs the image of the nodes: --image REPOSITORY:TAG. cluster/Dockerfile makes it; "
            "docs/cluster.md says how."
        )
    if tag in ("", "latest"):
        repository = image.removesuffix(":latest")
        raise UserError(
            f"--image {image} has {f'the tag {tag}' if tag else 'no tag'}, which is another image tomorrow. "
            f"Give it a tag of its own, as {repository}:1-ray{ours}."
        )
    if ray_of(image) not in ("", ours):
        raise UserError(
            f"--image {image} has Ray {ray_of(image)}, and this is Ray {ours}. Build it from "
            f"cluster/Dockerfile of this version."
        )


def _refuse_lacking(options: ManifestsOptions, settings: RunSettings) -> None:
    """What only some kinds need."""
    kinds, gpus, most = set(options.kind), settings.cluster.gpus_per_worker, settings.cluster.most
    clocks, launchers = kinds & set(BY_THE_CLOCK), kinds & set(LAUNCHERS)
    if clocks and not options.cron:
        raise UserError(f'--kind {min(clocks)} needs the time: --cron "0 3 * * *" --timezone Europe/Berlin')
    if options.cron:
        _refuse_time(options.cron, options.timezone)
    if launchers and not options.volume.nfs:
        raise UserError(
            f"--kind {min(launchers)} needs a file system that all machines mount, for the workspace: "
            f"--volume.nfs HOST:/EXPORT (EFS on Amazon, Filestore on Google)."
        )
    if "gcp" in kinds and not options.gcp.project:
        raise UserError("--kind gcp needs the project: --gcp.project ID")
    if "gcp" in kinds and gpus and not options.gcp.image:
        raise UserError(
            "--kind gcp with cluster.gpus-per-worker needs a machine image with Docker and NVIDIA's driver: "
            "--gcp.image projects/P/global/images/family/F"
        )
    if options.spot > most:
        raise UserError(f"--spot is {options.spot}, and cluster.workers {most}: give {most} at the most.")


def _refuse_tracking(uri: str) -> None:
    host = urlparse(uri).hostname or ""
    if urlparse(uri).password:
        raise UserError(
            "tracking.uri holds a password, which the files would show. Leave it out of the URI, and put "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD into a Secret: --env-secret NAME."
        )
    if host in ("localhost", "127.0.0.1", "::1"):
        raise UserError(
            f"tracking.uri is {uri}, where each node would look for the server in itself. Give a name that "
            f"the nodes reach it by."
        )


def _refuse_time(cron: str, timezone: str) -> None:
    words = cron.lower().split()
    if len(words) != len(CRON):
        raise UserError(
            f'--cron is "{cron}": Kubernetes takes five fields, minute, hour, day, month and weekday, '
            f'as "0 3 * * *".'
        )
    for word, (name, least, most) in zip(words, CRON, strict=True):
        numbers = [int(number) for number in re.findall(r"\d+", re.sub(r"/\d+", "", word))]
        known = set(re.findall(r"[a-z]+", word)) <= {name.lower() for name in NAMES} and re.fullmatch(
            r"[\w*/,-]+", word
        )
        if not known or not all(least <= number <= most for number in numbers):
            raise UserError(f'--cron is "{cron}": its {name} is {word}, and may be {least} to {most}.')
    if timezone not in available_timezones():
        near = difflib.get_close_matches(timezone, available_timezones(), n=1)
        meant = f" Perhaps you meant {near[0]}." if near else " Give one as Europe/Berlin."
        raise UserError(f"--timezone {timezone} is no time zone.{meant}")
