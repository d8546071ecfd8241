"""Killed or frozen between two steps of which the second is then late, or never comes: at each place that
the daemon names (db/base/failpoint.h), nothing that was acknowledged is lost, and nothing happens twice.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import time

import pytest
from cluster import Single
from conftest import BUILD
from test_robustness import SOAK, Trial, await_progress, explain

ARMED = BUILD / "tests/sessiond_failpoints"
START = ["cluster-made", "cluster-started", "migration-applied", "migration-committed"]
UNDER_LOAD = ["group-decided", "group-committed", "group-published", "group-answered", "changes-read"]
# A place that is not reached in this time is not reached at all.
PATIENCE_SECONDS = 60
# While one daemon is frozen, the other one makes so many changes.
MEANWHILE = 10


def armed(point, at, signal_name):
    return ["env", f"FAILPOINT={point}:{at}:{signal_name}"]


def test_each_place_is_one_of_these():
    names = subprocess.run(
        [ARMED], env={**os.environ, "FAILPOINT": "names"}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    assert sorted(names) == sorted(START + UNDER_LOAD)


@pytest.mark.parametrize("point", START)
def test_a_start_that_is_killed_is_begun_again(own_daemon, point):
    process = own_daemon.spawn(before=armed(point, 1, "kill"), program=ARMED)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    client = own_daemon.start()
    session = client.create()
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session


def stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


class Blows:
    """One daemon of two is armed, ends or stands still, and comes back."""

    def __init__(self, system, load, chance):
        self._system, self._load, self._chance = system, load, chance

    def _await_changes(self, count):
        wanted = self._load.acknowledged + count
        await_progress(self._load, lambda: self._load.acknowledged >= wanted)

    def strike(self, point, what):
        number = self._chance.randrange(2)
        at = self._chance.choice([1, 2, 20])
        # Of sessions that have a daemon of their own it decides by what it has cached.
        self._load.apart = self._chance.random() < 0.5
        daemon = self._system.daemons[number]
        daemon.kill()
        self._system.start(number, before=armed(point, at, what), program=ARMED)
        if point == "changes-read":
            # Of the changes that the other one makes: all watches come over here.
            self._system.daemons[1 - number].kill()
            self._system.start(1 - number)
            self._system.say_addresses([daemon])
        process = daemon.process
        give_up = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and not stopped(process.pid):
            self._load.check_alive()
            assert time.monotonic() < give_up, f"{point} is not reached {at} times"
            time.sleep(0.01)
        if what == "kill":
            assert process.returncode == -signal.SIGKILL
            self._await_changes(1)
            self._system.start(number)
        else:
            assert process.poll() is None, "it ended"
            try:
                self._await_changes(MEANWHILE)
            finally:
                process.send_signal(signal.SIGCONT)
        self._system.say_addresses(self._system.daemons)
        self._await_changes(MEANWHILE)
        if not SOAK:
            print(f"{self._load.acknowledged} acknowledged: {what} at {point}, {at}")


@pytest.mark.alone  # Callers that do not get on for two minutes fail it.
def test_nothing_is_lost_or_done_twice(contract, tmp_path):
    with contextlib.ExitStack() as stack:
        trial = Trial(contract, tmp_path, Single, stack)
        trial.load.start()
        blows = Blows(trial.system, trial.load, trial.chance)
        for what, point in [*itertools.product(("kill", "freeze"), UNDER_LOAD)] * (10 if SOAK else 1):
            blows.strike(point, what)
        trial.load.stop()
        violations = trial.violations(trial.await_told())
        print(", ".join(f"{count} {what}" for what, count in trial.load.counts().items()))
        assert not violations, explain(violations)
