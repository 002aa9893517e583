"""A real S3 server on loopback for as long as the tests run: OpenStack Swift, in its own environment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from ports import free_port

ENVIRONMENT = Path(__file__).parent.parent / ".venv" / "s3"
START_SECONDS = 60
PAGE = 20
"""Names in a page of a listing, instead of 1,000: so tests meet many pages with few objects."""

SWIFT = """
[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = default
default = yes
"""

COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {home}
devices = {home}/devices
mount_check = false
disable_fallocate = true
log_level = WARNING
"""

STORAGE = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY = """
[pipeline:main]
pipeline = catch_errors s3api tempauth copy slo dlo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = {page}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
user_test_guest = {secret}
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""

RINGS = """
import json, sys
from swift.common.ring import RingBuilder
for kind, port in json.loads(sys.argv[1]).items():
    builder = RingBuilder(2, 1, 0)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1}
    builder.add_dev({**place, "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[2]}/{kind}.ring.gz")
"""

# PR_SET_PDEATHSIG, SIGKILL: nothing is left running, even where the tests themselves are killed.
DIE_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Access:
    """How a client gets at the server."""

    port: int
    key: str = "test:tester"
    secret: str = "a-secret-of-the-tests"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every S3 client reads, and none of this machine's own."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def new_bucket(self, patch: pytest.MonkeyPatch) -> str:
        """The name of a new bucket; the usual variables point at this server from now on."""
        import boto3

        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in self.environment.items():
            patch.setenv(name, value)
        bucket = f"test-{uuid4().hex[:12]}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        return bucket

    def through(self, port: int) -> "Access":
        """The same by another port."""
        return replace(self, port=port)


@contextmanager
def s3_server(home: Path) -> Generator[Access]:
    """Start the server with its data in `home`; nothing of it is left running."""
    running: list[subprocess.Popen[bytes]] = []
    ports = {kind: free_port() for kind in ("account", "container", "object")}
    access = Access(free_port())
    (home / "swift.conf").write_text(SWIFT)
    try:
        ring(ports, home)
        for kind, port in ports.items():
            start(kind, port, home, STORAGE.format(kind=kind), running)
        start("proxy", access.port, home, PROXY.format(secret=access.secret, page=PAGE), running)
        for port in ports.values():
            wait_for(port, running)
        wait_for(access.port, running)
        yield access
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def ring(ports: dict[str, int], home: Path) -> None:
    """Say where the data of each kind lies: all of it on its one server."""
    (home / "devices" / "disk").mkdir(parents=True)
    command = [ENVIRONMENT / "bin" / "python", "-c", RINGS, json.dumps(ports), home]
    subprocess.run(command, check=True, capture_output=True)


def start(kind: str, port: int, home: Path, more: str, running: list[subprocess.Popen[bytes]]) -> None:
    """Start one process."""
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    path = home / f"{kind}.conf"
    path.write_text(COMMON.format(port=port, user=user, home=home) + more)
    programs = ENVIRONMENT / "bin"
    server = [
        sys.executable,
        "-c",
        DIE_WITH_PARENT,
        programs / "python",
        programs / f"swift-{kind}-server",
        path,
    ]
    with (home / f"{kind}.log").open("wb") as log:
        running.append(subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=log, stderr=log))


def wait_for(port: int, running: list[subprocess.Popen[bytes]]) -> None:
    """Wait until something answers there."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and all(process.poll() is None for process in running):
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"The S3 server does not start on port {port}: see the logs beside its settings.")
