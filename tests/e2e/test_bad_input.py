"""Bad input: each of it gets its exact refusal, and nothing of it has any effect.

Requests are made for every method from the contract itself, so that a method or a field that is new
joins by itself. What is refused is aimed at a session that exists; what must be taken, however odd
it is, at one that does not, so that an answer NEVER_EXISTED says that all checks were passed.
"""

import json
import math
import random
import re
import socket
import urllib.request
import uuid
from typing import NamedTuple

import grpc
import http2
import pytest
import wire
from conftest import BUILD, Client, Contract, Refused
from google.protobuf.descriptor import FieldDescriptor

CONTRACT = Contract(BUILD / "proto/sessiond.protoset")
SERVICE = CONTRACT.pool.FindServiceByName("sessiond.v1.SessionService")
METHODS = {method.name: method.input_type for method in SERVICE.methods}

NAMESPACE = "bad-input"
VICTIM = str(uuid.uuid4())
NOBODY = str(uuid.uuid4())
MESSAGE_BYTES_MAX = 4 << 20

# The most bytes of a text, where the contract says so; of others that a megabyte is too much.
BYTES_MAX = {
    "namespace": 63,
    "owner_id": 256,
    "owner_display_name": 256,
    "actor": 256,
    "reason": 4096,
    "request_id": 128,
    "filter": 4096,
    "labels.key": 63,
    "labels.value": 256,
    "references.key": 63,
    "references.value": 256,
}
# Texts that take no control characters, and those that are a word of a small alphabet.
NAMES = {"owner_id", "owner_display_name", "actor", "references.value"}
WORDS = {
    "workflow",
    "namespace",
    "target_stage",
    "request_id",
    "etag",
    "page_token",
    "labels.key",
    "references.key",
    "counters.key",
    "counter_increments.key",
}

NOT_UTF8 = {
    "a lone byte": b"\xff",
    "an overlong NUL": b"\xc0\x80",
    "an overlong slash": b"\xe0\x80\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "beyond the last code point": b"\xf4\x90\x80\x80",
    "cut short": b"\xe2\x82",
}
CONTROLS = ["\x01", "\n", "\x1b[2J", "\x7f", "\x85", "\ufffe", "\ufdd0", "\U0001ffff"]


class Bad(NamedTuple):
    """A request that is refused."""

    method: str
    what: str
    request: bytes
    # The field that BadRequest names first; one that ends in `*` is only the beginning.
    field: str
    reason: str = "INVALID_FIELD"
    code: str = "INVALID_ARGUMENT"


def base(method, session_id=VICTIM):
    """A request that only lacks what is wrong with it."""
    session = {"workflow": "ticket_export", "namespace": NAMESPACE, "ownerId": "u"}
    known = {
        "CreateSession": {"session": {**session, "ownerDisplayName": "U"}},
        "UpdateSession": {
            "session": {"sessionId": session_id},
            "counterIncrements": {"total_tickets_generated": 1},
        },
        "AdvanceSession": {"sessionId": session_id, "targetStage": "upload"},
        "LookupSessions": {"sessionIds": [session_id]},
    }
    if session_id == NOBODY:
        known["CreateSession"]["session"]["workflow"] = "nobody_has_it"
    fields = METHODS[method].fields_by_name
    return known.get(method, {"sessionId": session_id} if "session_id" in fields else {})


def base_bytes(method, session_id=VICTIM):
    return CONTRACT.request("sessiond.v1.SessionService/" + method, base(method, session_id))


def is_text(path):
    return path[-1].type == FieldDescriptor.TYPE_STRING


def is_map_part(path):
    return path[-1].containing_type.GetOptions().map_entry


def names_the_session(method, path):
    own = "session.session_id" if method == "UpdateSession" else "session_id"
    return wire.dotted(path) == own


def rule_of(path):
    """The name that the tables above have for a text."""
    return wire.dotted(path[-2:]) if is_map_part(path) else path[-1].name


