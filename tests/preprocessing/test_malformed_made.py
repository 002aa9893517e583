"""Malformed files of every kind, made here, get what they must: soon, in bounded memory, without a crash."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from malformed_files import Malformed, files

from preprocessing.build import decode
from preprocessing.plan import Part
from preprocessing.refusal import REASONS, Refused
from preprocessing.settings import DataSettings

TABLE = [*files()]
# Of these no library, and nothing here, may take what their headers ask for.
HEAVY = [one for one in TABLE if one.reason == "too_large" or "promise" in one.what or "2^" in one.what]
# They do not say how long they are, or their last byte says nothing.
NO_LENGTH = (".ts", ".mpg")


def outcome(file: Malformed, content: bytes | None = None) -> str:
    content = file.make() if content is None else content
    part = Part(file.modality, f"cat/{file.name}", len(content), 0)
    try:
        decode(part, content, "cat/x", DataSettings(raw="r"))
    except Refused as refusal:
        return refusal.reason
    return ""


def named(file: Malformed) -> str:
    return f"{file.modality}-{file.name}"


@pytest.mark.parametrize("file", [one for one in TABLE if one not in HEAVY], ids=named)
def test_a_malformed_file_gets_what_it_must(file: Malformed) -> None:
    assert outcome(file) == file.reason, file.what


def test_the_table_names_no_file_twice_and_has_every_reason_of_a_decoder() -> None:
    names = [(one.modality, one.name) for one in TABLE]

    assert [name for name in names if names.count(name) > 1] == []
    of_the_inventory = {"empty", "not_regular", "unreadable", "not_asked", "incomplete", "ambiguous"}
    of_the_label_table, of_the_process = {"unlabelled", "missing"}, {"crashed", "timeout"}
    others = of_the_inventory | of_the_label_table | of_the_process
    assert {one.reason for one in TABLE} >= set(REASONS) - others


@pytest.mark.slow
def test_a_bomb_takes_no_memory() -> None:
    """In a process that may take 1 GiB more than it has; beyond it the detail would be `more memory`."""
    asked = json.dumps([[one.modality, one.name] for one in HEAVY])

    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("bounded_decoding.py"))],
        input=asked, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip

    rows = json.loads(run.stdout)
    assert len(rows) == len(HEAVY) >= 25
    wrong = [row for row in rows if row["reason"] != row["expected"] or "more memory" in row["detail"]]
    assert wrong == []
    assert [row for row in rows if row["mebibytes"] > 600] == []


@pytest.mark.parametrize("modality", ["image", "audio", "mesh", "video"])
def test_whatever_is_cut_or_flipped_ends_in_the_array_or_in_a_reason(modality: str) -> None:
    chance = random.Random(4)
    for file in TABLE:
        content = file.make() if file.modality == modality and not file.reason else b""
        if not 0 < len(content) < 50_000:
            continue
        for _ in range(3):
            assert outcome(file, content[: chance.randrange(1, len(content))]) in ("", *REASONS)
            damaged = bytearray(content)
            for _ in range(chance.choice((1, 1, 9))):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            assert outcome(file, bytes(damaged)) in ("", *REASONS)


@pytest.mark.parametrize(
    "file",
    [one for one in TABLE if one.name.startswith("ok.") and not one.name.endswith(NO_LENGTH)],
    ids=named,
)
def test_a_file_that_knows_its_length_is_never_taken_for_whole_when_it_is_cut(file: Malformed) -> None:
    content = file.make()
    ends = [len(content) - 1, *random.Random(5).choices(range(32, len(content)), k=12)]

    kept = [end for end in ends if not outcome(file, content[:end])]

    assert kept == []
