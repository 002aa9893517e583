"""Modality dropout: in training, samples lose a whole modality at random, so that no other leans on it.

The paper drops the video of 30 % of the AudioSet samples (Sec. 4.2).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from perceiver.draws import uniforms
from perceiver.segment import Raw
from perceiver.train_settings import TrainSettings


def dropped(batch: Mapping[str, Raw], seeds: Int64[Tensor, " B"], settings: TrainSettings) -> dict[str, Raw]:
    """Mark what each sample loses; one that would lose everything keeps everything.

    Shares are the settings' `image.drop`, `audio.drop` and so on; a modality that stands alone is never lost.
    """
    shares = {modality: getattr(settings, modality).drop for modality in batch}
    if len(batch) == 1 or not any(shares.values()):
        return dict(batch)
    kept = {modality: uniforms(seeds, f"drop {modality}", 1)[:, 0] >= shares[modality] for modality in batch}
    nothing = ~torch.stack(list(kept.values())).any(0)
    return {
        modality: raw._replace(there=kept[modality] | nothing) if shares[modality] else raw
        for modality, raw in batch.items()
    }
