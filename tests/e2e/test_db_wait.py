"""A start waits for a database that may let it in by itself a little later, and for no other."""

import contextlib
import signal
import socket
import struct

import pytest
from cluster import Single
from databases import database, findings, sessiond  # noqa: F401
from waits import until

WAITS = "waiting for the database"
SERVE = ["serve", "--grpc-listen=127.0.0.1:0", "--http-listen=off"]
NOBODY_THERE = "--db-url=postgresql://sessiond@127.0.0.1:1/sessiond"


def await_waiting(own_daemon, why):
    def said():
        return any(WAITS in line and why in line for line in own_daemon.log.read_text().splitlines())

    until(said, own_daemon.log.read_text)


@pytest.fixture
def server():
    single = Single()
    yield single.primary
    single.remove()


def test_a_start_waits_for_postgresql_to_start(server, own_daemon):
    url = f"--db-url=postgresql://sessiond@127.0.0.1:{server.port}/sessiond"
    assert sessiond("migrate", "up", url).returncode == 0
    server.stop()
    own_daemon.spawn(url)
    await_waiting(own_daemon, "check the URL with `psql`, and that PostgreSQL runs")
    server.start()
    own_daemon.await_ready().create()


def test_a_start_waits_for_a_connection_to_become_free(database, own_daemon):  # noqa: F811
    database.migrate().psql(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {database.app}", f"ALTER ROLE {database.app} CONNECTION LIMIT 0"
    )
    own_daemon.spawn(f"--db-url={database.url(database.app)}")
    await_waiting(own_daemon, "CONNECTION LIMIT")
    database.psql(f"ALTER ROLE {database.app} CONNECTION LIMIT -1")
    own_daemon.await_ready().create()


def test_a_start_that_waits_can_be_stopped(own_daemon):
    process = own_daemon.spawn(NOBODY_THERE, "--db-wait=1h")
    await_waiting(own_daemon, "that PostgreSQL runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_the_wait_ends_and_says_why():
    refused = sessiond(*SERVE, NOBODY_THERE, "--db-wait=1s")
    assert refused.returncode == 1
    assert refused.stderr.count(WAITS) == 1
    assert "the database does not let us in (" in refused.stderr
    assert "request_id" not in refused.stderr


@pytest.mark.parametrize("words", [SERVE, ["migrate", "up"], ["doctor"]])
def test_who_is_not_let_in_is_told_at_once(words, database):  # noqa: F811
    database.migrate()
    refused = sessiond(*words, f"--db-url={database.url('nobody_knows')}")
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert "does not let us in" in said and "nobody_knows" in said, said
    assert WAITS not in said


def test_a_service_that_is_not_defined_is_not_waited_for():
    refused = sessiond(*SERVE, "--db-url=service=nobody_defined", "--db-wait=1h")
    assert refused.returncode == 1
    assert 'definition of service "nobody_defined" not found' in refused.stderr, refused
    assert WAITS not in refused.stderr


def ask_for_a_password(peer):
    """As a PostgreSQL without TLS does."""
    while len(message := peer.recv(1000)) == 8:
        peer.sendall(b"N")
    if message:
        peer.sendall(struct.pack("!cii", b"R", 8, 3))
        peer.recv(1000)  # It goes away.


def test_a_password_that_is_missing_is_not_waited_for(own_daemon):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        process = own_daemon.spawn(f"--db-url=postgresql://u@127.0.0.1:{server.getsockname()[1]}/d", "--db-wait=1h")

        def ended():
            with contextlib.suppress(TimeoutError), server.accept()[0] as peer:
                ask_for_a_password(peer)
            return process.poll() is not None

        until(ended, own_daemon.log.read_text)
        assert process.returncode == 1
    assert "no password supplied" in own_daemon.log.read_text()
    assert WAITS not in own_daemon.log.read_text()


@pytest.mark.parametrize("words", [SERVE, ["migrate", "up"], ["doctor"]])
def test_who_may_not_connect_is_told_the_grant(words, database):  # noqa: F811
    database.migrate().psql(f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC")
    refused = sessiond(*words, f"--db-url={database.url(database.app)}")
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert "does not let us in" in said and "GRANT CONNECT ON DATABASE" in said, said


# The first is asked for what start checks, the second is what lanes prepare.
@pytest.mark.parametrize("table", ["session_events", "sessions"])
def test_a_start_waits_for_tables_that_somebody_has_locked(table, database, own_daemon):  # noqa: F811
    database.migrate()
    with database.locked(f"LOCK TABLE {table}"):
        own_daemon.spawn(f"--db-url={database.url(database.owner)}", "--db-wait=2m")
        await_waiting(own_daemon, "pg_locks")
        assert "request_id" not in own_daemon.log.read_text()
    own_daemon.await_ready().create()


def test_a_table_that_was_changed_by_hand_is_told(database):  # noqa: F811
    database.migrate().psql("ALTER TABLE sessions RENAME COLUMN owner_display_name TO owner_name")
    examined = sessiond("doctor", f"--db-url={database.url(database.owner)}")
    [why] = [text for text in findings(examined)[1] if text.startswith("the database has the schema")]
    assert "changed by hand" in why and "owner_display_name" in why and "Run: sessiond doctor" not in why
