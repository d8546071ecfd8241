"""The daemon's log: the sentences that operators search for, word for word, and what is kept for
audits. A line is a JSON object.
"""

import json
import re
import uuid

import pytest
from test_tasks import Work

WORD = "X" * 199 + "\u00e4\u00e4"  # Cut at 200 bytes, and not through a letter.


@pytest.fixture(scope="module")
def talker(shared_daemon):
    """A daemon that says all it has to say."""
    with shared_daemon("--log-level=debug", "--retention-period=0s") as daemon:
        yield daemon


@pytest.fixture
def client(talker):
    return talker.client


@pytest.fixture
def lines(talker):
    """What it says from now on."""
    begin = len(talker.log_lines())

    def since():
        return [json.loads(line) for line in talker.log_lines()[begin:]]

    return since


def said(lines, logger=None, level=None):
    return [
        line["msg"]
        for line in lines()
        if (logger is None or line["logger"] == logger) and (level is None or line["level"] == level)
    ]


def test_every_sentence_is_there_word_for_word(client, lines):
    work = Work(client)
    session_id, task = work.session_id, work.task
    named = {"sessionId": session_id}
    assert f"Session {session_id} transitioned from upload to processing for user u1" in said(lines, level="info")
    started = f"SessionTask processing started for session {session_id}, task_id: {task['taskId']}"
    assert started in said(lines, level="info")

    work.call("AddArtifacts", artifacts=[{"artifactId": "f 1", "kind": "FILE"}, {"artifactId": "t", "kind": "TICKET"}])
    error = {"category": "USER_FIXABLE", "severity": "INFO", "userMessage": "Line 1\nline 2 \u201c\u201d"}
    work.call("RecordError", error={**error, "relatedFileId": "f 1", "operationStage": "upload"})
    work.call("RecordError", error={**error, "relatedTicketId": "t", "userMessage": WORD})
    work.call("RecordError", error={**error, "category": "ADMIN_REQUIRED"})
    created = [m for m in said(lines, level="info") if m.startswith(f"SessionError created for session {session_id}: ")]
    categories = [re.search(r": (\w+) - ", message)[1] for message in created]
    assert categories == ["user_fixable", "user_fixable", "admin_required"]
    assert "\n" not in created[0] and "Line 1" in created[0] and "line 2" in created[0]
    assert 0 < len(created[1].split(" - ")[1].encode()) <= 200 + len("\u2026".encode())
    assert created[1].split(" - ")[1].startswith("X" * 195)
    linked = [m for m in said(lines, level="debug") if m.startswith("Error linked to ")]
    assert linked == [
        "Error linked to upload stage, file: f 1, ticket: -",
        "Error linked to processing stage, file: -, ticket: t",
        "Error linked to processing stage, file: -, ticket: -",
    ]

    work.fail(failureContext={"zone": 1, "exception": {"secret": "hunter2"}})
    failed = f"SessionTask processing failed for session {session_id}, retry #1"
    assert failed in said(lines, level="warn")
    work.retry()
    again = f"SessionTask processing started for session {session_id}, task_id: {work.task['taskId']}"
    assert again in said(lines)
    work.report("CompleteTask", advanceToStage="review")
    completed = f"SessionTask processing completed for session {session_id}, duration: 0.0m"
    assert completed in said(lines, level="info")
    client.call("PauseSession", named)
    assert f"Session {session_id} transitioned from active to paused for user u1" in said(lines)
    client.refusal("PauseSession", named)
    [refused] = [line for line in lines() if line["msg"] == "refused"]
    assert refused["level"] == "warn" and "INVALID_TRANSITION" in json.dumps(refused)
    assert "hunter2" not in "".join(map(json.dumps, lines()))


def test_a_task_s_duration_is_told_in_minutes(client, talker, lines):
    work = Work(client)
    talker.change_rows(
        "UPDATE session_tasks SET started_at = started_at - interval '754 s' "
        f"WHERE session_id = '{work.session_id}'"
    )
    work.report("CompleteTask")
    sentence = f"SessionTask processing completed for session {work.session_id}, duration: 12.6m"
    assert sentence in said(lines)


