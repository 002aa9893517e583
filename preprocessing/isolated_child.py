"""The process in which files are decoded: started by `preprocessing.child`, it ends when its parent does.

It answers requests, one after the other, and says in a page of shared memory which file it decodes, so that
its parent knows whose fault it is when no answer comes.
"""

import ctypes
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from preprocessing.refusal import Refused

PAGE_BYTES = 8192  # A path has at most 4096 bytes on Linux.
HEADER = struct.Struct("QI")
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of a function that reports what it decodes."""

    function: str
    """`module:name`; it is called with the arguments and with `told` and `watch` by name."""
    arguments: tuple[Any, ...]
    told: Mapping[str, Refused]
    """The files, by their raw path, that are refused without being decoded."""
    memory: int
    """Bytes that the process may take for its data."""


@dataclass(frozen=True)
class Done:
    """The function's answer."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """What the function raised."""

    error: Exception


class Page:
    """The file that is decoded now, written by the child and seen by its parent."""

    def __init__(self, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, PAGE_BYTES)
        self.number = 0

    def write(self, path: str) -> None:
        """A file is decoded from now on; an empty path: none is."""
        # Any text comes back as it was, whatever the locale: told files are found by their path.
        name = path.encode("utf-8", "surrogatepass")[: PAGE_BYTES - HEADER.size]
        self.number += 1
        HEADER.pack_into(self.memory, 0, self.number, 0)  # No number stands beside another one's path.
        self.memory[HEADER.size : HEADER.size + len(name)] = name
        HEADER.pack_into(self.memory, 0, self.number, len(name))

    @property
    def current(self) -> int:
        """The number of the decoding that goes on, each has its own; 0 where none does."""
        number, length = HEADER.unpack_from(self.memory, 0)
        return number if length else 0

    @property
    def path(self) -> str:
        """The file that is decoded, or was when the writer died; empty where none is."""
        _, length = HEADER.unpack_from(self.memory, 0)
        return self.memory[HEADER.size : HEADER.size + length].decode("utf-8", "surrogatepass")


def main(parent: int, connection_number: int, page_number: int) -> None:
    """Answer until the parent hangs up."""
    for descriptor in (connection_number, page_number):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process.
    limit(resource.RLIMIT_CORE, 0)  # A crash is an outcome here; thousands of them would fill the disk.
    die_with(parent)
    connection: Connection[Any, Any] = Connection(connection_number)
    page = Page(page_number)
    while (request := received(connection)) is not None:
        reply = answer(request, page.write)
        page.write("")
        connection.send(reply)


def received(connection: "Connection[Any, Any]") -> Request | None:
    """The next request; None where none can come any more."""
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        return None


def answer(request: Request, watch: Callable[[str], None]) -> Done | Failed:
    """What the function gives or raises."""
    try:
        module, _, name = request.function.partition(":")
        function = getattr(import_module(module), name)
        limit(resource.RLIMIT_DATA, request.memory)
        return Done(function(*request.arguments, told=request.told, watch=watch))
    except BaseException as error:  # Whatever it is, the next shard may go well.
        return Failed(portable(error))


def portable(error: BaseException) -> Exception:
    """The error, its traceback a note, or one that says the same where it does not survive the pipe."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, Exception):
        error.add_note(f"In the process that decodes:\n{trace}")
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception:
            copy = None
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}\n{trace}")


def limit(kind: int, amount: int) -> None:
    """Have the kernel hold this process to `amount`, or to what it already may not exceed."""
    _, hard = resource.getrlimit(kind)
    soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(kind, (soft, hard))


def die_with(parent: int) -> None:
    """Be killed when the parent goes, even in the middle of a decoder that never comes back."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It went before the kernel knew.
        os._exit(0)


if __name__ == "__main__":
    # Under its own name: the parent looks up there what it is sent.
    import_module("preprocessing.isolated_child").main(*map(int, sys.argv[1:]))
