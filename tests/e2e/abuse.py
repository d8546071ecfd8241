"""What abuse does: each of a table of abuses against a daemon that has just started, on a table of
thousands of sessions, with a good client beside it.

    python3 tests/e2e/abuse.py --table [NAME…] [--share 0.1]

prints a row for each: the daemon's peak of resident memory (its own, without PostgreSQL's), how the
good client fared, and what the abuser saw. SESSIOND_BUILD says which build. It takes about a quarter
of a minute for each, and at the whole share some of them gigabytes of memory.
"""

import argparse
import contextlib
import dataclasses
import gzip
import json
import os
import pathlib
import random
import resource
import struct
import subprocess
import sys
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from conftest import BUILD, Contract, Daemon  # noqa: E402
from http2 import (  # noqa: E402
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_MAX,
    Peer,
    block_of,
    connect,
    frame,
    message,
)
from threads import in_threads  # noqa: E402

MIB = 1 << 20
# Sessions of the table: how many small ones, and how many with contexts as large as they may be.
SMALL, LARGE = 3_000, 1_000
CONTEXT_BYTES = 60_000
WORKFLOW = {
    "name": "abused",
    "displayName": "Abused",
    "idFormat": "UUID",
    "statuses": [{"name": "active"}],
    "fields": [{"name": "blob", "type": "STRUCT"}],
}
# How long the abused daemon is watched while nothing more is sent.
HOLD_SECONDS = 3
# And how long an abuse may go on sending.
SEND_SECONDS = 12
# What the daemon may take to refuse what it refuses, and to accept again, on a machine that has others to do.
REFUSAL_SECONDS = 30
AGAIN_SECONDS = 60


@dataclasses.dataclass
class Target:
    """A daemon, as its abuser knows it."""

    contract: Contract
    address: str
    admin: str
    pid: int
    small: list
    large: list
    # Of everything, how much: 1 is the whole.
    share: float

    def some(self, count):
        return max(1, int(count * self.share))

    def path(self, method):
        return "/" + self.contract.full(method)

    def request(self, method, fields):
        return self.contract.request(method, fields)

    def lookup(self, count):
        ids = [random.choice(self.large) for _ in range(count)]
        return self.path("LookupSessions"), self.request("LookupSessions", {"sessionIds": ids})


@dataclasses.dataclass
class Row:
    name: str
    peak_mib: float
    rest_mib: float
    good: dict
    note: str

    def __str__(self):
        errors = " ".join(f"{count} {code}" for code, count in self.good["errors"].items()) or "0"
        return (
            f"| {self.name} | {self.peak_mib:.0f} | {self.rest_mib:.0f} | {errors} of {self.good['calls']} "
            f"| {self.good['p50_ms']} | {self.good['p99_ms']} | {self.note} |"
        )


HEAD = (
    "| abuse | peak MiB | MiB after | good client's errors | p50 ms | p99 ms | the abuser |\n"
    "|---|---|---|---|---|---|---|"
)

ABUSES = {}


def abuse(function):
    ABUSES[function.__name__] = function
    return function


@contextlib.contextmanager
def peers(target, count, **how):
    """So many connections, from other addresses than the good client's."""
    opened = []
    try:
        for number in range(count):
            opened.append(Peer(target.address, source=f"127.0.1.{1 + number % 20}", **how))
        yield opened
    finally:
        for peer in opened:
            peer.close()


def hold():
    time.sleep(HOLD_SECONDS)


# ----------------------------------------------------------------------------------------- requests


def half_bodies(target, connections, streams):
    """Requests of 4 MiB, all but the last byte."""
    body = (b"\0" + struct.pack(">I", 4 * MIB) + bytes(4 * MIB))[:-1]
    until = time.monotonic() + SEND_SECONDS
    with peers(target, connections, reads=True) as opened:

        def send(peer):
            ids = range(1, 2 * streams, 2)
            block = block_of(target.address, target.path("CreateSession"))
            peer.send(b"".join(frame(HEADERS, END_HEADERS, each, block) for each in ids))
            return peer.send_bodies(dict.fromkeys(ids, body), until)

        sent = sum(in_threads(send, opened))
        hold()
        closed = sum(peer.closed for peer in opened)
        return f"{sent / MIB:.0f} MiB of {connections * streams * 4} taken" + (f", {closed} closed" if closed else "")


@abuse
def half_bodies_of_20_connections(target):
    return half_bodies(target, target.some(20), 50)


@abuse
def half_bodies_of_one_connection(target):
    return half_bodies(target, 1, target.some(600))


