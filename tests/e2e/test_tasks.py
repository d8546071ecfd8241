"""Tasks: one at a time, retried as often as they may be, and never reported into by a worker that was
given up for dead.
"""

import itertools
import time
import uuid

import pytest
from conftest import Refused, moment, newest_first
from test_scenarios import assert_chained, at_once, events_of, types_of

# Until a daemon has noticed a silence, it may take a beat of its sweeper; a busy machine takes longer.
NOTICED_SECONDS = 30


class Work:
    """A ticket_export in processing, and what its workers say."""

    def __init__(self, client, namespace="default", **fields):
        self.client = client
        self.session_id = client.create(namespace=namespace)["sessionId"]
        self.call("AdvanceSession", targetStage="upload")
        self.task = self.start(advanceToStage="processing", **fields)

    def call(self, method, **fields):
        return self.client.call(method, {"sessionId": self.session_id, **fields})

    def refusal(self, method, **fields):
        return self.client.refusal(method, {"sessionId": self.session_id, **fields})

    def start(self, task_type="processing", **fields):
        self.task = self.call("StartTask", taskType=task_type, **fields)
        return self.task

    def report(self, method, **fields):
        return self.call(method, taskId=self.task["taskId"], **fields)

    def fail(self, **fields):
        self.task = self.report("FailTask", **fields)
        return self.task

    def retry(self, **fields):
        self.task = self.call("RetryTask", **fields)
        return self.task

    def session(self, **fields):
        return self.call("GetSession", **fields)

    def types(self):
        return types_of(self.client, self.session_id)

    def to_export(self):
        """On to the stage with two kinds of tasks."""
        self.report("CompleteTask", advanceToStage="review")
        session = {"sessionId": self.session_id, "context": {"jira_project_key": "SITE"}}
        self.client.call("UpdateSession", {"session": session, "updateMask": "context"})
        self.call("AdvanceSession", targetStage="jira_export")


@pytest.fixture
def work(client):
    return Work(client)


def without_time(task):
    return {key: value for key, value in task.items() if key != "duration"}


# ------------------------------------------------------------------------------------------------
# one at a time


def test_there_is_one_task_at_a_time(work):
    for task_type in ["processing", "export"]:
        refusal = work.refusal("StartTask", taskType=task_type)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TASK_ALREADY_RUNNING")
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "task_id": work.task["taskId"],
            "task_type": "processing",
        }
    assert work.refusal("RetryTask").reason == "TASK_ALREADY_RUNNING"
    assert work.refusal("AdvanceSession", targetStage="review").reason == "TASK_ALREADY_RUNNING"


def test_of_many_who_start_a_task_at_once_one_does(work):
    work.report("CancelTask")
    answers = at_once(16, lambda _: work.call("StartTask", taskType="processing"))
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"TASK_ALREADY_RUNNING"}


def test_a_task_runs_in_its_own_stages_only(work):
    refusal = work.refusal("StartTask", taskType="export", advanceToStage="review")
    assert refusal.reason == "TASK_ALREADY_RUNNING"
    work.report("CompleteTask", advanceToStage="review")
    for task_type in ["processing", "export", "adf_validation"]:
        refusal = work.refusal("StartTask", taskType=task_type)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "INVALID_TRANSITION")
        assert refusal.metadata["allowed"] == ""
    before = work.session()
    # With a stage that is not the next one, or lacks its fields: neither task nor stage.
    for stage, reason in [("completed", "INVALID_TRANSITION"), ("jira_export", "STAGE_FIELDS_MISSING")]:
        refusal = work.refusal("StartTask", taskType="export", advanceToStage=stage)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", reason)
    assert work.session() == before


def test_what_ended_well_or_was_cancelled_is_replaced(work):
    work.to_export()
    first = work.start("export")
    work.report("CompleteTask", result={"n": 1})
    second = work.start("adf_validation")
    assert second.get("retryCount", 0) == 0 and "result" not in second and "completeTime" not in second
    work.report("CancelTask")
    cancelled = work.call("GetTask")
    assert cancelled["status"] == "CANCELLED" and cancelled["cancelTime"]
    for method in ["CompleteTask", "FailTask", "CancelTask", "ReportTaskProgress"]:
        refusal = work.refusal(method, taskId=second["taskId"])
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TASK_NOT_RUNNING")
        assert refusal.metadata["status"] == "CANCELLED"
        refusal = work.refusal(method, taskId=first["taskId"])
        assert refusal.reason == "STALE_TASK"
    assert work.refusal("RetryTask").reason == "TASK_NOT_RUNNING"
    third = work.start("export")
    assert third["status"] == "RUNNING"


