"""A client in another language, against the daemon as it is shipped."""

import re
import uuid

import pytest
from conftest import Refused, newest_first

STAGES = ["upload", "processing", "review", "jira_export", "completed"]


def test_a_session_goes_from_its_first_stage_to_its_last_and_its_events_tell_so(client):
    session = client.create(context={"jira_project_key": "SITE"})
    assert session["state"] == "ACTIVE"
    assert session["stage"] == "site_info_collection"
    for stage in STAGES:
        assert session["nextStage"] == stage
        session = client.call(
            "AdvanceSession", {"sessionId": session["sessionId"], "targetStage": stage}
        )
    assert (session["state"], session["status"]) == ("STOPPED", "completed")

    events = client.call("ListSessionEvents", {"sessionId": session["sessionId"]})["events"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == ["CREATED"] + ["ADVANCED"] * 5 + ["COMPLETED"]


def test_every_miss_says_why(client):
    deleted = client.create()["sessionId"]
    client.call("DeleteSession", {"sessionId": deleted, "force": True})
    for session_id, code, reason in [
        ("session-1", "INVALID_ARGUMENT", "INVALID_FORMAT"),
        (str(uuid.uuid4()), "NOT_FOUND", "NEVER_EXISTED"),
        ("exec_20259999_999999_4ad060d9", "NOT_FOUND", "NEVER_EXISTED"),
        (deleted, "NOT_FOUND", "DELETED"),
    ]:
        with pytest.raises(Refused) as refused:
            client.call("GetSession", {"sessionId": session_id})
        assert (refused.value.code, refused.value.reason) == (code, reason)
        assert refused.value.metadata["session_id"] == session_id

    ids = ["session-1", str(uuid.uuid4()), deleted]
    results = client.call("LookupSessions", {"sessionIds": ids})["results"]
    assert [result["sessionId"] for result in results] == ids
    assert [result["reason"] for result in results] == ["INVALID_FORMAT", "NEVER_EXISTED", "DELETED"]


def test_a_refused_transition_names_where_from_where_to_and_what_is_allowed(client):
    session = client.create()
    with pytest.raises(Refused) as refused:
        client.call("ResumeSession", {"sessionId": session["sessionId"]})
    assert refused.value.code == "FAILED_PRECONDITION"
    assert refused.value.reason == "INVALID_TRANSITION"
    assert refused.value.sentence.startswith("Cannot transition from ")
    assert refused.value.metadata["from"] == "ACTIVE"
    assert refused.value.metadata["category"] == "USER_FIXABLE"


def test_all_that_is_wrong_with_a_request_is_said_at_once(client):
    with pytest.raises(Refused) as refused:
        client.call(
            "CreateSession",
            {"session": {"workflow": "ticket_export", "ownerId": "x" * 257, "namespace": "No!"}},
        )
    assert refused.value.reason == "INVALID_FIELD"
    fields = [v["field"] for v in refused.value.details["BadRequest"]["fieldViolations"]]
    assert {"session.owner_id", "session.namespace"} <= set(fields)


def test_a_request_id_takes_effect_once(client):
    request = {
        "session": {"workflow": "execution", "ownerId": "once"},
        "requestId": str(uuid.uuid4()),
    }
    first = client.call("CreateSession", request)
    assert re.fullmatch(r"exec_\d{8}_\d{6}_[a-f0-9]{8}", first["sessionId"])
    assert client.call("CreateSession", request) == first
    with pytest.raises(Refused) as refused:
        client.call("CreateSession", {**request, "reason": "another payload"})
    assert refused.value.reason == "REQUEST_ID_REUSED"


def test_a_stale_etag_changes_nothing(client):
    session = client.create()
    change = {"sessionId": session["sessionId"], "etag": session["etag"]}
    paused = client.call("PauseSession", change)
    with pytest.raises(Refused) as refused:
        client.call("StopSession", change)
    assert (refused.value.code, refused.value.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata["current_etag"] == paused["etag"]


def test_a_list_is_read_page_by_page_to_its_end(client):
    owner = f"pages-{uuid.uuid4()}"
    created = [client.create(ownerId=owner) for _ in range(7)]
    of_owner = {"filter": f'owner_id = "{owner}"'}
    listed = client.read_all("ListSessions", "sessions", **of_owner, pageSize=3)
    assert [session["sessionId"] for session in listed] == newest_first(created)
    count = client.call("CountSessions", {**of_owner, "groupBy": "STATE"})
    assert count == {"groups": [{"value": "ACTIVE", "count": 7}], "total": 7}


def test_a_filter_that_cannot_be_understood_is_refused_with_its_position(client):
    with pytest.raises(Refused) as refused:
        client.call("ListSessions", {"filter": 'owner = "u1"'})
    assert refused.value.reason == "INVALID_FILTER"
    assert refused.value.metadata["position"] == "0"


def test_what_was_acknowledged_survives_a_killed_daemon(own_daemon):
    client = own_daemon.start()
    sessions = [client.create(labels={"n": str(n)}) for n in range(20)]
    own_daemon.kill()
    client = own_daemon.start()
    for session in sessions:
        assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session


def test_sigterm_ends_it_cleanly_and_its_data_is_there_the_next_time(own_daemon):
    client = own_daemon.start()
    session = client.create()
    assert own_daemon.stop() == 0
    client = own_daemon.start()
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session
