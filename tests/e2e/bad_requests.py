"""Bad requests, for every method and field of the contract, and how each is refused: a method or a
field that is new joins by itself. And odd ones, which are sound all the same.
"""

import collections
import functools
import math
import random
from typing import NamedTuple

import wire
from conftest import BUILD, Contract
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

CONTRACT = Contract(BUILD / "proto/sessiond.protoset")
METHODS = {name: method.input_type for name, method in CONTRACT.methods.items()}
# They are refused by their first request; of an import that is one of its answers.
STREAMS = {"WatchSessions", "ImportSessions"}

NAMESPACE = "bad-input"
VICTIM = "21d81831-8788-4ab3-840f-cdbd4bb3691b"
NOBODY = "67d1dd5a-18d3-424e-b425-30e4f7172c5c"
MESSAGE_BYTES_MAX = 4 << 20

# The most bytes of a text, where the contract says so; of others that a megabyte is too much, and
# a byte more for good measure.
BYTES_MAX = {
    "author": 256,
    "artifact_id": 256,
    "content": 1 << 20,
    "display_name": 256,
    "error_code": 256,
    "recovery_actions": 1024,
    "related_file_id": 256,
    "related_ticket_id": 256,
    "resolution": 4096,
    "textproto": 1 << 20,
    "uri": 4096,
    "user_message": 4096,
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
    "set_labels.key": 63,
    "set_labels.value": 256,
    "set_references.key": 63,
    "set_references.value": 256,
    "remove_context_keys": 256,
    "remove_label_keys": 63,
    "remove_reference_keys": 63,
}
# Texts that take no control characters, and those that are a word of a small alphabet.
NAMES = {
    "owner_id",
    "owner_display_name",
    "actor",
    "references.value",
    "set_references.value",
    "remove_context_keys",
    "artifact_id",
    "author",
    "display_name",
    "error_code",
    "related_file_id",
    "related_ticket_id",
}
UUIDS = {"task_id", "error_id", "message_id"}
WORDS = UUIDS | {
    "task_type",
    "advance_to_stage",
    "operation_stage",
    "question_type",
    "type",
    "name",
    "workflow",
    "namespace",
    "target_stage",
    "request_id",
    "etag",
    "page_token",
    "labels.key",
    "references.key",
    "set_labels.key",
    "set_references.key",
    "remove_label_keys",
    "remove_reference_keys",
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
# Nothing to read in any of them.
BLANKS = ["", " ", "\t\r\n\v\f", "\u00a0\u2003\u3000", "\u200b", "\u200c\u200d", "\ufeff", "\u2060 "]
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
    category: str = "USER_FIXABLE"
    # What the sentence begins with.
    words: str = ""
    # So many bytes more, of a field that nobody knows: they are not kept for as long as the tests run.
    padding: int = 0

    def send(self, client):
        padding = wire.blob(1000, b"\0" * self.padding) if self.padding else b""
        return send(client, self.method, self.request + padding)


def send(client, method, request):
    """The answer's bytes; of a stream its first."""
    path = "/" + CONTRACT.full(method)
    return (client.first_of_stream if method in STREAMS else client.send)(path, request)


def base(method, session_id=VICTIM):
    """A request that only lacks what is wrong with it."""
    session = {"workflow": "ticket_export", "namespace": NAMESPACE, "ownerId": "u"}
    task = {"sessionId": session_id, "taskId": NOBODY}
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Try again."}
    definition = {"name": "never_created", "idFormat": "UUID"}  # It lacks a status.
    known = {
        "StartTask": {"sessionId": session_id, "taskType": "processing"},
        "ReportTaskProgress": task,
        "CompleteTask": task,
        "FailTask": {**task, "error": error},
        "CancelTask": task,
        "RecordError": {"sessionId": session_id, "error": error},
        "GetError": {"sessionId": session_id, "errorId": NOBODY},
        "ResolveError": {"sessionId": session_id, "errorId": NOBODY},
        "AppendMessages": {"sessionId": session_id, "messages": [{"type": "question", "content": "?"}]},
        "AddArtifacts": {"sessionId": session_id, "artifacts": [{"kind": "FILE"}]},
        "DeleteArtifact": {"sessionId": session_id, "artifactId": "a"},
        "GetWorkflow": {"name": "ticket_export"},
        "CreateWorkflow": {"workflow": definition},
        "ValidateWorkflow": {"workflow": definition},
        "ListRecoverableSessions": {"namespace": NAMESPACE, "ownerId": "u"},
        "EraseOwner": {"namespace": NAMESPACE, "ownerId": "u"},
        "DetachReference": {"namespace": NAMESPACE, "name": "job_posting", "value": "j"},
        "PurgeSessions": {"namespace": NAMESPACE, "execute": True},
        "ImportSessions": {
            "session": {**session, "sessionId": session_id},
            "task": {"taskType": "processing", "status": "RUNNING", "startTime": "2026-01-01T00:00:00Z"},
            "errors": [error],
            "messages": [{"type": "question", "content": "?"}],
            "artifacts": [{"kind": "FILE"}],
        },
        "CreateSession": {"session": {**session, "ownerDisplayName": "U"}},
        "UpdateSession": {
            "session": {"sessionId": session_id},
            "counterIncrements": {"total_tickets_generated": 1},
        },
        "AdvanceSession": {"sessionId": session_id, "targetStage": "upload"},
        "LookupSessions": {"sessionIds": [session_id]},
    }
    if session_id == NOBODY:
        for creates in ["CreateSession", "ImportSessions"]:
            known[creates]["session"]["workflow"] = "nobody_has_it"
        known["EraseOwner"]["ownerId"] = NOBODY
    fields = METHODS[method].fields_by_name
    return known.get(method, {"sessionId": session_id} if "session_id" in fields else {})


def base_bytes(method, session_id=VICTIM):
    return CONTRACT.request(method, base(method, session_id))


def leaves(method):
    """The fields that are looked at: not what a session has, but nobody gives; nor what is in a
    definition, which is answered for as a whole."""
    for path in wire.leaves(METHODS[method]):
        names = {field.name for field in path[:-1]}
        inside = {field.containing_type.name for field in path}
        if not (names & {"current_task", "files", "open_errors"} or "Workflow" in inside):
            yield path


def is_text(path):
    return path[-1].type == FieldDescriptor.TYPE_STRING


def is_map_part(path):
    return path[-1].containing_type.GetOptions().map_entry


def names_the_session(method, path):
    own = "session.session_id" if method in ("UpdateSession", "ImportSessions") else "session_id"
    return wire.dotted(path) == own


def rule_of(path):
    """The name that the tables above have for a text."""
    return wire.dotted(path[-2:]) if is_map_part(path) else path[-1].name


def put(method, parents, content, session_id=VICTIM):
    """The request with something appended to the message that the path leads to. What is on a list
    stands there alone, and has what it needs."""
    fields = dict(base(method, session_id))
    first = parents[0] if parents else None
    if first is None or first.label != FieldDescriptor.LABEL_REPEATED or is_map(first):
        return CONTRACT.request(method, fields) + wire.within(parents, content)
    [element] = fields.pop(first.camelcase_name, [{}])
    sound = CONTRACT.message(first.message_type.full_name)()
    element = json_format.ParseDict(element, sound).SerializeToString()
    rest = wire.within(parents[1:], content)
    return CONTRACT.request(method, fields) + wire.blob(first.number, element + rest)


def put_text(method, path, content, session_id=VICTIM):
    """The request with a text in its place; a key of a map with a value."""
    needs_value = ("labels.key", "references.key", "set_labels.key", "set_references.key")
    value = wire.blob(2, "v") if rule_of(path) in needs_value else b""
    return put(method, path[:-1], wire.blob(path[-1].number, content) + value, session_id)


def put_message(method, path, content, session_id=VICTIM):
    return put(method, path[:-1], wire.blob(path[-1].number, content), session_id)


def said(path, content=b""):
    """The path that a refusal has for a field: keys and indexes as they are."""
    if is_map_part(path):
        key = escaped(content)[:64] if path[-1].name == "key" else "k"
        return f"{said(path[:-1])}.{key}"
    return ".".join(
        field.name + "[0]" * (field.label == FieldDescriptor.LABEL_REPEATED and not is_map(field))
        for field in path
    )


def is_map(field):
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def escaped(content):
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
    return "".join(
        known.get(chr(byte), chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
        for byte in content
    )


class Thinned:
    """All variants of what is wrong at the first field of a name, and at each other one the next of
    them: the fields of a name are checked by the same rule."""

    def __init__(self):
        self._turns = collections.Counter()

    def of(self, what, name, variants):
        turn = self._turns[what, name]
        self._turns[what, name] += 1
        variants = list(variants)
        return variants if turn == 0 else [variants[turn % len(variants)]]


THINNED = Thinned()


def texts(method):
    """Texts that are wrong, in each string field."""
    for path in filter(is_text, leaves(method)):
        where, rule = wire.dotted(path), rule_of(path)
        own_id = names_the_session(method, path)
        reason = "INVALID_FORMAT" if own_id else "INVALID_FIELD"
        words, category = "", "USER_FIXABLE"
        if rule in ("user_message", "recovery_actions"):
            category = "ADMIN_REQUIRED"
            words = "Error must have user-friendly message"
            if rule == "recovery_actions":
                words = "Invalid recovery actions format"

        def bad(what, content, field=None, reason=reason):
            request = put_text(method, path, content)
            refusal = (reason, "INVALID_ARGUMENT", category, words)
            return Bad(method, f"{where}: {what}", request, field or said(path, content), *refusal)

        for what, content in THINNED.of("utf-8", rule, NOT_UTF8.items()):
            request = put_text(method, path, b"a" + content)
            yield Bad(method, f"{where}: {what}", request, where)
        if where in ("session_ids", "textproto"):
            continue  # Each id, and the text, is answered for on its own.
        yield bad("NUL", b"a\0z")
        yield bad("too long", b"a" * (BYTES_MAX.get(rule, 1 << 16) + 1), said(path)[:-1] + "*")
        if rule in ("references.value", "set_references.value"):
            yield bad("nothing", b"")
        if words:
            for blank in BLANKS:
                yield bad(f"blank: {blank!a}", blank.encode())
        if rule in NAMES | WORDS:
            for control in THINNED.of("control", rule, CONTROLS):
                yield bad(f"control {control!r}", b"a" + control.encode())
        if rule in WORDS:
            for word in THINNED.of("word", rule, ["two words", "\u0440\u0443"]):
                yield bad(f"not a word: {word}", word.encode())
        if rule in UUIDS:
            upper, short = NOBODY.upper().replace("0", "A"), NOBODY[:-1]
            for wrong in ["task-1", upper, short, NOBODY + "\n", "{" + NOBODY + "}"]:
                yield bad(f"no UUID: {wrong!r}", wrong.encode())


def numbers(method):
    """Numbers out of range: of enums and of pages."""
    for path in leaves(method):
        wrong = []
        if path[-1].type == FieldDescriptor.TYPE_ENUM:
            wrong = [99, -1]
        elif path[-1].name in ("page_size", "after_sequence"):
            wrong = [-1, -(1 << 31)]
        for number in wrong:
            request = put(method, path[:-1], wire.whole(path[-1].number, number))
            yield Bad(method, f"{wire.dotted(path)} = {number}", request, said(path))


# What a message cannot do without, by its name.
REQUIRED = {
    "AdvanceSessionRequest": ["target_stage"],
    "GetErrorRequest": ["error_id"],
    "ResolveErrorRequest": ["error_id"],
    "RecordErrorRequest": ["error"],
    "SessionError": ["category", "severity"],  # And a message to the user, which is a blank's row.
    "StartTaskRequest": ["task_type"],
    "ReportTaskProgressRequest": ["task_id"],
    "CompleteTaskRequest": ["task_id"],
    "FailTaskRequest": ["task_id"],
    "CancelTaskRequest": ["task_id"],
    "SessionTask": ["task_type", "status"],
    "SessionMessage": ["type", "content"],
    "SessionArtifact": ["kind"],
    "DeleteArtifactRequest": ["artifact_id"],
    "EraseOwnerRequest": ["owner_id"],
    "DetachReferenceRequest": ["name", "value"],
    "ListRecoverableSessionsRequest": ["owner_id"],
    "GetWorkflowRequest": ["name"],
}


def missing(method):
    """What is needed, and not given: taken away from the sound request."""
    sound = CONTRACT.method(method)[0].FromString(base_bytes(method))

    def gaps(message, path):
        for name in REQUIRED.get(message.DESCRIPTOR.name, []):
            given = type(message).FromString(message.SerializeToString())
            given.ClearField(name)
            yield ".".join([*path, name]), message, given
        for field, value in message.ListFields():
            if field.message_type is None or is_map(field) or "protobuf" in field.message_type.full_name:
                continue
            repeated = field.label == FieldDescriptor.LABEL_REPEATED
            for part in value if repeated else [value]:
                yield from gaps(part, [*path, said((field,))])

    for where, message, without in gaps(sound, []):
        whole = type(message).FromString(message.SerializeToString())
        message.CopyFrom(without)
        yield Bad(method, f"{where}: not given", sound.SerializeToString(), where)
        message.CopyFrom(whole)


# The most that a list may have, by its message and name.
COUNTS = {
    ("LookupSessionsRequest", "session_ids"): 1000,
    ("AppendMessagesRequest", "messages"): 500,
    ("AddArtifactsRequest", "artifacts"): 500,
    ("SessionError", "recovery_actions"): 50,
    ("UpdateSessionRequest", "remove_context_keys"): 256,
    ("UpdateSessionRequest", "remove_label_keys"): 64,
    ("UpdateSessionRequest", "remove_reference_keys"): 64,
}


def counts(method):
    """Lists with one too many, and empty ones where one must be."""
    for path in leaves(method):
        for depth, field in enumerate(path):
            limit = COUNTS.get((field.containing_type.name, field.name))
            if limit is None or path != first_through(method, path[: depth + 1]):
                continue
            if field.message_type:
                fields = base(method)
                more = {**fields, field.name: fields[field.name] * (limit + 1)}
                request = CONTRACT.request(method, more)
                none = CONTRACT.request(method, {**fields, field.name: []})
                yield Bad(method, f"{said(path[: depth + 1])[:-3]}: none", none, field.name)
            else:
                one = VICTIM if field.name == "session_ids" else "Try again."
                many = wire.blob(field.number, one) * (limit + 1)
                request = put(method, path[:depth], many)
            where = said(path[: depth + 1])[:-3]
            refusal = []
            if field.name == "recovery_actions":
                refusal = ["INVALID_FIELD", "INVALID_ARGUMENT", "ADMIN_REQUIRED", "Invalid recovery actions format"]
            yield Bad(method, f"{where}: {limit + 1}", request, where, *refusal)


def first_through(method, parents):
    """The first of the paths that begin like this."""
    return next(path for path in leaves(method) if path[: len(parents)] == parents)


def durations(method):
    """How long a worker, or a stream, may be silent."""
    longest = {"heartbeat_timeout": 30 * 24 * 3600, "heartbeat_interval": 600}
    for path in leaves(method):
        most = longest.get(path[-1].name)
        if most is None:
            continue
        for what, content in {
            "nothing": b"",
            "negative": wire.whole(1, -1),
            "a moment too short": wire.whole(2, 999_999_999),
            "a moment too long": wire.whole(1, most) + wire.whole(2, 1),
            "for ever": wire.whole(1, (1 << 63) - 1),
            "since ever": wire.whole(1, -(1 << 63)),
            "negative nanos": wire.whole(1, 5) + wire.whole(2, -1),
            "a second of nanos": wire.whole(1, 5) + wire.whole(2, 1_000_000_000),
        }.items():
            request = put_message(method, path, content)
            yield Bad(method, f"{wire.dotted(path)}: {what}", request, said(path))


def maps(method):
    for path in leaves(method):
        if not is_map_part(path) or path[-1].name != "key":
            continue
        *parents, field, _ = path
        where = wire.dotted((*parents, field))
        many = b"".join(wire.blob(field.number, wire.blob(1, f"k{n}")) for n in range(65))
        yield Bad(method, f"{where}: 65 entries", put(method, parents, many), where)
        empty = wire.blob(field.number, wire.blob(1, ""))
        yield Bad(method, f"{where}: an empty key", put(method, parents, empty), where + "*")


def times(method):
    first, last = -62_135_596_800, 253_402_300_799
    wrong = {
        "before the year 1": wire.whole(1, first - 1),
        "after the year 9999": wire.whole(1, last + 1),
        "negative nanos": wire.whole(1, 0) + wire.whole(2, -1),
        "a second of nanos": wire.whole(1, 0) + wire.whole(2, 1_000_000_000),
    }
    for path in leaves(method):
        if path[-1].message_type and path[-1].message_type.name == "Timestamp":
            for what, content in THINNED.of("time", path[-1].name, wrong.items()):
                request = put_message(method, path, content)
                yield Bad(method, f"{wire.dotted(path)}: {what}", request, said(path))


@functools.cache
def wrong_structs():
    """Structs too deep, too large, and with values that JSON does not have: what they are called, their
    bytes, and where in them it is wrong. Made once: a million lists take a while."""
    text, empty_list = wire.string_value, wire.list_value()
    return {
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
        "64 KiB and a byte": (wire.entry("a", text("x" * ((64 << 10) - len('{"a":""}') + 1))), ""),
        "64 KiB once escaped": (wire.entry("a", text("\x01" * (11 << 10))), ""),
        "a million empty lists": (wire.entry("a", wire.list_value(*[empty_list] * 900_000)), ""),
        "a lone surrogate": (wire.entry("a", text(b"\xed\xa0\x80")), ".fields.value.string_value"),
    }


def structs(method):
    for path in leaves(method):
        if path[-1].message_type and path[-1].message_type.name == "Struct":
            for what, (content, field) in THINNED.of("struct", path[-1].name, wrong_structs().items()):
                request = put_message(method, path, content)
                where = said(path)
                if what == "a lone surrogate":
                    where = wire.dotted(path)
                elif field == "*":
                    where = path[0].name  # What is too deep to be read is not read for its path.
                yield Bad(method, f"{wire.dotted(path)}: {what}", request, where + field)


def bytes_of_no_message(method):
    """All of them where a request stands for all, and of a stream; elsewhere one in turn."""
    thorough = method in STREAMS | {"GetSession"}
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
    some = list(wrong.items()) if thorough else THINNED.of("bytes", "", wrong.items())
    for what, content in some:
        yield Bad(method, what, sound + content, "*")
    if sound:
        last = max(METHODS[method].fields_by_camelcase_name[name].number for name in base(method))
        yield Bad(method, "cut short", sound[:-1], METHODS[method].fields_by_number[last].name)


def sizes(method):
    refusal = ("", "PAYLOAD_TOO_LARGE", "RESOURCE_EXHAUSTED")
    yield Bad(method, "5 MB", base_bytes(method), *refusal, padding=5_000_000)


def malformed_ids(method):
    """All of them where a session is read and where it is brought, and elsewhere some in turn."""
    thorough = method in ("GetSession", "CreateSession", "UpdateSession", "ImportSessions")
    uuid_good, exec_good = "3f0c1d2a-5b6e-4c7d-9a8b-0e1f2d3c4b5a", "exec_20251230_020944_4ad060d9"
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
    for path in leaves(method):
        if not names_the_session(method, path):
            continue
        some = list(wrong.items()) if thorough else THINNED.of("ids", "", wrong.items())
        for what, session_id in some:
            if not session_id and method in ("CreateSession", "ListErrors", "SummarizeErrors"):
                continue  # The daemon draws one; all of a namespace.
            request = put_text(method, path, session_id)
            where = wire.dotted(path)
            yield Bad(method, f"{where}: {what}", request, where, "INVALID_FORMAT")


GENERATORS = [
    texts,
    missing,
    numbers,
    counts,
    durations,
    maps,
    times,
    structs,
    bytes_of_no_message,
    sizes,
    malformed_ids,
]
BADS = [bad for make in GENERATORS for method in METHODS for bad in make(method)]


def odd(method):
    """Requests that are sound all the same, as (what, request)."""
    sound = base_bytes(method, NOBODY)
    null = wire.whole(1, 0)
    yield "an unknown number", sound + wire.whole(1000, 7)
    yield "an unknown text that is not UTF-8", sound + wire.blob(1000, b"\xff\0")
    yield "an unknown group", sound + wire.varint(1000 << 3 | 3) + wire.varint(1000 << 3 | 4)
    for path in leaves(method):
        where, rule = wire.dotted(path), rule_of(path)
        if names_the_session(method, path) or where in ("textproto", "filter"):
            continue
        if path[-1].name == "page_size":
            for number in [0, 1, 1000, 1001, (1 << 31) - 1]:
                yield f"{where} = {number}", sound + wire.whole(path[-1].number, number)
        elif is_text(path) and rule in BYTES_MAX:
            longest = put_text(method, path, "a" * BYTES_MAX[rule], NOBODY)
            yield f"{where}: as long as can be", longest
            if rule not in WORDS:
                for name in ["\u202eevil", "\u0440\u0430y\u200bpal", "%n{}{0}", "O'Hara \\ \"x\""]:
                    yield f"{where}: {name!r}", put_text(method, path, name, NOBODY)
        elif path[-1].message_type and path[-1].message_type.name == "Struct":
            for what, content in [
                ("16 levels", wire.deep_struct(16)),
                ("16 levels of lists", wire.deep_list(16)),
                ("64 KiB", wire.entry("a", wire.string_value("x" * ((64 << 10) - len('{"a":""}'))))),
                ("a number beyond 2^53", wire.entry("a", wire.number_value(1e308))),
                ("an unknown kind, and a known", wire.entry("a", wire.blob(99, "") + null)),
            ]:
                yield f"{where}: {what}", put_message(method, path, content, NOBODY)
        elif path[-1].name in ("heartbeat_timeout", "heartbeat_interval"):
            for what, content in [("1 s", wire.whole(1, 1)), ("10 min", wire.whole(1, 600))]:
                yield f"{where}: {what}", put_message(method, path, content, NOBODY)
