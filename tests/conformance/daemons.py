"""The daemon of a run, and sessionctl, which says what is really so."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STOP_SECONDS = 60
# Keys below these are data and not names of fields.
DATA = {"context", "labels", "references", "counters", "changes", "metadata", "progress", "result"}
DATA |= {"failureContext", "technicalDetails", "counterIncrements"}


class NotThere(Exception):
    """A program is not to be found, or did not start."""


def program(given, variable, built):
    path = given or os.environ.get(variable) or shutil.which(built.name) or str(built)
    if not os.access(path, os.X_OK):
        raise NotThere(f"There is no {path}. Build it, or say where it is with {variable}.")
    return path


class Daemon:
    def __init__(self, sessiond, sessionctl):
        self._sessiond = sessiond
        self._sessionctl = sessionctl
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-conformance-"))
        self._directory.chmod(0o755)  # For a PostgreSQL that root may not be.
        self._process = None
        self.address = None
        # Of the daemon that runs, or ran last.
        self._access_file = None

    @property
    def runs(self):
        return self._process is not None and self._process.poll() is None

    def start(self, access_file=None):
        """Starts it where it was before, or on a free port, and waits until it is ready. One that runs with another
        access file ends first."""
        if self.runs and access_file == self._access_file:
            return
        self.terminate()
        self._access_file = access_file
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "SESSIOND_"))}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._sessiond,
                    "serve",
                    f"--grpc-listen={self.address or '127.0.0.1:0'}",
                    "--http-listen=127.0.0.1:0",
                    f"--data-dir={self._directory / 'data'}",
                    *([f"--access-file={access_file}"] if access_file else []),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        banner = ""
        for line in self._process.stdout:
            banner += line
            if line.startswith("Ready in "):
                break
        else:
            raise NotThere(f"The daemon did not start:\n{(self._directory / 'log').read_text()[-2000:]}")
        self.address = re.search(r"gRPC +(\S+)", banner)[1]

    def terminate(self):
        """SIGTERM: it answers what it has, ends its streams as DRAINING, and goes."""
        if not self.runs:
            return
        self._process.terminate()
        self._process.stdout.close()
        self._process.wait(timeout=STOP_SECONDS)

    def kill(self):
        if self.runs:
            self._process.kill()
            self._process.stdout.close()
            self._process.wait()

    def remove(self):
        self.terminate()
        shutil.rmtree(self._directory, ignore_errors=True)

    def call(self, method, request):
        """A call of another client's. Answers as the adapters do, with the protos' names."""
        done = subprocess.run(
            [self._sessionctl, f"--server={self.address}", "call", method, "-o", "json", "-d", json.dumps(request)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise ValueError(f"{method}: {done.stderr.strip()}")
        return _snake(json.loads(done.stdout))


def _snake(value):
    if isinstance(value, list):
        return [_snake(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), key): each if key in DATA else _snake(each)
        for key, each in value.items()
    }
