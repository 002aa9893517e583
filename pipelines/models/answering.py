"""What a classifier answers to rows of raw files and of arrays: a class and its probability, or why none.

A row that cannot be understood costs no other row its answer.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.table import DECODERS
from preprocessing.decoders.unnamed import ending_of
from preprocessing.inventory import ending
from preprocessing.recipe import Recipe
from preprocessing.refusal import Refused
from preprocessing.samples import Part, Sample
from preprocessing.settings import Modality
from preprocessing.unstored import Faulty, culprit, decoded

if TYPE_CHECKING:
    from perceiver.segment import Input
    from pipelines.models.classifier import Classifier

STORED: Mapping[str, Any] = {"image": np.uint8, "audio": np.int16, "mesh": np.float32, "video": np.uint8}
"""The type of the arrays that are stored."""
AT_ONCE = 32
"""Rows that the model sees at a time: memory does not grow with a request."""
DATA_URL = re.compile(r"data:[^,]{0,200};base64,")

Arrays = Mapping[str, NDArray[Any]]
Row = Mapping[str, Any]
"""Of each modality a file (its bytes, or these in base64) or an array; `source` may name the file."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What there is to say of one input."""

    found: NDArray[np.float32] | None = None
    """[K] probabilities; none where the input was refused."""
    refused: str = ""
    """Why, in a word of the closed vocabulary."""
    detail: str = ""
    """What was found, in a sentence."""


@dataclass
class Asked:
    """A row, taken apart."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    source: str = ""
    fault: Refused | None = None


def answers(classifier: "Classifier", recipe: Recipe | None, rows: Sequence[Row]) -> list[Answer]:
    """An answer to each row, in order. Without a recipe raw files are refused."""
    found: list[Answer] = []
    for begin in range(0, len(rows), AT_ONCE):
        asked = [_taken_apart(classifier, row) for row in rows[begin : begin + AT_ONCE]]
        _decode(asked, recipe)
        found += answered(classifier, [one.fault or one.arrays for one in asked])
    return found


def answered(classifier: "Classifier", inputs: Sequence[Arrays | Refused]) -> list[Answer]:
    """The answers to inputs of which some were refused."""
    arrays = [one for one in inputs if not isinstance(one, Refused)]
    found = iter(classifier.probabilities(arrays) if arrays else ())
    return [
        Answer(refused=one.reason, detail=one.detail)
        if isinstance(one, Refused)
        else Answer(found=next(found))
        for one in inputs
    ]


def _taken_apart(classifier: "Classifier", row: Row) -> Asked:
    asked = Asked(source=_name(row.get("source")))
    try:
        for modality in classifier.model.specs:
            value = row.get(modality)
            if value is None or (isinstance(value, float) and np.isnan(value)):  # as pandas has it
                raise Refused("incomplete", f"the row has no {modality}")
            if isinstance(value, (str, bytes)):
                asked.files[modality] = _content(value, modality)
            else:
                asked.arrays[modality] = _array(classifier, modality, value)
    except Refused as fault:
        asked.fault = fault
    return asked


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _content(value: str | bytes, modality: str) -> bytes:
    """The bytes of a file: as they are, or written as base64."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode("".join(DATA_URL.sub("", value, count=1).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("not_media", f"{modality} is text, and no base64: {error}") from error


def _array(classifier: "Classifier", modality: str, value: Any) -> NDArray[Any]:
    """An array as sharding stores them."""
    try:
        array = np.asarray(value)
        kept = array.astype(STORED[modality])
        # It knows the shape, and says what is wrong with this one.
        cast("Input", classifier.model.inputs[modality]).collate([kept], None)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused("unsupported", f"{modality} is no array that the model takes: {error}") from error
    if not np.isfinite(kept).all():
        raise Refused("non_finite", f"{modality} has values that are NaN or infinite")
    if not np.array_equal(kept.astype(np.float64), array.astype(np.float64)) and kept.dtype.kind != "f":
        kind = np.iinfo(kept.dtype)
        raise Refused(
            "unsupported", f"{modality} has values that are no whole numbers from {kind.min} to {kind.max}"
        )
    return kept


def _decode(asked: Sequence[Asked], recipe: Recipe | None) -> None:
    """Turn the files into arrays, those of all rows together."""
    samples: list[Sample] = []
    contents: dict[str, bytes] = {}
    where: list[Asked] = []
    for number, one in enumerate(asked):
        if one.fault or not one.files:
            continue
        if recipe is None:
            one.fault = Refused("unsupported", "the model was registered without what decodes raw files")
            continue
        sample, own = _sample(number, one)
        samples.append(sample)
        contents |= own
        where.append(one)
    if recipe is None or not samples:
        return
    for one, found in zip(where, decoded(samples, recipe.settings, contents), strict=True):
        if isinstance(found, Faulty):
            fault = culprit(found)
            one.fault = Refused(fault.reason, fault.detail)
        else:
            one.arrays |= found.arrays


def _sample(number: int, one: Asked) -> tuple[Sample, dict[str, bytes]]:
    """The sample that a row's files make, and what they hold; its identity decides which points are drawn."""
    parts: list[Part] = []
    contents: dict[str, bytes] = {}
    for modality, data in one.files.items():
        known = cast(Modality, modality)
        suffix = ending(one.source)
        if suffix not in DECODERS[known].suffixes:
            suffix = ending_of(known, data)
        path = f"row {number} {modality}{suffix}"
        contents[path] = data
        parts.append(Part(known, path, len(data), 0))
    identity = os.fsencode(one.source)
    stem = identity[: len(identity) - len(os.fsencode(ending(one.source)))]
    name = os.fsdecode(stem) or hashlib.sha256(b"".join(one.files.values())).hexdigest()
    return Sample(name, "", tuple(parts)), contents
