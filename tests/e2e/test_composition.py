"""Commands of every kind at one session, all in flight together, so that they meet in one commit: what
is stored is what the events tell, whatever the order they came to stand in.
"""

import concurrent.futures
import os
import random
import uuid

import pytest
from conftest import Refused
from test_scenarios import assert_chained, events_of

ROUNDS = 40 if os.environ.get("SESSIOND_SOAK") else 4
# Batches, and commands of each that are in flight together.
BATCHES = 10
COMMANDS = 40


class Told:
    """What lies below a session, as its events tell it."""

    def __init__(self, events):
        self.artifacts, self.errors, self.task = {}, {}, {}
        self.messages = 0
        self.session = {}
        for event in events:
            for path, value in event["changes"].items():
                self._take(path, value)

    def _take(self, path, value):
        what, _, rest = path.partition(".")
        if what == "artifacts":
            self._artifact(rest, value)
        elif what == "errors":
            error, _, field = rest.partition(".")
            if field:
                self.errors[error][field] = value
            else:
                self.errors[error] = dict(value)
        elif path == "current_task":
            self.task = dict(value)
        elif what == "current_task":
            self.task[rest] = value
        elif path == "last_sequence":
            self.messages = int(value)
        else:
            self.session[path] = value

    def _artifact(self, artifact, value):
        if value is not None:
            self.artifacts[artifact] = value
            return
        del self.artifacts[artifact]
        for error in self.errors.values():
            for link in ("related_file_id", "related_ticket_id"):
                if error.get(link) == artifact:
                    del error[link]

    @property
    def blocking(self):
        return any(e["severity"] == "BLOCKING" and not e.get("resolve_time") for e in self.errors.values())


def commands(chance, session_id, task_ids, error_ids):
    """Random requests at the session; what they name may be there, or not any more, or not yet."""
    files = [f"f{n}" for n in range(4)]
    named = {"sessionId": session_id, "requestId": str(uuid.uuid4())}
    error = {
        "category": "TEMPORARY",
        "severity": chance.choice(["BLOCKING", "WARNING"]),
        "userMessage": "Wait.",
        "relatedFileId": chance.choice([*files, ""]),
    }
    task = {"taskId": chance.choice(task_ids)}
    return chance.choice(
        [
            ("AddArtifacts", {"artifacts": [{"artifactId": chance.choice(files), "kind": "FILE"}]}),
            ("AddArtifacts", {"artifacts": [{"artifactId": f, "kind": "FILE"} for f in files[:2]]}),
            ("DeleteArtifact", {"artifactId": chance.choice(files)}),
            ("DeleteArtifact", {"artifactId": chance.choice(files)}),
            ("RecordError", {"error": error}),
            ("RecordError", {"error": error}),
            ("ResolveError", {"errorId": chance.choice(error_ids)}),
            ("StartTask", {"taskType": "processing", **task}),
            ("ReportTaskProgress", {**task, "progress": {"n": chance.random()}}),
            ("ReportTaskProgress", task),
            ("CompleteTask", {**task, "result": {"n": 1}}),
            ("FailTask", {**task, "error": error}),
            ("CancelTask", task),
            ("RetryTask", task),
            ("PauseSession", {}),
            ("ResumeSession", {}),
            ("RecoverSession", {}),
            ("FailSession", {"reason": "x"}),
        ]
    ), named


ACCEPTABLE = {
    "INVALID_FIELD",
    "INVALID_TRANSITION",
    "SESSION_NOT_ACTIVE",
    "ARTIFACT_NOT_FOUND",
    "ERROR_NOT_FOUND",
    "ALREADY_RESOLVED",
    "TASK_ALREADY_RUNNING",
    "TASK_NOT_RUNNING",
    "TASK_NOT_FOUND",
    "TASK_COMPLETED",
    "TASK_FAILED",
    "STALE_TASK",
    "RETRY_LIMIT_EXCEEDED",
}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_what_is_stored_is_what_the_events_tell(client, seed):
    chance = random.Random(seed)
    session_id = client.create()["sessionId"]
    for stage in ("upload", "processing"):
        client.call("AdvanceSession", {"sessionId": session_id, "targetStage": stage})
    error_ids = [str(uuid.uuid4())]
    refused = set()

    def carry(command):
        (method, fields), named = command
        try:
            answer = client.call(method, {**named, **fields}, timeout=60)
            if method == "RecordError":
                error_ids.append(answer["errorId"])
        except Refused as refusal:
            refused.add(refusal.reason)

    with concurrent.futures.ThreadPoolExecutor(48) as pool:
        for _ in range(BATCHES):
            task_ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(3)]
            futures = [
                pool.submit(carry, commands(chance, session_id, task_ids, list(error_ids)))
                for _ in range(COMMANDS)
            ]
            for future in futures:
                future.result()
    assert refused <= ACCEPTABLE

    events = events_of(client, session_id)
    assert_chained(events)
    assert len({event["type"] for event in events}) > 9
    told = Told(events)
    named = {"sessionId": session_id, "pageSize": 1000}
    artifacts = client.call("ListArtifacts", named).get("artifacts", [])
    assert sorted(a["artifactId"] for a in artifacts) == sorted(told.artifacts)
    errors = client.call("ListErrors", named).get("errors", [])
    assert {e["errorId"]: e.get("relatedFileId", "") for e in errors} == {
        key: error.get("related_file_id", "") for key, error in told.errors.items()
    }
    assert {e["errorId"] for e in errors if "resolveTime" in e} == {
        key for key, error in told.errors.items() if error.get("resolve_time")
    }
    session = client.call("GetSession", {"sessionId": session_id})
    assert session.get("hasBlockingErrors", False) == told.blocking
    assert session["sequence"] == len(events)
    task = session.get("currentTask", {})
    for field, name in [("taskId", "task_id"), ("status", "status"), ("progress", "progress"), ("result", "result")]:
        assert task.get(field) == told.task.get(name), field
    assert task.get("retryCount", 0) == int(told.task.get("retry_count") or 0)
    assert ("failTime" in session) == bool(told.session.get("fail_time"))
    if told.blocking:
        refusal = client.refusal("AdvanceSession", {"sessionId": session_id, "targetStage": "review"})
        if refusal.reason == "BLOCKING_ERRORS":
            open_ones = [e for e in errors if e["severity"] == "BLOCKING" and "resolveTime" not in e]
            assert refusal.metadata["count"] == str(len(open_ones))
            assert refusal.metadata["first_error_id"] == open_ones[-1]["errorId"]
