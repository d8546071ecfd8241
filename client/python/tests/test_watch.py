"""Watches: what is saved when, against a server whose streams are written here."""

import asyncio
import threading
import time

import grpc
import pytest
from fake import Fake, Refusal

import sessiond
import sessiond.aio
from sessiond import v1

# In seconds: longer than a busy machine lets a new stream, or its first response, wait.
SILENCE = 6.0


def session(token, name="x"):
    return v1.WatchSessionsResponse(session=v1.Session(session_id=name), resume_token=token)


def change(token, sequence):
    response = v1.WatchSessionsResponse(resume_token=token)
    event = response.change.event
    event.session_id, event.sequence, event.type = "x", sequence, v1.SessionEvent.PAUSED
    return response


def bookmark(token):
    response = v1.WatchSessionsResponse(resume_token=token)
    response.bookmark.SetInParent()
    return response


def heartbeat(token):
    response = v1.WatchSessionsResponse(resume_token=token)
    response.heartbeat.SetInParent()
    return response


def stream(*responses, end=None, last=False):
    """A stream of these; then it ends so, or stays open."""

    def answer(request, context):
        yield from responses
        if end is not None:
            context.set_trailing_metadata(end.metadata)
            context.abort(end.code, "no")
        if not last:
            done = threading.Event()
            context.add_callback(done.set)
            done.wait(30)

    return answer


def test_a_token_is_saved_when_its_item_was_handled():
    saved = []
    streams = [stream(session("1"), bookmark("2"), heartbeat("3"), change("4", 1), change("5", 2))]
    with Fake(WatchSessions=streams) as fake, sessiond.connect(fake.address) as client:
        with client.watch("x", initial_state=True, on_token=saved.append) as watch:
            assert watch.next().kind == "session" and saved == [] and watch.token == ""
            assert watch.next().kind == "bookmark" and saved == ["1"]
            assert watch.next().event.sequence == 1 and saved == ["1", "2", "3"]
            assert watch.next().token == "5" and watch.token == "4"
        assert saved == ["1", "2", "3", "4", "5"]


def test_an_item_that_was_not_handled_is_not_saved():
    with Fake(WatchSessions=[stream(bookmark("1"), change("2", 1))]) as fake, sessiond.connect(fake.address) as client:
        watch = client.watch("x")
        with pytest.raises(KeyError), watch:
            for item in watch:
                if item.kind == "change":
                    raise KeyError("the work went wrong")
        assert watch.token == "1"


def test_a_stream_that_breaks_is_resumed_behind_what_came_last():
    end = Refusal(grpc.StatusCode.UNAVAILABLE)
    streams = [
        stream(session("1"), bookmark("2"), change("3", 1), end=end),
        stream(end=Refusal(grpc.StatusCode.INTERNAL)),
        stream(bookmark("3"), change("4", 2), last=True),
        stream(bookmark("4"), change("5", 3)),
    ]
    retries = []
    with Fake(WatchSessions=streams) as fake, sessiond.connect(fake.address, on_retry=retries.append) as client:
        with client.watch("x", initial_state=True) as watch:
            kinds = [watch.next().kind for _ in range(5)]
    assert kinds == ["session", "bookmark", "change", "change", "change"]
    requests = [request for _, request, _ in fake.requests]
    assert [each.resume_token for each in requests] == ["", "3", "3", "4"]
    assert [each.initial_state for each in requests] == [True, False, False, False]
    assert [type(each.error).__name__ for each in retries] == ["Unavailable", "Internal", "Unavailable"]


def test_a_restart_is_told_once_and_before_anything_else():
    end = Refusal(grpc.StatusCode.UNAVAILABLE)
    streams = [
        stream(session("1", "a"), end=end),
        stream(heartbeat("0"), end=end),
        stream(heartbeat("0"), session("1", "a"), session("2", "b"), bookmark("3")),
    ]
    with Fake(WatchSessions=streams) as fake, sessiond.connect(fake.address) as client:
        with client.watch(initial_state=True) as watch:
            items = [watch.next() for _ in range(5)]
    assert [each.kind for each in items] == ["session", "restart", "session", "session", "bookmark"]


def test_silence_is_noticed_and_another_connection_taken():
    streams = [stream(bookmark("1")), stream(bookmark("1"), change("2", 1))]
    with Fake(WatchSessions=streams) as fake, sessiond.connect(fake.address) as client:
        begun = time.monotonic()
        with client.watch("x", silence_max=SILENCE) as watch:
            assert watch.next().kind == "bookmark"
            assert watch.next().kind == "change"
            assert time.monotonic() - begun >= SILENCE
    assert len(fake.peers) == 2 == len(set(fake.peers))


def test_a_slow_reader_is_not_taken_for_silence():
    with Fake(WatchSessions=[stream(bookmark("1"), change("2", 1))]) as fake, sessiond.connect(fake.address) as client:
        with client.watch("x", silence_max=SILENCE) as watch:
            assert watch.next().kind == "bookmark"
            time.sleep(1.2 * SILENCE)
            assert watch.next().kind == "change"
    assert len(fake.requests) == 1


def test_a_slow_coroutine_is_not_taken_for_silence():
    async def main(address):
        async with sessiond.aio.connect(address) as client, client.watch("x", silence_max=SILENCE) as watch:
            assert (await watch.next()).kind == "bookmark"
            await asyncio.sleep(1.2 * SILENCE)
            assert (await watch.next()).kind == "change"

    with Fake(WatchSessions=[stream(bookmark("1"), change("2", 1))]) as fake:
        asyncio.run(main(fake.address))
    assert len(fake.requests) == 1


