"""Bad input: each of it gets its exact refusal, and nothing of it has any effect.

What is refused is aimed at a session that exists; what must be taken, however odd it is, at one
that does not, so that an answer NEVER_EXISTED says that all checks were passed.
"""

import json
import socket
import uuid

import grpc
import http2
import pytest
import wire
from bad_requests import (
    BADS,
    CONTRACT,
    MESSAGE_BYTES_MAX,
    METHODS,
    NAMESPACE,
    NOBODY,
    VICTIM,
    base_bytes,
    malformed_ids,
    odd,
    send,
)
from conftest import CALL_SECONDS, Refused
from watching import Watch


@pytest.fixture(scope="module", autouse=True)
def victim(client):
    session = {
        "workflow": "ticket_export",
        "namespace": NAMESPACE,
        "ownerId": "u",
        "ownerDisplayName": "U",
    }
    return client.call("CreateSession", {"session": session, "sessionId": VICTIM})


def path_of(method):
    return "/" + CONTRACT.full(method)


def assert_refused(refused, code, reason, field=None, category="USER_FIXABLE"):
    assert (refused.code, refused.reason) == (code, reason), refused
    assert refused.sentence
    assert refused.metadata["category"] == category
    if field is None:
        return
    first = refused.fields[0] if refused.fields else ""
    if field.endswith("*"):
        assert first.startswith(field[:-1])
    else:
        assert first == field


@pytest.mark.parametrize("bad", BADS, ids=lambda bad: f"{bad.method}: {bad.what}")
def test_it_is_refused(client, bad):
    if bad.method == "ImportSessions":
        return assert_import_refused(client, bad)
    with pytest.raises(Refused) as refused:
        bad.send(client)
    assert_refused(refused.value, bad.code, bad.reason, bad.field, bad.category)
    assert refused.value.sentence.startswith(bad.words)


def assert_import_refused(client, bad):
    """It goes on behind what it cannot take, and says why in its answer."""
    answer = CONTRACT.method("ImportSessions")[1].FromString(bad.send(client))
    result = answer.DESCRIPTOR.enum_types_by_name["Result"].values_by_number[answer.result].name
    assert (result, answer.reason) == ("REFUSED", bad.reason), answer
    if bad.reason == "INVALID_FIELD":
        assert answer.description.startswith(bad.words or bad.field.rstrip("*")), answer


# ------------------------------------------------------------------------------------------------
# what must be taken


def outcome(client, method, request):
    """The code and the reason of an answer."""
    try:
        answer = send(client, method, request)
    except Refused as refused:
        return refused.code, refused.reason
    if method == "ImportSessions":
        return "OK", CONTRACT.method(method)[1].FromString(answer).reason
    return "OK", None


@pytest.mark.parametrize("method", METHODS)
def test_what_is_odd_but_sound_is_answered_as_any_other(client, method):
    sound = base_bytes(method, NOBODY)
    expected = outcome(client, method, sound)
    assert expected in [
        ("OK", None),
        ("NOT_FOUND", "NEVER_EXISTED"),
        ("INVALID_ARGUMENT", "UNKNOWN_WORKFLOW"),
        ("INVALID_ARGUMENT", "INVALID_WORKFLOW"),
        ("OK", "UNKNOWN_WORKFLOW"),
    ]
    assert outcome(client, method, sound + sound) == expected  # What is given twice merges.
    for what, request in odd(method):
        if "session.workflow" not in what:
            assert outcome(client, method, request) == expected, what


