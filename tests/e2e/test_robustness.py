"""Sixteen callers at the same ten sessions, through two daemons of one database, while connections
are cut around COMMITs, and daemons, backends and PostgreSQL itself are killed, frozen and cut off:
held against the audit, nothing acknowledged is lost, nothing happens twice, and all of it could have
happened one after the other (history.py).

SESSIOND_TEST_SEED replays what goes wrong, as far as the machine does. SESSIOND_SOAK=1 makes ten times
as much of it.
"""

import collections
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import time

import pytest
from cluster import Pair, Single, await_end
from conftest import BUILD, Daemon
from hot_sessions import SETUP, Door, Load
from postgres_proxy import CUTS, PostgresProxy
from test_watch_random import Readers
from waits import until

SOAK = bool(os.environ.get("SESSIOND_SOAK"))
# Until a daemon has made a change again, or the load is as far as it should be.
PATIENCE_SECONDS = 120
# What may pass until the last change has reached the last watch.
CATCH_UP_SECONDS = 120
WATCHES = 2


@dataclasses.dataclass
class Plan:
    """How much there is of what; blows come in an order drawn from the seed."""

    # At least, in all.
    acknowledged: int
    operations: int
    # Of each kind, at least.
    cuts: int
    blows: dict
    # Of a hundred COMMITs, how many are cut in each of the ways.
    cut_percent: float = 2.5


ONE = Plan(1_500, 3_000, 10, {"daemon": 3, "backend": 2, "PostgreSQL": 3, "freeze": 2, "black hole": 2})
ONE_SOAK = Plan(
    50_000, 100_000, 500, {"daemon": 60, "backend": 40, "PostgreSQL": 40, "freeze": 20, "black hole": 20}
)
TWO = Plan(500, 1_000, 3, {"failover": 1, "backend": 1, "daemon": 1})
TWO_SOAK = Plan(5_000, 10_000, 50, {"failover": 2, "backend": 5, "daemon": 5, "freeze": 4, "black hole": 4})


class System:
    """PostgreSQL, a proxy with a route to each server for each daemon, two daemons, and who reaches
    them."""

    def __init__(self, contract, database, directory, seed):
        self._contract, self.database = contract, database
        servers = [["127.0.0.1", server.port] for server in database.servers]
        self.proxy = PostgresProxy(servers * 2, seed)
        self._routes_each = len(servers)
        self.daemons = [Daemon(contract), Daemon(contract)]
        self.doors = [None, None]
        # Where watches look (watch_reader.py).
        self.addresses = directory / "addresses"
        self._old = []
        migrate = [BUILD / "server/sessiond", "migrate", "up", f"--db-url={self._url(0)}"]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
        for number in range(2):
            self.start(number)

    def routes(self, daemon):
        return range(daemon * self._routes_each, (daemon + 1) * self._routes_each)

    @property
    def all_routes(self):
        return range(len(self.proxy.ports))

    def _url(self, daemon):
        ports = ",".join(str(self.proxy.ports[route]) for route in self.routes(daemon))
        hosts = ",".join(["127.0.0.1"] * self._routes_each)
        return f"host={hosts} port={ports} user=sessiond dbname=sessiond sslmode=disable"

    def start(self, number, **how):
        """Until it has started: what cuts its first connections ends it, and a service manager would
        do so, too. `how`: Daemon.spawn's."""
        daemon = self.daemons[number]
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                daemon.start(f"--db-url={self._url(number)}", **how).close()
                break
            except AssertionError:
                if time.monotonic() > give_up:
                    raise
                daemon.process.wait()
        if self.doors[number]:
            self._old.append(self.doors[number])
        self.doors[number] = Door(self._contract, daemon.address, number)
        self.say_addresses(self.daemons)

    def say_addresses(self, daemons):
        """Where watches go from now on."""
        fresh = self.addresses.with_suffix(".new")
        fresh.write_text(json.dumps([each.address for each in daemons if each.address]))
        fresh.rename(self.addresses)

    def heal(self):
        for route in self.all_routes:
            self.proxy.set_chances(route)
            self.proxy.swallow(route)
            self.proxy.set_delay(route, 0)

    def remove(self):
        for door in [*self._old, *self.doors]:
            if door:
                door.channel.close()
        for daemon in self.daemons:
            daemon.remove()
        self.proxy.remove()


