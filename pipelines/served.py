"""The registered model: MLflow runs this file to load it, so nothing in it was pickled.

Input: for each modality a column or an array of stored byte arrays (image uint8 [H, W, 3], audio int16
[T, channels], mesh float16 [P, 3 or 6], video uint8 [F, H, W, 3]), one row a sample.
Output: a table with the class, its probability, and the probabilities of all classes in their order.
"""

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipelines.classifier import Classifier


class Served(PythonModel):
    """The classifier behind MLflow's face."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, onto the GPU where there is one."""
        place = "cuda" if torch.cuda.is_available() else "cpu"
        self.classifier = Classifier.load(
            context.artifacts["description"], context.artifacts["weights"], place
        )

    # MLflow reads the types here as a schema of its own, and warns of ours.
    def predict(self, context, model_input, params=None):  # pyright: ignore  # noqa: ARG002
        """Classify every row."""
        columns = {name: model_input[name] for name in self.classifier.model.specs}
        rows = len(next(iter(columns.values())))
        samples = [{name: np.asarray(values[row]) for name, values in columns.items()} for row in range(rows)]
        found = self.classifier.probabilities(samples)
        best = found.argmax(1)
        return pd.DataFrame(
            {
                "class": [self.classifier.classes[place] for place in best],
                "probability": found[np.arange(rows), best],
                "probabilities": found.tolist(),
            }
        )


set_model(Served())
