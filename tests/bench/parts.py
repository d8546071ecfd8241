"""The programs that are measured, and those that measure them: started, spoken to, and ended here."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from machine import (Trouble, children_of, cpu_seconds, end_with_parent, forget_peak, machine_seconds, memory_mib,
                     stolen_seconds)
from operations import OPERATIONS, WARM_UP
from ports import free_port

# They are another database's: nothing that is measured is to go there.
for name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[name]

HERE = pathlib.Path(__file__).resolve().parent
POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
# The daemon's own, the naive daemon's, and 64 of pgbench: more than the embedded PostgreSQL lets in.
MAX_CONNECTIONS = 160


class Talker:
    """A subcommand of sessiond_bench: takes a command a line, and answers each with a line of JSON."""

    def __init__(self, program, *arguments):
        self.name = arguments[0]
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=end_with_parent)
        self.pid = self.process.pid

    def ask(self, command):
        """Goes on at once; `answer` waits for what comes of it."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self, command=""):
        line = self.process.stdout.readline()
        if not line:
            raise Trouble(f"`sessiond_bench {self.name}` gave up{f' at `{command}`' if command else ''}; "
                          "its reason is above")
        return json.loads(line)

    def say(self, command):
        self.ask(command)
        return self.answer(command)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Load(Talker):
    """The load generator, for one server."""

    def __init__(self, program, server):
        super().__init__(program, "load", f"--target={server.target}")
        self.server = server

    def measure(self, command, may_refuse=False):
        """One measurement through gRPC: the generator's report, with CPU per request and the size of groups.
        `may_refuse`: an open loop, of which the daemon may refuse what the machine cannot do in time."""
        server = self.server
        daemon = isinstance(server, Daemon)
        if daemon:
            forget_peak(server.pid)
        groups_before = server.groups() if daemon else (0, 0)
        begin, machine_before, stolen_before = time.monotonic(), machine_seconds(), stolen_seconds()
        before, client_before = server.cpu(), cpu_seconds(self.pid)
        report = self.say(command)
        after, client_after = server.cpu(), cpu_seconds(self.pid)
        elapsed, machine = time.monotonic() - begin, machine_seconds() - machine_before
        failures = report["failures"] - (report["refused"] if may_refuse else 0)
        if failures:
            raise Trouble(f"{failures} calls of `{command}` failed; the first is above")
        requests = max(report["requests_all"], 1)
        report["cpu_us"] = {name: (after[name] - before[name]) / requests * 1e6 for name in after}
        report["cpu_us"]["client"] = (client_after - client_before) / requests * 1e6
        ours = sum(report["cpu_us"].values()) * requests / 1e6
        report["others"] = max(0, machine - ours) / elapsed / os.cpu_count()
        report["stolen"] = (stolen_seconds() - stolen_before) / elapsed / os.cpu_count()
        if daemon:
            groups, commands = (now - then for now, then in zip(server.groups(), groups_before))
            report["group"] = commands / groups if groups else 0
            report["rss_mib"] = memory_mib(server.pid, "VmHWM")
        return report


class Echo(Talker):
    """gRPC and these messages, with nothing behind them."""

    def __init__(self, program):
        super().__init__(program, "echo")
        self.target = f"127.0.0.1:{self.answer()['port']}"

    def cpu(self):
        return {"server": cpu_seconds(self.pid)}


class Naive(Talker):
    """What most people would write: a thread and a transaction for each call, on a pool of connections."""

    def __init__(self, program, daemon, connections=32):
        super().__init__(program, "naive", f"--db={daemon.conninfo}", f"--connections={connections}")
        self.target = f"127.0.0.1:{self.answer()['port']}"
        self.daemon = daemon

    def cpu(self):
        return {"server": cpu_seconds(self.pid), "postgres": self.daemon.postgres_cpu()}


class Raw(Talker):
    """The same rows in groups over libpq: no gRPC, nobody to answer."""

    GROUP = 64

    def __init__(self, program, daemon):
        super().__init__(program, "raw", f"--db={daemon.conninfo}")
        self.daemon = daemon

    def measure(self, operation, seconds):
        before, client_before = self.daemon.postgres_cpu(), cpu_seconds(self.pid)
        report = self.say(f"{operation} {self.GROUP} {seconds}")
        after, client_after = self.daemon.postgres_cpu(), cpu_seconds(self.pid)
        requests = max(report["requests_all"], 1)
        report["cpu_us"] = {"postgres": (after - before) / requests * 1e6,
                            "client": (client_after - client_before) / requests * 1e6}
        report["group"] = self.GROUP
        return report


