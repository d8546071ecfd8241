"""What the applications do with sessiond, from the first call to the last: each workflow's life,
everything that must be refused, and many callers at once.
"""

import collections
import concurrent.futures
import itertools
import threading
import time
import uuid

import pytest
from conftest import Refused, moment, newest_first

STAGES = {
    "site_info_collection": "Site information",
    "upload": "Upload",
    "processing": "Processing",
    "review": "Review",
    "jira_export": "Jira export",
    "completed": "Completed",
}


def events_of(client, session_id):
    query = {"sessionId": session_id, "includeDeleted": True, "pageSize": 1000}
    return client.read_all("ListSessionEvents", "events", **query)


def types_of(client, session_id):
    return [event["type"] for event in events_of(client, session_id)]


def assert_chained(events):
    """The audit has no gap, and what each event found is what the one before it left."""
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    for before, after in itertools.pairwise(events):
        for what in ["State", "Stage", "Status"]:
            assert after.get("old" + what) == before.get("new" + what), (before, after)
        assert moment(before["eventTime"]) <= moment(after["eventTime"])


def listed(client, **query):
    return client.read_all("ListSessions", "sessions", **query)


def exec_id():
    return f"exec_20251230_020944_{uuid.uuid4().hex[:8]}"


def at_once(count, work):
    """What `work(n)` answers, or raises, for each n, all started together."""
    barrier = threading.Barrier(count)

    def run(n):
        barrier.wait()
        try:
            return work(n)
        except Refused as refused:
            return refused

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# ------------------------------------------------------------------------------------------------
# ticket_export: stages


def test_a_ticket_export_goes_through_its_six_stages_and_is_completed(client):
    session = client.create()
    session_id = session["sessionId"]
    for stage, following in itertools.pairwise(STAGES):
        assert (session["stage"], session["stageDisplayName"]) == (stage, STAGES[stage])
        assert (session["nextStage"], session["state"]) == (following, "ACTIVE")
        assert session["status"] == "active"
        assert "completeTime" not in session
        if following == "jira_export":
            client.call(
                "UpdateSession",
                {
                    "session": {"sessionId": session_id, "context": {"jira_project_key": "SITE"}},
                    "updateMask": "context.jiraProjectKey",
                },
            )
        session = client.call("AdvanceSession", {"sessionId": session_id, "targetStage": following})
    assert (session["stage"], session["state"], session["status"]) == (
        "completed",
        "STOPPED",
        "completed",
    )
    assert "nextStage" not in session
    assert not session.get("recoverable", False)
    assert session["completeTime"] == session["updateTime"]
    assert session == client.call("GetSession", {"sessionId": session_id})

    events = events_of(client, session_id)
    assert_chained(events)
    advanced, completed = events[-2:]
    assert (advanced["type"], completed["type"]) == ("ADVANCED", "COMPLETED")
    assert (completed["oldState"], completed["newState"]) == ("ACTIVE", "STOPPED")
    assert advanced["requestId"] == completed["requestId"]
    assert advanced["eventTime"] == completed["eventTime"]


def test_only_the_next_stage_can_be_reached(client):
    session_id = client.create()["sessionId"]
    client.call("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    for target in [*STAGES, "no_such_stage"]:
        if target == "processing":
            continue
        refusal = client.refusal("AdvanceSession", {"sessionId": session_id, "targetStage": target})
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "INVALID_TRANSITION")
        assert refusal.sentence.startswith(f"Cannot transition from upload to {target}")
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "from": "upload",
            "to": target,
            "allowed": "processing",
        }
        assert refusal.details["PreconditionFailure"]["violations"]
    assert client.call("GetSession", {"sessionId": session_id})["stage"] == "upload"
    assert types_of(client, session_id) == ["CREATED", "ADVANCED"]


def test_a_stage_is_not_entered_without_the_fields_it_needs_nor_are_they_taken_away(client):
    session_id = client.create()["sessionId"]
    for stage in ["upload", "processing", "review"]:
        client.call("AdvanceSession", {"sessionId": session_id, "targetStage": stage})
    to_export = {"sessionId": session_id, "targetStage": "jira_export"}
    mask = "context.jiraProjectKey"
    for context in [{}, {"jira_project_key": ""}]:
        client.call(
            "UpdateSession",
            {"session": {"sessionId": session_id, "context": context}, "updateMask": "context"},
        )
        refusal = client.refusal("AdvanceSession", to_export)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STAGE_FIELDS_MISSING")
        assert refusal.metadata["fields"] == "context.jira_project_key"
        assert refusal.metadata["stage"] == "jira_export"
        assert refusal.metadata["category"] == "USER_FIXABLE"

    given = {"sessionId": session_id, "context": {"jira_project_key": "SITE"}}
    client.call("UpdateSession", {"session": given, "updateMask": mask})
    client.call("AdvanceSession", to_export)
    for each in [mask, "context"]:
        taken = {"session": {"sessionId": session_id}, "updateMask": each}
        refusal = client.refusal("UpdateSession", taken)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STAGE_FIELDS_MISSING")


