"""What differs between runs and which is the best at what, as the tracking store says."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.layout import FREE
from pipelines.tracking.mlflow_runs import Run

Cells = Sequence[str]
"""One for each run."""
Rows = dict[str, Cells]

ABSENT = "-"
BEST = "*"
LOWER = ("loss",)
"""Of these, the lower value is the better one."""
OF_TRAINING = ("train/loss", "train/accuracy")
"""Beside all figures of the test and the validation split."""


@dataclass(frozen=True)
class Comparison:
    """Runs, in the order in which they were named."""

    runs: Sequence[Run]

    @property
    def names(self) -> list[str]:
        """What each is called here: names that are not unique are followed by the id."""
        times = Counter(run.name for run in self.runs)
        return [run.name if times[run.name] == 1 else f"{run.name} {run.run_id[:8]}" for run in self.runs]

    @property
    def settings(self) -> dict[str, list[str | None]]:
        """The settings that differ; those that change what is learnt stand first."""
        names = {name for run in self.runs for name in run.params}
        values = {name: [run.params.get(name) for run in self.runs] for name in names}
        differing = [name for name in names if len(set(values[name])) > 1]
        return {
            name: values[name] for name in sorted(differing, key=lambda name: (name.startswith(FREE), name))
        }

    @property
    def metrics(self) -> dict[str, list[float | None]]:
        """The final figures: of the test split, of the validation split, of the training."""
        names = {name for run in self.runs for name in run.metrics}
        wanted = [*sorted(name for name in names if name.startswith("test/"))]
        wanted += sorted(name for name in names if name.startswith("val/"))
        wanted += [name for name in OF_TRAINING if name in names]
        return {name: [run.metrics.get(name) for run in self.runs] for name in wanted}

    @property
    def same_shards(self) -> bool:
        """Whether all were evaluated on the same samples, as far as is known."""
        return len({run.shards for run in self.runs}) == 1

    def as_object(self, link: str) -> dict[str, Any]:
        """The same for a program."""
        return {
            "link": link,
            "runs": [_facts(run) for run in self.runs],
            "settings": self.settings,
            "metrics": {
                name: {"values": [_finite(value) for value in values], "best": self._best(name, values)}
                for name, values in self.metrics.items()
            },
        }

    def _best(self, name: str, values: Sequence[float | None]) -> list[int]:
        """Figures of different samples have no best one."""
        return best(name, values) if self.same_shards else []

    def tables(self) -> dict[str, Rows]:
        """What a person is shown, under headings."""
        runs = self.runs
        about = {
            "run": [run.run_id[:8] for run in runs],
            "status": [run.status.lower() for run in runs],
            "model": [", ".join(run.models) or ABSENT for run in runs],
            "shards": [run.shards[:12] or ABSENT for run in runs],
            "code": [run.code[:12] or ABSENT for run in runs],
        }
        stages = list(dict.fromkeys(stage for run in runs for stage in run.seconds))
        work = {
            "steps": [_count(steps(run)) for run in runs],
            "samples seen": [_count(run.metrics.get("train/samples_seen")) for run in runs],
            **{f"seconds, {stage}": [_count(run.seconds.get(stage)) for run in runs] for stage in stages},
            "samples/s, at last": [_count(run.metrics.get("train/samples_per_second")) for run in runs],
            "goodput": [_share(run.metrics.get("work/goodput")) for run in runs],
        }
        mark = f"{BEST} the best" if self.same_shards else "of different shards: none is the best"
        return {
            "": {name: cells for name, cells in about.items() if set(cells) != {ABSENT}},
            "settings that differ": {
                name: [ABSENT if one is None else one or '""' for one in values]
                for name, values in self.settings.items()
            },
            f"figures ({mark})": {
                name: _marked(values, self._best(name, values)) for name, values in self.metrics.items()
            },
            "work": {name: cells for name, cells in work.items() if set(cells) != {ABSENT}},
        }


def best(name: str, values: Sequence[float | None]) -> list[int]:
    """Which of the values are the best; none, where all are alike."""
    sign = -1.0 if name.rpartition("/")[2] in LOWER else 1.0
    known = {
        at: sign * value for at, value in enumerate(values) if value is not None and not math.isnan(value)
    }
    if len(set(known.values())) < 2:
        return []
    return [at for at, value in known.items() if value == max(known.values())]


def steps(run: Run) -> float | None:
    """Steps that the weights have learnt from."""
    seen, batch = run.metrics.get("train/samples_seen"), run.params.get("train.batch", "")
    return seen / int(batch) if seen is not None and batch.isdigit() else None


def _facts(run: Run) -> Mapping[str, Any]:
    return {
        "run_id": run.run_id, "name": run.name, "experiment_id": run.experiment, "status": run.status,
        "tracking_uri": run.uri, "models": list(run.models), "shards": run.shards, "code": run.code,
        "steps": steps(run), "samples_seen": run.metrics.get("train/samples_seen"),
        "seconds": dict(run.seconds), "samples_per_second": run.metrics.get("train/samples_per_second"),
        "goodput": _finite(run.metrics.get("work/goodput")),
    }  # fmt: skip


def _finite(value: float | None) -> float | None:
    """JSON has no word for what is no number."""
    return value if value is not None and math.isfinite(value) else None


def _marked(values: Sequence[float | None], chosen: Sequence[int]) -> list[str]:
    return [_figure(value) + (BEST if at in chosen else "") for at, value in enumerate(values)]


def _figure(value: float | None) -> str:
    if value is None:
        return ABSENT
    small = 0 < abs(value) < 0.001
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1e}" if small else f"{value:.4f}"


def _count(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0%}"
