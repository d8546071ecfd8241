"""What is removed, and what is left of it: purging, erasing an owner, detaching a reference. Time
passes in the database, not in the test.
"""

import datetime
import re
import uuid

import pytest
from conftest import moment
from test_scenarios import assert_chained, events_of
from waits import until

# What one call does at most.
BATCH = 256


@pytest.fixture(scope="module")
def keeper(shared_daemon):
    """A daemon that removes nothing by itself."""
    with shared_daemon("--retention-period=0s") as daemon:
        yield daemon


@pytest.fixture
def client(keeper):
    return keeper.client


def exists(client, session_id):
    """Why a look-up says that it is there, or is not."""
    [result] = client.call("LookupSessions", {"sessionIds": [session_id]})["results"]
    return result["reason"]


def make_due(daemon, *session_ids):
    ids = "','".join(session_ids)
    daemon.change_rows(f"UPDATE sessions SET purge_at = now() - interval '1 s' WHERE id IN ('{ids}')")


def stopped(client, namespace, **fields):
    session_id = client.create(namespace=namespace, **fields)["sessionId"]
    client.call("StopSession", {"sessionId": session_id})
    return session_id


def purge(client, namespace, **fields):
    return client.call("PurgeSessions", {"namespace": namespace, **fields})


def rows_of(daemon, session_id):
    """How many rows a session has, by table."""
    tables = {
        "sessions": "id",
        "session_tasks": "session_id",
        "session_errors": "session_id",
        "session_messages": "session_id",
        "session_artifacts": "session_id",
        "session_events": "session_id",
        "tombstones": "id",
    }
    selects = [f"(SELECT count(*) FROM {t} WHERE {c} = '{session_id}')" for t, c in tables.items()]
    counts = map(int, daemon.psql("SELECT " + ", ".join(selects)).strip().split("|"))
    return {table: count for table, count in zip(tables, counts) if count}


# ------------------------------------------------------------------------------------------------
# purge


def test_a_purge_tells_what_it_would_do_and_does_it_when_told(client, keeper, namespace):
    due, held, later = (stopped(client, namespace) for _ in range(3))
    active = client.create(namespace=namespace)["sessionId"]
    gone = stopped(client, namespace)
    client.call("DeleteSession", {"sessionId": gone})
    hold = {"session": {"sessionId": held, "hold": True}, "updateMask": "hold"}
    client.call("UpdateSession", hold)
    make_due(keeper, due, held, gone)

    preview = {"dueCount": 2, "heldCount": 1}
    answer = purge(client, namespace)
    assert sorted(answer.pop("sessionIds")) == sorted([due, gone])
    assert answer == preview
    assert exists(client, due) == "OK" and exists(client, gone) == "DELETED"
    assert purge(client, namespace, workflow="interview") == {"done": True}
    assert purge(client, namespace + "-other", execute=True) == {"done": True}

    answer = purge(client, namespace, execute=True, reason="spring", actor="admin")
    assert sorted(answer.pop("sessionIds")) == sorted([due, gone])
    assert answer == {**preview, "purgedCount": 2, "done": True}
    assert purge(client, namespace, execute=True) == {"heldCount": 1, "done": True}
    for session_id, reason in [(due, "ARCHIVED"), (gone, "ARCHIVED"), (held, "OK"), (later, "OK"), (active, "OK")]:
        assert exists(client, session_id) == reason
    free = {"session": {"sessionId": held, "hold": False}, "updateMask": "hold"}
    client.call("UpdateSession", free)
    assert purge(client, namespace, execute=True)["purgedCount"] == 1


def full(client, namespace, **fields):
    """A session with everything below it, stopped."""
    session_id = client.create(namespace=namespace, **fields)["sessionId"]
    named = {"sessionId": session_id}
    client.call("AdvanceSession", {**named, "targetStage": "upload"})
    client.call("AddArtifacts", {**named, "artifacts": [{"artifactId": "f", "kind": "FILE"}]})
    start = {"taskType": "processing", "advanceToStage": "processing"}
    task = client.call("StartTask", {**named, **start})
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Wait.", "errorCode": "E7"}
    client.call("FailTask", {**named, "taskId": task["taskId"], "error": error})
    client.call("RecordError", {**named, "error": error})
    client.call("StopSession", named)
    return session_id


