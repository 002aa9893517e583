"""A decoder that hangs or crashes costs its file; the process that decodes is bounded and never left over."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import hostile_decoders
import pytest

from cluster.mistake import UserError
from preprocessing.child import Child
from preprocessing.isolation import Limits, supervised
from preprocessing.refusal import Refused

pytestmark = pytest.mark.slow

GENEROUS = Limits(seconds=60.0, gibibytes=4.0)
HASTY = Limits(seconds=0.3, gibibytes=4.0)


def built(folder: Path, *names: str, limits: Limits = GENEROUS) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return supervised("hostile_decoders:build", ([*names], str(folder)), limits)


def built_by_new_process(folder: Path, *names: str) -> dict[str, Any]:
    """As `built`, in a thread of its own, whose process inherits what is here now."""
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(built(folder, *names)))
    thread.start()
    thread.join()
    return results[0]


def refused_at_once(folder: Path, told: dict[str, Refused], *names: str) -> bytes:
    """The shard of a decoder that refuses these files itself."""
    folder.mkdir()
    hostile_decoders.build([*names], str(folder), told=told, watch=lambda path: None)
    return (folder / "shard").read_bytes()


def attempts(folder: Path) -> list[str]:
    return (folder / "attempts").read_text(errors="surrogateescape").splitlines()


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for_text(path: Path) -> None:
    while not path.exists() or not path.read_text():
        time.sleep(0.001)


def gone(process: int, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while alive(process) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(process)


@pytest.mark.parametrize(
    ("decoder", "how"),
    [
        ("segfault", "crashed with SIGSEGV"),
        ("bus_error", "crashed with SIGBUS"),
        ("division", "crashed with SIGFPE"),
        ("abort", "crashed with SIGABRT"),
        ("leave", "exited with status 3"),
    ],
)
def test_a_decoder_that_crashes_costs_its_file(tmp_path: Path, decoder: str, how: str) -> None:
    names = ("good.1", f"{decoder}.x", "good.2")

    result = built(tmp_path / "shard", *names)

    fault = Refused("crashed", f"its decoder {how}")
    assert result["refused"] == {f"{decoder}.x": str(fault)}
    assert attempts(tmp_path / "shard").count(f"{decoder}.x") == 2
    alone = refused_at_once(tmp_path / "alone", {f"{decoder}.x": fault}, *names)
    assert (tmp_path / "shard" / "shard").read_bytes() == alone


def test_one_crash_is_no_proof(tmp_path: Path) -> None:
    result = built(tmp_path, "good.1", "segfault_once.x", "good.2")

    assert result["refused"] == {}
    assert attempts(tmp_path) == ["good.1", "segfault_once.x", "good.1", "segfault_once.x", "good.2"]


@pytest.mark.parametrize("decoder", ["spin", "spin_in_c", "sleep"])
def test_a_decoder_that_hangs_costs_its_file(tmp_path: Path, decoder: str) -> None:
    names = ("good.1", f"{decoder}.x", "good.2")

    result = built(tmp_path / "shard", *names, limits=HASTY)

    fault = Refused("timeout", "its decoder did not end within data.decoder_seconds (0.3)")
    assert result["refused"] == {f"{decoder}.x": str(fault)}
    assert attempts(tmp_path / "shard").count(f"{decoder}.x") == 1
    alone = refused_at_once(tmp_path / "alone", {f"{decoder}.x": fault}, *names)
    assert (tmp_path / "shard" / "shard").read_bytes() == alone


@pytest.mark.parametrize("decoder", ["spin", "spin_in_c"])
def test_a_busy_decoder_is_ended_by_its_cpu_time(
    tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocessing.child.PATIENCE", 10**6)  # By the clock it has all the time.

    result = built(tmp_path, f"{decoder}.x", limits=Limits(seconds=1.0, gibibytes=4.0))

    assert result["refused"].keys() == {f"{decoder}.x"}


def test_each_file_has_the_whole_time(tmp_path: Path) -> None:
    names = [f"work_a_while.{number}" for number in range(5)]

    assert built(tmp_path, *names, limits=HASTY)["refused"] == {}


def test_a_process_that_waits_for_a_core_is_not_taken_for_a_slow_one(tmp_path: Path) -> None:
    """A stopped process is what a very busy machine makes of it: the clock runs on alone."""

    def stop_a_second() -> None:
        wait_for_text(tmp_path / "attempts")
        process = int((tmp_path / "process").read_text())
        os.kill(process, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(process, signal.SIGCONT)

    stopping = threading.Thread(target=stop_a_second)
    stopping.start()
    begun = time.monotonic()
    result = built(tmp_path, "work_a_while.1", limits=HASTY)
    stopping.join()

    assert time.monotonic() - begun > 1.0
    assert result["refused"] == {}
    assert attempts(tmp_path) == ["work_a_while.1"]


def test_every_hostile_file_of_a_shard_is_found(tmp_path: Path) -> None:
    strange = "segfault.\udcff-ü"

    result = built(tmp_path, "spin.1", "good.1", strange, "abort.1", "good.2", "leave.1", limits=HASTY)

    assert [*result["refused"]] == ["spin.1", strange, "abort.1", "leave.1"]
    assert (tmp_path / "shard").read_bytes() == b"good.1good.2"


def test_a_decoder_gets_no_more_memory_than_allowed(tmp_path: Path) -> None:
    small = Limits(seconds=60.0, gibibytes=0.4)

    first = built(tmp_path, "hoard.x", "good.1", limits=small)
    second = built(tmp_path, "good.2", limits=small)

    assert first["refused"] == {"hoard.x": "too_large: its decoder asked for more memory than there is"}
    assert first["process"] == second["process"]
    assert second["bytes"] < 0.2 * 2**30


def test_what_a_decoder_prints_goes_where_errors_go(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = built_by_new_process(tmp_path, "chatter.x", "good.1")

    printed = capfd.readouterr()
    assert result["refused"] == {}
    assert printed.out == ""
    assert printed.err.count("nonsense") == 10_000


def test_a_file_in_the_working_folder_hides_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "struct.py").write_text("raise RuntimeError('not the library')")
    monkeypatch.chdir(tmp_path)

    assert built_by_new_process(tmp_path, "good.1")["refused"] == {}


def test_a_killed_process_blames_no_file(tmp_path: Path) -> None:
    result = built(tmp_path, "good.1", "be_killed_once.x", "good.2")

    assert result["refused"] == {}
    assert (tmp_path / "shard").read_bytes() == b"good.1be_killed_once.xgood.2"


@pytest.mark.parametrize(
    ("decoder", "how"), [("be_killed.x", "crashed with SIGKILL"), ("between.x", "crashed with SIGSEGV")]
)
def test_a_process_that_dies_for_no_file_is_an_error_in_the_end(
    tmp_path: Path, decoder: str, how: str
) -> None:
    with pytest.raises(RuntimeError, match=f"4 times .* {how}, and no file is to blame"):
        built(tmp_path, "good.1", decoder)

    assert len(attempts(tmp_path)) == 8
    assert built(tmp_path, "good.2")["refused"] == {}


def test_a_process_killed_between_two_shards_is_replaced(tmp_path: Path) -> None:
    first = built(tmp_path, "good.1")["process"]
    os.kill(first, signal.SIGKILL)

    second = built(tmp_path, "good.1")["process"]

    assert second != first
    assert built(tmp_path, "good.1")["process"] == second


@pytest.mark.parametrize(
    ("decoder", "kind", "words"),
    [
        ("mistake", UserError, "^it changed while it was read. Shard again.$"),
        ("missing", FileNotFoundError, "No such file or directory: '.*/not there'"),
        ("unpicklable", RuntimeError, "^LocalError: only known here\nTraceback"),
        ("quit_python", RuntimeError, "^SystemExit: 5\nTraceback"),
    ],
)
def test_what_the_build_raises_is_raised_again(
    tmp_path: Path, decoder: str, kind: type[Exception], words: str
) -> None:
    before = built(tmp_path, "good.1")["process"]

    with pytest.raises(kind) as raised:
        built(tmp_path, f"{decoder}.x")

    assert type(raised.value) is kind
    assert re.search(words, str(raised.value))
    assert built(tmp_path, "good.1")["process"] == before


def test_one_process_builds_many_shards_and_does_not_grow(tmp_path: Path) -> None:
    names = [f"good.{number}" for number in range(20)]
    early = [built(tmp_path, *names) for _ in range(5)][-1]

    late = [built(tmp_path, *names) for _ in range(100)]

    assert {one["process"] for one in late} == {early["process"]}
    assert late[-1]["bytes"] < early["bytes"] + 2**20


def test_each_thread_has_a_process_that_ends_with_it(tmp_path: Path) -> None:
    processes: list[int] = []
    built_there, may_end = threading.Event(), threading.Event()

    def build() -> None:
        processes.append(built(tmp_path, "good.1")["process"])
        built_there.set()
        may_end.wait()

    thread = threading.Thread(target=build)
    thread.start()
    built_there.wait()
    here = built(tmp_path, "good.1")["process"]
    may_end.set()
    thread.join()

    assert processes != [here]
    assert gone(processes[0])
    assert built(tmp_path, "good.1")["process"] == here


@pytest.mark.parametrize("decoder", ["spin_in_c", "sleep"])
def test_a_hanging_decoder_does_not_outlive_its_killed_parent(tmp_path: Path, decoder: str) -> None:
    code = (
        "from preprocessing.isolation import Limits, supervised\n"
        f"supervised('hostile_decoders:build', (['{decoder}'], '{tmp_path}'), Limits(seconds=9, gibibytes=4))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_for_text(tmp_path / "attempts")
    process = int((tmp_path / "process").read_text())
    assert alive(process)

    parent.kill()
    parent.wait()

    assert gone(process)


def test_an_idle_process_ends_by_itself_when_its_parent_hangs_up() -> None:
    child = Child()

    child.connection.close()

    assert child.process.wait(timeout=240) == 0


def test_an_interrupted_call_leaves_no_answer_to_the_next_one(tmp_path: Path) -> None:
    before = built(tmp_path, "good.1")["process"]
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "sleep.x")

    assert gone(before)
    assert built(tmp_path, "good.2")["refused"] == {}


def test_an_interrupt_from_the_keyboard_is_left_to_the_parent(tmp_path: Path) -> None:
    process = built(tmp_path, "good.1")["process"]

    os.kill(process, signal.SIGINT)

    assert built(tmp_path, "good.1")["process"] == process


@pytest.mark.ray
def test_a_ray_task_keeps_its_process_and_loses_only_the_file(tmp_path: Path, ray_session: None) -> None:
    import ray

    @ray.remote(num_cpus=1)
    class Worker:
        def build(self, *names: str) -> dict[str, Any]:
            sys.path.append(tests)
            limits = Limits(seconds=0.5, gibibytes=4.0)
            return supervised("hostile_decoders:build", ([*names], str(tmp_path)), limits)

    tests = str(Path(__file__).parent)
    worker: Any = Worker.remote()
    hostile = ray.get(worker.build.remote("good.1", "segfault.x", "spin_in_c.x"))
    harmless = ray.get(worker.build.remote("good.2"))
    ray.kill(worker)

    assert [*hostile["refused"]] == ["segfault.x", "spin_in_c.x"]
    assert hostile["process"] == harmless["process"]
    assert gone(harmless["process"])