def test_a_failed_session_says_so_and_can_only_be_stopped(client):
    session_id = client.create()["sessionId"]
    failed = client.call("FailSession", {"sessionId": session_id, "reason": "no tickets came out"})
    assert (failed["state"], failed["status"]) == ("ACTIVE", "failed")
    assert failed["failReason"] == "no tickets came out"
    assert failed["failTime"] == failed["updateTime"]
    refusal = client.refusal("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    assert (refusal.reason, refusal.metadata["status"]) == ("SESSION_NOT_ACTIVE", "failed")
    stopped = client.call("StopSession", {"sessionId": session_id})
    assert (stopped["state"], stopped["status"]) == ("STOPPED", "failed")
    assert_chained(events_of(client, session_id))


# ------------------------------------------------------------------------------------------------
# execution: the life, and ids


def test_an_execution_lives_through_all_states_and_comes_back(client):
    session_id = exec_id()
    session = client.call(
        "CreateSession",
        {"session": {"workflow": "execution"}, "sessionId": session_id, "creating": True},
    )
    assert session["sessionId"] == session_id
    walk = [("CREATING", "creating")]
    for verb in ["Activate", "Pause", "Resume", "Stop", "Delete"]:
        assert (session["state"], session["status"]) == walk[-1]
        session = client.call(f"{verb}Session", {"sessionId": session_id})
        walk.append((session["state"], session["status"]))
    assert walk[1:] == [
        ("ACTIVE", "active"),
        ("PAUSED", "paused"),
        ("ACTIVE", "active"),
        ("STOPPED", "stopped"),
        ("DELETED", "deleted"),
    ]
    refusal = client.refusal("GetSession", {"sessionId": session_id})
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DELETED")
    assert refusal.metadata["delete_time"] == session["deleteTime"]

    back = client.call("UndeleteSession", {"sessionId": session_id})
    assert (back["state"], back["status"]) == ("STOPPED", "stopped")
    assert "deleteTime" not in back
    assert client.call("GetSession", {"sessionId": session_id}) == back
    assert not back.get("recoverable", False)
    events = events_of(client, session_id)
    assert_chained(events)
    assert [event["type"] for event in events] == [
        "CREATED",
        "ACTIVATED",
        "PAUSED",
        "RESUMED",
        "STOPPED",
        "DELETED",
        "UNDELETED",
    ]


@pytest.mark.parametrize("paused", [False, True])
def test_a_forced_delete_is_two_facts_of_one_moment(client, paused):
    session_id = client.create(workflow="execution")["sessionId"]
    if paused:
        client.call("PauseSession", {"sessionId": session_id})
    state = "PAUSED" if paused else "ACTIVE"
    refusal = client.refusal("DeleteSession", {"sessionId": session_id})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "INVALID_TRANSITION")
    assert refusal.sentence.startswith(f"Cannot transition from {state} to DELETED")
    client.call("DeleteSession", {"sessionId": session_id, "force": True, "reason": "cleaning up"})
    *_, stopped, deleted = events_of(client, session_id)
    assert (stopped["type"], deleted["type"]) == ("STOPPED", "DELETED")
    assert (stopped["oldState"], stopped["newState"]) == (state, "STOPPED")
    assert (deleted["oldState"], deleted["newState"]) == ("STOPPED", "DELETED")
    for what in ["eventTime", "requestId", "reason", "caller"]:
        assert stopped[what] == deleted[what]


def test_an_id_is_taken_once_in_all_namespaces_and_for_ever(client):
    session_id = str(uuid.uuid4())
    session = {"workflow": "interview", "ownerId": "u1"}
    client.call("CreateSession", {"session": session, "sessionId": session_id})
    for deleted in [False, True]:
        if deleted:
            client.call("DeleteSession", {"sessionId": session_id, "force": True})
        for namespace in ["default", "another"]:
            refusal = client.refusal(
                "CreateSession",
                {"session": {**session, "namespace": namespace}, "sessionId": session_id},
            )
            assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "SESSION_EXISTS")
            assert refusal.sentence.startswith("Session already exists for this context")
            assert refusal.metadata == {"category": "USER_FIXABLE", "session_id": session_id}


def test_what_is_being_created_is_checked_when_it_is_activated(client):
    request = {"session": {"workflow": "ticket_export"}, "creating": True}
    created = client.call("CreateSession", request)
    session_id = created["sessionId"]
    assert (created["state"], created["status"]) == ("CREATING", "active")
    refusal = client.refusal("ActivateSession", {"sessionId": session_id})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STAGE_FIELDS_MISSING")
    assert refusal.metadata["fields"] == "owner_id,owner_display_name"
    client.call(
        "UpdateSession",
        {
            "session": {"sessionId": session_id, "ownerId": "u1", "ownerDisplayName": "Ada"},
            "updateMask": "ownerId,ownerDisplayName",
        },
    )
    active = client.call("ActivateSession", {"sessionId": session_id})
    assert active["state"] == "ACTIVE"
    refusal = client.refusal(
        "UpdateSession",
        {"session": {"sessionId": session_id, "ownerId": "u2"}, "updateMask": "ownerId"},
    )
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SESSION_NOT_ACTIVE")
    assert types_of(client, session_id) == ["CREATED", "UPDATED", "ACTIVATED"]

    refusal = client.refusal("CreateSession", {"session": {"workflow": "ticket_export"}})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STAGE_FIELDS_MISSING")


def test_what_never_became_active_is_deleted_without_force(client):
    created = client.call("CreateSession", {"session": {"workflow": "execution"}, "creating": True})
    client.call("DeleteSession", {"sessionId": created["sessionId"]})
    assert types_of(client, created["sessionId"]) == ["CREATED", "DELETED"]


