"""A proxy in front of PostgreSQL that knows where a COMMIT is, and fails there.

    daemon ──▶ route ──▶ PostgreSQL          a route: a port, the server behind it, and what goes wrong
               Way to_server, Way to_client  of each connection: what may be held back, and for how long

It reads the messages of both sides (type byte, length, body; the first ones of a client have no
type). A COMMIT is an Execute of a portal that was bound to a statement whose text is COMMIT, or a
Query of that text; its answer is the CommandComplete that says COMMIT. What may become of one:

    before       cut; the COMMIT was not forwarded, what came before it was
    behind       cut at once behind the COMMIT: whether it arrives and counts is anybody's guess
    committed    cut once the answer is there, of which nothing is forwarded: it counts, for certain
    half         cut in the middle of the answer
    unready      cut behind the answer, before ReadyForQuery
    late         the client is cut, and the COMMIT forwarded only some time later
    hold         the COMMIT is forwarded some time later
    hold_answer  its answer is

Chances are drawn from a seed, for each COMMIT; `once` names what becomes of the next one. Besides,
a route can be delayed, swallow one direction or both, and cut all it has.

`PostgresProxy` runs it as a process of its own, so that callers in the test's process cost it
nothing. It takes commands on stdin and answers on stdout, a JSON array a line. What is held back
is kept in memory.
"""

import asyncio
import collections
import json
import pathlib
import random
import socket
import struct
import subprocess
import sys
import threading

CUTS = ("before", "behind", "committed", "half", "unready", "late")
HOLDS = ("hold", "hold_answer")
KINDS = CUTS + HOLDS
# Longer than a daemon waits until it examines a silent connection, at times.
HOLD_SECONDS_MAX = 1.5
LATE_SECONDS_MAX = 0.3

# The codes of first messages that ask for something other than a session.
ENCRYPTIONS = (80877103, 80877104)  # TLS, GSSAPI: the answer is one byte.


class Messages:
    """Cuts what comes in pieces into whole messages."""

    def __init__(self, typed):
        self._typed = typed
        self._buffer = bytearray()

    def begin_types(self):
        """The first message, without a type, was the last one of its kind."""
        self._typed = True

    def add(self, data):
        self._buffer += data

    def next(self):
        """(type, whole message), or None; the type of a first message is empty."""
        head = 5 if self._typed else 4
        if len(self._buffer) < head:
            return None
        size = struct.unpack_from("!I", self._buffer, head - 4)[0] + head - 4
        if len(self._buffer) < size:
            return None
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return (message[:1] if self._typed else b""), message

    def take_byte(self):
        if not self._buffer:
            return None
        byte = bytes(self._buffer[:1])
        del self._buffer[:1]
        return byte


def is_commit(text):
    return text.strip(b" \t\n;").upper() in (b"COMMIT", b"END")


def is_commits_answer(kind, message):
    return kind == b"C" and message[5:] == b"COMMIT\0"


class Statements:
    """What a client has prepared and bound, as far as it commits."""

    def __init__(self):
        self._commits, self._portals = set(), set()

    def commits(self, kind, message):
        """Whether a client's message is the one that commits."""
        if kind == b"Q":
            return is_commit(message[5:-1])
        if kind == b"P":
            name, text, _ = message[5:].split(b"\0", 2)
            self._note(self._commits, name, is_commit(text))
        elif kind == b"B":
            portal, name, _ = message[5:].split(b"\0", 2)
            self._note(self._portals, portal, name in self._commits)
        elif kind == b"E":
            return message[5:].split(b"\0", 1)[0] in self._portals
        return False

    @staticmethod
    def _note(names, name, is_one):
        (names.add if is_one else names.discard)(name)