class Daemon:
    """sessiond: on a data directory, with the PostgreSQL that it runs; or, with `beside`, on that other one's."""

    def __init__(self, program, directory, flags, settings=(), beside=None):
        self.target = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.log = directory / f"sessiond-{self.target.rpartition(':')[2]}.log"
        command = [program, "serve", f"--grpc-listen={self.target}", f"--http-listen={self.admin}", *flags]
        if beside:
            command.append(f"--db-url={beside.conninfo}")
        else:
            # pgbench, which is of the same version, must get in, too.
            settings = (f"max_connections={MAX_CONNECTIONS}", *settings)
            command += [f"--data-dir={directory / 'data'}", f"--pg-bin-dir={POSTGRES_BIN}",
                        f"--pg-settings={' '.join(settings)}"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent)
        self.pid = self.process.pid
        try:
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        if beside:
            self.postmaster, self.socket_dir = beside.postmaster, beside.socket_dir
        else:
            # postmaster.pid: the pid is its first line, the socket's directory its fifth.
            lines = next((directory / "data").rglob("postmaster.pid")).read_text().splitlines()
            self.postmaster, self.socket_dir = int(lines[0]), lines[4].strip().strip('"')
        self.conninfo = f"host={self.socket_dir} user=sessiond dbname=sessiond"

    def await_ready(self):
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise Trouble(f"sessiond is not ready to serve; the end of its log:\n{tail}")

    def groups(self):
        """How many groups were committed so far, and how many commands were in them."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5) as page:
            text = page.read().decode()
        numbers = dict(re.findall(r"^sessiond_group_commands_(count|sum) (\S+)$", text, re.M))
        return float(numbers.get("count", 0)), float(numbers.get("sum", 0))

    def cpu(self):
        return {"server": cpu_seconds(self.pid), "postgres": self.postgres_cpu()}

    def postgres_cpu(self):
        """All of PostgreSQL: its postmaster, those that run, and those that have ended."""
        total = cpu_seconds(self.postmaster, with_children=True)
        for child in children_of(self.postmaster):
            try:
                total += cpu_seconds(child)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def await_backends(self, backends):
        """Waits until PostgreSQL has reaped those that a client has left: not before is their time counted."""
        give_up = time.monotonic() + 5
        while not backends.issuperset(children_of(self.postmaster)) and time.monotonic() < give_up:
            time.sleep(0.02)

    def psql(self, *arguments):
        """The command that runs psql on its database."""
        return [POSTGRES_BIN / "psql", "-h", self.socket_dir, "-U", "sessiond", "-d", "sessiond",
                "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *arguments]

    def sql(self, *arguments, stdin=subprocess.DEVNULL):
        done = subprocess.run(self.psql(*arguments), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, preexec_fn=end_with_parent)
        if done.returncode != 0:
            raise Trouble(f"psql failed at `{' '.join(map(str, arguments))[:200]}`:\n{done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def pgbench(daemon, operation, connections, seconds):
    """One measurement with pgbench, from its log of transactions, warming up left out.

    It plans once, as sessiond's own connections do, and has one thread, as the load generator in a closed loop.
    """
    # Its time begins when it connects, which on a busy machine takes many connections more than a while.
    duration = math.ceil(seconds) + (connections > 8)
    while True:
        backends = set(children_of(daemon.postmaster))
        usage_before, cpu_before = os.times(), daemon.postgres_cpu()
        rows = pgbench_log(daemon, operation, connections, duration)
        daemon.await_backends(backends)
        usage_after, cpu_after = os.times(), daemon.postgres_cpu()
        # A line is: client, transaction, microseconds, script, second, microsecond of its end.
        ends = [int(row[4]) + int(row[5]) / 1e6 for row in rows]
        first, last = min(ends), max(ends)
        if last - first >= seconds / 2 + WARM_UP:
            break
        duration += 2
    latencies = sorted(float(row[2]) for row, end in zip(rows, ends) if end >= first + WARM_UP)
    client = (usage_after.children_user + usage_after.children_system
              - usage_before.children_user - usage_before.children_system)
    return {
        "seconds": last - first - WARM_UP,
        "requests_all": len(rows),
        "per_second": len(latencies) / (last - first - WARM_UP),
        "mean_us": statistics.fmean(latencies),
        "p50_us": latencies[len(latencies) // 2],
        "p99_us": latencies[int(len(latencies) * 0.99)],
        "p999_us": latencies[int(len(latencies) * 0.999)],
        "max_us": latencies[-1],
        "cpu_us": {"postgres": (cpu_after - cpu_before) / len(rows) * 1e6, "client": client / len(rows) * 1e6},
    }


def pgbench_log(daemon, operation, connections, seconds):
    """The words of each line of pgbench's log."""
    script = OPERATIONS[operation].script or operation
    variables = [word for name, value in OPERATIONS[operation].variables.items() for word in ("-D", f"{name}={value}")]
    environment = dict(os.environ, PGOPTIONS="-c plan_cache_mode=force_generic_plan")
    with tempfile.TemporaryDirectory(prefix="sessiond-pgbench-") as directory:
        command = [POSTGRES_BIN / "pgbench", "-h", daemon.socket_dir, "-U", "sessiond", "-n", "-M", "prepared",
                   "-f", HERE / f"{script}.sql", "-c", str(connections), "-j", "1", "-T", str(seconds),
                   "-l", "--log-prefix", f"{directory}/log", *variables, "sessiond"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                              preexec_fn=end_with_parent)
        rows = [line.split() for log in pathlib.Path(directory).iterdir() for line in log.read_text().splitlines()]
    if done.returncode != 0 or not rows:
        raise Trouble(f"pgbench failed at {script}.sql:\n{done.stdout[-2000:]}")
    return rows


def ghz_path():
    """Where ghz is (https://ghz.sh), or None."""
    return shutil.which("ghz") or shutil.which("ghz", path=str(pathlib.Path.home() / "go/bin"))


def ghz(program, daemon, seconds):
    """A second opinion on GetSession at 256 in flight: calls a second, by a generator that is not ours."""
    session = daemon.sql("-c", "SELECT id FROM sessions WHERE namespace = 'default' LIMIT 1")
    command = [program, "--insecure", "--call=sessiond.v1.SessionService/GetSession", "--concurrency=256",
               "--connections=2", f"--duration={seconds}s", "--duration-stop=wait", "--format=json",
               f'--data={{"session_id": "{session}"}}', daemon.target]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=end_with_parent)
    if done.returncode != 0:
        raise Trouble(f"ghz failed: {(done.stderr or done.stdout).strip()[-500:]}")
    report = json.loads(done.stdout)
    answered = report["statusCodeDistribution"].get("OK", 0)
    latency = {line["percentage"]: line["latency"] / 1000 for line in report["latencyDistribution"]}
    return {"per_second": report["rps"] * answered / report["count"], "p50_us": latency[50], "p99_us": latency[99]}