@pytest.mark.parametrize("method", METHODS)
def test_what_nothing_is_given_to_names_what_it_needs(client, method):
    needs = {
        "CreateSession": ("INVALID_FIELD", "session.workflow"),
        "LookupSessions": ("INVALID_FIELD", "session_ids"),
        "UpdateSession": ("INVALID_FORMAT", "session.session_id"),
        "ListRecoverableSessions": ("INVALID_FIELD", "owner_id"),
        "GetWorkflow": ("INVALID_FIELD", "name"),
        "CreateWorkflow": ("INVALID_WORKFLOW", "workflow.name"),
        "ValidateWorkflow": ("INVALID_FIELD", "workflow"),
        "EraseOwner": ("INVALID_FIELD", "owner_id"),
        "DetachReference": ("INVALID_FIELD", "name"),
    }
    all_of_them = {"ListErrors", "SummarizeErrors"}
    if "session_id" in METHODS[method].fields_by_name and method not in all_of_them:
        needs.setdefault(method, ("INVALID_FORMAT", "session_id"))
    if method == "ImportSessions":
        assert outcome(client, method, b"") == ("OK", "INVALID_FORMAT")
        return
    if method not in needs:
        assert outcome(client, method, b"") == ("OK", None)
        return
    with pytest.raises(Refused) as refused:
        send(client, method, b"")
    assert_refused(refused.value, "INVALID_ARGUMENT", *needs[method])


# ------------------------------------------------------------------------------------------------
# what each method has of its own


def test_all_that_is_wrong_is_named_but_a_bad_id_comes_first(client):
    wrong = {"etag": "two words", "actor": "\x01", "reason": "x" * 4097, "requestId": "\u0440"}
    refusal = client.refusal("AdvanceSession", {"sessionId": VICTIM, "targetStage": "NO", **wrong})
    assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert sorted(refusal.fields) == ["actor", "etag", "reason", "request_id", "target_stage"]
    refusal = client.refusal("AdvanceSession", {"sessionId": "no", **wrong})
    assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_FORMAT", "session_id")


def test_a_refusal_echoes_what_was_sent_only_escaped_and_cut(client):
    for session_id in ["\x1b[2J" * 300, "\u202e" * 1000, "\n{\"level\":\"error\"}", "x" * 100_000]:
        with pytest.raises(Refused) as refused:
            client.call("GetSession", {"sessionId": session_id})
        assert refused.value.sentence.isprintable()
        assert len(refused.value.sentence) < 1024
        assert len(refused.value.metadata["session_id"]) <= 4 * 64


def test_an_id_of_another_workflow_s_format_is_refused_before_it_is_used(client):
    for workflow, session_id in [
        ("ticket_export", "exec_20251230_020944_4ad060d9"),
        ("interview", "exec_20251230_020944_4ad060d9"),
        ("execution", "5a4b3c2d-1e0f-4a9b-8c7d-6e5f4a3b2c1d"),
    ]:
        with pytest.raises(Refused) as refused:
            client.call(
                "CreateSession",
                {
                    "session": {"workflow": workflow, "namespace": NAMESPACE, "ownerId": "u"},
                    "sessionId": session_id,
                },
            )
        assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FORMAT", "session_id")


@pytest.mark.parametrize(
    "session_id",
    ["exec_20259999_999999_4ad060d9", "exec_00000000_000000_00000000", "ffffffff-" + NOBODY[9:]],
)
def test_an_id_that_only_cannot_be_is_well_formed(client, session_id):
    refusal = client.refusal("GetSession", {"sessionId": session_id})
    assert_refused(refusal, "NOT_FOUND", "NEVER_EXISTED")


def test_a_malformed_id_is_counted(client, daemon):
    before = daemon.metric("sessiond_invalid_ids_total")
    for _ in range(3):
        client.refusal("GetSession", {"sessionId": "session-1"})
    assert daemon.metric("sessiond_invalid_ids_total") == before + 3


def test_a_lookup_answers_for_each_of_the_worst_ids(client):
    wrong = [bad.request for bad in malformed_ids("GetSession")]
    request_type = CONTRACT.method("sessiond.v1.SessionService/GetSession")[0]
    ids = [request_type.FromString(request).session_id for request in wrong]
    ids = [VICTIM, NOBODY, *ids, "\0", "x" * 100_000, VICTIM]
    results = client.call("LookupSessions", {"sessionIds": ids})["results"]
    assert [result.get("sessionId", "") for result in results] == ids
    reasons = ["OK", "NEVER_EXISTED", *["INVALID_FORMAT"] * (len(wrong) + 2), "OK"]
    assert [result["reason"] for result in results] == reasons
    assert [result.get("found", False) for result in results] == [r == "OK" for r in reasons]