def test_what_was_left_in_creating_for_an_hour_is_deleted_by_the_daemon(own_daemon):
    def create(**fields):
        session = {"workflow": "execution", **fields}
        return client.call("CreateSession", {"session": session, "creating": True})["sessionId"]

    client = own_daemon.start()
    stale, fresh, held = create(), create(), create(hold=True)
    active = client.create(workflow="execution")["sessionId"]
    old = "', '".join([stale, held, active])
    own_daemon.change_rows(
        f"UPDATE sessions SET created_at = created_at - interval '61 min' WHERE id IN ('{old}')"
    )
    client.close()
    own_daemon.stop()
    client = own_daemon.start()  # The daemon looks for them when it starts, and then now and again.
    # A first look that fails is made good a minute later.
    give_up = time.monotonic() + 90
    while len(events := events_of(client, stale)) < 2 and time.monotonic() < give_up:
        time.sleep(0.05)
    assert [event["type"] for event in events] == ["CREATED", "DELETED"]
    assert (events[1]["trigger"], events[1]["actor"]) == ("SYSTEM_TIMEOUT", "system")
    assert client.refusal("GetSession", {"sessionId": stale}).reason == "DELETED"
    for session_id, state in [(fresh, "CREATING"), (held, "CREATING"), (active, "ACTIVE")]:
        assert client.call("GetSession", {"sessionId": session_id})["state"] == state


# ------------------------------------------------------------------------------------------------
# interview: status follows


def test_an_interview_s_status_follows_what_happens_to_it(client):
    session = {"workflow": "interview", "ownerId": "u1", "references": {"job_posting": "j1"}}
    for last, status in [("AdvanceSession", "completed"), ("StopSession", "stopped")]:
        created = client.call("CreateSession", {"session": session})
        session_id = created["sessionId"]
        statuses = [created["status"]]
        for method in ["PauseSession", "ResumeSession", "PauseSession", "ResumeSession"]:
            statuses.append(client.call(method, {"sessionId": session_id})["status"])
        target = {"targetStage": "completed"} if last == "AdvanceSession" else {}
        ended = client.call(last, {"sessionId": session_id, **target})
        assert [*statuses, ended["status"]] == [
            "active",
            "paused",
            "active",
            "paused",
            "active",
            status,
        ]
        assert ended["state"] == "STOPPED"
        assert ended["references"] == {"job_posting": "j1"}
        events = events_of(client, session_id)
        assert_chained(events)
        assert events[-1]["newStatus"] == status


def test_pausing_does_not_change_a_ticket_export_s_status(client):
    session_id = client.create()["sessionId"]
    assert client.call("PauseSession", {"sessionId": session_id})["status"] == "active"
    assert client.call("StopSession", {"sessionId": session_id})["status"] == "stopped"


@pytest.mark.parametrize("workflow", ["interview", "execution"])
def test_a_workflow_without_a_failed_status_does_not_fail(client, workflow):
    session_id = client.create(workflow=workflow)["sessionId"]
    refusal = client.refusal("FailSession", {"sessionId": session_id})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "INVALID_TRANSITION")
    assert "FAILED" not in refusal.metadata["allowed"].split(",")


# ------------------------------------------------------------------------------------------------
# what each state accepts

CALLS = {
    "ActivateSession": {},
    "UpdateSession": {"updateMask": "labels,ownerDisplayName"},
    "UpdateSession of labels": {"updateMask": "labels"},
    "AdvanceSession": {"targetStage": "upload"},
    "PauseSession": {},
    "ResumeSession": {},
    "StopSession": {},
    "FailSession": {},
    "DeleteSession": {},
    "DeleteSession with force": {"force": True},
    "UndeleteSession": {},
}
SITUATIONS = {
    "CREATING": [],
    "ACTIVE": ["ActivateSession"],
    "PAUSED": ["ActivateSession", "PauseSession"],
    "failed": ["ActivateSession", "FailSession"],
    "failed and paused": ["ActivateSession", "PauseSession", "FailSession"],
    "STOPPED": ["ActivateSession", "StopSession"],
    "DELETED": ["ActivateSession", "StopSession", "DeleteSession"],
}
OK, NO, WAIT, GONE, HERE = (
    "OK",
    "INVALID_TRANSITION",
    "SESSION_NOT_ACTIVE",
    "DELETED",
    "NOT_DELETED",
)
CODES = {
    NO: "FAILED_PRECONDITION",
    WAIT: "FAILED_PRECONDITION",
    GONE: "NOT_FOUND",
    HERE: "ALREADY_EXISTS",
}
# In the order of CALLS.
ACCEPTS = {
    "CREATING": [OK, OK, OK, WAIT, NO, NO, NO, NO, OK, OK, HERE],
    "ACTIVE": [NO, OK, OK, OK, OK, NO, OK, OK, NO, OK, HERE],
    "PAUSED": [NO, OK, OK, WAIT, NO, OK, OK, OK, NO, OK, HERE],
    "failed": [NO, OK, OK, WAIT, NO, NO, OK, NO, NO, OK, HERE],
    "failed and paused": [NO, OK, OK, WAIT, NO, NO, OK, NO, NO, OK, HERE],
    "STOPPED": [NO, WAIT, OK, WAIT, NO, NO, NO, NO, OK, OK, HERE],
    "DELETED": [GONE, GONE, GONE, GONE, GONE, GONE, GONE, GONE, GONE, GONE, OK],
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_state_accepts_what_it_should_and_says_why_it_does_not(client, situation):
    for (call, request), expected in zip(CALLS.items(), ACCEPTS[situation], strict=True):
        session = {"workflow": "ticket_export", "ownerId": "u1", "ownerDisplayName": "Ada"}
        created = client.call("CreateSession", {"session": session, "creating": True})
        for method in SITUATIONS[situation]:
            created = client.call(method, {"sessionId": created["sessionId"]})
        named = {"sessionId": created["sessionId"]}
        if call.startswith("UpdateSession"):
            named = {"session": {**named, "labels": {"a": "b"}, "ownerDisplayName": "Grace"}}
        before = events_of(client, created["sessionId"])
        method = call.split()[0]
        if expected == OK:
            client.call(method, {**named, **request})
            continue
        refusal = client.refusal(method, {**named, **request})
        assert (refusal.code, refusal.reason) == (CODES[expected], expected), call
        assert refusal.metadata["category"] == "USER_FIXABLE"
        if expected == NO:
            assert refusal.metadata["from"] == created["state"]
            assert {"to", "allowed"} <= refusal.metadata.keys()
        elif expected == WAIT:
            assert refusal.metadata["state"] == created["state"]
            assert refusal.metadata["status"] == created["status"]
            assert "allowed" in refusal.metadata
        assert events_of(client, created["sessionId"]) == before


# ------------------------------------------------------------------------------------------------
# hold, and what is deleted


def test_a_hold_blocks_deletion_forced_or_not_until_it_is_taken_off(client):
    def hold(on):
        request = {"session": {"sessionId": session_id, "hold": on}, "updateMask": "hold"}
        return client.call("UpdateSession", request)

    session_id = client.create()["sessionId"]
    hold(True)
    for force, stopped in [(True, False), (False, True), (True, True)]:
        if stopped and not force:
            client.call("StopSession", {"sessionId": session_id})
        before = client.call("GetSession", {"sessionId": session_id})
        refusal = client.refusal("DeleteSession", {"sessionId": session_id, "force": force})
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "HOLD_ACTIVE")
        assert refusal.metadata == {"category": "USER_FIXABLE", "session_id": session_id}
        assert client.call("GetSession", {"sessionId": session_id}) == before
    hold(False)
    assert client.call("DeleteSession", {"sessionId": session_id})["state"] == "DELETED"