def test_what_was_archived_leaves_a_tombstone_a_last_event_and_its_patterns(client, keeper, namespace):
    session_id, other = full(client, namespace), full(client, namespace)
    make_due(keeper, session_id)
    before = client.call("GetSession", {"sessionId": session_id})
    patterns = client.call("SummarizeErrors", {"namespace": namespace})["patterns"]
    assert rows_of(keeper, session_id)["session_errors"] == 2
    purge(client, namespace, execute=True, actor="admin", reason="spring")
    assert rows_of(keeper, session_id) == {"session_events": 1, "tombstones": 1}

    for method, more in [
        ("GetSession", {"includeDeleted": True}),
        ("GetTask", {}),
        ("ListErrors", {}),
        ("ListMessages", {}),
        ("ListArtifacts", {}),
        ("StopSession", {}),
        ("UndeleteSession", {}),
        ("RetryTask", {}),
    ]:
        refusal = client.refusal(method, {"sessionId": session_id, **more})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ARCHIVED"), method
        assert refusal.metadata["archive_time"]
    session = {"workflow": "ticket_export", "ownerId": "u", "ownerDisplayName": "U"}
    refusal = client.refusal("CreateSession", {"session": session, "sessionId": session_id})
    assert refusal.reason == "SESSION_EXISTS"

    summary = client.call("SummarizeErrors", {"namespace": namespace})
    assert summary["total"] == 2  # Of sessions that are there.
    [pattern] = summary["patterns"]
    assert pattern == {**patterns[0], "count": 4, "sessionCount": 1}
    filtered = {"namespace": namespace, "filter": 'error_code = "E7"'}
    assert client.call("SummarizeErrors", filtered)["patterns"][0]["count"] == 2

    row = keeper.psql(
        "SELECT e.sequence, e.type, e.actor, e.reason, t.owner_id, t.namespace, t.workflow, t.archived_at = e.event_at "
        f"FROM session_events e JOIN tombstones t ON t.id = e.session_id WHERE t.id = '{session_id}'"
    )
    expected = [before["sequence"] + 1, 25, "admin", "spring", "u1", namespace, "ticket_export", "t"]
    assert row.strip().split("|") == [str(value) for value in expected]
    assert exists(client, other) == "OK"


def test_every_miss_is_told_apart(client, keeper, namespace):
    archived, deleted = stopped(client, namespace), stopped(client, namespace)
    client.call("DeleteSession", {"sessionId": deleted})
    make_due(keeper, archived)
    purge(client, namespace, execute=True)
    never = str(uuid.uuid4())
    asked = [archived, deleted, never, "no-id"]
    reasons = ["ARCHIVED", "DELETED", "NEVER_EXISTED", "INVALID_FORMAT"]
    results = client.call("LookupSessions", {"sessionIds": asked})["results"]
    assert [result["reason"] for result in results] == reasons
    assert [("sinceTime" in result) for result in results] == [True, True, False, False]
    for session_id, reason in zip(asked, reasons):
        assert client.refusal("GetSession", {"sessionId": session_id}).reason == reason


def test_a_purge_goes_in_batches_until_it_is_done(client, keeper, namespace):
    session_ids = [stopped(client, namespace) for _ in range(BATCH + 10)]
    make_due(keeper, *session_ids)
    request = {"execute": True, "requestId": str(uuid.uuid4())}
    first = purge(client, namespace, **request)
    assert (first["dueCount"], first["purgedCount"], first.get("done", False)) == (BATCH + 10, BATCH, False)
    assert len(first["sessionIds"]) == 100
    second = purge(client, namespace, **request)  # The same request goes on with what is left.
    assert (second["dueCount"], second["purgedCount"], second["done"]) == (10, 10, True)
    assert client.call("CountSessions", {"namespace": namespace}) == {}
    orphans = keeper.psql(
        "SELECT count(*) FROM session_events e LEFT JOIN tombstones t ON t.id = e.session_id "
        "WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.id = e.session_id) AND t.id IS NULL"
    )
    assert orphans.strip() == "0"