@abuse
def half_open_requests_in_time(target):
    """How long a request may go on arriving."""
    streams = target.some(500)
    with peers(target, 1, reads=True) as (peer,):
        block = block_of(target.address, target.path("GetSession"))
        begin = time.monotonic()
        peer.send(b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * i, block) for i in range(streams)))
        ended = peer.await_over(streams, 60)
        return f"{ended} of {streams} streams ended within {time.monotonic() - begin:.0f} s"


@abuse
def empty_values(target):
    """4 MiB of a list of empty values, 64 at once: 13 times as much when parsed."""
    path = target.path("CreateSession")
    values = b"\x0a\x00" * (2 * MIB - 100)

    def blob(field, content):
        size, head = len(content), bytes([field << 3 | 2])
        while size > 127:
            head, size = head + bytes([size & 127 | 128]), size >> 7
        return head + bytes([size]) + content

    context = blob(1, blob(1, b"k") + blob(2, blob(6, values)))
    session = target.contract.message("sessiond.v1.Session").DESCRIPTOR
    number = session.fields_by_name["context"].number
    request = blob(1, blob(number, context))
    calls = target.some(64)
    with grpc.insecure_channel(target.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        futures = [channel.unary_unary(path).future(request, timeout=15) for _ in range(calls)]
        codes = [future.code().name for future in futures]
    return f"{len(request) / MIB:.1f} MiB × {calls}: {tally(codes)}"


@abuse
def gzip_bombs(target):
    """A megabyte that inflates to a gigabyte."""
    bomb = gzip.compress(bytes(1 << 30) if target.share == 1 else bytes(100 * MIB), 9)
    calls = target.some(10)
    with peers(target, 1, reads=True) as (peer,):
        block = block_of(target.address, target.path("CreateSession"), [("grpc-encoding", "gzip")])
        body = message(bomb, compressed=True)
        for i in range(calls):
            peer.send(frame(HEADERS, END_HEADERS, 1 + 2 * i, block))
        peer.send_bodies({1 + 2 * i: body for i in range(calls)}, time.monotonic() + SEND_SECONDS)
        return f"{peer.await_over(calls, REFUSAL_SECONDS)} of {calls} refused"


# ------------------------------------------------------------------------------------------ replies


def unread(target, connections, streams, path, request):
    """Calls whose replies may come, and are not read."""
    with peers(target, connections, window=WINDOW_MAX) as opened:

        def send(peer):
            return peer.send(b"".join(peer.call(1 + 2 * i, path, request) for i in range(streams)))

        taken = in_threads(send, opened)
        hold()
        hold()
        return f"{sum(taken)} of {connections} connections took {streams} calls"


def tally(codes):
    return ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes)))


@abuse
def lookups_of_50_unread(target):
    return unread(target, target.some(20), 20, *target.lookup(50))


@abuse
def lookups_of_1000_unread(target):
    return unread(target, target.some(10), 10, *target.lookup(1_000))


