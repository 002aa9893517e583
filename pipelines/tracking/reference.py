"""How a person names a registered model, or one version of it: as MLflow does."""

import re
from dataclasses import dataclass

from cluster.mistake import UserError

NAMED = re.compile(r"(?:models:/)?(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>[1-9]\d*))?")


@dataclass(frozen=True)
class Reference:
    """`NAME@ALIAS`, `NAME/VERSION`, or `NAME` for the model as a whole."""

    name: str
    alias: str = ""
    version: int = 0
    """0 where an alias says which, or nothing does."""

    @property
    def is_version(self) -> bool:
        """Whether it is one version, not a model as a whole."""
        return bool(self.alias or self.version)

    @classmethod
    def find(cls, text: str) -> "Reference | None":
        """What the text names, if that can be a model."""
        found = NAMED.fullmatch(text)
        return cls(found["name"], found["alias"] or "", int(found["version"] or 0)) if found else None

    @classmethod
    def of(cls, text: str) -> "Reference":
        """What the text names.

        Raises:
            UserError: nothing.
        """
        found = cls.find(text)
        if not found:
            raise UserError(
                f"{text} names no registered model: write MODEL@ALIAS (digits@champion) or MODEL/VERSION "
                f"(digits/3)."
            )
        return found

    @classmethod
    def of_version(cls, text: str) -> "Reference":
        """The one version that the text names.

        Raises:
            UserError: it names none, or a model as a whole.
        """
        found = cls.of(text)
        if not found.is_version:
            raise UserError(f"Which version of {found.name}? Write {text}@ALIAS or {text}/VERSION.")
        return found