def test_a_lookup_takes_a_thousand_ids_and_no_more(client):
    assert len(client.call("LookupSessions", {"sessionIds": [VICTIM] * 1000})["results"]) == 1000
    refusal = client.refusal("LookupSessions", {"sessionIds": [NOBODY] * 1001})
    assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_FIELD", "session_ids")


@pytest.mark.parametrize(
    "paths",
    [
        [],
        [""],
        ["*"],
        ["nope"],
        ["state"],
        ["status"],
        ["stage"],
        ["session_id"],
        ["namespace"],
        ["etag"],
        ["counters.total_tickets_generated"],
        ["hold.x"],
        ["labels."],
        ["labels.a.b"],
        ["labels.a b"],
        ["labels.`a"],
        ["labels.``"],
        ["labels.a); DROP TABLE sessions;--"],
        ["labels", "labels.a"],
        ["labels.a", "labels.a"],
        ["hold", "nope"],
        [f"labels.k{n}" for n in range(257)],
    ],
    ids=lambda paths: ",".join(paths)[:40] or "nothing",
)
def test_an_update_mask_that_names_nothing_to_set_is_refused(client, paths):
    request_type = CONTRACT.method("sessiond.v1.SessionService/UpdateSession")[0]
    request = request_type()
    request.session.session_id = VICTIM
    request.session.hold = True
    request.update_mask.paths.extend(paths)
    with pytest.raises(Refused) as refused:
        client.send(path_of("UpdateSession"), request.SerializeToString())
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FIELD_MASK", "update_mask")
    assert refused.value.metadata["path"] in [*paths, ""]


CONTEXTS = [
    ({"nope": 1}, ["context.nope"]),
    ({"site_name": 1}, ["context.site_name"]),
    ({"site_name": None}, ["context.site_name"]),
    ({"site_name": ["a"]}, ["context.site_name"]),
    ({"site_name": "x" * 257}, ["context.site_name"]),
    ({"site_name": "\u00e4" * 129}, ["context.site_name"]),
    ({"llm_provider_choice": "OpenAI"}, ["context.llm_provider_choice"]),
    ({"llm_provider_choice": ""}, ["context.llm_provider_choice"]),
    ({"a": 1, "site_name": 2, "z": 3}, ["context.a", "context.site_name", "context.z"]),
]


@pytest.mark.parametrize("context, fields", CONTEXTS, ids=lambda value: str(value)[:40])
def test_a_context_that_the_workflow_does_not_have_is_refused(client, context, fields):
    session = {"workflow": "ticket_export", "namespace": NAMESPACE, "context": context}
    for method, request in [
        ("CreateSession", {"session": {**session, "ownerId": "u", "ownerDisplayName": "U"}}),
        (
            "UpdateSession",
            {"session": {"sessionId": VICTIM, "context": context}, "updateMask": "context"},
        ),
    ]:
        refusal = client.refusal(method, request)
        assert_refused(refusal, "INVALID_ARGUMENT", "CONTEXT_VIOLATION", fields[0])
        assert refusal.fields == fields
        assert refusal.metadata["workflow"] == "ticket_export"


def test_references_and_counters_that_the_workflow_does_not_have_are_refused(client):
    tickets = "total_tickets_generated"
    for change, field in [
        ({"session": {"references": {"nope": "1"}}, "updateMask": "references"}, "references.nope"),
        ({"counterIncrements": {"nope": 1}}, "counter_increments.nope"),
        ({"counterIncrements": {tickets: -1}}, f"counter_increments.{tickets}"),
    ]:
        request = {**change, "session": {**change.get("session", {}), "sessionId": VICTIM}}
        refusal = client.refusal("UpdateSession", request)
        assert_refused(refusal, "INVALID_ARGUMENT", "CONTEXT_VIOLATION", field)


