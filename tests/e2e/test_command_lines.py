"""What those type who look after sessiond: sessionctl, and the HTTP port's addresses."""

import json
import os
import pty
import subprocess
import uuid

import pytest
from conftest import BUILD


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)


@pytest.fixture
def sessionctl(daemon):
    return lambda *words: run(BUILD / "client/sessionctl", "--server", daemon.address, *words)


def test_sessionctl_creates_and_lists(sessionctl):
    created = sessionctl("session", "create", "--workflow", "execution", "-o", "name")
    assert created.returncode == 0, created.stderr
    session_id = created.stdout.strip()
    read = sessionctl("session", "get", session_id, "-o", "json")
    assert json.loads(read.stdout)["state"] == "ACTIVE"
    nothing = sessionctl("session", "list", "--filter", 'owner_id = "nobody"', "-o", "json")
    assert json.loads(nothing.stdout) == []


@pytest.mark.parametrize("number", ["9007199254740993", "1e-400", "-0"])
def test_sessionctl_sends_no_number_that_would_become_another(sessionctl, number):
    session_id = sessionctl("session", "create", "--workflow", "execution", "-o", "name").stdout.strip()
    for words in [
        ["session", "create", "--workflow", "execution", "--context", f'{{"n": {number}}}'],
        ["session", "update", session_id, "--set", f"context.n:={number}"],
        ["call", "UpdateSession", "-d", f'{{"session": {{"context": {{"n": {number}}}}}}}'],
    ]:
        answer = sessionctl(*words)
        assert answer.returncode not in (0, 3) and answer.returncode < 64, answer
        assert f"{number} cannot be kept as a number, only as a text" in answer.stderr


def test_messages_from_windows_are_taken(sessionctl, tmp_path):
    session_id = sessionctl("session", "create", "--workflow", "interview", "--owner", "o", "-o", "name").stdout.strip()
    path = tmp_path / "messages.jsonl"
    lines = b'{"type": "question", "content": "Why?"}\r\n{"type": "answer", "content": "So"}\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + lines)
    answer = sessionctl("message", "append", session_id, "--from", path)
    assert answer.returncode == 0, answer.stderr


def test_sessionctl_says_on_stderr_why_not_and_exits_with_the_code(sessionctl):
    answer = sessionctl("session", "get", str(uuid.uuid4()))
    assert answer.returncode == 64 + 5
    assert answer.stdout == ""
    assert "NEVER_EXISTED" in answer.stderr


def test_the_http_port_says_that_it_is_alive_and_ready(daemon):
    for path in ["/livez", "/readyz"]:
        assert daemon.page(path)[0] == 200
    assert "grpc_server_handled_total" in daemon.metrics()


def test_settings_reach_the_postgresql_that_the_daemon_runs(own_daemon):
    own_daemon.start("--pg-settings=work_mem=7MB  shared_buffers=64MB")
    assert own_daemon.psql("SHOW work_mem").strip() == "7MB"
    assert own_daemon.psql("SHOW shared_buffers").strip() == "64MB"


@pytest.mark.parametrize("option", ["--ephemeral", "--pg-settings=work_mem=7MB"])
def test_options_of_the_daemons_own_postgresql_are_refused_beside_another(option):
    refused = run(BUILD / "server/sessiond", "serve", "--db-url=postgresql://nobody@127.0.0.1:1/none", option)
    assert refused.returncode == 1
    name = option.split("=")[0]
    assert refused.stderr.strip().endswith(
        f"{name} is for the embedded PostgreSQL and --db-url names another: give one of them"
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (["--db-url", ""], "db-url is empty (from --db-url): give a PostgreSQL URL"),
        (["--access-file="], "access-file"),
        (["--config", ""], "--config: names no file: name one, or leave it out"),
        (["--config", "/"], "cannot read the configuration file /: Is a directory"),
    ],
)
def test_what_a_script_left_empty_is_refused(words, said):
    refused = run(BUILD / "server/sessiond", "config", *words)
    assert refused.returncode == 2 and said in refused.stderr, refused


@pytest.mark.parametrize("no_color, coloured", [("", True), ("1", False)])
def test_lines_on_a_terminal_are_coloured_unless_no_color_says_something(no_color, coloured):
    mine, its = pty.openpty()
    daemon = subprocess.Popen(
        [BUILD / "server/sessiond", "serve", "--ephemeral", "--grpc-listen=127.0.0.1:0", "--http-listen=off"],
        stderr=its,
        env={**os.environ, "NO_COLOR": no_color},
    )
    os.close(its)
    line = b""
    while b"\n" not in line:
        line += os.read(mine, 4096)
    daemon.terminate()
    try:
        while os.read(mine, 4096):
            pass
    except OSError:
        pass  # Nobody writes any more.
    daemon.wait(timeout=60)
    assert (b"\x1b[" in line) == coloured, line


def proposed(answer):
    """The first command line that a refusal proposes, as it stands."""
    for line in answer.stderr.splitlines():
        if "sessionctl " in line:
            return line[line.index("sessionctl "):]
    raise AssertionError(answer.stderr)


def typed(line):
    """What a shell makes of it."""
    return subprocess.run(
        line.replace("sessionctl", str(BUILD / "client/sessionctl"), 1),
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_is_proposed_for_a_task_that_is_started_too_early_works_as_it_stands(sessionctl, client):
    session_id = client.create()["sessionId"]
    early = sessionctl("task", "start", session_id, "processing")
    assert early.returncode == 64 + 9
    assert f"session get {session_id} " in proposed(early)
    assert typed(proposed(early)).returncode == 0
    client.call("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    early = sessionctl("task", "start", session_id, "processing")
    assert "set advance_to_stage to processing, to enter it with the task" in early.stderr
    assert f"task start {session_id} processing --to processing " in proposed(early)
    assert typed(proposed(early)).returncode == 0
    assert client.call("GetSession", {"sessionId": session_id})["stage"] == "processing"
    # What cancels it, and what starts it again.
    assert sessionctl("task", "cancel", session_id).returncode == 0
    again = sessionctl("task", "cancel", session_id)
    assert f"task start {session_id} processing" in again.stderr


def test_the_beginning_of_an_id_is_refused_with_the_way_to_the_whole(sessionctl, client):
    session_id = client.create()["sessionId"]
    refused = sessionctl("session", "get", session_id[:8])
    assert refused.returncode == 64 + 3
    assert session_id in typed(proposed(refused)).stdout.split()