class Way:
    """One direction of a connection. What is sent through it arrives in order, and perhaps later."""

    def __init__(self, route, name, transport):
        self._route, self._name, self._transport = route, name, transport
        self._waiting = collections.deque()  # (when, data)
        self._held_until = 0
        self._timer = None

    def send(self, data):
        if not data:
            return
        now = self._route.loop.time()
        due = max(now + self._route.delay, self._held_until)
        if not self._waiting and due <= now and self._name not in self._route.swallowed:
            self._transport.write(data)
        else:
            self._waiting.append((due, data))
            self.pump()

    def hold(self, seconds):
        """What is sent from now on waits so long."""
        self._held_until = self._route.loop.time() + seconds

    def pump(self):
        """Forwards what is due."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._name in self._route.swallowed:
            return
        now = self._route.loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            self._transport.write(self._waiting.popleft()[1])
        if self._waiting:
            self._timer = self._route.loop.call_at(self._waiting[0][0], self.pump)

    @property
    def empty(self):
        return not self._waiting

    def end(self, reset):
        """Behind what has been forwarded; a reset may swallow even that."""
        if self._timer:
            self._timer.cancel()
        self._waiting.clear()
        if reset:
            end = self._transport.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()


class Side(asyncio.Protocol):
    """One end's socket: tells the connection of its beginning, of what comes, and of its end."""

    def __init__(self, on_begin, on_data, on_end):
        self._on_begin, self._on_data, self._on_end = on_begin, on_data, on_end

    def connection_made(self, transport):
        self._on_begin(transport)

    def data_received(self, data):
        self._on_data(data)

    def connection_lost(self, _):
        self._on_end()