def test_what_is_deleted_is_shown_to_those_who_ask_for_it_only(client, namespace):
    kept = client.create(namespace=namespace)["sessionId"]
    deleted = client.create(namespace=namespace)["sessionId"]
    gone = client.call("DeleteSession", {"sessionId": deleted, "force": True})

    for method in ["GetSession", "ListSessionEvents"]:
        refusal = client.refusal(method, {"sessionId": deleted})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DELETED")
        assert client.call(method, {"sessionId": deleted, "includeDeleted": True})
    assert client.call("GetSession", {"sessionId": deleted, "includeDeleted": True}) == gone

    [result] = client.call("LookupSessions", {"sessionIds": [deleted]})["results"]
    assert (result["reason"], result["sinceTime"]) == ("DELETED", gone["deleteTime"])
    assert "session" not in result
    lookup = {"sessionIds": [deleted], "includeDeleted": True}
    [result] = client.call("LookupSessions", lookup)["results"]
    assert (result["reason"], result["found"], result["session"]) == ("OK", True, gone)

    assert [s["sessionId"] for s in listed(client, namespace=namespace)] == [kept]
    everything = listed(client, namespace=namespace, includeDeleted=True)
    assert [s["sessionId"] for s in everything] == [deleted, kept]
    assert client.call("CountSessions", {"namespace": namespace})["total"] == 1
    count = client.call("CountSessions", {"namespace": namespace, "includeDeleted": True})
    assert count["total"] == 2


CHANGES = {
    "ActivateSession": {},
    "UpdateSession": {"updateMask": "labels"},
    "AdvanceSession": {"targetStage": "upload"},
    "PauseSession": {},
    "ResumeSession": {},
    "StopSession": {},
    "FailSession": {},
    "DeleteSession": {"force": True},
    "UndeleteSession": {},
}


def naming(method, session_id, **fields):
    """A request of a method for a session."""
    if method == "UpdateSession":
        return {"session": {"sessionId": session_id}, **CHANGES[method], **fields}
    return {"sessionId": session_id, **CHANGES.get(method, {}), **fields}


@pytest.mark.parametrize("method", [*CHANGES, "GetSession", "ListSessionEvents"])
def test_every_call_says_why_the_session_is_not_there(client, method):
    deleted = client.create()["sessionId"]
    client.call("DeleteSession", {"sessionId": deleted, "force": True})
    never, exec_never = str(uuid.uuid4()), "exec_20251230_020944_00000000"
    for session_id, code, reason in [
        ("session-1", "INVALID_ARGUMENT", "INVALID_FORMAT"),
        ("exec_2025_1", "INVALID_ARGUMENT", "INVALID_FORMAT"),
        (never.upper(), "INVALID_ARGUMENT", "INVALID_FORMAT"),
        (never, "NOT_FOUND", "NEVER_EXISTED"),
        (exec_never, "NOT_FOUND", "NEVER_EXISTED"),
        (deleted, "NOT_FOUND", "DELETED"),
    ]:
        if method == "UndeleteSession" and session_id == deleted:
            continue
        # An etag does not make a session that is not there any staler.
        etag = {"etag": "r7"} if method in CHANGES else {}
        refusal = client.refusal(method, naming(method, session_id, **etag))
        assert (refusal.code, refusal.reason) == (code, reason), session_id
        assert refusal.metadata["category"] == "USER_FIXABLE"
        assert refusal.metadata["session_id"] == session_id
        if reason == "DELETED":
            assert "include_deleted" in refusal.sentence


