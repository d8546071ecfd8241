"""Where connections come in: how many, from where, and what happens when there is no descriptor left
for one. Who comes by TCP never passes for one who came by a unix socket.
"""

import os
import resource
import time

import pytest
from http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    Peer,
    answer,
    block_of,
    connect,
    frame,
    message,
)
from tokens import hash_of
from waits import until
from watching import Watch

# What a daemon may take to accept again once descriptors are free.
AGAIN_SECONDS = 20
OWN_CALL = "sessiond.v1.AdminService/GetServerInfo"


def refused(daemon, reason):
    return daemon.metric(rf'sessiond_connections_refused_total\{{reason="{reason}"\}}')


def is_served(daemon, source=None):
    """Whether somebody new is greeted with SETTINGS."""
    try:
        peer = Peer(daemon.address, source=source)
    except OSError:
        return False
    peer.close()
    return not peer.closed


def descriptors_of(pid):
    """How many it has; a call of its own, every two seconds, takes two more for a moment."""

    def look():
        time.sleep(0.05)
        return len(os.listdir(f"/proc/{pid}/fd"))

    return min(look() for _ in range(10))


def test_descriptors_that_run_out_are_told_and_come_back(own_daemon):
    client = own_daemon.start()
    session = client.create()  # On a connection that lasts.
    limits = resource.prlimit(own_daemon.pid, resource.RLIMIT_NOFILE)
    used = descriptors_of(own_daemon.pid)
    resource.prlimit(own_daemon.pid, resource.RLIMIT_NOFILE, (used + 30, limits[1]))
    peers = [connect(own_daemon.address) for _ in range(50)]
    # Beyond those that fit, they are not left waiting.
    for peer in peers[30:]:
        assert peer.recv(1) == b""

    def lets_nobody_in():
        peers.append(connect(own_daemon.address))  # Into the place of a call of its own, if one was under way.
        return own_daemon.page("/readyz")[0] == 503

    until(lets_nobody_in, "it is ready")
    status, text = own_daemon.page("/readyz?verbose")
    assert "[-] port: lets nobody in" in text and "LimitNOFILE" in text
    assert own_daemon.page("/livez")[0] == 200
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session
    resource.prlimit(own_daemon.pid, resource.RLIMIT_NOFILE, limits)
    begin = time.monotonic()
    until(lambda: is_served(own_daemon), "nobody is let in")
    assert time.monotonic() - begin < AGAIN_SECONDS
    until(lambda: own_daemon.page("/readyz")[0] == 200, "it is not ready")
    assert refused(own_daemon, "descriptors") >= 20
    log = "\n".join(own_daemon.log_lines())
    assert log.count("no descriptor is left") == 1
    assert log.count("connections are accepted again") == 1
    for peer in peers:
        peer.close()


def test_no_more_connections_than_there_may_be(own_daemon):
    begin = time.monotonic()
    client = own_daemon.start("--connections-max=20")
    session = client.create()
    peers = []

    def enter():
        """As many as are let in; answers with how many are in."""
        while not (peer := Peer(own_daemon.address)).closed:
            peers.append(peer)
        return len(peers)

    # Beside the client. The daemon's own call takes a place for a moment.
    until(lambda: enter() >= 19, lambda: f"{len(peers)} were let in")
    assert len(peers) == 19
    assert not any(is_served(own_daemon) for _ in range(20))
    assert own_daemon.metric("sessiond_connections") == 20

    def says_so():
        ready, checks = own_daemon.readiness()
        return not ready and "20 connections are open, as many as there may be" in checks

    until(says_so, lambda: own_daemon.readiness())
    assert own_daemon.page("/livez")[0] == 200
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session
    assert refused(own_daemon, "total") >= 20
    for peer in peers:
        peer.close()
    until(lambda: is_served(own_daemon), "nobody is let in")
    until(lambda: own_daemon.page("/readyz")[0] == 200, "it is not ready")
    own_daemon.metric("sessiond_connections")
    # Once a minute.
    told = sum("there are too many" in line for line in own_daemon.log_lines())
    assert 1 <= told <= 1 + (time.monotonic() - begin) / 60


