"""What is sent to a cluster, what a job's log tells, and which job a person means."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs import Job
from cluster.mistake import UserError
from pipelines.course import Course
from pipelines.jobs import arrival, pins
from pipelines.jobs.choice import meant
from pipelines.jobs.commands import ending, span
from pipelines.jobs.following import Lines
from pipelines.jobs.options import DriverOptions, ListOptions, Sending, StatusOptions, job_server, parse
from pipelines.jobs.parcel import ROOMS, Parcel, code_digest, files, name_of, run_file
from pipelines.jobs.standing import Standing, answered, standing
from pipelines.jobs.submitting import driver, entrypoint, passed, prepare, slug
from pipelines.settings import RunSettings

RUN = "pipelines/runs/digits.toml"
ADDRESS = "http://head:8265"


def job(name: str, state: str = "RUNNING", exit_code: int | None = None) -> Job:
    return Job(
        id=name, state=state, message="", exit_code=exit_code, began=0.0, ended=None,
        metadata={"made_by": "perceiver"},
    )  # fmt: skip


def digest(folder: Path) -> str:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"\0".join(path.name.encode() + path.read_bytes() for path in found)).hexdigest()


def test_the_same_run_is_packed_into_the_same_bytes(settings: RunSettings, tmp_path: Path) -> None:
    parcel = Parcel(name="shapes.toml", run_file=run_file(settings), code=code_digest(), data="unseen")

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        parcel.pack(tmp_path / name, "me@here")

    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert {path.name for path in (tmp_path / "one").iterdir()} == {*ROOMS, "shapes.toml", arrival.RECORD}


def test_what_is_packed_is_read_by_the_code_that_is_packed(settings: RunSettings, tmp_path: Path) -> None:
    parcel = Parcel(name="shapes.toml", run_file=run_file(settings), code=code_digest(), data="unseen")
    parcel.pack(tmp_path, "me@here")
    code = (
        "from pipelines import settings; print(settings.__file__, settings.read('shapes.toml', []).workspace)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [str(tmp_path / "pipelines" / "settings.py"), settings.workspace]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("runs/shapes.toml", "shapes.toml"),
        ("my run;rm -rf ~.toml", "my-run-rm--rf.toml"),
        ("-json.toml", "json.toml"),
        ("../pipelines", "pipelines.toml"),
        ("鳥.toml", "run.toml"),
    ],
)
def test_a_run_file_is_sent_under_its_own_name_made_safe(written: str, sent: str) -> None:
    assert name_of(written) == sent


def test_the_name_of_the_run_file_makes_no_other_run(settings: RunSettings) -> None:
    parcel = Parcel(name="shapes.toml", run_file=run_file(settings), code="c", data="d")

    assert replace(parcel, name="other.toml").digest == parcel.digest


def test_caches_and_notes_stay_at_home() -> None:
    endings = {Path(name).suffix for name, _ in files()}

    assert ".pyc" not in endings
    assert {".py", ".toml"} <= endings


def test_other_settings_code_or_data_are_another_run(settings: RunSettings) -> None:
    parcel = Parcel(name="shapes.toml", run_file=run_file(settings), code="c", data="d")
    others = [
        replace(parcel, run_file=run_file(replace(settings, seed=1))),
        replace(parcel, code="e"),
        replace(parcel, data="e"),
    ]

    assert len({one.digest for one in [parcel, *others]}) == 4
    assert replace(parcel).digest == parcel.digest


def test_the_last_count_of_a_stage_is_where_a_job_stands() -> None:
    log = (
        "submit: from me@here\nshard: 72 of 72 samples\ntrain: it was interrupted\n"
        "train: 1,200 of 4,000 samples, 99 samples/s, 3 s left\ntrain: a worker died; it starts again\n"
    )

    found = standing(log)

    assert found == Standing("train", 1200, 4000, "a worker died; it starts again")
    assert str(found) == "train 1,200 of 4,000 (30%)"


def test_a_stage_that_counts_nothing_has_no_count_of_the_one_before() -> None:
    assert str(standing("train: 4 of 4 samples\nregister: the model is not registered yet\n")) == "register"


def test_what_a_run_has_answered_is_the_last_object_of_its_log() -> None:
    log = '{"ran": ["shard"]}\npromote: up to date\n{"ran": [], "version": 3}\n{broken\n{"other": 1}\nbye\n'

    assert answered(log) == {"ran": [], "version": 3}
    assert answered("train: 4 of 4 samples\n") is None


def test_a_log_without_a_stage_stands_nowhere() -> None:
    assert str(standing("Running entrypoint\nretrain: 1 of 2 samples\n")) == "-"


@given(text=st.text(), cuts=st.lists(st.integers(0, 40)), breaks=st.lists(st.integers(0, 40)))
def test_a_log_in_any_pieces_over_any_connections_gives_its_lines_once(
    text: str, cuts: list[int], breaks: list[int]
) -> None:
    shown: list[str] = []
    lines = Lines(shown.append)

    for end in [*breaks, len(text)]:
        lines.restart()
        edges = [0, *sorted(min(cut, end) for cut in cuts), min(end, len(text))]
        for begin, until in pairwise(edges):
            lines.take(text[begin:until])
    lines.end()

    *whole, last = text.split("\n")
    assert shown == ([*whole, last] if last else whole)


def test_what_was_known_before_is_not_shown_again() -> None:
    shown: list[str] = []
    lines = Lines(shown.append, len("old\n"))

    lines.take("old\nnew\n")

    assert shown == ["new"]


def test_the_beginning_of_an_id_means_the_one_job_that_has_it() -> None:
    jobs = [job("birds-1", "FAILED"), job("birds-2"), job("cats-1", "STOPPED")]

    assert meant("cats", jobs, ADDRESS).id == "cats-1"
    assert meant("birds", jobs, ADDRESS).id == "birds-2", "of several the one that is at work"
    assert meant("", jobs, ADDRESS).id == "birds-2"


@pytest.mark.parametrize(
    ("word", "states", "said"),
    [
        ("brids-1", ["RUNNING"], "knows no job brids-1. Perhaps you meant birds-0"),
        ("", ["FAILED"], "No job is at work"),
        ("", ["RUNNING", "PENDING"], "Which job? There are birds-0, birds-1"),
        ("birds", ["FAILED", "FAILED"], "Which job that begins with birds?"),
    ],
)
def test_a_word_that_means_no_single_job_is_refused(word: str, states: list[str], said: str) -> None:
    jobs = [job(f"birds-{number}", state) for number, state in enumerate(states)]

    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        meant(word, jobs, ADDRESS)


def test_versions_that_differ_are_named_and_builds_of_one_version_do_not() -> None:
    record = {
        "submitter": "me@here", "code": "c", "data": "d", "python": "3.11.2",
        "packages": {"torch": "2.13.0+cpu", "mlflow": "3.1", "av": "18.1"},
    }  # fmt: skip

    words, refusal = arrival.compare(record, "3.11.9", {"torch": "2.13.0+cu126", "mlflow": "3.2", "av": ""})

    assert "versions that differ (the submitter's): mlflow 3.2 (3.1)" in words[1]
    assert "torch" not in words[1]
    assert ": av." in words[2]
    assert refusal == ""


def test_a_python_that_is_too_old_is_refused() -> None:
    record = {"submitter": "me@here", "code": "c", "data": "d", "python": "3.11.2", "packages": {}}

    _, refusal = arrival.compare(record, "3.9.18", {})

    assert "The cluster's Python is 3.9.18; this code needs 3.11" in refusal


def test_a_python_without_the_packages_is_refused_with_the_ways_out() -> None:
    packages = {"av": "18.1", "torch": "2.13.0", "tyro": "1.0"}
    record = {"submitter": "me", "code": "c", "data": "d", "python": "3.11.2", "packages": packages}

    _, refusal = arrival.compare(record, "3.11.2", {"av": "", "torch": "2.13.0", "tyro": ""})

    assert refusal.startswith("No run begins without tyro: take an image that has it, submit with --install")


def test_requirements_are_pinned_without_local_builds_and_without_ray() -> None:
    names = {one.partition("==")[0]: one.partition("==")[2] for one in pins.requirements()}

    assert {"torch", "mlflow", "tyro", "packaging"} <= set(names), "those behind others too"
    assert "ray" not in names
    assert all(version and "+" not in version for version in names.values())


def test_variables_go_along_by_name_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MINE", "1")

    found = passed(("MINE",))

    assert found == {"MLFLOW_TRACKING_URI": "http://user:secret@host", "MINE": "1"}
    said = capsys.readouterr().err
    assert "MLFLOW_TRACKING_URI, MINE go along" in said
    assert "AWS_SECRET_ACCESS_KEY stays here" in said
    assert "user:secret" not in said


@pytest.mark.parametrize(("name", "said"), [("A=1", "names, not values"), ("NOT_SET_HERE", "not set here")])
def test_a_value_or_a_name_without_one_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        passed((name,))


def test_options_of_the_job_and_of_the_run_stand_side_by_side() -> None:
    options = parse(
        "submit", [RUN, "--cluster.address", ADDRESS, "--follow", "--train.steps", "5", "--env", "A"]
    )

    assert (options.follow, options.env, options.run.train.steps) == (True, ("A",), 5)
    assert options.run.cluster.address == ADDRESS
    assert options.run.run_file == RUN


def test_a_job_takes_the_course_that_it_is_told() -> None:
    sending = parse("submit", [RUN, "--cluster.address", ADDRESS, "--until", "train", "--force", "train"])
    assert isinstance(sending, Sending)

    words = sending.course.words

    line = (
        "exec python -m pipelines run shapes.toml --until train --force train --cluster.address auto --json"
    )
    assert entrypoint("python", "shapes.toml", words).endswith(line)
    parcel = Parcel(name="shapes.toml", run_file="", code="", data="")
    assert replace(parcel, course=words).digest != parcel.digest


def test_a_run_that_a_schedule_sends_is_the_work_of_one_sent_by_hand(settings: RunSettings) -> None:
    settings = replace(settings, run_file="run.toml")

    assert prepare(settings, Course(renew=True)).digest == prepare(settings).digest
    assert prepare(settings, Course(last="train")).digest != prepare(settings).digest
    line = entrypoint("python", "shapes.toml", Course(renew=True).words)
    assert "run shapes.toml --renew --cluster" in line


def test_a_misspelt_option_of_the_job_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("submit", [RUN, "--cluster.address", ADDRESS, "--folow"])

    assert "--follow" in capsys.readouterr().err


def test_the_environment_names_the_cluster_where_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ADDRESS)

    assert job_server("local") == ADDRESS
    assert job_server("http://other:8265") == "http://other:8265"


def test_an_address_of_another_kind_is_answered_with_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)

    with pytest.raises(UserError, match="http://head:8265"):
        job_server("head:6379")
    with pytest.raises(UserError, match="Which cluster"):
        job_server("")


def test_jobs_alone_lists_and_a_misspelt_action_gets_the_nearest() -> None:
    assert parse("jobs", []) == ListOptions()
    assert parse("jobs", ["status", "birds"]) == StatusOptions(id="birds")
    with pytest.raises(UserError, match="Perhaps you meant status"):
        parse("jobs", ["statsu"])


def test_what_the_driver_takes_is_named_as_ray_does() -> None:
    options = DriverOptions(cpus=1.0, memory_gib=0.5, resources=("disk=2",))

    assert driver(options) == {
        "entrypoint_num_cpus": 1.0, "entrypoint_memory": 2**29, "entrypoint_resources": {"disk": 2.0},
    }  # fmt: skip
    assert driver(DriverOptions()) == {}
    with pytest.raises(ValueError, match="NAME=AMOUNT"):
        DriverOptions(resources=("disk",))


def test_an_id_stands_in_addresses() -> None:
    assert slug("Birds of São Paulo") == "birds-of-s-o-paulo"
    assert slug("鳥") == "run"


@pytest.mark.parametrize(
    ("state", "exit_code", "words"),
    [
        ("SUCCEEDED", 0, "succeeded"),
        ("FAILED", 2, "status 2"),
        ("FAILED", -9, "signal 9"),
        ("FAILED", 137, "signal 9"),
        ("FAILED", None, "Ray lost it"),
    ],
)
def test_the_end_of_a_job_is_told_in_words(state: str, exit_code: int | None, words: str) -> None:
    assert words in ending(job("a", state, exit_code))


def test_durations_are_told_in_two_units() -> None:
    assert [span(seconds) for seconds in (5, 65, 3_725)] == ["5 s", "1 min 05 s", "1 h 02 min"]