def test_recovery_is_told_and_audited(client, talker, lines, namespace):
    owner = f"Ren\u00e9 {namespace}"
    session_ids = [client.create(namespace=namespace, ownerId=owner)["sessionId"] for _ in range(2)]
    client.call("FailSession", {"sessionId": session_ids[0], "reason": "x"})
    client.call("ListRecoverableSessions", {"namespace": namespace, "ownerId": owner})
    initiated = [m for m in said(lines, level="info") if m.startswith("Session recovery initiated for user ")]
    assert len(initiated) == 1 and initiated[0].endswith(", found 2 incomplete sessions")
    assert namespace in initiated[0]
    talker.change_rows(
        "UPDATE sessions SET created_at = created_at - interval '3 days 5 hours' "
        f"WHERE id = '{session_ids[0]}'"
    )
    client.call("RecoverSession", {"sessionId": session_ids[0], "actor": "operator"})
    sentence = f"Session {session_ids[0]} recovered from stage site_info_collection, created 3 days ago"
    [line] = [line for line in lines() if line["msg"] == sentence]
    assert (line["logger"], line["actor"]) == ("audit", "operator")


def audits(lines):
    return [line for line in lines() if line["logger"] == "audit"]


def test_what_somebody_may_be_asked_about_is_audited(client, talker, lines, namespace):
    work = Work(client, namespace)
    session_id = work.session_id
    work.fail(failureContext={"zone": 1, "exception": {"secret": "hunter2"}})
    [failed] = audits(lines)
    assert failed["msg"] == f"SessionTask processing failed for session {session_id}, retry #1"
    assert failed["context"] == "exception,zone"

    error = {"category": "TEMPORARY", "severity": "BLOCKING", "userMessage": "Wait."}
    error_id = work.call("RecordError", error=error)["errorId"]
    work.call("ResolveError", errorId=error_id, actor="grace")
    refusals = [error_id, str(uuid.uuid4())]
    for each in refusals:
        work.refusal("ResolveError", errorId=each)
    resolved, *refused = audits(lines)[1:]
    assert (resolved["error_id"], resolved["actor"]) == (error_id, "grace")
    assert session_id in resolved["msg"]
    reasons = [line["error.reason"] for line in refused]
    assert reasons == ["ALREADY_RESOLVED", "ERROR_NOT_FOUND"]

    for hold in (True, False):
        change = {"session": {"sessionId": session_id, "hold": hold}, "updateMask": "hold", "actor": "legal"}
        client.call("UpdateSession", change)
    held, freed = audits(lines)[4:]
    assert held["msg"] == f"Session {session_id} held" and held["actor"] == "legal"
    assert freed["msg"].startswith(f"Session {session_id} released")

    client.call("StopSession", {"sessionId": session_id})
    talker.change_rows(f"UPDATE sessions SET purge_at = now() - interval '1 s' WHERE id = '{session_id}'")
    client.call("PurgeSessions", {"namespace": namespace})
    assert len(audits(lines)) == 6  # A preview is nothing to be asked about.
    client.call("PurgeSessions", {"namespace": namespace, "execute": True})
    archived, purged = audits(lines)[6:]
    assert archived["msg"] == f"Session {session_id} archived"
    assert purged["sessions"] == 1

    other = client.create(namespace=namespace)["sessionId"]
    client.call("EraseOwner", {"namespace": namespace, "ownerId": "u1", "actor": "dpo"})
    erased, owner = audits(lines)[8:]
    assert erased["msg"] == f"Session {other} erased"
    assert (owner["sessions"], owner["done"]) == (1, True)
    assert all("hunter2" not in json.dumps(line) for line in lines())


def test_a_replay_is_not_told_again(client, lines):
    work = Work(client)
    request = {"taskId": work.task["taskId"], "requestId": "once"}
    for _ in range(3):
        work.call("FailTask", **request)
    assert len([m for m in said(lines, logger="task") if " failed for session " in m]) == 1
    assert len(audits(lines)) == 1


def test_no_line_holds_what_was_said(client, lines):
    session = {"workflow": "interview", "ownerId": "u1"}
    session_id = client.call("CreateSession", {"session": session})["sessionId"]
    content = f"secret-{uuid.uuid4()}"
    message = {"type": "answer", "content": content, "metadata": {"k": content}}
    client.call("AppendMessages", {"sessionId": session_id, "messages": [message]})
    client.refusal("AppendMessages", {"sessionId": session_id, "messages": [{**message, "type": "rumour"}]})
    assert lines() and content not in json.dumps(lines())
