"""What every store promises, of a folder and of a bucket on a real server alike."""

import errno
import multiprocessing
import pickle
import resource
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.mistake import UserError
from cluster.storage import Draft, Store, store, untouched

NAMES = [
    "plain.tar",
    "deep/er/file.json",
    "a space",
    "%41 per cent %2F",
    "a+b",
    "number#1",
    "what?x=1&y=2",
    ".hidden",
    "..two",
    "ünï/日本語",
    "<tag> & 'quotes' \"double\"",
    "line\nbreak",
    "back\\slash",
    "~tilde;semi:colon@at$dollar",
]


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind, empty."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('bucket')}/a place"


@pytest.fixture
def box(place: str) -> Store:
    """The store there."""
    return store(place)


def publish(box: Store, name: str, data: bytes) -> None:
    with box.draft() as draft:
        draft.file.write(data)
        draft.publish(name)


def write_half(draft: Draft) -> None:
    draft.file.write(b"half")
    raise ZeroDivisionError


def fail(error: Exception) -> None:
    raise error


def contents(box: Store) -> dict[str, bytes]:
    names = [one.name for one in box.list()]
    assert len(names) == len(set(names))
    return {name: box.read(name) for name in names}


def test_what_is_written_is_read_and_listed_under_its_name_whatever_that_is(box: Store) -> None:
    written = {name: f"the content of {name}".encode() for name in NAMES}

    for name, data in written.items():
        box.write(name, data)

    assert contents(box) == written
    assert {name: box.size(name) for name in NAMES} == {name: len(data) for name, data in written.items()}


def test_what_is_published_is_read_and_listed_under_its_name_whatever_that_is(box: Store) -> None:
    for name in NAMES:
        publish(box, name, name.encode())

    assert contents(box) == {name: name.encode() for name in NAMES}


def test_a_place_is_named_without_a_slash_at_its_end(place: str) -> None:
    assert store(place).place == store(place + "/").place == place


def test_a_name_that_is_not_there_has_no_size_and_is_not_found(box: Store) -> None:
    box.write("a/b", b"file")

    for name in ("none", "a", "a/b/c", "a/none"):
        assert box.size(name) == -1
        box.remove(name)
        for read in (box.read, box.read_stamped, lambda name: box.read_range(name, 0, 1)):
            with pytest.raises(FileNotFoundError):
                read(name)
        with pytest.raises(FileNotFoundError), box.reading(name):
            pass
    assert contents(box) == {"a/b": b"file"}


def test_a_name_that_begins_another_is_a_name_of_its_own(box: Store) -> None:
    for name in ("ab", "abc", "ab.d", "b"):
        box.write(name, name.encode())

    box.remove("ab")

    assert contents(box) == {"abc": b"abc", "ab.d": b"ab.d", "b": b"b"}


def test_names_are_listed_below_what_they_begin_with(box: Store) -> None:
    for name in ("train-0", "train-1", "test-0", "train/x/y", "other/train-0"):
        box.write(name, b"")

    assert {one.name for one in box.list("train")} == {"train-0", "train-1", "train/x/y"}
    assert {one.name for one in box.list("train/x/")} == {"train/x/y"}
    assert list(box.list("nothing")) == []


def test_a_file_that_goes_while_names_are_listed_does_no_harm(box: Store) -> None:
    for name in ("a", "b"):
        box.write(name, b"")

    listing = box.list()
    first = next(listing).name
    box.remove("b" if first == "a" else "a")

    assert first not in [one.name for one in listing]


def test_an_empty_file_is_a_file(box: Store) -> None:
    box.write("written", b"")
    publish(box, "published", b"")

    assert contents(box) == {"written": b"", "published": b""}
    assert box.size("written") == box.size("published") == 0
    assert box.read_range("written", 0, 5) == b""


def test_a_stamp_stays_until_the_content_changes(box: Store) -> None:
    box.write("a", b"first")
    first = next(box.list()).stamp

    assert box.read_stamped("a") == (b"first", first)
    assert next(box.list()).stamp == first

    box.write("a", b"other")

    assert next(box.list()).stamp != first
    assert box.read_stamped("a") == (b"other", next(box.list()).stamp)
    assert 0 <= first < 2**63


def test_a_range_ends_where_the_content_does(box: Store) -> None:
    box.write("digits", b"0123456789")

    ranges = {(0, 3): b"012", (7, 3): b"789", (7, 30): b"789", (10, 1): b"", (99, 1): b"", (3, 0): b""}

    assert {asked: box.read_range("digits", *asked) for asked in ranges} == ranges


def test_a_stream_gives_the_content_from_its_beginning(box: Store) -> None:
    content = bytes(range(256)) * 9000
    publish(box, "long", content)

    with box.reading("long") as file:
        pieces = [file.read(3), file.read(2**20), file.read(), file.read()]

    assert pieces == [content[:3], content[3 : 3 + 2**20], content[3 + 2**20 :], b""]


