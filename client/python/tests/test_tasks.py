"""The task runner, against the real daemon."""

import asyncio
import contextlib
import itertools
import logging
import signal
import threading
import time

import grpc
import pytest
from fake import METHODS, Fake, Refusal

import sessiond
import sessiond.aio
from sessiond import v1


@pytest.fixture
def client(sessiond_test_server):
    with sessiond_test_server.connect() as client:
        yield client


@pytest.fixture
def session_id(client):
    session = client.create_session(workflow="ticket_export", owner_id="ada", owner_display_name="Ada")
    client.advance_session(session.session_id, "upload")
    return session.session_id


@pytest.fixture(params=["threads", "asyncio"])
def run_task(request):
    """Runs a task with the one client or the other. The work is a function in any case, on a thread that may wait."""

    def run(address, session_id, work, *, connect={}, **named):
        named = {"start_stage": "processing", **named}
        if request.param == "threads":
            with sessiond.connect(address, **connect) as client:
                return client.run_task(session_id, "processing", work, **named)

        async def coroutine(task):
            return await asyncio.to_thread(work, task)

        async def main():
            async with sessiond.aio.connect(address, **connect) as client:
                return await client.run_task(session_id, "processing", coroutine, **named)

        return asyncio.run(main())

    return run


def raising(error):
    def work(task):
        raise error

    return work


def test_a_failure_can_be_described(client, session_id):
    def work(task):
        raise KeyError("ada\x07")

    def describe(error):
        return {"category": "USER_FIXABLE", "user_message": "Name the owner.", "recovery_actions": ["Add ada"]}

    with pytest.raises(sessiond.TaskFailed) as failed:
        client.run_task(session_id, "processing", work, start_stage="processing", describe=describe)
    assert isinstance(failed.value.__cause__, KeyError) and failed.value.attempts == 1
    context = failed.value.task.failure_context
    assert context["type"] == "KeyError" and "raise KeyError" in context["trace"]
    (error,) = client.list_errors(session_id=session_id)
    assert (error.user_message, error.category.name) == ("Name the owner.", "USER_FIXABLE")
    assert error.error_code == "KeyError" and error.recovery_actions == ["Add ada"]


def test_a_program_that_is_interrupted_says_so_and_is_not_tried_again(client, session_id):
    def work(task):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.run_task(session_id, "processing", work, start_stage="processing", attempts=3)
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.retry_count == 1
    assert task.failure_context["type"] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "text, told",
    [
        ("bad \udce9", "bad \ufffd"),
        ("a\0b\x85\n\tc", "a\ufffdb\ufffd\n\tc"),
        ("no\u00a0break, \u200b", "no\u00a0break, \u200b"),
        ("ж" * 3000, "ж" * 2048),
        ("€" * 3000, "€" * 1365),
        ("\\" * 40_000, "\\" * 4096),
        ("<" * 40_000, "<" * 4096),
    ],
    ids=["surrogate", "controls", "spaces", "two bytes", "three bytes", "long", "long in JSON"],
)
def test_whatever_the_work_raises_is_recorded(sessiond_test_server, client, session_id, run_task, text, told):
    error = ValueError(text)
    with pytest.raises(sessiond.TaskFailed) as failed:
        run_task(sessiond_test_server.address, session_id, raising(error))
    assert failed.value.__cause__ is error
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.failure_context["message"] == told
    (recorded,) = client.list_errors(session_id=session_id)
    begin = f"The task processing failed: {told[:1000]}"
    assert recorded.user_message.startswith(begin) and len(recorded.user_message.encode()) <= 4096


def test_of_a_long_trace_the_end_is_recorded(sessiond_test_server, client, session_id, run_task):
    with pytest.raises(sessiond.TaskFailed):
        run_task(sessiond_test_server.address, session_id, raising(ValueError("ж" * 20_000 + "\0 the end")))
    trace = client.get_task(session_id).failure_context["trace"]
    assert trace.endswith("ж\ufffd the end\n") and 16_380 <= len(trace.encode()) <= 16_384


def describe_and_raise(error):
    raise KeyError("describe")


def describe_and_be_cancelled(error):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "describe",
    [
        describe_and_raise,
        describe_and_be_cancelled,
        lambda error: {"categry": "TEMPORARY"},
        lambda error: {"category": "SOMEBODY"},
        lambda error: {"error_code": "\udce9"},
        lambda error: {"user_message": None},
        lambda error: {"user_message": " "},
        lambda error: {"recovery_actions": [" "]},
        lambda error: {"technical_details": {"text": "a" * 70_000}},
    ],
)
def test_what_cannot_be_recorded_of_a_description_gives_way_to_the_defaults(
    sessiond_test_server, client, session_id, run_task, describe
):
    error = ValueError("no")
    with pytest.raises(sessiond.TaskFailed) as failed:
        run_task(sessiond_test_server.address, session_id, raising(error), describe=describe)
    assert failed.value.__cause__ is error
    (recorded,) = client.list_errors(session_id=session_id)
    assert recorded.user_message == "The task processing failed: no" and recorded.error_code == "ValueError"
    assert client.get_task(session_id).failure_context["message"] == "no"


def test_a_described_message_is_recorded_as_far_as_it_can_be(sessiond_test_server, client, session_id, run_task):
    describe = lambda error: {"user_message": "\udce9" + "ж" * 3000, "recovery_actions": ["Wait"]}  # noqa: E731
    with pytest.raises(sessiond.TaskFailed):
        run_task(sessiond_test_server.address, session_id, raising(ValueError("no")), describe=describe)
    (recorded,) = client.list_errors(session_id=session_id)
    assert recorded.user_message == "\ufffd" + "ж" * 2046 and recorded.recovery_actions == ["Wait"]


RUNNING = v1.SessionTask(task_id="t", session_id="x", task_type="processing", status=v1.SessionTask.RUNNING)


