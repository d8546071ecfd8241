"""The run: which parts are started, and what is measured in which order."""

import contextlib
import itertools
import os
import random
import subprocess
import time

import loader
import watch
from machine import Trouble, duration, fdatasync_us, file_system, memory_mib, processor, say, sequential_mb
from operations import (HOT, OPEN_IN_FLIGHT, OPEN_LOOP, OPERATIONS, ROWS, SHARES, SIZED, WARM_UP, ZIPF)
from parts import HERE, Daemon, Echo, Load, Naive, Raw, ghz, pgbench
from results import Key, Results

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size",
            "checkpoint_timeout")
ECHO_LEVELS = (1, 256)
QUICK_IN_FLIGHT = {1, 128, 256, 512}
QUICK_CONNECTIONS = {1, 32, 64}


class Run:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.results = Results()
        self.sessiond = options.build / "server/sessiond"
        self.bench = options.build / "tests/bench/sessiond_bench"
        self.operations = {name: OPERATIONS[name] for name in OPERATIONS if name in options.only}
        self.measured = options.seconds - WARM_UP
        self.steps_done = self.steps_planned = 0
        self.steps_begin = 0.0

    def measure(self):
        facts = self.results.facts
        facts.update(rounds=self.options.rounds, seconds=self.options.seconds, cores=os.cpu_count(),
                     processor=processor(), file_system=file_system(self.directory), load_average=[],
                     fdatasync_us=[], sequential_mb_per_second=[], version=self.version())
        if self.operations:
            with contextlib.ExitStack() as parts:
                self.start(parts)
                self.prepare()
                for number in range(self.options.rounds):
                    self.round(number)
                facts["rss_mib"]["after"] = memory_mib(self.daemon.pid)
                if self.options.ghz:
                    say("ghz")
                    facts["ghz"] = ghz(self.options.ghz, self.daemon, 2 * self.options.seconds)
        if "watch" in self.options.only:
            facts["watch"] = watch.measure(self.sessiond, self.bench, self.directory, self.options)

    def version(self):
        done = subprocess.run([self.sessiond, "version"], stdout=subprocess.PIPE, text=True)
        return done.stdout.strip().partition("\n")[0] or "unknown version"

    def start(self, parts):
        """Everything that is measured side by side."""
        def started(part):
            parts.callback(part.stop)
            return part

        flags, settings = self.options.daemon_flag, self.options.pg_settings.split()
        facts = self.results.facts
        data = self.options.keep or self.directory / "full"
        data.mkdir(exist_ok=True)
        data.chmod(0o755)  # PostgreSQL may run as another user, and has to get through.
        if self.options.sessions:
            facts["loaded"] = loader.provide(self.sessiond, data, self.options.sessions, flags)
        self.daemon = started(Daemon(self.sessiond, data, flags, settings))
        if self.options.warm:
            facts["warm"] = loader.warm(self.daemon)
        time.sleep(1)  # At rest: whatever a start leaves to do has been done.
        facts["rss_mib"] = {"at_rest": memory_mib(self.daemon.pid)}
        self.echo = started(Load(self.bench, started(Echo(self.bench))))
        self.naive = started(Load(self.bench, started(Naive(self.bench, self.prepared(self.daemon)))))
        self.raw = started(Raw(self.bench, self.daemon))
        self.load = started(Load(self.bench, self.daemon))
        if self.options.sessions:
            (self.directory / "empty").mkdir()
            (self.directory / "empty").chmod(0o755)
            empty = started(Daemon(self.sessiond, self.directory / "empty", flags, settings))
            self.empty = started(Load(self.bench, empty))

    def prepared(self, daemon):
        """`daemon`, with rows for pgbench and the naive daemon."""
        partitions = daemon.sql("-c", "SELECT partition_count FROM database_identity")
        if partitions != "64":
            raise Trouble(f"the pgbench scripts are for 64 partitions, and there are {partitions}")
        say("preparing: rows for pgbench")
        daemon.sql("-f", HERE / "prepare.sql")
        settings = {name: daemon.sql("-c", f"SHOW {name}") for name in SETTINGS}
        self.results.facts["postgres"] = {"version": daemon.sql("-c", "SHOW server_version").split()[0],
                                          "settings": settings}
        return daemon

    def prepare(self):
        """Gives every load generator the sessions that its calls are about."""
        for name, load in self.loads():
            wanted = {what.prepare for operation, what in self.operations.items() if what.prepare
                      and (name in ("sessiond", *what.beside) or name == "empty" and operation in SIZED)}
            for prepare in sorted(wanted):
                say(f"preparing: sessions to {prepare}, {name}")
                # The echo keeps nothing, and the naive daemon takes long: fewer rows are in its favour.
                rows = ROWS if name in ("sessiond", "empty") else ROWS // 4
                if prepare == "cold":  # Each is used once; one call alone takes longer than half a millisecond.
                    rows = int(2000 * self.options.seconds * self.options.rounds)
                load.say(f"prepare {prepare} {rows}")

    def loads(self):
        yield from (("sessiond", self.load), ("echo", self.echo), ("naive", self.naive))
        if self.options.sessions:
            yield "empty", self.empty

    def round(self, number):
        facts = self.results.facts
        facts["fdatasync_us"].append(dict(zip(("p50", "p99"), fdatasync_us(self.directory))))
        facts["sequential_mb_per_second"].append(sequential_mb(self.directory))
        facts["load_average"].append(os.getloadavg()[0])
        if "advance" in self.operations:
            self.provide_advances()
        steps = list(self.steps())
        if number == 0:
            # The open loop waits for a knee.
            self.steps_planned = len(steps) * self.options.rounds
            self.steps_begin = time.monotonic()
        for key, measure in steps if number % 2 == 0 else reversed(steps):
            self.tell(number, key)
            self.results.record(key, number, measure())
            self.steps_done += 1

    def tell(self, number, key):
        what = f"{OPERATIONS[key.operation].name}, {key.who}, {key.level} {key.variant}".rstrip()
        left = ""
        if self.steps_done > 5:
            each = (time.monotonic() - self.steps_begin) / self.steps_done
            left = f", about {duration(each * max(self.steps_planned - self.steps_done, 1))} left"
        say(f"round {number + 1} of {self.options.rounds}{left} · {what}")

    def provide_advances(self):
        """Creates what sessions this round will advance: half as many again as in the best round, so that they last.

        They are in use then, in this round as in any other, as pgbench's rows are.
        """
        for name, load in self.loads():
            asked = {"sessiond": ["sessiond", "full"]}.get(name, [name])
            levels = [key for key, _ in self.steps() if key.operation == "advance" and key.who in asked]
            best = sum(max(self.results.values(key).values(), default=60 * key.level + 6000) for key in levels)
            say(f"preparing: sessions to advance, {name}")
            load.say(f"prepare advance {int(1.5 * self.options.seconds * best)}")
        # What was prepared is reason enough for autovacuum to come while something is measured that leaves it none.
        self.daemon.sql("-c", "VACUUM (ANALYZE) sessions, session_events, session_requests")

    # The steps of a round: a key, and what measures it.

    def steps(self):
        for operation, what in self.operations.items():
            others = itertools.chain(self.pgbench_steps(operation, what), self.other_steps(operation, what))
            # The greatest beside the greatest, as long as there are some of both.
            for ours, theirs in itertools.zip_longest(self.closed_steps(operation, what), others):
                yield from filter(None, (ours, theirs))
        for operation in self.operations:
            yield from self.key_steps(operation)
            yield from self.open_steps(operation)
            if self.options.sessions:
                yield from self.size_steps(operation)

    def call_step(self, who, load, operation, level, variant="", rate=None, before=(), after=()):
        """A measurement through gRPC, with what the generator is told before and after it."""
        def measure():
            for command in before:
                load.say(command)
            try:
                return load.measure(f"{operation} {level} {self.measured}" + (f" {rate:.0f}" if rate else ""))
            finally:
                for command in after:
                    load.say(command)
        return Key(who, operation, level, variant), measure

    def closed_steps(self, operation, what):
        levels = QUICK_IN_FLIGHT.intersection(what.in_flight) if self.options.quick else what.in_flight
        for level in sorted(levels, reverse=True):
            yield self.call_step("sessiond", self.load, operation, level)

    def pgbench_steps(self, operation, what):
        levels = QUICK_CONNECTIONS.intersection(what.connections) if self.options.quick else what.connections
        for level in sorted(levels, reverse=True):
            yield (Key("pgbench", operation, level),
                   lambda n=level: pgbench(self.daemon, operation, n, self.options.seconds))

    def other_steps(self, operation, what):
        if "naive" in what.beside:
            yield self.call_step("naive", self.naive, operation, 256)
        if "raw" in what.beside:
            yield Key("raw", operation, Raw.GROUP), lambda: self.raw.measure(operation, self.measured)
        if "echo" in what.beside:
            for level in ECHO_LEVELS:
                yield self.call_step("echo", self.echo, operation, level)

    def key_steps(self, operation):
        for variant, who in (("zipf", ZIPF), ("hot", HOT)):
            if operation in who:
                yield self.call_step("sessiond", self.load, operation, 256, variant,
                                     before=[f"keys {variant}"], after=["keys uniform"])

    def open_steps(self, operation):
        knee = self.results.knee("sessiond", operation)
        if operation in OPEN_LOOP and knee:
            for share in SHARES:
                yield self.call_step("sessiond", self.load, operation, OPEN_IN_FLIGHT, f"{share} %", knee * share / 100)

    def size_steps(self, operation):
        """The same with all of the sessions loaded in use, and with none there."""
        adopt, leave = f"adopt {self.options.sessions}", "adopt 0"
        adopted = {"before": [adopt], "after": [leave]}
        if operation in (*SIZED, "list"):
            yield self.call_step("full", self.load, operation, 256, **adopted)
        if operation in SIZED:
            yield self.call_step("empty", self.empty, operation, 256)
        if operation in ZIPF:
            yield self.call_step("full", self.load, operation, 256, "zipf",
                                 before=[adopt, "keys zipf"], after=["keys uniform", leave])
        knee = self.results.knee("full", operation)
        if operation in ("get", "list") and knee:
            yield self.call_step("full", self.load, operation, OPEN_IN_FLIGHT, "50 %", knee / 2, **adopted)
