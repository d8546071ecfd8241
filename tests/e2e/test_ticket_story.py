"""The whole story of a ticket export, written from the comments of the contract alone: from the
first call to the last, with what goes wrong on the way, and every answer looked at.
"""

import uuid

import pytest
from conftest import moment
from test_scenarios import assert_chained, events_of

ADVANCE = {"reason": "the user said so", "actor": "ada"}


class Story:
    """A session, and calls to it that say what they mean."""

    def __init__(self, client):
        self.client = client
        created = client.create(ownerId="ada", context={"site_name": "Main Street"})
        self.session_id = created["sessionId"]
        assert (created["stage"], created["nextStage"]) == ("site_info_collection", "upload")
        assert (created["state"], created["status"]) == ("ACTIVE", "active")
        assert created["recoverable"] and "currentTask" not in created

    def call(self, method, **fields):
        return self.client.call(method, {"sessionId": self.session_id, **fields})

    def refusal(self, method, **fields):
        return self.client.refusal(method, {"sessionId": self.session_id, **fields})

    def refused(self, reason, method, **fields):
        """It is, because of the state that the session is in; answers with the refusal."""
        refusal = self.refusal(method, **fields)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", reason)
        return refusal

    def session(self, **fields):
        return self.call("GetSession", **fields)

    def update(self, path, **fields):
        session = {"sessionId": self.session_id, **fields}
        return self.client.call("UpdateSession", {"session": session, "updateMask": path})

    def name_project(self):
        """Without it nothing is exported."""
        self.update("context.jiraProjectKey", context={"jira_project_key": "SITE"})

    def events(self):
        events = events_of(self.client, self.session_id)
        assert_chained(events)
        return events

    def upload(self):
        assert self.call("AdvanceSession", targetStage="upload", **ADVANCE)["stage"] == "upload"
        files = [
            {
                "artifactId": f"file-{n}",
                "kind": "FILE",
                "displayName": f"plan-{n}.pdf",
                "uri": f"s3://uploads/plan-{n}.pdf",
                "metadata": {"pages": n},
            }
            for n in (1, 2)
        ]
        added = self.call("AddArtifacts", artifacts=files)["artifacts"]
        for given, answered in zip(files, added):
            assert answered == {
                **given,
                "sessionId": self.session_id,
                "createTime": answered["createTime"],
            }

    def start_processing(self):
        task = self.call("StartTask", taskType="processing", advanceToStage="processing")
        uuid.UUID(task["taskId"])
        assert (task["taskType"], task["status"]) == ("processing", "RUNNING")
        assert (task.get("retryCount", 0), task["maxRetries"]) == (0, 3)
        assert task["startTime"] == task["heartbeatTime"]
        session = self.session()
        assert (session["stage"], session["currentTask"]["taskId"]) == ("processing", task["taskId"])
        return task

    def fail(self, task, count, **error):
        """The task fails; answers with it."""
        context = {"exception": "TimeoutError", "attempt": count}
        failed = self.call("FailTask", taskId=task["taskId"], failureContext=context, **error)
        assert (failed["status"], failed["retryCount"]) == ("FAILED", count)
        assert failed.get("retryable", False) == (count < 3)
        assert failed["failureContext"] == context
        assert moment(failed["failTime"]) >= moment(failed["startTime"]) and "completeTime" not in failed
        return failed

    def retry(self, task, count):
        again = self.call("RetryTask")
        assert again["taskId"] != task["taskId"]
        assert (again["status"], again.get("retryCount", 0)) == ("RUNNING", count)
        assert "failTime" not in again and "failureContext" not in again
        return again

    def complete(self, task, **fields):
        completed = self.call("CompleteTask", taskId=task["taskId"], **fields)
        assert (completed["status"], completed["taskId"]) == ("COMPLETED", task["taskId"])
        assert completed.get("result") == fields.get("result")
        assert completed["completeTime"] and not completed.get("retryable", False)
        return completed


@pytest.fixture
def story(client):
    return Story(client)


def error_of(**fields):
    error = {"category": "TEMPORARY", "severity": "WARNING", "userMessage": "Reading it took too long."}
    return {**error, **fields}


def open_errors(story):
    return story.session(view="FULL").get("openErrors", [])


def report_progress(story, task):
    """Whoever has read the session may still change it."""
    progress = {"pages": 3, "of": 12}
    before = story.session()
    told = story.call("ReportTaskProgress", taskId=task["taskId"], progress=progress)
    assert told["progress"] == progress
    assert story.session()["etag"] == before["etag"]