def test_a_failed_task_of_another_type_is_replaced_and_starts_at_none(work):
    work.to_export()
    work.start("export")
    work.fail()
    work.retry()
    work.fail()
    replaced = work.start("adf_validation")
    assert (replaced.get("retryCount", 0), replaced["status"]) == (0, "RUNNING")
    work.fail()
    assert work.task["retryCount"] == 1
    assert work.refusal("StartTask", taskType="adf_validation").reason == "TASK_FAILED"
    work.start("export")
    assert work.task.get("retryCount", 0) == 0


@pytest.mark.parametrize("end", ["StopSession", "FailSession", "DeleteSession"])
def test_the_session_s_end_cancels_its_task(work, end):
    work.call(end, **({"force": True} if end == "DeleteSession" else {}))
    task = work.call("GetTask", includeDeleted=True)
    assert (task["status"], task["taskId"]) == ("CANCELLED", work.task["taskId"])
    types = work.types()
    events = events_of(work.client, work.session_id)
    assert types[4] == "TASK_CANCELLED"
    assert len({event["requestId"] for event in events[4:]}) == 1
    assert_chained(events)


def test_a_pause_stops_people_and_not_a_worker(work):
    work.call("PauseSession")
    assert work.report("ReportTaskProgress", progress={"n": 1})["progress"] == {"n": 1}
    for method, fields in [
        ("AdvanceSession", {"targetStage": "review"}),
        ("AddArtifacts", None),
        ("RecordError", None),
    ]:
        if fields is not None:
            assert work.refusal(method, **fields).reason == "SESSION_NOT_ACTIVE"
    work.call("AddArtifacts", artifacts=[{"kind": "FILE"}])
    work.report("CompleteTask", advanceToStage="review")
    session = work.session()
    assert (session["state"], session["stage"]) == ("PAUSED", "review")


# ------------------------------------------------------------------------------------------------
# failing


def test_three_attempts_are_all_and_the_last_takes_the_session_along(work):
    given = {"category": "USER_FIXABLE", "severity": "WARNING", "userMessage": "Send another file."}
    for count in (1, 2):
        failed = work.fail(failureContext={"n": count})
        assert (failed["retryCount"], failed["retryable"]) == (count, True)
        assert work.session()["status"] == "active"
        work.retry()
    # The caller brings an error: no other is recorded.
    failed = work.fail(error=given)
    assert failed["retryCount"] == failed["maxRetries"] == 3 and not failed.get("retryable", False)
    session = work.session(view="FULL")
    assert (session["status"], session["state"]) == ("failed", "ACTIVE")
    [error] = session["openErrors"]
    assert {key: error[key] for key in given} == given
    assert work.types()[-3:] == ["TASK_FAILED", "ERROR_RECORDED", "FAILED"]
    refusal = work.refusal("RetryTask")
    assert (refusal.reason, refusal.metadata["category"]) == ("RETRY_LIMIT_EXCEEDED", "ADMIN_REQUIRED")
    # A stopped one says the same: the task is looked at before the state.
    work.call("StopSession")
    assert work.refusal("RetryTask").reason == "RETRY_LIMIT_EXCEEDED"


def test_recovering_twice_audits_twice_and_a_paused_one_comes_back(work):
    before = work.session()
    recovered = work.call("RecoverSession", actor="operator")
    for field in before.keys() - {"sequence", "revision", "etag", "updateTime", "currentTask"}:
        assert recovered[field] == before[field], field
    assert without_time(recovered["currentTask"]) == without_time(before["currentTask"])
    work.call("PauseSession")
    assert work.call("RecoverSession")["state"] == "ACTIVE"
    assert work.types()[-3:] == ["RECOVERED", "PAUSED", "RECOVERED"]
    work.call("StopSession")
    refusal = work.refusal("RecoverSession")
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "NOT_RECOVERABLE")
    assert refusal.metadata["why"] == "stopped"


# ------------------------------------------------------------------------------------------------
# progress, etags, requests


def test_progress_and_heartbeats_leave_etags_alone(work):
    session = work.session()
    task = work.report("ReportTaskProgress")
    assert moment(task["heartbeatTime"]) > moment(session["currentTask"]["heartbeatTime"])
    assert work.session()["sequence"] == session["sequence"]  # A bare heartbeat is no event.
    assert work.session()["updateTime"] == session["updateTime"]
    work.report("ReportTaskProgress", progress={"a": 1, "b": 2})
    told = work.report("ReportTaskProgress", progress={"c": 3}, etag=session["etag"])
    assert told["progress"] == {"c": 3}
    after = work.session()
    assert (after["etag"], after["revision"]) == (session["etag"], session["revision"])
    assert after["sequence"] == session["sequence"] + 2
    work.report("CompleteTask", etag=session["etag"])
    refusal = work.refusal("StartTask", taskType="processing", etag=session["etag"])
    assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert refusal.metadata["current_etag"] == work.session()["etag"]


