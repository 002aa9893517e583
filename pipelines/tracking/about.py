"""What a run says of itself on its page in MLflow: what it is, where it lies, how to go on with it."""

import os

from pipelines.layout import Layout
from pipelines.settings import RunSettings


def about(settings: RunSettings, layout: Layout, command: str) -> str:
    """A description in Markdown; `command` goes on with the run."""
    modalities = " and ".join(f"`{one}`" for one in settings.data.modalities)
    return (
        f"A Perceiver that learns from {modalities}: the training on the shards `{layout.folder.name}` "
        f"of `{settings.shards}`. Nested under it are its stages, with how long each took.\n\n"
        f"To go on after a stop, or to see that all is done, in `{os.getcwd()}` on "  # noqa: PTH109  (text)
        f"`{os.uname().nodename}`:\n\n"
        f"```\n{command}\n```\n\n"
        f"What it has written lies in `{layout.folder}`. `perceiver compare` lays it beside other runs.\n"
    )