# ------------------------------------------------------------------------------------------------
# etags and request ids


@pytest.mark.parametrize("method", CHANGES)
def test_a_stale_etag_is_refused_by_every_change_before_the_state_is_looked_at(client, method):
    session = client.create()
    session_id = session["sessionId"]
    changed = client.call("StopSession", {"sessionId": session_id})
    if method == "UndeleteSession":
        changed = client.call("DeleteSession", {"sessionId": session_id})
    refusal = client.refusal(method, naming(method, session_id, etag=session["etag"]))
    assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert refusal.metadata == {"category": "USER_FIXABLE", "current_etag": changed["etag"]}
    assert len(events_of(client, session_id)) == changed["sequence"]


def test_an_etag_read_is_good_for_one_change(client):
    session = client.create()
    change = {"sessionId": session["sessionId"], "labels": {"a": "1"}, "etag": session["etag"]}
    client.call("UpdateSession", {"session": change, "updateMask": "labels"})
    refusal = client.refusal("UpdateSession", {"session": change, "updateMask": "labels"})
    assert refusal.reason == "ETAG_MISMATCH"
    answers = at_once(
        16,
        lambda n: client.call(
            "UpdateSession",
            {
                "session": {"sessionId": session["sessionId"], "labels": {"n": str(n)}},
                "updateMask": "labels.n",
                "etag": refusal.metadata["current_etag"],
            },
        ),
    )
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"ETAG_MISMATCH"}


def test_a_replay_answers_with_the_session_as_it_stands_now_and_has_no_second_effect(client):
    session_id = client.create()["sessionId"]
    pause = {"sessionId": session_id, "requestId": str(uuid.uuid4()), "reason": "lunch"}
    stop = {"sessionId": session_id, "requestId": str(uuid.uuid4())}
    paused = client.call("PauseSession", pause)
    assert client.call("PauseSession", pause) == paused
    stopped = client.call("StopSession", stop)
    assert client.call("PauseSession", pause) == stopped
    deleted = client.call("DeleteSession", {"sessionId": session_id})
    # It is answered before existence, etag and state are looked at.
    assert client.call("PauseSession", pause) == deleted
    assert client.call("StopSession", stop) == deleted
    assert types_of(client, session_id) == ["CREATED", "PAUSED", "STOPPED", "DELETED"]


def test_a_replay_with_its_now_stale_etag_is_answered(client):
    session = client.create()
    request = {"sessionId": session["sessionId"], "requestId": "r", "etag": session["etag"]}
    assert client.call("PauseSession", request) == client.call("PauseSession", request)


def test_a_creation_replayed_answers_with_its_session_even_once_it_is_deleted(client):
    request = {"session": {"workflow": "execution"}, "requestId": str(uuid.uuid4())}
    created = client.call("CreateSession", request)
    assert client.call("CreateSession", request) == created
    deleted = client.call("DeleteSession", {"sessionId": created["sessionId"], "force": True})
    assert client.call("CreateSession", request) == deleted
    for other in [
        {"session": {"workflow": "execution", "labels": {"a": "b"}}},
        {"sessionId": "exec_20251230_020944_4ad060d9"},
        {"creating": True},
    ]:
        refusal = client.refusal("CreateSession", {**request, **other})
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "request_id": request["requestId"],
        }


def test_a_creation_with_an_id_of_its_own_is_replayed_too(client):
    request = {
        "session": {"workflow": "interview", "ownerId": "u1"},
        "sessionId": str(uuid.uuid4()),
        "requestId": str(uuid.uuid4()),
    }
    created = client.call("CreateSession", request)
    assert client.call("CreateSession", request) == created
    refusal = client.refusal("CreateSession", {**request, "requestId": str(uuid.uuid4())})
    assert refusal.reason == "SESSION_EXISTS"
    refusal = client.refusal("CreateSession", {**request, "sessionId": str(uuid.uuid4())})
    assert refusal.reason == "REQUEST_ID_REUSED"


def test_what_was_answered_is_the_same_payload_when_it_is_sent_back(client):
    """Its OUTPUT ONLY fields are ignored, so that they make no other payload of it either."""
    session = {"workflow": "ticket_export", "ownerId": "u1", "ownerDisplayName": "Ada"}
    create = {"session": session, "requestId": str(uuid.uuid4())}
    created = client.call("CreateSession", create)
    assert client.call("CreateSession", {**create, "session": created}) == created
    session_id = created["sessionId"]

    def twice(method, part, request, answered):
        """Makes the call, and again with the part as it was answered: one effect."""
        request = {"sessionId": session_id, "requestId": str(uuid.uuid4()), **request}
        answer = client.call(method, request)
        before = len(events_of(client, session_id))
        again = client.call(method, {**request, part: answered(answer)})
        for ageing in [answer, again]:
            ageing.pop("age", None)
            ageing.pop("duration", None)
        assert again == answer, method
        assert len(events_of(client, session_id)) == before, method
        return answer

    twice("AddArtifacts", "artifacts", {"artifacts": [{"artifactId": "f", "kind": "FILE"}]},
          lambda answer: answer["artifacts"])
    error = {
        "category": "TEMPORARY",
        "severity": "INFO",
        "userMessage": "m",
        "operationStage": "upload",
    }
    twice("RecordError", "error", {"error": error}, lambda answer: answer)
    update = {
        "session": {"sessionId": session_id, "labels": {"a": "b"}},
        "updateMask": "labels",
        "requestId": str(uuid.uuid4()),
    }
    updated = client.call("UpdateSession", update)
    # The etag is input there.
    whole = {field: value for field, value in updated.items() if field != "etag"}
    assert client.call("UpdateSession", {**update, "session": whole}) == updated

    client.call("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    task = client.call(
        "StartTask",
        {"sessionId": session_id, "taskType": "processing", "advanceToStage": "processing"},
    )
    twice("FailTask", "error", {"taskId": task["taskId"], "error": error},
          lambda _: {**error, "resolver": "me", "createTime": "2026-01-01T00:00:00Z"})

    session_id = client.call(
        "CreateSession", {"session": {"workflow": "interview", "ownerId": "u1"}}
    )["sessionId"]
    messages = [{"type": "question", "content": "Why?"}]
    twice("AppendMessages", "messages", {"messages": messages},
          lambda _: [{**messages[0], "sequence": 1, "createTime": "2026-01-01T00:00:00Z"}])


