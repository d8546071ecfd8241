"""Fills a database with sessions, as if the daemon had made them: many in minutes."""

import collections
import json
import os
import shutil
import subprocess
import time
from datetime import datetime, timedelta, timezone

from machine import Trouble, duration, end_with_parent, say
from parts import HERE, Daemon

BLOCK = 50_000  # sessions a transaction
WORKERS = 2  # Transactions at any time.
PARTITIONS = 64
# When sessions have been loaded this long, the daemon soon finds that nobody comes back to them, and stops them.
KEPT_DAYS = 5
TABLES = ("sessions", "session_events", "session_messages")


def partitions_of(first, count):
    """The partitions of sessions `first`, …: PartitionOf of state_machine/session_id.cc, over their ids.

    The hash (FNV-1a) goes from letter to letter; ids that begin the same share the way up to there.
    """
    def hashed(letters, state=14695981039346656037):
        for letter in letters:
            state = ((state ^ ord(letter)) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
        return state

    for thousand in range(first // 1000, -(-(first + count) // 1000)):
        states = [hashed(f"00000000-0000-7000-9000-{thousand:09d}")]
        for _ in range(3):
            states = [hashed(digit, state) for state in states for digit in "0123456789"]
        begin, end = max(first - thousand * 1000, 0), min(first + count - thousand * 1000, 1000)
        for state in states[begin:end]:
            yield ((state ^ (state >> 32)) & 0xFFFFFFFF) % PARTITIONS


def blocks(total):
    """(first, lines for load.sql) of each block."""
    places = collections.Counter()
    for first in range(0, total, BLOCK):
        lines = []
        for i, partition in enumerate(partitions_of(first, min(BLOCK, total - first)), first):
            lines.append(f"{i}\t{partition}\t{places[partition]}\n")
            places[partition] += 1
        yield first, "".join(lines)


def load_blocks(daemon, total):
    """All of load.sql, some blocks at a time."""
    start = datetime.now(timezone.utc) - timedelta(days=1)
    command = daemon.psql("-v", f"total={total}", "-v", f"from={start.isoformat()}", "-f", HERE / "load.sql")
    begin = time.monotonic()
    running = collections.deque()

    def await_first():
        if running.popleft().wait() != 0:
            raise Trouble("a block of sessions could not be loaded; psql's reason is above")

    try:
        for first, lines in blocks(total):
            if first and (elapsed := time.monotonic() - begin) > 1:
                rate = first / elapsed
                say(f"loading: {first / 1e6:.2f} of {total / 1e6:.2f} million sessions, {rate:,.0f} a second, "
                    f"about {duration((total - first) / rate)} left")
            if len(running) == WORKERS:
                await_first()
            # The worker is fed by the kernel: a block's lines fit no pipe.
            with os.fdopen(os.memfd_create("block"), "w+") as stdin:
                stdin.write(lines)
                stdin.flush()
                os.lseek(stdin.fileno(), 0, os.SEEK_SET)
                running.append(subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL,
                                                preexec_fn=end_with_parent))
        while running:
            await_first()
    finally:
        for worker in running:
            worker.kill()
            worker.wait()


def load(daemon, total):
    """Loads `total` sessions into a database that has none. What came of it: seconds of each part, and bytes."""
    if daemon.sql("-c", "SELECT EXISTS (SELECT FROM sessions)") != "f":
        raise Trouble("sessions can be loaded into an empty database only; say another directory")
    begin = time.monotonic()
    # Sorted once at the end, instead of row by row.
    indexes = [line.split("|", 1) for line in daemon.sql("-c", """
        SELECT indexrelid::regclass, pg_get_indexdef(indexrelid)
        FROM pg_index
        WHERE indrelid = 'sessions'::regclass
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""").splitlines()]
    for name, _ in indexes:
        daemon.sql("-c", f"DROP INDEX {name}")
    load_blocks(daemon, total)
    loaded = time.monotonic()
    for number, (name, definition) in enumerate(indexes):
        say(f"loading: index {number + 1} of {len(indexes)}, {name}")
        daemon.sql("-c", "SET maintenance_work_mem = '512MB'", "-c", definition)
    indexed = time.monotonic()
    say("loading: vacuum")
    # The daemon goes on behind the last event of each partition.
    daemon.sql("-c", "UPDATE partitions p SET position = coalesce((SELECT max(position) FROM session_events e "
                     "WHERE e.partition = p.partition), 0)")
    daemon.sql("-c", f"VACUUM (ANALYZE) {', '.join(TABLES)}")
    daemon.sql("-c", "CHECKPOINT")
    end = time.monotonic()
    return {
        "sessions": total,
        "seconds": end - begin,
        "seconds_rows": loaded - begin,
        "seconds_indexes": indexed - loaded,
        "seconds_vacuum": end - indexed,
        "rows": {table: int(daemon.sql("-c", f"SELECT count(*) FROM {table}")) for table in TABLES},
        "bytes": int(daemon.sql("-c", "SELECT pg_database_size(current_database())")),
        "bytes_of": {table: int(daemon.sql("-c", f"SELECT pg_total_relation_size('{table}')")) for table in TABLES},
        "loaded_at": time.time(),
    }


def provide(program, directory, total, flags):
    """Has `directory` hold a data directory with `total` sessions, loaded now or kept; says how they were loaded."""
    record = directory / "loaded.json"
    if record.exists():
        kept = json.loads(record.read_text())
        days = (time.time() - kept["loaded_at"]) / 86400
        if kept["sessions"] != total:
            raise Trouble(f"{directory} keeps {kept['sessions']:,} sessions, not {total:,}: remove it, or say another")
        if days > KEPT_DAYS:
            raise Trouble(f"{directory} was loaded {days:.0f} days ago, and the daemon begins to stop sessions that "
                          "nobody came back to: remove it, and it is loaded again")
        return kept
    if (directory / "data").exists():
        raise Trouble(f"{directory} has data that was not loaded to its end: remove it, or say another")
    needed = total * 4000 + 10e9  # The rows and their indexes, and PostgreSQL's log.
    if shutil.disk_usage(directory).free < needed:
        raise Trouble(f"{total:,} sessions need about {needed / 1e9:.0f} GB in {directory}, and there is less")
    daemon = Daemon(program, directory, flags, settings=("max_wal_size=8GB",))
    try:
        loaded = load(daemon, total)
    finally:
        daemon.stop()
    record.write_text(json.dumps(loaded, indent=1) + "\n")
    return loaded


def warm(daemon):
    """Reads `sessions` and all indexes into PostgreSQL's buffers, or, where they do not fit, into the kernel's cache."""
    say("warming: reading the sessions and all indexes")
    begin = time.monotonic()
    daemon.sql("-c", "CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    # The sessions last: they stay in the buffers.
    tables = ", ".join(f"'{table}'::regclass" for table in TABLES)
    blocks = daemon.sql("-c", "SELECT sum(pg_prewarm(relation)) FROM (SELECT indexrelid::regclass FROM pg_index "
                              f"WHERE indrelid IN ({tables}) UNION ALL SELECT 'sessions'::regclass) r (relation)")
    return {"bytes": int(blocks) * 8192, "seconds": time.monotonic() - begin}
