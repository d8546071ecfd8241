"""The daemon's wall clock is set, forward and back, by an hour and by a day: nothing that waits
notices. PostgreSQL's own clock goes on, as that of another machine would.
"""

import os
import signal
import time

import pytest
from conftest import BUILD, moment
from processes import command_of, descendants
from stepped_clock import SteppedClock
from test_scenarios import events_of
from test_tasks import Work
from waits import until
from watching import Watch

# What is due in a second or so may take on a busy machine; an hour is longer.
NOTICED_SECONDS = 60
STEPS = [-3600, 3600, -86400, 86400]


@pytest.fixture
def clock():
    clock = SteppedClock(BUILD)
    yield clock
    clock.close()


@pytest.fixture
def stepped(own_daemon, clock):
    """A daemon whose wall clock the test steps."""
    own_daemon.client = own_daemon.start(
        before=["env", *(f"{name}={value}" for name, value in clock.environment.items())]
    )
    return own_daemon


def test_watches_have_their_heartbeats_and_changes(contract, stepped, clock):
    session_id = stepped.client.create()["sessionId"]
    with Watch(contract, stepped.address, sessionIds=[session_id], heartbeatInterval="1s") as watch:
        watch.bookmarked()
        for step in STEPS:
            clock.step(step)
            assert "heartbeat" in next(watch)
        stepped.client.call("PauseSession", {"sessionId": session_id})
        assert watch.change()["change"]["event"]["type"] == "PAUSED"


def test_silent_tasks_fail_and_heard_ones_do_not(stepped, clock):
    heard = Work(stepped.client, heartbeatTimeout="30s")
    for step in STEPS[:2]:
        silent = Work(stepped.client, heartbeatTimeout="1s")
        clock.step(step)
        until(lambda work=silent: work.call("GetTask")["status"] == "FAILED", seconds=NOTICED_SECONDS)
        heard.report("ReportTaskProgress")
        assert heard.call("GetTask")["status"] == "RUNNING"


def test_calls_are_dated_and_ended_as_ever(stepped, clock):
    client = stepped.client
    session_id = client.create()["sessionId"]
    increment = {
        "session": {"sessionId": session_id},
        "counterIncrements": {"total_tickets_generated": 1},
    }
    for step in STEPS:
        clock.step(step)
        client.call("UpdateSession", increment)
        # A lock that is not let go ends a call at its deadline, not an hour later.
        with stepped.locked(f"SELECT FROM sessions WHERE id = '{session_id}' FOR UPDATE"):
            began = time.monotonic()
            refused = client.refusal("UpdateSession", increment, timeout=1)
            assert refused.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
            assert time.monotonic() - began < 10
        session = client.create()
        assert client.call("GetSession", {"sessionId": session["sessionId"]})["recoverable"] is True
    times = [moment(event["eventTime"]) for event in events_of(client, session_id)]
    assert times == sorted(times)
    assert (times[-1] - times[0]).total_seconds() < 600, "the database's clock, which nobody set"


def test_readiness_follows_the_database(stepped, clock):
    def ready():
        return stepped.page("/readyz")[0] == 200

    until(ready, seconds=NOTICED_SECONDS)
    # Parents come first: for a moment, what the postmaster has forked is called as it is.
    postmaster = next(pid for pid in descendants(stepped.pid) if "postgres -D" in command_of(pid))
    family = [postmaster, *descendants(postmaster)]
    clock.step(-3600)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: not ready(), seconds=NOTICED_SECONDS)
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    clock.step(3600)
    until(ready, seconds=NOTICED_SECONDS)