def fail_twice(story, task):
    """Each time it is recorded, and tried again; answers with the task that runs then."""
    for count in (1, 2):
        error = error_of(relatedFileId=f"file-{count}", errorCode="TIMEOUT", recoveryActions=["Wait", "Retry"])
        failed = story.fail(task, count, error=error)
        [recorded, *_] = open_errors(story)
        assert recorded["relatedFileId"] == f"file-{count}"
        assert recorded["operationStage"] == "processing"
        assert recorded["recoveryActions"] == ["Wait", "Retry"]
        refusal = story.refused("TASK_FAILED", "StartTask", taskType="processing")
        assert refusal.metadata["retry_count"] == str(count)
        task = story.retry(failed, count)
        refusal = story.refused("STALE_TASK", "CompleteTask", taskId=failed["taskId"])
        assert refusal.metadata["current_task_id"] == task["taskId"]
    assert len(open_errors(story)) == 2
    assert not story.session().get("hasBlockingErrors", False)
    return task


def review(story, task):
    story.refused("TASK_ALREADY_RUNNING", "AdvanceSession", targetStage="review")
    story.complete(task, result={"tickets": 5}, advanceToStage="review")
    reviewing = story.session()
    assert (reviewing["stage"], reviewing["nextStage"]) == ("review", "jira_export")
    refusal = story.refused("TASK_COMPLETED", "FailTask", taskId=task["taskId"])
    assert refusal.sentence.startswith("Cannot modify completed task")
    assert refusal.metadata["category"] == "USER_FIXABLE"


def add_tickets(story):
    """Answers with them, as artifacts."""
    tickets = [{"kind": "TICKET", "displayName": f"SITE-{n}"} for n in range(5)]
    added = story.call("AddArtifacts", artifacts=tickets)["artifacts"]
    assert [ticket["displayName"] for ticket in added] == [t["displayName"] for t in tickets]
    counted = story.client.call(
        "UpdateSession",
        {"session": {"sessionId": story.session_id}, "counterIncrements": {"total_tickets_generated": 5}},
    )
    assert counted["counters"] == {"total_tickets_generated": 5}
    page = story.call("ListArtifacts", kind="TICKET", pageSize=3)
    rest = story.call("ListArtifacts", kind="TICKET", pageSize=3, pageToken=page["nextPageToken"])
    listed = sorted(page["artifacts"] + rest["artifacts"], key=lambda each: each["displayName"])
    assert listed == added and "nextPageToken" not in rest
    return added


def block(story, ticket):
    """The user has to mend a ticket; nothing goes on before. Answers with the error."""
    blocking = story.call(
        "RecordError",
        error=error_of(
            category="USER_FIXABLE",
            severity="BLOCKING",
            userMessage="Ticket SITE-2 has no summary.",
            relatedTicketId=ticket,
            technicalDetails={"field": "summary"},
        ),
    )
    assert (blocking["operationStage"], blocking["relatedTicketId"]) == ("review", ticket)
    assert blocking["technicalDetails"] == {"field": "summary"}
    assert story.session()["hasBlockingErrors"]
    story.name_project()
    for method, fields in [
        ("AdvanceSession", {"targetStage": "jira_export"}),
        ("StartTask", {"taskType": "export", "advanceToStage": "jira_export"}),
    ]:
        refusal = story.refused("BLOCKING_ERRORS", method, **fields)
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "count": "1",
            "first_error_id": blocking["errorId"],
        }
    assert story.session()["stage"] == "review"
    return blocking


def resolve(story, blocking):
    resolved = story.call(
        "ResolveError", errorId=blocking["errorId"], resolution="summary written", actor="ada"
    )
    assert (resolved["resolver"], resolved["resolution"]) == ("ada", "summary written")
    assert moment(resolved["resolveTime"]) >= moment(resolved["createTime"])
    assert not story.session().get("hasBlockingErrors", False)
    story.refused("ALREADY_RESOLVED", "ResolveError", errorId=blocking["errorId"])


def export_and_validate(story):
    export = story.call("StartTask", taskType="export", advanceToStage="jira_export")
    exporting = story.session()
    assert (exporting["stage"], exporting["status"]) == ("jira_export", "exporting")
    story.complete(export, result={"exported": 5})
    assert story.session()["status"] == "active"
    validation = story.call("StartTask", taskType="adf_validation")
    assert validation.get("retryCount", 0) == 0
    assert story.session()["status"] == "active"
    story.complete(validation, result={"valid": True}, advanceToStage="completed")


def assert_completed(story):
    """Answers with the session."""
    session = story.session(view="FULL")
    assert (session["state"], session["stage"], session["status"]) == ("STOPPED", "completed", "completed")
    assert session["completeTime"] == session["updateTime"] and session["purgeTime"]
    assert not session.get("recoverable", False)
    assert session["currentTask"]["result"] == {"valid": True}
    assert [file["artifactId"] for file in session["files"]] == ["file-2", "file-1"]
    assert len(session["openErrors"]) == 2
    assert story.refusal("RecoverSession").metadata["why"] == "completed"
    return session