@pytest.mark.parametrize(
    "refusal, times",
    [
        (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "USER_FIXABLE"), 2),
        (Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "TEMPORARY"), 1),
    ],
)
def test_a_failure_that_cannot_be_told_does_not_hide_the_works_own(run_task, refusal, times):
    error = ValueError("nothing to read")
    describe = lambda error: {"recovery_actions": ["Wait"]}  # noqa: E731
    running = v1.SessionTask()
    running.CopyFrom(RUNNING)
    running.max_retries = 3
    with Fake(StartTask=[running], FailTask=[refusal], GetTask=[running]) as fake:
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, "x", raising(error), describe=describe, attempts=3)
    assert failed.value.__cause__ is error
    assert (failed.value.refusal.code, failed.value.refusal.method) == (refusal.code, "FailTask")
    said = f"The task processing failed: nothing to read (and that could not be recorded: {failed.value.refusal})"
    assert str(failed.value) == said
    assert (failed.value.task.status.name, failed.value.attempts) == ("RUNNING", 1)
    told = [list(request.error.recovery_actions) for name, request, _ in fake.requests if name == "FailTask"]
    assert told == [["Wait"], []][:times] and "RetryTask" not in names(fake)


def test_a_failure_that_can_be_told_to_nobody_does_not_hide_the_works_own():
    error = ValueError("nothing to read")

    def work(task):
        client.close()
        raise error

    with Fake(StartTask=[RUNNING]) as fake:
        client = sessiond.connect(fake.address)
        with pytest.raises(sessiond.TaskFailed, match="nothing to read .and that could not be recorded: ") as failed:
            client.run_task("x", "processing", work)
    assert failed.value.__cause__ is error and failed.value.refusal is not None


def test_a_failure_that_can_be_told_to_nobody_does_not_hide_the_coroutines_own():
    error = ValueError("nothing to read")

    async def main(address):
        async def work(task):
            await client.close()
            raise error

        client = sessiond.aio.connect(address)
        await client.run_task("x", "processing", work)

    with Fake(StartTask=[RUNNING]) as fake:
        with pytest.raises(sessiond.TaskFailed, match="nothing to read .and that could not be recorded: ") as failed:
            asyncio.run(main(fake.address))
    assert failed.value.__cause__ is error and failed.value.refusal is not None


@pytest.mark.parametrize("method", ["CompleteTask", "FailTask"])
def test_an_end_that_is_refused_says_why_even_if_the_task_cannot_be_asked(run_task, method):
    def work(task):
        if method == "FailTask":
            raise KeyError("work")

    paused = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_ACTIVE", "USER_FIXABLE")
    answers = {"CompleteTask": [paused], "FailTask": [paused], "GetTask": [Refusal(grpc.StatusCode.INTERNAL)]}
    with Fake(StartTask=[RUNNING], **answers) as fake:
        with pytest.raises(sessiond.SessiondError) as ended:
            run_task(fake.address, "x", work)
    refusal = ended.value.refusal if method == "FailTask" else ended.value
    assert (refusal.method, refusal.reason_name) == (method, "SESSION_NOT_ACTIVE")
    assert "FailTask" in names(fake)


def test_a_failure_of_what_is_another_workers_by_now_says_so(run_task):
    error = ValueError("nothing to read")
    stale = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TASK")
    with Fake(StartTask=[RUNNING], FailTask=[stale], GetTask=[ANOTHER]) as fake:
        with pytest.raises(sessiond.TaskLost) as lost:
            run_task(fake.address, "x", raising(error))
    assert lost.value.__cause__ is error


@pytest.mark.parametrize("result, end_stage", [({}, "upload"), ({"text": "a" * 70_000}, "")], ids=["stage", "result"])
def test_a_completion_that_is_refused_fails_the_task(
    sessiond_test_server, client, session_id, run_task, result, end_stage
):
    with pytest.raises(sessiond.Refused) as refused:
        run_task(sessiond_test_server.address, session_id, lambda task: result, end_stage=end_stage, attempts=3)
    assert refused.value.method == "CompleteTask"
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.retry_count == 1
    assert refused.value.message in task.failure_context["message"]
    (recorded,) = client.list_errors(session_id=session_id)
    assert (recorded.category.name, recorded.severity.name) == ("ADMIN_REQUIRED", "WARNING")


def test_a_completion_that_may_pass_later_leaves_the_task_as_it_is(run_task):
    refusal = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "TEMPORARY")
    with Fake(StartTask=[RUNNING], CompleteTask=[refusal]) as fake, pytest.raises(sessiond.ResourceExhausted):
        run_task(fake.address, "x", lambda task: {})
    assert [name for name, _, _ in fake.requests] == ["StartTask", "CompleteTask"]


def test_a_refused_completion_is_raised_even_if_the_task_cannot_be_failed(run_task):
    answers = {name: [Refusal(grpc.StatusCode.PERMISSION_DENIED)] for name in ("CompleteTask", "FailTask")}
    with Fake(StartTask=[RUNNING], **answers) as fake, pytest.raises(sessiond.PermissionDenied) as refused:
        run_task(fake.address, "x", lambda task: {})
    assert refused.value.method == "CompleteTask"
    assert [name for name, _, _ in fake.requests] == ["StartTask", "CompleteTask", "FailTask", "FailTask"]


@pytest.mark.parametrize("result, says", [({"at": object()}, "at is a object"), ([1], "returned a list")])
def test_a_result_that_json_cannot_carry_fails_the_task_and_is_not_made_again(
    sessiond_test_server, client, session_id, run_task, result, says
):
    runs = []

    def work(task):
        runs.append(task.attempt)
        return result

    with pytest.raises(sessiond.TaskFailed, match=says) as failed:
        run_task(sessiond_test_server.address, session_id, work, attempts=3)
    assert runs == [1] and failed.value.attempts == 1 and isinstance(failed.value.__cause__, TypeError)
    task = client.get_task(session_id)
    assert task.failure_context["type"] == "TypeError" and task.retry_count == 1
    (recorded,) = client.list_errors(session_id=session_id)
    assert recorded.category.name == "ADMIN_REQUIRED"


