"""Killed in the middle of its work: what was acknowledged is there, what was repeated happened
once, and nothing is left behind.

SESSIOND_SOAK=1 multiplies the rounds.
"""

import os
import random
import select
import signal
import threading
import time
import uuid

import pytest
from conftest import Refused
from processes import command_of, descendants
from test_scenarios import assert_chained, events_of

WRITERS = 8
ROUNDS = 50 if os.environ.get("SESSIOND_SOAK") else 3
# Of each writer that is to go on whatever happens: twice what the rounds take of all of them.
CHANGES = 40 * ROUNDS
# What PostgreSQL may take to end once nobody needs it any more.
END_SECONDS = 30
# What a change may take, all its repetitions together, while the database is killed and recovers.
CHANGE_SECONDS = 60
# What one of them may be kept for.
ATTEMPT_SECONDS = 10


class Writer(threading.Thread):
    """Changes a session of its own over and over, and remembers what was acknowledged. A change
    that was not stays in `pending`; it is repeated with its request id if the writer is to insist,
    else it is the last."""

    def __init__(self, client, changes_max, insists, on_acknowledged=lambda: None):
        super().__init__()
        self._client = client
        self._changes_max = changes_max
        self._insists = insists
        self._on_acknowledged = on_acknowledged
        self.session_id = client.create()["sessionId"]
        self.acknowledged = {}
        self.pending = None
        self.error = None

    def run(self):
        try:
            for n in range(self._changes_max):
                self.pending = self._change(n)
                if not self._acknowledge():
                    return
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self.error = error

    def _change(self, n):
        request_id = str(uuid.uuid4())
        if n % 3 < 2:
            method = ["PauseSession", "ResumeSession"][n % 3]
            return method, {"sessionId": self.session_id, "requestId": request_id}
        return "UpdateSession", {
            "session": {"sessionId": self.session_id},
            "counterIncrements": {"total_tickets_generated": 1},
            "requestId": request_id,
        }

    def _acknowledge(self):
        give_up = time.monotonic() + CHANGE_SECONDS
        while True:
            try:
                self.finish(self._client, timeout=ATTEMPT_SECONDS)
                self._on_acknowledged()
                return True
            except Refused as refused:
                if not self._insists:
                    return False
                if refused.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)  # As RetryInfo asks, a tenth of it.

    def finish(self, client, **options):
        """Sends what is pending, the first time or once more."""
        method, request = self.pending
        self.acknowledged[request["requestId"]] = client.call(method, request, **options)
        self.pending = None

    def assert_nothing_is_lost(self, client):
        assert self.error is None, self.error
        if self.pending:
            self.finish(client)
        events = events_of(client, self.session_id)
        assert_chained(events)
        by_request = {event["requestId"]: event for event in events[1:]}
        assert len(by_request) == len(events) - 1, "a request took effect twice"
        assert by_request.keys() == self.acknowledged.keys()
        for request_id, session in self.acknowledged.items():
            event = by_request[request_id]
            assert session["sequence"] == event["sequence"]
            assert session["state"] == event["newState"]
        *_, last = self.acknowledged.values()
        assert client.call("GetSession", {"sessionId": self.session_id}) == last


class Family:
    """The processes below one, held so that their ends can be awaited."""

    def __init__(self, pid):
        self._commands = {}
        for child in descendants(pid):
            try:
                self._commands[os.pidfd_open(child)] = command_of(child)
            except (FileNotFoundError, ProcessLookupError):
                pass  # It has ended since.

    def assert_it_ends(self):
        left = dict(self._commands)
        poll = select.poll()
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        give_up = time.monotonic() + END_SECONDS
        while left and time.monotonic() < give_up:
            for descriptor, _ in poll.poll(1000):
                poll.unregister(descriptor)
                del left[descriptor]
        for descriptor in self._commands:
            os.close(descriptor)
        assert not left, list(left.values())


def postgres_of(daemon, other_than=None):
    """The pids of PostgreSQL itself, once it is another process, and of its backends that serve
    the daemon."""
    give_up = time.monotonic() + CHANGE_SECONDS
    while time.monotonic() < give_up:
        commands = {}
        for pid in descendants(daemon.pid):
            try:
                commands[pid] = command_of(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass
        postmasters = [pid for pid, command in commands.items() if "postgres -D" in command]
        backends = [pid for pid, command in commands.items() if "postgres: sessiond" in command]
        # Parents come first: for a moment, what the postmaster has forked is called as it is.
        if backends and postmasters and postmasters[0] != other_than:
            return postmasters[0], backends
        time.sleep(0.02)
    raise AssertionError(commands)


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_left_behind(own_daemon):
    writers = []
    for number in range(ROUNDS):
        client = own_daemon.start()
        for writer in writers:  # Of the rounds before, too: this is one more recovery.
            writer.assert_nothing_is_lost(client)
        enough = threading.Semaphore(0)
        here = [Writer(client, 10**6, False, enough.release) for _ in range(WRITERS)]
        for writer in here:
            writer.start()
        for _ in range(random.Random(number).randrange(20, 300)):
            assert enough.acquire(timeout=CHANGE_SECONDS)
        family = Family(own_daemon.pid)
        own_daemon.kill()
        for writer in here:
            writer.join()
        writers = [*writers[-3 * WRITERS :], *here]
        client = own_daemon.start()  # At once, as a service manager would.
        for writer in here:
            writer.assert_nothing_is_lost(client)
        family.assert_it_ends()
        family = Family(own_daemon.pid)
        client.close()
        assert own_daemon.stop() == 0
        family.assert_it_ends()


@pytest.mark.parametrize("victim", ["a backend", "PostgreSQL"])
def test_changes_that_are_repeated_happen_once_though_the_database_is_killed(own_daemon, victim):
    client = own_daemon.start()
    progress = threading.Semaphore(0)
    writers = [Writer(client, CHANGES, True, progress.release) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    chance = random.Random(victim)
    killed = None
    for _ in range(ROUNDS):
        postgres_of(own_daemon, killed)
        while progress.acquire(blocking=False):
            pass
        for _ in range(chance.randrange(20, 20 * WRITERS)):
            assert progress.acquire(timeout=CHANGE_SECONDS)
        postmaster, backends = postgres_of(own_daemon)
        killed = postmaster if victim == "PostgreSQL" else chance.choice(backends)
        os.kill(killed, signal.SIGKILL)
    for writer in writers:
        writer.join()
    for writer in writers:
        assert len(writer.acknowledged) == CHANGES or writer.error
        writer.assert_nothing_is_lost(client)
    family = Family(own_daemon.pid)
    client.close()
    assert own_daemon.stop() == 0
    family.assert_it_ends()
