"""Just enough HTTP/2 (RFC 9113) and HPACK (RFC 7541) for one gRPC call with headers of one's own:
gRPC's libraries write some themselves, `grpc-timeout` among them.
"""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
ACK = END_STREAM = 1
END_HEADERS = 4
# Names of HPACK's static table that answers begin with; others do not matter here.
STATIC_NAMES = {8: ":status", 28: "content-length", 31: "content-type", 54: "server"}


class Closed(Exception):
    """The stream or the connection ended without an answer."""


def frame(kind, flags, stream, payload):
    head = struct.pack(">IBI", len(payload) << 8 | kind, flags, stream)
    return head + payload


def literal(text):
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def integer(block, bits):
    """Takes a whole number with a prefix of so many bits; answers with it and what follows."""
    mask = (1 << bits) - 1
    value, block = block[0] & mask, block[1:]
    if value < mask:
        return value, block
    shift = 0
    while True:
        byte, block = block[0], block[1:]
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, block


def text(block):
    length, rest = integer(block, 7)
    return rest[:length].decode("latin-1"), rest[length:]


def headers_of(block, table):
    """The headers of a block. Huffman-coded ones stay as they are: gRPC uses it for -bin only."""
    headers = {}
    while block:
        if block[0] & 0x80:
            index, block = integer(block, 7)
            name, value = table[index - 62] if index > 61 else (STATIC_NAMES.get(index), "")
        elif block[0] & 0xE0 == 0x20:
            _, block = integer(block, 5)
            continue
        else:
            indexed = bool(block[0] & 0x40)
            index, block = integer(block, 6 if indexed else 4)
            if index == 0:
                name, block = text(block)
            else:
                name = table[index - 62][0] if index > 61 else STATIC_NAMES.get(index)
            value, block = text(block)
            if indexed:
                table.insert(0, (name, value))
        headers[name] = value
    return headers


def call(address, path, request, headers=(), content_type="application/grpc", stream=None):
    """Calls a method with a connection of its own; answers with all headers and trailers. `stream`:
    what is sent as the request's stream, in place of the one message that it should be. Raises
    Closed."""
    host, port = address.rsplit(":", 1)
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", address),
        ("content-type", content_type),
        ("te", "trailers"),
        *headers,
    ]
    block = b"".join(b"\0" + literal(name) + literal(value) for name, value in fields)
    if stream is None:
        stream = b"\0" + struct.pack(">I", len(request)) + request
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, b"")
            + frame(HEADERS, END_HEADERS, 1, block)
            + frame(DATA, END_STREAM, 1, stream)
        )
        return answer(connection)


def answer(connection):
    stream = connection.makefile("rb")
    headers, table = {}, []
    while True:
        head = stream.read(9)
        if len(head) < 9:
            raise Closed("the connection ended")
        length_and_kind, flags, _ = struct.unpack(">IBI", head)
        kind = length_and_kind & 0xFF
        payload = stream.read(length_and_kind >> 8)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == HEADERS:
            headers.update(headers_of(payload, table))
        elif kind in (RST_STREAM, GOAWAY):
            raise Closed(f"frame {kind}: {payload!r}")
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            return headers