def test_retention_follows_the_workflow(client, namespace):
    def days(session, since):
        seconds = client_time(session["purgeTime"]) - client_time(session[since])
        return seconds / 86400

    session_id = client.create(namespace=namespace)["sessionId"]
    session = client.call("StopSession", {"sessionId": session_id})
    assert days(session, "updateTime") == pytest.approx(7)
    session = client.call("DeleteSession", {"sessionId": session_id})
    assert days(session, "deleteTime") == pytest.approx(7)
    session = client.call("UndeleteSession", {"sessionId": session_id})
    assert days(session, "updateTime") == pytest.approx(7)
    for workflow in ["interview", "execution"]:
        session = client.create(namespace=namespace, workflow=workflow)
        session = client.call("DeleteSession", {"sessionId": session["sessionId"], "force": True})
        assert "purgeTime" not in session


def client_time(text):
    return datetime.datetime.fromisoformat(text[:19] + "+00:00").timestamp()


def test_a_held_session_is_neither_deleted_nor_purged_nor_erased(client, keeper, namespace):
    owner = f"owner-{namespace}"
    session_id = stopped(client, namespace, ownerId=owner)
    hold = {"session": {"sessionId": session_id, "hold": True}, "updateMask": "hold"}
    client.call("UpdateSession", hold)
    make_due(keeper, session_id)
    refusal = client.refusal("DeleteSession", {"sessionId": session_id})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "HOLD_ACTIVE")
    assert purge(client, namespace, execute=True) == {"heldCount": 1, "done": True}
    erase = {"namespace": namespace, "ownerId": owner}
    assert client.call("EraseOwner", erase) == {"heldCount": 1, "done": True}
    assert exists(client, session_id) == "OK"


def test_the_daemon_purges_and_stops_what_was_abandoned_by_itself(own_daemon):
    client = own_daemon.start()
    due, held, abandoned, fresh = (client.create()["sessionId"] for _ in range(4))
    for session_id in (due, held):
        client.call("StopSession", {"sessionId": session_id})
    client.call("UpdateSession", {"session": {"sessionId": held, "hold": True}, "updateMask": "hold"})
    make_due(own_daemon, due, held)
    own_daemon.change_rows(
        "UPDATE sessions SET created_at = created_at - interval '15 days', "
        f"recover_before_at = recover_before_at - interval '15 days' WHERE id = '{abandoned}'"
    )
    client.close()
    own_daemon.stop()
    client = own_daemon.start()  # The daemon looks when it starts, and then now and again.
    until(lambda: exists(client, due) == "ARCHIVED")
    until(lambda: client.call("GetSession", {"sessionId": abandoned})["state"] == "STOPPED")
    assert exists(client, held) == "OK"
    assert client.call("GetSession", {"sessionId": fresh})["state"] == "ACTIVE"
    last = events_of(client, abandoned)[-1]
    assert (last["type"], last["trigger"], last["actor"]) == ("STOPPED", "SYSTEM_TIMEOUT", "system")


# ------------------------------------------------------------------------------------------------
# erasure


def canary_session(client, word, owner, namespace):
    """A session with the word wherever a caller can write something, and its request rows."""
    call = client.call

    def said(**fields):
        return {"requestId": f"{word}-{uuid.uuid4()}", "actor": word, "reason": f"for {word}", **fields}

    session = {
        "workflow": "ticket_export",
        "namespace": namespace,
        "ownerId": owner,
        "ownerDisplayName": word,
        "context": {"site_name": word, "jira_project_key": word},
        "labels": {"who": word},
    }
    session_id = call("CreateSession", said(session=session))["sessionId"]
    named = {"sessionId": session_id}
    call("AdvanceSession", said(**named, targetStage="upload"))
    artifact = {"artifactId": f"{word}.pdf", "kind": "FILE", "displayName": word, "uri": word, "metadata": {"by": word}}
    ticket = {"artifactId": f"{word}-1", "kind": "TICKET", "displayName": word}
    call("AddArtifacts", said(**named, artifacts=[artifact, ticket]))
    start = {"taskType": "processing", "advanceToStage": "processing"}
    task = call("StartTask", said(**named, **start))
    call("ReportTaskProgress", said(**named, taskId=task["taskId"], progress={"at": word}))
    error = {
        "category": "TEMPORARY",
        "severity": "BLOCKING",
        "userMessage": word,
        "recoveryActions": [word],
        "technicalDetails": {word: word},
        "relatedFileId": f"{word}.pdf",
        "relatedTicketId": f"{word}-1",
    }
    failed = call("FailTask", said(**named, taskId=task["taskId"], failureContext={word: word}, error=error))
    assert failed["status"] == "FAILED"
    error_id = call("RecordError", said(**named, error=error))["errorId"]
    call("ResolveError", said(**named, errorId=error_id, resolution=word))
    call("DeleteArtifact", said(**named, artifactId=f"{word}-1"))
    call("FailSession", said(**named))
    return session_id


