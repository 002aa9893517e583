"""Captions of one label and of several."""

import numpy as np

from pipelines.pictures.captions import bears, caption, first_labels

CLASSES = ("bell", "cat", "dog", "engine", "flute")


def test_of_several_labels_the_first_counts() -> None:
    assert first_labels(np.array([[0, 1, 1], [1, 0, 0]])).tolist() == [1, 0]
    assert first_labels(np.array([2, 0])).tolist() == [2, 0]


def test_a_caption_names_one_class_or_the_first_of_several() -> None:
    assert caption(np.int64(2), CLASSES) == "dog"
    assert caption(np.array([0, 1, 1, 0, 0], np.uint8), CLASSES) == "cat, dog"
    assert caption(np.ones(5, np.uint8), CLASSES) == "bell, cat, dog, 2 more"
    assert caption(np.zeros(5, np.uint8), CLASSES) == "none"


def test_a_sample_bears_its_class_or_each_of_several() -> None:
    assert bears(np.int64(2), 2)
    assert not bears(np.int64(2), 1)
    assert bears(np.array([0, 1, 1]), 1)
    assert not bears(np.array([0, 1, 1]), 0)
