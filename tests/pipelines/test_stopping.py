"""What a command and its ranks say to each other: notes, refusals, and a stop that loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_disk import free, small_disk

from cluster.mistake import UserError
from pipelines.stopping import SIGNALS, Desk, stop_request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_notes_are_read_in_their_order_and_once(desk: Desk) -> None:
    for number in range(20):
        desk.note(f"note {number}")

    assert list(desk.notes()) == [f"note {number}" for number in range(20)]
    assert list(desk.notes()) == []
    desk.note("äöü\nof two lines")
    assert list(desk.notes()) == ["äöü\nof two lines"]


def test_the_first_refusal_is_the_one_that_is_kept(desk: Desk) -> None:
    start, later = desk.new_start(), desk.new_start()
    start.refuse()
    start.leave_refusal("The shards are damaged.")
    start.leave_refusal("The other rank has gone.")

    for _ in range(2):
        with pytest.raises(UserError, match=r"^The shards are damaged\.$"):
            start.refuse()
    later.refuse()


def test_a_desk_is_gone_with_its_command_whatever_ends_it(tmp_path: Path) -> None:
    def command() -> None:
        with Desk.below(tmp_path / "new") as desk:
            desk.note("something")
            desk.stop.touch()
            assert desk.folder.parent == tmp_path / "new"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()

    assert [*(tmp_path / "new").iterdir()] == []


def test_who_speaks_to_a_desk_that_is_gone_goes_on(tmp_path: Path) -> None:
    with Desk.below(tmp_path) as desk:
        start = desk.new_start()

    desk.note("nobody listens")
    start.leave_refusal("nobody listens")
    start.refuse()

    assert [*tmp_path.iterdir()] == []


def test_a_note_for_which_the_disk_has_no_room_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        start = Desk(disk).new_start()
        (disk / "others").write_bytes(bytes(free(disk)))

        Desk(disk).note("the checkpoint of step 8 could not be saved")
        start.leave_refusal("a refusal")

        assert "the checkpoint of step 8 could not be saved" in capsys.readouterr().err
        assert list(Desk(disk).notes()) == []
        start.refuse()


def test_each_start_has_a_folder_for_its_records(desk: Desk) -> None:
    assert desk.new_start().records != desk.new_start().records


def test_what_dead_commands_left_is_swept_and_what_living_ones_use_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with Desk.below(tmp_path) as mine:
            own, host = mine.folder.name.rsplit("-", 2)[1], mine.folder.name.rsplit("-", 2)[0]
        assert own == str(os.getpid())
        living = tmp_path / f"{host}-{other.pid}-1"
        elsewhere = tmp_path / ".desk-another.host-1-1"
        for folder in (living, elsewhere):
            (folder / "records").mkdir(parents=True)

        with Desk.below(tmp_path):
            assert (living.exists(), elsewhere.exists()) == (True, True)
        other.communicate(b"\n")
        with Desk.below(tmp_path):
            assert (living.exists(), elsewhere.exists()) == (False, True)


CHILD = """
import signal, sys, time
from pathlib import Path
from pipelines.stopping import stop_request

place = Path(sys.argv[1])
before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
try:
    with stop_request(place / "stop"):
        (place / "ready").touch()
        while True:
            time.sleep(0.01)
except KeyboardInterrupt:
    (place / "interrupted").touch()
assert before == [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
(place / "put back").touch()
"""


def wait_for(path: Path) -> None:
    until = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_signal_asks_and_the_second_interrupts(
    tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        wait_for(tmp_path / "ready")
        assert not (tmp_path / "stop").exists()

        child.send_signal(first)
        wait_for(tmp_path / "stop")
        assert child.stderr
        said = child.stderr.readline()
        went_on = child.poll() is None
        child.send_signal(second)
        try:
            _, more = child.communicate(timeout=240)
        finally:
            child.kill()

    assert (went_on, child.returncode) == (True, 0), more
    assert said == f"{first.name}: a checkpoint is taken, then it stops; once more stops at once\n"
    assert not more
    assert (tmp_path / "interrupted").exists()
    assert (tmp_path / "put back").exists()


def test_handlers_are_put_back_whatever_happens(tmp_path: Path) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]

    def command() -> None:
        with stop_request(tmp_path / "stop"):
            assert [signal.getsignal(one) for one in SIGNALS] != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()

    assert [signal.getsignal(one) for one in SIGNALS] == before
