"""A proxy between client and daemon that understands HTTP/2: it records requests, and makes the faults.

    client ──▶ whole requests ──▶ a fault that waits for this method? ──▶ daemon
       ◀────── frames ◀────────── cut, drop, repeat, end ◀──────────────────┘

Header blocks are decoded and written anew as literals, in both directions, so that a request can be left out without
the two sides' tables falling apart. A request is forwarded when it is whole: the daemon sees all of it or nothing.
"""

import base64
import re
import select
import socket
import ssl
import struct
import threading
import time

import hpack
from contract import CODES, status

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, HAS_PRIORITY = 1, 4, 8, 0x20
CANCEL = 8
# How long a daemon may take to say hello.
GREETING_SECONDS = 10
UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Gone(Exception):
    """The connection is to be closed."""


class Request:
    """A request that went through."""

    def __init__(self, method, headers):
        self.method = method
        self.headers = headers
        self.time = time.monotonic()
        self.request_id = ""
        # How it ended, as the client saw it: gRPC's code, CUT, or None for not yet.
        self.outcome = None
        # The earliest time at which another attempt may come.
        self.not_before = None

    @property
    def metadata(self):
        return dict(self.headers)

    @property
    def timeout_s(self):
        match = re.fullmatch(r"(\d+)([HMSmun])", self.metadata.get("grpc-timeout", ""))
        return int(match[1]) * UNITS[match[2]] if match else None

    def __repr__(self):
        return f"{self.method} request_id={self.request_id or '-'} timeout={self.timeout_s} -> {self.outcome}"


class Stream:
    def __init__(self, request):
        self.request = request
        self.body = b""
        self.forwarded = False
        self.answered = False  # The client has got headers of the daemon's.
        self.cut_on_answer = False
        self.messages_left = None  # How many of the daemon's messages pass before the rest is held back.
        self.ended = False  # By the proxy: nothing of the daemon's goes to the client any more.
        self.message = b""  # What has come of the daemon's next message.
        self.changes = 0


