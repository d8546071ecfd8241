"""The proxy in front of PostgreSQL cuts where it says: held against a server that is a script."""

import contextlib
import os
import random
import socket
import struct

import pytest
from postgres_proxy import CUTS, Messages, PostgresProxy, Statements

PATIENCE_SECONDS = 60


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


STARTUP = message(b"", struct.pack("!I", 196608) + b"user\0ada\0\0")
ENCRYPTION = message(b"", struct.pack("!I", 80877103))
PARSE = message(b"P", b"c1\0 commit;\0\0\0") + message(b"P", b"i1\0INSERT\0\0\0")
SYNC = message(b"S")
INSERT = message(b"B", b"\0i1\0" + bytes(6)) + message(b"E", b"\0" + bytes(4))
COMMIT_BOUND = message(b"B", b"\0c1\0" + bytes(6))
COMMIT = message(b"E", b"\0" + bytes(4))
ASKED = INSERT + COMMIT_BOUND + COMMIT + SYNC

READY = message(b"Z", b"I")
INSERTED = message(b"2") + message(b"C", b"INSERT 0 1\0") + message(b"2")
COMMITTED = message(b"C", b"COMMIT\0")
ROLLED_BACK = message(b"C", b"ROLLBACK\0")


def take(peer, count):
    """So many bytes, or what there is until the end."""
    taken = b""
    while len(taken) < count:
        try:
            more = peer.recv(count - len(taken))
        except ConnectionResetError:
            break
        if not more:
            break
        taken += more
    return taken


def rest(peer):
    return take(peer, 1 << 20)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)
        yield listener


@pytest.fixture
def proxy(listener):
    proxy = PostgresProxy([listener.getsockname()], seed=1)
    yield proxy
    proxy.remove()


@pytest.fixture
def ends(listener, proxy):
    """A client and the server behind the proxy, the session begun."""
    with contextlib.ExitStack() as stack:
        yield begin(stack, listener, proxy)


def begin(stack, listener, proxy):
    client = stack.enter_context(
        socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=PATIENCE_SECONDS)
    )
    server = stack.enter_context(listener.accept()[0])
    server.settimeout(PATIENCE_SECONDS)
    client.sendall(STARTUP + PARSE)
    assert take(server, len(STARTUP + PARSE)) == STARTUP + PARSE
    server.sendall(READY)
    assert take(client, len(READY)) == READY
    return client, server


def test_what_comes_in_any_pieces_is_forwarded_byte_for_byte(ends):
    client, server = ends
    chance = random.Random(5)
    for sender, receiver, text in [(client, server, ASKED * 5), (server, client, (INSERTED + COMMITTED + READY) * 5)]:
        sent = 0
        while sent < len(text):
            piece = text[sent : sent + chance.randrange(1, 9)]
            sender.sendall(piece)
            sent += len(piece)
        assert take(receiver, len(text)) == text


def test_a_server_that_does_not_encrypt_says_so_in_one_byte(listener, proxy):
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=PATIENCE_SECONDS) as client:
        client.sendall(ENCRYPTION)
        server = listener.accept()[0]
        with server:
            assert take(server, len(ENCRYPTION)) == ENCRYPTION
            server.sendall(b"N")
            assert take(client, 1) == b"N"
            client.sendall(STARTUP)
            assert take(server, len(STARTUP)) == STARTUP


def test_before_the_server_never_sees_the_commit(ends, proxy):
    client, server = ends
    proxy.once(0, "before")
    client.sendall(ASKED)
    assert rest(server) == INSERT + COMMIT_BOUND
    assert rest(client) == b""
    assert proxy.counts()["before"] == 1


def test_behind_nobody_hears_of_the_answer(listener, proxy):
    arrived = set()
    for _ in range(30):
        with contextlib.ExitStack() as stack:
            client, server = begin(stack, listener, proxy)
            proxy.once(0, "behind")
            client.sendall(ASKED)
            assert rest(client) == b""
            arrived.add(rest(server))
    # By the kind of cut; a reset may overtake what was sent.
    assert ASKED in arrived
    assert proxy.counts()["behind"] == 30