class Blows:
    """What goes wrong besides COMMITs, one at a time."""

    def __init__(self, system, chance):
        self._system, self._chance = system, chance
        self.counts = collections.Counter()
        # (moment, daemon) from when on it could serve again.
        self.recoveries = []

    def strike(self, blow):
        what = getattr(self, "_" + blow.replace(" ", "_").lower())()
        self.counts[what] += 1
        return what

    def _daemon(self):
        number = self._chance.randrange(2)
        self._system.daemons[number].kill()
        self._system.start(number)
        return "kill -9 of a daemon"

    def _backends(self):
        query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'sessiond%'"
        return [int(pid) for pid in self._system.database.primary.sql(query).split()]

    def _backend(self):
        backends = self._backends()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._chance.choice(backends), signal.SIGKILL)
        await_end(backends)  # PostgreSQL ends the others, too, and recovers.
        self._system.database.wait_until_ready()
        self._served_again()
        return "kill -9 of a backend"

    def _postgresql(self):
        server = self._system.database.primary
        how = self._chance.choice(["at once", "postmaster", "immediate"])
        if how == "at once":
            server.kill()
        elif how == "postmaster":
            server.kill_postmaster()
        else:
            server.stop_at_once()
        server.start()
        self._served_again()
        return "kill -9 of PostgreSQL" if how != "immediate" else "immediate stop of PostgreSQL"

    def _failover(self):
        pair = self._system.database
        pair.fail_over()
        self._served_again()
        # The old primary comes back as one, and by turns is the first in the daemons' list of hosts.
        old = pair.standby
        old.wait_for_standby(False)
        old.start()
        yesterday = old.sql("SELECT sum(position) FROM partitions", "sessiond")
        time.sleep(self._chance.uniform(0.5, 2))
        assert old.sql("SELECT sum(position) FROM partitions", "sessiond") == yesterday, "written to of old"
        old.stop()
        pair.attach_standby()
        return "failover"

    def _freeze(self):
        frozen = self._chance.choice(["daemon", "backend"])
        pid = self._chance.choice([daemon.pid for daemon in self._system.daemons])
        if frozen == "backend":
            pid = self._chance.choice(self._backends())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.2, 2))
            os.kill(pid, signal.SIGCONT)
        return f"freeze of a {frozen}"

    def _black_hole(self):
        """Of one daemon's connections to the database; behind it they go on, or are cut."""
        proxy, routes = self._system.proxy, self._system.routes(self._chance.randrange(2))
        directions = self._chance.choice([["to_server"], ["to_client"], ["to_server", "to_client"]])
        for route in routes:
            proxy.swallow(route, *directions)
        time.sleep(self._chance.uniform(0.2, 2.5))
        cut = self._chance.random() < 0.5
        for route in routes:
            if cut:
                proxy.cut_all(route)
            proxy.swallow(route)
        return f"black hole {'both ways' if len(directions) == 2 else directions[0].replace('_', ' ')}"

    def _served_again(self):
        now = time.monotonic()
        self.recoveries += [(now, daemon) for daemon in range(2)]


def await_progress(load, done):
    def check():
        load.check_alive()
        return done()

    until(check, "the callers do not get on", PATIENCE_SECONDS)


def run(system, load, plan, chance):
    blows = Blows(system, chance)
    order = [blow for blow, count in plan.blows.items() for _ in range(count)]
    chance.shuffle(order)

    def set_up(apart, slow=0):
        # With each connection that is cut, a daemon forgets what it has cached: of those that are to
        # decide by that, fewer are.
        share = plan.cut_percent / (1000 if apart else 100)
        chances = {**{cut: share for cut in CUTS}, "hold": share / 4, "hold_answer": share / 4}
        for route in system.all_routes:
            system.proxy.set_chances(route, **chances)
            system.proxy.set_delay(route, slow)
        load.apart = apart

    set_up(apart=True)
    load.start()
    for number, blow in enumerate(order, 1):
        wanted = number * plan.acknowledged // (len(order) + 1)
        # As many again as there are callers: what is struck has something in hand.
        wanted = max(wanted, load.acknowledged + 16)
        await_progress(load, lambda wanted=wanted: load.acknowledged >= wanted)
        set_up(chance.random() < 0.5, chance.choice([0, 0, 0, 0.005]))
        what = blows.strike(blow)
        if not SOAK:
            print(f"{load.acknowledged}: {what}")
    await_progress(load, lambda: load.acknowledged >= plan.acknowledged and load.operations >= plan.operations)
    set_up(apart=False)
    while min(system.proxy.counts()[cut] for cut in CUTS) < plan.cuts:
        so_far = load.acknowledged
        await_progress(load, lambda so_far=so_far: load.acknowledged > so_far + 20)
    system.heal()
    load.stop()
    return blows


