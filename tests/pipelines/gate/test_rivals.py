"""Two models beside each other: classes by name, and inputs that fit."""

import numpy as np
import pytest

from pipelines.gate.decision import decide
from pipelines.gate.rivals import Described, aligned, all_classes, misfit, widened
from pipelines.gate.settings import GateSettings

IMAGE = {"height": 8, "width": 8}
SOUND = {"rate": 16000, "channels": 1}


def described(labels: str = "one", **inputs: dict[str, int]) -> Described:
    return Described(("a", "b"), labels, inputs)


def test_classes_are_mapped_by_name_whatever_their_order() -> None:
    union = all_classes(("a", "b", "c"), ("c", "a", "d"))

    found = aligned(np.array([[0.1, 0.2, 0.7]], np.float32), ("c", "a", "d"), union)

    assert union == ("a", "b", "c", "d")
    assert found.tolist() == pytest.approx(np.array([[0.2, 0.0, 0.1, 0.7]]))


def test_a_class_that_only_the_champion_knows_is_a_wrong_answer_and_not_the_next_best() -> None:
    labels = np.zeros(200, np.int64)
    union = all_classes(("a", "b"), ("a", "z"))
    champion = aligned(np.tile([0.4, 0.6], (200, 1)).astype(np.float32), ("a", "z"), union)
    candidate = aligned(np.tile([0.9, 0.1], (200, 1)).astype(np.float32), ("a", "b"), union)

    decision = decide(widened(labels, union), candidate, champion, union, GateSettings())

    assert (decision.candidate, decision.champion) == (1.0, 0.0)


def test_several_labels_get_a_column_for_a_class_that_only_the_champion_knows() -> None:
    labels = np.array([[1, 0], [0, 1]], np.uint8)

    assert widened(labels, ("a", "b", "z")).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_champion_that_reads_less_of_the_same_samples_fits() -> None:
    assert misfit(described(image=IMAGE), described(image=IMAGE, audio=SOUND)) == ""


@pytest.mark.parametrize(
    ("champion", "word"),
    [
        (described(image=IMAGE, mesh={"channels": 3}), "reads mesh, which these shards do not hold"),
        (described(image=IMAGE | {"width": 16}), "image of width 16, these shards hold 8"),
        (described(audio=SOUND | {"rate": 8000}), "audio of rate 8000, these shards hold 16000"),
        (described("several", image=IMAGE), "gives several of the classes a sample, the candidate one"),
    ],
)
def test_a_champion_that_cannot_read_these_samples_is_told_by_what_differs(
    champion: Described, word: str
) -> None:
    assert word in misfit(champion, described(image=IMAGE, audio=SOUND))
