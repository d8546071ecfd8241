"""A client of the daemon's HTTP port: the Connect protocol, in JSON, by Python's own http.client."""

import base64
import http.client
import json
import struct

from conftest import CALL_SECONDS, Refused
from google.protobuf import json_format

CODES = {
    "canceled": "CANCELLED",
    **{
        name.lower(): name
        for name in (
            "UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
            "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL "
            "UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
        ).split()
    },
}
JSON = {"Content-Type": "application/json"}


class HttpRefused(Refused):
    """As gRPC's, with the status and the headers of HTTP."""

    def __init__(self, contract, error, status=200, headers=None):
        Exception.__init__(self, f"{error['code']}: {error['message']}")
        self.code = CODES[error["code"]]
        self.sentence = error["message"]
        self.status = status
        self.headers = headers or {}
        self.details = {}
        for detail in error.get("details", []):
            assert "=" not in detail["value"]
            padded = detail["value"] + "=" * (-len(detail["value"]) % 4)
            content = contract.message(detail["type"]).FromString(base64.b64decode(padded))
            self.details[detail["type"].rpartition(".")[2]] = json_format.MessageToDict(
                content, descriptor_pool=contract.pool
            )
            assert self.details[detail["type"].rpartition(".")[2]] == detail["debug"]


class HttpClient:
    """One connection, which is made again when it has ended. `headers` go with every call."""

    def __init__(self, contract, address, tls=None, headers=None):
        self._contract = contract
        host, port = address.rsplit(":", 1)
        if tls:
            self.connection = http.client.HTTPSConnection("localhost", int(port), timeout=CALL_SECONDS, context=tls)
        else:
            self.connection = http.client.HTTPConnection(host, int(port), timeout=CALL_SECONDS)
        self._headers = headers or {}

    def close(self):
        self.connection.close()

    def ask(self, path, content=None, headers=None, verb="POST"):
        """Status, headers and content of an answer."""
        self.connection.request(verb, path, content, {**self._headers, **(headers or {})})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def unary(self, method, request, headers=None):
        """The answer as its JSON says it. Raises HttpRefused."""
        path = "/" + self._contract.full(method)
        status, answered, content = self.ask(path, json.dumps(request), {**JSON, **(headers or {})})
        said = json.loads(content)
        if status == 200:
            return said
        raise HttpRefused(self._contract, said, status, answered)

    def stream(self, method, requests, headers=None):
        """The messages of a stream as they come. Raises HttpRefused."""
        sent = [json.dumps(request).encode() for request in requests]
        for said in self._stream("/" + self._contract.full(method), sent, "application/connect+json", headers):
            yield json.loads(said)

    def first_of_stream(self, path, request):
        """As Client.first_of_stream: in Protobuf's bytes."""
        try:
            for first in self._stream(path, [request], "application/connect+proto", {}):
                return first
            raise AssertionError("an empty stream")
        finally:
            self.close()

    def _stream(self, path, messages, kind, headers):
        sent = b"".join(struct.pack(">BI", 0, len(content)) + content for content in messages)
        self.close()  # A stream has a connection of its own.
        self.connection.request("POST", path, sent, {"Content-Type": kind, **self._headers, **(headers or {})})
        answer = self.connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind), answer.read()
        while True:
            head = answer.read(5)
            assert len(head) == 5, "the stream ends without its end"
            flags, length = struct.unpack(">BI", head)
            content = answer.read(length)
            if flags == 0:
                yield content
                continue
            assert flags == 2 and not answer.read()
            said = json.loads(content)
            if "error" in said:
                raise HttpRefused(self._contract, said["error"], headers=said.get("metadata"))
            return

    def call(self, method, request=None, headers=None):
        """As Client.call; of a stream its first message."""
        if method not in ("WatchSessions", "ImportSessions"):
            return self.unary(method, request or {}, headers)
        try:
            for first in self.stream(method, [request or {}], headers):
                return first
            raise AssertionError("an empty stream")
        finally:
            self.close()