def canary_interview(client, word, owner, namespace):
    session = {
        "workflow": "interview",
        "namespace": namespace,
        "ownerId": owner,
        "ownerDisplayName": word,
        "references": {"job_posting": word},
    }
    session_id = client.call("CreateSession", {"session": session})["sessionId"]
    messages = [{"type": "answer", "content": f"I am {word}", "author": word, "metadata": {word: word}}] * 3
    client.call("AppendMessages", {"sessionId": session_id, "messages": messages, "requestId": word})
    client.call("StopSession", {"sessionId": session_id})
    return session_id


def erase(client, namespace, owner, **fields):
    answers = []
    while not answers or not answers[-1].get("done"):
        request = {"namespace": namespace, "ownerId": owner, **fields}
        answers.append(client.call("EraseOwner", request))
    return answers


def test_nothing_of_an_erased_owner_is_left_anywhere(client, keeper, namespace):
    word = f"canary{uuid.uuid4().hex}"
    mine = [canary_session(client, word, word, namespace), canary_interview(client, word, word, namespace)]
    client.call("DeleteSession", {"sessionId": mine[1]})
    bystander = client.create(namespace=namespace, ownerId="somebody")
    assert keeper.dump().count(word) > 50
    [answer] = erase(client, namespace, word, actor=word, reason=f"{word} asked for it", requestId=f"{word}-erase")
    assert answer == {"affectedCount": 2, "done": True}
    left = [line for line in keeper.dump().splitlines() if word in line]
    assert left == []
    for session_id in mine:
        assert rows_of(keeper, session_id) == {"session_events": 1, "tombstones": 1}
        assert exists(client, session_id) == "ARCHIVED"
        requests = keeper.psql(f"SELECT count(*) FROM session_requests WHERE session_id = '{session_id}'")
        assert requests.strip() == "0"
        row = keeper.psql(
            "SELECT e.type, e.actor, e.reason, e.request_id, e.changes, t.owner_id "
            f"FROM session_events e JOIN tombstones t ON t.id = e.session_id WHERE t.id = '{session_id}'"
        )
        assert row.strip().split("|") == ["26", "", "", "", "{}", ""]
    assert client.call("GetSession", {"sessionId": bystander["sessionId"]}) == bystander


def test_an_owner_is_erased_from_what_was_archived_before(client, keeper, namespace):
    word = f"canary{uuid.uuid4().hex}"
    session_id = canary_session(client, word, word, namespace)
    client.call("StopSession", {"sessionId": session_id})
    make_due(keeper, session_id)
    assert purge(client, namespace, execute=True)["purgedCount"] == 1
    assert erase(client, namespace, word) == [{"done": True}]
    left = [line for line in keeper.dump().splitlines() if word in line]
    assert left == []


def test_an_erasure_may_carry_a_request_id_that_one_of_its_sessions_saw(client, keeper, namespace):
    word = f"canary{uuid.uuid4().hex}"
    for _ in range(2):
        canary_session(client, word, word, namespace)
    odd = client.create(namespace=namespace, ownerId=word)["sessionId"]
    client.call("PauseSession", {"sessionId": odd, "requestId": "erase-1"})
    request = {"namespace": namespace, "ownerId": word}
    erased = client.call("EraseOwner", {**request, "requestId": "erase-1"})
    assert erased == {"affectedCount": 3, "done": True}
    left = [line for line in keeper.dump().splitlines() if word in line]
    assert left == []


