"""The three commands that take a model of the registry: what they do, tell and answer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from pipelines.progress import say
from pipelines.registry import lineage as lineages
from pipelines.registry.options import LineageOptions, PromoteOptions, RollbackOptions
from pipelines.settings import TrackingSettings
from pipelines.shards import options as shard_options
from pipelines.tracking import mlflow_lineage
from pipelines.tracking.mlflow_champion import Champions, Move, before
from pipelines.tracking.mlflow_lineage import Version
from pipelines.tracking.reference import Reference
from pipelines.tracking.store_options import store_of
from pipelines.usual import in_words

Answer = tuple[int, dict[str, Any]]
"""The exit status, and the object that --json prints."""


def promote(options: PromoteOptions) -> Answer:
    """Move the alias to a version that the gate let pass, or that a person wants there."""
    uri = store_of(options.tracking)
    version = _asked(uri, options.model)
    champions = Champions(uri, version.model, options.alias)
    now, name = champions.now(), f"{version.model} version {version.version}"
    if now == version.version:
        say(f"promote: {name} is {options.alias} already")
        return 0, _moved(champions, now, now)
    if not options.force and (why := objection(version, champions.moves(), now, options.alias)):
        raise UserError(
            f"{name} is not promoted: {why}. `perceiver run` compares a new version; to overrule the gate: "
            f"perceiver promote {version.model}/{version.version} --force --reason TEXT"
        )
    why = options.reason or version.tags["gate.reason"]
    how = "forced" if options.force else "promoted"
    if not champions.move(version.version, expected=now, how=how, why=why, check=_nobody_else):
        raise _overtaken(champions, now)
    say(f"promote: {name} is {options.alias} now, {f'instead of version {now}' if now else 'the first one'}")
    return 0, _moved(champions, version.version, now)


def objection(version: Version, moves: Sequence[Move], now: int, alias: str) -> str:
    """Why the gate's evidence does not carry a promotion now; empty where it does."""
    tags = version.tags
    if "gate.decision" not in tags:
        return "it was never compared with the champion"
    if tags["gate.decision"] != "promoted":
        return tags.get("gate.reason", "the gate refused it")
    if tags.get("gate.alias", alias) != alias:
        return f"it was compared with {tags['gate.alias']}, not with {alias}"
    then, there = tags["gate.champion"], str(now or "none")
    if then != there:
        return f"it was compared with version {then}, and {alias} is version {there} now"
    back = [move for move in moves if move.how == "rolled back" and move.replaced == version.version]
    return f"it was rolled back at {back[-1].time} ({back[-1].why})" if back else ""


def rollback(options: RollbackOptions) -> Answer:
    """Move the alias to an earlier champion."""
    uri, model = store_of(options.tracking), Reference.of(options.model).name
    champions = Champions(uri, model, options.alias)
    now, moves = champions.now(), champions.moves()
    if not now:
        raise UserError(f"{model} has no {options.alias} in {uri}, so there is nothing to roll back.")
    to = options.to or before(moves, now)
    if not to:
        raise UserError(
            f"{model} version {now} is the first {options.alias} that is known of: there is none to go back "
            f"to. For another version: perceiver promote {model}/VERSION --force --reason TEXT"
        )
    if to == now:
        raise UserError(f"{model} version {now} is {options.alias} already.")
    if to not in {one for move in moves for one in (move.version, move.replaced)}:
        raise UserError(
            f"{model} version {to} never was {options.alias}, so it is no way back. To make it one: "
            f"perceiver promote {model}/{to} --force --reason TEXT"
        )
    champions.version(to)  # it may have been deleted
    if not champions.move(to, expected=now, how="rolled back", why=options.reason, check=_nobody_else):
        raise _overtaken(champions, now)
    say(f"rollback: {model} version {to} is {options.alias} again, instead of version {now}")
    return 0, _moved(champions, to, now)