def test_arguments_are_checked_before_anything_starts(client, session_id):
    for wrong in ({"attempts": 0}, {"heartbeat_timeout": 0.5}, {"heartbeat_interval": 31}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            client.run_task(session_id, "processing", lambda task: {}, start_stage="processing", **wrong)
    with pytest.raises(sessiond.NotFound):
        client.get_task(session_id)


def test_check_and_report_raise_when_the_task_was_cancelled(client, session_id):
    seen = []

    def work(task):
        client.cancel_task(session_id, task.task_id)
        with pytest.raises(sessiond.TaskCancelled):
            task.report({"done": 1})
        seen.append(task.cancelled)
        task.check()

    with pytest.raises(sessiond.TaskCancelled) as cancelled:
        client.run_task(session_id, "processing", work, start_stage="processing")
    assert seen == [True] and cancelled.value.task.status.name == "CANCELLED"


def test_a_paused_session_does_not_end_its_task(client, session_id):
    """The daemon refuses reports while it is paused; the task still runs."""

    def work(task):
        client.pause_session(session_id)
        task.sleep(0.5)
        client.resume_session(session_id)
        return {"ok": True}

    task = client.run_task(
        session_id, "processing", work, start_stage="processing", heartbeat_timeout=30, heartbeat_interval=0.1
    )
    assert task.status.name == "COMPLETED"


def test_a_coroutine_that_is_cancelled_by_its_program_leaves_a_failed_task(
    sessiond_test_server, client, session_id, monkeypatch
):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)  # A busy machine may take longer than 5 s.

    async def main():
        started = asyncio.Event()

        async def work(task):
            started.set()
            await asyncio.sleep(60)

        async with sessiond_test_server.connect_aio() as aio:
            running = asyncio.ensure_future(aio.run_task(session_id, "processing", work, start_stage="processing"))
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.failure_context["type"] == "CancelledError"


# Tokens that fail, and hooks.

FAILED = v1.SessionTask(task_id="t", session_id="x", task_type="processing", status=v1.SessionTask.FAILED)
COMPLETED = v1.SessionTask(task_id="t", session_id="x", task_type="processing", status=v1.SessionTask.COMPLETED)
ANOTHER = v1.SessionTask(task_id="u", session_id="x", task_type="processing", status=v1.SessionTask.RUNNING)


def names(fake):
    return [name for name, _, _ in fake.requests]


def wait_for(condition):
    """For up to 30 s; False when it does not come true."""
    until = time.monotonic() + 30
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def failing_at(asked, answer, otherwise="t"):
    """A callable that gives this when it is asked that often, or raises one of this class."""
    times = itertools.count(1)

    def give():
        given = answer if next(times) == asked else otherwise
        if isinstance(given, type):
            raise given("secret")
        return given

    return give


@pytest.mark.parametrize(
    "answer", [ValueError, KeyError, asyncio.CancelledError, "", "sec ret", None], ids=lambda each: repr(each)
)
def test_heartbeats_go_on_when_there_is_no_token_for_one(run_task, caplog, answer):
    with Fake(StartTask=[RUNNING], ReportTaskProgress=[RUNNING], CompleteTask=[COMPLETED]) as fake:
        heard = []

        def work(task):
            heard.append(wait_for(lambda: names(fake).count("ReportTaskProgress") >= 2))

        connect = {"token": failing_at(2, answer)}
        done = run_task(fake.address, "x", work, heartbeat_interval=0.05, connect=connect)
    assert heard == [True] and done.status.name == "COMPLETED"
    assert [each for each in caplog.messages if "A heartbeat of the task t of x failed" in each]
    assert "sec" not in "".join(caplog.messages)


def test_heartbeats_go_on_when_the_coroutine_of_a_token_is_cancelled(caplog):
    async def main(fake):
        beats = asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()
        times = itertools.count(1)

        def beat(request, context):
            loop.call_soon_threadsafe(beats.release)
            return RUNNING

        async def token():
            if next(times) == 2:
                cancelled = loop.create_future()
                cancelled.cancel()
                await cancelled
            return "t"

        async def work(task):
            for _ in range(2):
                await asyncio.wait_for(beats.acquire(), 30)

        fake.answers["ReportTaskProgress"] = [beat]
        async with sessiond.aio.connect(fake.address, token=token) as client:
            return await client.run_task("x", "processing", work, heartbeat_interval=0.05)

    with Fake(StartTask=[RUNNING], CompleteTask=[COMPLETED], FailTask=[FAILED]) as fake:
        assert asyncio.run(main(fake)).status.name == "COMPLETED"
    assert [each for each in caplog.messages if "A heartbeat of the task t of x failed" in each]


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_hooks_that_raise_end_no_task(run_task, error):
    def hook(*given):
        raise error("hook")

    with Fake(StartTask=[RUNNING], CompleteTask=[COMPLETED]) as fake:
        connect = {"traceparent": hook, "on_call": hook}
        assert run_task(fake.address, "x", lambda task: {}, connect=connect).status.name == "COMPLETED"
    assert names(fake) == ["StartTask", "CompleteTask"]


def test_a_task_without_a_token_for_its_completion_is_failed(run_task):
    calls = []
    with Fake(StartTask=[RUNNING], CompleteTask=[COMPLETED], FailTask=[FAILED]) as fake:
        connect = {"token": failing_at(2, KeyError), "on_call": calls.append}
        with pytest.raises(sessiond.Unauthenticated) as refused:
            run_task(fake.address, "x", lambda task: {}, connect=connect)
    assert refused.value.method == "CompleteTask" and names(fake) == ["StartTask", "FailTask"]
    assert [each.method for each in calls] == ["StartTask", "CompleteTask", "FailTask"]
    assert [each.error for each in calls] == [None, refused.value, None]


