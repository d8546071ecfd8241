"""A pair of servers, two daemons that know both, and callers who go on through failovers, killed
daemons and killed backends: nothing acknowledged is lost, nothing happens twice, no read is older
than what was acknowledged, and nothing is ever written to a primary of yesterday.

SESSIOND_SOAK=1 has more of each, and prints how long callers had to wait.
"""

import os
import random
import signal
import subprocess
import threading
import time

import pytest
from cluster import Pair
from conftest import BUILD, Daemon, Refused
from test_crash import ATTEMPT_SECONDS, CHANGE_SECONDS, Writer
from waits import until

SOAK = bool(os.environ.get("SESSIOND_SOAK"))
WRITERS = 8
FAILOVERS = 2 if SOAK else 1
KILLS = 40 if SOAK else 4


class Caller(Writer):
    """A writer that takes the other daemon when one refuses, and reads at both what it was told."""

    def __init__(self, daemons, number, stop):
        self._daemons = daemons
        self._turn = number
        self._ended = stop
        self.waits = []
        self.stale = []
        super().__init__(self._next_client(), 10**6, True)

    def _next_client(self):
        self._turn += 1
        return self._daemons[self._turn % len(self._daemons)].client

    def run(self):
        try:
            for n in range(self._changes_max):
                if self._ended.is_set():
                    return
                self.pending = self._change(n)
                began = time.monotonic()
                self._acknowledge()
                self.waits.append(time.monotonic() - began)
                self._read(self.last)
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self.error = error

    def _acknowledge(self):
        give_up = time.monotonic() + CHANGE_SECONDS
        while True:
            try:
                request_id = self.pending[1]["requestId"]
                self.finish(self._next_client(), timeout=ATTEMPT_SECONDS)
                self.last = self.acknowledged[request_id]
                return True
            except Refused as refused:
                if refused.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def _read(self, acknowledged):
        for daemon in self._daemons:
            for method, request in [
                ("GetSession", {"sessionId": self.session_id}),
                ("ListSessions", {"filter": f'session_id = "{self.session_id}"'}),
            ]:
                try:
                    answer = daemon.client.call(method, request, timeout=ATTEMPT_SECONDS)
                except Refused as refused:
                    if refused.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                        continue  # No answer is no wrong one.
                    raise
                found = answer if method == "GetSession" else answer.get("sessions", [{}])[0]
                if found.get("sequence") != acknowledged["sequence"]:
                    self.stale.append((method, found, acknowledged))


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.remove()


@pytest.fixture
def daemons(contract, pair):
    subprocess.run([BUILD / "server/sessiond", "migrate", "up", f"--db-url={pair.url}"], check=True)
    both = [Daemon(contract), Daemon(contract)]
    for daemon in both:
        daemon.client = daemon.start(f"--db-url={pair.url}")
    yield both
    for daemon in both:
        daemon.remove()


def positions(server):
    return server.sql("SELECT sum(position) FROM partitions", "sessiond")


def backends_of(server):
    return server.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'sessiond%'"
    ).split()


def kill_a_backend(chance, server):
    def killed():
        try:
            os.kill(int(chance.choice(backends_of(server))), signal.SIGKILL)
            return True
        except (IndexError, ProcessLookupError):  # Lanes connect anew, meanwhile too.
            return False

    until(killed, "no backend is there", CHANGE_SECONDS)


def test_callers_go_on_through_failovers_and_kills(pair, daemons):
    stop = threading.Event()
    callers = [Caller(daemons, number, stop) for number in range(WRITERS)]
    for caller in callers:
        caller.start()
    chance = random.Random(7)

    def await_progress(changes):
        """Until each caller has been told of so many changes more."""
        wanted = {caller: len(caller.acknowledged) + changes for caller in callers}
        until(
            lambda: all(len(c.acknowledged) >= n or c.error is not None for c, n in wanted.items()),
            seconds=CHANGE_SECONDS,
        )

    for _ in range(FAILOVERS):
        for _ in range(KILLS // (2 * FAILOVERS)):
            await_progress(3)
            kill_a_backend(chance, pair.primary)
        await_progress(3)
        pair.fail_over()
        await_progress(5)
        # The old primary comes back as one, and by turns is the first in the daemons' list of hosts.
        old = pair.standby
        old.wait_for_standby(False)
        old.start()
        yesterday = positions(old)
        for _ in range(KILLS // (2 * FAILOVERS)):
            await_progress(3)
            for backend in backends_of(pair.primary)[::2]:
                pair.primary.sql(f"SELECT pg_terminate_backend({backend})")
        await_progress(5)
        assert positions(old) == yesterday, "a primary of yesterday was written to"
        old.stop()
        pair.attach_standby()
    await_progress(10)
    stop.set()
    for caller in callers:
        caller.join()
    for caller in callers:
        assert caller.error is None, caller.error
        assert not caller.stale, caller.stale[0]
        for daemon in daemons:
            caller.assert_nothing_is_lost(daemon.client)
    waits = sorted(wait for caller in callers for wait in caller.waits)
    print(
        f"{len(waits)} changes; waited {waits[len(waits) // 2] * 1000:.0f} ms in the middle, "
        f"{waits[len(waits) * 99 // 100] * 1000:.0f} ms at the 99th percentile, "
        f"{waits[-1]:.2f} s at most"
    )
