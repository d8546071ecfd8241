"""Readiness while nothing can be written, for every reason there is: it says so, names the cause and
the way out, over HTTP and over gRPC, and takes it back when it has passed."""

import os
import socket
import struct

import pytest
from conftest import CALL_SECONDS
from databases import findings, sessiond
from test_process import needs_namespaces
from waits import until

HEALTH = "grpc.health.v1.Health/Check"


def examined(daemon):
    """What doctor finds wrong with the daemon's database."""
    url = f"--db-url=host={daemon.socket_directory} user=sessiond dbname=sessiond"
    return findings(sessiond("doctor", url, "--grpc-listen=127.0.0.1:0", "--http-listen=off"))[1]


def await_readiness(daemon, client, ready):
    until(lambda: daemon.readiness()[0] == ready, lambda: f"{daemon.readiness()} is not what it should be")
    status = "SERVING" if ready else "NOT_SERVING"
    until(lambda: client.call(HEALTH)["status"] == status, f"health is not {status}")
    return daemon.readiness()[1]


class Connection:
    """A connection to a PostgreSQL on a Unix socket that trusts everybody."""

    def __init__(self, directory):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(CALL_SECONDS)
        self._socket.connect(f"{directory}/.s.PGSQL.5432")
        words = b"user\0sessiond\0database\0sessiond\0\0"
        self._socket.sendall(struct.pack(">II", 8 + len(words), 3 << 16) + words)
        self._await_ready()

    def run(self, statement):
        message = statement.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">I", 4 + len(message)) + message)
        return self._await_ready()

    def close(self):
        self._socket.close()

    def _await_ready(self):
        """The first columns of the rows that come."""
        rows = []
        stream = self._socket.makefile("rb")
        while True:
            kind, length = struct.unpack(">cI", stream.read(5))
            body = stream.read(length - 4)
            if kind == b"E":
                raise ConnectionRefusedError(body)
            if kind == b"D":
                size = struct.unpack(">i", body[2:6])[0]
                rows.append(body[6 : 6 + size].decode())
            if kind == b"Z":
                return rows


class Hog:
    """Takes every connection that there is."""

    def __init__(self, directory):
        self._directory = directory
        self._held = []

    def fill(self):
        try:
            while True:
                self._held.append(Connection(self._directory))
        except ConnectionRefusedError:
            pass

    def let_go(self):
        for connection in self._held:
            connection.close()


def out_of(application, control, hog):
    """Ends the connections of an application, and takes their places before it does."""
    there = f"FROM pg_stat_activity WHERE application_name = '{application}'"

    def taken():
        hog.fill()
        return control.run(f"SELECT count(*) {there}") == ["0"]

    def gone():
        control.run(f"SELECT pg_terminate_backend(pid) {there}")
        # One that ends is out of sight before its place is free.
        return taken() and taken()

    until(gone, f"{application} is still connected")


@pytest.mark.parametrize("application", ["sessiond lane", "sessiond health"])
def test_without_connections_it_is_not_ready(own_daemon, application):
    client = own_daemon.start("--pg-settings=max_connections=40")
    client.create()
    control = Connection(own_daemon.socket_directory)
    hog = Hog(own_daemon.socket_directory)
    hog.fill()
    assert own_daemon.readiness()[0]  # It has its own.
    out_of(application, control, hog)
    if application == "sessiond lane":
        session = {"workflow": "interview", "ownerId": "u1"}
        refused = client.refusal("CreateSession", {"session": session})
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    page = await_readiness(own_daemon, client, False)
    assert "lets in no more connections" in page and "max_connections" in page
    hog.let_go()
    control.close()
    await_readiness(own_daemon, client, True)
    client.create()


def test_a_read_only_database_is_not_ready(own_daemon):
    client = own_daemon.start()
    own_daemon.psql("ALTER SYSTEM SET default_transaction_read_only = on")
    own_daemon.psql("SELECT pg_reload_conf()")
    page = await_readiness(own_daemon, client, False)  # Though nobody has called.
    assert "read-only" in page and "default_transaction_read_only" in page and "25006" in page
    [why] = examined(own_daemon)
    assert "default_transaction_read_only" in why
    own_daemon.psql("ALTER SYSTEM RESET default_transaction_read_only")
    own_daemon.psql("SELECT pg_reload_conf()")
    await_readiness(own_daemon, client, True)
    client.create()


def test_a_role_that_is_read_only_is_not_ready_once_lanes_meet_it(own_daemon):
    client = own_daemon.start()
    own_daemon.psql("ALTER ROLE sessiond SET default_transaction_read_only = on")
    own_daemon.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessiond lane'")
    session = {"workflow": "interview", "ownerId": "u1"}
    assert client.refusal("CreateSession", {"session": session}).reason == "DATABASE_UNAVAILABLE"
    assert "read-only" in await_readiness(own_daemon, client, False)
    own_daemon.psql("BEGIN READ WRITE; ALTER ROLE sessiond RESET ALL; COMMIT")
    await_readiness(own_daemon, client, True)


@needs_namespaces
def test_a_full_disk_is_not_ready(own_daemon):
    # A disk of its own, which nobody else sees.
    mount = 'mkdir -p "$0" && mount -t tmpfs -o size=160m,mode=755 none "$0" && exec "$@"'
    client = own_daemon.start(before=("unshare", "--mount", "sh", "-c", mount, own_daemon.data))
    client.create()
    filler = f"/proc/{own_daemon.pid}/root{own_daemon.data}/filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    page = await_readiness(own_daemon, client, False)  # Though nobody has called.
    assert "disk of PostgreSQL is full" in page and "53100" in page
    [why] = examined(own_daemon)
    assert why.startswith("the database accepts changes") and "free space" in why
    os.unlink(filler)
    await_readiness(own_daemon, client, True)
    assert examined(own_daemon) == []
    client.create()
