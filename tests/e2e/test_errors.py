"""Errors, and the artifacts they are about: recorded, resolved, counted, and what stays of them."""

import itertools
import uuid

import pytest
from conftest import Refused
from test_scenarios import assert_chained, at_once, events_of, types_of


@pytest.fixture
def session_id(client, namespace):
    session_id = client.create(namespace=namespace)["sessionId"]
    artifacts = [{"artifactId": "f", "kind": "FILE"}, {"artifactId": "t", "kind": "TICKET"}]
    client.call("AddArtifacts", {"sessionId": session_id, "artifacts": artifacts})
    return session_id


def record(client, session_id, request_id="", **fields):
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Try again.", **fields}
    request = {"sessionId": session_id, "error": error, "requestId": request_id}
    return client.call("RecordError", request)


def resolve(client, session_id, error, **fields):
    return client.call("ResolveError", {"sessionId": session_id, "errorId": error["errorId"], **fields})


def found(client, **query):
    return [error["errorId"] for error in client.read_all("ListErrors", "errors", **query)]


def blocked(client, session_id):
    return client.call("GetSession", {"sessionId": session_id}).get("hasBlockingErrors", False)


# ------------------------------------------------------------------------------------------------
# one error


def test_what_was_recorded_comes_back(client, session_id):
    given = {
        "category": "USER_FIXABLE",
        "severity": "WARNING",
        "operationStage": "upload",
        "relatedFileId": "f",
        "relatedTicketId": "t",
        "userMessage": "The file \u201ca\u201d\ncannot be read. \U0001f4c4",
        "recoveryActions": ["Save it as PDF.", "Send it again.", "Save it as PDF."],
        "technicalDetails": {"exception": {"type": "ValueError", "args": [1, None, True]}},
        "errorCode": "E_READ",
    }
    output_only = {"errorId": str(uuid.uuid4()), "sessionId": "x", "resolver": "me", "resolution": "done"}
    recorded = record(client, session_id, **given, **output_only, resolveTime="2020-01-01T00:00:00Z")
    assert {key: recorded[key] for key in given} == given
    assert recorded["sessionId"] == session_id
    assert recorded["errorId"] != output_only["errorId"]
    assert recorded.keys() == given.keys() | {"errorId", "sessionId", "createTime", "age"}
    read = client.call("GetError", {"sessionId": session_id, "errorId": recorded["errorId"]})
    assert {**read, "age": ""} == {**recorded, "age": ""}
    assert float(read["age"].rstrip("s")) >= float(recorded["age"].rstrip("s"))
    [listed] = client.call("ListErrors", {"sessionId": session_id})["errors"]
    assert {**listed, "age": ""} == {**recorded, "age": ""}
    assert record(client, session_id)["operationStage"] == "site_info_collection"


def test_an_error_is_resolved_once_and_by_somebody(client, session_id):
    for fields, resolver in [({"actor": "grace"}, "grace"), ({}, "anonymous")]:
        error = record(client, session_id)
        resolved = resolve(client, session_id, error, resolution="turned it off and on", **fields)
        assert (resolved["resolver"], resolved["resolution"]) == (resolver, "turned it off and on")
        refusal = client.refusal("ResolveError", {"sessionId": session_id, "errorId": error["errorId"]})
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "ALREADY_RESOLVED")
        assert refusal.metadata["resolve_time"] == resolved["resolveTime"]
    answers = [record(client, session_id) for _ in range(2)]
    for error in answers:
        at = at_once(8, lambda _: resolve(client, session_id, error))
        assert sum(isinstance(answer, dict) for answer in at) == 1
        assert {a.reason for a in at if isinstance(a, Refused)} == {"ALREADY_RESOLVED"}
    assert types_of(client, session_id).count("ERROR_RESOLVED") == 4


@pytest.mark.parametrize("end", ["StopSession", "FailSession", "DeleteSession"])
def test_late_diagnoses_are_taken_as_long_as_it_is_not_deleted(client, session_id, end):
    client.call(end, {"sessionId": session_id, **({"force": True} if end == "DeleteSession" else {})})
    if end == "DeleteSession":
        error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "x"}
        refusal = client.refusal("RecordError", {"sessionId": session_id, "error": error})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DELETED")
        return
    error = record(client, session_id, severity="BLOCKING")
    assert blocked(client, session_id)
    resolve(client, session_id, error)
    assert not blocked(client, session_id)


