"""PgBouncer between the daemon and its database: a session of PostgreSQL's for each connection is
all that the daemon asks for, and without it nothing of it works."""

import contextlib
import signal
import time

import pytest
from conftest import Refused
from databases import PgBouncer, database, findings, removed, sessiond  # noqa: F401
from test_failover import assert_kept_once, await_progress, calling
from topology import ByTurns
from waits import until
from watching import Watch, key

SHARED = {
    "transaction": ("transaction", []),
    "statement": ("statement", []),
    # Whoever comes next gets the session that was idle longest: seldom the one just left.
    "transaction, by turns": ("transaction", ["server_round_robin = 1"]),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_mode_that_shares_sessions_is_refused_by_its_name(name, database):  # noqa: F811
    mode, settings = SHARED[name]
    database.migrate()
    with removed(PgBouncer(database, mode, *settings)) as pooler:
        if settings:
            pooler.use(4)
        url = f"--db-url={pooler.url(database.owner)}"
        for words in [["serve", "--grpc-listen=127.0.0.1:0", "--http-listen=off"], ["migrate", "up"], ["doctor"]]:
            refused = sessiond(*words, url)
            assert refused.returncode == 1, pooler.said()
            said = refused.stdout + refused.stderr
            assert f"PgBouncer, or a pooler like it, in {mode} mode" in said, said
            assert "pool_mode = session" in said
            assert "migrate up`" not in said
        # Nothing of ours stays behind in what others get next.
        left = "SELECT current_setting('search_path'), current_setting('sessiond.mark', true)"
        assert "pg_temp" not in database.psql(left)


def test_in_session_mode_everything_works(contract, database, own_daemon):  # noqa: F811
    with removed(PgBouncer(database, "session")) as pooler:
        url = f"--db-url={pooler.url(database.owner)}"
        migrated = sessiond("migrate", "up", url)
        assert migrated.returncode == 0, migrated.stderr
        examined = sessiond("doctor", url, "--grpc-listen=127.0.0.1:0", "--http-listen=off")
        assert findings(examined)[1] == [], examined.stdout

        client = own_daemon.start(url)
        session = client.create()
        named = {"sessionId": session["sessionId"]}
        with Watch(contract, own_daemon.address, filter=f'session_id = "{session["sessionId"]}"') as watch:
            watch.bookmarked()
            client.call("AdvanceSession", {**named, "targetStage": "upload"})
            for n in range(40):  # More often than there are connections.
                session = {**named, "labels": {"n": str(n)}}
                client.call("UpdateSession", {"session": session, "updateMask": "labels"})
            assert watch.change()["change"]["event"]["newStage"] == "upload"
        assert client.call("GetSession", named)["stage"] == "upload"
        listed = client.call("ListSessions", {"filter": 'owner_id = "u1"'})["sessions"]
        assert [each["sessionId"] for each in listed] == [session["sessionId"]]
        assert client.call("CountSessions", {})["total"] == 1
        with pytest.raises(Refused, match="NEVER_EXISTED|does not exist|never existed"):
            client.call("GetSession", {"sessionId": "0192f3c4-9f2e-7abc-8def-0123456789ab"})
        client.close()
        assert own_daemon.stop() == 0


def restart(pooler, _):
    pooler.kill()
    pooler.start()


def freeze(pooler, _):
    """For longer than a daemon waits until it examines what has fallen silent."""
    pooler.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    pooler.process.send_signal(signal.SIGCONT)


def cut_behind(_, psql):
    psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")


def test_whatever_befalls_it_nothing_is_lost_and_a_watch_goes_on(contract, database, own_daemon, second_daemon):  # noqa: F811
    database.migrate()
    with removed(PgBouncer(database, "session")) as pooler:
        url = f"--db-url={pooler.url(database.owner)}"
        both = ByTurns(contract, [own_daemon.start(url), second_daemon.start(url)])
        watch = Watch(contract, second_daemon.address, timeout=300).bookmarked()
        told = []

        def read_on():
            """What there is by now: a watch that nobody reads is ended."""
            there = int(database.psql("SELECT count(*) FROM session_events"))
            told.extend(key(change) for change in watch.changes(there - len(told)))

        with calling(both) as callers:
            for befall in [restart, freeze, cut_behind]:
                await_progress(callers)
                befall(pooler, database.psql)
                await_progress(callers)
                read_on()
        read_on()
        events = database.psql("SELECT session_id, sequence, request_id FROM session_events ORDER BY sequence").split()
        events = [event.split("|") for event in events]
        assert_kept_once(callers, [request_id for _, _, request_id in events])
        for caller in callers:
            of_it = [sequence for session_id, sequence in told if session_id == caller.session_id]
            assert of_it == [int(sequence) for session_id, sequence, _ in events if session_id == caller.session_id]
        watch.close()


def test_a_mode_that_is_changed_while_it_serves_is_said_and_is_over_when_it_is_changed_back(database, own_daemon):  # noqa: F811
    database.migrate()
    # Whoever comes next gets the session that was idle longest: seldom the one just left.
    with removed(PgBouncer(database, "session", "server_round_robin = 1")) as pooler:
        client = own_daemon.start(f"--db-url={pooler.url(database.owner)}")
        session_id = client.create()["sessionId"]

        def call_all():
            for method in ["PauseSession", "GetSession", "ResumeSession", "GetSession"]:
                with contextlib.suppress(Refused):
                    client.call(method, {"sessionId": session_id})

        def said():
            call_all()
            ready, page = own_daemon.readiness()
            return not ready and "pool_mode = session" in page

        pooler.change_mode("transaction")
        pooler.use(4)
        until(said, "it says that it is ready")
        pooler.change_mode("session")
        until(lambda: own_daemon.readiness()[0], "it is not ready again")

        def read():
            with contextlib.suppress(Refused):
                return client.call("GetSession", {"sessionId": session_id})

        until(read, "it is read never again")  # Sessions of before may have to be closed first.
        for _ in range(10):
            client.call("GetSession", {"sessionId": session_id})


@pytest.mark.parametrize("settings, let_in", [("default_pool_size = 3", 3), ("max_client_conn = 5", 5)])
def test_a_pooler_that_has_too_few_connections_is_named(settings, let_in, database, own_daemon):  # noqa: F811
    database.migrate()
    with removed(PgBouncer(database, "session", settings)) as pooler:
        url = f"--db-url={pooler.url(database.owner)}"
        examined = sessiond("doctor", url, "--grpc-listen=127.0.0.1:0", "--http-listen=off")
        [why] = [text for text in findings(examined)[1] if settings.split()[0] in text]
        assert f"connections that the daemon needs at once, {let_in} were let in" in why
        own_daemon.start(url)
        until(lambda: settings.split()[0] in own_daemon.readiness()[1], "it says nothing of it")