@abuse
def lookups_32_at_once(target):
    path, request = target.lookup(1_000)
    with grpc.insecure_channel(target.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        futures = [channel.unary_unary(path).future(request, timeout=15) for _ in range(target.some(32))]
        return tally([future.code().name for future in futures])


@abuse
def gets_at_window_0(target):
    request = target.request("GetSession", {"sessionId": target.large[0]})
    with peers(target, target.some(20), window=0, reads=True) as opened:
        for peer in opened:
            peer.send(b"".join(peer.call(1 + 2 * i, target.path("GetSession"), request) for i in range(500)))
        hold()
        hold()
        return f"{sum(len(peer.over) for peer in opened)} of {500 * len(opened)} over"


@abuse
def lists_unread(target):
    request = target.request("ListSessions", {"pageSize": 1_000})
    return unread(target, target.some(10), 10, target.path("ListSessions"), request)


def watches(target, count, reads):
    request = target.request("WatchSessions", {"initialState": True})
    each = min(count, 100)
    with peers(target, count // each, window=WINDOW_MAX, reads=reads) as opened:
        for peer in opened:
            peer.send(
                b"".join(peer.call(1 + 2 * i, target.path("WatchSessions"), request) for i in range(each))
            )
        hold()
        hold()
        return f"{sum(not peer.closed for peer in opened)} of {len(opened)} connections open"


@abuse
def watches_200_unread(target):
    return watches(target, target.some(200), reads=False)


@abuse
def watches_200_read(target):
    return watches(target, target.some(200), reads=True)


@abuse
def watches_2000_unread(target):
    return watches(target, target.some(2_000), reads=False)


# ------------------------------------------------------------------------------------------- HTTP/2


@abuse
def rapid_reset(target):
    """Calls that are cancelled at once: 50,000 as fast as they are taken."""
    block = block_of(target.address, target.path("GetSession"))
    reset = struct.pack(">I", 8)
    begin = time.monotonic()
    with peers(target, 1, reads=True) as (peer,):
        for first in range(0, target.some(50_000), 100):
            frames = b"".join(
                frame(HEADERS, END_HEADERS, each, block) + frame(RST_STREAM, 0, each, reset)
                for each in range(1 + 2 * first, 1 + 2 * (first + 100), 2)
            )
            if not peer.send(frames):
                return f"ended after {first}"
        took = time.monotonic() - begin
        hold()
        return f"{target.some(50_000)} in {took:.1f} s"


@abuse
def metadata(target):
    """5.5 KiB of headers on each of 20,000 streams that stay open."""
    headers = [(f"k{i}", "v" * 1_100) for i in range(5)]
    block = block_of(target.address, target.path("GetSession"), headers)
    with peers(target, target.some(20), reads=True) as opened:
        for peer in opened:
            for i in range(1_000):
                if not peer.send(frame(HEADERS, END_HEADERS, 1 + 2 * i, block)):
                    break
        hold()
        return f"{sum(not peer.closed for peer in opened)} of {len(opened)} connections open"


@abuse
def headers_before_settings(target):
    """Streams that no limit holds for: the server's SETTINGS are not acknowledged."""
    block = block_of(target.address, target.path("GetSession"))
    with peers(target, 1, acknowledges=False) as (peer,):
        streams = target.some(5_000)
        peer.send(b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * i, block) for i in range(streams)))
        hold()
        return f"{streams} streams" + (", closed" if peer.closed else "")


def over_and_over(target, name, each):
    """One frame, up to 500,000 times."""
    with peers(target, 1) as (peer,):
        sent, until = 0, time.monotonic() + HOLD_SECONDS
        while time.monotonic() < until and sent < target.some(500_000) and peer.send(each * 100):
            sent += 100
        return f"{sent} {name}" + (", then closed" if peer.closed else "")


@abuse
def pings(target):
    return over_and_over(target, "pings", frame(PING, 0, 0, bytes(8)))


@abuse
def settings(target):
    return over_and_over(target, "SETTINGS", frame(SETTINGS, 0, 0, b""))


# -------------------------------------------------------------------------------------- connections


def idle(target, count, sources):
    """Connections that say hello and no more."""
    hello = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, 1, 0, b"")
    opened = []
    try:
        for number in range(count):
            with contextlib.suppress(OSError):
                opened.append(connect(target.address, source=f"127.0.2.{1 + number % sources}"))
                opened[-1].sendall(hello)
        hold()
        return f"{sum(is_open(each) for each in opened)} of {count} stay open"
    finally:
        for each in opened:
            each.close()


def is_open(connection):
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


@abuse
def idle_connections(target):
    return idle(target, target.some(5_000), sources=10)


@abuse
def idle_connections_of_one_address(target):
    return idle(target, target.some(5_000), sources=1)


@abuse
def silent_connections(target):
    """That do not even say hello."""
    opened = [connect(target.address, source=f"127.0.2.{1 + i % 10}") for i in range(target.some(2_000))]
    begin = time.monotonic()
    left = 0
    for each in opened:
        each.settimeout(max(0.01, begin + 25 - time.monotonic()))
        try:
            while each.recv(4096):
                pass
        except TimeoutError:
            left += 1
        except OSError:
            pass
        each.close()
    return f"{left} of {len(opened)} open {time.monotonic() - begin:.0f} s after the last came"


@abuse
def connects(target):
    """One after the other, for nothing."""
    count, until = 0, time.monotonic() + HOLD_SECONDS * max(target.share, 0.3)
    begin = time.monotonic()
    while time.monotonic() < until:
        connect(target.address, source="127.0.2.1").close()
        count += 1
    return f"{count / (time.monotonic() - begin):.0f} a second"


