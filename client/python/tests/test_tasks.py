"""The task runner, against the real daemon."""

import asyncio

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
    """Runs a task with the one client or the other. The work is a function in any case."""

    def run(address, session_id, work, **named):
        named = {"start_stage": "processing", **named}
        if request.param == "threads":
            with sessiond.connect(address) as client:
                return client.run_task(session_id, "processing", work, **named)

        async def coroutine(task):
            return work(task)

        async def main():
            async with sessiond.aio.connect(address) as client:
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


@pytest.mark.parametrize(
    "describe",
    [
        describe_and_raise,
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
def test_a_result_that_json_cannot_carry_is_a_failure_of_the_work(client, session_id, result, says):
    with pytest.raises(sessiond.TaskFailed, match=says):
        client.run_task(session_id, "processing", lambda task: result, start_stage="processing")
    assert client.get_task(session_id).failure_context["type"] == "TypeError"


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
