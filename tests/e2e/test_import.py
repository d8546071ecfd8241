"""Sessions that lived elsewhere move in with sessionctl: from the lines that docs/import.md shows, and from the
tables of the three old applications; again, killed in the middle, and through a connection that breaks."""

import json
import pathlib
import re
import socket
import subprocess
import threading
import time
import uuid

import pytest
from conftest import BUILD, ROOT

LAYOUTS = pathlib.Path(__file__).parents[1] / "legacy"
SESSIONCTL = str(BUILD / "client/sessionctl")
# What an import of a few thousand sessions may take on a busy machine.
IMPORT_SECONDS = 120


def sessionctl(address, *words, stdin=None):
    command = [SESSIONCTL, "--server", address, *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, input=stdin)


def report_of(answer):
    """What `-o json` says of an import that came to its end."""
    assert answer.returncode in (0, 3), answer.stderr
    return json.loads(answer.stdout)


def lines_of(*requests):
    return "".join(json.dumps(request) + "\n" for request in requests)


def interview(**fields):
    return {"session": {"sessionId": str(uuid.uuid4()), "workflow": "interview", "ownerId": "u1", **fields}}


@pytest.fixture
def namespace():
    """Where nobody else has sessions."""
    return f"n{uuid.uuid4().hex}"


def count(client, namespace):
    return client.call("CountSessions", {"namespace": namespace, "includeDeleted": True}).get("total", 0)


# ---- JSON lines


def documented():
    """The examples of docs/import.md, as lines, with ids that nobody had."""
    page = (ROOT / "docs/import.md").read_text()
    requests = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    for request in requests:
        request["session"]["sessionId"] = str(uuid.uuid4())
    return requests


def test_the_documented_lines_are_taken_as_they_stand(daemon, client):
    ticket_export, interview_request = documented()
    answer = sessionctl(daemon.address, "import", "-", stdin=lines_of(ticket_export, interview_request))
    assert answer.returncode == 0, answer.stdout

    sent = ticket_export["session"]
    session = client.call("GetSession", {"sessionId": sent["sessionId"], "view": "FULL"})
    for field in ["ownerId", "ownerDisplayName", "state", "stage", "failReason", "context", "counters", "labels"]:
        assert session[field] == sent[field], field
    assert session["createTime"] == sent["createTime"]
    assert session["status"] == "failed"
    assert session["hasBlockingErrors"]
    assert session["currentTask"]["taskId"] == ticket_export["task"]["taskId"]
    assert session["currentTask"]["retryCount"] == 3
    assert [file["artifactId"] for file in session["files"]] == ["file-1"]
    error = session["openErrors"][0]
    for field, value in ticket_export["errors"][0].items():
        assert error[field] == value, field
    events = client.call("ListSessionEvents", {"sessionId": sent["sessionId"]})["events"]
    assert [event["type"] for event in events] == ["IMPORTED"]
    assert events[0]["changes"]["events"] == ticket_export["events"]

    messages = client.call("ListMessages", {"sessionId": interview_request["session"]["sessionId"]})["messages"]
    assert [(message["sequence"], message["content"]) for message in messages] == [(1, "Why?"), (2, "Because")]
    assert messages[0]["createTime"] == "2025-05-01T08:02:00Z"


def test_an_import_run_again_finds_everything_there(daemon, client, namespace):
    lines = lines_of(*(interview() for _ in range(300)))
    first = report_of(sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines))
    assert first == {"imported": 300, "alreadyThere": 0, "refused": 0, "notTaken": []}
    again = report_of(sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines))
    assert again == {"imported": 0, "alreadyThere": 300, "refused": 0, "notTaken": []}
    assert count(client, namespace) == 300


