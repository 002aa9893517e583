"""How raw files became the arrays that a model learnt from, as JSON: what decodes the next file alike."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.mistake import UserError
from preprocessing.decoders.table import DECODERS
from preprocessing.settings import DataSettings, limits, stored
from preprocessing.shards import Shards

PARTS: Mapping[str, Any] = {
    name: DataSettings.__dataclass_fields__[name].default_factory for name in DECODERS
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings and the decoders of a data set, without its place."""

    settings: DataSettings
    decoders: Mapping[str, str]
    """Decoder and library versions by modality, as the shards' manifest has them."""

    @classmethod
    def of(cls, settings: DataSettings, shards: Shards) -> "Recipe":
        """That of shards which were made with these settings."""
        return cls(settings=settings, decoders=shards.decoders)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What a sample holds."""
        return self.settings.modalities

    @property
    def libraries(self) -> list[str]:
        """The distributions that decoded, with their versions, `pillow==12.0.0`."""
        return sorted({word for name in self.decoders.values() for word in name.split()[1:]})

    def text(self) -> str:
        """All of it as JSON."""
        parts = {name: asdict(getattr(self.settings, name)) for name in self.modalities}
        known = {"modalities": list(self.modalities), **limits(self.settings), **parts}
        return json.dumps({"settings": known, "decoders": dict(self.decoders)}, indent=1)

    @classmethod
    def read(cls, text: str | bytes) -> "Recipe":
        """The recipe that a text describes.

        Raises:
            UserError: a newer version of this package wrote it.
        """
        made = json.loads(text)
        try:
            known = {name: _restored(name, value) for name, value in made["settings"].items()}
            return cls(settings=DataSettings(raw="", **known), decoders=made["decoders"])
        except TypeError as error:
            raise UserError(
                f"The model's inputs are described by a newer version of this package ({error}). Upgrade it."
            ) from error

    def objections(self) -> list[str]:
        """Where what decodes here is not what decoded then, so that arrays may differ."""
        return [
            f"{modality} was decoded by {then}, here by {now}"
            for modality, then in self.decoders.items()
            if (now := DECODERS[modality].name()) != then  # pyright: ignore[reportArgumentType]
        ]

    def refuse_others(self, shards: Shards) -> None:
        """Refuse shards that hold other arrays than the model learnt from.

        Raises:
            UserError: names each setting that differs.
        """
        wanted = {name: value for name, value in stored(self.settings).items() if name.startswith(self._own)}
        found = {name: shards.settings.get(name) for name in wanted}
        if set(shards.modalities) != set(self.modalities):
            raise UserError(
                f"The shards in {shards.place} hold {', '.join(shards.modalities)}; the model takes "
                f"{', '.join(self.modalities)}. Name other shards, or raw files."
            )
        if wanted != found:
            lines = [f"  data.{name}: {found[name]} there, {wanted[name]} in the model's"
                     for name in wanted if wanted[name] != found[name]]  # fmt: skip
            raise UserError(
                f"The shards in {shards.place} were made with other settings than those that the model "
                f"learnt from:\n" + "\n".join(lines) + "\nName other shards, or raw files."
            )

    @property
    def _own(self) -> tuple[str, ...]:
        return tuple(f"{name}." for name in self.modalities)


def _restored(name: str, value: Any) -> Any:
    if name in PARTS:
        return PARTS[name](**value)
    return tuple(value) if isinstance(value, list) else value