class Connection:
    """One client's connection, and the one to the daemon behind it."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.client = client
        self.server = server
        self.streams = {}
        self.stalled = False
        self._lock = threading.RLock()
        self._closed = False
        self._greeted = threading.Event()  # The daemon's first frame has gone to the client.
        self._from_client = hpack.Decoder()
        self._from_server = hpack.Decoder()
        self.threads = [
            threading.Thread(target=self._pump, args=(self._requests,), daemon=True),
            threading.Thread(target=self._pump, args=(self._answers,), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def close(self):
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for stream in self.streams.values():
                if stream.request.outcome is None:
                    stream.request.outcome = "CUT"
            for each in (self.client, self.server):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                each.close()
        self.proxy.forget(self)

    def end_streams(self, fault):
        """Ends the open streams of a method with a status. Answers how many."""
        count = 0
        with self._lock:
            for number, stream in list(self.streams.items()):
                if stream.request.method == fault["method"] and stream.forwarded and not stream.ended:
                    self._to_server(RST_STREAM, 0, number, struct.pack(">I", CANCEL))
                    self._refuse(number, stream, fault)
                    count += 1
        return count

    def _pump(self, work):
        try:
            work()
        except (Gone, OSError, ValueError):
            pass
        # A stalled connection stays as it is until the client gives it up.
        if not self.stalled or work == self._requests:
            self.close()

    # From the client.

    def _requests(self):
        if self._read(self.client, len(PREFACE)) != PREFACE:
            raise Gone
        self.server.sendall(PREFACE)
        while True:
            kind, flags, number, payload = self._frame(self.client)
            if self.stalled:
                continue
            if kind == HEADERS:
                # A server's first frame is its SETTINGS (RFC 9113, 3.4): nothing is answered before the daemon's are sent.
                self._greeted.wait(GREETING_SECONDS)
            with self._lock:
                self._request_frame(kind, flags, number, payload)

    def _request_frame(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == HEADERS:
            block, flags = self._block(self.client, flags, payload)
            headers = self._from_client.headers(block)
            self._begin(number, headers)
            if flags & END_STREAM:
                self._whole(number)
        elif kind == DATA:
            if stream is None:
                return
            stream.body += _unpadded(flags, payload)
            if flags & END_STREAM:
                self._whole(number)
        elif kind in (RST_STREAM, WINDOW_UPDATE) and number:
            if stream is not None and stream.forwarded and not stream.ended:
                self._to_server(kind, flags, number, payload)
            if kind == RST_STREAM and stream is not None:
                stream.request.outcome = stream.request.outcome or "CANCELLED"
                self.streams.pop(number)
        elif kind != PRIORITY:
            self._to_server(kind, flags, number, payload)

    def _begin(self, number, headers):
        path = dict(headers).get(":path", "")
        if self.proxy.sabotage == "no-deadline":
            headers = [each for each in headers if each[0] != "grpc-timeout"]
        self.streams[number] = Stream(Request(path.rpartition("/")[2], headers))

    def _whole(self, number):
        stream = self.streams[number]
        request, contract = stream.request, self.proxy.contract
        message = stream.body[5:]
        if self.proxy.sabotage == "fresh-request-id":
            message = contract.with_fresh_request_id(request.method, message)
            stream.body = stream.body[:5] + message
        request.request_id = contract.request_id(request.method, message)
        request.time = time.monotonic()
        fault = self.proxy.arrived(request)
        kind = fault and fault["kind"]
        if kind == "cut" and fault["when"] == "before":
            raise Gone
        if kind == "hold" and "messages" not in fault:
            return
        if kind == "answer":
            self._refuse(number, stream, fault)
            return
        stream.cut_on_answer = kind == "cut"
        stream.messages_left = fault["messages"] if kind == "hold" else None
        stream.forwarded = True
        self._to_server(HEADERS, END_HEADERS, number, hpack.encode(request.headers))
        self._to_server(DATA, END_STREAM, number, stream.body)

    def _refuse(self, number, stream, fault):
        """Answers in the daemon's place."""
        request = stream.request
        headers = [
            ("grpc-status", str(CODES[fault["code"]])),
            ("grpc-message", fault.get("message", "The proxy refuses.")),
        ]
        if not stream.answered:
            headers = [(":status", "200"), ("content-type", "application/grpc"), *headers]
        if "reason" in fault or "retry_delay_s" in fault:
            details = base64.b64encode(status(fault)).decode().rstrip("=")
            headers.append(("grpc-status-details-bin", details))
        pause = fault.get("retry_delay_s", 0)
        if "pushback_ms" in fault:
            headers.append(("grpc-retry-pushback-ms", str(fault["pushback_ms"])))
            pause = max(pause, fault["pushback_ms"] / 1000)
        if self.proxy.sabotage == "strip-details":
            headers = [each for each in headers if each[0] != "grpc-status-details-bin"]
        request.outcome = fault["code"]
        request.not_before = time.monotonic() + pause
        stream.ended = True
        self._to_client(HEADERS, END_HEADERS | END_STREAM, number, hpack.encode(headers))

    # From the daemon.

    def _answers(self):
        while True:
            kind, flags, number, payload = self._frame(self.server)
            if self.stalled:
                continue
            with self._lock:
                self._answer_frame(kind, flags, number, payload)

    def _answer_frame(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == HEADERS:
            block, flags = self._block(self.server, flags, payload)
            headers = self._from_server.headers(block)
            if stream is None or stream.ended:
                return
            if stream.cut_on_answer:
                raise Gone
            if self.proxy.sabotage == "strip-details":
                headers = [each for each in headers if each[0] != "grpc-status-details-bin"]
            code = dict(headers).get("grpc-status")
            if code is not None:
                stream.request.outcome = list(CODES)[int(code)]
                stream.request.not_before = time.monotonic()
            stream.answered = True
            payload, flags = hpack.encode(headers), flags & END_STREAM | END_HEADERS
        elif number and kind in (DATA, RST_STREAM, WINDOW_UPDATE):
            if stream is None or stream.ended:
                return
            if stream.cut_on_answer and kind != WINDOW_UPDATE:
                raise Gone
            if kind == RST_STREAM and stream.request.outcome is None:
                stream.request.outcome = "RESET"
            if kind == DATA and (self.proxy.sabotage or stream.messages_left is not None):
                payload, flags = self._messages(stream, _unpadded(flags, payload)), flags & END_STREAM
        self._to_client(kind, flags, number, payload)
        self._greeted.set()
        if flags & END_STREAM and kind in (HEADERS, DATA):
            self.streams.pop(number, None)

    def _messages(self, stream, data):
        """What passes of the daemon's messages: the first ones, if the rest is held back, and, sabotaged, without one
        change of a watch or with one too much. A message passes when it is whole."""
        stream.message += data
        passed = b""
        while len(stream.message) >= 5:
            length = 5 + struct.unpack(">I", stream.message[1:5])[0]
            if len(stream.message) < length or stream.ended:
                break
            message, stream.message = stream.message[:length], stream.message[length:]
            if stream.messages_left is not None:
                stream.messages_left -= 1
                stream.ended = stream.messages_left <= 0
            times = 1
            if stream.request.method == "WatchSessions" and message[5:6] == b"\x12":  # Its field 2: a change.
                stream.changes += 1
                if stream.changes == 2:
                    times = {"drop-event": 0, "repeat-event": 2}.get(self.proxy.sabotage, 1)
            passed += message * times
        return passed

    # The wire.

    def _to_client(self, kind, flags, number, payload):
        self.client.sendall(_frame(kind, flags, number, payload))

    def _to_server(self, kind, flags, number, payload):
        self.server.sendall(_frame(kind, flags, number, payload))

    def _block(self, source, flags, payload):
        block = _unpadded(flags, payload)
        if flags & HAS_PRIORITY:
            block = block[5:]
        while not flags & END_HEADERS:
            _, more, _, payload = self._frame(source)
            block, flags = block + payload, flags | more & END_HEADERS
        return block, flags

    def _frame(self, source):
        head = self._read(source, 9)
        length_and_kind, flags, number = struct.unpack(">IBI", head)
        return length_and_kind & 0xFF, flags, number & 0x7FFFFFFF, self._read(source, length_and_kind >> 8)

    @staticmethod
    def _read(source, size):
        octets = b""
        while len(octets) < size:
            part = source.recv(size - len(octets))
            if not part:
                raise Gone
            octets += part
        return octets


class Proxy:
    """Listens on a port of its own, for one scenario."""

    def __init__(self, contract, upstream, sabotage=None, tls=None):
        self.contract = contract
        self.upstream = upstream
        self.sabotage = sabotage
        self.requests = []
        self._tls = tls
        self._faults = []
        self._connections = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join()
        for connection in self._all():
            connection.close()

    def fault(self, fault):
        """Makes a fault at once, or keeps it until its method is called."""
        kind = fault["kind"]
        if kind == "clear":
            with self._lock:
                self._faults.clear()
        elif kind == "stall":
            for connection in self._all():
                connection.stalled = True
        elif kind == "cut" and fault["when"] == "now":
            for connection in self._all():
                connection.close()
        elif kind == "end":
            if not sum(connection.end_streams(fault) for connection in self._all()):
                raise ValueError(f"No stream of {fault['method']} is open.")
        else:
            with self._lock:
                self._faults.append({"count": 1, **fault})
            if kind == "refuse":
                for connection in self._all():
                    connection.close()

    def arrived(self, request):
        """Records a request, and answers with the fault that is meant for it."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.get("method") == request.method and fault["count"] > 0:
                    fault["count"] -= 1
                    return fault
        return None

    def seen(self, method):
        with self._lock:
            requests = [each for each in self.requests if each.method == method]
        times = [each.time for each in requests]
        return {
            "count": len(requests),
            "request_ids": len({each.request_id for each in requests if each.request_id}),
            "gaps_s": [later - earlier for earlier, later in zip(times, times[1:])],
            "metadata": requests[-1].metadata if requests else {},
            "timeouts_s": [each.timeout_s for each in requests],
            "ids": [each.request_id for each in requests],
            "outcomes": [each.outcome for each in requests],
        }

    def forget(self, connection):
        with self._lock:
            self._connections.discard(connection)

    def _all(self):
        with self._lock:
            return list(self._connections)

    def _refuses(self):
        with self._lock:
            return any(fault["kind"] == "refuse" for fault in self._faults)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._open, args=(client,), daemon=True).start()

    def _open(self, client):
        server = None
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._refuses():
                raise Gone
            if self._tls:
                client = TlsSocket(self._tls.wrap_socket(client, server_side=True))
            host, _, port = self.upstream().rpartition(":")
            server = socket.create_connection((host, int(port)))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (Gone, OSError, ssl.SSLError):
            client.close()
            return
        connection = Connection(self, client, server)
        with self._lock:
            self._connections.add(connection)


class TlsSocket:
    """A TLS connection that one thread reads while others write, which OpenSSL alone does not allow."""

    def __init__(self, connection):
        self._connection = connection
        self._lock = threading.Lock()
        connection.setblocking(False)

    def recv(self, size):
        return self._do(self._connection.recv, size)

    def sendall(self, octets):
        while octets:
            octets = octets[self._do(self._connection.send, octets) :]

    def shutdown(self, how):
        socket.socket.shutdown(self._connection, how)  # Of the socket, without TLS's goodbye.

    def close(self):
        self._connection.close()

    def _do(self, call, argument):
        while True:
            try:
                with self._lock:
                    return call(argument)
            except ssl.SSLWantReadError:
                select.select([self._connection], [], [], 60)
            except ssl.SSLWantWriteError:
                select.select([], [self._connection], [], 60)


def tls_context(certificate, key, client_ca=None):
    """What a proxy needs to speak TLS with its clients; with `client_ca` they have to show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _frame(kind, flags, number, payload):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, number) + payload


def _unpadded(flags, payload):
    if not flags & PADDED:
        return payload
    return payload[1 : len(payload) - payload[0]]