def test_an_erasure_goes_in_batches_and_can_be_taken_up_again(client, namespace):
    owner = f"owner-{namespace}"
    session_ids = [client.create(namespace=namespace, ownerId=owner)["sessionId"] for _ in range(BATCH + 5)]
    others = [client.create(namespace=namespace, ownerId=owner + "x")["sessionId"]]
    elsewhere = client.create(namespace=namespace + "-b", ownerId=owner)["sessionId"]
    held = client.create(namespace=namespace, ownerId=owner, hold=True)["sessionId"]
    request = {"namespace": namespace, "ownerId": owner}
    first = client.call("EraseOwner", request)
    assert first == {"affectedCount": BATCH, "heldCount": 1}
    later = client.create(namespace=namespace, ownerId=owner)["sessionId"]  # In between.
    assert client.call("EraseOwner", request) == {"affectedCount": 6, "heldCount": 1, "done": True}
    assert client.call("EraseOwner", request) == {"heldCount": 1, "done": True}
    reasons = [
        result["reason"]
        for result in client.call("LookupSessions", {"sessionIds": [*session_ids, later]})["results"]
    ]
    assert set(reasons) == {"ARCHIVED"}
    for kept in [*others, elsewhere, held]:
        assert exists(client, kept) == "OK"
    assert client.call("EraseOwner", {**request, "namespace": "-"})["affectedCount"] == 1
    assert exists(client, elsewhere) == "ARCHIVED"


# ------------------------------------------------------------------------------------------------
# references


def test_a_reference_that_is_gone_is_taken_off_everywhere_and_the_sessions_stay(client, namespace):
    def create(job, **fields):
        session = {"workflow": "interview", "ownerId": "u1", "namespace": namespace, "references": {"job_posting": job}}
        return client.call("CreateSession", {"session": {**session, **fields}})["sessionId"]

    job = f"job {namespace}"
    active, over, deleted, held = create(job), create(job), create(job), create(job, hold=True)
    other, elsewhere = create(job + "0"), create(job, namespace=namespace + "-b")
    client.call("StopSession", {"sessionId": over})
    client.call("DeleteSession", {"sessionId": deleted, "force": True})
    message = {"type": "question", "content": "Why?"}
    client.call("AppendMessages", {"sessionId": active, "messages": [message]})

    detach = {"namespace": namespace, "name": "job_posting", "value": job, "actor": "hr", "requestId": "gone"}
    assert client.call("DetachReference", detach) == {"affectedCount": 4, "done": True}
    assert client.call("DetachReference", detach) == {"done": True}
    for session_id in (active, over, deleted, held):
        session = client.call("GetSession", {"sessionId": session_id, "includeDeleted": True})
        assert "references" not in session
        events = events_of(client, session_id)
        assert_chained(events)
        assert (events[-1]["type"], events[-1]["actor"]) == ("REFERENCE_DETACHED", "hr")
        assert events[-1]["changes"] == {"references.job_posting": None}
    assert client.call("ListMessages", {"sessionId": active})["messages"][0]["content"] == "Why?"
    for session_id in (other, elsewhere):
        assert client.call("GetSession", {"sessionId": session_id})["references"]
    query = {"namespace": namespace, "filter": f'references.job_posting = "{job}"', "includeDeleted": True}
    assert client.call("CountSessions", query) == {}


def test_detaching_goes_in_batches(client, namespace):
    session = {"workflow": "interview", "ownerId": "u1", "namespace": namespace}
    for _ in range(BATCH + 3):
        client.call("CreateSession", {"session": {**session, "references": {"job_posting": "j"}}})
    detach = {"namespace": namespace, "name": "job_posting", "value": "j"}
    assert client.call("DetachReference", detach) == {"affectedCount": BATCH}
    assert client.call("DetachReference", detach) == {"affectedCount": 3, "done": True}


# ------------------------------------------------------------------------------------------------
# the daemon


def test_a_daemon_says_what_it_is(client, keeper):
    info = client.call("GetServerInfo")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", info["version"])
    uuid.UUID(info["databaseId"])
    assert {"ticket_export", "execution", "interview"} <= set(info["workflows"])
    assert info["schemaVersion"] == int(keeper.psql("SELECT max(version) FROM schema_migrations"))
    assert info["partitionCount"] == int(keeper.psql("SELECT count(*) FROM partitions"))
    assert keeper.psql("SHOW server_version").startswith(info["postgresVersion"])
    assert moment(info["startTime"]) <= moment(client.create()["createTime"])
    assert client.call("GetServerInfo") == info