def test_nobody_sees_a_draft_under_its_name_before_it_is_published(box: Store) -> None:
    with box.draft() as draft:
        draft.file.write(b"whole")
        assert box.size("name") == -1
        draft.publish("name")
        assert box.read("name") == b"whole"

    assert contents(box) == {"name": b"whole"}


def test_a_draft_that_is_not_published_leaves_nothing(box: Store) -> None:
    with box.draft() as draft:
        draft.file.write(b"half")
    with pytest.raises(ZeroDivisionError), box.draft() as draft:
        write_half(draft)

    assert list(box.list()) == []


def test_a_draft_replaces_what_bore_its_name(box: Store) -> None:
    publish(box, "name", b"old, and longer")

    publish(box, "name", b"new")

    assert contents(box) == {"name": b"new"}


def test_the_same_content_can_be_published_again(box: Store) -> None:
    publish(box, "name", b"same")

    publish(box, "name", b"same")

    assert contents(box) == {"name": b"same"}


def test_of_many_writers_of_one_name_one_has_it_whole(box: Store) -> None:
    versions = [bytes([number]) * 300_000 for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: publish(box, "name", data), versions))

    assert box.read("name") in versions
    assert [one.name for one in box.list()] == ["name"]


def test_a_name_is_created_once_and_keeps_its_first_content(box: Store) -> None:
    assert box.create("deep/name", b"first")
    assert not box.create("deep/name", b"second")
    assert not box.create("deep/name", b"third, and longer")

    assert contents(box) == {"deep/name": b"first"}

    box.remove("deep/name")

    assert box.create("deep/name", b"second")


def test_at_least_one_of_many_creates_a_name_and_its_content_stays(box: Store) -> None:
    versions = [bytes([number]) * 100 for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: box.create("name", data), versions))

    winners = [data for data, first in zip(versions, won, strict=True) if first]
    assert box.read("name") in winners
    # On the server of the tests several may win a bucket's name.
    assert len(winners) == 1 or box.place.startswith("s3:")


def test_what_lies_in_a_folder_is_a_store_of_its_own(box: Store) -> None:
    box.write("a/b/c", b"1")
    box.write("ab", b"2")

    box.below("a").write("d", b"3")

    assert contents(box) == {"a/b/c": b"1", "ab": b"2", "a/d": b"3"}
    assert contents(box.below("a")) == {"b/c": b"1", "d": b"3"}
    assert contents(box.below("a").below("b")) == contents(box.below("a/b")) == {"c": b"1"}
    assert box.below("a").place == f"{box.place}/a"


def test_looking_makes_nothing_and_the_first_content_makes_the_place(place: str) -> None:
    box = untouched(place)

    box.sweep()
    assert contents(box) == {}
    assert box.size("name") == -1
    assert place.startswith("s3:") or not Path(place).exists()

    publish(box.below("first"), "name", b"1")
    box.below("second").create("name", b"2")

    assert contents(box) == {"first/name": b"1", "second/name": b"2"}


def test_a_place_is_taken_away_only_when_it_is_empty(box: Store) -> None:
    box.write("a/name", b"1")

    box.below("a").remove_place()
    assert contents(box) == {"a/name": b"1"}

    box.remove("a/name")
    for _ in range(2):
        box.below("a").remove_place()
    assert box.place.startswith("s3:") or not Path(box.place, "a").exists()


def test_a_store_works_in_another_process_and_in_its_copy(box: Store) -> None:
    box.write("a", b"from here")

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(box.read, ("a",))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.apply(box.read, ("a",))

    assert there == forked == pickle.loads(pickle.dumps(box)).read("a") == b"from here"


def test_a_full_disk_is_the_users_to_mend_and_is_named(box: Store, tmp_path: Path) -> None:
    with full_disk(2**20), pytest.raises(UserError, match="no room left"):
        publish(box, "large", bytes(3 * 2**20))

    assert list(box.list()) == []


def test_errors_of_the_one_who_writes_pass(box: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"), box.draft() as draft:
        draft.file.write((tmp_path / "missing").read_bytes())
    for number in (errno.EACCES, errno.ENOSPC):
        with pytest.raises(OSError, match="elsewhere"), box.draft() as draft:
            fail(OSError(number, "of another file", "/elsewhere"))


def test_sweeping_keeps_what_is_published(box: Store) -> None:
    kept = {"name": b"1", ".part": b"2", "a/.b.part": b"3", f".{'z' * 32}.part": b"4"}
    for name, data in kept.items():
        publish(box, name, data)

    box.sweep()

    assert contents(box) == kept


@contextmanager
def full_disk(size: int) -> Generator[None]:
    """Let no file grow beyond `size` bytes, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
