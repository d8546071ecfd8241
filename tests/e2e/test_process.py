"""The daemon as a process: its signals, its children, and whoever reads what it says."""

import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import BUILD
from processes import as_user
from tokens import bearer, hash_of
from waits import PATIENCE_SECONDS, until

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root and unshare"
)


def processes(of):
    """The pids of those that have a text in their command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(of).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass  # It has just ended.
    return found


def children(pid):
    """{pid: state} of a process's children: S, R, Z, …"""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid:
                    found[int(entry.name)] = state
        except OSError:
            pass
    return found


# ------------------------------------------------------------------------------------------ signals


def test_a_start_is_given_up_while_the_database_is_made(own_daemon):
    process = own_daemon.spawn()
    until(lambda: any(own_daemon.data.glob("data.new*")), "initdb did not begin")
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert process.stdout.read() == ""  # It never served.
    # What initdb had started ends by itself, when nobody tells it what to do any more.
    until(lambda: processes(of=own_daemon.data) == [], "a process of initdb is left")
    assert "asked to stop before it had started" in own_daemon.log.read_text()
    own_daemon.start().create()  # And nothing is in the way of the next.


def test_a_start_is_given_up_while_postgresql_starts(own_daemon):
    own_daemon.start()
    assert own_daemon.stop() == 0
    process = own_daemon.spawn()
    until((own_daemon.data / "data/postmaster.pid").exists, "PostgreSQL did not begin")
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    until(lambda: processes(of=own_daemon.data) == [], "a process of PostgreSQL is left")


def test_a_start_that_waits_for_a_silent_database_is_given_up(own_daemon):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        process = own_daemon.spawn(f"--db-url=postgresql://u@{host}:{port}/d")
        peer, _ = silent.accept()
        begin = time.monotonic()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        # After five seconds, or later on a busy machine. Had it waited on for ten, it would say so.
        waited_on = "asked to stop before it had started" in own_daemon.log.read_text()
        assert time.monotonic() - begin < 8 or not waited_on
        peer.close()


def test_a_second_signal_ends_it_at_once(own_daemon):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        process = own_daemon.spawn(f"--db-url=postgresql://u@{host}:{port}/d")
        peer, _ = silent.accept()
        process.terminate()
        until(lambda: process.send_signal(signal.SIGINT) or process.poll() is not None, "it stays")
        # Of two that wait, the kernel hands out either first. Without a second it ends later, with 0.
        assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        peer.close()


def supervisor_of(daemon):
    return next(pid for pid in children(daemon.pid) if pathlib.Path(f"/proc/{pid}/comm").read_text() == "sessiond-pg\n")


def test_a_supervisor_that_is_only_slow_is_waited_for(own_daemon):
    client = own_daemon.start()
    supervisor = supervisor_of(own_daemon)
    os.kill(supervisor, signal.SIGSTOP)
    time.sleep(7)  # It is asked for five seconds.
    os.kill(supervisor, signal.SIGCONT)
    client.create()
    assert own_daemon.stop() == 0
    assert "supervisor of the embedded PostgreSQL is gone" not in own_daemon.log.read_text()


def test_a_supervisor_that_dies_while_it_drains_is_no_second_signal(own_daemon):
    own_daemon.start("--drain-delay=10s").create()
    supervisor = supervisor_of(own_daemon)
    own_daemon.process.terminate()
    until(lambda: '"draining"' in own_daemon.log.read_text(), "it does not drain")
    os.kill(supervisor, signal.SIGKILL)
    assert own_daemon.process.wait(PATIENCE_SECONDS) == 1  # A second signal's would be 143.


def test_a_start_that_waits_for_its_options_is_given_up(own_daemon, tmp_path):
    pipe = tmp_path / "options.toml"
    os.mkfifo(pipe)
    process = own_daemon.spawn(f"--config={pipe}")

    def opened():
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None  # Nobody reads it yet.

    writer = until(opened, "it does not read its options")
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM
    os.close(writer)


def test_what_is_said_into_a_closed_standard_error_goes_nowhere(own_daemon):
    # It warns of a variable that is none of its own, before PostgreSQL runs.
    closed = ("env", "SESSIOND_FOO=1", "sh", "-c", 'exec "$0" "$@" 2>&- <&-')
    own_daemon.start(before=closed).create()
    assert own_daemon.stop() == 0


# ---------------------------------------------------------------------------------------- as PID 1

IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def first_process(unshare):
    """The pid, seen from here, of the first process of the namespace that `unshare` made."""
    until(lambda: children(unshare.pid), "unshare did not start it")
    return next(iter(children(unshare.pid)))


