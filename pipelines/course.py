"""Which stages a run takes: from one to another, and those that run though they are up to date."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, TypeVar

import tyro

from cluster.mistake import UserError


class Named(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str:
        """As the person writes it."""
        ...


Row = TypeVar("Row", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Course:
    """Options of `perceiver run` and `perceiver submit`, which are no settings."""

    first: Annotated[str, tyro.conf.arg(name="from", metavar="STAGE")] = ""
    """Stage to begin with; those before it must be up to date. Empty: the first."""
    last: Annotated[str, tyro.conf.arg(name="until", metavar="STAGE")] = ""
    """Stage to stop after. Empty: the last."""
    force: Annotated[tuple[str, ...], tyro.conf.arg(metavar="STAGE [STAGE ...]")] = ()
    """Stages that run though they are up to date: shard compares every raw file's content, train begins a new
    training beside the old one, register makes a new version."""
    renew: tyro.conf.FlagCreatePairsOff[bool] = False
    """Begin a new training beside one that began with other settings, which is refused otherwise."""

    @property
    def words(self) -> tuple[str, ...]:
        """As a command line says it."""
        ends = [word for option, name in self._ends() for word in (f"--{option}", name)]
        return (*ends, *(("--force", *self.force) if self.force else ()), *["--renew"] * self.renew)

    def after(self, stage: str, names: Sequence[str]) -> "Course":
        """The rest of a run that died in this stage: what was forced already is not forced again."""
        begun = names[: names.index(stage) + 1] if stage else ()
        return replace(self, force=tuple(name for name in self.force if name not in begun))

    def check(self, names: Sequence[str]) -> None:
        """Refuse what is no stage, or leaves none.

        Raises:
            UserError: names the stages.
        """
        for option, name in (*self._ends(), *(("force", name) for name in self.force)):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" Perhaps you meant {near[0]}." if near else ""
                raise UserError(f"--{option} {name}: the stages are {', '.join(names)}.{hint}")
        taken = self._taken(names)
        if not taken:
            raise UserError(f"--from {self.first} comes after --until {self.last}: no stage is left.")
        for name in self.force:
            if name not in taken:
                raise UserError(f"--force {name}: this run takes {', '.join(taken)} only.")

    def of(self, stages: Sequence[Row]) -> list[Row]:
        """The stages that are taken."""
        taken = self._taken([stage.name for stage in stages])
        return [stage for stage in stages if stage.name in taken]

    def refuse_unready(self, reasons: Mapping[str, str]) -> None:
        """Refuse to begin where a stage before the first one has something to do.

        Raises:
            UserError: names it, and why it would run.
        """
        self.check([*reasons])
        for name, reason in reasons.items():
            if name == self.first or not self.first:
                return
            if reason:
                raise UserError(
                    f"--from {self.first}: {name} is not up to date ({reason}). Leave --from out, or begin "
                    f"with --from {name}."
                )

    def _taken(self, names: Sequence[str]) -> Sequence[str]:
        begin = names.index(self.first) if self.first else 0
        end = names.index(self.last) + 1 if self.last else len(names)
        return names[begin:end]

    def _ends(self) -> list[tuple[str, str]]:
        return [(option, name) for option, name in (("from", self.first), ("until", self.last)) if name]


WHOLE = Course()
