"""More than the daemon can do: it sheds what would be late, and goes on doing all that it can.

The database is slow by its own setting, so that little is already ten times what fits. Callers come
whether or not anybody has been answered: an open loop."""

import collections
import concurrent.futures
import os
import time

import grpc
import pytest
from conftest import Daemon

pytestmark = pytest.mark.alone

# The share that may be refused, or late, of a load that fits. On a machine that others use, too, the processor is away now and
# then: groups take longer than they did when the best rate was measured, calls that were to come evenly come together,
# and a queue that stands for a moment is shed, as it should be. One call of 551 was.
NOISE = 0.02

# A group of 16 takes a little more than 100 ms.
SLOW = [
    "--lanes=1",
    "--group-commands-max=16",
    "--pg-settings=commit_delay=100000 commit_siblings=0",
]
SECONDS = 30 if os.environ.get("SESSIOND_SOAK") else 5
# Where calls came later than they were to by so many seconds, they came in a heap; of more than fits, it takes a fifth
# of the time to matter. Where the best rate behind a round is another one than before, by such a share, nobody knows
# what fits. In both cases the machine had something else to do: the round is void and played again, so many times at
# most; then the last one counts.
LATE_SECONDS = 0.1
LATE_SECONDS_OF_MUCH = SECONDS / 5
DRIFT = 0.1
ROUNDS = 3

UPDATE = "sessiond.v1.SessionService/UpdateSession"


def best_rate(client, requests):
    """How many a second it does on this machine at this time: two groups' worth of callers, each asking again as
    soon as it is answered, or when it was told to come back."""
    call, end = client._channel.unary_unary("/" + UPDATE), time.monotonic() + SECONDS

    def ask(request):
        done = 0
        while time.monotonic() < end:
            try:
                call(request, timeout=10)
            except grpc.RpcError as refused:
                time.sleep(int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"]) / 1000)
                continue
            done += time.monotonic() < end
        return done

    with concurrent.futures.ThreadPoolExecutor(32) as callers:
        return sum(callers.map(ask, requests[:32])) / SECONDS


class Load:
    """What became of calls that came at a rate."""

    def __init__(self):
        self.codes = collections.Counter()
        self.waits = []
        self.refusals = []
        self.without_retry_info = 0
        # By how many seconds a call came too late, at most.
        self.late = 0

    def offer(self, client, requests, rate, patience, seconds):
        call = client._channel.unary_unary("/" + UPDATE)
        begin, under_way = time.monotonic(), []
        for i in range(int(rate * seconds)):
            pause = begin + i / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            came = time.monotonic()
            self.late = max(self.late, came - begin - i / rate)
            future = call.future(requests[i % len(requests)], timeout=patience)
            future.add_done_callback(lambda done, came=came: self._ended(done, time.monotonic() - came))
            under_way.append(future)
        for future in under_way:
            future.exception()
        return self

    def _ended(self, done, wait):
        code = done.code()
        self.codes[code.name] += 1
        if code == grpc.StatusCode.OK:
            self.waits.append(wait)
        elif code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            self.refusals.append(wait)
            keys = {key for key, _ in done.trailing_metadata()}
            self.without_retry_info += "grpc-retry-pushback-ms" not in keys

    @property
    def good(self):
        return self.codes["OK"]

    def fits(self):
        """Whether next to all was done."""
        return self.good >= (1 - NOISE) * sum(self.codes.values())

    def percentile(self, share, of=None):
        waits = sorted(of or self.waits)
        return waits[int(share * (len(waits) - 1))]


@pytest.fixture(scope="module")
def slow(contract):
    daemon = Daemon(contract)
    client = daemon.start(*SLOW)
    ids = [client.create()["sessionId"] for _ in range(64)]
    yield client, [
        contract.request(UPDATE, {"session": {"sessionId": each}, "setLabels": {"a": "b"}}) for each in ids
    ]
    daemon.remove()


@pytest.mark.parametrize(("times", "patience"), [(3, 1), (10, 1), (10, 5)])
def test_beyond_what_it_can_do(slow, times, patience):
    client, requests = slow
    behind = first = best_rate(client, requests)
    for _ in range(ROUNDS):
        best = behind
        usual = Load().offer(client, requests, 0.8 * best, patience, SECONDS)
        much = Load().offer(client, requests, times * best, patience, SECONDS)
        after = Load().offer(client, requests, 0.5 * best, patience, SECONDS)
        behind = best_rate(client, requests)
        is_late = max(usual.late, after.late) > LATE_SECONDS or much.late > LATE_SECONDS_OF_MUCH
        is_void = is_late or abs(behind - best) > DRIFT * best
        # Or else it is slower for good.
        assert is_late or behind >= 0.5 * first
        if not is_void:
            break
        late = ", ".join(f"{each.late * 1000:.0f}" for each in (usual, much, after))
        print(f"\nvoid: {best:.0f} a second at best before, {behind:.0f} behind; {late} ms late")
    print(
        f"\n{times} times, {patience} s: {much.good / SECONDS:.0f} a second of {best:.0f}; {dict(much.codes)}; "
        f"p99 {much.percentile(0.99):.2f} s, at 80 %: {usual.percentile(0.99):.2f} s; "
        f"refused in {much.percentile(0.5, much.refusals) * 1000:.1f} ms; after: {dict(after.codes)}"
    )
    assert set(much.codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert much.without_retry_info == 0
    assert usual.fits()
    # Of what it does at its best on this machine at this time. Without shedding it is 0.2 to 0.3 with deadlines of
    # a second, and with longer ones most are late; with it, 0.9 and more where nothing else runs.
    assert much.good >= 0.45 * SECONDS * best
    assert much.codes["DEADLINE_EXCEEDED"] <= 0.15 * sum(much.codes.values())
    assert after.fits()
