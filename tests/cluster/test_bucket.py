"""Buckets on a real S3 server: what only they have, and a wire that fails on the way there."""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faulty_wire import FINE, SLOW_DOWN, Fault, FaultyWire, refusal
from ports import free_port
from s3_server import Access

from cluster.body import StaleError
from cluster.bucket import Bucket
from cluster.mistake import UserError
from cluster.s3 import Patience
from cluster.storage import store

pytestmark = pytest.mark.s3

HURRIED = Patience(seconds=6, first=0.01, longest=0.1)
SHORT = Patience(seconds=0.3, first=0.01, longest=0.1)
PART = 5 * 2**20
"""The smallest part that S3 takes."""

Wire = Callable[[Callable[[int, str, str], Fault]], Any]


@pytest.fixture
def box(bucket: str) -> Bucket:
    """A store in a new bucket, in a hurry."""
    return Bucket(f"s3://{bucket}/data", HURRIED)


@pytest.fixture
def client(bucket: str) -> Any:
    """Bare boto3, to look at what really lies there."""
    import boto3

    return boto3.client("s3")


@pytest.fixture
def through(s3_access: Access, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Leads all requests through a wire with these faults."""
    wires: list[Any] = []

    def lay(fault: Callable[[int, str, str], Fault]) -> FaultyWire:
        wire = FaultyWire(s3_access.port, fault)
        wires.append(wire.open())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wires[-1].__enter__()}")
        return wire

    yield lay
    for wire in wires:
        wire.__exit__(None, None, None)


def publish(box: Bucket, name: str, data: bytes) -> None:
    with box.draft() as draft:
        draft.file.write(data)
        draft.publish(name)


def on(method: str, fault: Fault, times: int = 10**9) -> Callable[[int, str, str], Fault]:
    """The fault for the first requests of a method."""
    left = iter(range(times))
    return lambda number, asked, path: fault if asked == method and next(left, None) is not None else FINE


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_a_body_that_is_cut_again_and_again_is_read_whole(box: Bucket, through: Wire) -> None:
    content = noise(1_000_000)
    publish(box, "a", content)
    wire = through(on("GET", Fault(cut_response=150_000)))

    whole = box.read("a")
    with box.reading("a") as file:
        streamed = file.read()

    assert whole == streamed == content
    assert box.read_range("a", 1000, 500_000) == content[1000:501_000]
    assert len(wire.requests) >= 2 * 7 + 4


def test_a_connection_that_is_reset_in_the_middle_of_an_upload_is_made_again(
    box: Bucket, through: Wire
) -> None:
    content = noise(1_000_000)
    wire = through(on("PUT", Fault(cut_request=100_000), times=3))

    publish(box, "a", content)

    assert box.read("a") == content
    assert [line.split()[0] for line in wire.requests] == ["PUT"] * 4 + ["GET"]


def test_half_an_upload_is_not_there(box: Bucket, through: Wire) -> None:
    through(on("PUT", Fault(cut_request=100_000)))

    with pytest.raises(UserError, match="has not answered for"):
        publish(Bucket(box.place, SHORT), "a", noise(1_000_000))

    assert list(box.list()) == []


def test_a_body_is_never_put_together_of_two_versions(box: Bucket, through: Wire) -> None:
    old, new = noise(1_000_000), noise(1_000_001)
    publish(box, "a", old)
    through(on("GET", Fault(cut_response=300_000), times=1))

    with box.reading("a") as file:
        assert file.read(2**16) == old[: 2**16]
        box.write("a", new)
        with pytest.raises(StaleError, match="replaced while it was read"):
            file.read()

    assert box.read("a") == new


def test_a_file_read_at_once_is_the_new_one_if_it_was_replaced_meanwhile(box: Bucket, through: Wire) -> None:
    old, new = noise(1_000_000), noise(1_000_001)
    publish(box, "a", old)
    direct = dict(os.environ)

    def replaced(number: int, method: str, path: str) -> Fault:
        if method == "GET" and number == 2:
            put_directly(direct, box, "a", new)
        return Fault(cut_response=300_000) if method == "GET" and number == 1 else FINE

    through(replaced)

    assert box.read("a") == new


def put_directly(environment: dict[str, str], box: Bucket, name: str, data: bytes) -> None:
    import boto3

    bucket, _, prefix = box.place.removeprefix("s3://").partition("/")
    session = boto3.Session(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    server = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"])
    server.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


def test_a_connection_that_always_ends_at_the_same_byte_is_reported_with_it(
    box: Bucket, through: Wire
) -> None:
    publish(box, "a", noise(1_000_000))
    through(on("GET", Fault(cut_response=0)))

    with pytest.raises(UserError, match=r"data/a is cut off at byte 0 of 1000000 again and again"):
        Bucket(box.place, SHORT).read("a")


def test_a_server_that_does_not_know_ranges_is_refused(box: Bucket, through: Wire) -> None:
    whole = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789'
    through(on("GET", Fault(answer=whole)))

    with pytest.raises(UserError, match="sends the whole object where a part was asked"):
        box.read_range("a", 3, 2)


def test_a_server_that_asks_to_slow_down_is_asked_again(box: Bucket, through: Wire) -> None:
    wire = through(lambda number, method, path: SLOW_DOWN if number % 3 else FINE)

    publish(box, "a", b"content")
    box.write("b", b"other")
    read = {one.name: box.read(one.name) for one in box.list()}
    box.remove("a")

    assert read == {"a": b"content", "b": b"other"}
    assert box.size("a") == -1
    assert len(wire.requests) >= 3 * 7


@pytest.mark.parametrize("code", ["InternalError", "ServiceUnavailable", "BadGateway"])
def test_errors_of_the_server_itself_are_asked_again(box: Bucket, through: Wire, code: str) -> None:
    status = {"InternalError": 500, "ServiceUnavailable": 503, "BadGateway": 502}[code]
    through(on("PUT", Fault(answer=refusal(status, code)), times=3))

    publish(box, "a", b"content")

    assert box.read("a") == b"content"


def test_a_server_that_never_speeds_up_is_reported_by_its_word(box: Bucket, through: Wire) -> None:
    through(lambda number, method, path: SLOW_DOWN)

    with pytest.raises(UserError, match=r"data/a at http://127.* has answered SlowDown for .*fewer workers"):
        Bucket(box.place, SHORT).read("a")


def test_a_server_that_is_away_for_seconds_is_waited_for(box: Bucket, through: Wire) -> None:
    wire = through(lambda number, method, path: FINE)
    box.write("a", b"content")

    began = time.monotonic()
    back = wire.away(2.0)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(box.read, ["a"] * 4))
        publish(box, "b", b"other")
    waited = time.monotonic() - began
    back.join()

    assert read == [b"content"] * 4
    assert box.read("b") == b"other"
    assert waited >= 1.9


def test_the_usual_patience_outlasts_a_gateway_that_starts_anew() -> None:
    patience = Patience()

    assert patience.seconds >= 30
    assert patience.longest <= 5


def test_a_server_that_stays_away_is_reported_with_its_address(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")

    with pytest.raises(UserError, match=rf"s3://{bucket}/a at http://127.0.0.1:{port} has not answered for"):
        Bucket(f"s3://{bucket}", SHORT).read("a")


def test_a_put_that_landed_though_its_answer_was_lost_is_a_success(box: Bucket, through: Wire) -> None:
    wire = through(on("PUT", Fault(lose_answer=True), times=1))

    publish(box, "a", b"content")

    assert box.read("a") == b"content"
    assert [line.split()[0] for line in wire.requests] == ["PUT", "PUT", "HEAD", "GET"]


def test_content_that_is_there_already_is_not_sent_again(box: Bucket, client: Any, through: Wire) -> None:
    publish(box, "a", b"content")
    before = stored(client, box, "a")
    time.sleep(1.1)

    publish(box, "a", b"content")

    assert stored(client, box, "a") == before


def stored(client: Any, box: Bucket, name: str) -> Any:
    bucket, _, prefix = box.place.removeprefix("s3://").partition("/")
    return client.head_object(Bucket=bucket, Key=f"{prefix}/{name}")["LastModified"]


def test_other_content_of_the_same_size_is_replaced(box: Bucket) -> None:
    publish(box, "a", b"leftover")

    publish(box, "a", b"finished")

    assert box.read("a") == b"finished"


def test_a_server_without_conditional_puts_is_written_to_all_the_same(box: Bucket, through: Wire) -> None:
    through(on("PUT", Fault(answer=refusal(501, "NotImplemented")), times=1))

    publish(box, "a", b"content")

    assert box.read("a") == b"content"


def test_a_name_that_was_created_though_the_answer_was_lost_is_ours(box: Bucket, through: Wire) -> None:
    wire = through(on("PUT", Fault(lose_answer=True), times=1))

    assert box.create("a", b"ours")
    assert wire.requests[1].startswith("PUT"), "it was asked twice"
    assert not box.create("a", b"another's")


def test_a_server_without_conditional_puts_creates_what_is_not_there(box: Bucket, through: Wire) -> None:
    def knows_none(number: int, method: str, path: str) -> Fault:
        return Fault(answer=refusal(501, "NotImplemented")) if method == "PUT" and number in refused else FINE

    refused = {1}
    wire = through(knows_none)

    assert box.create("a", b"first")
    assert [line.split()[0] for line in wire.requests] == ["PUT", "HEAD", "PUT", "HEAD"]
    refused = {5}
    assert not box.create("a", b"second")

    assert box.read("a") == b"first"


def in_parts(box: Bucket) -> Bucket:
    return Bucket(box.place, SHORT, one_put=PART, part=PART)


def test_a_large_file_is_sent_in_parts_and_appears_whole(box: Bucket, through: Wire) -> None:
    content = noise(2 * PART + 12345)
    wire = through(on("PUT", Fault(cut_request=2**20), times=1))

    publish(in_parts(box), "large", content)
    again = len(wire.requests)
    publish(in_parts(box), "large", content)

    assert box.read("large") == content
    assert [(one.name, one.size) for one in box.list()] == [("large", len(content))]
    assert next(box.list()).stamp == box.read_stamped("large")[1]
    assert sum(line.startswith("PUT") for line in wire.requests[:again]) == 4
    assert [line.split()[0] for line in wire.requests[again : again + 2]] == ["HEAD", "GET"]


def test_parts_that_fail_leave_nothing(box: Bucket, client: Any, through: Wire) -> None:
    through(lambda number, method, path: SLOW_DOWN if "partNumber=2" in path else FINE)

    with pytest.raises(UserError, match="SlowDown"):
        publish(in_parts(box), "large", noise(2 * PART))

    assert list(box.list()) == []
    assert uploads(client, box) == []


def test_parts_that_were_put_together_though_the_answer_was_lost_are_a_success(
    box: Bucket, through: Wire
) -> None:
    content = noise(2 * PART)
    # Swift and Ceph complete an upload twice with the same answer, other servers forget it.
    answers = iter([Fault(lose_answer=True), Fault(answer=refusal(404, "NoSuchUpload"))])
    through(
        lambda number, method, path: next(answers, FINE) if method == "POST" and "uploadId" in path else FINE
    )

    publish(in_parts(box), "large", content)

    assert box.read("large") == content


def uploads(client: Any, box: Bucket) -> list[str]:
    bucket = box.place.removeprefix("s3://").partition("/")[0]
    return [one["Key"] for one in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def test_sweeping_ends_the_uploads_below_the_place_and_nothing_else(
    box: Bucket, bucket: str, client: Any
) -> None:
    for key in ("data/dead.tar", "data/deep/dead.tar", "data2/alive.tar", "dat"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    box.write("kept", b"kept")
    beside = Bucket(f"s3://{bucket}/data2", HURRIED)
    beside.write("kept", b"kept too")

    box.sweep()

    assert sorted(uploads(client, box)) == ["dat", "data2/alive.tar"]
    assert box.read("kept") == b"kept"
    assert beside.read("kept") == b"kept too"


def test_a_server_that_knows_no_uploads_in_parts_has_none_to_sweep(box: Bucket, through: Wire) -> None:
    wire = through(on("GET", Fault(answer=refusal(501, "NotImplemented"))))

    box.sweep()

    assert len(wire.requests) == 1


def fill(client: Any, bucket: str, keys: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b"x"), keys))


def test_many_pages_are_listed_whole_and_once_each(bucket: str, client: Any) -> None:
    draw = random.Random(7)
    flat = [f"flat/{number:04d}" for number in range(70)]
    nested = [
        f"{draw.choice('abc')}/{draw.choice(['x', 'y', 'x.', 'x-y'])}/{draw.choice('pq')}/{number}"
        for number in range(70)
    ]
    # Around the borders between folders: '!' and '.' come before '/', '0' after it.
    odd = ["a!", "a.", "a0", "a//b", "a", "b/", "ü/1", "ü", "日/1", "z/x/y/z/deep/er/1"]
    keys = sorted({*flat, *nested, *odd})
    fill(client, bucket, keys)

    for below in ("", "a", "a/", "a/x", "flat/", "flat/004", "ü", "none"):
        names = [one.name for one in Bucket(f"s3://{bucket}").list(below)]
        assert sorted(names) == [key for key in keys if key.startswith(below)]
    assert sorted(one.name for one in Bucket(f"s3://{bucket}/a").list("x")) == [
        key.removeprefix("a/") for key in keys if key.startswith("a/x")
    ]


def test_several_pages_of_a_large_listing_are_asked_for_at_once(
    bucket: str, client: Any, through: Wire
) -> None:
    fill(client, bucket, [f"{letter}/{number}" for letter in "abcdefgh" for number in range(20)])
    under_way: list[int] = []
    at_once: list[int] = []

    def watched(number: int, method: str, path: str) -> Fault:
        under_way.append(number)
        at_once.append(len(under_way))
        time.sleep(0.1)
        under_way.remove(number)
        return FINE

    through(watched)

    assert len(list(Bucket(f"s3://{bucket}").list())) == 160
    assert 3 <= max(at_once) <= 8


def test_a_listing_that_is_left_early_ends(bucket: str, client: Any) -> None:
    fill(client, bucket, [f"{letter}/{number}" for letter in "abcd" for number in range(10)])

    listing = Bucket(f"s3://{bucket}").list()
    first = [next(listing).name for _ in range(25)]
    listing.close()  # pyright: ignore[reportAttributeAccessIssue]

    assert len(set(first)) == 25


def test_a_bucket_without_a_prefix_is_a_place(bucket: str) -> None:
    whole = Bucket(f"s3://{bucket}/", HURRIED)
    publish(whole, "data/a", b"content")

    assert whole.place == f"s3://{bucket}"
    assert [one.name for one in whole.list()] == ["data/a"]
    assert Bucket(f"s3://{bucket}/data").read("a") == b"content"


def test_marks_of_folders_are_no_files(bucket: str, client: Any) -> None:
    for key in ("data/", "data/folder/", "data/folder/file"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x" if key.endswith("file") else b"")

    assert [one.name for one in Bucket(f"s3://{bucket}/data").list()] == ["folder/file"]


def test_objects_of_others_keep_their_stamp_however_they_were_written(bucket: str, client: Any) -> None:
    client.put_object(Bucket=bucket, Key="raw/photo.jpg", Body=b"\xff\xd8")
    raw = Bucket(f"s3://{bucket}/raw")

    assert raw.read_stamped("photo.jpg") == (b"\xff\xd8", next(raw.list()).stamp)


def test_slashes_within_a_name_are_kept(box: Bucket) -> None:
    for name in ("a//b", "a/b", "a", "/lead", "a/../b", "./a"):
        publish(box, name, name.encode())

    assert {one.name: box.read(one.name) for one in box.list()} == {
        name: name.encode() for name in ("a//b", "a/b", "a", "/lead", "a/../b", "./a")
    }


@pytest.mark.parametrize("place", ["s3:/b/x", "s3://", "s3:", "s3:///x", "s3://b", "s3://bad bucket/x"])
def test_a_uri_without_a_bucket_is_refused_with_the_form(place: str) -> None:
    with pytest.raises(UserError, match=r"names no bucket\. Write s3://bucket or s3://bucket/prefix"):
        store(place)


@pytest.mark.parametrize("place", ["gs://b/x", "hdfs://host/x", "s3a://b/x", "https://host/x"])
def test_a_uri_of_another_kind_is_refused_with_what_there_is(place: str) -> None:
    with pytest.raises(UserError, match=r"are not supported\. Name a folder, or a bucket's prefix s3://"):
        store(place)


def all_ways(box: Bucket) -> dict[str, Callable[[], Any]]:
    return {
        "read": lambda: box.read("a"),
        "list": lambda: list(box.list()),
        "write": lambda: box.write("a", b"1"),
        "publish": lambda: publish(box, "a", b"1"),
        "size": lambda: box.size("a"),
    }


def said(ask: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        ask()
    return str(caught.value)


def test_a_bucket_that_is_not_there_is_reported_by_name(bucket: str) -> None:
    ways = all_ways(Bucket(f"s3://{bucket}-not/x"))

    for way in ("read", "list", "write", "publish"):
        assert f"s3://{bucket}-not" in said(ways[way])
        assert "NoSuchBucket. There is no such bucket: create it there" in said(ways[way])


@pytest.mark.parametrize("way", ["read", "list", "write", "publish", "size"])
def test_a_wrong_secret_is_reported_and_not_shown(
    box: Bucket, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")

    message = said(all_ways(box)[way])

    assert "The secret does not belong to the access key. Mend AWS" in message or (
        way == "size" and "403. The credentials may not do this" in message
    )
    assert os.environ["AWS_ENDPOINT_URL"] in message
    assert box.place in message or box.place.rpartition("/")[0] in message
    assert "wrong-secret" not in message
    assert "the-tests" not in message


def test_an_unknown_key_is_reported_with_the_variable(box: Bucket, through: Wire) -> None:
    through(lambda number, method, path: Fault(answer=refusal(403, "InvalidAccessKeyId")))

    assert "InvalidAccessKeyId. The server does not know the access key. Mend AWS_ACCESS" in said(
        all_ways(box)["read"]
    )


def test_missing_rights_are_reported_with_those_that_are_needed(
    box: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test:guest")

    assert "AccessDenied. The credentials may not do this: grant them GetObject" in said(
        all_ways(box)["read"]
    )


def test_missing_credentials_are_reported_with_the_ways_to_give_them(
    box: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    assert "no credentials were found. Set AWS_ACCESS_KEY_ID" in said(all_ways(box)["list"])


def test_a_profile_or_an_endpoint_that_is_none_is_reported(
    box: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "The config profile (nobody) could not be found" in said(all_ways(box)["list"])

    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    assert "Invalid endpoint: localhost:9000" in said(all_ways(box)["list"])


def test_an_answer_that_nobody_foresaw_is_reported_with_the_servers_words(box: Bucket, through: Wire) -> None:
    through(lambda number, method, path: Fault(answer=refusal(400, "FullMoon")))

    assert "answers FullMoon (Said by the wire.)" in said(all_ways(box)["read"])


def test_a_key_that_is_too_long_is_reported(box: Bucket) -> None:
    assert "Give it a shorter" in said(lambda: box.write("x" * 2000, b"1"))
