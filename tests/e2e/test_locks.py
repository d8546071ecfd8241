"""What somebody keeps locked in the database, and who has to wait for it."""

import concurrent.futures
import os
import random
import time

import grpc
import pytest
from http_client import HttpClient, HttpRefused
from topology import THROUGH

# Longer than anything here takes, on a machine that has other things to do.
LOCK_SECONDS = 60
# Whoever is kept waiting by others waits for longer than this.
SOON = 20
# What a call may end behind its deadline, and a statement behind its callers. The database's own limits end it much
# later.
LATE_SECONDS = 20
# Calls that wait for nothing but their deadlines, and how many at a time.
CALLS = 2_000 if os.environ.get("SESSIOND_SOAK") else 100
CALLERS = 20


@pytest.fixture(scope="module")
def daemon(shared_daemon):
    with shared_daemon(f"--lock-timeout={LOCK_SECONDS}s") as daemon:
        yield daemon


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
        for each in client.of_each_daemon:
            each.call("UpdateSession", label(sessions[1], "behind"))
        for call in cancelled:
            assert call.cancel()
        for call in late:
            assert call.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # Of a cancellation, too, the daemon has heard by the time it has answered what came later.
        for each in client.of_each_daemon:
            each.call("UpdateSession", label(sessions[1], "further behind"))
    after = client.call("UpdateSession", label(locked, "afterwards"))
    assert after["labels"] == {"lock": "afterwards"}
    assert after["revision"] == revision + 1


@pytest.fixture
def fresh_daemon(shared_daemon):
    # A connection that is opened behind a lock prepares its statements, which waits with no caller. Behind a pooler,
    # which lends it an old one, it looks like any other: there --lock-timeout ends it.
    lock_seconds = 2 if "pooler" in THROUGH else 3 * LATE_SECONDS
    with shared_daemon(f"--lock-timeout={lock_seconds}s", f"--statement-timeout={3 * LATE_SECONDS}s") as daemon:
        yield daemon


def test_every_call_ends_at_its_deadline_and_so_do_its_statements(fresh_daemon, contract):
    """By HTTP, where callers wait longer than the deadline that they tell the daemon."""
    chance = random.Random(1)
    session_id = fresh_daemon.client.create()["sessionId"]
    requests = {
        "GetSession": {"sessionId": session_id},
        "UpdateSession": label(session_id, "late"),
        "CreateSession": {"session": {"workflow": "interview", "ownerId": "u"}},
        "ListSessions": {"filter": 'owner_id = "u"'},
        "CountSessions": {},
    }
    plan = [(chance.choice(list(requests)), chance.uniform(0.02, 1)) for _ in range(CALLS)]
    web = [HttpClient(contract, fresh_daemon.admin) for _ in range(CALLERS)]

    def late_by(number):
        """Of each CALLERSth call from this one on: what it was told, and how many seconds behind its deadline."""
        told = []
        for method, seconds in plan[number::CALLERS]:
            began = time.monotonic()
            with pytest.raises(HttpRefused) as refused:
                web[number].unary(method, requests[method], {"Connect-Timeout-Ms": str(int(seconds * 1000))})
            told.append((refused.value.code, time.monotonic() - began - seconds))
        return told

    locked_at = fresh_daemon.psql("SELECT clock_timestamp()").strip()

    def statements():
        return int(fresh_daemon.psql(
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE application_name LIKE 'sessiond%' AND state = 'active' AND backend_start < '{locked_at}'"
        ))  # fmt: skip

    with fresh_daemon.locked("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            told = sum(pool.map(late_by, range(CALLERS)), [])
        ended = time.monotonic()
        while statements():
            assert time.monotonic() - ended < LATE_SECONDS, "a statement runs on without a caller"
        # The others were told that the database was too slow, or at once that their turn would come too late.
        assert {code for code, _ in told} <= {"DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
        late = sorted(seconds for code, seconds in told if code == "DEADLINE_EXCEEDED")
        assert len(late) > CALLS / 2
        print(
            f"{len(late)} of {CALLS} calls: {late[len(late) // 2] * 1000:.0f} ms behind their deadlines in the middle, "
            f"{late[-1] * 1000:.0f} ms at most; statements ended {time.monotonic() - ended:.2f} s behind the last"
        )
    assert late[-1] < LATE_SECONDS
    for each in web:
        each.close()
