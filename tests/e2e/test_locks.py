"""What somebody keeps locked in the database, and who has to wait for it."""

import time

import grpc
import pytest
from conftest import Daemon

# Longer than anything here takes, on a machine that has other things to do.
LOCK_SECONDS = 60
# Whoever is kept waiting by others waits for longer than this.
SOON = 5


@pytest.fixture(scope="module")
def daemon(contract):
    daemon = Daemon(contract)
    daemon.client = daemon.start(f"--lock-timeout={LOCK_SECONDS}s")
    yield daemon
    daemon.remove()


@pytest.fixture(scope="module")
def client(daemon):
    return daemon.client


@pytest.fixture
def sessions(client):
    return [client.create(workflow="interview")["sessionId"] for _ in range(30)]


def label(session_id, value):
    return {
        "session": {"sessionId": session_id, "labels": {"lock": value}},
        "updateMask": "labels",
    }


def row(session_id):
    return f"SELECT FROM sessions WHERE id = '{session_id}' FOR UPDATE"


def partition_of(session_id):
    return (
        "SELECT FROM partitions WHERE partition = "
        f"(SELECT partition FROM sessions WHERE id = '{session_id}') FOR UPDATE"
    )


@pytest.mark.parametrize("what", [row, partition_of])
def test_what_is_locked_keeps_nobody_else_waiting(daemon, client, sessions, what):
    locked, *others = sessions
    inside = daemon.psql(
        "SELECT id FROM sessions WHERE partition = "
        f"(SELECT partition FROM sessions WHERE id = '{locked}')"
    ).split()
    with daemon.locked(what(locked)):
        waiting = client.begin("UpdateSession", label(locked, "later"), timeout=LOCK_SECONDS)
        for session_id in others:
            if what is partition_of and session_id in inside:
                continue
            began = time.monotonic()
            client.call("UpdateSession", label(session_id, "now"))
            assert time.monotonic() - began < SOON
        assert not waiting.done()
    waiting.result()
    assert client.call("GetSession", {"sessionId": locked})["labels"] == {"lock": "later"}


def test_what_was_not_sent_when_its_caller_left_is_not_carried_out(daemon, client, sessions):
    locked = sessions[0]
    revision = client.call("GetSession", {"sessionId": locked})["revision"]
    with daemon.locked(row(locked)):
        cancelled = [
            client.begin("UpdateSession", label(locked, f"cancelled {i}"), timeout=LOCK_SECONDS)
            for i in range(25)
        ]
        late = [
            client.begin("UpdateSession", label(locked, f"late {i}"), timeout=0.2)
            for i in range(25)
        ]
        # In both cases the daemon has them by now: those that came later are behind them.
        client.call("UpdateSession", label(sessions[1], "behind"))
        for call in cancelled:
            assert call.cancel()
        for call in late:
            assert call.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # Of a cancellation, too, the daemon has heard by the time it has answered what came later.
        client.call("UpdateSession", label(sessions[1], "further behind"))
    after = client.call("UpdateSession", label(locked, "afterwards"))
    assert after["labels"] == {"lock": "afterwards"}
    assert after["revision"] == revision + 1