def test_a_failure_without_a_token_is_told_again(run_task):
    error = KeyError("work")
    with Fake(StartTask=[RUNNING], FailTask=[FAILED]) as fake:
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, "x", raising(error), connect={"token": failing_at(2, OSError)})
    assert failed.value.__cause__ is error and names(fake) == ["StartTask", "FailTask"]


@pytest.mark.parametrize("ended", ["completed", "failed"])
def test_a_token_that_is_unavailable_for_a_moment_ends_no_task(run_task, ended):
    with Fake(StartTask=[RUNNING], CompleteTask=[COMPLETED], FailTask=[FAILED]) as fake:
        connect = {"token": failing_at(2, sessiond.Unavailable)}
        if ended == "completed":
            assert run_task(fake.address, "x", lambda task: {}, connect=connect).status.name == "COMPLETED"
        else:
            with pytest.raises(sessiond.TaskFailed):
                run_task(fake.address, "x", raising(KeyError("work")), connect=connect)
    assert names(fake) == ["StartTask", {"completed": "CompleteTask", "failed": "FailTask"}[ended]]


def test_heartbeats_end_with_their_client(caplog):
    with Fake(StartTask=[RUNNING], ReportTaskProgress=[RUNNING]) as fake:
        client = sessiond.connect(fake.address)

        def work(task):
            (keeper,) = (each for each in threading.enumerate() if each.name == "sessiond-task-t")
            client.close()
            keeper.join(30)
            assert not keeper.is_alive()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.run_task("x", "processing", work, heartbeat_interval=0.05)
    assert not [each for each in caplog.messages if "heartbeat" in each]


# Programs that are being ended.


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["interrupt", "exit"])
@pytest.mark.parametrize(
    "answers",
    [
        {"FailTask": [Refusal(grpc.StatusCode.PERMISSION_DENIED)]},
        {"FailTask": [Refusal(grpc.StatusCode.UNAVAILABLE, pushback=-1)]},
        {"FailTask": [Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TASK")], "GetTask": [ANOTHER]},
    ],
    ids=["refused", "unavailable", "lost"],
)
def test_a_program_is_ended_even_if_its_task_cannot_be_failed(caplog, error, answers):
    with Fake(StartTask=[RUNNING], **answers) as fake, sessiond.connect(fake.address) as client:
        with pytest.raises(type(error)) as ended:
            client.run_task("x", "processing", raising(error))
    assert ended.value is error and "FailTask" in names(fake)
    assert [each for each in caplog.messages if "The task t of x could not be failed" in each]


def test_a_program_is_ended_even_if_its_task_is_lost():
    stale = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TASK")
    error = SystemExit(3)

    def work(task):
        assert wait_for(lambda: task.cancelled)
        raise error

    with Fake(StartTask=[RUNNING], ReportTaskProgress=[stale], GetTask=[ANOTHER]) as fake:
        with sessiond.connect(fake.address) as client, pytest.raises(SystemExit) as ended:
            client.run_task("x", "processing", work, heartbeat_interval=0.05)
    assert ended.value is error and "FailTask" not in names(fake)


def test_a_coroutine_can_be_cancelled_when_its_task_is_lost():
    stale = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TASK")

    async def main(address):
        winding_up, go_on = asyncio.Event(), asyncio.Event()

        async def work(task):
            try:
                await asyncio.sleep(60)
            finally:
                winding_up.set()
                await go_on.wait()

        async with sessiond.aio.connect(address) as client:
            running = asyncio.ensure_future(client.run_task("x", "processing", work, heartbeat_interval=0.05))
            await asyncio.wait_for(winding_up.wait(), 30)
            running.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    with Fake(StartTask=[RUNNING], ReportTaskProgress=[stale], GetTask=[ANOTHER]) as fake:
        asyncio.run(main(fake.address))
    assert "FailTask" not in names(fake)


class Gate:
    """An answer that is given when the test says so; and whether somebody still waited for it."""

    def __init__(self, answer):
        self._answer = answer
        self.asked, self.opened, self.given = threading.Event(), threading.Event(), threading.Event()
        self.left = threading.Event()  # The call has ended.
        self.wanted = None

    def __call__(self, request, context):
        context.add_callback(self.left.set)
        self.asked.set()
        self.opened.wait(60)
        self.wanted = context.is_active()
        self.given.set()
        return self._answer


async def nothing(task):
    return None


async def something_wrong(task):
    raise KeyError("work")


@pytest.mark.parametrize(
    "method, work", [("CompleteTask", nothing), ("FailTask", something_wrong)], ids=["completion", "failure"]
)
@pytest.mark.parametrize("opened", [True, False], ids=["told", "not told"])
def test_a_coroutine_that_is_cancelled_while_it_tells_how_the_work_ended_says_it_all(
    monkeypatch, caplog, method, work, opened
):
    """But not for ever."""
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60 if opened else 0.3)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = asyncio.ensure_future(client.run_task("x", "processing", work, attempts=3))
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            if opened:
                done, _ = await asyncio.wait({running}, timeout=0.3)
                assert not done
                gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate({"CompleteTask": COMPLETED, "FailTask": FAILED}[method])
    with Fake(StartTask=[RUNNING], **{method: [gate]}) as fake:
        begun = time.monotonic()
        asyncio.run(main(fake.address))
        assert time.monotonic() - begun < 30
        assert gate.left.wait(30)
        gate.opened.set()
        assert gate.given.wait(30) and gate.wanted is opened
    assert names(fake) == ["StartTask", method]
    assert bool([each for each in caplog.messages if "end could not be told" in each]) is not opened


def test_a_coroutine_that_is_cancelled_while_its_heartbeats_end_leaves_a_failed_task():
    async def main(address):
        beating, ending, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        times = itertools.count(1)

        async def token():
            if next(times) == 2:
                beating.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    ending.set()
                    await go_on.wait()
            return "t"

        async def work(task):
            await beating.wait()

        async with sessiond.aio.connect(address, token=token) as client:
            running = asyncio.ensure_future(client.run_task("x", "processing", work, heartbeat_interval=0.05))
            await asyncio.wait_for(ending.wait(), 30)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            go_on.set()

    with Fake(StartTask=[RUNNING], FailTask=[FAILED]) as fake:
        asyncio.run(main(fake.address))
    assert names(fake) == ["StartTask", "FailTask"]


# Workers that are ended while a task is being started, or its end being told.

RETRYABLE = v1.SessionTask(
    task_id="t", session_id="x", task_type="processing", status=v1.SessionTask.FAILED, retryable=True
)
ONCE_MORE = v1.SessionTask(
    task_id="u", session_id="x", task_type="processing", status=v1.SessionTask.RUNNING, max_retries=3, retry_count=1
)


def starting(method, answers):
    """A server where a run is started so: the first one, or the next one of work that failed."""
    first = v1.SessionTask()
    first.CopyFrom(RUNNING)
    first.max_retries = 3
    if method == "StartTask":
        return Fake(StartTask=answers, FailTask=[FAILED])
    return Fake(StartTask=[first], FailTask=[RETRYABLE, FAILED], RetryTask=answers)


def told(fake, method):
    """What the server was told with this method."""
    return [request for name, request, _ in fake.requests if name == method]


def interrupted(fake, method):
    """Whether the run that this method has started was failed as one that was interrupted."""
    last = told(fake, "FailTask")[-1]
    ended = {"StartTask": "t", "RetryTask": "u"}[method]
    return names(fake)[-1] == "FailTask" and (last.task_id, last.error.error_code) == (ended, "CancelledError")


def run_of(client, **named):
    """A run_task of work that fails."""
    return asyncio.ensure_future(client.run_task("x", "processing", something_wrong, attempts=3, **named))


both_starts = pytest.mark.parametrize(
    "method, run", [("StartTask", RUNNING), ("RetryTask", ONCE_MORE)], ids=["start", "another run"]
)


@both_starts
def test_a_coroutine_that_is_cancelled_while_its_task_is_started_leaves_a_failed_task(monkeypatch, method, run):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = run_of(client)
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=0.3)
            assert not done
            gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate(run)
    with starting(method, [gate]) as fake:
        asyncio.run(main(fake.address))
    assert gate.wanted and len(told(fake, method)) == 1 and interrupted(fake, method)