def test_whether_errors_block_is_always_true_to_them(client, session_id):
    first, second = (record(client, session_id, severity="BLOCKING") for _ in range(2))
    record(client, session_id, severity="WARNING")
    advance = {"sessionId": session_id, "targetStage": "upload"}
    for error, count in [(first, 2), (second, 1)]:
        assert blocked(client, session_id)
        refusal = client.refusal("AdvanceSession", advance)
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "count": str(count),
            "first_error_id": error["errorId"],
        }
        resolve(client, session_id, error)
    assert not blocked(client, session_id)
    query = {"filter": f'session_id = "{session_id}" AND has_blocking_errors = false', "namespace": "-"}
    assert client.call("CountSessions", query) == {"total": 1}
    assert client.call("AdvanceSession", advance)["stage"] == "upload"


def test_more_blocking_errors_than_anybody_counts_are_counted(client, session_id):
    errors = [record(client, session_id, severity="BLOCKING") for _ in range(130)]
    advance = {"sessionId": session_id, "targetStage": "upload"}
    for left in range(130, 0, -1):
        if left % 10 == 0 or left < 4:
            refusal = client.refusal("AdvanceSession", advance)
            assert refusal.metadata["count"] == str(left)
            assert refusal.metadata["first_error_id"] == errors[0]["errorId"]
        resolve(client, session_id, errors.pop(0))
    assert client.call("AdvanceSession", advance)["stage"] == "upload"


def test_a_workflow_that_does_not_say_so_is_not_blocked(client):
    session = {"workflow": "interview", "ownerId": "u1"}
    session_id = client.call("CreateSession", {"session": session})["sessionId"]
    record(client, session_id, severity="BLOCKING")
    assert blocked(client, session_id)
    advance = {"sessionId": session_id, "targetStage": "completed"}
    assert client.call("AdvanceSession", advance)["status"] == "completed"


def test_recording_and_resolving_are_replayed(client, session_id):
    request_id = str(uuid.uuid4())
    recorded = record(client, session_id, request_id, severity="BLOCKING")
    again = record(client, session_id, request_id, severity="BLOCKING")
    assert again["errorId"] == recorded["errorId"]
    request = {"sessionId": session_id, "errorId": recorded["errorId"], "requestId": "resolve-1"}
    resolved = client.call("ResolveError", request)
    assert client.call("ResolveError", request)["resolveTime"] == resolved["resolveTime"]
    # As it stands now.
    assert record(client, session_id, request_id, severity="BLOCKING")["resolveTime"] == resolved["resolveTime"]
    with pytest.raises(Refused, match="REQUEST|request_id"):
        record(client, session_id, request_id)
    assert types_of(client, session_id)[2:] == ["ERROR_RECORDED", "ERROR_RESOLVED"]


def test_an_error_changes_the_etag(client, session_id):
    etag = client.call("GetSession", {"sessionId": session_id})["etag"]
    record(client, session_id)
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "x"}
    refusal = client.refusal("RecordError", {"sessionId": session_id, "error": error, "etag": etag})
    assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")


# ------------------------------------------------------------------------------------------------
# many


