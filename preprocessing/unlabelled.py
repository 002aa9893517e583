"""Files that nobody has given a class: each is a sample or a part of one, or refused with its reason.

They may lie in any folders. What makes files one sample, and what is refused unread, is as in sharding.
"""

from preprocessing.drawing import Drawing, grouped
from preprocessing.inventory import take
from preprocessing.raw import raw
from preprocessing.samples import Samples
from preprocessing.settings import SPLITS, DataSettings


def unlabelled(settings: DataSettings, one: str = "") -> Samples:
    """What there is to be seen in `settings.raw`, or only the file at the path `one` below it; reads no file.

    Raises:
        OSError: a folder cannot be listed.
    """
    files = raw(settings.raw)
    # As with a table of labels no class folders are asked for.
    inventory = take(files.named(one) if one else files.entries(), settings.modalities, tabled=True)
    gathering = Gathering(inventory, None, settings)
    for stem, members in grouped(inventory.files):
        gathering.add(stem, members)
    return gathering.samples()


class Gathering(Drawing):
    """Samples in the making that have neither label nor split."""

    def called(self, stem: bytes, noted: int) -> tuple[bytes, bytes, bytes]:  # noqa: ARG002  (one face)
        return b"", b"", b""

    def split_of(self, stem: bytes, given: bytes) -> int:  # noqa: ARG002  (as above)
        return SPLITS.index("test")
