"""Whether what somebody does delays others: a session or its partition is locked by hand, with changes
that wait for it; lists take long; a watch is not read; everything is counted, over and over. Beside it
others make so many calls a second, a change for every two reads, of other sessions.

    python3 tests/e2e/isolation.py [NAME…] [--rounds 8] [--seconds 3]

Each round is so many seconds without it and with it, one after the other, so that whatever else the
machine does is in both. Prints the medians of the rounds' p50 and p99, and their ratios.
"""

import argparse
import contextlib
import pathlib
import random
import statistics
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from conftest import BUILD, Contract, Daemon  # noqa: E402
from http2 import WINDOW_MAX, Peer  # noqa: E402

CALLS_A_SECOND = 150
SESSIONS = 20_000
OTHERS = 64
# Changes that wait for what is locked.
WAITING = 50

TROUBLES = {}


def trouble(function):
    TROUBLES[function.__name__] = contextlib.contextmanager(function)
    return function


class Place:
    """A daemon with many sessions, one of them for trouble and some for others, in other partitions."""

    def __init__(self):
        self.contract = Contract(BUILD / "proto/sessiond.protoset")
        self.daemon = Daemon(self.contract)
        try:
            self._fill()
        except BaseException:
            self.daemon.remove()
            raise

    def _fill(self):
        self.client = self.daemon.start("--lock-timeout=30s")
        self.ids = self._create(SESSIONS)
        self.troubled = self.ids[0]
        inside = set(
            self.daemon.psql(
                f"SELECT id FROM sessions WHERE partition = (SELECT partition FROM sessions WHERE id = '{self.troubled}')"
            ).split()
        )
        self.others = [each for each in self.ids if each not in inside][:OTHERS]

    def _create(self, count):
        request = self.contract.request(
            "CreateSession", {"session": {"workflow": "execution", "ownerId": "u1"}}
        )
        stub = self.client._channel.unary_unary("/" + self.contract.full("CreateSession"))
        reply = self.contract.method("CreateSession")[1]
        ids = []
        for _ in range(0, count, 100):
            under_way = [stub.future(request, timeout=60) for _ in range(100)]
            ids += [reply.FromString(each.result()).session_id for each in under_way]
        return ids

    def change(self, session_id):
        return self.contract.request(
            "UpdateSession", {"session": {"sessionId": session_id}, "setLabels": {"n": str(random.random())}}
        )


def waiting(place):
    """Changes of the session in trouble, until all are answered; some may be refused by then."""
    stub = place.client._channel.unary_unary("/" + place.contract.full("UpdateSession"))
    return [stub.future(place.change(place.troubled), timeout=60) for _ in range(WAITING)]


def lock(place, statement):
    with place.daemon.locked(statement):
        changes = waiting(place)
        yield
    for each in changes:
        each.exception()


@trouble
def session_locked(place):
    yield from lock(place, f"SELECT FROM sessions WHERE id = '{place.troubled}' FOR UPDATE")


@trouble
def partition_locked(place):
    partition = f"(SELECT partition FROM sessions WHERE id = '{place.troubled}')"
    yield from lock(place, f"SELECT FROM partitions WHERE partition = {partition} FOR UPDATE")


def repeat(place, method, request, threads):
    """Calls it over and over."""
    ended = threading.Event()

    def work():
        with grpc.insecure_channel(place.daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = channel.unary_unary("/" + place.contract.full(method))
            while not ended.is_set():
                with contextlib.suppress(grpc.RpcError):
                    stub(place.contract.request(method, request), timeout=20)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    yield
    ended.set()
    for worker in workers:
        worker.join()


@trouble
def lists_that_find_nothing(place):
    yield from repeat(place, "ListSessions", {"filter": 'labels.none = "x"'}, 1)


@trouble
def counting(place):
    yield from repeat(place, "CountSessions", {}, 1)


@trouble
def watches_unread(place):
    request = place.contract.request("WatchSessions", {"initialState": True})
    path = "/" + place.contract.full("WatchSessions")
    peer = Peer(place.daemon.address, window=WINDOW_MAX)
    peer.send(b"".join(peer.call(1 + 2 * i, path, request) for i in range(20)))
    yield
    peer.close()


def measure(place, seconds):
    """How long others' calls take, in order."""
    waits, failed, changed = [], [], threading.Condition()
    with grpc.insecure_channel(place.daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stubs = {m: channel.unary_unary("/" + place.contract.full(m)) for m in ("GetSession", "UpdateSession")}
        begin = time.monotonic()
        count = int(CALLS_A_SECOND * seconds)
        for i in range(count):
            time.sleep(max(0, begin + i / CALLS_A_SECOND - time.monotonic()))
            session_id = random.choice(place.others)
            if i % 3 == 0:
                call, request = stubs["UpdateSession"], place.change(session_id)
            else:
                call = stubs["GetSession"]
                request = place.contract.request("GetSession", {"sessionId": session_id})
            came = time.monotonic()

            def done(future, came=came):
                with changed:
                    waits.append(time.monotonic() - came)
                    if future.code() != grpc.StatusCode.OK:
                        failed.append(future.code().name)
                    changed.notify_all()

            call.future(request, timeout=20).add_done_callback(done)
        with changed:
            changed.wait_for(lambda: len(waits) == count)
    assert not failed, failed
    return sorted(waits)


def percentiles(waits):
    return waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TROUBLES))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    place = Place()
    try:
        measure(place, arguments.seconds)
        print("| beside | p50 ms without, with | p99 ms without, with | p50 ratio | p99 ratio |\n|---|---|---|---|---|")
        for name in arguments.names or TROUBLES:
            without, beside = [], []
            for _ in range(arguments.rounds):
                without.append(percentiles(measure(place, arguments.seconds)))
                with TROUBLES[name](place):
                    beside.append(percentiles(measure(place, arguments.seconds)))
            (a50, a99), (b50, b99) = (
                [statistics.median(each) for each in zip(*rounds, strict=True)] for rounds in (without, beside)
            )
            print(
                f"| {name.replace('_', ' ')} | {a50:.1f}, {b50:.1f} | {a99:.1f}, {b99:.1f} "
                f"| {b50 / a50:.2f} | {b99 / a99:.2f} |",
                flush=True,
            )
    finally:
        place.client.close()
        place.daemon.remove()


if __name__ == "__main__":
    main()
