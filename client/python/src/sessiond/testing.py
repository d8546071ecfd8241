"""A sessiond for tests: a process of its own, with a PostgreSQL of its own, that leaves nothing behind.

    def test_something(sessiond_test_server):          # a fixture of pytest's, there once the package is installed
        with sessiond_test_server.connect() as client:
            client.create_session(workflow="interview", owner_id="ada")

    with sessiond.testing.TestServer() as server:      # without pytest
        ...

One server serves a whole run of pytest; a namespace for each test keeps them apart. The program is SESSIOND_BINARY,
else `sessiond` on the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

import pytest

from sessiond import aio
from sessiond import connect as _connect
from sessiond.client import Client

_STOP_SECONDS = 60


class TestServer:
    """`sessiond serve --ephemeral`, ready when the constructor returns."""

    __test__ = False  # Not for pytest to collect.

    def __init__(self, *options: str, binary: str | None = None) -> None:
        program = binary or os.environ.get("SESSIOND_BINARY") or shutil.which("sessiond")
        if not program:
            raise FileNotFoundError("There is no sessiond on the PATH. Say where it is with SESSIOND_BINARY.")
        self._log: IO[bytes] = tempfile.TemporaryFile()
        listen = ["--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "SESSIOND_"))}
        self._process = subprocess.Popen(
            [program, "serve", "--ephemeral", *listen, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        #: HOST:PORT.
        self.address = self._await_ready()

    def connect(self, **options: Any) -> Client:
        """A client of it; the options are `sessiond.connect`'s."""
        return _connect(self.address, **options)

    def connect_aio(self, **options: Any) -> aio.Client:
        """A client of it for asyncio."""
        return aio.connect(self.address, **options)

    def stop(self) -> None:
        """Ends it, and throws its data away."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> TestServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _await_ready(self) -> str:
        banner = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            banner += line
            if line.startswith("Ready in "):
                found = re.search(r"gRPC +(\S+)", banner)
                if found:
                    return found[1]
        self._process.wait()
        self._log.seek(0)
        said = banner + self._log.read().decode(errors="replace")
        self.stop()
        raise RuntimeError(f"sessiond did not start (exit code {self._process.returncode}):\n{said[-4000:]}")


@pytest.fixture(scope="session")
def sessiond_test_server() -> Iterator[TestServer]:
    """A sessiond for the whole run."""
    with TestServer() as server:
        yield server