@both_starts
def test_a_start_that_nobody_answers_is_not_waited_for_for_ever(monkeypatch, caplog, method, run):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 0.3)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = run_of(client)
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate(run)
    with starting(method, [gate]) as fake:
        begun = time.monotonic()
        asyncio.run(main(fake.address))
        assert time.monotonic() - begun < 30
        assert gate.left.wait(30)
        gate.opened.set()
        assert gate.given.wait(30) and not gate.wanted
    assert names(fake)[-1] == method
    assert [each for each in caplog.messages if "Whether a task was started could not be found out" in each]


@both_starts
def test_a_start_whose_answer_was_lost_is_asked_for_again_and_counts_once(monkeypatch, method, run):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)
    lost = Refusal(grpc.StatusCode.UNAVAILABLE, retry=0.2)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60, on_retry=lambda retry: running.cancel()) as client:
            running = run_of(client)
            with pytest.raises(asyncio.CancelledError):
                await running

    with starting(method, [lost, run]) as fake:
        asyncio.run(main(fake.address))
    first, second = told(fake, method)
    assert first.request_id == second.request_id != "" and interrupted(fake, method)


@both_starts
def test_a_start_whose_deadline_has_passed_is_asked_for_again(monkeypatch, method, run):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = run_of(client)
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate(Refusal(grpc.StatusCode.DEADLINE_EXCEEDED))
    with starting(method, [gate, run]) as fake:
        asyncio.run(main(fake.address))
    first, second = told(fake, method)
    assert first.request_id == second.request_id != "" and interrupted(fake, method)


@both_starts
def test_a_start_that_was_refused_leaves_nothing_to_fail(caplog, method, run):
    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = run_of(client)
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate(Refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_ACTIVE", "USER_FIXABLE"))
    with starting(method, [gate]) as fake:
        asyncio.run(main(fake.address))
    assert gate.wanted and names(fake)[-1] == method
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


def test_a_coroutine_that_is_cancelled_before_its_start_was_sent_starts_nothing(caplog):
    async def main(address):
        asked = asyncio.Event()

        async def token():
            asked.set()
            await asyncio.sleep(60)

        async with sessiond.aio.connect(address, token=token, timeout=60) as client:
            for moment in (asked.wait, lambda: asyncio.sleep(0)):
                running = run_of(client)
                await moment()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running

    with starting("StartTask", [RUNNING]) as fake:
        asyncio.run(main(fake.address))
    assert fake.requests == [] and not [each for each in caplog.records if each.levelname == "WARNING"]


def test_a_token_that_is_not_to_be_cancelled_does_not_hold_the_cancellation_up(monkeypatch):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 0.3)

    async def main(address):
        go_on = asyncio.Event()
        times = itertools.count(1)

        async def token():
            if next(times) == 2:  # Behind a start whose answer was lost.
                running.cancel()
                while not go_on.is_set():
                    with contextlib.suppress(asyncio.CancelledError):
                        await go_on.wait()
            return "t"

        async with sessiond.aio.connect(address, token=token, timeout=60) as client:
            running = run_of(client)
            done, _ = await asyncio.wait({running}, timeout=20)
            go_on.set()
            assert done and running.cancelled()

    with starting("StartTask", [Refusal(grpc.StatusCode.UNAVAILABLE)]) as fake:
        asyncio.run(main(fake.address))
    assert names(fake) == ["StartTask"]


