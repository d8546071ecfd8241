"""What the harness knows of the contract, read from the protos: methods, and where requests have their request_id.

Messages are not decoded beyond that: whatever the contract gains, the harness needs no change.
"""

import pathlib
import re
import uuid

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto/sessiond/v1"


class Contract:
    def __init__(self):
        text = "\n".join(path.read_text() for path in sorted(PROTOS.glob("*.proto")))
        text = re.sub(r"//.*", "", text)
        self._messages = dict(re.findall(r"^message (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL))
        # The number of request_id in each request that has one.
        numbers = {}
        for name, body in self._messages.items():
            number = re.search(r"string request_id = (\d+)", body)
            if number:
                numbers[name] = int(number[1])
        # Method → its service, whether it streams, and the number of its request_id (None: it changes nothing).
        self.methods = {}
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            rpcs = re.findall(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?[\w.]+\)", body)
            for method, sends, request, receives in rpcs:
                self.methods[method] = (service, bool(sends or receives), numbers.get(request))

    def has(self, field):
        """Whether the contract has a field, `Message.field`; None for whatever every contract has."""
        if field is None:
            return True
        message, _, name = field.partition(".")
        return bool(re.search(rf"\b{name} = \d", self._messages.get(message, "")))

    def streams(self, method):
        return method in self.methods and self.methods[method][1]

    def changes(self, method):
        return method in self.methods and self.methods[method][2] is not None

    def request_id(self, method, message):
        """The request_id of a serialized request; empty without one, and for methods that have none."""
        place = self._place(method, message)
        return message[place].decode() if place else ""

    def with_fresh_request_id(self, method, message):
        """The request, with another request_id of the same length."""
        place = self._place(method, message)
        if not place:
            return message
        fresh = str(uuid.uuid4()).encode().ljust(place.stop - place.start, b"0")[: place.stop - place.start]
        return message[: place.start] + fresh + message[place.stop :]

    def _place(self, method, message):
        if not self.changes(method):
            return None
        for number, start, stop in fields(message):
            if number == self.methods[method][2]:
                return slice(start, stop)
        return None


def camel(name):
    """get_session → GetSession."""
    return "".join(word.capitalize() for word in name.split("_"))


def varint(message, at):
    value = shift = 0
    while True:
        octet, at = message[at], at + 1
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, at


def fields(message):
    """The fields of a serialized message: number, and where its content begins and ends."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        start, kind = at, tag & 7
        if kind == 0:
            _, at = varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, start = varint(message, at)
            at = start + length
        elif kind == 5:
            at += 4
        else:
            raise ValueError(f"wire type {kind} at {at}")
        yield tag >> 3, start, at


def put_varint(value):
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def put(number, content):
    """A field: a number, or bytes, or text."""
    if isinstance(content, int):
        return put_varint(number << 3) + put_varint(content)
    octets = content.encode() if isinstance(content, str) else content
    return put_varint(number << 3 | 2) + put_varint(len(octets)) + octets


CODES = {
    name: number
    for number, name in enumerate(
        "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
        "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
        "UNAUTHENTICATED".split()
    )
}


def status(refusal):
    """A serialized google.rpc.Status with the ErrorInfo and RetryInfo that a fault asks for."""
    message = put(1, CODES[refusal["code"]]) + put(2, refusal.get("message", "The proxy refuses."))
    if "reason" in refusal:
        metadata = {**refusal.get("metadata", {})}
        if refusal.get("category"):
            metadata["category"] = refusal["category"]
        info = put(1, refusal["reason"]) + put(2, refusal.get("domain", "sessiond"))
        for key, value in metadata.items():
            info += put(3, put(1, key) + put(2, value))
        message += put(3, put(1, "type.googleapis.com/google.rpc.ErrorInfo") + put(2, info))
    if "retry_delay_s" in refusal:
        seconds, nanos = divmod(round(refusal["retry_delay_s"] * 1_000_000_000), 1_000_000_000)
        retry = put(1, put(1, seconds) + put(2, nanos))
        message += put(3, put(1, "type.googleapis.com/google.rpc.RetryInfo") + put(2, retry))
    return message
