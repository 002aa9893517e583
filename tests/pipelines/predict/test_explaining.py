"""The first inputs that can be seen are drawn, each as a picture under its own name."""

from dataclasses import replace
from pathlib import Path

from PIL import Image
from registered_models import untrained

from pipelines.models.classifier import DESCRIPTION, WEIGHTS
from pipelines.models.inputs import RawFiles
from pipelines.predict.explaining import explain
from pipelines.settings import RunSettings


def test_the_first_inputs_that_can_be_seen_are_drawn(
    settings: RunSettings, pictures: Path, tmp_path: Path
) -> None:
    model = untrained(settings, tmp_path / "model")
    (pictures / "a first one.png").write_bytes(b"broken")
    inputs = RawFiles(settings=replace(model.recipe.settings, raw=str(pictures)))
    files = {"description": model.folder / DESCRIPTION, "weights": model.folder / WEIGHTS}
    (tmp_path / "looks").mkdir()

    drawn = explain(files, inputs, inputs.plan(4)[1], tmp_path / "looks", 2)

    assert [path.name for path in drawn] == ["001-column-0-000.png", "002-column-0-001.png"]
    assert [*(tmp_path / "looks").iterdir()].sort() == drawn.sort()
    for path in drawn:
        with Image.open(path) as picture:
            picture.verify()