class Trial:
    """A load on a system, and watches that see all of it; afterwards, what of it cannot have happened."""

    def __init__(self, contract, directory, make, stack):
        """`make`: the database. `stack` ends it all."""
        self.seed = int(os.environ.get("SESSIOND_TEST_SEED", random.SystemRandom().randrange(2**32)))
        print(f"SESSIOND_TEST_SEED={self.seed}")
        self.chance = random.Random(self.seed)
        database = make()
        stack.callback(database.remove)
        self.system = System(contract, database, directory, self.seed)
        stack.callback(self.system.remove)
        self.load = Load(contract, self.system.doors, self.seed)
        self._readers = Readers(BUILD / "proto/sessiond.protoset", self.system, directory, self.seed)
        stack.callback(self._readers.end)
        self._readers.begin([{"sessionIds": self.load.session_ids, "heartbeatInterval": "1s"}] * WATCHES)
        told = self._readers.await_told(lambda told: all(each["bookmarked"] for each in told.values()))
        assert all(each["bookmarked"] for each in told.values())

    def await_told(self):
        """What each watch was told, once nothing changes any more."""
        due = self.load.read_all() - SETUP * len(self.load.session_ids)
        return self._readers.await_told(
            lambda told: all(len(each["changes"]) >= due for each in told.values()), CATCH_UP_SECONDS
        )

    def violations(self, told):
        return self.load.check({f"watch {n}": by_session(each["changes"]) for n, each in told.items()})


def explain(violations):
    return "\n".join(str(violation) for violation in violations[:20])


@pytest.mark.alone  # Callers that do not get on for two minutes fail it.
@pytest.mark.parametrize("plan, make", [
    pytest.param(ONE_SOAK if SOAK else ONE, Single, id="kills"),
    pytest.param(TWO_SOAK if SOAK else TWO, Pair, id="failovers"),
])  # fmt: skip
def test_all_that_was_told_is_one_history(contract, tmp_path, plan, make):
    with contextlib.ExitStack() as stack:
        trial = Trial(contract, tmp_path, make, stack)
        began = time.monotonic()
        blows = run(trial.system, trial.load, plan, trial.chance)
        took = time.monotonic() - began
        told = trial.await_told()
        began = time.monotonic()
        violations = trial.violations(told)
        report(trial.load, trial.system, blows, told, violations, took, time.monotonic() - began)
        assert not violations, explain(violations)


def by_session(changes):
    sequences = collections.defaultdict(list)
    for session_id, sequence, _ in changes:
        sequences[session_id].append(sequence)
    return sequences


def report(load, system, blows, told, violations, took, checking):
    counts = load.counts()
    cuts = {kind: count for kind, count in system.proxy.counts().items() if count}
    waits = [(load.served_since(*recovery), recovery) for recovery in blows.recoveries]
    served = sorted(wait for wait, _ in waits if wait is not None)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print("COMMITs:", ", ".join(f"{count} {what}" for what, count in cuts.items()))
    print("blows:", ", ".join(f"{count} × {what}" for what, count in blows.counts.items()))
    if served:
        print(
            f"served again {served[len(served) // 2]:.2f} s behind the database in the middle, "
            f"{served[-1]:.2f} s at most"
        )
    print(f"{sum(len(each['changes']) for each in told.values())} changes were told to {len(told)} watches")
    print(f"{len(violations)} violations; {took:.0f} s, and {checking:.0f} s to check")