def test_errors_are_found_by_all_that_they_are(client, session_id, namespace):
    kinds = list(itertools.product(["USER_FIXABLE", "ADMIN_REQUIRED", "TEMPORARY"], ["BLOCKING", "WARNING", "INFO"]))
    errors = {kind: record(client, session_id, category=kind[0], severity=kind[1]) for kind in kinds}
    links = {
        "relatedFileId": record(client, session_id, relatedFileId="f", errorCode="E1"),
        "relatedTicketId": record(client, session_id, relatedTicketId="t", operationStage="review"),
    }
    other = client.create(namespace=namespace)["sessionId"]
    there = record(client, other, errorCode="E1")
    gone = client.create(namespace=namespace)["sessionId"]
    hidden = record(client, gone)
    client.call("DeleteSession", {"sessionId": gone, "force": True})
    resolve(client, session_id, errors[kinds[0]])

    ids = [error["errorId"] for error in [*errors.values(), *links.values()]]
    here = {"sessionId": session_id}
    assert found(client, **here) == found(client, **here, pageSize=2) == ids[::-1]
    for what, value in [("category", 0), ("severity", 1)]:
        for name in {kind[value] for kind in kinds}:
            expected = [errors[kind]["errorId"] for kind in kinds if kind[value] == name]
            answer = found(client, **here, filter=f'{what} = "{name}"', pageSize=4)
            assert [i for i in answer if i in expected] == expected[::-1]
    one = {key: [error["errorId"]] for key, error in links.items()}
    assert found(client, **here, filter='related_file_id = "f"') == one["relatedFileId"]
    assert found(client, **here, filter='related_ticket_id = "t"') == one["relatedTicketId"]
    assert found(client, **here, filter='operation_stage = "review"') == one["relatedTicketId"]
    assert found(client, **here, filter="resolved = true") == ids[:1]
    assert found(client, **here, filter='severity = "BLOCKING" AND resolved = false') == [ids[6], ids[3]]
    everywhere = {"namespace": namespace}
    assert found(client, **everywhere, filter='error_code = "E1"') == [there["errorId"], *one["relatedFileId"]]
    assert found(client, **everywhere, pageSize=3) == [there["errorId"], *ids[::-1]]
    assert found(client, **everywhere, includeDeleted=True)[0] == hidden["errorId"]
    assert found(client, filter=f'error_id = "{ids[0]}"') == []
    assert found(client, namespace="-", filter=f'error_id = "{ids[0]}"') == ids[:1]
    refusal = client.refusal("ListErrors", {"sessionId": gone})
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DELETED")
    assert found(client, sessionId=gone, includeDeleted=True) == [hidden["errorId"]]
    assert client.refusal("ListErrors", {"sessionId": str(uuid.uuid4())}).reason == "NEVER_EXISTED"


def test_errors_are_summed_up(client, session_id, namespace):
    other = client.create(namespace=namespace)["sessionId"]
    for each in (session_id, session_id, other):
        record(client, each, category="TEMPORARY", severity="WARNING", errorCode="TIMEOUT")
    single = record(client, other, category="USER_FIXABLE", severity="BLOCKING", errorCode="E1")
    resolve(client, other, single)
    summary = client.call("SummarizeErrors", {"namespace": namespace})
    assert summary["counts"] == [
        {"category": "USER_FIXABLE", "severity": "BLOCKING", "count": 1},
        {"category": "TEMPORARY", "severity": "WARNING", "count": 3, "openCount": 3},
    ]
    assert (summary["total"], summary["openTotal"]) == (4, 3)
    assert summary["patterns"][0] == {
        "workflow": "ticket_export",
        "operationStage": "site_info_collection",
        "category": "TEMPORARY",
        "errorCode": "TIMEOUT",
        "count": 3,
        "sessionCount": 2,
    }
    one = client.call("SummarizeErrors", {"sessionId": session_id})
    assert (one["total"], one["patterns"][0]["count"]) == (2, 2)
    filtered = client.call("SummarizeErrors", {"namespace": namespace, "filter": 'category = "USER_FIXABLE"'})
    assert filtered["total"] == 1 and "openTotal" not in filtered
    client.call("DeleteSession", {"sessionId": other, "force": True})
    assert client.call("SummarizeErrors", {"namespace": namespace})["total"] == 2
    assert client.call("SummarizeErrors", {"namespace": namespace, "includeDeleted": True})["total"] == 4
    assert client.call("SummarizeErrors", {"namespace": namespace + "-none"}) == {}


def test_the_full_view_shows_the_newest_hundred(client, session_id):
    artifacts = [{"artifactId": f"file-{n:03}", "kind": "FILE"} for n in range(105)]
    for artifact in artifacts:
        client.call("AddArtifacts", {"sessionId": session_id, "artifacts": [artifact]})
    errors = [record(client, session_id)["errorId"] for _ in range(104)]
    resolve(client, session_id, {"errorId": errors.pop()})
    full = client.call("GetSession", {"sessionId": session_id, "view": "FULL"})
    assert [error["errorId"] for error in full["openErrors"]] == errors[:-101:-1]
    newest = [artifact["artifactId"] for artifact in artifacts[:-101:-1]]
    assert [file["artifactId"] for file in full["files"]] == newest
    for view in ["BASIC", "VIEW_UNSPECIFIED"]:
        basic = client.call("GetSession", {"sessionId": session_id, "view": view})
        assert not basic.keys() & {"files", "openErrors"}
        assert {key: full[key] for key in basic} == basic