def said(path, content=b""):
    """The path that a refusal has for a field: keys and indexes as they are."""
    if is_map_part(path):
        key = escaped(content)[:64] if path[-1].name == "key" else "k"
        return f"{wire.dotted(path[:-1])}.{key}"
    if path[-1].label == FieldDescriptor.LABEL_REPEATED:
        return wire.dotted(path) + "[0]"
    return wire.dotted(path)


def escaped(content):
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
    return "".join(
        known.get(chr(byte), chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
        for byte in content
    )


def texts(method):
    """Texts that are wrong, in each string field."""
    for path in filter(is_text, wire.leaves(METHODS[method])):
        where, rule = wire.dotted(path), rule_of(path)
        own_id = names_the_session(method, path)
        reason = "INVALID_FORMAT" if own_id else "INVALID_FIELD"

        def bad(what, content, field=None, reason=reason):
            request = base_bytes(method) + wire.within(path[:-1], wire.blob(path[-1].number, content))
            return Bad(method, f"{where}: {what}", request, field or said(path, content), reason)

        for what, content in NOT_UTF8.items():
            yield bad(what, b"a" + content, where, "INVALID_FIELD")
        if where == "session_ids":
            continue  # Each id is answered for on its own.
        yield bad("NUL", b"a\0z")
        yield bad("too long", b"a" * (BYTES_MAX.get(rule, 1 << 20) + 1), said(path)[:-1] + "*")
        if rule == "references.value":
            yield bad("nothing", b"")
        if rule in NAMES | WORDS:
            for control in CONTROLS:
                yield bad(f"control {control!r}", b"a" + control.encode())
        if rule in WORDS:
            for word in ["two words", "\u0440\u0443"]:
                yield bad(f"not a word: {word}", word.encode())


def numbers(method):
    """Numbers out of range: of enums and of pages."""
    for path in wire.leaves(METHODS[method]):
        wrong = []
        if path[-1].type == FieldDescriptor.TYPE_ENUM:
            wrong = [99, -1]
        elif path[-1].name == "page_size":
            wrong = [-1, -(1 << 31)]
        for number in wrong:
            content = wire.within(path[:-1], wire.whole(path[-1].number, number))
            yield Bad(
                method,
                f"{wire.dotted(path)} = {number}",
                base_bytes(method) + content,
                wire.dotted(path),
            )


def maps(method):
    for path in wire.leaves(METHODS[method]):
        if not is_map_part(path) or path[-1].name != "key":
            continue
        *parents, field, _ = path
        where = wire.dotted((*parents, field))
        many = b"".join(wire.blob(field.number, wire.blob(1, f"k{n}")) for n in range(65))
        request = base_bytes(method) + wire.within(parents, many)
        yield Bad(method, f"{where}: 65 entries", request, where)
        empty = wire.within(parents, wire.blob(field.number, wire.blob(1, "")))
        yield Bad(method, f"{where}: an empty key", base_bytes(method) + empty, where + "*")


def times(method):
    first, last = -62_135_596_800, 253_402_300_799
    wrong = {
        "before the year 1": wire.whole(1, first - 1),
        "after the year 9999": wire.whole(1, last + 1),
        "negative nanos": wire.whole(1, 0) + wire.whole(2, -1),
        "a second of nanos": wire.whole(1, 0) + wire.whole(2, 1_000_000_000),
    }
    for path in wire.leaves(METHODS[method]):
        if path[-1].message_type and path[-1].message_type.name == "Timestamp":
            for what, content in wrong.items():
                request = base_bytes(method) + wire.within(path, content)
                where = wire.dotted(path)
                yield Bad(method, f"{where}: {what}", request, where)


def structs(method):
    """Structs too deep, too large, and with values that JSON does not have."""
    text = wire.string_value
    wrong = {
        "17 levels": (wire.deep_struct(17), ".a" * 16),
        "40 levels": (wire.deep_struct(40), "*"),
        "200 levels": (wire.deep_struct(200), "*"),
        "10,000 levels": (wire.deep_struct(10_000), "*"),
        "17 levels of lists": (wire.deep_list(17), ".a" + ".0" * 15),
        "200 levels of lists": (wire.deep_list(200), "*"),
        "NaN": (wire.entry("a", wire.number_value(math.nan)), ".a"),
        "Inf": (wire.entry("a", wire.number_value(math.inf)), ".a"),
        "-Inf": (wire.entry("a", wire.number_value(-math.inf)), ".a"),
        "NaN in a list": (wire.entry("a", wire.list_value(wire.number_value(math.nan))), ".a.0"),
        "a value of no kind": (wire.entry("a", b""), ".a"),
        "a NUL": (wire.entry("a", text("b\0c")), ".a"),
        "a NUL in a list": (wire.entry("a", wire.list_value(text("\0"))), ".a.0"),
        "a NUL in a key": (wire.entry("a\0z", text("")), ".a\\x00z"),
        "64 KiB of text": (wire.entry("a", text("x" * (64 << 10))), ""),
        "64 KiB once escaped": (wire.entry("a", text("\x01" * (11 << 10))), ""),
        "a million empty lists": (wire.entry("a", wire.list_value(*[wire.list_value()] * 900_000)), ""),
        "a lone surrogate": (wire.entry("a", text(b"\xed\xa0\x80")), ".fields.value.string_value"),
    }
    for path in wire.leaves(METHODS[method]):
        if path[-1].message_type and path[-1].message_type.name == "Struct":
            where = wire.dotted(path)
            for what, (content, field) in wrong.items():
                request = base_bytes(method) + wire.within(path, content)
                yield Bad(method, f"{where}: {what}", request, where + field)


def bytes_of_no_message(method):
    sound = base_bytes(method)
    noise = random.Random(7).randbytes(64)
    wrong = {
        "a tag that is cut short": b"\xff",
        "a number without an end": b"\x08" + b"\xff" * 11,
        "a length beyond the end": wire.blob(1, "ab")[:-1] + b"",
        "a length of 2^63": b"\x0a" + wire.varint(1 << 63),
        "field 0": b"\x02\x00",
        "wire type 7": b"\x0f\x00",
        "a group that ends before it began": b"\x0c",
        "a group without an end": b"\xfb\x3e\x08\x01",
        "noise": b"\xff\xff" + noise,
    }
    for what, content in wrong.items():
        yield Bad(method, what, sound + content, "*")
    if sound:
        last = max(METHODS[method].fields_by_camelcase_name[name].number for name in base(method))
        yield Bad(method, "cut short", sound[:-1], METHODS[method].fields_by_number[last].name)


def sizes(method):
    five_megabytes = wire.blob(1000, b"\0" * 5_000_000)
    yield Bad(
        method,
        "5 MB",
        base_bytes(method) + five_megabytes,
        "",
        "PAYLOAD_TOO_LARGE",
        "RESOURCE_EXHAUSTED",
    )


def malformed_ids(method):
    uuid_good, exec_good = str(uuid.uuid4()), "exec_20251230_020944_4ad060d9"
    wrong = {
        "nothing": "",
        "a blank": " ",
        "a word": "session-1",
        "SQL": "' OR 1=1--",
        "upper case": uuid_good.upper().replace("0", "A"),
        "braces": "{" + uuid_good + "}",
        "no dashes": uuid_good.replace("-", ""),
        "odd dashes": uuid_good[:4] + "-" + uuid_good[4:8] + uuid_good[9:],
        "urn": "urn:uuid:" + uuid_good,
        "the nil UUID": "00000000-0000-0000-0000-000000000000",
        "a UUID and a newline": uuid_good + "\n",
        "a UUID and a NUL": uuid_good + "\0",
        "a blank and a UUID": " " + uuid_good,
        "a letter beyond f": "g" + uuid_good[1:],
        "a digit too few": uuid_good[:-1],
        "a digit too many": uuid_good + "0",
        "exec: upper case": exec_good[:-1] + "D",
        "exec: EXEC": exec_good.replace("exec", "EXEC"),
        "exec: a newline": exec_good + "\n",
        "exec: Arabic digits": exec_good.replace("2025", "\u0662\u0660\u0662\u0665"),
        "exec: full-width digits": exec_good.replace("2", "\uff12"),
        "exec: a digit too few": exec_good[:-1],
        "exec: a digit too many": exec_good + "0",
        "exec: letters in the date": exec_good.replace("2025", "202a"),
        "exec: dashes": exec_good.replace("_", "-"),
        "a kilobyte": "a" * 1024,
    }
    for path in wire.leaves(METHODS[method]):
        if not names_the_session(method, path):
            continue
        for what, session_id in wrong.items():
            if not session_id and method == "CreateSession":
                continue  # The daemon draws one.
            content = wire.within(path[:-1], wire.blob(path[-1].number, session_id))
            request = base_bytes(method) + content
            where = wire.dotted(path)
            yield Bad(method, f"{where}: {what}", request, where, "INVALID_FORMAT")


GENERATORS = [
    texts,
    numbers,
    maps,
    times,
    structs,
    bytes_of_no_message,
    sizes,
    malformed_ids,
]
BADS = [bad for make in GENERATORS for method in METHODS for bad in make(method)]


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
    return f"/sessiond.v1.SessionService/{method}"


def assert_refused(refused, code, reason, field=None):
    assert (refused.code, refused.reason) == (code, reason), refused
    assert refused.sentence
    assert refused.metadata["category"] == "USER_FIXABLE"
    if field is None:
        return
    first = refused.fields[0] if refused.fields else ""
    if field.endswith("*"):
        assert first.startswith(field[:-1])
    else:
        assert first == field


@pytest.mark.parametrize("bad", BADS, ids=lambda bad: f"{bad.method}: {bad.what}")
def test_it_is_refused(client, bad):
    with pytest.raises(Refused) as refused:
        client.send(path_of(bad.method), bad.request)
    assert_refused(refused.value, bad.code, bad.reason, bad.field)


# ------------------------------------------------------------------------------------------------
# what must be taken


def odd(method):
    """Requests that are sound all the same, as (what, bytes behind the sound one)."""
    yield "an unknown number", wire.whole(1000, 7)
    yield "an unknown text that is not UTF-8", wire.blob(1000, b"\xff\0")
    yield "an unknown group", wire.varint(1000 << 3 | 3) + wire.varint(1000 << 3 | 4)
    for path in wire.leaves(METHODS[method]):
        where, rule = wire.dotted(path), rule_of(path)
        if names_the_session(method, path):
            continue
        if path[-1].name == "page_size":
            for number in [0, 1, 1000, 1001, (1 << 31) - 1]:
                yield f"{where} = {number}", wire.whole(path[-1].number, number)
        elif is_text(path) and rule in BYTES_MAX and rule != "filter":
            yield f"{where}: as long as can be", within_text(path, "a" * BYTES_MAX[rule])
            if rule not in WORDS:
                for name in ["\u202eevil", "\u0440\u0430y\u200bpal", "%n{}{0}", "O'Hara \\ \"x\""]:
                    yield f"{where}: {name!r}", within_text(path, name)
        elif path[-1].message_type and path[-1].message_type.name == "Struct":
            for what, content in [
                ("16 levels", wire.deep_struct(16)),
                ("16 levels of lists", wire.deep_list(16)),
                ("a number beyond 2^53", wire.entry("a", wire.number_value(1e308))),
                ("an unknown kind beside a known", wire.entry("a", wire.blob(99, "") + wire.string_value(""))),
            ]:
                yield f"{where}: {what}", wire.within(path, content)


def within_text(path, content):
    """A text in its place; a key of a map with a value."""
    value = wire.blob(2, "v") if rule_of(path) in ("labels.key", "references.key") else b""
    return wire.within(path[:-1], wire.blob(path[-1].number, content) + value)


def outcome(client, method, request):
    """The code and the reason of an answer."""
    try:
        client.send(path_of(method), request)
    except Refused as refused:
        return refused.code, refused.reason
    return "OK", None


@pytest.mark.parametrize("method", METHODS)
def test_what_is_odd_but_sound_is_answered_as_any_other(client, method):
    sound = base_bytes(method, NOBODY)
    expected = outcome(client, method, sound)
    assert expected in [
        ("OK", None),
        ("NOT_FOUND", "NEVER_EXISTED"),
        ("INVALID_ARGUMENT", "UNKNOWN_WORKFLOW"),
    ]
    assert outcome(client, method, sound + sound) == expected  # What is given twice merges.
    for what, more in odd(method):
        if "session.workflow" not in what:
            assert outcome(client, method, sound + more) == expected, what


@pytest.mark.parametrize("method", METHODS)
def test_what_nothing_is_given_to_names_what_it_needs(client, method):
    needs = {
        "CreateSession": ("INVALID_FIELD", "session.workflow"),
        "LookupSessions": ("INVALID_FIELD", "session_ids"),
        "UpdateSession": ("INVALID_FORMAT", "session.session_id"),
    }
    if "session_id" in METHODS[method].fields_by_name:
        needs.setdefault(method, ("INVALID_FORMAT", "session_id"))
    if method not in needs:
        assert outcome(client, method, b"") == ("OK", None)
        return
    with pytest.raises(Refused) as refused:
        client.send(path_of(method), b"")
    assert_refused(refused.value, "INVALID_ARGUMENT", *needs[method])


# ------------------------------------------------------------------------------------------------
# what each method has of its own


def test_all_that_is_wrong_is_named_but_a_bad_id_comes_first(client):
    wrong = {"etag": "two words", "actor": "\x01", "reason": "x" * 4097, "requestId": "\u0440"}
    with pytest.raises(Refused) as refused:
        client.call("AdvanceSession", {"sessionId": VICTIM, "targetStage": "NO", **wrong})
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert sorted(refused.value.fields) == ["actor", "etag", "reason", "request_id", "target_stage"]
    with pytest.raises(Refused) as refused:
        client.call("AdvanceSession", {"sessionId": "no", **wrong})
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FORMAT", "session_id")


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
        ("execution", str(uuid.uuid4())),
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
    with pytest.raises(Refused) as refused:
        client.call("GetSession", {"sessionId": session_id})
    assert_refused(refused.value, "NOT_FOUND", "NEVER_EXISTED")


def test_a_malformed_id_is_counted(client, daemon):
    def count():
        with urllib.request.urlopen(f"http://{daemon.admin}/metrics", timeout=10) as answer:
            return float(re.search(r"^sessiond_invalid_ids_total (\S+)", answer.read().decode(), re.M)[1])

    before = count()
    for _ in range(3):
        with pytest.raises(Refused):
            client.call("GetSession", {"sessionId": "session-1"})
    assert count() == before + 3


def test_a_lookup_answers_for_each_of_the_worst_ids(client):
    wrong = [bad.request for bad in malformed_ids("GetSession")]
    request_type = CONTRACT.method("sessiond.v1.SessionService/GetSession")[0]
    ids = [request_type.FromString(request).session_id for request in wrong]
    ids = [VICTIM, *ids, VICTIM, NOBODY, "\0", "x" * 100_000]
    results = client.call("LookupSessions", {"sessionIds": ids})["results"]
    assert [result.get("sessionId", "") for result in results] == ids
    reasons = ["OK"] + ["INVALID_FORMAT"] * len(wrong) + ["OK", "NEVER_EXISTED"] + ["INVALID_FORMAT"] * 2
    assert [result["reason"] for result in results] == reasons
    assert [result.get("found", False) for result in results] == [r == "OK" for r in reasons]


def test_a_lookup_takes_a_thousand_ids_and_no_more(client):
    assert len(client.call("LookupSessions", {"sessionIds": [VICTIM] * 1000})["results"]) == 1000
    with pytest.raises(Refused) as refused:
        client.call("LookupSessions", {"sessionIds": [NOBODY] * 1001})
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FIELD", "session_ids")


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
        with pytest.raises(Refused) as refused:
            client.call(method, request)
        assert_refused(refused.value, "INVALID_ARGUMENT", "CONTEXT_VIOLATION", fields[0])
        assert refused.value.fields == fields
        assert refused.value.metadata["workflow"] == "ticket_export"


def test_references_and_counters_that_the_workflow_does_not_have_are_refused(client):
    for change, field in [
        ({"session": {"references": {"nope": "1"}}, "updateMask": "references"}, "references.nope"),
        ({"counterIncrements": {"nope": 1}}, "counter_increments.nope"),
        ({"counterIncrements": {"total_tickets_generated": -1}}, "counter_increments.total_tickets_generated"),
    ]:
        request = {**change, "session": {**change.get("session", {}), "sessionId": VICTIM}}
        with pytest.raises(Refused) as refused:
            client.call("UpdateSession", request)
        assert_refused(refused.value, "INVALID_ARGUMENT", "CONTEXT_VIOLATION", field)


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
    with pytest.raises(Refused) as refused:
        client.call(method, {"namespace": NAMESPACE, "filter": text})
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FILTER")
    assert refused.value.metadata["position"] == str(position)
    assert len(refused.value.sentence) < 1024


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
    with pytest.raises(Refused) as refused:
        client.call("ListSessions", {"namespace": NAMESPACE, "orderBy": text})
    assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_FILTER")
    assert refused.value.metadata["position"] == str(position)


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
        with pytest.raises(Refused) as refused:
            client.call("ListSessions", {**query, "pageToken": token, **other})
        assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


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
        with pytest.raises(Refused) as refused:
            client.call(method, request)
        assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


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
        with pytest.raises(Refused) as refused:
            client.call("ListSessions", {**query, "pageToken": wrong})
        assert_refused(refused.value, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


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
        with pytest.raises(Refused) as refused:
            client.call(method, {**request, **change})
        assert_refused(refused.value, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        assert refused.value.metadata["request_id"] == request["requestId"]
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


def test_metadata_beyond_its_limit_is_refused(daemon):
    other = Client(CONTRACT, daemon.address)  # gRPC closes the connection too.
    with pytest.raises(Refused) as refused:
        other.send(GET, base_bytes("GetSession"), metadata=[("x-large", "x" * 20_000)])
    assert refused.value.code == "RESOURCE_EXHAUSTED"


# ------------------------------------------------------------------------------------------------
# what is left of it all


def test_what_callers_write_forges_no_line_of_the_log(client, daemon):
    bait = '\n{"level":"error","message":"forged-%n{}{0}"}\x1b[2J\u202e'
    forged = "forged-" + uuid.uuid4().hex
    session = client.create(
        ownerId=f"{forged} %n{{}}{{0}} \u202e\u2028", labels={"a": bait}, context={"site_name": bait}
    )
    assert client.call("GetSession", {"sessionId": session["sessionId"]})["labels"] == {"a": bait}
    client.call("PauseSession", {"sessionId": session["sessionId"], "reason": bait})
    with pytest.raises(Refused):
        client.call("GetSession", {"sessionId": bait})
    with pytest.raises(Refused):
        client.call("ListSessions", {"filter": bait})
    lines = daemon.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    of_it = [line for line in lines if forged in line]
    assert of_it
    assert all("\u202e" not in line and "\u2028" not in line for line in of_it)


def test_nothing_of_it_had_an_effect(client, daemon, victim):
    """Last in this file: it looks back at all of it."""
    assert client.call("GetSession", {"sessionId": VICTIM}) == victim
    assert client.call("CountSessions", {"namespace": NAMESPACE, "includeDeleted": True}) == {"total": 1}
    log = daemon.log.read_text()
    assert "sqlstate" not in log.lower()
    for line in log.splitlines():
        assert json.loads(line)["level"] != "error", line  # The caller's mistakes are not ours.