def test_a_payload_is_the_same_however_it_is_written(client, contract):
    """Maps in another order, a default that is said, a field that nobody knows."""
    request_id = str(uuid.uuid4())
    session = {"workflow": "execution", "labels": {"a": "1", "b": "2", "c": "3"}}
    request = contract.request("CreateSession", {"session": session, "requestId": request_id})
    path = "/" + contract.full("CreateSession")

    def created(written):
        return contract.message("sessiond.v1.Session").FromString(client.send(path, written))

    answer = created(request)
    pieces = [
        contract.request("CreateSession", {"session": {"labels": {key: session["labels"][key]}}})
        for key in "cba"
    ]
    backwards = b"".join(pieces) + contract.request(
        "CreateSession", {"session": {"workflow": "execution"}, "requestId": request_id}
    )
    creating_is_false = b"\x18\x00"
    unknown = b"\xc2\x3e\x01x"  # Field 1000.
    for written in [backwards, request + creating_is_false, request + unknown]:
        assert created(written) == answer


def test_a_request_id_is_one_session_s_own(client):
    for session_id in [client.create()["sessionId"] for _ in range(2)]:
        paused = client.call("PauseSession", {"sessionId": session_id, "requestId": "pause-1"})
        assert paused["state"] == "PAUSED"


def test_a_refusal_is_not_kept_for_its_request_id(client):
    session_id = client.create()["sessionId"]
    request = {"sessionId": session_id, "requestId": "resume-1"}
    assert client.refusal("ResumeSession", request).reason == "INVALID_TRANSITION"
    client.call("PauseSession", {"sessionId": session_id})
    assert client.call("ResumeSession", request)["state"] == "ACTIVE"
    assert client.call("StopSession", {"sessionId": session_id})["state"] == "STOPPED"
    assert client.call("ResumeSession", request)["state"] == "STOPPED"


def test_twins_in_parallel_have_one_effect(client, namespace):
    session_id = client.create(namespace=namespace)["sessionId"]
    pause = {"sessionId": session_id, "requestId": str(uuid.uuid4())}
    answers = at_once(16, lambda _: client.call("PauseSession", pause))
    assert all(answer == answers[0] for answer in answers), answers
    assert types_of(client, session_id) == ["CREATED", "PAUSED"]

    create = {
        "session": {"workflow": "execution", "namespace": namespace},
        "requestId": str(uuid.uuid4()),
    }
    answers = at_once(16, lambda _: client.call("CreateSession", create))
    assert all(answer == answers[0] for answer in answers), answers
    assert client.call("CountSessions", {"namespace": namespace})["total"] == 2

    bring = {**create, "requestId": str(uuid.uuid4()), "sessionId": exec_id()}
    answers = at_once(16, lambda _: client.call("CreateSession", bring))
    assert all(answer == answers[0] for answer in answers), answers
    assert client.call("CountSessions", {"namespace": namespace})["total"] == 3


def test_of_creations_at_once_that_share_a_request_id_but_not_their_id_one_is_accepted(
    client, namespace
):
    request = {
        "session": {"workflow": "execution", "namespace": namespace},
        "requestId": str(uuid.uuid4()),
    }
    answers = at_once(
        16,
        lambda _: client.call(
            "CreateSession",
            {**request, "sessionId": exec_id()},
        ),
    )
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"REQUEST_ID_REUSED"}
    assert client.call("CountSessions", {"namespace": namespace}) == {"total": 1}


def test_of_many_who_bring_the_same_id_one_creates(client):
    session_id = str(uuid.uuid4())
    session = {"workflow": "interview"}
    answers = at_once(
        16,
        lambda n: client.call(
            "CreateSession", {"session": {**session, "ownerId": f"u{n}"}, "sessionId": session_id}
        ),
    )
    created = [answer for answer in answers if isinstance(answer, dict)]
    assert len(created) == 1
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"SESSION_EXISTS"}
    assert client.call("GetSession", {"sessionId": session_id}) == created[0]


# ------------------------------------------------------------------------------------------------
# many at once


