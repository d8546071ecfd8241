"""Daemons on a PostgreSQL of several servers, named in their URL or behind a pooler that is told which
one is the primary: what was acknowledged survives a failover, once; the old primary that comes back is
refused, and that is said; a host that hangs hides no other.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
import uuid

import pytest
from cluster import Pair
from conftest import BUILD, Refused
from databases import PgBouncer, removed
from topology import ByTurns
from waits import until

GIVE_UP_SECONDS = 60
# One call, which a server that is away may keep for as long.
ATTEMPT_SECONDS = 10


def eventually(holds):
    until(holds, seconds=GIVE_UP_SECONDS)


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.remove()


def sessiond(*words):
    return subprocess.run(
        [BUILD / "server/sessiond", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=30,
    )


class Caller(threading.Thread):
    """Sets labels and reads them back, and calls again with the same request id when told
    UNAVAILABLE, or nothing."""

    def __init__(self, client, session_id):
        super().__init__()
        self._client, self.session_id = client, session_id
        self.over = threading.Event()
        self.acknowledged, self.wrong = [], []

    def run(self):
        while not self.over.is_set():
            request_id = str(uuid.uuid4())
            try:
                self._persist("UpdateSession", {
                    "session": {"sessionId": self.session_id, "labels": {"n": request_id}},
                    "updateMask": "labels.n", "requestId": request_id,
                })
                self.acknowledged.append(request_id)
                read = self._persist("GetSession", {"sessionId": self.session_id})
                if read["labels"]["n"] != request_id:
                    self.wrong.append(read)
            except Refused as refused:
                self.wrong.append(str(refused))

    def _persist(self, method, request):
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return self._client.call(method, request, timeout=ATTEMPT_SECONDS)
            except Refused as refused:
                if refused.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED") or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)


@contextlib.contextmanager
def calling(client):
    """Callers go on meanwhile, and none of them is told anything wrong."""
    callers = [Caller(client, client.create()["sessionId"]) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        for caller in callers:
            caller.over.set()
        for caller in callers:
            caller.join()
    assert [caller.wrong for caller in callers] == [[]] * len(callers)


def await_progress(callers):
    before = [len(caller.acknowledged) for caller in callers]
    eventually(lambda: all(len(caller.acknowledged) > n + 10 for caller, n in zip(callers, before)))


def assert_kept_once(callers, request_ids):
    """`request_ids`: those of all events."""
    acknowledged = {request_id for caller in callers for request_id in caller.acknowledged}
    assert acknowledged <= set(request_ids), "lost"
    assert len(request_ids) == len(set(request_ids)), "twice"


class Behind:
    """A server, as PgBouncer has to know it."""

    owner = app = "sessiond"

    def __init__(self, server):
        self.socket_dir, self.port = server.socket_dir, server.port

    def url(self, user, **keywords):
        return " ".join(f"{key}={value}" for key, value in {"user": user, "dbname": "sessiond", **keywords}.items())


class Named:
    """Daemons know all servers themselves; PgBouncer's place is empty."""

    def __init__(self, pair):
        self._pair = pair

    def url(self, _):
        return self._pair.url

    def lead_to(self, server):
        pass

    def remove(self):
        pass


@pytest.mark.parametrize("way", [Named, lambda pair: PgBouncer(Behind(pair.primary), "session")], ids=["named", "PgBouncer"])
def test_nothing_is_lost_by_a_failover_and_the_old_primary_is_refused(way, contract, pair, own_daemon, second_daemon):
    first, second = pair.servers
    with removed(way(pair)) as way:
        url = f"--db-url={way.url('sessiond')}"
        assert sessiond("migrate", "up", url).returncode == 0
        both = [own_daemon, second_daemon]
        with calling(ByTurns(contract, [daemon.start(url) for daemon in both])) as callers:
            await_progress(callers)
            pair.fail_over()
            way.lead_to(Behind(second))
            await_progress(callers)

            # The old one comes back first, and is alone.
            second.kill()
            first.wait_for_standby(False)
            first.start()
            way.lead_to(Behind(first))
            on_first = first.sql("SELECT count(*) FROM session_events", "sessiond")
            for daemon in both:
                eventually(lambda: not daemon.readiness()[0])
                eventually(lambda: "restart the daemon" in daemon.readiness()[1])
                assert "its timeline is 1, and timeline 2 has been seen" in daemon.readiness()[1]
            second.start()
            way.lead_to(Behind(second))
            for daemon in both:
                eventually(lambda: daemon.readiness()[0])
            await_progress(callers)
            assert first.sql("SELECT count(*) FROM session_events", "sessiond") == on_first
        assert_kept_once(callers, second.sql("SELECT request_id FROM session_events", "sessiond").split())
        for daemon in both:
            lines = [json.loads(line) for line in daemon.log_lines()]
            assert any("is an old primary" in line["msg"] and line["level"] == "error" for line in lines)


@contextlib.contextmanager
def hung_host():
    """The port of a host that lets connections in, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_first_host_that_hangs_hides_the_second_from_nobody(own_daemon, second_daemon):
    own_daemon.start()
    directory = own_daemon.socket_directory
    with hung_host() as port:
        url = f"host=127.0.0.1,{directory} port={port},5432 user=sessiond dbname=sessiond"
        for words in (["migrate", "status"], ["doctor", "--http-listen=off", "--grpc-listen=127.0.0.1:0"]):
            done = sessiond(*words, f"--db-url={url}")
            assert done.returncode == 0, done.stdout
        client = second_daemon.start(f"--db-url={url}")
        session_id = client.create()["sessionId"]
        assert client.call("GetSession", {"sessionId": session_id})["sessionId"] == session_id


def test_readiness_says_that_changes_wait_for_a_standby(pair, own_daemon):
    url = f"--db-url={pair.url}"
    assert sessiond("migrate", "up", url).returncode == 0
    # Nor does a lane give up while the standby is away.
    client = own_daemon.start(url, "--statement-timeout=120s")
    session_id = client.create()["sessionId"]
    pair.standby.kill()
    change = {"session": {"sessionId": session_id}, "setLabels": {"a": "1"}}
    waiting = client.begin("UpdateSession", change, timeout=2 * GIVE_UP_SECONDS)
    eventually(lambda: not own_daemon.readiness()[0])
    assert "synchronous_standby_names" in own_daemon.readiness()[1]
    pair.standby.start()
    eventually(lambda: own_daemon.readiness()[0])
    waiting.result()
    assert client.call("GetSession", {"sessionId": session_id})["labels"] == {"a": "1"}
