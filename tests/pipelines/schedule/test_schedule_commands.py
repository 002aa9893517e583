"""What `perceiver schedule` writes, refuses and tells; no clock is at work."""

import json
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.schedule.records import Account, Schedules
from pipelines.settings import RunSettings

WHEN = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin")


def schedule(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """The exit status, and what was said: the list on stdout, all else on stderr."""
    capsys.readouterr()
    try:
        status = main(["schedule", *map(str, words)])
    except SystemExit as ended:
        status = int(str(ended.code))
    said = capsys.readouterr()
    assert not (said.err if words and words[0] == "list" and status == 0 else said.out)
    return status, said.out + said.err


def test_a_schedule_is_written_as_it_was_given_and_told_in_both_zones(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    options = ["--train.steps", "3", "--cluster.workers", "1", "2"]

    status = main(
        ["schedule", "add", str(run_file), *options, *WHEN, "--always", "--warm-start=champion", "--json"]
    )

    printed, told = capsys.readouterr()
    facts = json.loads(printed)
    (found,) = facts["schedules"]
    assert (status, facts["clock"], found["last"]) == (0, None, None)
    assert (found["name"], found["options"], found["cron"]) == ("columns", options, "0 3 * * *")
    assert (found["always"], found["warm_start"], found["paused"]) == (True, "champion", False)
    assert found["next"].endswith(("T01:00:00+00:00", "T02:00:00+00:00")), "3:00 in Berlin"
    assert " 03:00 CE" in told
    assert " UTC)" in told
    assert "none is at work; perceiver schedule start" in told
    assert Schedules.of(settings.root).get("").folder == str(Path.cwd())


def test_the_same_words_change_nothing_and_other_words_are_said(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN)
    first = Schedules.of(settings.root).get("columns")

    _, same = schedule(capsys, "add", run_file, *WHEN)
    untouched = Schedules.of(settings.root).get("columns")
    _, other = schedule(capsys, "add", run_file, "--cron", "0 4 * * *", "--timezone", "Europe/Berlin")
    changed = Schedules.of(settings.root).get("columns")

    assert "columns goes on as it is" in same
    assert untouched == first
    assert "cron: was 0 3 * * *, is 0 4 * * *\n" in other
    assert "timezone: was" not in other
    assert (changed.cron, changed.since > first.since) == ("0 4 * * *", True)


def test_a_workspace_may_have_several_and_then_a_name_is_needed(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN)
    schedule(capsys, "add", run_file, "--cron", "@weekly", "--always", "--as", "anew")

    status, said = schedule(capsys, "pause", "--workspace", settings.root)
    assert (status, "Which schedule is meant? There are anew, columns." in said) == (2, True)
    status, said = schedule(capsys, "pause", "anwe", "--workspace", settings.root)
    assert (status, "Perhaps you meant anew." in said) == (2, True)
    assert schedule(capsys, "pause", "anew", "--workspace", settings.root)[0] == 0
    schedules = Schedules.of(settings.root)
    assert [schedules.paused(name) for name in ("anew", "columns")] == [True, False]


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, run_file: Path) -> Path:
    """The folder where the person is, in which `work` would lie."""
    monkeypatch.chdir(run_file.parent)
    return run_file.parent


def added(capsys: pytest.CaptureFixture[str], run_file: Path, workspace: str, name: str) -> None:
    words = (*WHEN, "--workspace", workspace, "--as", name)
    assert schedule(capsys, "add", run_file, *words)[0] == 0


@pytest.mark.parametrize("workspace", ["work", "work/shapes", "work/mine/shapes"])
def test_the_only_workspace_with_schedules_is_meant_where_none_is_named(
    capsys: pytest.CaptureFixture[str], run_file: Path, at_home: Path, workspace: str
) -> None:
    added(capsys, run_file, workspace, "shapes")

    listed = schedule(capsys, "list")[1]

    assert "shapes  0 3 * * *" in listed
    assert f"start --workspace {at_home / workspace} is one" in listed
    assert schedule(capsys, "pause", "shapes")[0] == 0
    assert Schedules.of(at_home / workspace).paused("shapes")
    assert f"start --workspace {at_home / workspace}" in schedule(capsys, "resume")[1]
    assert schedule(capsys, "run-now")[0] == 0
    assert Schedules.of(at_home / workspace).asked("shapes")
    assert schedule(capsys, "remove", "shapes")[0] == 0
    assert not Schedules.of(at_home / workspace).all()


def test_the_usual_workspace_goes_before_those_below_it(
    capsys: pytest.CaptureFixture[str], run_file: Path, at_home: Path
) -> None:
    added(capsys, run_file, "work/shapes", "shapes")
    added(capsys, run_file, "work", "usual")

    said = schedule(capsys, "list")[1]

    assert "usual" in said
    assert "shapes" not in said


def test_of_several_workspaces_the_list_shows_all_and_a_name_that_is_unique_is_taken(
    capsys: pytest.CaptureFixture[str], run_file: Path, at_home: Path
) -> None:
    added(capsys, run_file, "work/one", "birds")
    added(capsys, run_file, "work/two", "cats")
    capsys.readouterr()

    assert main(["schedule", "list", "--json"]) == 0
    printed, said = capsys.readouterr()
    paused = schedule(capsys, "pause", "cats")

    one, two = json.loads(printed)["workspaces"]
    assert (one["workspace"], two["workspace"]) == (str(at_home / "work/one"), str(at_home / "work/two"))
    assert (one["schedules"][0]["name"], two["schedules"][0]["name"]) == ("birds", "cats")
    lines = said.splitlines()
    assert lines[lines.index(f"in {at_home}/work/one") + 1].startswith("birds")
    assert lines[lines.index(f"in {at_home}/work/two") + 1].startswith("cats")
    assert (paused[0], Schedules.of(at_home / "work/two").paused("cats")) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause", "birds"], "Which birds is meant? There are birds in HOME/one, birds in HOME/two."),
        (["run-now"], "Which schedule is meant? There are birds in HOME/one, birds in HOME/two, cats in"),
        (["remove", "catz"], "no schedule catz in HOME/one, HOME/two. Perhaps you meant cats."),
        (["start"], "Which workspace is meant? HOME/one, HOME/two have schedules"),
    ],
)
def test_what_is_meant_in_several_workspaces_or_in_none_is_refused_with_their_names_and_the_option(
    capsys: pytest.CaptureFixture[str], run_file: Path, at_home: Path, words: list[str], said: str
) -> None:
    added(capsys, run_file, "work/one", "birds")
    added(capsys, run_file, "work/two", "birds")
    added(capsys, run_file, "work/two", "cats")

    status, told = schedule(capsys, *words)

    assert status == 2
    assert said.replace("HOME", str(at_home / "work")) in told
    assert "--workspace" in told


