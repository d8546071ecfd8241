"""How soon watchers see what was committed, at the same daemon and at another, and what watchers cost writers."""

import contextlib
import time

from machine import Trouble, memory_mib, say
from operations import OPEN_IN_FLIGHT, ROWS
from parts import HERE, Daemon, Load, Talker

RATE = 5000  # changes a second
REACHED = 0.97  # of the rate: less is a machine that cannot do it
SHARING = 100  # watchers that see all changes between them, beside one that sees all by itself
IDLE = 1000  # watchers that match nothing
PAIRS = 5
REPEATED = 3  # the middle one counts


def measure(sessiond, bench, directory, options):
    """Milliseconds from commit to delivery, and pairs (writes a second without watchers, with idle ones)."""
    directory = directory / "watch"
    directory.mkdir()
    directory.chmod(0o755)
    flags = options.daemon_flag
    settings = ("track_commit_timestamp=on", *options.pg_settings.split())
    result = {"rate_wanted": RATE, "sharing": SHARING, "idle": IDLE, "pairs": []}
    with contextlib.ExitStack() as parts:
        def started(part):
            parts.callback(part.stop)
            return part

        say("watch: preparing")
        daemon = started(Daemon(sessiond, directory, flags, settings=settings))
        other = started(Daemon(sessiond, directory, flags, beside=daemon))
        load = started(Load(bench, daemon))
        load.say(f"prepare update {ROWS}")
        load.measure("update 256 1")  # Warm.
        seconds = options.seconds * (1 if options.quick else 2)
        for where, target in (("same daemon", daemon), ("other daemon", other)):
            say(f"watch: from commit to delivery, {where}")
            watchers = started(Talker(bench, "watch", f"--target={target.target}"))
            result[where] = deliveries(daemon, load, watchers, directory / "seen", seconds, RATE)
            reached = result[where]["rate"]
            if reached < REACHED * RATE:
                # Whatever is late then waits in line. What it is like where there is none:
                result[f"{where}, eased"] = deliveries(daemon, load, watchers, directory / "seen", seconds, reached / 2)
            watchers.stop()
        watchers = started(Talker(bench, "watch", f"--target={daemon.target}"))
        for number in range(2 if options.quick else PAIRS):
            say(f"watch: writes with and without {IDLE:,} watchers, pair {number + 1}")
            result["pairs"].append(pair(load, watchers, options.seconds, number % 2 == 0))
        watchers.say(f"open nothing {IDLE}")
        time.sleep(1)  # At rest.
        result["rss_mib_idle"] = memory_mib(daemon.pid)
    return result


def deliveries(*arguments):
    """The middle one of some measurements, by the 99th percentile."""
    measured = sorted((deliveries_once(*arguments) for _ in range(REPEATED)), key=lambda result: result["p99_ms"])
    return measured[REPEATED // 2]


def deliveries_once(daemon, load, watchers, file, seconds, rate):
    """Changes at a steady rate, seen by one watcher that sees all and by those that share them."""
    watchers.say("open all 1")
    watchers.say(f"open share {SHARING}")
    watchers.ask(f"collect {file} {seconds + 2}")
    report = load.measure(f"update {OPEN_IN_FLIGHT} {seconds} {rate:.0f}", may_refuse=True)
    watchers.answer("collect")
    watchers.say("close")
    with open(file) as lines:
        seen_by_all, seen_by_sharing, *delays = daemon.sql("-f", HERE / "watch.sql", stdin=lines).split("|")
    if not int(seen_by_all) or not int(seen_by_sharing):
        raise Trouble("the watchers saw none of the changes")
    return {"rate": report["per_second"], "changes": report["requests_all"] - report["refused"], "seen_by_all": int(seen_by_all),
            "seen_by_sharing": int(seen_by_sharing),
            **dict(zip(("p50_ms", "p99_ms", "p999_ms", "max_ms"), map(float, delays)))}


def pair(load, watchers, seconds, idle_first):
    """Updates a second without watchers and with idle ones, one after the other."""
    rates = {}
    for idle in (idle_first, not idle_first):
        if idle:
            watchers.say(f"open nothing {IDLE}")
        rates[idle] = load.measure(f"update 256 {seconds}")["per_second"]
        if idle:
            watchers.say("close")
    return rates[False], rates[True]
