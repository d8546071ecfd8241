"""The client's side of WatchSessions: `sessionctl session watch` against a daemon that is killed."""

import json
import os
import re
import signal
import subprocess
import threading

import pytest
from conftest import BUILD, Client, Daemon

PATIENCE_SECONDS = 120


class Watching:
    """A `sessionctl session watch -o jsonl`, whose responses are read as they come."""

    def __init__(self, address, *arguments):
        self._process = subprocess.Popen(
            [BUILD / "client/sessionctl", "session", "watch", "-o", "jsonl", *arguments],
            env={**os.environ, "SESSIOND_SERVER": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._guard = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        self._guard.start()

    def response(self):
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        return json.loads(line)

    def changes(self, count):
        """The next so many events; anything else among them is a fault."""
        events = [self.response()["change"]["event"] for _ in range(count)]
        return [(event["sessionId"], event["sequence"]) for event in events]

    def interrupt(self):
        """Ctrl-C; answers with the exit code and the token it leaves behind."""
        self._process.send_signal(signal.SIGINT)
        rest, talk = self._process.communicate(timeout=PATIENCE_SECONDS)
        assert rest == ""
        return self._process.returncode, re.search(r"--from-token (\S+)\n$", talk)[1]

    def close(self):
        self._guard.cancel()
        self._process.kill()
        self._process.communicate()


class SteadyDaemon(Daemon):
    """One that can be started where it listened before."""

    def start_again(self):
        with self.log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [
                    BUILD / "server/sessiond",
                    "serve",
                    f"--grpc-listen={self.address}",
                    "--http-listen=127.0.0.1:0",
                    f"--data-dir={self._directory / 'data'}",
                ],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        started = any(line.startswith("Ready in ") for line in self._process.stdout)
        assert started, self.log.read_text()
        self._client = Client(self._contract, self.address)
        return self._client


@pytest.fixture
def steady_daemon(contract):
    daemon = SteadyDaemon(contract)
    yield daemon
    daemon.remove()


@pytest.fixture
def watching():
    opened = []

    def begin(*arguments):
        opened.append(Watching(*arguments))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def turn(client, ids, count):
    """Pauses, or resumes, every session, so many times."""
    for n in range(count):
        for session_id in ids:
            client.call(["PauseSession", "ResumeSession"][n % 2], {"sessionId": session_id})


def test_every_change_is_told_once_over_crashes_of_the_daemon(steady_daemon, watching):
    client = steady_daemon.start()
    address = steady_daemon.address
    ids = [client.create()["sessionId"] for _ in range(3)]
    watch = watching(address, "--initial")
    shown = [watch.response()["session"]["sessionId"] for _ in ids]
    assert sorted(shown) == sorted(ids)
    assert "bookmark" in watch.response()
    told = []
    for _ in range(3):
        turn(client, ids, 10)
        # Some of it has been told when the daemon dies, and some has not.
        told += watch.changes(12)
        steady_daemon.kill()
        client.close()
        client = steady_daemon.start_again()
    turn(client, ids, 2)
    told += watch.changes(3 * 32 - len(told))
    for session_id in ids:
        mine = [sequence for each, sequence in told if each == session_id]
        assert mine == list(range(2, 34))
    code, token = watch.interrupt()
    assert code == 0

    turn(client, ids, 1)
    resumed = watching(address, "--from-token", token)
    assert "bookmark" in resumed.response()
    assert sorted(resumed.changes(3)) == sorted((each, 34) for each in ids)
    assert resumed.interrupt()[0] == 0
    client.close()