def test_a_stale_task_is_named_before_a_stale_etag(work):
    for method in ["CompleteTask", "FailTask", "CancelTask", "ReportTaskProgress"]:
        refusal = work.refusal(method, taskId=str(uuid.uuid4()), etag="r1")
        assert refusal.reason == "STALE_TASK"
        refusal = work.refusal(method, taskId=work.task["taskId"], etag="r1")
        assert refusal.reason == "ETAG_MISMATCH"
    assert work.types()[-1] == "TASK_STARTED"


def test_every_report_is_replayed_once(work):
    def twice(method, **fields):
        request = {"requestId": str(uuid.uuid4()), **fields}
        first = work.call(method, **request)
        again = work.call(method, **request)
        assert without_time(again) == without_time(first)
        refusal = work.refusal(method, **{**request, "reason": "another"})
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        return request, first

    count = len(work.types())
    steps = [
        ("ReportTaskProgress", {"progress": {"n": 1}}),
        ("FailTask", {"failureContext": {"n": 1}}),
        ("RetryTask", {}),
        ("CancelTask", {}),
        ("StartTask", {"taskType": "processing"}),
        ("CompleteTask", {"advanceToStage": "review"}),
    ]
    requests = {}
    for method, fields in steps:
        names_it = method not in ("RetryTask", "StartTask")
        named = {"taskId": work.task["taskId"]} if names_it else {}
        requests[method], work.task = twice(method, **named, **fields)
    assert len(work.types()) == count + len(steps) + 1
    # What was replaced since is not what runs now.
    refusal = work.refusal("RetryTask", **requests["RetryTask"])
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STALE_TASK")
    assert refusal.metadata["current_task_id"] == work.task["taskId"]
    # Before existence, too.
    work.call("DeleteSession", force=True)
    assert work.call("StartTask", **requests["StartTask"])["status"] == "COMPLETED"


def test_twins_in_parallel_fail_it_once(work):
    request = {"taskId": work.task["taskId"], "requestId": str(uuid.uuid4())}
    answers = at_once(16, lambda _: work.call("FailTask", **request))
    assert {answer["retryCount"] for answer in answers} == {1}
    others = at_once(16, lambda _: work.call("RetryTask"))
    assert sum(isinstance(answer, dict) for answer in others) == 1
    assert work.types().count("TASK_FAILED") == work.types().count("TASK_RETRIED") == 1


# ------------------------------------------------------------------------------------------------
# heartbeats


def test_a_silent_worker_is_given_up_and_one_that_speaks_is_not(own_daemon):
    client = own_daemon.start()
    silent, spoken, eternal = (Work(client, heartbeatTimeout="60s") for _ in range(3))
    eternal.report("CancelTask")
    eternal.start()
    ids = "','".join(each.session_id for each in (silent, spoken))
    own_daemon.change_rows(
        "UPDATE session_tasks SET heartbeat_at = heartbeat_at - interval '59 s', "
        f"started_at = started_at - interval '59 s' WHERE session_id IN ('{ids}')"
    )
    spoken.report("ReportTaskProgress")
    own_daemon.change_rows(
        "UPDATE session_tasks SET heartbeat_at = heartbeat_at - interval '1 day' "
        f"WHERE session_id IN ('{silent.session_id}', '{eternal.session_id}')"
    )
    give_up = time.monotonic() + NOTICED_SECONDS
    while silent.call("GetTask")["status"] == "RUNNING" and time.monotonic() < give_up:
        time.sleep(0.05)
    task = silent.call("GetTask")
    assert (task["status"], task["retryCount"], task["retryable"]) == ("FAILED", 1, True)
    [error] = silent.session(view="FULL")["openErrors"]
    assert error["category"] == "TEMPORARY"
    failed = [e for e in events_of(client, silent.session_id) if e["type"] == "TASK_FAILED"]
    assert [(e["trigger"], e["actor"], e["caller"]) for e in failed] == [("SYSTEM_TIMEOUT", "system", "system")]
    for other in (spoken, eternal):
        assert other.call("GetTask")["status"] == "RUNNING"
    assert silent.retry()["heartbeatTimeout"] == "60s"
    refusal = silent.refusal("CompleteTask", taskId=task["taskId"])
    assert refusal.reason == "STALE_TASK"


