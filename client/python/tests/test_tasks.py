"""The task runner, against the real daemon."""

import asyncio
import itertools
import threading
import time

import grpc
import pytest
from fake import Fake, Refusal

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
def test_a_failure_that_cannot_be_told_is_raised_with_the_works_own_behind_it(run_task, refusal, times):
    error = ValueError("no")
    describe = lambda error: {"recovery_actions": ["Wait"]}  # noqa: E731
    with Fake(StartTask=[RUNNING], FailTask=[refusal], GetTask=[RUNNING]) as fake:
        with pytest.raises(sessiond.Refused) as refused:
            run_task(fake.address, "x", raising(error), describe=describe)
    assert refused.value.code is refusal.code and refused.value.__cause__ is error
    told = [list(request.error.recovery_actions) for name, request, _ in fake.requests if name == "FailTask"]
    assert told == [["Wait"], []][:times]


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
