"""Daemons that are restarted under load: no call fails but with UNAVAILABLE, which trying again makes
good, once; and whoever says nothing, or reads nothing, holds up no drain.
"""

import contextlib
import os
import socket
import threading
import time

from callers import Callers
from conftest import Client, Refused
from http2 import PREFACE
from test_readiness import Connection
from test_tasks import Work
from waits import until
from watching import Watch

# A tenth of what is done by hand.
RESTARTS = int(os.environ.get("SESSIOND_RESTARTS", 3))
CALLERS = 12
# What every restart meets at least.
CALLS_BETWEEN = 200
# Far longer than a drain takes that nobody holds up, on a machine that has others to do.
GRACE_SECONDS = 40
PATIENCE_SECONDS = 60
# The grace and the last resort behind it, and far less than whoever waits for the database may wait.
STOP_SECONDS = 20
# Longer than anything here may take.
LONG_WAITS = "--lock-timeout=300s", "--statement-timeout=300s"
# A change waits in its lane for a moment, and then in the lock queue, which has a connection as long as somebody does.
SOMEBODY_WAITS = """
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE (application_name = 'sessiond lane' AND wait_event_type = 'Lock') OR application_name = 'sessiond lock queue'"""


@contextlib.contextmanager
def connection_to(contract, address):
    """As Callers want it."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    own += [(f"grpc.{kind}_reconnect_backoff_ms", 50) for kind in ("initial", "min", "max")]
    with contextlib.closing(Client(contract, address, options=own)) as client:

        def attempt(method, request):
            try:
                return client.call(method, request, timeout=PATIENCE_SECONDS), "OK"
            except Refused as refused:
                return None, refused.code

        yield attempt


def test_restarts_under_load_lose_no_call(own_daemon, second_daemon, contract):
    keeper = own_daemon.start()
    options = f"--db-url={own_daemon.db_url}", f"--shutdown-grace={GRACE_SECONDS}s"
    second_daemon.start(*options)
    address = second_daemon.address
    callers = Callers(lambda: connection_to(contract, address), CALLERS)
    drains = []
    try:
        for _ in range(RESTARTS):
            callers.await_answers(CALLS_BETWEEN)
            begin = time.monotonic()
            assert second_daemon.stop() == 0
            drains.append(time.monotonic() - begin)
            second_daemon.start(*options, listen=address)
        callers.await_answers(CALLS_BETWEEN)
    finally:
        callers.stop()
    print(f"{dict(callers.ends)} in {RESTARTS} restarts, drains of at most {max(drains):.2f} s")
    assert set(callers.ends) <= {"OK", "UNAVAILABLE"}
    # What was tried again was done once.
    counted = keeper.call("CountSessions", {"namespace": callers.namespace})
    assert int(counted["total"]) == callers.created
    assert max(drains) < GRACE_SECONDS / 2


def test_peers_that_say_or_read_nothing_hold_up_no_drain(own_daemon, second_daemon, contract):
    own_daemon.start()
    client = second_daemon.start(f"--db-url={own_daemon.db_url}", f"--shutdown-grace={GRACE_SECONDS}s")
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
    Work(own_daemon.start(), heartbeatTimeout="60s")
    # Its worker is silent: the sweepers fail its task, and wait for the session's lock.
    with own_daemon.locked("SELECT FROM sessions FOR UPDATE"):
        own_daemon.psql("UPDATE session_tasks SET heartbeat_at = heartbeat_at - interval '1 day'")
        client = second_daemon.start(f"--db-url={own_daemon.db_url}", f"--shutdown-grace={PATIENCE_SECONDS}s", *LONG_WAITS)
        session_id = client.create()["sessionId"]
        until(lambda: second_daemon.metric("sessiond_lane_inbox") == 1, "nobody sweeps")
        second_daemon.process.terminate()

        def is_refused():
            try:
                client.call("GetSession", {"sessionId": session_id})
            except Refused as refused:
                return refused.code == "UNAVAILABLE"
            return False

        until(is_refused, "it goes on as if nothing were")
        assert second_daemon.metric("sessiond_lane_inbox") == 1
    assert second_daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_call_that_hangs_in_the_database_holds_up_no_drain(own_daemon, second_daemon):
    keeper = own_daemon.start()
    client = second_daemon.start(f"--db-url={own_daemon.db_url}", "--shutdown-grace=2s", *LONG_WAITS)
    session_id = client.create()["sessionId"]
    lock = Connection(own_daemon.socket_directory)
    lock.run("BEGIN")
    lock.run("LOCK TABLE partitions IN ACCESS EXCLUSIVE MODE")
    refused = []
    thread = threading.Thread(
        target=lambda: refused.append(client.refusal("PauseSession", {"sessionId": session_id}, timeout=PATIENCE_SECONDS))
    )
    thread.start()
    until(lambda: lock.run(SOMEBODY_WAITS) == ["t"], "the lane does not wait")
    begin = time.monotonic()
    assert second_daemon.stop() == 0
    assert time.monotonic() - begin < STOP_SECONDS
    thread.join()
    assert refused[0].code == "UNAVAILABLE"
    lock.close()
    assert keeper.call("GetSession", {"sessionId": session_id})["state"] in ("ACTIVE", "PAUSED")
