"""Attempts at one training, numbered, so that a newer one fences the older ones off.

What is guaranteed: two claims never give the same number if the place either lets one writer alone create a
name, or lists what was written before. A local folder, NFS, Amazon, Ceph and MinIO do both or the first. On
OpenStack Swift several may win one creation; there a second file with the writer's token in its name is
written and all of them are listed, which one server, or a whole cluster in its right mind, answers truly.
While its nodes are cut off from each other a listing of Swift may be stale, and two may get one number.
"""

import random
import re
import time
from dataclasses import dataclass
from uuid import uuid4

from cluster.storage import Store

CLAIM = re.compile(r"a(\d{4,})")
LONGEST_PAUSE = 0.5
"""Seconds, at most, before another number is tried: those who met at one should not meet at the next."""


class OvertakenError(Exception):
    """A newer attempt has begun: this one may write nothing more.

    No mistake of the user's: as a rule it is a process that was taken for dead, frozen or cut off.
    """


@dataclass(frozen=True)
class Attempts:
    """The numbers that were claimed, one small file each."""

    home: Store

    def claim(self) -> int:
        """A number greater than that of every attempt before."""
        token = uuid4().hex
        while True:
            attempt = self.newest() + 1
            if self.take(attempt, token):
                return attempt
            time.sleep(random.uniform(0, LONGEST_PAUSE))

    def take(self, attempt: int, token: str) -> bool:
        """Claim this very number, in the name of `token`; whether nobody was quicker."""
        name = f"a{attempt:04d}"
        if not self.home.create(name, b""):
            return False
        self.home.create(f"{name}-{token}", b"")
        return self.tokens(attempt) == [token]

    def tokens(self, attempt: int) -> list[str]:
        """Who claimed this number; more than one, or none, where it is in dispute, or its claimant died."""
        return [one.name.partition("-")[2] for one in self.home.list(f"a{attempt:04d}-")]

    def newest(self) -> int:
        """The greatest number claimed; 0 where there is none."""
        found = (CLAIM.fullmatch(one.name.partition("-")[0]) for one in self.home.list())
        return max((int(claim[1]) for claim in found if claim), default=0)

    def refuse_overtaken(self, attempt: int) -> None:
        """Stop an attempt that is no longer the newest.

        Raises:
            OvertakenError: it is not.
        """
        newest = self.newest()
        if newest > attempt:
            raise OvertakenError(
                f"Attempt {newest} at this training has begun, so attempt {attempt} ends ({self.home.place})."
            )