def test_what_is_refused_is_reported_with_its_line_and_the_rest_goes_on(daemon, client, namespace, tmp_path):
    blank = interview(workflow="ticket_export", ownerDisplayName="Ada")
    blank["errors"] = [{"category": "TEMPORARY", "severity": "INFO", "userMessage": " "}]
    bad = {
        2: ("INVALID_FIELD", "this is no JSON"),
        3: ("INVALID_FIELD", json.dumps({"sesion": {}})),
        4: ("INVALID_FORMAT", json.dumps(interview(sessionId="42"))),
        5: ("UNKNOWN_WORKFLOW", json.dumps(interview(workflow="interveiw"))),
        6: ("INVALID_FIELD", json.dumps(blank)),
        7: ("INVALID_FIELD", json.dumps({**interview(), "messages": [{"type": "riddle", "content": "Who?"}]})),
        8: ("INVALID_FIELD", json.dumps(interview(stage="elsewhere"))),
        9: ("PAYLOAD_TOO_LARGE", json.dumps({**interview(), "events": [{"text": "x" * (5 << 20)}]})),
    }
    lines = lines_of(interview()) + "".join(line + "\n" for _, line in bad.values()) + lines_of(interview())
    report = tmp_path / "report.jsonl"
    answer = sessionctl(
        daemon.address, "import", "-", "-n", namespace, "-o", "json", "--report", report, stdin=lines
    )
    assert answer.returncode == 3
    told = json.loads(answer.stdout)
    assert (told["imported"], told["refused"]) == (2, len(bad))
    assert {one["line"]: one["reason"] for one in told["notTaken"]} == {
        line: reason for line, (reason, _) in bad.items()
    }
    assert all(one["description"] for one in told["notTaken"])
    written = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(one["line"] for one in written) == list(bad)
    assert count(client, namespace) == 2
    assert client.refusal("GetSession", {"sessionId": blank["session"]["sessionId"]}).reason == "NEVER_EXISTED"


# ---- the old tables

FIRST = "00000000-0000-4000-8000-000000000001"


def ticket_export_is_there(client):
    session = client.call("GetSession", {"sessionId": FIRST, "view": "FULL"})
    assert (session["state"], session["stage"], session["status"]) == ("ACTIVE", "processing", "failed")
    assert session["createTime"] == "2025-01-05T10:00:00.123456Z"
    assert session["currentTask"]["failureContext"] == {"status": 500}
    assert [file["displayName"] for file in session["files"]] == ["plan.pdf"]
    blocking = next(error for error in session["openErrors"] if error["severity"] == "BLOCKING")
    assert blocking["recoveryActions"] == ["Save it as PDF", "Upload it again"]
    assert (blocking["relatedFileId"], blocking["relatedTicketId"]) == ("file-1", "ticket-2")
    completed = client.call("GetSession", {"sessionId": FIRST[:-1] + "2"})
    assert (completed["state"], completed["status"]) == ("STOPPED", "completed")
    assert completed["completeTime"] == "2025-02-01T09:30:00Z"


def execution_is_there(client):
    assert client.call("GetSession", {"sessionId": "exec_20251230_020944_4ad060d9"})["state"] == "ACTIVE"
    deleted = client.refusal("GetSession", {"sessionId": "exec_20251231_000000_00000000"})
    assert (deleted.reason, deleted.metadata["delete_time"][:10]) == ("DELETED", "2026-01-01")


def interview_is_there(client):
    session_id = "00000000-0000-4000-8000-00000000000a"
    session = client.call("GetSession", {"sessionId": session_id})
    assert (session["state"], session["references"]) == ("PAUSED", {"job_posting": "17"})
    assert session["counters"] == {"current_question_number": 2}
    messages = client.call("ListMessages", {"sessionId": session_id})["messages"]
    assert [message["content"] for message in messages] == ["Why?", "Because", "How?"]
    assert [message.get("questionType") for message in messages] == ["technical", None, "behavioral"]
    completed = client.call("GetSession", {"sessionId": session_id[:-1] + "b"})
    assert completed["status"] == "completed"


# How many sessions come in, and what the reasons of the others have to say, by session.
OLD = {
    "ticket_export": (
        2,
        {
            FIRST[:-1] + "3": '"frozen" is not known',
            FIRST[:-1] + "4": '"gremlins" is not known',
            FIRST[:-1] + "5": "user_message",
            "": "of no session",
        },
        ticket_export_is_there,
    ),
    "execution": (2, {"EXEC-1": "exec_", "": ""}, execution_is_there),
    "interview": (
        2,
        {"00000000-0000-4000-8000-00000000000c": '"riddle" is not known', "": "somebody else"},
        interview_is_there,
    ),
}


@pytest.mark.parametrize("layout", OLD)
def test_an_old_application_moves_in(own_daemon, layout):
    imported, refused, is_there = OLD[layout]
    client = own_daemon.start()
    own_daemon.psql(f"CREATE SCHEMA old; SET search_path = old; {(LAYOUTS / layout).with_suffix('.sql').read_text()}")
    url = f"{own_daemon.db_url} options=-csearch_path=old"
    words = ["import", "--from-postgres", url, "--layout", layout, "-o", "json"]
    first = report_of(sessionctl(own_daemon.address, *words))
    assert (first["imported"], first["alreadyThere"]) == (imported, 0), first
    assert {one["sessionId"] for one in first["notTaken"]} == set(refused)
    for session_id, words_said in refused.items():
        said = [one["description"] for one in first["notTaken"] if one["sessionId"] == session_id]
        assert any(words_said in sentence for sentence in said), said
    is_there(client)

    again = report_of(sessionctl(own_daemon.address, *words))
    assert (again["imported"], again["alreadyThere"]) == (0, imported)
    assert again["notTaken"] == first["notTaken"]


