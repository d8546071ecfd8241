"""PgBouncer between the daemon and its database: a session of PostgreSQL's for each connection is
all that the daemon asks for, and without it nothing of it works."""

import pytest
from conftest import Refused
from databases import PgBouncer, database, findings, removed, sessiond  # noqa: F401
from watching import Watch

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