def test_thirty_two_clients_on_one_session_leave_a_chain_without_a_gap(client):
    session_id = client.create()["sessionId"]

    def work(n):
        accepted, refused = [], collections.Counter()
        for i in range(10):
            method, fields = [
                ("PauseSession", {}),
                ("ResumeSession", {}),
                ("UpdateSession", {"counterIncrements": {"total_tickets_generated": 1}}),
                ("AdvanceSession", {"targetStage": list(STAGES)[1 + i % 3]}),
            ][(n + i) % 4]
            named = {"sessionId": session_id}
            named = {"session": named} if method == "UpdateSession" else named
            try:
                accepted.append(client.call(method, {**named, **fields, "actor": f"client-{n}"}))
            except Refused as refusal:
                refused[refusal.reason] += 1
        return accepted, refused

    answers = at_once(32, work)
    accepted = [session for sessions, _ in answers for session in sessions]
    refused = sum((counter for _, counter in answers), collections.Counter())
    assert len(accepted) + refused.total() == 320
    assert refused.keys() <= {"INVALID_TRANSITION", "SESSION_NOT_ACTIVE"}

    events = events_of(client, session_id)
    assert_chained(events)
    assert len(events) == 1 + len(accepted)
    # Every accepted call is one event, and answered with what that event left.
    by_sequence = {session["sequence"]: session for session in accepted}
    assert len(by_sequence) == len(accepted)
    for event in events[1:]:
        session = by_sequence[event["sequence"]]
        assert (session["state"], session["stage"]) == (event["newState"], event["newStage"])
    # Each client saw its own calls in the order it made them.
    for sessions, _ in answers:
        sequences = [session["sequence"] for session in sessions]
        assert sequences == sorted(sequences)
    last = client.call("GetSession", {"sessionId": session_id})
    assert last == by_sequence[len(events)]
    updates = [event for event in events if event["type"] == "UPDATED"]
    assert last["counters"] == {"total_tickets_generated": len(updates)} and len(updates) == 80


def test_a_step_that_many_take_at_once_is_taken_once(client):
    session_id = client.create()["sessionId"]
    advance = {"sessionId": session_id, "targetStage": "upload"}
    answers = at_once(32, lambda _: client.call("AdvanceSession", advance))
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert {a.reason for a in answers if isinstance(a, Refused)} == {"INVALID_TRANSITION"}
    assert types_of(client, session_id) == ["CREATED", "ADVANCED"]


def test_increments_from_sixteen_threads_lose_nothing(client):
    session_id = client.create()["sessionId"]

    def work(n):
        for i in range(20):
            client.call(
                "UpdateSession",
                {
                    "session": {"sessionId": session_id},
                    "counterIncrements": {"total_tickets_generated": n + 1},
                },
            )

    assert at_once(16, work) == [None] * 16
    session = client.call("GetSession", {"sessionId": session_id})
    assert session["counters"] == {"total_tickets_generated": 20 * sum(range(1, 17))}
    assert session["sequence"] == 1 + 16 * 20


def test_a_counter_does_not_leave_its_range(client):
    session_id = client.create()["sessionId"]

    def add(increment):
        return {
            "session": {"sessionId": session_id},
            "counterIncrements": {"total_tickets_generated": increment},
        }

    client.call("UpdateSession", add(2147483647))
    for increment in [1, 2147483647, -2147483648]:
        refusal = client.refusal("UpdateSession", add(increment))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "CONTEXT_VIOLATION")
    updated = client.call("UpdateSession", add(-2147483647))
    assert updated["counters"] == {"total_tickets_generated": 0}


# ------------------------------------------------------------------------------------------------
# lists, counts, look-ups


@pytest.mark.parametrize(
    "order", ["", "create_time", "owner_id", "owner_id desc", "status", "state desc"]
)
def test_pages_are_stable_while_others_create(client, namespace, order):
    owners = ["a", "b", "B", "\u00e4", "c"]
    created = [client.create(namespace=namespace, ownerId=owners[n % 5]) for n in range(25)]
    there = newest_first(created)
    stop = threading.Event()

    def create():
        for _ in range(300):  # Not for ever: the list goes on for as long as it is outrun.
            if stop.is_set():
                break
            client.create(namespace=namespace, ownerId="b")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        creating = [pool.submit(create) for _ in range(2)]
        try:
            found = listed(client, namespace=namespace, orderBy=order, pageSize=3)
        finally:
            stop.set()
        for each in creating:
            each.result()
    ids = [session["sessionId"] for session in found]
    assert len(ids) == len(set(ids))
    assert set(there) <= set(ids)
    if order in ("", "create_time"):
        mine = [session_id for session_id in ids if session_id in set(there)]
        assert mine == (there[::-1] if order else there)
    if order.startswith("owner_id"):
        keys = [session["ownerId"].encode() for session in found]  # Byte for byte, as owners are.
        assert keys == sorted(keys, reverse=order.endswith("desc"))


def test_a_page_holds_fifty_at_first_and_a_thousand_at_most(client, namespace):
    for _ in range(53):
        client.create(namespace=namespace)
    page = client.call("ListSessions", {"namespace": namespace})
    assert len(page["sessions"]) == 50
    page = client.call("ListSessions", {"namespace": namespace, "pageToken": page["nextPageToken"]})
    assert len(page["sessions"]) == 3 and "nextPageToken" not in page
    page = client.call("ListSessions", {"namespace": namespace, "pageSize": 2147483647})
    assert len(page["sessions"]) == 53 and "nextPageToken" not in page
    page = client.call("ListSessions", {"namespace": namespace, "pageSize": 53})
    assert len(page["sessions"]) == 53 and "nextPageToken" not in page


def test_a_page_of_large_sessions_ends_early(client, namespace):
    text = {"site_description": "\u00e4" * 2048, "site_name": "x" * 256}
    labels = {f"l{n}": "x" * 256 for n in range(64)}
    created = [client.create(namespace=namespace, context=text, labels=labels) for _ in range(200)]
    page = client.call("ListSessions", {"namespace": namespace, "pageSize": 1000})
    assert 0 < len(page["sessions"]) < 200 and page["nextPageToken"]
    assert [s["sessionId"] for s in listed(client, namespace=namespace, pageSize=1000)] == newest_first(created)