@needs_namespaces
def test_pid_1_ends_a_start_too(own_daemon):
    process = own_daemon.spawn(before=IN_A_NAMESPACE)
    first = first_process(process)
    until(lambda: any(own_daemon.data.glob("data.new*")), "initdb did not begin")
    os.kill(first, signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert processes(of=own_daemon.data) == []


@needs_namespaces
def test_pid_1_buries_orphans_and_drains(own_daemon):
    own_daemon.start(before=IN_A_NAMESPACE)
    process = own_daemon.process
    first = first_process(process)
    orphan = "(exec sleep 0.05) & exit 0"
    for _ in range(5):
        subprocess.run(["nsenter", f"--target={first}", "--pid", "sh", "-c", orphan], check=True)
    daemon = [pid for pid in children(first) if pid in processes(of=own_daemon.data)]
    assert len(daemon) == 1
    until(lambda: list(children(first)) == daemon, f"children of PID 1: {children(first)}")
    os.kill(first, signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert own_daemon.log.read_text().count('"stopped"') == 1


# ------------------------------------------------------------------------------- no thread to spare


# Whose processes are counted: root's never are.
COUNTED = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else os.geteuid()


def start_counted(daemon, *options):
    shutil.chown(daemon.data.parent, COUNTED)
    return daemon.start(*options, before=as_user(COUNTED))


def limit_threads(daemon, threads=resource.getrlimit(resource.RLIMIT_NPROC)[0]):
    subprocess.run(as_user(COUNTED, "prlimit", f"--pid={daemon.pid}", f"--nproc={threads}:"), check=True)


def stop_in_time(daemon):
    """gRPC waits at its end for a thread that it once could not make; the daemon then leaves it."""
    assert daemon.stop() == 0
    until(lambda: processes(of=daemon.data) == [], "its PostgreSQL runs on")


def test_an_access_file_that_takes_a_thread_too_many_is_loaded_later(own_daemon):
    access = own_daemon.data.parent / "access.toml"
    text = f'[[principals]]\nname = "ada"\nroles = ["reader"]\nnamespaces = ["*"]\ntoken_hashes = ["{hash_of("token")}"]\n'
    access.write_text(text)
    client = start_counted(own_daemon, f"--access-file={access}", "--shutdown-grace=1s")
    limit_threads(own_daemon, 1)
    issuer = '[[issuers]]\nissuer = "https://login.example"\naudiences = ["a"]\njwks_file = "/none"\n'
    access.write_text(f'{text}{issuer}[[issuers.subjects]]\nsubject = "*"\nroles = ["reader"]\nnamespaces = ["*"]\nowner = "sub"\n')
    until(lambda: "cannot be loaded" in own_daemon.log.read_text(), own_daemon.log.read_text)
    assert "There is no thread to read" in own_daemon.log.read_text()
    client.call("GetServerInfo", metadata=bearer("token"))
    limit_threads(own_daemon)
    until(lambda: "were loaded again" in own_daemon.log.read_text(), own_daemon.log.read_text)
    stop_in_time(own_daemon)


def test_a_drain_takes_no_thread(own_daemon):
    client = start_counted(own_daemon, "--shutdown-grace=1s")
    client.create()
    limit_threads(own_daemon, 1)
    stop_in_time(own_daemon)
    assert '"draining"' in own_daemon.log.read_text()


# ------------------------------------------------------------------------------------ the log's reader


def test_a_log_reader_that_hangs_costs_lines_and_no_calls(own_daemon):
    reader, writer = os.pipe()
    client = own_daemon.start("--log-level=debug", stderr=writer)
    os.close(writer)
    # Every call says something; the pipe holds 64 KiB and the daemon a megabyte, twice.
    long = {"labels": {"k": "v"}, "ownerId": "o" * 200}
    begin = time.monotonic()
    while own_daemon.metric("sessiond_log_lines_dropped_total") < 10:
        assert time.monotonic() - begin < PATIENCE_SECONDS
        for _ in range(200):
            client.refusal("GetSession", {"sessionId": "x" * 900})
    client.create(**long)
    # It flows again: all that was kept comes, and behind it how much is missing.
    lines = []
    flow = os.fdopen(reader)
    told = threading.Event()

    def read():
        for line in flow:
            lines.append(line)
            if "lines were dropped" in line:
                told.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert told.wait(PATIENCE_SECONDS)
    dropped = int(re.search(r'"lines":(\d+)', next(x for x in lines if "were dropped" in x))[1])
    assert dropped >= 10
    assert own_daemon.stop() == 0
    thread.join()
    assert '"stopped"' in lines[-1]


def test_it_ends_though_nobody_reads_its_log(own_daemon):
    reader, writer = os.pipe()
    client = own_daemon.start("--log-level=debug", stderr=writer)
    os.close(writer)
    while own_daemon.metric("sessiond_log_lines_waiting") < 100:
        client.refusal("GetSession", {"sessionId": "x" * 900})
    assert own_daemon.stop() == 0
    os.close(reader)


def test_a_banner_that_nobody_reads_holds_up_nothing(own_daemon):
    own_daemon.start()  # Makes the database.
    own_daemon.stop()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    with own_daemon.log.open("ab") as log:
        process = subprocess.Popen(
            [BUILD / "server/sessiond", "serve", "--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"]
            + [f"--data-dir={own_daemon.data}"],
            stdout=writer,
            stderr=log,
        )
    until(lambda: own_daemon.log.read_text().count('"ready"') == 2, "it is not ready")
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    os.close(reader)
    os.close(writer)