class Leaving:
    """An answer that nobody waits for any more."""

    def __init__(self, answer):
        self._answer = answer
        self.asked = threading.Event()

    def __call__(self, request, context):
        left = threading.Event()
        if context.add_callback(left.set):
            self.asked.set()
            left.wait(30)
        return self._answer


@pytest.mark.parametrize(
    "method, run, work",
    [
        ("StartTask", RUNNING, nothing),
        ("RetryTask", ONCE_MORE, something_wrong),
        ("CompleteTask", COMPLETED, nothing),
        ("FailTask", FAILED, something_wrong),
    ],
    ids=["start", "another run", "completion", "failure"],
)
def test_a_loop_that_ends_cancels_what_it_likes_and_leaves_no_task_running(monkeypatch, method, run, work):
    """asyncio.run cancels all tasks that are left, those that this package waits for with them."""
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)
    ended = []

    async def background(client):
        try:
            await client.run_task("x", "processing", work, attempts=3)
        except asyncio.CancelledError:
            ended.append(True)
            await client.close()

    async def main(address):
        client = sessiond.aio.connect(address, timeout=60)
        kept.append(asyncio.ensure_future(background(client)))
        assert await asyncio.to_thread(leaving.asked.wait, 30)

    kept = []
    leaving = Leaving(run)
    answers = {"CompleteTask": [COMPLETED], "FailTask": [FAILED], method: [leaving, run]}
    if method == "RetryTask":
        fake = starting(method, [leaving, run])
    else:
        fake = Fake(**{"StartTask": [RUNNING], **answers})
    with fake:
        asyncio.run(main(fake.address))
    first, second = told(fake, method)
    assert ended == [True] and first == second and first.request_id != ""
    assert method in ("CompleteTask", "FailTask") or interrupted(fake, method)


def test_a_coroutine_that_is_cancelled_while_its_start_is_sent_leaves_a_failed_task(
    sessiond_test_server, client, session_id, monkeypatch
):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)

    async def main():
        times = itertools.count(1)

        def token():
            if next(times) == 1:
                # The call is sent before anything else is run.
                asyncio.get_running_loop().call_soon(running.cancel)
            return "t"

        async with sessiond.aio.connect(sessiond_test_server.address, token=token) as aio:
            running = asyncio.ensure_future(aio.run_task(session_id, "processing", nothing, start_stage="processing"))
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.failure_context["type"] == "CancelledError"
    (recorded,) = client.list_errors(session_id=session_id)
    assert recorded.user_message == "The task processing failed: CancelledError"


# Pauses before work is run again, and runs that do not come about.


def test_work_that_failed_is_run_again_behind_a_pause_that_grows(run_task):
    times = []

    def at_this_time(answer):
        return lambda request, context: times.append(time.monotonic()) or answer

    with starting("RetryTask", [at_this_time(ONCE_MORE)]) as fake:
        fake.answers["FailTask"] = [at_this_time(RETRYABLE)]
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, "x", raising(KeyError("work")), attempts=3)
    assert failed.value.attempts == 3 and failed.value.refusal is None
    assert names(fake) == ["StartTask", "FailTask", "RetryTask", "FailTask", "RetryTask", "FailTask"]
    # 100 and 200 ms, or up to half of that less. A clock may be some milliseconds out.
    assert times[1] - times[0] > 0.045 and times[3] - times[2] > 0.095


def test_pauses_between_runs_double_up_to_ten_seconds():
    backoff = sessiond.tasks.retry_backoff()
    pauses = [backoff.pause() for _ in range(10)]
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest))


@pytest.fixture
def at_pause(monkeypatch, caplog):
    """Does something when the pause before another run begins, which would take one to two minutes."""
    monkeypatch.setattr(sessiond.tasks, "RETRY_PAUSE", 120, raising=False)
    monkeypatch.setattr(sessiond.tasks, "RETRY_PAUSE_MAX", 120, raising=False)
    caplog.set_level("INFO", "sessiond")
    logger = logging.getLogger("sessiond")

    def do(something):
        handler = logging.Handler()
        handler.emit = lambda record: "is tried again" in record.getMessage() and something()
        logger.addHandler(handler)
        handlers.append(handler)

    handlers = []
    yield do
    for handler in handlers:
        logger.removeHandler(handler)


def test_a_client_that_is_closed_ends_the_pause(at_pause):
    error = KeyError("work")
    with starting("RetryTask", [ONCE_MORE]) as fake:
        client = sessiond.connect(fake.address)
        at_pause(threading.Thread(target=client.close).start)
        begun = time.monotonic()
        with pytest.raises(sessiond.TaskFailed, match="^The task processing failed: 'work'$") as failed:
            client.run_task("x", "processing", raising(error), attempts=3)
    assert time.monotonic() - begun < 30 and names(fake) == ["StartTask", "FailTask"]
    assert (failed.value.__cause__, failed.value.attempts, failed.value.refusal) == (error, 1, None)
    assert failed.value.task.retryable


def test_a_client_of_asyncio_that_is_closed_ends_the_pause(at_pause):
    async def main(address):
        def close():
            asyncio.get_running_loop().call_soon(lambda: kept.append(asyncio.ensure_future(client.close())))

        kept = []
        at_pause(close)
        client = sessiond.aio.connect(address)
        with pytest.raises(sessiond.TaskFailed, match="^The task processing failed: 'work'$") as failed:
            await client.run_task("x", "processing", something_wrong, attempts=3)
        assert isinstance(failed.value.__cause__, KeyError)
        assert (failed.value.attempts, failed.value.refusal, failed.value.task.retryable) == (1, None, True)
        await kept[0]

    with starting("RetryTask", [ONCE_MORE]) as fake:
        begun = time.monotonic()
        asyncio.run(main(fake.address))
    assert time.monotonic() - begun < 30 and names(fake) == ["StartTask", "FailTask"]


