"""Bad requests, for every method and field of the contract, and how each is refused: a method or a
field that is new joins by itself. And odd ones, which are sound all the same.
"""

import math
import random
import uuid
from typing import NamedTuple

import wire
from conftest import BUILD, Contract
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


def within_text(path, content):
    """A text in its place; a key of a map with a value."""
    value = wire.blob(2, "v") if rule_of(path) in ("labels.key", "references.key") else b""
    return wire.within(path[:-1], wire.blob(path[-1].number, content) + value)


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
            request = base_bytes(method) + within_text(path, content)
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
    text, empty_list = wire.string_value, wire.list_value()
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
        "a million empty lists": (wire.entry("a", wire.list_value(*[empty_list] * 900_000)), ""),
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


def odd(method):
    """Requests that are sound all the same, as (what, bytes behind the sound one)."""
    yield "an unknown number", wire.whole(1000, 7)
    yield "an unknown text that is not UTF-8", wire.blob(1000, b"\xff\0")
    null = wire.whole(1, 0)
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
                ("an unknown kind, and a known", wire.entry("a", wire.blob(99, "") + null)),
            ]:
                yield f"{where}: {what}", wire.within(path, content)
