"""The task runner, against the real daemon."""

import asyncio

import pytest

import sessiond
import sessiond.aio


@pytest.fixture
def client(sessiond_test_server):
    with sessiond_test_server.connect() as client:
        yield client


@pytest.fixture
def session_id(client):
    session = client.create_session(workflow="ticket_export", owner_id="ada", owner_display_name="Ada")
    client.advance_session(session.session_id, "upload")
    return session.session_id


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


def test_a_coroutine_that_is_cancelled_by_its_program_leaves_a_failed_task(sessiond_test_server, client, session_id):
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
