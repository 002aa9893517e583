"""A build function in the place of the product's, whose decoders really do what hostile ones do.

A file is a name: what stands before its first dot is the decoder that reads it.
"""

import ctypes
import mmap
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from preprocessing.refusal import Refused


def build(
    names: list[str], folder: str, *, told: Mapping[str, Refused], watch: Callable[[str], None]
) -> dict[str, Any]:
    """`shard` in the folder, made of the names that were decoded; `attempts` has every decoding begun."""
    refused: dict[str, str] = {}
    (Path(folder) / "process").write_text(str(os.getpid()))
    with (Path(folder) / "shard").open("wb") as shard:
        for name in names:
            try:
                if name in told:
                    raise told[name]
                shard.write(decoded(name, Path(folder), watch))
            except Refused as fault:
                refused[name] = str(fault)
            finally:
                watch("")
    return {"refused": refused, "process": os.getpid(), "bytes": resident_bytes()}


def decoded(name: str, folder: Path, watch: Callable[[str], None]) -> bytes:
    decode = DECODERS[name.partition(".")[0]]
    if not name.startswith("between"):
        watch(name)
    with (folder / "attempts").open("a", errors="surrogateescape") as attempts:
        attempts.write(f"{name}\n")
    try:
        decode(folder)
    except MemoryError as error:
        raise Refused("too_large", "its decoder asked for more memory than there is") from error
    return os.fsencode(name)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def good(folder: Path) -> None:
    pass


def segfault(folder: Path) -> None:
    ctypes.string_at(0)


def bus_error(folder: Path) -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        page[0] = 1


def division(folder: Path) -> None:
    signal.raise_signal(signal.SIGFPE)


def abort(folder: Path) -> None:
    os.abort()


def segfault_once(folder: Path) -> None:
    if not (folder / "crashed").exists():
        (folder / "crashed").touch()
        ctypes.string_at(0)


def spin(folder: Path) -> None:
    while True:
        pass


def spin_in_c(folder: Path) -> None:
    re.match(r"(a+)+$", "a" * 100 + "b")


def sleep(folder: Path) -> None:
    time.sleep(10**6)


def work_a_while(folder: Path) -> None:
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass


def hoard(folder: Path) -> None:
    hoarded: list[bytes] = []
    for _ in range(2**15):  # 2 GiB, so that a limit that fails does no harm.
        hoarded.append(bytes(2**16))


def chatter(folder: Path) -> None:
    print("nonsense " * 10_000, flush=True)  # noqa: T201
    os.write(1, b"\0" * 1000)
    sys.stdin.read()


def leave(folder: Path) -> None:
    os._exit(3)


def be_killed(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_killed_once(folder: Path) -> None:
    if not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def mistake(folder: Path) -> None:
    raise UserError("it changed while it was read. Shard again.")


def missing(folder: Path) -> None:
    (folder / "not there").read_bytes()


def unpicklable(folder: Path) -> None:
    class LocalError(Exception):
        pass

    raise LocalError("only known here")


def quit_python(folder: Path) -> None:
    sys.exit(5)


DECODERS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        good, segfault, bus_error, division, abort, segfault_once, spin, spin_in_c, sleep, work_a_while,
        hoard, chatter, leave, be_killed, be_killed_once, mistake, missing, unpicklable, quit_python,
    )
} | {"between": segfault}  # fmt: skip