def test_a_lookup_of_a_thousand_answers_for_each_in_order(client):
    there = [client.create(workflow="execution") for _ in range(20)]
    gone = client.create()
    gone = client.call("DeleteSession", {"sessionId": gone["sessionId"], "force": True})
    kinds = [
        lambda n: (there[n % 20]["sessionId"], "OK"),
        lambda n: (f"session-{n}", "INVALID_FORMAT"),
        lambda n: (str(uuid.uuid4()), "NEVER_EXISTED"),
        lambda n: (gone["sessionId"], "DELETED"),
    ]
    asked = [kinds[n * 7 % 4](n) for n in range(1000)]
    results = client.call("LookupSessions", {"sessionIds": [i for i, _ in asked]})["results"]
    assert [(result["sessionId"], result["reason"]) for result in results] == asked
    by_id = {session["sessionId"]: session for session in there}
    for result in results:
        assert result.get("found", False) == (result["reason"] == "OK")
        assert result.get("session") == by_id.get(result["sessionId"])
        assert result.get("sinceTime") == (
            gone["deleteTime"] if result["reason"] == "DELETED" else None
        )


def test_sessions_are_counted_by_each_of_their_kinds(client, namespace):
    for n in range(4):
        client.create(namespace=namespace, ownerId="a" if n else "b")
    interview = client.create(namespace=namespace, workflow="interview", ownerId="a")
    client.create(namespace=namespace, workflow="execution", ownerId="c")
    client.call("PauseSession", {"sessionId": interview["sessionId"]})

    def count(group_by, **query):
        answer = client.call(
            "CountSessions", {"namespace": namespace, "groupBy": group_by, **query}
        )
        assert answer.get("total", 0) == sum(g["count"] for g in answer.get("groups", []))
        return [(g.get("value", ""), g["count"]) for g in answer.get("groups", [])]

    assert count("WORKFLOW") == [("ticket_export", 4), ("execution", 1), ("interview", 1)]
    assert count("STATE") == [("ACTIVE", 5), ("PAUSED", 1)]
    assert count("STAGE") == [("site_info_collection", 4), ("", 1), ("interviewing", 1)]
    assert count("STATUS") == [("active", 5), ("paused", 1)]
    assert count("OWNER_ID") == [("a", 4), ("b", 1), ("c", 1)]
    assert count("STATE", filter='workflow = "interview"') == [("PAUSED", 1)]
    assert count("STATE", filter='owner_id = "nobody"') == []
    assert client.call("CountSessions", {"namespace": namespace}) == {"total": 6}


def test_namespaces_are_apart_and_seen_together(client, namespace):
    one, other = namespace + "-1", namespace + "-2"
    ids = [client.create(namespace=each)["sessionId"] for each in (one, other)]
    query = {"filter": f'session_id = "{ids[0]}" OR session_id = "{ids[1]}"'}
    assert [s["sessionId"] for s in listed(client, namespace=one)] == [ids[0]]
    assert [s["sessionId"] for s in listed(client, namespace=other)] == [ids[1]]
    assert [s["sessionId"] for s in listed(client, namespace="-", **query)] == ids[::-1]
    assert listed(client, **query) == []
    assert client.call("GetSession", {"sessionId": ids[1]})["namespace"] == other


def test_an_event_says_who_and_why_and_what_changed(client):
    session = client.create(context={"site_name": "old"}, labels={"a": "1", "b": "2"})
    change = {
        "session": {
            "sessionId": session["sessionId"],
            "context": {"site_name": "new", "site_description": "not asked for"},
            "labels": {"a": "3"},
        },
        "updateMask": "context.siteName,labels.a,labels.b",
        "counterIncrements": {"total_tickets_generated": 5},
        "actor": "grace",
        "reason": "as \u00e4greed\n",
        "requestId": "change-1",
    }
    updated = client.call("UpdateSession", change)
    assert (updated["context"], updated["labels"]) == ({"site_name": "new"}, {"a": "3"})
    created, event = events_of(client, session["sessionId"])
    assert (created["trigger"], created["actor"]) == ("API_CALL", "anonymous")
    assert (event["trigger"], event["actor"], event["caller"]) == (
        "USER_ACTION",
        "grace",
        "anonymous",
    )
    assert (event["reason"], event["requestId"]) == ("as \u00e4greed\n", "change-1")
    assert event["changes"] == {
        "context.site_name": "new",
        "labels.a": "3",
        "labels.b": None,
        "counters.total_tickets_generated": 5,
    }
    assert event["eventTime"] == updated["updateTime"]
    assert updated["revision"] == updated["sequence"] == 2


def test_owners_labels_and_texts_come_back_byte_for_byte(client):
    for text in ["\u202eevil", "\u0440\u0430y\u200bpal", "A\u030a \u00c5", " x ", "'\"\\"]:
        session = client.create(ownerId=text, ownerDisplayName=text, labels={"a": text})
        read = client.call("GetSession", {"sessionId": session["sessionId"]})
        assert (read["ownerId"], read["ownerDisplayName"], read["labels"]["a"]) == (text,) * 3
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        [found] = listed(
            client, filter=f'session_id = "{read["sessionId"]}" AND owner_id = "{quoted}"'
        )
        assert found == read