def lineage(options: LineageOptions) -> Answer:
    """Where a version came from, or which versions came from something."""
    uri = store_of(options.tracking)
    if options.shards:
        place = shard_options.named(options.shards).shards
        return 0, _heirs(list(lineages.of_shards(uri, place)), [], place)
    if options.source:
        return 0, _heirs(*lineages.of_source(uri, options.source), options.source)
    version = _asked(uri, options.model)
    alias = version.tags.get("gate.alias", "champion")
    found = lineages.lineage(uri, version, alias, TrackingSettings().port)
    _tell(found)
    if options.files:
        found["files"] = _write_files(uri, version, Path(options.files))
    return 0, found


def _write_files(uri: str, version: Version, path: Path) -> str:
    shards, why = lineages.shards_of(mlflow_lineage.run(uri, version.run_id), version)
    if shards is None:
        raise UserError(f"The raw files are listed in the shards, which are not to be had: {why}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.absolute().parent}.")
    count = lineages.write_files(shards, path)
    say(f"  {'files':12} {path}: {count:,} rows")
    return str(path)


def _asked(uri: str, text: str) -> Version:
    model = Reference.of_version(text)
    return mlflow_lineage.version(uri, model.name, model.version, model.alias)


def _moved(champions: Champions, version: int, replaced: int) -> dict[str, Any]:
    return {
        "model": champions.model, "alias": champions.alias, "version": version, "replaced": replaced,
        "moved": version != replaced, "tracking_uri": champions.uri,
    }  # fmt: skip


def _overtaken(champions: Champions, expected: int) -> UserError:
    return UserError(
        f"{champions.model}@{champions.alias} was version {expected} a moment ago and is version "
        f"{champions.now() or 'none'} now: somebody else has moved it. Look, and run the same command again."
    )


def _nobody_else() -> None:
    """A person's word needs no lease: what was read right before the alias is moved has to fit."""


def _heirs(found: Sequence[lineages.Heir], unknown: Sequence[lineages.Heir], what: str) -> dict[str, Any]:
    for one in found:
        say(f"  {_name(one)}: {one.how} (shards {one.digest[:12]})")
    for one in unknown:
        say(f"  {_name(one)}: not known, {one.how}")
    if not found:
        say(f"lineage: no version is known to come from {what}")
    return {
        "of": what,
        "versions": [asdict(one) for one in found],
        "unknown": [asdict(one) for one in unknown],
    }


def _name(heir: lineages.Heir) -> str:
    aliases = f" ({', '.join(heir.aliases)})" if heir.aliases else ""
    return f"{heir.model} version {heir.version}{aliases}"


def _tell(found: Mapping[str, Any]) -> None:
    aliases, run, shards = ", ".join(found["aliases"]), found["run"], found["shards"]
    gone = f" (not to be had: {shards['gone']})" if shards["gone"] else ""
    code = [f"{name.partition('.')[2]} {value}" for name, value in sorted(found["code"].items())]
    rows = {
        "model": f"{found['model']} version {found['version']} ({aliases or 'no alias'})",
        "weights": found["weights"],
        "run": f"{run['name']} ({run['status']}) {run['link']}" if run else "it is gone",
        "run file": ", ".join(run["files"]) if run and run["files"] else "none was kept",
        "code": ", ".join(code),
        "shards": f"{shards['digest']} in {shards['place'] or 'an unknown place'}{gone}",
        "raw files": _raw(found["raw"]),
        "warm start": found["warm_start"],
        "gate": found["gate"].get("gate.reason", "it was not compared with a champion"),
    }
    for name, value in rows.items():
        say(f"  {name:12} {value or 'not known'}")
    for move in found["champions"]:
        instead = f" instead of {move['replaced']}" if move["replaced"] else ""
        how = f"version {move['version']}{instead}, {move['how']} by {move['who']}: {move['why']}"
        say(f"  {'champion':12} {move['time']} {how}")
    for line in in_words(found["settings"], "--json has all"):
        say(f"    {line}")


def _raw(raw: Mapping[str, Any]) -> str:
    if "found" not in raw:
        return raw["place"]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in raw["reasons"].items())
    return (
        f"{raw['found']:,} in {raw['place']}, {raw['accepted']:,} accepted, "
        f"{raw['quarantined']:,} quarantined" + (f" ({refused}; {raw['quarantine']})" if refused else "")
    )
