"""A database that is not as the daemon needs it: what is wrong is said, with the statement that
mends it, and not "migrate up"."""

import json
import re
import subprocess

import pytest
from conftest import Refused
from databases import Database, database, findings, removed, sessiond  # noqa: F401
from waits import until
from watching import Watch

# What a beat of the daemon's may take on a busy machine.
NOTICED_SECONDS = 60

SERVE = ["serve", "--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"]


def refused(*words, **options):
    """Runs what is to fail, and answers with what it says."""
    answer = sessiond(*words, **options)
    assert answer.returncode == 1, answer.stdout
    return answer.stdout + answer.stderr


def serve_refused(url):
    said = refused(*SERVE, f"--db-url={url}")
    examined = refused("doctor", f"--db-url={url}")
    return said, examined


def grants_in(said):
    return re.findall(r"GRANT [^;:`\n]+? TO \w+", said)


def test_the_grants_that_are_asked_for_are_enough_for_all_that_a_daemon_does(database, own_daemon):  # noqa: F811
    database.migrate()
    url = database.url(database.app)
    said, examined = serve_refused(url)
    for text in [said, examined]:
        assert "lacks rights" in text, text
        assert "migrate up" not in text
    assert grants_in(said) == grants_in(examined) != []
    database.psql(*grants_in(said))

    assert findings(sessiond("doctor", *SERVE[1:], f"--db-url={url}"))[1] == []
    a_whole_life(database, own_daemon.start(f"--db-url={url}"), own_daemon)


def a_whole_life(database, client, daemon):  # noqa: F811
    """All that a daemon does in its database, with a session that is archived and one that is erased."""
    session = client.create()
    named = {"sessionId": session["sessionId"]}
    client.call("AddArtifacts", {**named, "artifacts": [{"artifactId": "f1", "kind": "FILE", "displayName": "f"}]})
    error = client.call(
        "RecordError",
        {**named, "error": {"category": "USER_FIXABLE", "severity": "WARNING", "userMessage": "m", "relatedFileId": "f1"}},
    )
    client.call("ResolveError", {**named, "errorId": error["errorId"]})
    client.call("DeleteArtifact", {**named, "artifactId": "f1"})
    client.call("AdvanceSession", {**named, "targetStage": "upload"})
    client.call("StartTask", {**named, "taskType": "processing", "advanceToStage": "processing"})
    interview = client.create(workflow="interview")
    client.call("AppendMessages", {"sessionId": interview["sessionId"], "messages": [{"type": "question", "content": "?"}]})
    client.call("DetachReference", {"name": "job_posting", "value": "1"})
    client.call("DeleteSession", {**named, "force": True})
    database.psql(f"UPDATE sessions SET purge_at = now() - interval '1 s' WHERE id = '{session['sessionId']}'")
    client.call("PurgeSessions", {"execute": True})
    events = "SELECT count(*) FROM session_events WHERE session_id = '{}'"
    assert database.psql(events.format(session["sessionId"])) == "1\n", "it was not archived"
    client.call("EraseOwner", {"ownerId": "u1"})
    assert database.psql(events.format(interview["sessionId"])) == "1\n", "it was not erased"
    assert client.call("CountSessions", {}).get("total", 0) == 0
    assert database.psql("SELECT count(*), max(owner_id) FROM tombstones") == "2|\n"
    assert [line for line in daemon.log_lines() if "42501" in line] == []


def role_named(database, name):  # noqa: F811
    """Another role, removed with the database; as SQL writes it, and its URL."""
    quoted = '"' + name.replace('"', '""') + '"'
    database.psql(f"CREATE ROLE {quoted} LOGIN")
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return quoted, database.url(f"'{escaped}'")


def migrate_up(database, *words):  # noqa: F811
    return sessiond("migrate", "up", f"--db-url={database.url(database.owner)}", *words)


def advice(answer):
    """What doctor only advises."""
    return re.findall(r"^\[!\] (.*)$", answer.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["plain_{}", "My \"Own\" O'Role {}"])