def test_a_coroutine_that_is_cancelled_in_the_pause_is_not_run_again(at_pause):
    async def main(address):
        async with sessiond.aio.connect(address) as client:
            running = run_of(client)
            at_pause(lambda: asyncio.get_running_loop().call_soon(running.cancel))
            with pytest.raises(asyncio.CancelledError):
                await running

    with starting("RetryTask", [ONCE_MORE]) as fake:
        begun = time.monotonic()
        asyncio.run(main(fake.address))
    assert time.monotonic() - begun < 30 and names(fake) == ["StartTask", "FailTask"]


def test_a_program_that_is_interrupted_in_the_pause_does_not_run_the_work_again(at_pause):
    main_thread = threading.main_thread().ident

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            threading.Thread(target=signal.pthread_kill, args=(main_thread, signal.SIGINT)).start()
            return super().wait(timeout)

    with starting("RetryTask", [ONCE_MORE]) as fake, sessiond.connect(fake.address) as client:
        client._closed = Interrupted()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.run_task("x", "processing", raising(KeyError("work")), attempts=3)
    assert time.monotonic() - begun < 30 and names(fake) == ["StartTask", "FailTask"]


def test_a_retry_that_is_refused_does_not_hide_why_the_work_failed(run_task):
    error = ValueError("nothing to read")
    refusal = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_ACTIVE", "USER_FIXABLE")
    with starting("RetryTask", [refusal]) as fake:
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, "x", raising(error), attempts=3)
    assert failed.value.__cause__ is error
    assert (failed.value.refusal.reason_name, failed.value.refusal.method) == ("SESSION_NOT_ACTIVE", "RetryTask")
    said = f"The task processing failed: nothing to read (and it could not be run again: {failed.value.refusal})"
    assert str(failed.value) == said
    assert (failed.value.task.status.name, failed.value.attempts) == ("FAILED", 1)
    assert names(fake) == ["StartTask", "FailTask", "RetryTask"]


def passed_on(client, name, answer=None):
    """Has the daemon answer a call; or puts another answer in the place of its own."""
    method = METHODS[name]
    call = client.channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )

    def give(request, context):
        given = call(request, timeout=30)
        return given if answer is None else answer

    return give


@pytest.mark.parametrize("code", ["INTERNAL", "DEADLINE_EXCEEDED"])
def test_a_retry_whose_answer_is_lost_leaves_no_task_running(client, session_id, run_task, code):
    error = ValueError("nothing to read")
    lost = Refusal(grpc.StatusCode[code])
    answers = {name: [passed_on(client, name)] for name in ("StartTask", "FailTask")}
    with Fake(RetryTask=[passed_on(client, "RetryTask", lost)], **answers) as fake:
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, session_id, raising(error), attempts=3)
    assert failed.value.__cause__ is error and "could not be run again" in str(failed.value)
    assert failed.value.refusal.code is lost.code and failed.value.attempts == 1
    task = client.get_task(session_id)
    assert (task.status.name, task.retry_count) == ("FAILED", 2)
    assert (failed.value.task.task_id, failed.value.task.retry_count) == (task.task_id, 2)
    last = list(client.list_errors(session_id=session_id))
    assert len(last) == 2
    said = {each.user_message: each.category.name for each in last}
    assert said["The task processing was not run again."] == "TEMPORARY"


@pytest.mark.parametrize(
    "refusal, warns",
    [
        (Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TASK", "USER_FIXABLE"), False),
        (Refusal(grpc.StatusCode.INTERNAL), True),
    ],
    ids=["not begun", "not known"],
)
def test_a_retry_that_was_lost_on_its_way_hides_nothing(run_task, caplog, refusal, warns):
    error = ValueError("nothing to read")
    with starting("RetryTask", [Refusal(grpc.StatusCode.INTERNAL)]) as fake:
        fake.answers["FailTask"] = [RETRYABLE, refusal]
        with pytest.raises(sessiond.TaskFailed, match="nothing to read .and it could not be run again") as failed:
            run_task(fake.address, "x", raising(error), attempts=3)
    assert failed.value.__cause__ is error and failed.value.refusal.method == "RetryTask"
    assert names(fake) == ["StartTask", "FailTask", "RetryTask", "FailTask"] and failed.value.task.task_id == "t"
    (retry,), (_, failing) = told(fake, "RetryTask"), told(fake, "FailTask")
    assert failing.task_id == retry.task_id != ""
    assert bool([each for each in caplog.messages if "could not be found out" in each]) is warns


def test_a_retry_that_was_never_sent_is_not_failed(run_task):
    with starting("RetryTask", [ONCE_MORE]) as fake:
        connect = {"token": failing_at(3, KeyError)}
        with pytest.raises(sessiond.TaskFailed) as failed:
            run_task(fake.address, "x", raising(ValueError("nothing to read")), attempts=3, connect=connect)
    assert isinstance(failed.value.refusal, sessiond.Unauthenticated) and names(fake) == ["StartTask", "FailTask"]


def test_a_coroutine_that_is_cancelled_while_a_lost_retry_is_failed_says_it_all(monkeypatch):
    monkeypatch.setattr(sessiond.aio, "_LAST_WORDS_SECONDS", 60)

    async def main(address):
        async with sessiond.aio.connect(address, timeout=60) as client:
            running = run_of(client)
            assert await asyncio.to_thread(gate.asked.wait, 30)
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=0.3)
            assert not done
            gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await running

    gate = Gate(FAILED)
    with starting("RetryTask", [Refusal(grpc.StatusCode.INTERNAL)]) as fake:
        fake.answers["FailTask"] = [RETRYABLE, gate]
        asyncio.run(main(fake.address))
    assert gate.wanted and len(told(fake, "FailTask")) == 2


