"""UpdateSession's plain fields, as JSON sends them: the same change as a mask's, on the wire and in
the audit.
"""

import uuid

import pytest
from test_scenarios import events_of

BOTH = [
    (
        {"setContext": {"site_name": "Berlin"}},
        {"session": {"context": {"site_name": "Berlin"}}, "updateMask": "context.siteName"},
    ),
    ({"removeContextKeys": ["site_name"]}, {"updateMask": "context.siteName"}),
    (
        {"setLabels": {"team": "a", "a.b": ""}},
        {"session": {"labels": {"team": "a", "a.b": ""}}, "updateMask": "labels.`a.b`,labels.team"},
    ),
    ({"removeLabelKeys": ["old", "never"]}, {"updateMask": "labels.never,labels.old"}),
]


def update(session_id, change):
    session = {**change.get("session", {}), "sessionId": session_id}
    return {**change, "session": session}


@pytest.mark.parametrize("plain, masked", BOTH, ids=lambda change: str(change)[:40])
def test_they_change_what_a_mask_changes(client, plain, masked):
    after = []
    for change in (plain, masked):
        session_id = client.create(context={"site_name": "Bonn"}, labels={"old": "o"})["sessionId"]
        session = client.call("UpdateSession", update(session_id, change))
        event = events_of(client, session_id)[-1]
        after.append(
            [session.get(name) for name in ("context", "labels", "revision")]
            + [event[name] for name in ("type", "changes", "sequence")]
        )
    assert after[0] == after[1]
    assert after[0][-2]


def test_keys_that_json_masks_cannot_name_survive(client):
    session_id = client.create()["sessionId"]
    request = {"session": {"sessionId": session_id}, "setLabels": {"a_1": "x", "step-2_b": "y"}}
    assert client.call("UpdateSession", request)["labels"] == {"a_1": "x", "step-2_b": "y"}
    request = {"session": {"sessionId": session_id}, "removeLabelKeys": ["a_1"]}
    assert client.call("UpdateSession", request)["labels"] == {"step-2_b": "y"}


def test_a_request_id_stands_for_the_change_in_either_form(client):
    session_id = client.create()["sessionId"]
    request = {
        "session": {"sessionId": session_id},
        "setLabels": {"team": "a"},
        "removeLabelKeys": ["b", "c"],
        "requestId": str(uuid.uuid4()),
    }
    changed = client.call("UpdateSession", request)
    assert client.call("UpdateSession", {**request, "removeLabelKeys": ["c", "b"]}) == changed
    masked = {
        "session": {"sessionId": session_id, "labels": {"team": "a"}},
        "updateMask": "labels.b,labels.c,labels.team",
        "requestId": request["requestId"],
    }
    assert client.call("UpdateSession", masked) == changed
    for other in [{"setLabels": {"team": "b"}}, {"removeLabelKeys": ["b"]}, {"setContext": {"site_name": "x"}}]:
        refusal = client.refusal("UpdateSession", {**request, **other})
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED"), other
    assert len(events_of(client, session_id)) == changed["sequence"]


REFUSED = [
    ({"setLabels": {"a": "1"}, "removeLabelKeys": ["a"]}, "INVALID_FIELD", "remove_label_keys[0]"),
    ({"setContext": {"site_name": "x"}, "removeContextKeys": ["site_name"]}, "INVALID_FIELD", "remove_context_keys[0]"),
    ({"setLabels": {"Team": "1"}}, "INVALID_FIELD", "set_labels.Team"),
    ({"setLabels": {"a": "1"}, "updateMask": "labels"}, "INVALID_FIELD_MASK", "update_mask"),
    ({"removeContextKeys": ["site_name"], "updateMask": "context.siteName"}, "INVALID_FIELD_MASK", "update_mask"),
    ({"setContext": {}}, "INVALID_FIELD_MASK", "update_mask"),
    ({"setContext": {"nope": 1}}, "CONTEXT_VIOLATION", "context.nope"),
    ({"setContext": {"site_name": 1}}, "CONTEXT_VIOLATION", "context.site_name"),
    ({"setContext": {"site_name": None}}, "CONTEXT_VIOLATION", "context.site_name"),
    ({"setReferences": {"nope": "1"}}, "CONTEXT_VIOLATION", "references.nope"),
]


@pytest.mark.parametrize("change, reason, field", REFUSED, ids=lambda value: str(value)[:40])
def test_they_are_refused_by_name(client, change, reason, field):
    session = client.create()
    refusal = client.refusal("UpdateSession", update(session["sessionId"], change))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)
    assert refusal.fields == [field]
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session


def test_of_a_session_that_is_over_they_change_labels_alone(client):
    session_id = client.create()["sessionId"]
    client.call("StopSession", {"sessionId": session_id})
    change = {"session": {"sessionId": session_id}, "setLabels": {"late": "1"}}
    assert client.call("UpdateSession", change)["labels"] == {"late": "1"}
    refusal = client.refusal("UpdateSession", {**change, "setContext": {"site_name": "x"}})
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SESSION_NOT_ACTIVE")
    assert "context.site_name" in refusal.sentence
