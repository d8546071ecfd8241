"""Daemons that are restarted under load: no call fails but with UNAVAILABLE, which trying again makes
good, once; and whoever says nothing, or reads nothing, holds up no drain.
"""

import collections
import os
import socket
import threading
import time
import uuid

import grpc
from conftest import Refused
from http2 import PREFACE
from test_process import until
from test_readiness import Connection
from watching import Watch

# A tenth of what is done by hand.
RESTARTS = int(os.environ.get("SESSIOND_RESTARTS", 3))
CALLERS = 12
# What every restart meets at least.
CALLS_BETWEEN = 200
GRACE_SECONDS = 10
PATIENCE_SECONDS = 60


class Callers:
    """Calls that go on until they are told to stop, each until it succeeds."""

    def __init__(self, contract, address):
        self._contract = contract
        self._address = address
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self.namespace = "drain-" + uuid.uuid4().hex[:8]
        # Of all calls, how they ended.
        self.codes = collections.Counter()
        self.created = 0
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_answers(self, count):
        with self._changed:
            wanted = self.codes["OK"] + count
            assert self._changed.wait_for(lambda: self.codes["OK"] >= wanted, PATIENCE_SECONDS)

    def _call(self):
        own = [("grpc.use_local_subchannel_pool", 1)]
        own += [(f"grpc.{kind}_reconnect_backoff_ms", 50) for kind in ("initial", "min", "max")]
        with grpc.insecure_channel(self._address, options=own) as channel:
            while not self._stop.is_set():
                session = {"workflow": "interview", "ownerId": "o", "namespace": self.namespace}
                request = {"session": session, "requestId": str(uuid.uuid4())}
                created = self._until_done(channel, "CreateSession", request)
                with self._changed:
                    self.created += 1
                self._until_done(channel, "GetSession", {"sessionId": created.session_id})

    def _until_done(self, channel, method, request):
        full = self._contract.full(method)
        reply = self._contract.method(full)[1]
        stub = channel.unary_unary("/" + full, response_deserializer=reply.FromString)
        while True:
            try:
                answer, code = stub(self._contract.request(full, request), timeout=PATIENCE_SECONDS), "OK"
            except grpc.RpcError as error:
                answer, code = None, error.code().name
            with self._changed:
                self.codes[code] += 1
                self._changed.notify_all()
            if answer is not None:
                return answer
            self._stop.wait(0.05)  # As whoever is told UNAVAILABLE does.


def test_restarts_under_load_lose_no_call(own_daemon, second_daemon, contract):
    keeper = own_daemon.start()
    database = f"--db-url={own_daemon.db_url}"
    second_daemon.start(database)
    address = second_daemon.address
    callers = Callers(contract, address)
    drains = []
    try:
        for _ in range(RESTARTS):
            callers.await_answers(CALLS_BETWEEN)
            begin = time.monotonic()
            assert second_daemon.stop() == 0
            drains.append(time.monotonic() - begin)
            second_daemon.start(database, listen=address)
        callers.await_answers(CALLS_BETWEEN)
    finally:
        callers.stop()
    print(f"{dict(callers.codes)} in {RESTARTS} restarts, drains of at most {max(drains):.2f} s")
    assert set(callers.codes) <= {"OK", "UNAVAILABLE"}
    # What was tried again was done once.
    counted = keeper.call("CountSessions", {"namespace": callers.namespace})
    assert int(counted["total"]) == callers.created
    assert max(drains) < GRACE_SECONDS / 2


def test_peers_that_say_or_read_nothing_hold_up_no_drain(own_daemon, second_daemon, contract):
    own_daemon.start()
    client = second_daemon.start(f"--db-url={own_daemon.db_url}")
    host, port = second_daemon.address.rsplit(":", 1)
    peers = [socket.create_connection((host, int(port))) for _ in range(40)]
    for peer in peers[::2]:
        peer.sendall(PREFACE)
    big = {"site_description": "x" * 4_000}
    watches = [Watch(contract, second_daemon.address, initialState=True) for _ in range(20)]
    session_id = client.create(context=big)["sessionId"]
    for _ in range(25):  # More than the windows of connections that nobody reads take.
        client.call("PauseSession", {"sessionId": session_id})
        client.call("ResumeSession", {"sessionId": session_id})
    begin = time.monotonic()
    assert second_daemon.stop() == 0
    assert time.monotonic() - begin < GRACE_SECONDS / 2
    for peer in peers:
        peer.close()
    for watch in watches:
        assert watch.refusal().code == "UNAVAILABLE"
        watch.close()


def test_a_sweep_that_takes_long_does_not_keep_callers_from_hearing_of_the_drain(own_daemon, second_daemon):
    keeper = own_daemon.start()
    keeper.call("PauseSession", {"sessionId": keeper.create()["sessionId"], "requestId": "old"})
    own_daemon.psql(
        "UPDATE session_requests SET created_at = created_at - interval '2 days';"
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END';"
        "CREATE TRIGGER slow BEFORE DELETE ON session_requests EXECUTE FUNCTION slow()"
    )
    client = second_daemon.start(f"--db-url={own_daemon.db_url}")
    session_id = client.create()["sessionId"]
    sweeps = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessiond sweeper' AND wait_event = 'PgSleep'"
    until(lambda: own_daemon.psql(sweeps) != "0\n", "nobody sweeps")
    second_daemon.process.terminate()

    def is_refused():
        try:
            client.call("GetSession", {"sessionId": session_id})
        except Refused as refused:
            return refused.code == "UNAVAILABLE"
        return False

    until(is_refused, "it goes on as if nothing were")
    assert own_daemon.psql(sweeps) != "0\n"
    assert second_daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_call_that_hangs_in_the_database_holds_up_no_drain(own_daemon, second_daemon):
    keeper = own_daemon.start()
    # Longer than anything here may take.
    client = second_daemon.start(f"--db-url={own_daemon.db_url}", "--shutdown-grace=2s", "--lock-timeout=60s", "--statement-timeout=60s")
    session_id = client.create()["sessionId"]
    lock = Connection(own_daemon.socket_directory)
    lock.run("BEGIN")
    lock.run("LOCK TABLE partitions IN ACCESS EXCLUSIVE MODE")
    refused = []
    thread = threading.Thread(
        target=lambda: refused.append(client.refusal("PauseSession", {"sessionId": session_id}, timeout=30))
    )
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sessiond lane' AND wait_event_type = 'Lock'"
    until(lambda: lock.run(waiting) == ["1"], "the lane does not wait")
    begin = time.monotonic()
    assert second_daemon.stop() == 0
    assert time.monotonic() - begin < 2 + 2.5
    thread.join()
    assert refused[0].code == "UNAVAILABLE"
    lock.close()
    assert keeper.call("GetSession", {"sessionId": session_id})["state"] in ("ACTIVE", "PAUSED")