FILTERS = [
    ("' OR 1=1--", 0),
    ("1=1", 0),
    ("owner = \"u\"", 0),
    ("owner_id = \"u\" OR 1=1", 18),
    ("owner_id = \"u\"; DROP TABLE sessions", 14),
    ("(" * 4000, 16),
    ("NOT " * 1000, 4),
    ("hold = true " * 65, 12 * 64),
    ("owner_id", 8),
    ("owner_id =", 10),
    ("owner_id = \"u", 11),
    ("owner_id = \"u\\n\"", 13),
    ("owner_id > \"u\"", 9),
    ("owner_id.x = \"u\"", 8),
    ("owner_id = \"u\" AND", 18),
    ("owner_id = \"u\" and hold = true", 15),
    ("AND", 0),
    ("()", 1),
    ("hold = maybe", 7),
    ("hold = \"' OR true--\"", 7),
    ("state = \"BROKEN\"", 8),
    ("state = 1", 8),
    ("state = STATE_UNSPECIFIED", 8),
    ("workflow_revision = \"x\"", 20),
    ("workflow_revision = 1e3", 20),
    ("workflow_revision = 99999999999999999999", 20),
    ("create_time > \"now\"", 14),
    ("create_time > \"infinity\"", 14),
    ("create_time > \"2026-01-01\"", 14),
    ("create_time > \"2026-02-30T00:00:00Z\"", 14),
    ("create_time > \"10000-01-01T00:00:00Z\"", 14),
    ("create_time > \"0000-01-01T00:00:00Z\"", 14),
    ("create_time:*", 11),
    ("labels = \"x\"", 6),
    ("labels. = \"x\"", 7),
    ("labels.\"\" = \"x\"", 7),
    ("counters.a = \"x\"", 13),
    ("owner_id = \"\x01\"", 12),
    ("\u2028owner_id = \"u\"", 0),
]