# ------------------------------------------------------------------------------------------------
# lists


def test_tasks_are_found_across_sessions_by_what_they_are(client, namespace):
    running = [Work(client, namespace) for _ in range(3)]
    failed = Work(client, namespace)
    failed.fail()
    for_good = Work(client, namespace)
    for _ in range(2):
        for_good.fail()
        for_good.retry()
    for_good.fail()
    deleted = Work(client, namespace)
    deleted.call("DeleteSession", force=True)

    def by_start(*works):
        """Of sessions, newest first: several daemons have clocks of their own."""
        started = [(moment(work.call("GetTask")["startTime"]), work.session_id) for work in works]
        return [session_id for _, session_id in sorted(started, reverse=True)]

    def found(text="", **query):
        query = {"namespace": namespace, "filter": text, **query}
        tasks = client.read_all("ListTasks", "tasks", **query)
        times = [moment(task["startTime"]) for task in tasks]
        assert times == sorted(times, reverse=True)
        return [task["sessionId"] for task in tasks]

    assert found() == found(pageSize=2) == by_start(for_good, failed, *running)
    assert found('status = "RUNNING" AND task_type = "processing"') == by_start(*running)
    assert found('status = "FAILED"') == by_start(for_good, failed)
    assert found("retryable = true") == [failed.session_id]
    assert found("retry_count >= 3") == [for_good.session_id]
    assert found('task_type = "export"') == []
    assert found(f'session_id = "{failed.session_id}"') == [failed.session_id]
    assert found(f'task_id = "{running[0].task["taskId"]}"', pageSize=1) == [running[0].session_id]
    assert found(f'session_id = "{failed.session_id}"', namespace="default") == []
    assert found(f'session_id = "{failed.session_id}"', namespace="-") == [failed.session_id]
    first, *later = by_start(for_good, failed, *running)[::-1]
    since = client.call("GetTask", {"sessionId": first})["startTime"]
    assert found(f'start_time > "{since}"') == later[::-1]


def test_what_can_be_recovered_is_listed_newest_first(client, daemon, namespace):
    owner = f"owner-{uuid.uuid4().hex[:8]}"

    created = {}

    def create(**fields):
        session = client.create(namespace=namespace, ownerId=owner, **fields)
        created[session["sessionId"]] = session
        return session["sessionId"]

    active, paused, failed, stopped, deleted, old, other = (create() for _ in range(7))
    interview = create(workflow="interview")
    client.call("PauseSession", {"sessionId": paused})
    client.call("FailSession", {"sessionId": failed, "reason": "x"})
    client.call("StopSession", {"sessionId": stopped})
    client.call("DeleteSession", {"sessionId": deleted, "force": True})
    daemon.change_rows(
        "UPDATE sessions SET created_at = created_at - interval '8 days', "
        f"recover_before_at = recover_before_at - interval '8 days' WHERE id = '{old}'"
    )

    def recoverable(**fields):
        answer = client.call("ListRecoverableSessions", {"namespace": namespace, "ownerId": owner, **fields})
        assert all(session["recoverable"] for session in answer.get("sessions", []))
        return [session["sessionId"] for session in answer.get("sessions", [])]

    expected = newest_first(created[each] for each in (interview, other, failed, paused, active))
    assert recoverable() == expected
    assert recoverable(namespace="default") == []
    assert recoverable(ownerId="nobody") == []
    assert recoverable(namespace="-") == expected
    refusal = client.refusal("RecoverSession", {"sessionId": old})
    assert (refusal.reason, refusal.metadata["why"]) == ("NOT_RECOVERABLE", "window")
    assert refusal.metadata["recover_before_time"] == client.call("GetSession", {"sessionId": old})["recoverBeforeTime"]
    found = client.call("ListSessions", {"namespace": namespace, "filter": "recoverable = true"})["sessions"]
    assert [session["sessionId"] for session in found] == expected


def test_past_runs_are_read_from_the_audit(work):
    runs = [work.task["taskId"]]
    for _ in range(2):
        work.fail()
        runs.append(work.retry()["taskId"])
    events = events_of(work.client, work.session_id)
    started = [e["changes"]["current_task"] for e in events if e["type"] in ("TASK_STARTED", "TASK_RETRIED")]
    assert [run["task_id"] for run in started] == runs
    assert all(one["start_time"] < other["start_time"] for one, other in itertools.pairwise(started))