@abuse
def descriptors(target):
    """Connections until no descriptor is left; then all leave."""
    used = len(os.listdir(f"/proc/{target.pid}/fd"))
    before = resource.prlimit(target.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(target.pid, resource.RLIMIT_NOFILE, (used + 30, before[1]))
    opened = []
    for number in range(target.some(1_000)):
        with contextlib.suppress(OSError):
            opened.append(connect(target.address, source=f"127.0.2.{1 + number % 10}"))
    hold()
    for each in opened:
        each.close()
    begin = time.monotonic()
    while time.monotonic() < begin + AGAIN_SECONDS:
        with contextlib.suppress(OSError), Peer(target.address).socket as peer:
            # The server's SETTINGS have come.
            return f"accepted {time.monotonic() - begin:.1f} s after they left" if peer else ""
    return f"not accepted within {AGAIN_SECONDS} s after they left"


# --------------------------------------------------------------------------------------- HTTP's port


def admin_answers(target):
    begin = time.monotonic()
    try:
        with connect(target.admin) as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            ok = b" 200 " in probe.recv(100)
            return f"/livez {'200' if ok else 'refused'} in {(time.monotonic() - begin) * 1e3:.0f} ms"
    except OSError as error:
        return f"/livez: {error}"


@abuse
def http_idle(target):
    opened = [connect(target.admin) for _ in range(target.some(3_000))]
    said = admin_answers(target)
    hold()
    for each in opened:
        each.close()
    return said


@abuse
def http_slow(target):
    opened = [connect(target.admin) for _ in range(target.some(50))]
    for _ in range(10):
        for each in opened:
            with contextlib.suppress(OSError):
                each.sendall(b"G")
        time.sleep(0.2)
    said = admin_answers(target)
    for each in opened:
        each.close()
    return said


@abuse
def http_huge(target):
    opened = []
    for _ in range(target.some(50)):
        with contextlib.suppress(OSError):
            opened.append(connect(target.admin))
            opened[-1].sendall(b"GET /metrics HTTP/1.1\r\n" + (b"X: " + b"y" * 60_000 + b"\r\n") * 16)
    said = admin_answers(target)
    for each in opened:
        each.close()
    return said


# ---------------------------------------------------------------------------------------- measuring


class Field:
    """Where it happens: a database with sessions, on which daemons start anew."""

    def __init__(self, contract=None):
        self._contract = contract or Contract(BUILD / "proto/sessiond.protoset")
        self._daemon = Daemon(self._contract)
        try:
            client = self._daemon.start()
            client.call("CreateWorkflow", {"workflow": WORKFLOW})
            self._small = self._seed(client, SMALL, {})
            self._large = self._seed(client, LARGE, {"blob": {"k": "x" * CONTEXT_BYTES}})
            client.close()
            self._daemon.stop()
        except BaseException:
            self._daemon.remove()
            raise

    def close(self):
        self._daemon.remove()

    def _seed(self, client, count, context):
        ids = []
        session = {"workflow": WORKFLOW["name"], "ownerId": "u1", "context": context}
        # Few enough at a time that none is refused on a machine that has other things to do.
        for _ in range(0, count, 25):
            calls = [client.begin("CreateSession", {"session": session}, timeout=60) for _ in range(25)]
            reply = self._contract.method("CreateSession")[1]
            ids += [reply.FromString(call.result()).session_id for call in calls]
        return ids

    def measure(self, name, share):
        """Lets one abuse happen. The daemon must be alive after it."""
        client = self._daemon.start()
        try:
            pid = self._daemon.pid
            target = Target(
                self._contract, self._daemon.address, self._daemon.admin, pid, self._small, self._large, share
            )
            good = subprocess.Popen(
                [sys.executable, pathlib.Path(__file__).parent / "good_client.py", target.address, self._small[0]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert good.stdout.readline() == "ready\n"
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            note = ABUSES[name](target)
            time.sleep(1)
            peak, rest = memory(pid, "VmHWM"), memory(pid, "VmRSS")
            said, _ = good.communicate("")
            late = Peer(target.address, source="127.0.3.1")
            assert not late.closed, "nobody is let in any more"
            late.close()
            return Row(name, peak, rest, json.loads(said), note)
        finally:
            client.close()
            if self._daemon.process.poll() is None:
                self._daemon.stop()

    @property
    def daemon(self):
        return self._daemon


def memory(pid, what):
    """In MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split(what + ":")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", nargs="*", metavar="NAME", required=True)
    parser.add_argument("--share", type=float, default=1)
    arguments = parser.parse_args()
    field = Field()
    try:
        print(HEAD, flush=True)
        for name in arguments.table or ABUSES:
            try:
                print(field.measure(name, arguments.share), flush=True)
            except Exception as error:
                print(f"| {name} | failed: {error!r} |", flush=True)
    finally:
        field.close()


if __name__ == "__main__":
    main()
