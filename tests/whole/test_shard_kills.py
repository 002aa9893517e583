"""Shards come out as if nothing had happened, whatever is killed while they are built, and whenever.

PERCEIVER_TEST_KILLS says how many kills there are in each test (7).
"""

import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
from kills import kills
from ray_nodes import ROOT, Cluster, Node, Process, cluster, kill, processes
from shard_cases import Case, alone, assert_as_if_nothing_had_happened, draw

pytestmark = [pytest.mark.whole, pytest.mark.ray, pytest.mark.long]

PHASES = START, BUILD, COMMIT, DONE = (
    "before the plan", "while building", "at the commit", "when all was done"
)  # fmt: skip
KILLS = kills(7)
AIMS = (START, START, BUILD, BUILD, BUILD, COMMIT, COMMIT)  # In each of three places.
WORKER_SECONDS = 0.8  # From one kill to the next, in the mean.
NODE_SECONDS = 1.0
KINDS = {"worker": "ray::Map", "child": "preprocessing.isolated_child"}
PATIENCE = 180  # Seconds after which a run that does not end has failed.


class Run:
    """A driver that shards, on the cluster's head."""

    def __init__(self, nodes: Cluster, case: Case, place: Path) -> None:
        self.log = place.with_name(f"{place.name}.log")
        with self.log.open("wb") as log:
            driver = ROOT / "tests" / "sharding_driver.py"
            self.process = nodes.driver(log, driver, nodes.address, case.raw, place)
        self.began = time.monotonic()

    @property
    def phase(self) -> str:
        """How far it says that it is."""
        last = self.log.read_text().splitlines()[-1:]
        if not last:
            return START
        done, _, total = last[0].partition(" ")
        return DONE if not total else BUILD if done != total else COMMIT

    def goes_on(self) -> bool:
        """Whether it has not ended; it never ends badly by itself, and never hangs."""
        status = self.process.poll()
        assert status in (None, 0), self.log.read_text()
        assert time.monotonic() - self.began < PATIENCE, self.log.read_text()
        return status is None

    def waited(self, until: Callable[[], bool] = lambda: False) -> float:
        """Seconds until that came true, or it ended."""
        while self.goes_on() and not until():
            time.sleep(0.002)
        return time.monotonic() - self.began

    def reached(self, phase: str) -> float:
        """Seconds until it was as far as that, or ended."""
        return self.waited(lambda: PHASES.index(self.phase) >= PHASES.index(phase))

    def slept(self, seconds: float) -> bool:
        """Whether it still goes on after so many seconds."""
        until = time.monotonic() + seconds
        self.waited(lambda: time.monotonic() >= until)
        return self.goes_on()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head and two nodes that work."""
    with cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """A first version, and a second one that drops a file of the first and has a lot of new ones."""
    folder = tmp_path_factory.mktemp("undisturbed")
    draw(folder / "few", range(60))
    shutil.copytree(folder / "few", folder / "many")
    next((folder / "many").rglob("*.png")).unlink()
    draw(folder / "many", range(60, 240))
    alone(folder / "few", folder / "first")
    grown = Case(folder / "many", folder / "first", folder / "grown")
    alone(grown.raw, grown.begin(grown.whole))
    alone(folder / "many", folder / "whole")
    return [Case(folder / "many", None, folder / "whole"), grown]


def test_a_driver_killed_at_any_moment_is_started_again_and_ends_with_the_same_bytes(
    nodes: Cluster, cases: list[Case], tmp_path: Path, chance: random.Random
) -> None:
    planned, complete, committed = undisturbed(nodes, cases[0], tmp_path / "undisturbed")
    longest = {START: planned, BUILD: (complete - planned) / 3, COMMIT: committed - complete}
    hit: Counter[str] = Counter()
    built: list[tuple[Case, Path]] = []

    while hit.total() < KILLS or not all(hit[aim] for aim in AIMS):
        run = begin(nodes, cases, tmp_path, built)
        for aim in AIMS:
            killed = disturbed(run, aim, chance.uniform(0, longest[aim]))
            if run.phase != aim:
                longest[aim] /= 2  # It was faster than the undisturbed one was.
            if killed:
                hit[run.phase] += 1
                run = Run(nodes, *built[-1])
        run.waited()

    sys.stdout.write(f"{dict(hit)} in {len(built)} places\n")
    for case, place in built:
        assert_as_if_nothing_had_happened(case, place)
    assert_no_orphans(nodes)


def test_a_worker_or_its_child_killed_at_any_moment_costs_nothing(
    nodes: Cluster, cases: list[Case], tmp_path: Path, chance: random.Random
) -> None:
    hit: Counter[str] = Counter()
    built: list[tuple[Case, Path]] = []

    while hit.total() < KILLS:
        run = begin(nodes, cases, tmp_path, built)
        while run.slept(chance.uniform(0, 2 * WORKER_SECONDS)):
            kind = min(KINDS, key=hit.__getitem__)
            victims = [one for one in processes_of(nodes) if KINDS[kind] in one.command]
            if victims and hit.total() < KILLS * len(built) / len(cases):
                kill(chance.choice(victims).pid)
                hit[kind] += 1

    sys.stdout.write(f"{dict(hit)} in {len(built)} runs\n")
    assert set(hit) == set(KINDS)
    for case, place in built:
        assert_as_if_nothing_had_happened(case, place)
    assert_no_orphans(nodes)


def test_a_node_killed_at_any_moment_costs_nothing(
    nodes: Cluster, cases: list[Case], tmp_path: Path, chance: random.Random
) -> None:
    nodes.add(1)  # While one starts, two are there to be killed.
    hit: Counter[str] = Counter()
    built: list[tuple[Case, Path]] = []

    while hit.total() < KILLS:
        run = begin(nodes, cases, tmp_path, built)
        while run.slept(chance.uniform(0, 2 * NODE_SECONDS)):
            victims = [node for node in nodes.workers() if has_decoded(node)]
            if victims and hit.total() < KILLS * len(built) / len(cases):
                hit[run.phase] += 1
                nodes.kill(chance.choice(victims))
                nodes.add(1)

    sys.stdout.write(f"{dict(hit)} in {len(built)} runs\n")
    assert hit[BUILD]
    for case, place in built:
        assert_as_if_nothing_had_happened(case, place)
    assert_no_orphans(nodes)


def has_decoded(node: Node) -> bool:
    """Whether a task of the job has been there: its child stays."""
    return any(KINDS["child"] in one.command for one in node.processes())


def begin(nodes: Cluster, cases: list[Case], folder: Path, built: list[tuple[Case, Path]]) -> Run:
    """The next run, in a place of its own."""
    case = cases[len(built) % len(cases)]
    place = case.begin(folder / f"{len(built)}")
    built.append((case, place))
    return Run(nodes, case, place)


def undisturbed(nodes: Cluster, case: Case, place: Path) -> list[float]:
    """Seconds from the start of a run to its plan, to its last shard, and to its digest."""
    run = Run(nodes, case, place)
    times = [run.reached(phase) for phase in (BUILD, COMMIT, DONE)]
    run.waited()
    assert_as_if_nothing_had_happened(case, place)
    return times


def disturbed(run: Run, phase: str, seconds: float) -> bool:
    """SIGKILL the driver so long after that phase began; whether that came before its end."""
    run.reached(phase)
    run.slept(seconds)
    run.process.kill()
    return run.process.wait() == -SIGKILL


def processes_of(nodes: Cluster) -> list[Process]:
    """All that run on any node of this cluster, or were left by one that is dead."""
    left = [one for one in processes() if one.marked.startswith(f"{nodes.folder.name}-")]
    there = [one for node in nodes.nodes for one in node.processes()]
    return [*{one.pid: one for one in left + there}.values()]


def assert_no_orphans(nodes: Cluster) -> None:
    """What decodes goes with the job that it decoded for."""
    until = time.monotonic() + 240
    while left := [one for one in processes_of(nodes) if KINDS["child"] in one.command]:
        assert time.monotonic() < until, left
        time.sleep(0.1)