def test_a_ticket_export_that_fails_twice_and_is_blocked_once_is_completed(story):
    story.upload()
    task = story.start_processing()
    report_progress(story, task)
    task = fail_twice(story, task)
    review(story, task)
    tickets = add_tickets(story)
    resolve(story, block(story, tickets[2]["artifactId"]))
    export_and_validate(story)
    session = assert_completed(story)

    events = story.events()
    assert [event["type"] for event in events] == [
        "CREATED",
        "ADVANCED",
        "ARTIFACTS_ADDED",
        "ADVANCED",
        "TASK_STARTED",
        "TASK_PROGRESSED",
        *["TASK_FAILED", "ERROR_RECORDED", "TASK_RETRIED"] * 2,
        "TASK_COMPLETED",
        "ADVANCED",
        "ARTIFACTS_ADDED",
        "UPDATED",
        "ERROR_RECORDED",
        "UPDATED",
        "ERROR_RESOLVED",
        "ADVANCED",
        "TASK_STARTED",
        "TASK_COMPLETED",
        "TASK_STARTED",
        "TASK_COMPLETED",
        "ADVANCED",
        "COMPLETED",
    ]
    assert session["sequence"] == len(events)
    *_, last_task, advanced, completed = events
    assert len({event["requestId"] for event in (last_task, advanced, completed)}) == 1
    assert len({event["eventTime"] for event in (last_task, advanced, completed)}) == 1


def fail_for_good(story, task):
    """Answers with the task, and the error that it leaves."""
    for count in (1, 2):
        task = story.retry(story.fail(task, count), count)
    story.fail(task, 3)

    failed = story.session(view="FULL")
    assert (failed["state"], failed["stage"], failed["status"]) == ("ACTIVE", "processing", "failed")
    assert failed["failTime"] == failed["updateTime"] and failed["failReason"]
    assert failed["recoverable"] and failed["hasBlockingErrors"]
    [error] = failed["openErrors"]
    assert (error["category"], error["severity"]) == ("ADMIN_REQUIRED", "BLOCKING")
    *_, task_failed, recorded, session_failed = story.events()
    assert [event["type"] for event in (task_failed, recorded, session_failed)] == [
        "TASK_FAILED",
        "ERROR_RECORDED",
        "FAILED",
    ]
    assert len({event["requestId"] for event in (task_failed, recorded, session_failed)}) == 1
    return task, error


def assert_only_recovery_goes_on(story, task):
    refusal = story.refused("RETRY_LIMIT_EXCEEDED", "RetryTask")
    assert refusal.sentence.startswith("Maximum retry attempts exceeded")
    assert "RecoverSession" in refusal.sentence
    assert refusal.metadata == {
        "category": "ADMIN_REQUIRED",
        "task_id": task["taskId"],
        "retry_count": "3",
        "max_retries": "3",
    }
    for method, fields in [
        ("StartTask", {"taskType": "processing"}),
        ("AdvanceSession", {"targetStage": "review"}),
        ("AppendMessages", {"messages": [{"type": "question", "content": "?"}]}),
    ]:
        refusal = story.refused("SESSION_NOT_ACTIVE", method, **fields)
        assert refusal.metadata["status"] == "failed"
        assert "RecoverSession" in refusal.metadata["allowed"].split(",")


def recover(story, error):
    listed = story.client.call("ListRecoverableSessions", {"ownerId": "ada"})["sessions"]
    assert story.session_id in [session["sessionId"] for session in listed]
    recovered = story.call("RecoverSession", actor="operator", reason="the disk was full")
    assert (recovered["state"], recovered["stage"], recovered["status"]) == ("ACTIVE", "processing", "active")
    assert "failTime" not in recovered and not recovered.get("failReason")
    assert recovered["currentTask"].get("retryCount", 0) == 0
    assert recovered["currentTask"]["retryable"]
    assert [each["errorId"] for each in open_errors(story)] == [error["errorId"]]


def retry_and_resolve(story, task, error):
    """The task is complete once nothing blocks."""
    task = story.retry(task, 0)
    story.refused("BLOCKING_ERRORS", "CompleteTask", taskId=task["taskId"], advanceToStage="review")
    assert story.call("GetTask")["status"] == "RUNNING"  # Neither, because not both.
    story.call("ResolveError", errorId=error["errorId"])
    story.complete(task, advanceToStage="review")


def test_a_ticket_export_whose_task_fails_for_good_is_recovered_and_completed(story):
    story.upload()
    task, error = fail_for_good(story, story.start_processing())
    assert_only_recovery_goes_on(story, task)
    recover(story, error)
    retry_and_resolve(story, task, error)
    story.name_project()
    export = story.call("StartTask", taskType="export", advanceToStage="jira_export")
    story.complete(export, advanceToStage="completed")
    session = story.session()
    assert (session["state"], session["status"]) == ("STOPPED", "completed")
    events = story.events()
    retries = [event["changes"] for event in events if event["type"] == "RECOVERED"]
    assert [changes.get("current_task.retry_count") for changes in retries] == [0]
    task_ids = [
        event["changes"]["current_task"]["task_id"]
        for event in events
        if event["type"] in ("TASK_STARTED", "TASK_RETRIED")
    ]
    assert len(set(task_ids)) == len(task_ids) == 5
