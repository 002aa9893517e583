"""Which raw data this is, as far as a listing tells: no file is read."""

import hashlib
from collections.abc import Iterable

from cluster.mistake import UserError
from cluster.storage import is_bucket, local_path
from preprocessing.raw import Entry, raw
from preprocessing.settings import DataSettings

UNSEEN = "unseen"


def data_version(settings: DataSettings) -> tuple[str, str]:
    """A digest of all names, sizes and stamps, or `unseen`; and why it cannot be seen from here."""
    try:
        parts = [digest(raw(settings.raw).entries())]
        if settings.labels:
            parts.append(_of_table(settings.labels))
    except (UserError, OSError) as error:
        return UNSEEN, str(error)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest(), ""


def digest(entries: Iterable[Entry]) -> str:
    """The same for the same entries in any order, in little memory for any number of them."""
    total = 0
    for one in entries:
        facts = f"{one.size}\0{one.stamp}\0{one.path}".encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.sha256(facts).digest())
    return f"{total:x}"


def _of_table(place: str) -> str:
    if not is_bucket(place):
        found = local_path(place).stat()
        return f"{found.st_size} {found.st_mtime_ns}"
    from cluster.storage import parted, store

    home, name = parted(place)
    _, stamp = store(home).read_stamped(name)
    return str(stamp)
