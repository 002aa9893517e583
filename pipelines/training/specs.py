"""What the model must know of the stored arrays: the data settings and the shards' sums, per modality."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perceiver.audio import AudioSpec
from perceiver.image import ImageSpec
from perceiver.inputs import Spec
from perceiver.mesh import MeshSpec
from perceiver.settings import Labels
from perceiver.video import VideoSpec
from pipelines.settings import RunSettings
from preprocessing.shards import Shards

Sums = Mapping[str, Any]
"""`count` per channel, and per channel `sum` and `sum_of_squares`, over the training split."""


def specs(settings: RunSettings, statistics: Mapping[str, Sums]) -> dict[str, Spec]:
    """The specification of each modality, in the order of `data.modalities`.

    Raises:
        ValueError: the settings of the data and of the model do not fit together.
    """
    return {
        modality: _SPECS[modality](settings, statistics.get(modality))
        for modality in settings.data.modalities
    }


def labels_of(shards: Shards) -> Labels:
    """How many classes a sample of these shards may belong to."""
    return "several" if shards.several else "one"


def _image(settings: RunSettings, sums: Sums | None) -> Spec:
    mean, std = _mean_and_std(sums, 3)
    size = settings.data.image.size
    return ImageSpec.of(settings.model, height=size, width=size, mean=mean, std=std)


def _audio(settings: RunSettings, sums: Sums | None) -> Spec:
    data = settings.data.audio
    _, std = _mean_and_std(sums, data.channels)
    window, hop = round(data.window * data.rate), round(data.hop * data.rate)
    if min(window, hop) < 1:
        raise ValueError(
            f"data.audio.window ({data.window} s) and data.audio.hop ({data.hop} s) at {data.rate} Hz are "
            f"{window} and {hop} samples: each must be at least one"
        )
    return AudioSpec.of(
        settings.model,
        rate=data.rate,
        seconds=data.seconds,
        channels=data.channels,
        std=float(np.mean(std)),
        form=data.form,
        mels=data.mels,
        window=window,
        hop=hop,
    )


def _mesh(settings: RunSettings, sums: Sums | None) -> Spec:  # noqa: ARG001  points are scaled already
    return MeshSpec.of(settings.model, points=settings.data.mesh.points, normals=settings.data.mesh.normals)


def _video(settings: RunSettings, sums: Sums | None) -> Spec:
    mean, std = _mean_and_std(sums, 3)
    data = settings.data.video
    return VideoSpec.of(
        settings.model, frames=data.frames, height=data.size, width=data.size, mean=mean, std=std
    )


def _mean_and_std(sums: Sums | None, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, from exact sums; 0 and 1 where there are none."""
    if not sums or not sums["count"]:
        return (0.0,) * channels, (1.0,) * channels
    mean = np.asarray(sums["sum"], np.float64) / sums["count"]
    variance = np.asarray(sums["sum_of_squares"], np.float64) / sums["count"] - mean**2
    return tuple(mean.tolist()), tuple(np.sqrt(np.maximum(variance, 0.0)).tolist())


_SPECS: Mapping[str, Callable[[RunSettings, Sums | None], Spec]] = {
    "image": _image,
    "audio": _audio,
    "mesh": _mesh,
    "video": _video,
}
