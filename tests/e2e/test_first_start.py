"""What a person meets who starts a daemon, and then another beside it."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from conftest import BUILD

SESSIOND = BUILD / "server/sessiond"
SESSIONCTL = BUILD / "client/sessionctl"


def run(*words, **environment):
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def listener(port=0):
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def row_of_listeners():
    """Two on ports side by side, and the port of the first."""
    while True:
        first = listener()
        port = first.getsockname()[1]
        try:
            return first, listener(port + 1), port
        except OSError:
            first.close()


def is_free(port):
    try:
        listener(port).close()
        return True
    except OSError:
        return False


def test_a_port_that_is_proposed_is_free_and_not_the_daemons_own():
    first, second, port = row_of_listeners()
    with first, second:
        # The third is the daemon's own for something else.
        refused = run(
            SESSIOND, "serve", "--ephemeral", f"--grpc-listen=127.0.0.1:{port}",
            f"--http-listen=127.0.0.1:{port + 2}",
        )
        assert refused.returncode == 1
        assert f"port {port} is in use by " in refused.stderr
        proposed = int(re.search(r"--grpc-listen 127\.0\.0\.1:(\d+)", refused.stderr)[1])
        assert proposed not in [port, port + 1, port + 2]
        assert proposed == 0 or is_free(proposed)


def test_the_doctor_says_that_a_data_directory_is_in_use(daemon):
    directory = daemon._directory / "data"
    looked = run(
        SESSIOND, "doctor", "--grpc-listen=127.0.0.1:0", "--http-listen=off",
        f"--data-dir={directory}",
    )
    assert looked.returncode == 1
    assert f"is in use by another sessiond (pid {daemon.pid})" in looked.stdout


def test_the_doctor_finds_what_a_start_would_find():
    """In a place that PostgreSQL's user may enter."""
    doctor = ("doctor", "--grpc-listen=127.0.0.1:0", "--http-listen=off")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        (folder / "no cluster" / "data").mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(folder / "no cluster" / "data", "postgres")
            (folder / "closed").mkdir(mode=0o700)
            (folder / "root's" / "data").mkdir(parents=True)
        for name in os.listdir(folder):
            directory = folder / name
            looked = run(SESSIOND, *doctor, f"--data-dir={directory}")
            [line] = [line for line in looked.stdout.splitlines() if "data can be kept in" in line]
            assert line.startswith("[-]"), looked
            before = sorted(folder.rglob("*"))
            started = run(SESSIOND, "serve", *doctor[1:], f"--data-dir={directory}")
            assert started.returncode != 0
            obstacle = line.split(": ", 1)[1]
            assert obstacle in started.stderr, (line, started)
            assert sorted(folder.rglob("*")) == before, "something was made"
        # An ephemeral one keeps no data there.
        looked = run(SESSIOND, *doctor, f"--data-dir={folder / 'no cluster'}", "--ephemeral")
        assert looked.returncode == 0 and "data can be kept" not in looked.stdout, looked


def test_the_doctor_counts_the_connections_that_are_left_to_the_daemon():
    doctor = ("doctor", "--grpc-listen=127.0.0.1:0", "--http-listen=off", "--ephemeral", "--lanes=32")
    counted = "the database has connections enough"
    looked = run(SESSIOND, *doctor, "--pg-settings=max_connections=30")
    assert looked.returncode == 1 and f"[-] {counted}: a daemon needs " in looked.stdout, looked
    looked = run(SESSIOND, *doctor, "--pg-settings=work_mem=5MB")
    assert looked.returncode == 0 and f"[+] {counted}" in looked.stdout, looked


def test_the_banners_command_goes_to_this_daemon():
    """Port 0, and a host of its own: neither is where sessionctl looks by itself."""
    for host in ["127.0.0.2", "0.0.0.0"] + (["[::1]"] if has_ipv6() else []):
        with subprocess.Popen(
            [str(SESSIOND), "serve", "--ephemeral", "--insecure", f"--grpc-listen={host}:0",
             "--http-listen=off"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as daemon:
            banner = ""
            for line in daemon.stdout:
                banner += line
                if line.startswith("Ready in "):
                    break
            command = re.search(r"Try +(sessionctl .+)", banner)[1]
            words = command.replace("sessionctl", str(SESSIONCTL)).split()
            created = run(*words, SESSIOND_SERVER="127.0.0.1:1")
            daemon.terminate()
            assert created.returncode == 0, (command, created.stderr)


def test_variables_that_are_empty_or_none_of_ours(tmp_path):
    empty = {
        name: ""
        for name in ["SESSIOND_DATA_DIR", "SESSIOND_LANES", "SESSIOND_CONFIG", "SESSIOND_DB_URL",
                     "SESSIOND_DB_URL_FILE", "SESSIOND_INSECURE", "STATE_DIRECTORY"]
    }
    shown = run(SESSIOND, "config", XDG_DATA_HOME=str(tmp_path), SESSIOND_LANS="4", **empty)
    assert shown.returncode == 0, shown.stderr
    assert re.search(rf"data-dir +{tmp_path}/sessiond +default", shown.stdout)
    assert "SESSIOND_LANS is none of sessiond's and is ignored; did you mean SESSIOND_LANES?" in shown.stderr
    looked = run(
        SESSIOND, "doctor", "--grpc-listen=127.0.0.1:0", "--http-listen=off",
        XDG_DATA_HOME=str(tmp_path), SESSIOND_LANS="4", **empty,
    )
    assert "[!] the variable SESSIOND_LANS is none of sessiond's" in looked.stdout
    refused = run(SESSIOND, "serve", "--data-dir", "")
    assert refused.returncode == 2
    assert "data-dir cannot be `` (from --data-dir): expected a directory" in refused.stderr


def test_all_pages_are_let_in_only_where_callers_are_known():
    refused = run(SESSIOND, "serve", "--ephemeral", "--http-allow-origins", "*")
    assert refused.returncode != 0
    assert "--http-allow-origins * without --access-file" in refused.stderr


def test_what_was_typed_is_not_echoed_raw():
    refused = run(SESSIOND, "serve", "--lanes=\x1b[2J\u202e4")
    assert refused.returncode == 2
    assert "\x1b" not in refused.stderr and "\u202e" not in refused.stderr
    assert "\\x1b[2J\\u202e4" in refused.stderr