def test_a_role_that_migrate_up_grants_to_can_do_what_it_must_and_nothing_else(name, database, own_daemon):  # noqa: F811
    quoted, url = role_named(database, name.format(database.name))
    name = name.format(database.name)
    # One who had more before.
    granted = migrate_up(database, f"--grant-to={name}")
    assert granted.returncode == 0, granted.stderr
    database.psql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {quoted}")
    examined = sessiond("doctor", *SERVE[1:], f"--db-url={url}")
    assert examined.returncode == 0
    [said] = advice(examined)
    assert "TRUNCATE, UPDATE on session_" in said and "sessiond migrate up --grant-to" in said, said
    again = migrate_up(database, "--grant-to", name)
    assert again.returncode == 0, again.stderr
    assert re.match(r"schema \d+: nothing to do\n", again.stdout), again.stdout
    assert re.search(r"^revoked from .*: .*TRUNCATE, UPDATE on session_", again.stdout, re.MULTILINE), again.stdout
    assert "USAGE on the schema public" in again.stdout
    assert "SELECT, INSERT, DELETE on session_artifacts, session_events" in again.stdout

    examined = sessiond("doctor", *SERVE[1:], f"--db-url={url}")
    assert findings(examined)[1] == advice(examined) == [], examined.stdout
    a_whole_life(database, own_daemon.start(f"--db-url={url}"), own_daemon)
    assert "may do more than it must" not in own_daemon.log.read_text()

    events = database.psql("SELECT count(*) FROM session_events")
    for statement in ["UPDATE session_events SET actor = 'x'", "TRUNCATE session_events", "DELETE FROM session_events",
                      "DROP TABLE session_events", "ALTER TABLE session_events DISABLE TRIGGER USER"]:
        tried = subprocess.run(["psql", "-d", url, "-qAtXv", "ON_ERROR_STOP=1", "-c", statement],
                               capture_output=True, text=True, check=False)
        assert tried.returncode != 0, statement
    assert database.psql("SELECT count(*) FROM session_events") == events
    own_daemon.stop()
    database.psql(f"DROP OWNED BY {quoted}", f"DROP ROLE {quoted}")


def test_grant_to_refuses_whom_rights_do_not_bind_before_it_migrates(database):  # noqa: F811
    superuser = database.psql("SELECT current_user").strip()
    for role, why in [
        ("No Body", 'there is no such role: CREATE ROLE "No Body" LOGIN'),
        (database.owner, f"owns the database {database.name}"),
        (superuser, "is a superuser"),
        (database.app.upper(), f"did you mean --grant-to {database.app}?"),
    ]:
        outcome = migrate_up(database, f"--grant-to={role}")
        assert outcome.returncode == 1 and why in outcome.stderr, outcome.stderr
    assert database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0\n"
    migrated = migrate_up(database)
    assert re.fullmatch(r"schema 0 → \d+\n", migrated.stdout), "nothing else is done, or said"
    assert "lacks rights" in refused("doctor", f"--db-url={database.url(database.app)}")


def test_a_role_that_could_do_more_is_told_so_and_serves(database, own_daemon):  # noqa: F811
    database.migrate()
    url = f"--db-url={database.url(database.owner)}"
    examined = sessiond("doctor", *SERVE[1:], url)
    assert examined.returncode == 0
    [said] = advice(examined)
    assert f"the role {database.owner} owns the database {database.name}" in said
    assert "CREATE ROLE sessiond_daemon LOGIN" in said and "migrate up --grant-to sessiond_daemon" in said
    own_daemon.start(url).create()
    [line] = [json.loads(line) for line in own_daemon.log_lines() if "may do more than it must" in line]
    assert line["level"] == "warn" and f"owns the database {database.name}" in line["why"]


def test_what_was_changed_by_hand_is_refused_at_start_with_what_mends_it(database, own_daemon):  # noqa: F811
    database.migrate()
    url = database.url(database.owner)
    client = own_daemon.start(f"--db-url={url}")
    session = client.create()
    own_daemon.stop()
    database.psql("UPDATE partitions SET position = 0")
    for said in serve_refused(url):
        assert "are behind their events" in said, said
    database.psql(re.search(r"UPDATE partitions p SET .*\)", said)[0])
    database.psql("ALTER TABLE session_events DISABLE TRIGGER USER")
    for said in serve_refused(url):
        assert "its trigger is off" in said, said
    database.psql(re.search(r"ALTER TABLE .* TRIGGER \w+", said)[0])
    client = own_daemon.start(f"--db-url={url}")
    client.call("AdvanceSession", {"sessionId": session["sessionId"], "targetStage": "upload"})


