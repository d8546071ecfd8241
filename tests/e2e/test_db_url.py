"""--db-url, and what the environment says beside it: nothing of a password is ever shown, and no
variable of libpq changes what is meant."""

import ctypes
import os
import subprocess

import pytest
from conftest import BUILD
from databases import database, findings, sessiond  # noqa: F401

SESSIOND = str(BUILD / "server/sessiond")
SESSIONCTL = str(BUILD / "client/sessionctl")

# Passwords that were put into the URL as they are, and what is said of each. Each piece between
# their special characters begins with `Sec`.
UNENCODED = {
    "Sec1@Sec2": "an @ or a /",
    "Sec1/Sec2": "an @ or a /",
    "Sec1@Sec2:Sec3": "an @ or a /",
    "Sec1%Sec2": "a % in it",
    "Sec1%": "a % in it",
    "Sec1@[Sec2": "an @ or a /",
    "12/Sec2": "an @ or a /",
    "Sec1/Sec2?Sec3=Sec4": "a parameter behind the ?",
}


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("password", UNENCODED)
def test_nothing_of_a_password_that_was_not_encoded_is_shown(password, client, daemon):
    url = f"postgresql://app:{password}@127.0.0.1:1/app"
    commands = [
        [SESSIOND, "serve", "--log-level=debug", f"--db-url={url}"],
        [SESSIOND, "migrate", "up", f"--db-url={url}"],
        [SESSIOND, "migrate", "status", f"--db-url={url}"],
        [SESSIOND, "doctor", f"--db-url={url}"],
        [SESSIONCTL, "--server", daemon.address, "import", "--from-postgres", url, "--layout", "interview"],
    ]
    for command in commands:
        answer = run(*command)
        assert answer.returncode != 0, command
        said = answer.stdout + answer.stderr
        assert "Sec" not in said, said
        assert UNENCODED[password] in said, said
    shown = run(SESSIOND, "config", f"--db-url={url}")
    assert "Sec" not in shown.stdout + shown.stderr


def test_a_password_that_was_encoded_is_not_shown_either():
    url = "postgresql://app:Sec1%40Sec2%2FSec3%25@127.0.0.1:1/app"
    for words in [["serve", "--log-level=debug", "--db-wait=0s"], ["migrate", "up"], ["doctor"]]:
        answer = run(SESSIOND, *words, f"--db-url={url}")
        assert answer.returncode == 1
        said = answer.stdout + answer.stderr
        assert "Sec" not in said, said
        assert "127.0.0.1" in said, "where it was looked for helps"


# ---- variables


class Option(ctypes.Structure):
    """libpq's PQconninfoOption."""

    _fields_ = [
        (name, ctypes.c_char_p) for name in ["keyword", "envvar", "compiled", "val", "label", "dispchar"]
    ] + [("dispsize", ctypes.c_int)]


def libpq_variables():
    """All that this libpq looks at, and those of its options that it does not list."""
    libpq = ctypes.CDLL("libpq.so.5")
    libpq.PQconndefaults.restype = ctypes.POINTER(Option)
    variables = ["PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGDATA"]
    for option in libpq.PQconndefaults():
        if option.keyword is None:
            break
        if option.envvar is not None:
            variables.append(option.envvar.decode())
    return sorted(set(variables))


# What another database needed; the rest are set to what is nowhere.
HOSTILE = {
    "PGOPTIONS": "-c statement_timeout=1 -c default_transaction_read_only=on -c nonsense=1",
    "PGCLIENTENCODING": "LATIN1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "SQL, DMY",
    "PGSERVICE": "nowhere",
}


def hostile():
    return {variable: HOSTILE.get(variable, "/nowhere") for variable in libpq_variables()}


def environment(variables):
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


def test_no_variable_of_libpq_reaches_the_daemons_own_postgresql(own_daemon):
    variables = hostile()
    assert len(variables) > 25
    client = own_daemon.start(before=environment(variables))
    session = client.create(ownerDisplayName="Žofie 🦊")
    assert client.call("ListSessions", {})["sessions"][0]["ownerDisplayName"] == "Žofie 🦊"
    assert own_daemon.psql("SELECT owner_display_name FROM sessions") == "Žofie 🦊\n"
    assert own_daemon.psql("SHOW timezone") == "UTC\n"
    assert client.call("GetSession", {"sessionId": session["sessionId"]})["state"] == "ACTIVE"
    client.close()
    assert own_daemon.stop() == 0
    # Nor the commands that start one: on the same data.
    for words in [["migrate", "up"], ["migrate", "status"]]:
        answer = sessiond(*words, f"--data-dir={own_daemon.data}", env={**os.environ, **variables})
        assert answer.returncode == 0, answer.stderr
    examined = sessiond(
        "doctor", "--grpc-listen=127.0.0.1:0", "--http-listen=off", f"--data-dir={own_daemon.data}",
        env={**os.environ, **variables},
    )
    assert findings(examined)[1] == [], examined.stdout


def test_beside_db_url_only_those_count_that_its_help_tells_of(database, own_daemon):  # noqa: F811
    database.migrate()
    names_all = f"host={database.socket_dir} port=5432 user={database.owner} dbname={database.name} password=x"
    honoured = ("PGCHANNELBINDING", "PGREQUIREPEER", "PGCONNECT_TIMEOUT", "PGSSL", "PGGSS")
    variables = {name: value for name, value in hostile().items() if not name.startswith(honoured)}
    client = own_daemon.start(f"--db-url={names_all}", before=environment(variables))
    client.create(ownerDisplayName="Žofie 🦊")
    assert database.psql("SELECT owner_display_name FROM sessions") == "Žofie 🦊\n"

    # What counts is told of where it may be the cause.
    refused = sessiond("doctor", f"--db-url={names_all}", env={**os.environ, "PGREQUIREPEER": "nobody-at-all"})
    [why] = [text for text in findings(refused)[1] if "does not let us in" in text]
    assert "nobody-at-all" in why and "beside it count PGREQUIREPEER" in why


def test_what_db_url_does_not_say_the_variables_may(database):  # noqa: F811
    variables = {
        "PGHOST": database.socket_dir, "PGPORT": "5432", "PGUSER": database.owner, "PGDATABASE": database.name,
    }
    migrated = sessiond("migrate", "up", "--db-url=postgresql://", env={**os.environ, **variables})
    assert migrated.returncode == 0, migrated.stderr
    assert database.psql("SELECT count(*) FROM database_identity") == "1\n"