def test_a_program_that_is_interrupted_while_a_lost_retry_is_failed_says_it_all():
    times = itertools.count(1)

    def on_call(call):
        if call.method == "FailTask" and next(times) == 2:
            raise KeyboardInterrupt

    with starting("RetryTask", [Refusal(grpc.StatusCode.INTERNAL)]) as fake:
        with sessiond.connect(fake.address, timeout=60, on_call=on_call) as client:
            with pytest.raises(KeyboardInterrupt):
                client.run_task("x", "processing", raising(KeyError("work")), attempts=3)
    _, first, second = told(fake, "FailTask")
    assert first == second and first.request_id != "" and first.task_id == told(fake, "RetryTask")[0].task_id


# The same with threads.


def interrupt_behind(method):
    """For on_call: Ctrl-C when this method has been called for the first time, and its answer is not seen."""
    interrupted = threading.Event()

    def on_call(call):
        if call.method == method and not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    return on_call


@pytest.mark.parametrize(
    "method, run, works",
    [
        ("StartTask", RUNNING, True),
        ("RetryTask", ONCE_MORE, False),
        ("CompleteTask", COMPLETED, True),
        ("FailTask", FAILED, False),
    ],
    ids=["start", "another run", "completion", "failure"],
)
def test_a_program_that_is_interrupted_between_two_words_says_them_all(method, run, works):
    def work(task):
        if not works:
            raise KeyError("work")

    if method == "RetryTask":
        fake = starting(method, [run])
    else:
        fake = Fake(StartTask=[RUNNING], CompleteTask=[COMPLETED], FailTask=[FAILED])
    with fake, sessiond.connect(fake.address, timeout=60, on_call=interrupt_behind(method)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.run_task("x", "processing", work, attempts=3)
    first, second = told(fake, method)
    assert first == second and first.request_id != ""
    assert names(fake)[-1] == {"StartTask": "FailTask", "RetryTask": "FailTask"}.get(method, method)
    if method in ("StartTask", "RetryTask"):
        assert told(fake, "FailTask")[-1].error.error_code == "KeyboardInterrupt"


def test_a_start_that_is_interrupted_counts_once(sessiond_test_server, client, session_id):
    with sessiond.connect(sessiond_test_server.address, on_call=interrupt_behind("StartTask")) as own:
        with pytest.raises(KeyboardInterrupt):
            own.run_task(session_id, "processing", lambda task: {}, start_stage="processing")
    task = client.get_task(session_id)
    assert task.status.name == "FAILED" and task.failure_context["type"] == "KeyboardInterrupt"
    started = [each.type.name for each in client.list_session_events(session_id)].count("TASK_STARTED")
    assert started == 1


def test_a_program_that_is_interrupted_before_its_start_was_sent_starts_nothing():
    def token():
        raise KeyboardInterrupt

    with starting("StartTask", [RUNNING]) as fake, sessiond.connect(fake.address, token=token) as client:
        with pytest.raises(KeyboardInterrupt):
            client.run_task("x", "processing", lambda task: {})
    assert fake.requests == []


@pytest.mark.parametrize(
    "refusal, warns",
    [
        (Refusal(grpc.StatusCode.UNAVAILABLE, pushback=-1), True),
        (Refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_ACTIVE", "USER_FIXABLE"), False),
    ],
    ids=["unavailable", "refused"],
)
def test_an_interruption_whose_start_is_refused_is_raised_all_the_same(caplog, refusal, warns):
    with starting("StartTask", [refusal]) as fake:
        with sessiond.connect(fake.address, on_call=interrupt_behind("StartTask")) as client:
            with pytest.raises(KeyboardInterrupt):
                client.run_task("x", "processing", lambda task: {})
    assert names(fake) == ["StartTask", "StartTask"]
    assert bool([each for each in caplog.messages if "could not be found out" in each]) is warns


def test_a_program_that_is_interrupted_while_its_heartbeats_end_leaves_a_failed_task():
    def interrupt(task):
        task._done.wait(30)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def work(task):
        assert beat.asked.wait(30)
        threading.Thread(target=interrupt, args=(task,)).start()

    beat = Gate(RUNNING)
    with Fake(StartTask=[RUNNING], ReportTaskProgress=[beat], FailTask=[FAILED]) as fake:
        with sessiond.connect(fake.address, timeout=60) as client, pytest.raises(KeyboardInterrupt):
            client.run_task("x", "processing", work, heartbeat_interval=0.05)
        beat.opened.set()
    assert names(fake) == ["StartTask", "ReportTaskProgress", "FailTask"]
    assert told(fake, "FailTask")[0].error.error_code == "KeyboardInterrupt"


# What else may go wrong between a task's start and its end.


def test_a_machine_without_another_thread_fails_the_task(monkeypatch):
    start = threading.Thread.start

    def none_left(thread):
        if thread.name.startswith("sessiond-task-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with Fake(StartTask=[RUNNING], FailTask=[FAILED]) as fake, sessiond.connect(fake.address) as client:
        with pytest.raises(sessiond.TaskFailed, match="can't start new thread"):
            client.run_task("x", "processing", lambda task: {})
    assert names(fake) == ["StartTask", "FailTask"]


def test_an_error_that_has_no_words_fails_the_task(sessiond_test_server, client, session_id, run_task):
    class Wordless(Exception):
        def __str__(self):
            raise KeyError("words")

    error = Wordless()
    with pytest.raises(sessiond.TaskFailed, match="^The task processing failed: Wordless$") as failed:
        run_task(sessiond_test_server.address, session_id, raising(error))
    assert failed.value.__cause__ is error
    assert client.get_task(session_id).failure_context["message"] == "Wordless"
