"""Just enough HTTP/2 (RFC 9113) and HPACK (RFC 7541) for gRPC calls with headers of one's own, and for
connections that behave as no library would: gRPC's write some headers themselves, `grpc-timeout`
among them, and keep to the rules.
"""

import contextlib
import socket
import struct
import threading
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
INITIAL_WINDOW_SIZE = 4
WINDOW, WINDOW_MAX = 65_535, 2**31 - 1
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
    """A string's length, with a prefix of seven bits, and the string."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text.encode()
    head, size = b"\x7f", size - 127
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + text.encode()


def block_of(address, path, headers=(), content_type="application/grpc"):
    """The header block of a call."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", address),
        ("content-type", content_type),
        ("te", "trailers"),
        *headers,
    ]
    return b"".join(b"\0" + literal(name) + literal(value) for name, value in fields)


def message(request, compressed=False):
    """As it is in a call's stream."""
    return bytes([compressed]) + struct.pack(">I", len(request)) + request


def connect(address, source=None):
    """To HOST:PORT or unix:PATH; from an address of one's own."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        if source:
            connection.bind(source)
        connection.settimeout(10)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10, source_address=source and (source, 0))


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
    block = block_of(address, path, headers, content_type)
    if stream is None:
        stream = message(request)
    with connect(address) as connection:
        connection.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, b"")
            + frame(HEADERS, END_HEADERS, 1, block)
            + frame(DATA, END_STREAM, 1, stream)
        )
        return answer(connection)


class Peer:
    """A connection that behaves as it is told. What it sends keeps to the windows it is given; what it
    is sent it reads only where it `reads`, in a thread of its own, and then gives windows back. It
    acknowledges the server's SETTINGS unless it is told not to."""

    def __init__(self, address, window=WINDOW, source=None, acknowledges=True, reads=False):
        self.address = address
        self.socket = connect(address, source)
        # Of what the server has said: streams that are over, and whether the connection is.
        self.over = set()
        self.closed = False
        self._acknowledges = acknowledges
        self._changed = threading.Condition()
        # Of frames, one after the other, and none by a window that is no more. Taken first.
        self._sending = threading.RLock()
        self._window, self._stream_window, self._windows = WINDOW, WINDOW, {}
        hello = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window))
        if window > WINDOW:
            hello += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - WINDOW))
        self.send(hello)
        self._stream = self.socket.makefile("rb")
        if acknowledges:
            while self._read_frame() not in (SETTINGS, None):
                pass
        # Sending may take so long, and reading as long as it likes.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 10, 0))
        self.socket.settimeout(None)
        if reads:
            threading.Thread(target=self._read_on, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def send(self, frames):
        """Whether there is still somebody who takes them."""
        with self._sending:
            try:
                self.socket.sendall(frames)
                return True
            except OSError:
                self.closed = True
                return False

    def call(self, stream, path, request, headers=()):
        """The frames of a whole call, whatever windows say."""
        return frame(HEADERS, END_HEADERS, stream, block_of(self.address, path, headers)) + frame(
            DATA, END_STREAM, stream, message(request)
        )

    def send_bodies(self, bodies, until):
        """Sends {stream: bytes}, a piece of each in turn, as the windows allow, up to a time; answers
        with how much was sent."""
        sent = 0
        bodies = {stream: memoryview(body) for stream, body in bodies.items()}
        while bodies and not self.closed:
            progress = False
            for stream, body in list(bodies.items()):
                with self._sending:
                    with self._changed:
                        window = min(self._windows.setdefault(stream, self._stream_window), self._window)
                        allowed = min(window, 16_384, len(body))
                        if allowed <= 0:
                            continue
                        self._windows[stream] -= allowed
                        self._window -= allowed
                    if not self.send(frame(DATA, 0, stream, bytes(body[:allowed]))):
                        return sent
                progress = True
                sent += allowed
                bodies[stream] = body[allowed:]
                if len(body) == allowed:
                    del bodies[stream]
            if time.monotonic() > until:
                break
            if not progress:
                with self._changed:
                    self._changed.wait(0.2)
        return sent

    def await_over(self, count, seconds):
        """Waits until so many streams are over, or the connection is; answers with how many are."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.over) >= count or self.closed, seconds)
            return len(self.over)

    def _read_on(self):
        with contextlib.suppress(OSError, ValueError):
            while self._read_frame() is not None:
                pass
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _read_frame(self):
        try:
            head = self._stream.read(9)
        except ConnectionResetError:
            head = b""
        if len(head) < 9:
            self.closed = True
            return None
        length_and_kind, flags, stream = struct.unpack(">IBI", head)
        kind, payload = length_and_kind & 0xFF, self._stream.read(length_and_kind >> 8)
        with self._sending, self._changed:
            if kind == SETTINGS and not flags & ACK:
                for at in range(0, len(payload), 6):
                    name, value = struct.unpack_from(">HI", payload, at)
                    if name == INITIAL_WINDOW_SIZE:
                        for each in self._windows:
                            self._windows[each] += value - self._stream_window
                        self._stream_window = value
                if self._acknowledges:
                    self.send(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, payload))
            elif kind == WINDOW_UPDATE:
                more = struct.unpack(">I", payload)[0]
                if stream == 0:
                    self._window += more
                else:
                    self._windows[stream] = self._windows.get(stream, self._stream_window) + more
            elif kind == DATA and payload:
                more = struct.pack(">I", len(payload))
                self.send(frame(WINDOW_UPDATE, 0, 0, more) + frame(WINDOW_UPDATE, 0, stream, more))
            if kind == RST_STREAM or kind in (HEADERS, DATA) and flags & END_STREAM:
                self.over.add(stream)
            self._changed.notify_all()
        return kind


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