def test_where_no_workspace_has_schedules_the_usual_one_and_the_option_are_named(
    capsys: pytest.CaptureFixture[str], at_home: Path
) -> None:
    assert f"nothing is scheduled in {at_home / 'work'}; " in schedule(capsys, "list")[1]
    status, said = schedule(capsys, "pause", "shapes")

    assert status == 2
    assert f"{at_home / 'work'} has no schedules" in said
    assert "--workspace" in said


def test_a_workspace_that_is_named_is_meant_though_others_below_it_have_schedules(
    capsys: pytest.CaptureFixture[str], run_file: Path, at_home: Path
) -> None:
    added(capsys, run_file, "work/shapes", "shapes")

    status, said = schedule(capsys, "pause", "shapes", "--workspace", "work")

    assert (status, f"{at_home / 'work'} has no schedules" in said) == (2, True)


def test_a_run_file_names_the_schedule_in_the_workspace_that_is_given(
    capsys: pytest.CaptureFixture[str], run_file: Path, tmp_path: Path
) -> None:
    elsewhere = ("--workspace", tmp_path / "elsewhere")
    schedule(capsys, "add", run_file, *WHEN, *elsewhere)

    status, _ = schedule(capsys, "pause", run_file, *elsewhere)

    assert status == 0
    assert Schedules.of(tmp_path / "elsewhere").paused("columns")