def test_tables_of_another_layout_are_refused_before_anything_is_done(own_daemon):
    client = own_daemon.start()
    own_daemon.psql(f"CREATE SCHEMA old; SET search_path = old; {(LAYOUTS / 'execution.sql').read_text()}")
    url = f"{own_daemon.db_url} options=-csearch_path=old"
    answer = sessionctl(own_daemon.address, "import", "--from-postgres", url, "--layout", "ticket_export")
    assert answer.returncode == 64 + 9
    assert "The table sessions has no column" in answer.stderr
    assert count(client, "-") == 0


# ---- broken off


class Running:
    """An import that reads what it is fed."""

    def __init__(self, address, namespace):
        command = [SESSIONCTL, "--server", address, "--timeout", "60s", "import", "-", "-n", namespace, "-o", "json"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def feed(self, lines):
        self.process.stdin.write(lines)
        self.process.stdin.flush()

    def end(self):
        out, err = self.process.communicate(timeout=IMPORT_SECONDS)
        assert self.process.returncode == 0, err
        return json.loads(out)


def wait_for_some(client, namespace, some):
    until = time.monotonic() + IMPORT_SECONDS
    while count(client, namespace) < some:
        assert time.monotonic() < until
        time.sleep(0.01)  # Nobody tells; between two looks others may work.


def assert_all_came_once(client, namespace, requests):
    assert count(client, namespace) == len(requests)
    for request in requests[:: len(requests) // 20]:
        session_id = request["session"]["sessionId"]
        events = client.call("ListSessionEvents", {"sessionId": session_id})["events"]
        assert [event["type"] for event in events] == ["IMPORTED"]
        assert len(client.call("ListMessages", {"sessionId": session_id})["messages"]) == 2


def said_something():
    return {**interview(), "messages": [{"type": "question", "content": "Why?"}, {"type": "answer", "content": "So"}]}


def test_killed_in_the_middle_and_run_again_it_takes_the_rest(daemon, client, namespace):
    requests = [said_something() for _ in range(1000)]
    running = Running(daemon.address, namespace)
    running.feed(lines_of(*requests[:600]))
    wait_for_some(client, namespace, 100)
    running.process.kill()
    running.process.communicate()
    there = count(client, namespace)

    answer = sessionctl(
        daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines_of(*requests)
    )
    report = report_of(answer)
    # What was on its way may have come in after the look.
    assert there <= report["alreadyThere"] <= 600
    assert report["imported"] + report["alreadyThere"] == 1000
    assert_all_came_once(client, namespace, requests)


class Relay:
    """A port that stays where it is, in front of whichever daemon there is at the time."""

    def __init__(self):
        self.target = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                host, port = self.target.split(":")
                far = socket.create_connection((host, int(port)))
            except (AttributeError, OSError):
                near.close()
                continue
            self._open += [near, far]
            for source, sink in [(near, far), (far, near)]:
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in [source, sink]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Breaks every connection there is."""
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        self._open = []

    def close(self):
        self.target = None
        self._listener.close()
        self.cut()


@pytest.fixture
def relay():
    relay = Relay()
    yield relay
    relay.close()


def test_a_connection_that_breaks_is_made_good(daemon, client, namespace, relay):
    relay.target = daemon.address
    requests = [said_something() for _ in range(1200)]
    running = Running(relay.address, namespace)
    for part in range(4):
        running.feed(lines_of(*requests[part * 300 : part * 300 + 300]))
        wait_for_some(client, namespace, part * 300 + 50)
        relay.cut()
    report = running.end()
    assert report["imported"] + report["alreadyThere"] == 1200
    assert_all_came_once(client, namespace, requests)


def test_a_daemon_that_is_killed_and_comes_back_goes_on(own_daemon, namespace, relay):
    client = own_daemon.start()
    relay.target = own_daemon.address
    requests = [said_something() for _ in range(800)]
    running = Running(relay.address, namespace)
    running.feed(lines_of(*requests[:400]))
    wait_for_some(client, namespace, 50)
    own_daemon.kill()
    relay.target = None
    relay.cut()
    client.close()
    client = own_daemon.start()
    relay.target = own_daemon.address
    running.feed(lines_of(*requests[400:]))
    report = running.end()
    assert report["imported"] + report["alreadyThere"] == 800
    assert_all_came_once(client, namespace, requests)
