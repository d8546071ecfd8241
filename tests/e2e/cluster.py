"""PostgreSQL servers of a test's own: a primary and standbys, killed, promoted and brought back.

They listen on the loopback, one port each, as servers on several hosts would; and on unix sockets.
"""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

from ports import free_port
from processes import as_user, descendants
from waits import until

BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
# PostgreSQL refuses to run as root; Debian's package has a user for it.
USER = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
START_SECONDS = 60


def runs(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def await_end(pids):
    until(lambda: not any(runs(pid) for pid in pids), seconds=START_SECONDS)


class Server:
    """One server, and its data directory."""

    def __init__(self, directory, name):
        self.name = name
        self.data = directory / name
        self.socket_dir = directory
        self.port = free_port()
        self._log = directory / f"{name}.log"
        self._process = None

    @classmethod
    def alone(cls, directory, name):
        """A server that runs, with a database `sessiond`, in a directory of its own."""
        os.chown(directory, USER.pw_uid, USER.pw_gid)
        server = cls(directory, name)
        server.initialize()
        server.start()
        server.sql("CREATE DATABASE sessiond")
        return server

    def _run(self, *command):
        subprocess.run(
            as_user(USER.pw_uid, *command), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def initialize(self):
        self._run(BIN / "initdb", "-D", self.data, "-U", "sessiond", "-A", "trust", "-E", "UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip

    def follow(self, primary):
        """Becomes a standby of `primary`, from a copy of it."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._run(BIN / "pg_basebackup", "-D", self.data, "-d", f"{primary.url} "
                  f"application_name={self.name}", "-R", "-X", "stream", "-c", "fast",
                  "--no-sync")  # fmt: skip

    def start(self):
        command = [BIN / "postgres", "-D", self.data, "-p", str(self.port),
                   "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.socket_dir}",
                   # A standby comes back at once when its primary does, not after five seconds.
                   "-c", "wal_retrieve_retry_interval=100ms"]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                as_user(USER.pw_uid, *command), stdout=log, stderr=log, start_new_session=True
            )
        self.wait_until_ready()

    def wait_until_ready(self):
        give_up = time.monotonic() + START_SECONDS
        while subprocess.run([BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                             check=False).returncode:  # fmt: skip
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < give_up, self._log.read_text()
            time.sleep(0.02)

    def kill(self):
        """As the loss of its machine would: all of its processes, at once."""
        family = self._family()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        await_end(family)  # Orphans are init's; until they are gone it cannot be started again.

    def kill_postmaster(self):
        """Alone; the others notice, and end."""
        family = self._family()
        self._process.kill()
        self._process.wait()
        await_end(family)

    def stop_at_once(self):
        """The immediate shutdown: without a word to anybody, and with recovery at the next start."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=START_SECONDS)

    def _family(self):
        return [self._process.pid, *descendants(self._process.pid)]

    def stop(self):
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # The fast shutdown.
            self._process.wait(timeout=START_SECONDS)

    def promote(self):
        self.sql("SELECT pg_promote(wait => true)")

    def sql(self, statement, database="postgres"):
        """Answers with what psql says: a line a row."""
        command = [BIN / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement,
                   f"{self.url} dbname={database}"]  # fmt: skip
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def wait_for_standby(self, waits):
        """Whether its commits wait for a standby; for one that does not run, once it does."""
        names = "*" if waits else ""
        if self._process and self._process.poll() is None:
            self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            self.sql("SELECT pg_reload_conf()")
        else:
            with (self.data / "postgresql.auto.conf").open("a") as settings:
                settings.write(f"synchronous_standby_names = '{names}'\n")  # The last one counts.

    @property
    def url(self):
        return f"host=127.0.0.1 port={self.port} user=sessiond"

    @property
    def pid(self):
        return self._process.pid


class Single:
    """One server, which comes back when it was killed."""

    def __init__(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-single-"))
        self.primary = Server.alone(self._directory, "single")
        self.servers = [self.primary]

    def wait_until_ready(self):
        self.primary.wait_until_ready()

    def remove(self):
        self.primary.stop()
        shutil.rmtree(self._directory)


class Pair:
    """A primary, and a standby that has all that the primary has acknowledged."""

    def __init__(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-pair-"))
        self.primary = Server.alone(self._directory, "first")
        self.standby = Server(self._directory, "second")
        self.servers = [self.primary, self.standby]
        self.attach_standby()

    def attach_standby(self):
        self.standby.follow(self.primary)
        self.standby.wait_for_standby(False)  # The copy has its primary's settings.
        self.standby.start()
        self.primary.wait_for_standby(True)
        self.wait_until_ready()

    def wait_until_ready(self):
        """Until commits need not wait for a standby that is not there."""
        self.primary.wait_until_ready()
        in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(lambda: self.primary.sql(in_step) == "1", seconds=START_SECONDS)

    def fail_over(self):
        """Kills the primary and promotes the standby, which then is alone."""
        self.primary.kill()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    @property
    def url(self):
        """For sessiond: the hosts in the order in which they were made."""
        ports = ",".join(str(server.port) for server in self.servers)
        return f"postgresql://sessiond@127.0.0.1,127.0.0.1/sessiond?port={ports}" \
            "&target_session_attrs=read-write"  # fmt: skip

    def remove(self):
        for server in self.servers:
            server.stop()
        shutil.rmtree(self._directory)
