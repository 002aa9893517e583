"""What the stages hand each other: small records, written last and whole, whose existence means "done"."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from cluster.mistake import UserError
from cluster.storage import write_whole


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A record that is sealed as one JSON file."""

    def seal(self, path: Path) -> Self:
        """Write the record to `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self), indent=1, sort_keys=True).encode())
        return self

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """The record at `path`, or None where the stage is not done.

        Raises:
            UserError: the file is there and is no such record.
        """
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} is not readable as {cls.__name__} ({error}). Delete it; its stage will run again."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Trained(Artifact):
    """A finished training."""

    checkpoint: str
    """Name of the last checkpoint's folder."""
    weights: str
    """sha256 of the weights to evaluate and register."""
    run_id: str
    """MLflow run that holds the curves."""
    shards: str
    """Digest of the shards that it learnt from."""
    step: int
    """Optimizer steps taken."""
    samples_seen: int
    """Training samples seen, repetitions counted."""
    settings: Mapping[str, str]
    """The settings that shaped the weights, under their dotted names."""


@dataclass(frozen=True, kw_only=True)
class Report(Artifact):
    """A finished evaluation of one set of weights on one split."""

    weights: str
    """sha256 of the weights that were evaluated."""
    shards: str
    """Digest of the shards that the split belongs to."""
    samples: int
    """Samples evaluated, each once."""
    metrics: Mapping[str, float]
    """`test/...`, each over all samples."""
    classes: Mapping[str, Mapping[str, float]]
    """For each class: precision and recall, or average precision, and the number of samples behind them."""
    pictures: Mapping[str, str]
    """Paths of the learning curve, the confusion matrix (or average precisions) and the attention sheet."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Artifact):
    """A registered model."""

    model: str
    """Registered name."""
    version: int
    """Version under that name."""
    alias: str
    """Alias that points to this version."""
    weights: str
    """sha256 of its weights."""
    metrics: Mapping[str, float]
    """What the evaluation of these weights gave."""
    run_id: str
    """MLflow run that it came from."""
    tracking_uri: str
    """Store that the registry is part of."""


@dataclass(frozen=True, kw_only=True)
class Promotion(Artifact):
    """What the gate said of a model version, and what came of it."""

    model: str
    """Registered name."""
    version: int
    """The version that was judged."""
    champion: int
    """The version that it was compared with; 0 where there was none."""
    promoted: bool
    """Whether the gate let it pass."""
    moved: bool
    """Whether the champion's alias points to it since."""
    reason: str
    """In words."""
    gate: Mapping[str, str]
    """The settings of the gate, under their names."""
    evidence: Mapping[str, str]
    """What the version's tags say: `gate.difference`, `gate.interval`, `gate.p`, ..."""
    page: str
    """Path of the report page; empty where the two could not be compared."""
