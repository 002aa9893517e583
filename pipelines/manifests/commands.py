"""The commands of cluster files: they are written, and looked at."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster import yaml_files
from cluster.deployment import Deployment
from cluster.lint import lint as look_at
from cluster.mistake import UserError
from cluster.storage import is_bucket
from pipelines.manifests.deploying import deployment
from pipelines.manifests.kinds import LAUNCHERS, ON_KUBERNETES, RUN_FILE, VOLUME, Kind
from pipelines.manifests.options import LintOptions, Manifests
from pipelines.progress import say

Answer = tuple[int, dict[str, Any]]
"""The exit status, and the object that --json prints."""


def manifests(asked: Manifests) -> Answer:
    """Write the files."""
    made, folder = deployment(asked), Path(asked.options.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}. Name another --output.") from error
    files = {folder / f"{name}.yaml": kind for name, kind in _wanted(asked).items()}
    for path, kind in files.items():
        yaml_files.write(path, _header(path, made, asked, kind), kind.make(made))
        say(f"manifests: {path}")
    if not asked.settings.tracking.uri:
        say(
            "manifests: no tracking server is named, so runs are tracked in a file on the volume, which one "
            "run at a time may use: --tracking.uri http://HOST:5000"
        )
    raw = made.options[made.options.index("--data.raw") + 1]
    if not is_bucket(raw):
        say(
            f"manifests: the raw files are read at {raw}, on the volume: bring them there first, or name a "
            f"bucket: --data.raw s3://bucket/prefix"
        )
    for line in _next(folder, made, list(_wanted(asked))):
        say(f"manifests: {line}")
    return 0, {"files": [str(path) for path in files], "cluster": made.name}


def _wanted(asked: Manifests) -> dict[str, Kind]:
    """By the file's name; on Kubernetes the volume and the run file first."""
    kinds = {name: {**ON_KUBERNETES, **LAUNCHERS}[name] for name in asked.options.kind}
    return {"volume": VOLUME, "run-file": RUN_FILE, **kinds} if set(kinds) - set(LAUNCHERS) else kinds


def _header(path: Path, made: Deployment, asked: Manifests, kind: Kind) -> str:
    run_file = asked.settings.run_file
    about = kind.about.format(
        name=made.name, file=path.name, drain=made.drain_seconds, grace=made.grace_seconds,
        submit=shlex.join(["perceiver", "submit", run_file, *made.options, "--cluster.address"]),
    )  # fmt: skip
    return f"{about}\nMade by: {shlex.join(['perceiver', 'manifests', run_file, *asked.words])}"


def _next(folder: Path, made: Deployment, names: list[str]) -> list[str]:
    """What a person does now."""
    files = [str(folder / f"{name}.yaml") for name in names if name not in LAUNCHERS]
    if not files:
        return [f"next: ray up {folder / names[0]}.yaml"]
    secret = f"kubectl -n {made.namespace} create secret generic {made.token_secret}"
    return [
        f'first, once: {secret} --from-literal=auth_token="$(openssl rand -hex 32)"',
        "next: kubectl apply " + " ".join(f"-f {file}" for file in files[:3]),
    ]


def lint(options: LintOptions) -> Answer:
    """Say what is wrong; status 1 where something is."""
    documents = yaml_files.documents(options.files)
    findings = look_at(documents)
    for one in findings:
        say(f"{one.file}: {one.path}\n    {one.fact}\n    -> {one.way_out}  [{one.rule}]")
    files = len({file for file, _ in documents})
    say(
        f"lint: {_many(len(findings), 'finding')} in {_many(len(documents), 'document')} of "
        f"{_many(files, 'file')}"
    )
    return (1 if findings else 0), {
        "findings": [asdict(one) for one in findings],
        "documents": len(documents),
    }


def _many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'s' * (count != 1)}"
