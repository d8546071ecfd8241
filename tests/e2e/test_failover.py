"""A daemon on a PostgreSQL of several servers: what was acknowledged survives a failover, once; the
old primary that comes back is refused, and that is said; a host that hangs hides no other.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

import pytest
from cluster import Pair
from conftest import BUILD, Refused

GIVE_UP_SECONDS = 60


def eventually(holds):
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


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
    UNAVAILABLE."""

    def __init__(self, client, session_id):
        super().__init__()
        self._client, self._session_id = client, session_id
        self.over = threading.Event()
        self.acknowledged, self.wrong = [], []

    def run(self):
        while not self.over.is_set():
            request_id = str(uuid.uuid4())
            try:
                self._persist("UpdateSession", {
                    "session": {"sessionId": self._session_id, "labels": {"n": request_id}},
                    "updateMask": "labels.n", "requestId": request_id,
                })
                self.acknowledged.append(request_id)
                read = self._persist("GetSession", {"sessionId": self._session_id})
                if read["labels"]["n"] != request_id:
                    self.wrong.append(read)
            except Refused as refused:
                self.wrong.append(str(refused))

    def _persist(self, method, request):
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return self._client.call(method, request)
            except Refused as refused:
                if refused.code != "UNAVAILABLE" or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)


def readiness(daemon):
    """Whether it is ready, and what it says."""
    try:
        with urllib.request.urlopen(f"http://{daemon.admin}/readyz?verbose", timeout=10) as page:
            return True, page.read().decode()
    except urllib.error.HTTPError as error:
        return False, error.read().decode()


def test_nothing_is_lost_by_a_failover_and_the_old_primary_is_refused(pair, own_daemon):
    first, second = pair.servers
    assert sessiond("migrate", "up", f"--db-url={pair.url}").returncode == 0
    client = own_daemon.start(f"--db-url={pair.url}")
    callers = [Caller(client, client.create()["sessionId"]) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: all(len(caller.acknowledged) > 10 for caller in callers))
        pair.fail_over()
        before = [len(caller.acknowledged) for caller in callers]
        eventually(lambda: all(len(c.acknowledged) > n + 10 for c, n in zip(callers, before)))

        # The old one comes back first, and is alone.
        second.kill()
        first.wait_for_standby(False)
        first.start()
        on_first = first.sql("SELECT count(*) FROM session_events", "sessiond")
        eventually(lambda: not readiness(own_daemon)[0])
        eventually(lambda: "restart the daemon" in readiness(own_daemon)[1])
        assert "its timeline is 1, and timeline 2 has been seen" in readiness(own_daemon)[1]
        before = [len(caller.acknowledged) for caller in callers]
        second.start()
        eventually(lambda: readiness(own_daemon)[0])
        eventually(lambda: all(len(c.acknowledged) > n + 10 for c, n in zip(callers, before)))
        assert first.sql("SELECT count(*) FROM session_events", "sessiond") == on_first
    finally:
        for caller in callers:
            caller.over.set()
        for caller in callers:
            caller.join()
    assert [caller.wrong for caller in callers] == [[]] * len(callers)
    acknowledged = {request_id for caller in callers for request_id in caller.acknowledged}
    kept = second.sql("SELECT request_id FROM session_events", "sessiond").split()
    assert acknowledged <= set(kept), "lost"
    assert len(kept) == len(set(kept)), "twice"
    lines = [json.loads(line) for line in own_daemon.log_lines()]
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
