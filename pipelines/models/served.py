"""The registered model: MLflow runs this file to load it, so nothing in it was pickled.

Input: a column for each modality, one row a sample. A cell is the raw file (its bytes in base64, as text) or
the stored byte array (image uint8 [H, W, 3], audio int16 [T, channels], mesh float32 [P, 3 or 6], video uint8
[F, H, W, 3]). A column `source` may name the file: its ending says how to read what does not say so itself,
and the points drawn from a mesh follow from it, as they did in sharding.
Output: a table with the likeliest class and its probability, or in `refused` and `detail` why there is none;
with params={"all": true} the probabilities of all classes too, which sum to 1 unless the model learnt several
labels a sample.
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipelines.models.answering import Answer, answers
from pipelines.models.classifier import Classifier
from preprocessing.recipe import Recipe


class Served(PythonModel):
    """The classifier behind MLflow's face."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, onto the GPU where there is one, and what decodes raw files."""
        place = "cuda" if torch.cuda.is_available() else "cpu"
        self.classifier = Classifier.load(
            context.artifacts["description"], context.artifacts["weights"], place
        )
        self.recipe = Recipe.read(Path(context.artifacts["recipe"]).read_text())
        for objection in self.recipe.objections():
            logging.getLogger(__name__).warning("%s: arrays may differ in their last bits", objection)

    # MLflow reads the types here as a schema of its own, and warns of ours.
    def predict(self, context, model_input, params=None):  # pyright: ignore  # noqa: ARG002
        """Classify every row."""
        found = answers(self.classifier, self.recipe, _rows(model_input))
        every = bool((params or {}).get("all"))
        table = [_row(self.classifier, one, every) for one in found]
        # Objects, because a missing number would become NaN, which no JSON has.
        return pd.DataFrame(table, columns=_columns(every), dtype=object)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows; MLflow makes one of several where each column is a list of texts."""
    rows: list[dict[str, Any]] = table.to_dict(orient="records")  # pyright: ignore
    if len(rows) != 1 or not all(_texts(value) for value in rows[0].values()):
        return rows
    return [dict(zip(rows[0], values, strict=True)) for values in zip(*rows[0].values(), strict=True)]


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)  # pyright: ignore


def _columns(every: bool) -> list[str]:
    return ["class", "probability", *(["probabilities"] if every else []), "refused", "detail"]


def _row(classifier: Classifier, answer: Answer, every: bool) -> dict[str, Any]:
    """A row of the answer, with nothing that JSON does not know."""
    row = dict.fromkeys(_columns(every))
    if answer.found is None:
        return {**row, "refused": answer.refused, "detail": answer.detail}
    best = int(answer.found.argmax())
    row |= {"class": classifier.classes[best], "probability": float(answer.found[best])}
    if every:
        row["probabilities"] = dict(zip(classifier.classes, answer.found.tolist(), strict=True))
    return row


set_model(Served())