def test_a_full_view_of_the_largest_session_still_fits(client, session_id):
    details = {"a": "x" * 65_000}
    for _ in range(80):
        record(client, session_id, technicalDetails=details)
    artifact = {"kind": "FILE", "metadata": details}
    for _ in range(4):
        client.call("AddArtifacts", {"sessionId": session_id, "artifacts": [artifact] * 20})
    full = client.call("GetSession", {"sessionId": session_id, "view": "FULL"})
    assert full["openErrors"] and full["files"]
    assert len(found(client, sessionId=session_id, pageSize=1000)) == 80  # Its pages end early.


# ------------------------------------------------------------------------------------------------
# artifacts


def test_an_error_outlives_what_it_was_about(client, session_id):
    both = record(client, session_id, relatedFileId="f", relatedTicketId="t", severity="BLOCKING")
    left = client.call("DeleteArtifact", {"sessionId": session_id, "artifactId": "f"})["session"]
    assert left == client.call("GetSession", {"sessionId": session_id})
    read = client.call("GetError", {"sessionId": session_id, "errorId": both["errorId"]})
    assert "relatedFileId" not in read and read["relatedTicketId"] == "t"
    assert blocked(client, session_id)
    refusal = client.refusal("DeleteArtifact", {"sessionId": session_id, "artifactId": "f"})
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ARTIFACT_NOT_FOUND")
    # An id that is free again is somebody else's: it brings no link back.
    client.call("AddArtifacts", {"sessionId": session_id, "artifacts": [{"artifactId": "f", "kind": "TICKET"}]})
    read = client.call("GetError", {"sessionId": session_id, "errorId": both["errorId"]})
    assert "relatedFileId" not in read
    assert_chained(events_of(client, session_id))


def test_artifacts_are_replayed_with_those_that_are_left(client, session_id):
    artifacts = [{"artifactId": "one", "kind": "FILE"}, {"kind": "TICKET"}, {"artifactId": "a\u2028b", "kind": "FILE"}]
    request = {"sessionId": session_id, "artifacts": artifacts, "requestId": str(uuid.uuid4())}
    added = client.call("AddArtifacts", request)["artifacts"]
    assert client.call("AddArtifacts", request)["artifacts"] == added
    delete = {"sessionId": session_id, "artifactId": "one", "requestId": str(uuid.uuid4())}
    client.call("DeleteArtifact", delete)
    assert client.call("AddArtifacts", request)["artifacts"] == added[1:]
    client.call("DeleteArtifact", delete)
    assert types_of(client, session_id).count("ARTIFACT_DELETED") == 1


@pytest.mark.parametrize("state", ["CREATING", "PAUSED", "failed", "STOPPED"])
def test_artifacts_are_taken_until_the_end(client, state):
    creating = state == "CREATING"
    session = {"workflow": "ticket_export", "ownerId": "u", "ownerDisplayName": "U"}
    session_id = client.call("CreateSession", {"session": session, "creating": creating})["sessionId"]
    verbs = {"PAUSED": "PauseSession", "failed": "FailSession", "STOPPED": "StopSession"}
    if state in verbs:
        client.call(verbs[state], {"sessionId": session_id})
    add = {"sessionId": session_id, "artifacts": [{"artifactId": "a", "kind": "FILE"}]}
    if state == "STOPPED":
        for method, request in [("AddArtifacts", add), ("DeleteArtifact", {**add, "artifactId": "a"})]:
            request = {key: request[key] for key in request if method == "AddArtifacts" or key != "artifacts"}
            refusal = client.refusal(method, request)
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SESSION_NOT_ACTIVE")
        return
    client.call("AddArtifacts", add)
    client.call("DeleteArtifact", {"sessionId": session_id, "artifactId": "a"})
    assert client.call("ListArtifacts", {"sessionId": session_id}) == {}
