"""What came of the measurements, and the ratios that are promised: all taken within a round, because machines drift."""

import dataclasses
import statistics
from typing import NamedTuple

from operations import DURABLE, HOT, OPEN_IN_FLIGHT, OPERATIONS, ROWS, SIZED, ZIPF


class Key(NamedTuple):
    """What one line of the report is about."""

    who: str  # sessiond, pgbench, echo, naive, raw; `full` and `empty`: with many sessions loaded, and beside that
    operation: str
    level: int  # calls in flight, connections of pgbench, or sessions in a group of raw
    variant: str = ""  # zipf, hot: which keys; 25 %, …: open loop at this share of the knee


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A figure that something is promised of."""

    group: str
    name: str
    values: list  # one a round
    at_least: float | None = None  # what is promised
    proud: float | None = None  # what we would be proud of
    smaller: bool = False  # is better
    unit: str = ""
    digits: int = 2

    @property
    def median(self):
        return statistics.median(self.values)

    def reaches(self, wanted):
        return self.median <= wanted if self.smaller else self.median >= wanted


class Results:
    def __init__(self, facts=None, measurements=None):
        self.facts = facts or {}  # about the machine, the versions, the loader; what was measured once
        self.measurements = measurements or {}  # Key → reports, each with its `round`

    def record(self, key, number, report):
        self.measurements.setdefault(key, []).append({"round": number, **report})

    def operations(self):
        """Those that were measured, in their usual order."""
        return [name for name in OPERATIONS if any(key.operation == name for key in self.measurements)]

    def levels(self, who, operation, variant=""):
        return sorted(key.level for key in self.measurements
                      if (key.who, key.operation, key.variant) == (who, operation, variant))

    def values(self, key, get="per_second"):
        """{round: value}; `get` is a field of the reports, or a function of one."""
        get = get if callable(get) else lambda report, field=get: report[field]
        return {report["round"]: get(report) for report in self.measurements.get(key, [])}

    def median(self, key, get="per_second"):
        return statistics.median(self.values(key, get).values())

    def best(self, operation):
        """The key of pgbench's best number of connections; None when it was not asked."""
        keys = [Key("pgbench", operation, level) for level in self.levels("pgbench", operation)]
        return max(keys, key=self.median, default=None)

    def knee(self, who, operation):
        """The most that a closed loop has reached so far, calls a second; 0 when there was none."""
        return max((report["per_second"] for key, reports in self.measurements.items()
                    if (key.who, key.operation, key.variant) == (who, operation, "") for report in reports), default=0)

    def quotients(self, above, below, get="per_second", get_below=None):
        """One a round in which both were measured."""
        tops, bottoms = self.values(above, get), self.values(below, get_below or get)
        return [tops[number] / bottoms[number] for number in tops if number in bottoms]

    def ratios(self):
        """Every one that this run allows, in the order of the promises."""
        return [ratio for ratio in [*self._against_others(), *self._by_itself(), *self._size(), *self._watch()]
                if ratio.values]

    def _against_others(self):
        for operation in DURABLE:
            yield self._ratio("against pgbench, its best", operation, Key("sessiond", operation, 256),
                              self.best(operation), 1.6, 2.3)
        for operation in self.operations():
            if operation not in DURABLE and self.best(operation) and operation != "get":
                yield self._ratio("against pgbench, its best", operation, Key("sessiond", operation, 256),
                                  self.best(operation))
        for operation in DURABLE:
            yield self._ratio("against the naive daemon", operation, Key("sessiond", operation, 256),
                              Key("naive", operation, 256), 3, 4.5)
        yield self._ratio("against the naive daemon", "get", Key("sessiond", "get", 256), Key("naive", "get", 256),
                          4, 5)
        yield self._ratio("against the echo", "get", Key("sessiond", "get", 256), Key("echo", "get", 256), 0.6, 0.8)
        for operation in DURABLE:
            yield self._ratio("against raw groups of 64", operation, Key("sessiond", operation, 256),
                              Key("raw", operation, 64))
        for operation in DURABLE:
            yield Ratio("CPU per change, daemon + PostgreSQL / pgbench's PostgreSQL", OPERATIONS[operation].name,
                        self.quotients(Key("sessiond", operation, 256), self.best(operation), server_cpu, server_cpu),
                        0.6, 0.4, smaller=True)
        for operation in (*DURABLE, "get"):
            yield self._alone(operation, operation, 1.5, 1.2)
        # Pgbench's rows are in use.
        yield self._alone("cold", "advance")

    def _alone(self, operation, parts, at_least=None, proud=None):
        ours = self.values(Key("sessiond", operation, 1), "p50_us")
        direct = self.values(Key("pgbench", parts, 1), "p50_us")
        echo = self.values(Key("echo", parts, 1), "p50_us")
        return Ratio("p50 with one call in flight / (pgbench with one connection + echo)", OPERATIONS[operation].name,
                     [ours[number] / (direct[number] + echo[number]) for number in ours
                      if number in direct and number in echo], at_least, proud, smaller=True)

    def _by_itself(self):
        for operation in HOT:
            yield self._ratio("one hot session / uniform keys", operation, Key("sessiond", operation, 256, "hot"),
                              Key("sessiond", operation, 256), 0.5, 0.8)
        peaks = {}
        for key in self.measurements:
            if key.who == "sessiond" and key.level == 512:
                for number, mib in self.values(key, "rss_mib").items():
                    peaks[number] = max(peaks.get(number, 0), mib)
        sessions = self.facts.get("loaded", {}).get("sessions", 0)
        yield Ratio("the daemon's resident memory, at most", f"512 in flight, {count_of(sessions)} behind it",
                    list(peaks.values()), 128, 64, smaller=True, unit="MiB", digits=0)

    def _size(self):
        if "loaded" not in self.facts:
            return
        sessions = count_of(self.facts["loaded"]["sessions"])
        for operation in SIZED:
            yield self._ratio(f"throughput with {sessions} / empty tables", operation, Key("full", operation, 256),
                              Key("empty", operation, 256), 0.85, 0.95)
        # The same with no more sessions in use than with empty tables, and as people use many.
        for operation in ("messages256", "get", "update"):
            yield self._ratio(f"the same, {ROWS:,} of them in use", operation, Key("sessiond", operation, 256),
                              Key("empty", operation, 256))
        for operation in ZIPF:
            yield self._ratio("the same, all of them in use by Zipf's law", operation,
                              Key("full", operation, 256, "zipf"), Key("empty", operation, 256))
        for operation in ("get", "list"):
            values = self.values(Key("full", operation, OPEN_IN_FLIGHT, "50 %"), lambda report: report["p99_us"] / 1000)
            yield Ratio(f"p99 at 50 % load, {sessions}", OPERATIONS[operation].name, list(values.values()), 5, 2,
                        smaller=True, unit="ms", digits=1)

    def _watch(self):
        watch = self.facts.get("watch")
        if watch is None:
            return
        for where, wanted in (("same daemon", 20), ("other daemon", 150)):
            yield Ratio("watch: commit to delivery, p99", where, [watch[where]["p99_ms"]], wanted, smaller=True,
                        unit="ms", digits=1)
        yield Ratio("watch: writes with 1,000 watchers that match nothing / without", OPERATIONS["update"].name,
                    [with_them / without for without, with_them in watch["pairs"]], 0.8)

    def _ratio(self, group, operation, above, below, at_least=None, proud=None):
        return Ratio(group, OPERATIONS[operation].name, self.quotients(above, below) if below else [], at_least, proud)

    def as_json(self):
        return {
            **self.facts,
            "measurements": [{**key._asdict(), "rounds": reports} for key, reports in self.measurements.items()],
            "ratios": [{**dataclasses.asdict(ratio), "median": ratio.median} for ratio in self.ratios()],
        }

    @classmethod
    def from_json(cls, document):
        measurements = {Key(*(line[field] for field in Key._fields)): line["rounds"]
                        for line in document["measurements"]}
        facts = {name: value for name, value in document.items() if name not in ("measurements", "ratios")}
        return cls(facts, measurements)


def server_cpu(report):
    """CPU per request of all that stand behind a connection: the daemon, if there is one, and PostgreSQL."""
    return report["cpu_us"].get("server", 0) + report["cpu_us"]["postgres"]


def count_of(sessions):
    """As people say it: `10 million sessions`, `empty tables`."""
    if not sessions:
        return "empty tables"
    return f"{sessions / 1e6:g} million sessions" if sessions >= 1e6 else f"{sessions:,} sessions"
