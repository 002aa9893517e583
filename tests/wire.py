"""A wire to a real server, of any protocol, that can be cut and mended."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ports import free_port


@dataclass
class Wire:
    """Carries bytes between whoever comes and the server."""

    server: tuple[str, int]
    port: int = field(default_factory=free_port)
    ends: list[socket.socket] = field(default_factory=list)

    @contextmanager
    def open(self) -> Generator[str]:
        """The address to speak to, while it is open."""
        with socket.create_server(("127.0.0.1", self.port)) as door:
            threading.Thread(target=self._accept, args=(door,), daemon=True).start()
            yield f"http://127.0.0.1:{self.port}"
            self.cut()

    def cut(self) -> None:
        """Break all connections; new ones are carried."""
        while self.ends:
            with suppress(OSError):
                self.ends.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                server = socket.create_connection(self.server)
                self.ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with source, suppress(OSError):  # each closes its own source
            while piece := source.recv(2**16):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
