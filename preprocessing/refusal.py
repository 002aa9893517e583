"""Why a raw file does not enter the shards: a closed vocabulary, counted, never fatal."""

from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "empty",  # zero bytes
    "truncated",  # ends before its header or its own counts say
    "corrupt",  # its decoder failed on the content
    "crashed",  # its decoder took the whole process down, twice
    "timeout",  # its decoder took longer than data.decoder_seconds
    "not_media",  # the content is no file of this modality, whatever the name says
    "bad_header",  # a header whose values cannot be: rate 0, 0 bits
    "too_large",  # over a stated limit; refused before memory is taken
    "non_finite",  # NaN or infinite values
    "no_content",  # well formed, with nothing in it: no samples, faces, frames or sound track
    "bad_index",  # a face refers to a vertex that does not exist
    "degenerate",  # a surface without area
    "external_ref",  # needs another file or address, which is never opened
    "not_regular",  # a pipe, a device, a dangling link, a link to a folder or out of the raw folder
    "unreadable",  # the file system refuses to read it
    "unsupported",  # no decoder, or no class folder
    "not_asked",  # a modality that data.modalities does not name
    "incomplete",  # the sample lacks another modality, or that one was refused
    "unlabelled",  # the label table does not name it
    "missing",  # the label table names it, and there is no such file
    "ambiguous",  # several files of one modality for one sample of several modalities
]

REASONS: tuple[str, ...] = get_args(Reason)


class Refused(Exception):  # noqa: N818  (an outcome that is counted, no error of the program)
    """One raw file that cannot be stored, and why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["Refused"], tuple[Reason, str]]:
        return Refused, (self.reason, self.detail)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One row of the quarantine."""

    source: str
    """Path of the file below the raw folder, as printable text."""
    modality: str
    """The modality it was refused as; empty where it belongs to none."""
    reason: Reason
    """One word of the closed vocabulary."""
    detail: str
    """What was found, in one sentence."""
    counts: bool = True
    """Whether it counts towards `max_refused`: litter and modalities nobody asked for do not."""
