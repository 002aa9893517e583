"""What the weights are worth on the validation split, while they are being trained."""

import torch
from torch import Tensor

from perceiver.step import computing
from pipelines.models.figures import figures
from pipelines.tracking.points import Curve, Point
from pipelines.training.feed import evaluation_feed
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from pipelines.training.watchdog import Watchdog
from preprocessing.reading import Reader

RISE = 1.1
"""A last loss above so many times the lowest is told to the person."""


def validate(state: State, reader: Reader, ranks: Ranks, watchdog: Watchdog) -> Point:
    """Figures over the split, each sample counted once, whatever the number of ranks.

    The first rank has them, from the answers of all: an average precision is no sum over ranks.
    """
    model = state.kept
    model.eval()
    answers: list[Tensor] = []
    for batch, _ in evaluation_feed(model, reader, ranks, state.settings.most_at_once):
        watchdog.alive()
        with torch.no_grad(), computing(state.settings.train.precision, ranks.device):
            logits = model({modality: raw.to(ranks.device) for modality, raw in batch.items()})
        answers.append(state.objective.probabilities(logits))
    model.train()
    own = torch.cat(answers) if answers else torch.zeros(0, model.classes, device=ranks.device)
    found = ranks.gathered(own)
    return figures(reader.labels, found.cpu().numpy(), "val") if ranks.first else {}


def rise(losses: Curve) -> str:
    """What a person should know where the validation loss was clearly lower before; else empty."""
    if not losses:
        return ""
    (step, lowest), (_, last) = min(losses, key=lambda one: one[1]), losses[-1]
    if last <= RISE * lowest:
        return ""
    return (
        f"val/loss was {lowest:.3g} at step {step:,} and is {last:.3g} in the end: the model learns its "
        f"samples by heart. Lower train.epochs, augment more (train.image, train.audio, ...), or have more "
        f"samples"
    )
