"""What `perceiver manifests` and `perceiver lint` are told."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import tyro

from cluster.deployment import Aws, Gcp, Volume
from cluster.mistake import UserError
from pipelines.settings import RunSettings, read

Kind = Literal["raycluster", "rayjob", "cronjob", "raycronjob", "aws", "gcp"]


@dataclass(frozen=True, kw_only=True)
class ManifestsOptions:
    image: str = ""
    """Image of every node, REPOSITORY:TAG, made from cluster/Dockerfile."""
    output: str = "manifests"
    """Folder that the files are written to."""
    kind: tuple[Kind, ...] = ("raycluster", "rayjob")
    """Which: a cluster to submit to, a run with a cluster of its own, either by the clock (cronjob submits,
    raycronjob needs an alpha feature of KubeRay), and files for `ray up` on Amazon or Google."""
    cron: str = ""
    """When cronjob and raycronjob begin: minute, hour, day, month, weekday, as "0 3 * * *"."""
    timezone: str = "Etc/UTC"
    """Time zone of that, as Europe/Berlin."""
    namespace: str = "default"
    """Kubernetes namespace."""
    spot: int = -1
    """Ranks on machines that may be taken away; -1: those between the two numbers of cluster.workers."""
    spot_nodes: str = "karpenter.sh/capacity-type=spot"
    """Label of such nodes on Kubernetes (GKE: cloud.google.com/gke-spot=true)."""
    ranks_per_node: int = 1
    """Ranks on each pod or machine."""
    memory_gib: int = 16
    """Memory of each rank in GiB."""
    checkpoint_seconds: int = 60
    """Seconds that writing a checkpoint takes at the most; drain and grace times are made longer."""
    idle_seconds: int = 300
    """Seconds after which a node without work is given back."""
    token_secret: str = "perceiver-ray-token"
    """Name of the Secret whose key `auth_token` holds Ray's token."""
    env_secret: str = ""
    """Name of a Secret whose keys become environment variables: AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_PASSWORD
    and so on."""
    volume: Volume = field(default_factory=Volume)
    aws: Aws = field(default_factory=Aws)
    gcp: Gcp = field(default_factory=Gcp)

    def __post_init__(self) -> None:
        for name in ("ranks_per_node", "memory_gib", "checkpoint_seconds", "idle_seconds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} is {getattr(self, name)}: 1 is the least")
        if not re.fullmatch(r"[\w./-]+=[\w.-]+", self.spot_nodes):
            raise ValueError(f"spot-nodes is {self.spot_nodes!r}: give a label, key=value")


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """The options, the run that they are for, and the settings' options that were given."""

    options: ManifestsOptions
    settings: RunSettings
    given: tuple[str, ...]
    words: tuple[str, ...]
    """All that was said behind the run file."""


@dataclass(frozen=True, kw_only=True)
class LintOptions:
    files: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """YAML files, or folders of them."""


def parse(command: str, words: Sequence[str]) -> Manifests | LintOptions:
    """The options of `perceiver manifests` or `perceiver lint`.

    Raises:
        UserError: the run file or the files are not named, or a value cannot be.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    helped = bool(set(words) & {"-h", "--help"})
    if not helped and (not words or words[0].startswith("-")):
        first = "a run file first" if command == "manifests" else "YAML files"
        shown = "RUN.toml --image REPOSITORY:TAG" if command == "manifests" else "FILE..."
        raise UserError(f"`perceiver {command}` needs {first}: perceiver {command} {shown}")
    if command == "lint":
        about = "Say what is wrong in cluster files that their schemas let pass; status 1 then."
        return tyro.cli(LintOptions, args=list(words), prog="perceiver lint", description=about)
    return _manifests("" if helped else words[0], ["--help"] if helped else words[1:])


def _manifests(run_file: str, words: Sequence[str]) -> Manifests:
    about = (
        "Write the files of a cluster for a run. Options that are not listed here are settings of the run, "
        "as `perceiver run --help` lists them."
    )
    options, rest = tyro.cli(
        ManifestsOptions, args=list(words), prog="perceiver manifests RUN.toml", description=about,
        return_unknown_args=True,
    )  # fmt: skip
    for word in rest:
        _refuse_unknown(word)
    settings = read(run_file, rest, prog="perceiver manifests")
    return Manifests(options=options, settings=settings, given=tuple(rest), words=tuple(words))


def _refuse_unknown(word: str) -> None:
    """What begins as no setting does is a misspelt option of ours; the settings' parser knows the rest."""
    name = word.partition("=")[0].removeprefix("--").replace("_", "-")
    if not word.startswith("--") or name.partition(".")[0] in {one.name for one in fields(RunSettings)}:
        return
    ours = [one.name.replace("_", "-") for one in fields(ManifestsOptions)]
    near = difflib.get_close_matches(name, ours, n=1)
    meant = f" Perhaps you meant --{near[0]}." if near else ""
    raise UserError(f"--{name} is neither an option of manifests nor a setting.{meant}")
