"""The two commands that take shards instead of a run: what they do, tell and answer."""

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from cluster.storage import folder
from pipelines.progress import progress, say
from pipelines.shards import options as shard_options
from pipelines.shards.description_words import in_words
from pipelines.shards.options import InspectOptions, Named, VerifyOptions
from pipelines.tracking import mlflow_inspection, reach
from preprocessing.describing import Description, describe
from preprocessing.shards import Shards
from preprocessing.verifying import Verdict
from preprocessing.verifying import verify as look_at_all

Answer = tuple[int, dict[str, Any]]
"""The exit status, and the object that --json prints."""


def verify(options: VerifyOptions) -> Answer:
    """Whether the shards are what their manifest says; status 1 if they are not."""
    place = shard_options.named(options.shards).shards
    with progress("verify") as advance:
        verdict = look_at_all(place, options.version, lambda done, total: advance(done, total, ""))
    _tell(verdict)
    return (1 if verdict.faults else 0), asdict(verdict)


def _tell(verdict: Verdict) -> None:
    for name in verdict.strangers:
        say(f"verify: {name} belongs to no version; readers never see it, it may be deleted")
    shards = f"{verdict.shards:,} shard{'s' * (verdict.shards != 1)}"
    digest = verdict.digest[:12]
    if not verdict.faults:
        say(f"verify: {shards}, {verdict.samples:,} samples, {verdict.quarantined:,} quarantined: "
            f"all as the manifest {digest} says")  # fmt: skip
        return
    damaged = len(verdict.damaged)
    say(f"verify: {damaged:,} of {shards} {'is' if damaged == 1 else 'are'} damaged")
    for file, faults in groupby(verdict.faults, key=lambda fault: fault.file):
        told = list(faults)
        say(f"  {file}")
        for fault in told:
            say(f"    {f'sample {fault.key}: ' if fault.key else ''}{fault.what}")
        say(f"    -> {told[0].way_out}")
    total = len(verdict.faults) + verdict.untold
    told = f", of which {len(verdict.faults):,} are listed" if verdict.untold else ""
    say(f"verify: {total:,} fault{'s' * (total != 1)}{told}: not as the manifest {digest} says".rstrip())


def inspect(options: InspectOptions) -> Answer:
    """What the shards hold, in words and as a picture."""
    named = shard_options.named(options.shards, options.tracking.uri, options.name)
    if named.tracking_uri:
        reach.check(named.tracking_uri)
    shards = Shards.open(named.shards, options.version)
    description = describe(shards)
    for line in in_words(description):
        say(line)
    from pipelines.pictures.contact_sheet import contact_sheet

    sheet = contact_sheet(Path(options.sheet), shards, options.samples)
    say(f"\ncontact sheet   {sheet}")
    return 0, {**asdict(description), "sheet": str(sheet), "run": _log(named, description, sheet)}


def _log(named: Named, description: Description, sheet: Path) -> str:
    """The link to the MLflow run, or nothing where no store was named."""
    if not named.tracking_uri:
        say("MLflow          not logged: name its store (--tracking.uri, MLFLOW_TRACKING_URI or a run file)")
        return ""
    folder(str(named.root))
    ids = mlflow_inspection.Inspection(
        experiment=named.experiment, run_name=f"inspect {description.digest[:12]}",
        params=_params(description), description=asdict(description), sheet=sheet,
    ).log(named.tracking_uri, named.root)  # fmt: skip
    link = reach.link(named.tracking_uri, named.port, ids)
    say(f"MLflow          {link}")
    return link


def _params(description: Description) -> dict[str, str]:
    counts = {f"samples.{split}": str(count) for split, count in description.samples.items()}
    refused = {f"quarantined.{one.reason}": str(one.inputs) for one in description.quarantine}
    facts = {
        "shards": description.place, "digest": description.digest, "parent": description.parent or "none",
        "classes": str(len(description.classes)), "modalities": ", ".join(description.modalities),
    }  # fmt: skip
    return facts | counts | refused
