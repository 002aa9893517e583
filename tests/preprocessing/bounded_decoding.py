"""Decodes files of the table, named on standard input, with 1 GiB to spare; writes what became of each."""

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from malformed_files import Malformed, files

from preprocessing.build import decode
from preprocessing.plan import Part
from preprocessing.refusal import Refused
from preprocessing.settings import DataSettings

SPARE = 2**30


def status(field: str) -> int:
    """A figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def bounded(file: Malformed, content: bytes) -> dict[str, Any]:
    """What becomes of one file, and how much memory at its peak."""
    part = Part(file.modality, f"cat/{file.name}", len(content), 0)
    Path("/proc/self/clear_refs").write_text("5")  # The peak from here on.
    before = status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") * 1024 + SPARE, resource.RLIM_INFINITY))
    reason, detail = "", ""
    try:
        decode(part, content, "cat/x", DataSettings(raw="r"))
    except Refused as refusal:
        reason, detail = refusal.reason, refusal.detail
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {
        "name": file.name,
        "expected": file.reason,
        "reason": reason,
        "detail": detail,
        "mebibytes": (status("VmHWM") - before) // 1024,
    }


if __name__ == "__main__":
    asked = {(modality, name) for modality, name in json.load(sys.stdin)}
    table = [one for one in files() if (one.modality, one.name) in asked]
    for modality in ("image", "audio", "mesh", "video"):
        import_module(f"preprocessing.decoders.{modality}")
    json.dump([bounded(one, one.make()) for one in table], sys.stdout)
