"""Databases and roles beside the one of a daemon's own PostgreSQL, as somebody else would have set
them up; and PgBouncer in front of them."""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest
from conftest import BUILD, locked
from processes import as_user

SESSIOND = str(BUILD / "server/sessiond")
COMMAND_SECONDS = 60
# What PgBouncer may take to listen.
START_SECONDS = 20

_numbers = itertools.count(1)


def sessiond(*words, **options):
    """Runs a command of sessiond's to its end."""
    return subprocess.run(
        [SESSIOND, *words], capture_output=True, text=True, timeout=COMMAND_SECONDS, **options
    )


class Database:
    """One that `owner` owns, and another role, `app`, that may connect."""

    def __init__(self, daemon, encoding="UTF8"):
        self._keywords = dict(word.split("=", 1) for word in daemon.db_url.split())
        number = f"{os.getpid()}_{next(_numbers)}"
        self.name, self.owner, self.app = f"other_{number}", f"owner_{number}", f"app_{number}"
        self._admin("postgres", f"CREATE ROLE {self.owner} LOGIN", f"CREATE ROLE {self.app} LOGIN")
        self._admin(
            "postgres",
            f"CREATE DATABASE {self.name} OWNER {self.owner} ENCODING '{encoding}' LC_COLLATE 'C' "
            "LC_CTYPE 'C' TEMPLATE template0",
        )

    port = 5432

    @property
    def socket_dir(self):
        return self._keywords["host"]

    def url(self, user, **keywords):
        keywords = {"host": self.socket_dir, "port": 5432, "user": user, "dbname": self.name} | keywords
        return " ".join(f"{keyword}={value}" for keyword, value in keywords.items())

    def psql(self, *statements):
        """Does it as a superuser, and answers with what it says: a line a row."""
        return self._admin(self.name, *statements)

    def locked(self, statement):
        return locked(["psql", "-d", self.url(self.owner)], statement)

    def _admin(self, database, *statements):
        command = ["psql", "-h", self.socket_dir, "-p", "5432", "-U", self._keywords["user"], "-d", database]
        command += ["-qAtXv", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def migrate(self):
        """As its owner."""
        migrated = sessiond("migrate", "up", f"--db-url={self.url(self.owner)}")
        assert migrated.returncode == 0, migrated.stderr
        return self

    def remove(self):
        self._admin("postgres", f"DROP DATABASE {self.name} WITH (FORCE)")
        self._admin("postgres", f"DROP ROLE {self.app}", f"DROP ROLE {self.owner}")


class PgBouncer:
    """In front of a database, in one of its modes, run by whoever runs PostgreSQL: it refuses to be
    root. It can be told to lead to another database."""

    def __init__(self, database, mode, *settings):
        self._program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert self._program, "apt-get install pgbouncer"
        self._database, self._mode, self._settings = database, mode, settings
        self._user = os.stat(database.socket_dir).st_uid
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        (self.directory / "users.txt").write_text(f'"{database.owner}" ""\n"{database.app}" ""\n')
        self._configure()
        for path in [self.directory, *self.directory.iterdir()]:
            os.chown(path, self._user, -1)
        self.start()

    def _configure(self):
        lines = [
            "[databases]",
            f"* = host={self._database.socket_dir} port={self._database.port}",
            "[pgbouncer]",
            f"pool_mode = {self._mode}",
            f"unix_socket_dir = {self.directory}",
            "listen_port = 6432",
            "auth_type = trust",
            f"auth_file = {self.directory / 'users.txt'}",
            f"admin_users = {self._database.owner}",
            "default_pool_size = 30",
            # A server that was away is tried again soon.
            "server_login_retry = 1",
            *self._settings,
        ]
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def start(self):
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_user(self._user, self._program, self.directory / "pgbouncer.ini"), stderr=log
            )
        give_up = time.monotonic() + START_SECONDS
        while subprocess.run(self._console("SHOW VERSION"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < give_up and self.process.poll() is None, self.said()
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        return (self.directory / "log").read_text()

    def url(self, user):
        return self._database.url(user, host=self.directory, port=6432)

    def _console(self, command):
        return ["psql", "-h", self.directory, "-p", "6432", "-U", self._database.owner, "-d", "pgbouncer", "-qAtXc", command]

    def lead_to(self, database):
        """What it is asked for from now on is that database's; what it is leading elsewhere ends when it is let go."""
        self._database = database
        self._configure()
        self._tell("RELOAD", "RECONNECT")

    def change_mode(self, mode):
        self._mode = mode
        self._configure()
        self._tell("RELOAD")

    def _tell(self, *commands):
        for command in commands:
            subprocess.run(self._console(command), check=True, stdout=subprocess.DEVNULL)

    def use(self, count):
        """Has it open as many connections to PostgreSQL, which it keeps."""
        command = ["psql", "-d", self.url(self._database.owner), "-qAtXc", "SELECT pg_sleep(0.3)"]
        for each in [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]:
            assert each.wait(timeout=COMMAND_SECONDS) == 0

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory)


@contextlib.contextmanager
def removed(thing):
    try:
        yield thing
    finally:
        thing.remove()


@pytest.fixture
def database(daemon):
    """One of its own for a test, on the PostgreSQL of the daemon that all share."""
    with removed(Database(daemon)) as database:
        yield database


def findings(answer):
    """What doctor says: what is all right, and what is not with why."""
    lines = re.findall(r"^\[([+-])\] (.*)$", answer.stdout, re.MULTILINE)
    return [text for sign, text in lines if sign == "+"], [text for sign, text in lines if sign == "-"]