ANSWERED = {
    "committed": INSERTED,
    "half": INSERTED + COMMITTED[: len(COMMITTED) // 2],
    "unready": INSERTED + COMMITTED,
}


@pytest.mark.parametrize("kind", ANSWERED)
def test_at_the_answer_the_server_has_committed(listener, proxy, kind):
    heard = set()
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            client, server = begin(stack, listener, proxy)
            proxy.once(0, kind)
            client.sendall(ASKED)
            assert take(server, len(ASKED)) == ASKED
            server.sendall(INSERTED + COMMITTED + READY)
            heard.add(rest(client))
            assert rest(server) == b""
    assert ANSWERED[kind] in heard
    # A reset may overtake what was forwarded before.
    assert heard <= {ANSWERED[kind], b""}
    assert proxy.counts()[kind] == 10


def test_late_the_client_is_gone_before_the_commit_arrives(ends, proxy):
    client, server = ends
    proxy.once(0, "late")
    client.sendall(ASKED)
    assert rest(client) == b""
    assert take(server, len(ASKED)) == ASKED
    server.sendall(INSERTED + COMMITTED + READY)
    assert rest(server) == b""
    assert proxy.counts()["late"] == 1


@pytest.mark.parametrize("kind", ["hold", "hold_answer"])
def test_what_is_held_arrives_later_and_in_order(ends, proxy, kind):
    client, server = ends
    proxy.once(0, kind)
    client.sendall(ASKED)
    client.sendall(INSERT)
    assert take(server, len(ASKED + INSERT)) == ASKED + INSERT
    answer = INSERTED + COMMITTED + READY + INSERTED
    server.sendall(answer)
    assert take(client, len(answer)) == answer
    assert proxy.counts()[kind] == 1


def test_a_commit_that_failed_is_not_cut_and_neither_is_what_follows(ends, proxy):
    client, server = ends
    proxy.once(0, "committed")
    client.sendall(ASKED + ASKED)
    assert take(server, len(ASKED + ASKED)) == ASKED + ASKED
    for answer in [INSERTED + ROLLED_BACK + READY, INSERTED + COMMITTED + READY]:
        server.sendall(answer)
        assert take(client, len(answer)) == answer
    assert proxy.counts()["committed"] == 0


@pytest.mark.parametrize("kind", CUTS)
def test_what_is_no_commit_is_not_cut(ends, proxy, kind):
    client, server = ends
    proxy.once(0, kind)
    asked = message(b"P", b"c1\0SELECT 'COMMIT'\0\0\0") + COMMIT_BOUND + COMMIT + message(b"Q", b"COMMITS\0")
    client.sendall(asked)
    assert take(server, len(asked)) == asked
    client.sendall(message(b"Q", b"COMMIT\0"))
    if kind == "behind":
        assert rest(client) == b""
    elif kind == "before":
        assert rest(server) == b""
    else:
        assert take(server, 12) == message(b"Q", b"COMMIT\0")


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_what_is_swallowed_arrives_when_the_route_is_whole_again(ends, proxy, direction):
    client, server = ends
    proxy.swallow(0, direction)
    sender, receiver = (client, server) if direction == "to_server" else (server, client)
    text = ASKED if sender is client else INSERTED + COMMITTED + READY
    sender.sendall(text)
    back = READY if receiver is server else INSERT
    receiver.sendall(back)
    assert take(sender, len(back)) == back  # The other direction is whole.
    receiver.settimeout(0.1)
    with pytest.raises(TimeoutError):
        receiver.recv(1)
    receiver.settimeout(PATIENCE_SECONDS)
    proxy.swallow(0)
    assert take(receiver, len(text)) == text


def test_a_route_that_is_cut_ends_all_its_connections(listener, proxy):
    with contextlib.ExitStack() as stack:
        pairs = [begin(stack, listener, proxy) for _ in range(3)]
        proxy.cut_all(0)
        assert [rest(end) for pair in pairs for end in pair] == [b""] * 6


def test_a_server_that_is_gone_refuses(listener, proxy):
    listener.close()
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=PATIENCE_SECONDS) as client:
        assert rest(client) == b""


def test_the_seed_decides_what_is_drawn(listener):
    def drawn(seed):
        proxy = PostgresProxy([listener.getsockname()], seed=seed)
        proxy.set_chances(0, before=0.3)
        fates = ""
        for _ in range(20):
            with contextlib.ExitStack() as stack:
                client, server = begin(stack, listener, proxy)
                client.sendall(ASKED)
                fates += "." if take(server, len(ASKED)) == ASKED else "x"
        proxy.remove()
        return fates

    assert drawn(3) == drawn(3) != drawn(4)
    assert set(drawn(3)) == {".", "x"}


def test_messages_and_statements_are_read_whatever_the_bytes():
    chance = random.Random(int.from_bytes(os.urandom(4), "big"))
    for _ in range(200):
        sent = [message(chance.choice([b"D", b"d"]), chance.randbytes(chance.randrange(9))) for _ in range(9)]
        text, messages, got = b"".join(sent), Messages(typed=True), []
        while text:
            cut = chance.randrange(1, 12)
            messages.add(text[:cut])
            text = text[cut:]
            while (each := messages.next()) is not None:
                got.append(each[1])
        assert got == sent
    statements = Statements()
    assert statements.commits(b"Q", message(b"Q", b" commit ;\0"))
    assert not statements.commits(b"E", COMMIT)
