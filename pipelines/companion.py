"""A command that ends, with all its descendants, when the process that wants it ends: by SIGKILL too.

Run as a script it starts the command, and kills it as soon as stdin, a pipe from that process, is closed; the
kernel closes it whatever ends that process.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def companion(command: Sequence[str], env: Mapping[str, str]) -> Generator["subprocess.Popen[bytes]"]:
    """The command, as long as it is wanted; what it says goes to stderr, and its status is the process's."""
    # A session of its own: Ctrl-C at the terminal is for this process to hear.
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=env,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def main(command: Sequence[str]) -> int:
    """Start the command, and kill it once stdin is closed; the status with which it ended."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    select.select([sys.stdin.fileno(), os.pidfd_open(child.pid)], [], [])
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