def test_one_address_does_not_take_all(own_daemon):
    client = own_daemon.start("--connections-per-address-max=5")
    client.create()
    peers = [Peer(own_daemon.address, source="127.0.0.2") for _ in range(5)]
    assert not is_served(own_daemon, source="127.0.0.2")
    assert is_served(own_daemon, source="127.0.0.3")
    assert refused(own_daemon, "address") == 1
    peers[0].close()
    until(lambda: is_served(own_daemon, source="127.0.0.2"), "it is not forgotten")
    # Those of this machine's own are used up: the port answers all the same.
    inside = []

    def is_full():
        peers.append(Peer(own_daemon.address))
        inside.extend(peer for peer in peers[-1:] if not peer.closed)
        return len(inside) == 4

    until(is_full, "its own call keeps a place")
    before = refused(own_daemon, "address")
    until(lambda: refused(own_daemon, "address") >= before + 3, "the daemon does not call itself")
    time.sleep(4)  # What it may be deaf for.
    assert own_daemon.page("/readyz")[0] == 200
    for peer in peers:
        peer.close()


def test_the_limit_of_open_files_is_the_limit_of_connections(own_daemon):
    own_daemon.start(before=("prlimit", "--nofile=300"))
    line = next(x for x in own_daemon.log_lines() if "fewer connections than --connections-max" in x)
    assert '"connections_max":150' in line


def accepted(daemon):
    return daemon.metric("sessiond_connections_accepted_total")


def test_connections_that_are_old_are_replaced_and_no_call_is_lost(own_daemon, contract):
    client = own_daemon.start("--connection-age-max=200ms")
    session_id = client.create()["sessionId"]
    with Watch(contract, own_daemon.address, sessionIds=[session_id]) as watch:
        old = [Peer(own_daemon.address, reads=True) for _ in range(3)]
        watch.bookmarked()
        begun, calls = accepted(own_daemon), 0
        while accepted(own_daemon) < begun + 10 or not all(peer.closed for peer in old):
            calls += 1
            client.call("UpdateSession", {"session": {"sessionId": session_id}, "setLabels": {"n": str(calls)}})
            # It goes on on the connection on which it began.
            assert watch.change()["change"]["session"]["labels"] == {"n": str(calls)}


def test_connections_without_calls_are_closed_and_opened_again(own_daemon, contract):
    client = own_daemon.start("--connection-idle-max=200ms")
    session = client.create()
    with Watch(contract, own_daemon.address, sessionIds=[session["sessionId"]]) as watch:
        for _ in range(3):
            idle = Peer(own_daemon.address, reads=True)
            until(lambda: idle.closed, "it is open")
            assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session
        client.call("PauseSession", {"sessionId": session["sessionId"]})
        assert "change" in watch.bookmarked().change()


@pytest.mark.parametrize("name", ["", "\0made-up", "ipv4:1.2.3.4:5"])
def test_whoever_opens_the_unix_socket_is_local_whatever_it_calls_itself(own_daemon, tmp_path, name):
    door = tmp_path / "door.sock"
    access = tmp_path / "access.toml"
    access.write_text(f'[[principals]]\nname = "script"\nroles = ["admin"]\nnamespaces = ["*"]\ntoken_hashes = ["{hash_of("token")}"]\n')
    own_daemon.start(f"--access-file={access}", listen=f"127.0.0.1:0,unix:{door}")
    source = name if not name or name[0] == "\0" else str(tmp_path / name)
    assert caller(f"unix:{door}", source=source) == "0"
    # 16: UNAUTHENTICATED.
    assert caller(own_daemon.address) == "16"


def caller(address, source=None):
    """The status of a call that any role may make, without credentials."""
    path = "/" + OWN_CALL
    with connect(address, source=source) as connection:
        connection.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, b"")
            + frame(HEADERS, END_HEADERS, 1, block_of("localhost", path))
            + frame(DATA, END_STREAM, 1, message(b""))
        )
        return answer(connection)["grpc-status"]


def test_two_daemons_do_not_share_a_port(own_daemon, second_daemon):
    own_daemon.start()
    port = own_daemon.address.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "0.0.0.0"):
        process = second_daemon.spawn("--insecure", listen=f"{host}:{port}")
        assert process.wait(timeout=60) == 1
        assert f"port {port} is in use by sessiond" in second_daemon.log.read_text()
