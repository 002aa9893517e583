"""The command that uses a registered model: what it is asked, what it tells the person, what it answers."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.session import check as check_session
from cluster.session import session
from cluster.settings import ClusterSettings
from cluster.storage import absolute, is_bucket, local_path, parted
from pipelines.models.answer_table import Written, answer_file, parent_of, refuse_present
from pipelines.models.inputs import Inputs, RawFiles, Split
from pipelines.models.predicting import Share, answers
from pipelines.predict.options import PredictOptions
from pipelines.progress import progress, say
from pipelines.shards.options import named
from pipelines.tracking.mlflow_models import Fetched, fetch
from pipelines.tracking.reference import Reference
from pipelines.tracking.store_options import store_of
from preprocessing.cache import Cache
from preprocessing.inventory import modality_of
from preprocessing.recipe import Recipe
from preprocessing.settings import DataSettings
from preprocessing.shards import MANIFEST, Shards, existing

SHOWN = 10
"""Classes that the summary names."""
KEPT = 1000
"""Texts of the plan among which there are inputs to explain."""


def predict(options: PredictOptions) -> tuple[int, dict[str, Any]]:
    """Ask the model for the class of every input; the exit status, and the object that --json prints."""
    began = time.monotonic()
    reference = Reference.of_version(options.model)
    parent_of(options.output)
    if not options.force:
        refuse_present(options.output)
    if options.explain:
        _refuse_unwritable(Path(options.explain))
    place, one, are_shards = _place(options.input)
    cluster = ClusterSettings(address=options.cluster.address)
    check_session(cluster)
    uri = store_of(options.tracking)
    with tempfile.TemporaryDirectory(prefix="perceiver-model-") as scratch:
        model = fetch(uri, reference, Path(scratch))
        inputs = _split(model, place, options.split) if are_shards else _files(model, place, one, options)
        count, texts = _plan(inputs, options)
        say(f"predict: {model.name} version {model.version} on {count:,} inputs in {place}"
            f"{f': {one}' if one else ''}")  # fmt: skip
        with session(cluster), progress("predict") as advance, answer_file(options.output) as (written, file):
            share = Share(options.cluster.gpus, options.cluster.cpus_per_gpu)
            made = (model.files["description"], model.files["weights"])
            advance(0, count, "")
            kept: list[str] = []
            for table in answers(inputs, _noting(texts, kept), made, share, every=options.every):
                written.add(table, file)
                advance(written.count, count, "")
            if written.count != count:
                raise RuntimeError(f"{count} inputs were planned, {written.count} came back")
        _tell(written, options, labelled=are_shards, seconds=time.monotonic() - began)
        pictures = _explain(model, inputs, kept, options)
    return 0, {
        "model": model.name, "version": model.version, "output": options.output, "inputs": count,
        "answered": written.classes.total(), "classes": dict(written.classes),
        "refused": dict(written.refused), "explained": pictures,
    }  # fmt: skip


def _place(text: str) -> tuple[str, str, bool]:
    """Where the inputs lie, the name of the only one that is meant, and whether they are shards.

    Raises:
        UserError: there is nothing of that name.
    """
    if text.endswith(".toml"):
        return named(text).shards, "", True
    above, name = parted(text)
    if _is_file(above, name):
        return above, name, False
    if not is_bucket(text) and not local_path(text).is_dir():
        raise UserError(f"INPUT is {text}: there is no such folder or file. Name one, or shards.")
    place = absolute(text)
    return place, "", existing(place).size(MANIFEST) >= 0


def _is_file(above: str, name: str) -> bool:
    if is_bucket(above):
        # A bucket is asked only for what is called like a file that could be answered.
        return bool(modality_of(name)) and existing(above).size(name) >= 0
    return Path(above, name).is_file()


def _split(model: Fetched, place: str, split: str) -> Inputs:
    """A split of shards, which hold what the model takes."""
    shards = Shards.open(place)
    if "recipe" in model.files:
        _recipe(model).refuse_others(shards)
    if not shards.counts[split]:
        there = ", ".join(f"{name} has {count:,}" for name, count in shards.counts.items())
        raise UserError(f"{place} holds no samples of {split}; {there}. Choose with --split.")
    return Split(place=place, version=shards.digest, split=split, cache=Cache.of(DataSettings(raw="")))


def _files(model: Fetched, place: str, one: str, options: PredictOptions) -> Inputs:
    """Raw files, and what decodes them as those were that the model learnt from."""
    if "recipe" not in model.files:
        raise UserError(
            f"{model.name} version {model.version} was registered by a version of this package that left out "
            f"what decodes raw files. Register it again, or give shards."
        )
    recipe = _recipe(model)
    for objection in recipe.objections():
        say(f"predict: {objection}: arrays may differ in their last bits")
    processes = options.cluster.cpus_per_gpu if options.cluster.gpus else 1
    return RawFiles(settings=replace(recipe.settings, raw=place), one=one, processes=processes)


def _recipe(model: Fetched) -> Recipe:
    return Recipe.read(model.files["recipe"].read_text())


def _plan(inputs: Inputs, options: PredictOptions) -> Any:
    try:
        count, texts = inputs.plan(options.batch)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}. Make it readable.") from error
    if not count:
        raise UserError(f"{options.input} holds no file.")
    return count, texts


def _tell(written: Written, options: PredictOptions, *, labelled: bool, seconds: float) -> None:
    answered = written.classes.total()
    say(f"predict: {answered:,} answered, {written.refused.total():,} refused in {seconds:.0f} s: "
        f"{options.output}")  # fmt: skip
    for name, count in _first(written.classes):
        say(f"  {name:20} {count:>9,}")
    for reason, count in written.refused.most_common():
        say(f"  refused: {reason:11} {count:>9,}")
    if labelled:
        say(f"  {written.right:,} of {answered:,} have their label")


def _first(classes: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent ones, and what is left."""
    most = classes.most_common(SHOWN)
    rest = classes.total() - sum(count for _, count in most)
    return [*most, (f"{len(classes) - SHOWN} more classes", rest)] if rest else most


def _refuse_unwritable(folder: Path) -> None:
    """Make the folder for pictures.

    Raises:
        UserError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}. Name another --explain.") from error


def _noting(texts: Iterator[str], kept: list[str]) -> Iterator[str]:
    """The same texts; the first of them are kept."""
    for text in texts:
        if len(kept) < KEPT:
            kept.append(text)
        yield text


def _explain(model: Fetched, inputs: Inputs, texts: list[str], options: PredictOptions) -> list[str]:
    if not options.explain:
        return []
    from pipelines.predict.explaining import explain  # here: drawing takes a second to import

    pictures = explain(model.files, inputs, texts, Path(options.explain), options.explained)
    for path in pictures:
        say(f"  looked at            {path}")
    return [str(path) for path in pictures]
