"""A wire to a real server that fails on demand: cut connections, "slow down", nobody there.

Everything that it lets through is answered by the server behind it; it only reads enough of HTTP to know
where a request begins and a body ends.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ports import free_port

PIECE = 2**14


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    answer: bytes = b""
    """It is answered so and never reaches the server."""
    cut_request: int | None = None
    """The connection ends after so many bytes of its body."""
    cut_response: int | None = None
    """The connection ends after so many bytes of its answer's body; the server has done what was asked."""
    lose_answer: bool = False
    """The server does what was asked, and its answer is lost."""


FINE = Fault()


def refusal(status: int, code: str) -> bytes:
    """An answer as S3 servers give it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Said by the wire.</Message></Error>"
    return (
        f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


SLOW_DOWN = Fault(answer=refusal(503, "SlowDown"))


@dataclass
class FaultyWire:
    """The wire; each request asks `fault(number, method, path)` what happens to it."""

    server: int
    fault: Callable[[int, str, str], Fault] = lambda number, method, path: FINE
    requests: list[str] = field(default_factory=list)
    """Method and path of each request that came, in their order."""
    clients: list[socket.socket] = field(default_factory=list)

    @contextmanager
    def open(self) -> Generator[int]:
        """The port to speak to, while it is open."""
        self.door = listen(free_port())  # To come back to: nobody else takes it.
        self.port: int = self.door.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.door,), daemon=True).start()
        try:
            yield self.port
        finally:
            shut(self.door)
            while self.clients:
                shut(self.clients.pop())

    def away(self, seconds: float) -> threading.Thread:
        """Drop all connections and refuse new ones for a while; the thread ends when it is back."""
        shut(self.door)
        while self.clients:
            shut(self.clients.pop())

        def come_back() -> None:
            time.sleep(seconds)
            self.door = listen(self.port)
            threading.Thread(target=self.accept, args=(self.door,), daemon=True).start()

        back = threading.Thread(target=come_back)
        back.start()
        return back

    def accept(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                self.clients.append(client)
                threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client: socket.socket) -> None:
        """Carry the requests of one connection, until one end hangs up or a fault does."""
        address = ("127.0.0.1", self.server)
        with suppress(OSError, EOFError), client, socket.create_connection(address) as server:
            while self.carry_one(Stream(client), Stream(server)):
                pass

    def carry_one(self, client: "Stream", server: "Stream") -> bool:
        """Carry one request and its answer; whether another may follow."""
        head = client.head()
        method, path = head.split(b" ", 2)[:2]
        self.requests.append(f"{method.decode()} {path.decode()}")
        fault = self.fault(len(self.requests), method.decode(), path.decode())
        if fault.answer:
            client.end.sendall(fault.answer)
            return False
        server.end.sendall(head)
        answer = server.head() if b"100-continue" in head.lower() else b""
        if answer.startswith(b"HTTP/1.1 100"):
            client.end.sendall(answer)
            answer = b""
        if not answer:
            if not client.pass_on(server.end, length(head), fault.cut_request):
                return hang_up(client.end)
            answer = server.head()
        if fault.lose_answer:
            return hang_up(client.end)
        client.end.sendall(answer)
        if b"transfer-encoding: chunked" in answer.lower():
            return server.pass_on_chunks(client.end)
        size = 0 if method == b"HEAD" else length(answer)
        return server.pass_on(client.end, size, fault.cut_response)


class Stream:
    """One end of a connection, read without taking more than is asked for."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def head(self) -> bytes:
        """Everything up to the empty line."""
        return self.up_to(b"\r\n\r\n")

    def up_to(self, mark: bytes) -> bytes:
        """Everything up to a mark."""
        text = b""
        while not text.endswith(mark):
            byte = self.end.recv(1)
            if not byte:
                raise EOFError
            text += byte
        return text

    def pass_on(self, to: socket.socket, size: int, cut: int | None) -> bool:
        """Hand `size` bytes to the other end, or only the first `cut`; whether it was all."""
        left = size if cut is None else min(size, cut)
        while left:
            piece = self.end.recv(min(left, PIECE))
            if not piece:
                raise EOFError
            to.sendall(piece)
            left -= len(piece)
        return cut is None or cut >= size

    def pass_on_chunks(self, to: socket.socket) -> bool:
        """Hand over a body whose pieces say their sizes, to its last, which is empty."""
        while True:
            line = self.up_to(b"\r\n")
            to.sendall(line)
            size = int(line, 16)
            self.pass_on(to, size + 2, None)
            if not size:
                return True


def length(head: bytes) -> int:
    """Bytes of the body behind a head."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return int(fields.get(b"content-length", b"0"))


def listen(port: int) -> socket.socket:
    """A door on this port."""
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("127.0.0.1", port))
    door.listen(64)
    return door


def shut(end: socket.socket) -> None:
    """Close it; shutdown wakes the thread that waits there."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def hang_up(end: socket.socket) -> bool:
    """End a connection as a dying machine does, with a reset."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False