def test_a_pause_a_run_now_and_an_end_are_written_for_the_clock(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN)
    schedules = Schedules.of(settings.root)
    since = schedules.get("").since

    assert "is paused" in schedule(capsys, "pause", run_file)[1]
    assert schedules.paused("columns")
    assert "is paused" in schedule(capsys, "add", run_file, *WHEN)[1]
    assert "runs as soon as" in schedule(capsys, "run-now", run_file)[1]
    assert schedules.asked("columns")
    assert "now (asked for) paused" in schedule(capsys, "list", "--workspace", settings.root)[1]
    assert "runs next at" in schedule(capsys, "resume", run_file)[1]
    assert not schedules.paused("columns")
    assert schedules.get("").since > since, "ticks while it was paused are left out"
    schedules.keep("columns", Account(result="done", tick=since))
    assert "is removed" in schedule(capsys, "remove", run_file)[1]
    assert (schedules.all(), schedules.asked("columns"), schedules.account("columns")) == ([], "", Account())


def test_what_came_of_the_last_run_is_told(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN)
    last = Account(
        result="failed", what="the disk is full", status=1, why="its time has come", attempt=1, failures=1,
        tick="2027-03-28T01:00:00+00:00", covered="2027-03-28T01:00:00+00:00", log="so.log",
        began="2027-03-28T01:00:00+00:00", ended="2027-03-28T01:05:00+00:00",
        retry_at="2027-03-28T01:06:00+00:00",
    )  # fmt: skip
    Schedules.of(settings.root).keep("columns", last)

    _, said = schedule(capsys, "list", "--workspace", run_file)

    assert "last  2027-03-28 03:00 CEST (its time has come): failed after 300 s: the disk is full" in said
    assert "retry 2027-03-28 03:06 CEST" in said
    assert f"log   {settings.root}/schedules/columns/so.log" in said


def test_a_run_of_a_clusters_address_is_sent_there(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN, "--cluster.address", "http://head:8265")

    assert Schedules.of(settings.root).get("").sends


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a run file first"),
        (["--cron", "@daily"], "needs a run file first"),
        (["pasue"], "Perhaps you meant pause."),
        (["absent.toml", "--cron", "@daily"], "There is no run file absent.toml"),
        (["RUN"], "When is it to run?"),
        (["RUN", "--crn", "@daily"], "Perhaps you meant --cron."),
        (["RUN", "--cron", "0 3 * *"], "has 4 fields"),
        (["RUN", "--cron", "@daily", "--timezone", "Europe/Berln"], "Perhaps you meant Europe/Berlin."),
        (["RUN", "--cron", "@daily", "--as", "a/b"], "has letters, digits"),
        (["RUN", "--cron", "@daily", "--retry-seconds", "0"], "above 0"),
        (["RUN", "--cron", "@daily", "--train.stps", "3"], "--train.steps"),
        (["start", "--workspace", "elsewhere"], "has no schedules"),
        (["run-now", "--workspace", "elsewhere"], "has no schedules"),
    ],
)
def test_a_mistake_is_refused_with_the_way_out_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], run_file: Path, words: list[str], said: str
) -> None:
    status, told = schedule(capsys, *[str(run_file) if word == "RUN" else word for word in words])

    assert status == 2
    assert said in told
    assert "Traceback" not in told
    assert not list(run_file.parent.rglob("schedules"))


def test_a_file_that_is_no_record_is_named(
    capsys: pytest.CaptureFixture[str], run_file: Path, settings: RunSettings
) -> None:
    schedule(capsys, "add", run_file, *WHEN)
    path = settings.root / "schedules" / "columns.json"
    path.write_text('{"name": "columns"}')

    status, said = schedule(capsys, "list", "--workspace", settings.root)

    assert status == 2
    assert f"{path} is no record of a schedule" in said


def test_help_says_the_verbs_and_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schedule", "--help"])

    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(
        word in said for word in ("--cron", "--timezone", "--always", "--warm-start", "run-now", "remove")
    )
    assert "\n  perceiver schedule list|start [--workspace FOLDER] [--json]\n" in said
    assert "--no-always" not in said
