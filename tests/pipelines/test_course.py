"""What a person may ask of the order of stages, and what is refused by name."""

from dataclasses import dataclass

import pytest

from cluster.mistake import UserError
from pipelines.course import Course

NAMES = ("shard", "train", "evaluate", "register")


@dataclass(frozen=True)
class Row:
    name: str


def taken(course: Course) -> list[str]:
    course.check(NAMES)
    return [row.name for row in course.of([Row(name) for name in NAMES])]


def test_from_and_until_take_a_stretch_of_the_stages() -> None:
    assert taken(Course()) == [*NAMES]
    assert taken(Course(first="train")) == ["train", "evaluate", "register"]
    assert taken(Course(last="train")) == ["shard", "train"]
    assert taken(Course(first="train", last="train", force=("train",))) == ["train"]


def test_it_is_a_command_lines_words() -> None:
    course = Course(first="train", last="register", force=("train", "register"), renew=True)

    assert course.words == (
        "--from",
        "train",
        "--until",
        "register",
        "--force",
        "train",
        "register",
        "--renew",
    )
    assert Course().words == ()


@pytest.mark.parametrize(
    ("died_in", "force"), [("", NAMES), ("shard", NAMES[1:]), ("train", NAMES[2:]), ("register", ())]
)
def test_what_a_dead_run_has_forced_is_not_forced_again(died_in: str, force: tuple[str, ...]) -> None:
    assert Course(last="register", force=NAMES).after(died_in, NAMES) == Course(last="register", force=force)


@pytest.mark.parametrize(
    ("course", "said"),
    [
        (Course(first="trian"), r"--from trian: the stages are shard, .*Perhaps you meant train"),
        (Course(last="end"), r"--until end: the stages are shard, train, evaluate, register\.$"),
        (Course(force=("evaluat",)), r"--force evaluat: .*Perhaps you meant evaluate"),
        (Course(first="register", last="shard"), "--from register comes after --until shard: no stage"),
        (Course(first="evaluate", force=("train",)), "--force train: this run takes evaluate, register only"),
    ],
)
def test_what_is_no_stage_or_leaves_none_is_refused(course: Course, said: str) -> None:
    with pytest.raises(UserError, match=said):
        course.check(NAMES)


def test_a_stage_before_the_first_that_is_not_up_to_date_is_named_with_its_reason() -> None:
    reasons = {
        "shard": "",
        "train": "it was interrupted",
        "evaluate": "the training comes first",
        "register": "",
    }

    Course(first="train").refuse_unready(reasons)
    Course().refuse_unready(reasons)
    with pytest.raises(UserError, match=r"--from register: train is not up to date \(it was interrupted\)"):
        Course(first="register").refuse_unready(reasons)