@pytest.mark.parametrize("text, position", FILTERS, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("method", ["ListSessions", "CountSessions"])
def test_a_filter_that_cannot_be_understood_names_the_position(client, method, text, position):
    refusal = client.refusal(method, {"namespace": NAMESPACE, "filter": text})
    assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_FILTER")
    assert refusal.metadata["position"] == str(position)
    assert len(refusal.sentence) < 1024


@pytest.mark.parametrize(
    "text",
    [
        'owner_id = "%"',
        'owner_id = "_"',
        'owner_id = "*"',
        "owner_id = \"' OR true--\"",
        'owner_id = "\\" OR true--"',
        'owner_id = "$1"',
        "workflow_revision = 9223372036854775807",
        "workflow_revision < -9223372036854775808",
        "workflow_revision > 2147483648",
        "counters.total_tickets_generated > 9223372036854775807",
        "counters.total_tickets_generated = -9223372036854775808",
        "counters.nope = 1",
        "context.site_name > 1",
        "context.site_name = true",
        "context.site_name = 1e400",
        "context.site_name = 1e308",
        "context.site_name < -1e-320",
        "context.\"'; DROP TABLE sessions;--\" = 1",
        'context."a\\"b" = "x"',
        'context."{a,b}" = "x"',
        'labels."$.a[*]" = "x"',
        'references.job_posting = "%"',
        'create_time > "9999-12-31T23:59:59.999999999Z"',
        'create_time < "0001-01-01T00:00:00Z"',
        'create_time < "2026-01-01T00:00:00+99:99"',
        'session_id = "not an id"',
        'owner_id = "' + "x" * 4000 + '"',
        " OR ".join(f'owner_id = "x{n}"' for n in range(64)),
        "(" * 16 + 'owner_id = "x"' + ")" * 16,
    ],
    ids=lambda text: text[:40],
)
def test_a_filter_means_what_it_says_and_is_never_sql(client, text):
    request = {"namespace": NAMESPACE, "filter": text, "includeDeleted": True}
    try:
        assert client.call("CountSessions", request) == {}
        assert client.call("ListSessions", request) == {}
    except Refused as refused:
        assert "+99:99" in text and refused.reason == "INVALID_FILTER", refused


@pytest.mark.parametrize(
    "text, position",
    [
        ("session_id", 0),
        ("CREATE_TIME", 0),
        ("context.a", 0),
        ("1", 0),
        ("create_time; DROP TABLE sessions", 0),
        ("create_time sideways", 12),
        ("create_time desc desc", 17),
        ("create_time, owner_id", 0),
        ("create_time desc, owner_id", 12),
        ("(SELECT pg_sleep(9))", 0),
    ],
)
def test_an_order_that_is_none_names_the_position(client, text, position):
    refusal = client.refusal("ListSessions", {"namespace": NAMESPACE, "orderBy": text})
    assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_FILTER")
    assert refusal.metadata["position"] == str(position)


@pytest.fixture(scope="module")
def paged(client):
    """A namespace with three sessions."""
    namespace = f"paged-{uuid.uuid4().hex[:8]}"
    sessions = [client.create(namespace=namespace) for _ in range(3)]
    client.call("PauseSession", {"sessionId": sessions[0]["sessionId"]})
    return namespace, [session["sessionId"] for session in sessions]


def test_a_page_token_is_good_for_its_own_query_only(client, paged):
    namespace, _ = paged
    query = {"namespace": namespace, "filter": 'owner_id = "u1"', "pageSize": 1}
    token = client.call("ListSessions", query)["nextPageToken"]
    assert client.call("ListSessions", {**query, "pageToken": token, "pageSize": 2})
    for other in [
        {"filter": ""},
        {"filter": 'owner_id  = "u1"'},
        {"orderBy": "create_time"},
        {"orderBy": "owner_id"},
        {"includeDeleted": True},
        {"namespace": "-"},
        {"namespace": ""},
    ]:
        refusal = client.refusal("ListSessions", {**query, "pageToken": token, **other})
        assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_a_page_token_of_another_call_is_refused(client, paged):
    namespace, sessions = paged
    listed = client.call("ListSessions", {"namespace": namespace, "pageSize": 1})["nextPageToken"]
    query = {"sessionId": sessions[0], "pageSize": 1}
    events = client.call("ListSessionEvents", query)["nextPageToken"]
    for method, request in [
        ("ListSessionEvents", {**query, "pageToken": listed}),
        ("ListSessionEvents", {**query, "pageToken": events, "includeDeleted": True}),
        ("ListSessionEvents", {"sessionId": sessions[1], "pageToken": events}),
        ("ListSessions", {"namespace": namespace, "pageToken": events}),
    ]:
        refusal = client.refusal(method, request)
        assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_a_page_token_with_one_bit_flipped_is_refused(client, paged):
    namespace, _ = paged
    query = {"namespace": namespace, "pageSize": 1}
    token = client.call("ListSessions", query)["nextPageToken"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forged = [
        token[:i] + alphabet[alphabet.index(letter) ^ 1 << bit] + token[i + 1 :]
        for i, letter in enumerate(token)
        for bit in (0, 5)
        if letter in alphabet
    ]
    forged += [token[:-1], token[1:], token + "A", token + "=", token * 2, "A", "0", "AAAA" * 20]
    for wrong in forged:
        refusal = client.refusal("ListSessions", {**query, "pageToken": wrong})
        assert_refused(refusal, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_a_request_id_is_bound_to_its_method_and_payload(client):
    session_id = client.create()["sessionId"]
    request = {"sessionId": session_id, "requestId": str(uuid.uuid4())}
    client.call("PauseSession", request)
    for method, change in [
        ("PauseSession", {"reason": "another"}),
        ("PauseSession", {"actor": "another"}),
        ("PauseSession", {"etag": "r1"}),
        ("ResumeSession", {}),
        ("StopSession", {}),
        ("DeleteSession", {"force": True}),
    ]:
        refusal = client.refusal(method, {**request, **change})
        assert_refused(refusal, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        assert refusal.metadata["request_id"] == request["requestId"]
    assert client.call("GetSession", {"sessionId": session_id})["sequence"] == 2


# ------------------------------------------------------------------------------------------------
# what is wrong with the call itself

GET = path_of("GetSession")


@pytest.mark.parametrize(
    "path",
    [
        "/sessiond.v1.SessionService/NoSuchMethod",
        "/sessiond.v1.SessionService/getsession",
        "/sessiond.v1.SessionService/GetSession/",
        "/sessiond.v1.SessionService//GetSession",
        "//sessiond.v1.SessionService/GetSession",
        "/sessiond.v1.SessionService/%47etSession",
        "/sessiond.v1.SessionService/../sessiond.v1.SessionService/GetSession",
        "/sessiond.v1.SessionService/GetSession?x=1",
        "/SESSIOND.V1.SessionService/GetSession",
        "/sessiond.v2.SessionService/GetSession",
        "/SessionService/GetSession",
        "/GetSession",
        "/",
    ],
)
def test_another_path_is_no_method(client, path):
    with pytest.raises(Refused) as refused:
        client.send(path, base_bytes("GetSession"))
    assert refused.value.code == "UNIMPLEMENTED"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_request_is_refused_unopened(client, compression):
    bomb = wire.blob(1000, b"\0" * 3_000_000)
    with pytest.raises(Refused) as refused:
        client.send(GET, bomb, compression=compression)
    assert refused.value.code == "UNIMPLEMENTED"
    # By gRPC itself, in its words: proto/README.md says so.
    assert refused.value.sentence == f"Compression algorithm '{compression.name.lower()}' is disabled."
    assert refused.value.details == {}


def test_a_request_beyond_what_grpc_takes_is_refused(client):
    with pytest.raises(Refused) as refused:
        client.send(GET, wire.blob(1000, b"\0" * 20_000_000))
    assert refused.value.code == "RESOURCE_EXHAUSTED"


def test_a_request_of_four_mebibytes_is_taken_and_one_byte_more_is_not(client):
    sound = base_bytes("GetSession")
    padding = MESSAGE_BYTES_MAX - len(sound) - len(wire.blob(1000, b"\0" * 4_000_000)) + 4_000_000
    exact = sound + wire.blob(1000, b"\0" * padding)
    assert len(exact) == MESSAGE_BYTES_MAX
    client.send(GET, exact)
    with pytest.raises(Refused) as refused:
        client.send(GET, sound + wire.blob(1000, b"\0" * (padding + 1)))
    assert_refused(refused.value, "RESOURCE_EXHAUSTED", "PAYLOAD_TOO_LARGE")
    assert refused.value.metadata["size"] == str(MESSAGE_BYTES_MAX + 1)
    assert refused.value.metadata["limit"] == str(MESSAGE_BYTES_MAX)


def test_a_call_whose_deadline_has_passed_has_no_effect(client, daemon):
    session_id = client.create()["sessionId"]
    request = CONTRACT.request("sessiond.v1.SessionService/StopSession", {"sessionId": session_id})
    try:
        expired = [("grpc-timeout", "0n")]
        answer = http2.call(daemon.address, path_of("StopSession"), request, expired)
        assert answer["grpc-status"] == "4"
    except http2.Closed:
        pass  # gRPC itself may end the stream of an expired call.
    assert client.call("GetSession", {"sessionId": session_id})["state"] == "ACTIVE"


# Three hundred years are what a client sends that means never.
@pytest.mark.parametrize("timeout", ["", "20S", "2628000H", "99999999H"])
def test_a_call_without_a_deadline_or_with_a_far_one_is_answered(daemon, timeout):
    headers = [("grpc-timeout", timeout)] if timeout else []
    assert http2.call(daemon.address, GET, base_bytes("GetSession"), headers)["grpc-status"] == "0"


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600,
        b"\xff" * 4096,
        http2.PREFACE + b"\xff" * 4096,
    ],
    ids=["HTTP/1.1", "TLS", "noise", "noise behind the preface"],
)
def test_a_connection_that_does_not_speak_http2_is_closed(daemon, bytes_sent):
    host, port = daemon.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        connection.sendall(bytes_sent)
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass


# What a unary call's stream may end after that is not a message.
@pytest.mark.parametrize(
    "stream",
    [b"", b"\0\0\0", b"\0\0\0\0\x05", b"\0\0\0\0\x64abc"],
    ids=["nothing", "half a head", "a head", "half a message"],
)
@pytest.mark.parametrize("method", ["GetSession", "CreateSession", "WatchSessions", "LookupSessions"])
def test_a_call_without_a_whole_message_is_told_so(daemon, method, stream):
    answer = http2.call(daemon.address, path_of(method), b"", stream=stream)
    assert answer["grpc-status"] == "3"
    assert "no request message" in answer["grpc-message"]


def test_an_empty_message_is_a_message(daemon):
    answer = http2.call(daemon.address, path_of("GetWorkflow"), b"")
    assert "no request message" not in answer["grpc-message"]


def test_metadata_of_many_proxies_is_taken_and_ends_no_watch(contract, client, daemon):
    session_id = client.create()["sessionId"]
    with Watch(contract, daemon.address, sessionIds=[session_id]).bookmarked() as watch:
        large = [(f"x-{i}", "x" * 1000) for i in range(28)]
        call = watch.channel.unary_unary(path_of("PauseSession"))
        request = CONTRACT.request("sessiond.v1.SessionService/PauseSession", {"sessionId": session_id})
        call(request, metadata=large, timeout=CALL_SECONDS)
        assert watch.change()["change"]["event"]["type"] == "PAUSED"


def test_metadata_beyond_its_limit_is_refused(daemon):
    # gRPC closes the connection too, which must not be the one that all channels share.
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(daemon.address, options=own) as channel:
        large = [("x-large", "x" * 40_000)]
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(GET)(base_bytes("GetSession"), metadata=large, timeout=CALL_SECONDS)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


# ------------------------------------------------------------------------------------------------
# what is left of it all


def test_what_callers_write_forges_no_line_of_the_log(client, daemon):
    bait = '\n{"level":"error","message":"forged-%n{}{0}"}\x1b[2J\u202e'
    forged = "forged-" + uuid.uuid4().hex
    owner = forged + " %n{}{0} \u202e\u2028"
    session = client.create(ownerId=owner, labels={"a": bait}, context={"site_name": bait})
    assert client.call("GetSession", {"sessionId": session["sessionId"]})["labels"] == {"a": bait}
    client.call("PauseSession", {"sessionId": session["sessionId"], "reason": bait})
    client.refusal("GetSession", {"sessionId": bait})
    client.refusal("ListSessions", {"filter": bait})
    lines = daemon.log_lines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    of_it = [line for line in lines if forged in line]
    assert of_it
    assert all("\u202e" not in line and "\u2028" not in line for line in of_it)


def test_nothing_of_it_had_an_effect(client, daemon, victim):
    """Last in this file: it looks back at all of it."""
    assert client.call("GetSession", {"sessionId": VICTIM}) == victim
    everything = {"namespace": NAMESPACE, "includeDeleted": True}
    assert client.call("CountSessions", everything) == {"total": 1}
    log = "\n".join(daemon.log_lines())
    assert "sqlstate" not in log.lower()
    for line in log.splitlines():
        assert json.loads(line)["level"] != "error", line  # The caller's mistakes are not ours.
