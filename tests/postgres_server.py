"""A real PostgreSQL server for as long as a test runs, on a socket in a folder of its own."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start one; its URI, as MLflow takes it."""
    # Not below pytest's folder: root's server runs as another user, whom each new session shuts out there.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        yield from _running(folder)


def _running(folder: str) -> Iterator[str]:
    with warnings.catch_warnings():
        # Its import looks for a desktop's runtime folder, which a server has none of.
        warnings.simplefilter("ignore")
        import pgserver

        server = pgserver.get_server(folder, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
