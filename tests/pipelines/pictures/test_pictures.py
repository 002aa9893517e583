"""Pictures are whole PNG files, also where there is little to draw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.pictures.charts import average_precisions, confusion_matrix, learning_curve


def inks(path: Path) -> int:
    """Distinct colours: an empty picture has few."""
    with Image.open(path) as picture:
        picture.load()
        return len(set(picture.convert("RGB").resize((64, 64)).getdata()))


@pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")
def test_a_curve_is_drawn_for_every_name(tmp_path: Path) -> None:
    curves = {"train/loss": [(1, 2.0), (2, 1.0)], "val/loss": [(2, 1.5)], "val/accuracy": []}

    path = learning_curve(tmp_path / "curve.png", "digits", curves)

    assert inks(path) > 20
    assert [one.name for one in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")
@pytest.mark.parametrize("classes", [2, 300])
def test_few_classes_and_many_fit(tmp_path: Path, classes: int) -> None:
    counts = np.eye(classes, dtype=np.int64) * 3

    path = confusion_matrix(tmp_path / "matrix.png", "digits", counts, [f"class {n}" for n in range(classes)])

    assert inks(path) > 10


@pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")
@pytest.mark.parametrize("classes", [0, 2, 300])
def test_average_precisions_of_few_classes_and_many_fit(tmp_path: Path, classes: int) -> None:
    found = {f"$\\frac$ {n}": {"average_precision": n / 300, "samples": 1 + n} for n in range(classes)}
    nobody = {"nobody": {"average_precision": 0.0, "samples": 0}}

    path = average_precisions(tmp_path / "ap.png", "audioset", {**found, **nobody})

    assert inks(path) > 5
    assert [one.name for one in tmp_path.iterdir()] == ["ap.png"]