def test_asyncio_notices_silence():
    async def main(address):
        async with sessiond.aio.connect(address) as client, client.watch("x", silence_max=SILENCE) as watch:
            assert (await watch.next()).kind == "bookmark"
            assert (await watch.next()).kind == "change"

    with Fake(WatchSessions=[stream(bookmark("1")), stream(bookmark("1"), change("2", 1))]) as fake:
        asyncio.run(main(fake.address))
    assert len(fake.peers) == 2 == len(set(fake.peers))


def test_another_thread_can_end_it():
    with Fake(WatchSessions=[stream(bookmark("1"))]) as fake, sessiond.connect(fake.address) as client:
        watch = client.watch("x")
        assert watch.next().kind == "bookmark"
        threading.Timer(0.2, watch.close).start()
        assert list(watch) == [] and watch.closed and watch.next() is None


def test_asyncio_waits_no_longer_than_it_is_asked_to_and_loses_nothing():
    gate = threading.Event()

    def gated(request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        yield bookmark("1")
        gate.wait(60)
        yield change("2", 1)
        ended.wait(60)

    async def main(address):
        async with sessiond.aio.connect(address) as client, client.watch("x") as watch:
            assert (await watch.next()).kind == "bookmark"
            assert await watch.next(timeout=0.2) is None and not watch.closed
            gate.set()
            assert (await watch.next(timeout=30)).event.sequence == 1
            waiting = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    with Fake(WatchSessions=[gated]) as fake:
        asyncio.run(main(fake.address))
    assert len(fake.requests) == 1


def test_a_reader_that_is_cancelled_while_its_stream_ends_is_cancelled():
    async def main(address):
        async with sessiond.aio.connect(address) as client:
            watch = client.watch("x")
            assert (await watch.next()).kind == "bookmark"
            assert await watch.next(timeout=0.1) is None
            closing = asyncio.ensure_future(watch.close())
            await asyncio.sleep(0)  # It has told the stream to end, and waits for that.
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing

    with Fake(WatchSessions=[stream(bookmark("1"))]) as fake:
        asyncio.run(main(fake.address))


def test_a_reader_that_is_cancelled_at_the_moment_its_watch_is_closed_is_cancelled():
    async def main(address):
        paused = asyncio.Event()
        async with sessiond.aio.connect(address, on_retry=lambda retry: paused.set()) as client:
            watch = client.watch("x")
            reading = asyncio.ensure_future(watch.next())
            await paused.wait()
            await asyncio.sleep(0)  # It waits until it may ask again.
            closing = asyncio.ensure_future(watch.close())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await closing

    with Fake(WatchSessions=[Refusal(grpc.StatusCode.UNAVAILABLE, retry=60)]) as fake:
        asyncio.run(main(fake.address))


@pytest.fixture(params=["threads", "asyncio"])
def first_item(request):
    """What a watch gives first, with the one client or the other."""

    def first(address, **named):
        if request.param == "threads":
            with sessiond.connect(address, **named) as client, client.watch("x") as watch:
                return watch.next(timeout=30)

        async def main():
            async with sessiond.aio.connect(address, **named) as client, client.watch("x") as watch:
                return await watch.next(timeout=30)

        return asyncio.run(main())

    return first


def test_a_watch_without_a_token_is_unauthenticated(first_item):
    def token():
        raise KeyError("secret")

    with Fake(WatchSessions=[stream(bookmark("1"))]) as fake, pytest.raises(sessiond.Unauthenticated) as refused:
        first_item(fake.address, token=token)
    assert fake.requests == [] and refused.value.method == "WatchSessions" and "secret" not in str(refused.value)
    assert isinstance(refused.value.__cause__, KeyError)


def test_a_watch_waits_for_a_token_that_is_unavailable(first_item):
    answers = [sessiond.Unavailable("The authority restarts."), sessiond.Unavailable("It still does."), "t"]

    def token():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    retries = []
    with Fake(WatchSessions=[stream(bookmark("1"))]) as fake:
        assert first_item(fake.address, token=token, on_retry=retries.append).kind == "bookmark"
    assert [each.method for each in retries] == ["WatchSessions"] * 2 and len(fake.requests) == 1


def test_a_watch_goes_on_without_the_trace_that_its_hook_raised_for(first_item):
    def traceparent():
        raise KeyError("hook")

    with Fake(WatchSessions=[stream(bookmark("1"))]) as fake:
        assert first_item(fake.address, traceparent=traceparent).kind == "bookmark"
    assert "traceparent" not in fake.requests[0][2]


def test_a_watch_goes_on_when_the_hook_that_is_told_so_raises(first_item):
    def on_retry(retry):
        raise KeyError("hook")

    streams = [stream(end=Refusal(grpc.StatusCode.UNAVAILABLE)), stream(bookmark("1"))]
    with Fake(WatchSessions=streams) as fake:
        assert first_item(fake.address, on_retry=on_retry).kind == "bookmark"


def test_ids_are_given_one_by_one():
    with sessiond.connect("127.0.0.1:1") as client, pytest.raises(TypeError, match=r"watch\(\*ids\)"):
        client.watch(["x", "y"])
