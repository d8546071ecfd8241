"""A daemon on a PostgreSQL of several servers: what was acknowledged survives a failover, once; the
old primary that comes back is refused, and that is said; a host that hangs hides no other.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

import pytest
from conftest import BUILD, Refused

BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=pathlib.Path("/usr/bin"))
# PostgreSQL refuses to run as root.
AS_POSTGRES = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
GIVE_UP_SECONDS = 60


def eventually(holds):
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


class Server:
    """A PostgreSQL in a directory, reached by a socket in it."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        if AS_POSTGRES:
            shutil.chown(directory, "postgres")
        self._process = None

    def run(self, program, *options):
        subprocess.run([BIN / program, *options], check=True, stdout=subprocess.DEVNULL, **AS_POSTGRES)

    def start(self):
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "postgres", "-D", self.directory / "data", "-k", self.directory],
                stdout=log, stderr=log, **AS_POSTGRES,
            )
        eventually(lambda: self.psql("SELECT 1", check=False) == "1")

    def stop(self):
        """Without a goodbye."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def psql(self, statement, check=True):
        return subprocess.run(
            [BIN / "psql", "-h", self.directory, "-U", "sessiond", "-qAtXc", statement, "sessiond"],
            check=check, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ).stdout.strip()


@pytest.fixture
def servers():
    """A primary, and the standby without which it acknowledges nothing."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-failover-"))
    root.chmod(0o755)
    first, second = Server(root / "first"), Server(root / "second")
    first.run("initdb", "-D", first.directory / "data", "-U", "sessiond", "-E", "UTF8", "--locale=C", "-A", "trust", "-N")
    with (first.directory / "data/postgresql.conf").open("a") as conf:
        conf.write("listen_addresses = ''\nfsync = off\nwal_keep_size = 64MB\nwal_retrieve_retry_interval = 100ms\n")
    first._process = subprocess.Popen(
        [BIN / "postgres", "-D", first.directory / "data", "-k", first.directory],
        stderr=subprocess.DEVNULL, **AS_POSTGRES,
    )
    made = ["createdb", "-h", first.directory, "-U", "sessiond", "sessiond"]
    eventually(lambda: subprocess.run(made, stderr=subprocess.DEVNULL, check=False).returncode == 0)
    follow = f"host={first.directory} user=sessiond application_name=second"
    first.run("pg_basebackup", "-c", "fast", "-R", "-D", second.directory / "data", "-d", follow)
    second.start()
    first.psql("ALTER SYSTEM SET synchronous_standby_names = 'second'")
    first.psql("SELECT pg_reload_conf()")
    eventually(lambda: first.psql("SELECT sync_state FROM pg_stat_replication") == "sync")
    yield first, second
    first.stop()
    second.stop()
    shutil.rmtree(root)


def url_of(*servers):
    hosts = ",".join(str(server.directory) for server in servers)
    return f"host={hosts} user=sessiond dbname=sessiond target_session_attrs=read-write"


def sessiond(*words):
    return subprocess.run(
        [BUILD / "server/sessiond", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=30,
    )


class Caller(threading.Thread):
    """Sets labels and reads them back, and calls again with the same request id when told
    UNAVAILABLE."""

    def __init__(self, client, session_id):
        super().__init__()
        self._client, self._session_id = client, session_id
        self.over = threading.Event()
        self.acknowledged, self.wrong = [], []

    def run(self):
        while not self.over.is_set():
            request_id = str(uuid.uuid4())
            try:
                self._persist("UpdateSession", {
                    "session": {"sessionId": self._session_id, "labels": {"n": request_id}},
                    "updateMask": "labels.n", "requestId": request_id,
                })
                self.acknowledged.append(request_id)
                read = self._persist("GetSession", {"sessionId": self._session_id})
                if read["labels"]["n"] != request_id:
                    self.wrong.append(read)
            except Refused as refused:
                self.wrong.append(str(refused))

    def _persist(self, method, request):
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return self._client.call(method, request)
            except Refused as refused:
                if refused.code != "UNAVAILABLE" or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)


def readiness(daemon):
    """Whether it is ready, and what it says."""
    try:
        with urllib.request.urlopen(f"http://{daemon.admin}/readyz?verbose", timeout=10) as page:
            return True, page.read().decode()
    except urllib.error.HTTPError as error:
        return False, error.read().decode()


def test_nothing_is_lost_by_a_failover_and_the_old_primary_is_refused(servers, own_daemon):
    first, second = servers
    url = url_of(first, second)
    assert sessiond("migrate", "up", f"--db-url={url}").returncode == 0
    client = own_daemon.start(f"--db-url={url}")
    callers = [Caller(client, client.create()["sessionId"]) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: all(len(caller.acknowledged) > 10 for caller in callers))
        first.stop()
        second.psql("SELECT pg_promote()")
        before = [len(caller.acknowledged) for caller in callers]
        eventually(lambda: all(len(c.acknowledged) > n + 10 for c, n in zip(callers, before)))

        # The old one comes back first, and is alone.
        second.stop()
        first.start()
        first.psql("ALTER SYSTEM RESET synchronous_standby_names")
        first.psql("SELECT pg_reload_conf()")
        on_first = first.psql("SELECT count(*) FROM session_events")
        eventually(lambda: not readiness(own_daemon)[0])
        eventually(lambda: "restart the daemon" in readiness(own_daemon)[1])
        assert "its timeline is 1, and timeline 2 has been seen" in readiness(own_daemon)[1]
        before = [len(caller.acknowledged) for caller in callers]
        second.start()
        eventually(lambda: readiness(own_daemon)[0])
        eventually(lambda: all(len(c.acknowledged) > n + 10 for c, n in zip(callers, before)))
        assert first.psql("SELECT count(*) FROM session_events") == on_first
    finally:
        for caller in callers:
            caller.over.set()
        for caller in callers:
            caller.join()
    assert [caller.wrong for caller in callers] == [[]] * len(callers)
    acknowledged = {request_id for caller in callers for request_id in caller.acknowledged}
    kept = second.psql("SELECT request_id FROM session_events").split()
    assert acknowledged <= set(kept), "lost"
    assert len(kept) == len(set(kept)), "twice"
    lines = [json.loads(line) for line in own_daemon.log_lines()]
    assert any("is an old primary" in line["msg"] and line["level"] == "error" for line in lines)


@contextlib.contextmanager
def hung_host():
    """The port of a host that lets connections in, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_first_host_that_hangs_hides_the_second_from_nobody(own_daemon, second_daemon):
    own_daemon.start()
    _, _, directory, _, user, database = own_daemon._psql
    with hung_host() as port:
        url = f"host=127.0.0.1,{directory} port={port},5432 user={user} dbname={database}"
        for words in (["migrate", "status"], ["doctor", "--admin-listen=off", "--grpc-listen=127.0.0.1:0"]):
            done = sessiond(*words, f"--db-url={url}")
            assert done.returncode == 0, done.stdout
        client = second_daemon.start(f"--db-url={url}")
        session_id = client.create()["sessionId"]
        assert client.call("GetSession", {"sessionId": session_id})["sessionId"] == session_id
