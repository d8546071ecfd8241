"""A database that could lose what was acknowledged, or that takes no writes: it is refused at start,
by the name of the setting, with what sets it right; and what the operator allows is shown."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import pytest
from cluster import USER, Pair, Server
from databases import findings, removed, sessiond
from waits import until

LISTEN = ["--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"]
# A beat of the daemon's is ten seconds; more on a busy machine.
NOTICED_SECONDS = 60


def await_readiness(daemon, ready):
    until(lambda: daemon.readiness()[0] == ready, daemon.readiness, NOTICED_SECONDS)
    return daemon.readiness()[1]


def refused(*words):
    """Both say so, and serve does not start."""
    served = sessiond("serve", *LISTEN, *words)
    assert served.returncode == 1, served.stdout
    examined = sessiond("doctor", *LISTEN, *words)
    assert examined.returncode == 1, examined.stdout
    [why] = findings(examined)[1]
    return served.stderr, why


@pytest.fixture
def server():
    """A PostgreSQL whose settings nobody gives on the command line."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-server-"))
        stack.callback(shutil.rmtree, directory)
        os.chown(directory, USER.pw_uid, -1)
        server = Server(directory, "alone")
        server.initialize()
        server.start()
        stack.callback(server.stop)
        server.sql("CREATE DATABASE sessiond")
        server.db_url = f"--db-url={server.url} dbname=sessiond"
        migrated = sessiond("migrate", "up", server.db_url)
        assert migrated.returncode == 0, migrated.stderr
        yield server


def set_right(server, said):
    """Does what is said, as it is said."""
    for statement in re.findall(r"ALTER SYSTEM SET \w+ = \w+|SELECT pg_reload_conf\(\)", said):
        server.sql(statement)
    if "restart PostgreSQL" in said:
        server.stop()
        server.start()


@pytest.mark.parametrize("setting, value, remedy", [
    ("fsync", "off", "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()"),
    ("full_page_writes", "off", "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()"),
    ("data_sync_retry", "on", "ALTER SYSTEM SET data_sync_retry = off; restart PostgreSQL"),
])
def test_an_unsafe_setting_is_refused_and_what_is_said_sets_it_right(setting, value, remedy, server, own_daemon):
    server.sql(f"ALTER SYSTEM SET {setting} = {value}")
    server.stop()
    server.start()
    for said in refused(server.db_url):
        assert f"could lose acknowledged changes ({setting} = {value}): {remedy}" in said, said
    assert "--allow-unsafe-database" in refused(server.db_url)[0]

    own_daemon.start(server.db_url, "--allow-unsafe-database").create()
    ready, page = own_daemon.readiness()
    assert ready and f"UNSAFE, as --allow-unsafe-database allows: the database could lose" in page, page
    assert f"{setting} = {value}" in page
    [line] = [json.loads(line) for line in own_daemon.log_lines() if "acknowledged changes can be lost" in line]
    assert line["level"] == "warn" and f"{setting} = {value}" in line["why"]
    examined = sessiond("doctor", *LISTEN, server.db_url, "--allow-unsafe-database")
    assert examined.returncode == 0 and f"[!] the database keeps what it acknowledged: " in examined.stdout
    own_daemon.stop()

    set_right(server, said)
    own_daemon.start(server.db_url).create()
    assert "acknowledged changes survive a crash" in own_daemon.readiness()[1]


def test_a_setting_that_becomes_unsafe_is_noticed(server, own_daemon):
    client = own_daemon.start(server.db_url)
    server.sql("ALTER SYSTEM SET fsync = off")
    server.sql("SELECT pg_reload_conf()")
    page = await_readiness(own_daemon, False)
    assert "(fsync = off): ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()" in page
    set_right(server, page)
    await_readiness(own_daemon, True)
    client.create()


def test_synchronous_commit_is_the_daemons_own_whatever_is_set(server, own_daemon):
    for whose in ["ROLE sessiond", "DATABASE sessiond"]:
        server.sql(f"ALTER {whose} SET synchronous_commit = off")
    server.sql("ALTER SYSTEM SET synchronous_commit = off")
    server.sql("SELECT pg_reload_conf()")
    # What each commit of a session asks for, noted by the database itself.
    server.sql("CREATE TABLE commits AS SELECT ''::text AS mode", "sessiond")
    server.sql("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               "INSERT INTO commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$", "sessiond")
    server.sql("CREATE TRIGGER note AFTER INSERT ON session_events EXECUTE FUNCTION note()", "sessiond")
    own_daemon.start(server.db_url).create()
    assert server.sql("SELECT DISTINCT mode FROM commits WHERE mode <> ''", "sessiond") == "on"


def test_the_daemons_own_postgresql_is_held_to_the_same(own_daemon):
    unsafe = ["--pg-settings=fsync=off", f"--data-dir={own_daemon.data}"]
    for said in refused(*unsafe):
        assert "(fsync = off): start PostgreSQL without fsync=off (--pg-settings" in said, said
    own_daemon.start(unsafe[0], "--allow-unsafe-database").create()
    assert "UNSAFE" in own_daemon.readiness()[1]


def test_an_ephemeral_one_is_not(own_daemon):
    own_daemon.start("--ephemeral").create()
    ready, page = own_daemon.readiness()
    assert ready and "durability: nothing is to be kept" in page, page
    assert own_daemon.psql("SHOW fsync") == "off\n"
    assert "acknowledged changes can be lost" not in own_daemon.log.read_text()


@pytest.mark.parametrize("setting, remedy", [
    ("ALTER ROLE sessiond SET default_transaction_read_only = on",
     "ALTER ROLE sessiond RESET default_transaction_read_only"),
    ("ALTER DATABASE sessiond SET default_transaction_read_only = on",
     "ALTER DATABASE sessiond RESET default_transaction_read_only"),
    ("ALTER SYSTEM SET default_transaction_read_only = on",
     "ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf()"),
])
def test_a_read_only_database_is_refused_by_name(setting, remedy, server, own_daemon):
    server.sql(setting)
    server.sql("SELECT pg_reload_conf()")
    for said in refused(server.db_url, "--allow-unsafe-database"):
        assert f"the database is read-only, because default_transaction_read_only is on: {remedy}" in said, said
    for statement in remedy.split("; "):
        writable = "" if statement.startswith(("SELECT", "ALTER SYSTEM")) else "BEGIN READ WRITE; "
        server.sql(writable + statement + ("; COMMIT" if writable else ""))
    own_daemon.start(server.db_url).create()


def test_a_standby_is_refused_by_name():
    with removed(Pair()) as pair:
        assert sessiond("migrate", "up", f"--db-url={pair.url}").returncode == 0
        for said in refused(f"--db-url={pair.standby.url} dbname=sessiond", "--allow-unsafe-database"):
            assert "the database is a standby, which cannot be written: use the primary's --db-url" in said, said