class Connection:
    """A client's connection, and the one to the server that was made for it."""

    def __init__(self, route):
        self._route = route
        self._asked, self._answered = Messages(typed=False), Messages(typed=True)
        self._bytes_awaited = 0  # Answers to ENCRYPTIONS.
        self._statements = Statements()
        # What is to become of the COMMITs on the wire: their answers come in this order.
        self._plans = collections.deque()
        self.to_client = self.to_server = None
        self._early = b""
        self._client_cut = self._over = False

    def on_client(self, transport):
        self.to_client = Way(self._route, "to_client", transport)
        self._route.connections.add(self)
        self._connecting = self._route.loop.create_task(self._connect())

    async def _connect(self):
        try:
            await self._route.loop.create_connection(
                lambda: Side(self.on_server, self.on_answer, self.on_server_end), *self._route.server
            )
        except OSError:
            self.cut(reset=False)

    def on_server(self, transport):
        if self._over:
            transport.abort()
            return
        self.to_server = Way(self._route, "to_server", transport)
        early, self._early = self._early, b""
        self.on_question(early)

    # ---- from the client

    def on_question(self, data):
        if self._over or self._client_cut:
            return
        if self.to_server is None:
            self._early += data
            return
        self._asked.add(data)
        out = bytearray()
        while (asked := self._asked.next()) is not None:
            kind, message = asked
            if kind == b"":
                self._note_first(message)
            elif self._statements.commits(kind, message) and not self._forwards(message, out):
                return
            out += message
        self.to_server.send(bytes(out))

    def _note_first(self, message):
        if struct.unpack_from("!I", message, 4)[0] in ENCRYPTIONS:
            self._bytes_awaited += 1
        else:
            self._asked.begin_types()

    def _forwards(self, message, out):
        """A COMMIT, behind `out`. Answers whether all goes on as usual."""
        what = self._route.draw()
        if what == "before":
            self.to_server.send(bytes(out))
            self._count_and_cut(what)
            return False
        if what == "behind":
            # All that the client sent at once, the Sync, too.
            self.to_server.send(bytes(out) + message + self._rest())
            self._count_and_cut(what)
            return False
        if what == "late":
            self.to_server.send(bytes(out))
            self.to_server.hold(self._route.chance.uniform(0, LATE_SECONDS_MAX))
            self.to_server.send(message + self._rest())
            self._route.counts[what] += 1
            self._client_cut = True
            self.to_client.end(self._route.draw_reset())
            return False
        if what == "hold":
            self.to_server.send(bytes(out))
            out.clear()
            self.to_server.hold(self._route.draw_hold())
            self._route.counts[what] += 1
        self._plans.append(what)
        return True

    def _rest(self):
        rest = b""
        while (asked := self._asked.next()) is not None:
            rest += asked[1]
        return rest

    # ---- from the server

    def on_answer(self, data):
        if self._over:
            return None
        self._answered.add(data)
        out = bytearray()
        while self._bytes_awaited and (byte := self._answered.take_byte()):
            self._bytes_awaited -= 1
            out += byte
            if byte != b"N":
                raise AssertionError("What is encrypted cannot be read here.")
        while (answered := self._answered.next()) is not None:
            kind, message = answered
            if self._client_cut:
                if kind in b"EZ" or is_commits_answer(kind, message):
                    return self.cut(reset=False)
            elif is_commits_answer(kind, message) and self._plans:
                plan = self._plans.popleft()
                if plan == "committed":
                    self.to_client.send(bytes(out))
                    return self._count_and_cut(plan)
                if plan == "half":
                    self.to_client.send(bytes(out) + message[: len(message) // 2])
                    return self._count_and_cut(plan, reset=False)
                if plan == "unready":
                    self.to_client.send(bytes(out) + message)
                    return self._count_and_cut(plan, reset=False)
                if plan == "hold_answer":
                    self.to_client.send(bytes(out))
                    out.clear()
                    self.to_client.hold(self._route.draw_hold())
                    self._route.counts[plan] += 1
            elif kind == b"Z":
                self._plans.clear()  # Of COMMITs that failed: nothing of them is left on the wire.
            out += message
        if not self._client_cut:
            self.to_client.send(bytes(out))
        return None

    # ---- ends

    def _count_and_cut(self, what, reset=None):
        self._route.counts[what] += 1
        self.cut(self._route.draw_reset() if reset is None else reset)

    def cut(self, reset):
        if self._over:
            return
        self._over = True
        self._route.connections.discard(self)
        if not self._client_cut:
            self.to_client.end(reset)
        if self.to_server:
            self.to_server.end(reset)

    def on_client_end(self):
        if not self._client_cut:  # Else the COMMIT is to arrive all the same.
            self.cut(reset=False)

    def on_server_end(self):
        self.cut(reset=False)


class Route:
    """A port, the server behind it, and what goes wrong on the way."""

    def __init__(self, server, seed):
        self.loop = asyncio.get_running_loop()
        self.server = tuple(server)
        self.chance = random.Random(seed)
        self.counts = collections.Counter()
        self.connections = set()
        self.delay = 0
        self.swallowed = set()
        self._chances = {}
        self._next = collections.deque()
        self._listener = None

    async def listen(self):
        self._listener = await self.loop.create_server(self._accept, "127.0.0.1", 0)
        return self._listener.sockets[0].getsockname()[1]

    def _accept(self):
        connection = Connection(self)
        return Side(connection.on_client, connection.on_question, connection.on_client_end)

    def draw(self):
        """What becomes of a COMMIT; None for nothing."""
        self.counts["commits"] += 1
        if self._next:
            return self._next.popleft()
        drawn = self.chance.random()
        for kind, share in self._chances.items():
            drawn -= share
            if drawn < 0:
                return kind
        return None

    def draw_reset(self):
        return self.chance.random() < 0.5

    def draw_hold(self):
        return self.chance.uniform(0, HOLD_SECONDS_MAX)

    # ---- commands

    def set_chances(self, chances):
        assert set(chances) <= set(KINDS), chances
        self._chances = chances

    def once(self, kind):
        assert kind in KINDS, kind
        self._next.append(kind)

    def set_delay(self, seconds):
        self.delay = seconds

    def swallow(self, *directions):
        """What goes there does not arrive, until another word."""
        self.swallowed = set(directions)
        self.counts["black holes"] += bool(directions)
        for connection in list(self.connections):
            for way in (connection.to_server, connection.to_client):
                if way:
                    way.pump()

    def cut_all(self):
        for connection in list(self.connections):
            connection.cut(self.draw_reset())
        self.counts["all cut"] += 1

    def count(self):
        return dict(self.counts)


class PostgresProxy:
    """The proxy as a process, with a route to each of `servers`: (host, port) each. Threads may
    share it."""

    def __init__(self, servers, seed=0):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(servers), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parent,
        )
        self.ports = self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the proxy has ended"
        return json.loads(line)

    def _tell(self, route, command, *arguments):
        with self._lock:
            print(json.dumps([route, command, *arguments]), file=self._process.stdin, flush=True)
            return self._answer()

    def set_chances(self, route, **chances):
        """By kind: of how many of the COMMITs it is to happen to one."""
        self._tell(route, "set_chances", chances)

    def once(self, route, kind):
        self._tell(route, "once", kind)

    def set_delay(self, route, seconds):
        self._tell(route, "set_delay", seconds)

    def swallow(self, route, *directions):
        """Of `to_server` and `to_client`; none: what was held back arrives now."""
        self._tell(route, "swallow", *directions)

    def cut_all(self, route):
        self._tell(route, "cut_all")

    def counts(self):
        """What has happened, on all routes together."""
        total = collections.Counter()
        for route in range(len(self.ports)):
            total.update(self._tell(route, "count"))
        return total

    def remove(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


async def main(servers, seed):
    routes = [Route(server, f"{seed}/{number}") for number, server in enumerate(servers)]
    print(json.dumps([await route.listen() for route in routes]), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async for line in commands:
        number, command, *arguments = json.loads(line)
        answer = getattr(routes[number], command)(*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), sys.argv[2]))