def test_a_right_that_is_taken_away_is_named_in_the_log(database, own_daemon):  # noqa: F811
    database.migrate()
    client = own_daemon.start(f"--db-url={database.url(database.owner)}")
    session = client.create()
    database.psql(f"ALTER TABLE sessions OWNER TO {database.app}")
    with pytest.raises(Refused) as why:
        client.call("AdvanceSession", {"sessionId": session["sessionId"], "targetStage": "upload"})
    assert "lacks a right" in why.value.sentence and "sessiond doctor" in why.value.sentence
    assert "migrate up" not in why.value.sentence
    assert any("permission denied for table sessions" in line for line in own_daemon.log_lines())
    assert "lacks rights" in refused("doctor", f"--db-url={database.url(database.owner)}")
    database.psql(f"ALTER TABLE sessions OWNER TO {database.owner}")


def test_a_role_that_may_not_make_tables_is_told_who_may_let_it(database):  # noqa: F811
    said = refused("migrate", "up", f"--db-url={database.url(database.app)}")
    [grant] = grants_in(said)
    assert grant == f"GRANT USAGE, CREATE ON SCHEMA public TO {database.app}"
    database.psql(grant)
    assert sessiond("migrate", "up", f"--db-url={database.url(database.app)}").returncode == 0


def test_a_schema_that_may_not_be_used_is_not_taken_for_missing(database):  # noqa: F811
    database.migrate().psql("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    for said in [*serve_refused(database.url(database.app)), refused("migrate", "up", f"--db-url={database.url(database.app)}")]:
        assert f"GRANT USAGE ON SCHEMA public TO {database.app}" in said


def test_a_search_path_that_leads_elsewhere_makes_no_second_set_of_tables(database):  # noqa: F811
    database.migrate().psql("CREATE SCHEMA foo", f"ALTER ROLE {database.owner} SET search_path = foo",
                            f"GRANT ALL ON SCHEMA foo TO {database.owner}")
    for said in [*serve_refused(database.url(database.owner)), refused("migrate", "up", f"--db-url={database.url(database.owner)}")]:
        assert "in the schema public" in said and "SET search_path = public" in said, said
    assert database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'foo'") == "0\n"


def test_a_schema_that_is_not_there_is_named(database):  # noqa: F811
    database.psql("DROP SCHEMA public")
    assert "there is no schema public" in refused("migrate", "up", f"--db-url={database.url(database.owner)}")


@pytest.mark.parametrize("taken", ["TABLE sessions (a int)", "TYPE session_row AS (a int)",
                                   "FUNCTION refuse_event_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"])
def test_a_name_that_is_taken_is_named(taken, database):  # noqa: F811
    database.psql(f"CREATE {taken}")
    said = refused("migrate", "up", f"--db-url={database.url(database.owner)}")
    name = re.search(r"\w+ (\w+)", taken)[1]
    assert name in said and "is not sessiond's" in said and "of its own" in said, said
    assert "migrate up" not in said


def test_anothers_history_of_migrations_is_not_taken_for_ours(database):  # noqa: F811
    database.psql("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    for said in [*serve_refused(database.url(database.owner)), refused("migrate", "up", f"--db-url={database.url(database.owner)}")]:
        assert "schema_migrations is there and another application's" in said, said
        assert "`sessiond migrate up`" not in said


def test_a_table_that_somebody_has_dropped_is_named(database):  # noqa: F811
    database.migrate().psql("DROP TABLE session_artifacts")
    for said in serve_refused(database.url(database.owner)):
        assert 'relation "session_artifacts" does not exist' in said, said


def test_triggers_that_are_off_are_refused(database):  # noqa: F811
    database.migrate().psql(f"ALTER ROLE {database.owner} SET session_replication_role = replica")
    for said in serve_refused(database.url(database.owner)):
        assert f"ALTER ROLE {database.owner} RESET session_replication_role" in said, said


def test_rows_that_are_hidden_are_refused(database):  # noqa: F811
    database.migrate().psql(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {database.app}", "ALTER TABLE sessions ENABLE ROW LEVEL SECURITY"
    )
    for said in serve_refused(database.url(database.app)):
        assert "row level security hides rows of sessions" in said, said


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_utf8_is_refused(encoding, daemon):
    with removed(Database(daemon, encoding)) as other:
        url = other.url(other.owner)
        for said in [*serve_refused(url), refused("migrate", "up", f"--db-url={url}")]:
            assert f"encoding is {encoding}, sessiond needs UTF8: CREATE DATABASE" in said, said


# ---- connections


LIMITS = {
    "role": ("ALTER ROLE {app} CONNECTION LIMIT {limit}", "the role {app}'s {limit}"),
    "database": ("ALTER DATABASE {name} CONNECTION LIMIT {limit}", "the database {name}'s {limit}"),
}


def lack_of_connections(url):
    """What doctor finds of connections. Its other checks may meet that those which have just been closed still count."""
    wrong = findings(sessiond("doctor", *SERVE[1:], url))[1]
    return "\n".join(why for why in wrong if why.startswith("the database has connections enough"))


def way_out(url):
    """The statement that doctor names, as soon as those that have just been closed let it count."""
    return until(lambda: re.search(r"ALTER (?:ROLE|DATABASE) \w+ CONNECTION LIMIT \d+", lack_of_connections(url)))[0]


@pytest.mark.parametrize("whose", LIMITS)
def test_too_few_connections_are_said_by_doctor_readiness_and_log(whose, database, own_daemon):  # noqa: F811
    statement, named = LIMITS[whose]
    names = {"app": database.app, "name": database.name}
    database.migrate().psql(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {database.app}", statement.format(limit=6, **names)
    )
    url = f"--db-url={database.url(database.app)}"
    until(lambda: named.format(limit=6, **names) in lack_of_connections(url), lambda: lack_of_connections(url))
    enough = way_out(url)

    client = own_daemon.start(url)
    client.create()
    ready, checks = own_daemon.readiness()
    assert not ready
    assert "connections" in checks and named.format(limit=6, **names) in checks, checks
    warnings = [json.loads(line) for line in own_daemon.log_lines() if "too few connections" in line and "daemon" in line]
    assert any(named.format(limit=6, **names) in warning["why"] for warning in warnings), warnings

    database.psql(enough)
    until(lambda: own_daemon.readiness()[0], seconds=NOTICED_SECONDS)
    assert lack_of_connections(url), "not enough for a second one"


def test_too_few_connections_of_the_server_are_said(own_daemon):
    own_daemon.start("--pg-settings=max_connections=14")
    until(lambda: not own_daemon.readiness()[0])
    _, checks = own_daemon.readiness()
    assert "the server's 14" in checks and "raise max_connections" in checks, checks


def test_the_way_out_that_doctor_names_is_enough(database):  # noqa: F811
    database.migrate().psql(f"ALTER ROLE {database.owner} CONNECTION LIMIT 3")
    url = f"--db-url={database.url(database.owner)}"
    database.psql(way_out(url))
    assert lack_of_connections(url) == ""


def test_a_list_and_a_watch_that_get_no_connection_say_so(contract, database, own_daemon):  # noqa: F811
    database.migrate()
    client = own_daemon.start(f"--db-url={database.url(database.owner)}", "--lanes=1")
    client.create()
    database.psql(f"ALTER ROLE {database.owner} CONNECTION LIMIT 0")
    with pytest.raises(Refused) as why:
        client.call("ListSessions", {})
    assert why.value.reason == "DATABASE_UNAVAILABLE"
    assert "no more connections" in why.value.sentence
    assert why.value.details["RetryInfo"]
    assert any("too many connections for role" in line for line in own_daemon.log_lines())
    with Watch(contract, own_daemon.address, initialState=True) as watch:
        assert "no more connections" in watch.refusal().sentence
