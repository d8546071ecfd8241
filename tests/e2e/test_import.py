"""Sessions that lived elsewhere move in with sessionctl: from the lines that docs/import.md shows, and from the
tables of the three old applications; again, killed in the middle, and through a connection that breaks."""

import json
import pathlib
import re
import socket
import subprocess
import threading
import uuid

import pytest
from conftest import BUILD, ROOT
from waits import until

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


def test_a_report_over_what_is_imported_is_refused(daemon, tmp_path):
    lines = lines_of(interview(), interview())
    source = tmp_path / "sessions.jsonl"
    source.write_text(lines)
    link = tmp_path / "link"
    link.symlink_to(source)
    for report in (source, link):
        answer = sessionctl(daemon.address, "import", source, "--report", report)
        assert answer.returncode == 2 and "the file that is imported" in answer.stderr, answer.stderr
    with source.open() as stdin:
        command = [SESSIONCTL, "--server", daemon.address, "import", "-", "--report", source]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, stdin=stdin, check=False)
    assert answer.returncode == 2 and source.read_text() == lines


def test_a_directory_is_refused_before_anything_is_sent(daemon, tmp_path):
    answer = sessionctl(daemon.address, "import", tmp_path)
    assert answer.returncode == 2 and str(tmp_path) in answer.stderr, answer.stderr


def test_an_import_run_again_finds_everything_there(daemon, client, namespace):
    lines = lines_of(*(interview() for _ in range(300)))
    first = report_of(sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines))
    nothing = {"imported": 0, "completed": 0, "alreadyThere": 0, "refused": 0, "notTaken": [], "notAsItWas": []}
    assert first == {**nothing, "imported": 300}
    again = report_of(sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines))
    assert again == {**nothing, "alreadyThere": 300}
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


def test_lines_from_windows_are_taken(daemon, client, namespace, tmp_path):
    path = tmp_path / "sessions.jsonl"
    lines = "".join(json.dumps(interview(labels={"line": f"l{number}"})) + "\r\n" for number in range(3))
    path.write_bytes(b"\xef\xbb\xbf" + lines.encode() + b"\r\n")
    for words in [{"path": path}, {"path": "-", "stdin": path.read_text("utf-8")}]:
        answer = sessionctl(daemon.address, "import", words["path"], "-n", namespace, stdin=words.get("stdin"))
        assert answer.returncode == 0, answer.stdout
    assert count(client, namespace) == 3


NOT_NUMBERS = ["9007199254740993", "-9007199254740993", "1e-400", "-0", "123456789012345678901", "1e400"]


def test_numbers_that_would_become_others_are_refused_with_their_place(daemon, client, namespace):
    line = json.dumps({**interview(), "events": [{"order": {"number": 1}}]})
    assert '{"number": 1}' in line
    lines = [line.replace('"number": 1', f'"number": {number}') for number in NOT_NUMBERS]
    report = report_of(
        sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin="\n".join(lines) + "\n")
    )
    assert (report["imported"], report["refused"]) == (0, len(NOT_NUMBERS))
    for told, number in zip(report["notTaken"], NOT_NUMBERS):
        place = f"events[0].order.number: {number} cannot be kept as a number"
        assert place in told["description"] or "beyond all doubles" in told["description"], told
    twice = line.replace('"number": 1', '"number": 1, "number": 2')
    kept = line.replace('"number": 1', '"number": 9007199254740992')
    report = report_of(
        sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=f"{twice}\n{kept}\n")
    )
    assert "events[0].order.number: stands twice" in report["notTaken"][0]["description"]
    assert (report["imported"], report["refused"]) == (1, 1)


@pytest.mark.parametrize(
    "task, field",
    [
        ({"status": "RUNNING", "startTime": "9999-12-31T23:59:59Z"}, "task.start_time"),
        ({"status": "COMPLETED", "startTime": "2025-01-02T00:00:00Z"}, "task.complete_time"),
        (
            {"status": "COMPLETED", "startTime": "2025-01-02T00:00:00Z", "completeTime": "2025-01-01T00:00:00Z"},
            "task.complete_time",
        ),
        (
            {"status": "RUNNING", "startTime": "2025-01-02T00:00:00Z", "heartbeatTime": "2025-01-01T00:00:00Z"},
            "task.heartbeat_time",
        ),
    ],
)
def test_a_task_whose_times_cannot_be_is_reported(daemon, namespace, task, field):
    session = interview(workflow="ticket_export", ownerDisplayName="Ada", stage="processing")
    line = lines_of({**session, "task": {"taskType": "processing", **task}})
    report = report_of(sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=line))
    assert report["refused"] == 1
    assert field in report["notTaken"][0]["description"]


def test_of_a_session_that_stands_twice_the_second_is_reported(daemon, client, namespace):
    first, second = interview(labels={"a": "first"}), interview(labels={"a": "second"})
    second["session"]["sessionId"] = first["session"]["sessionId"]
    report = report_of(
        sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines_of(first, second))
    )
    assert (report["imported"], report["refused"]) == (1, 1)
    assert "also in line 1" in report["notTaken"][0]["description"]
    assert client.call("GetSession", {"sessionId": first["session"]["sessionId"]})["labels"] == {"a": "first"}


def test_what_was_left_out_is_held_against_the_revision_that_the_session_keeps(daemon, client, namespace):
    workflow = client.call("GetWorkflow", {"name": "interview"})
    for field in ("revision", "createTime"):
        workflow.pop(field, None)
    workflow["name"] = f"w{uuid.uuid4().hex}"
    client.call("CreateWorkflow", {"workflow": workflow})
    bare = interview(workflow=workflow["name"])
    run = lambda request: report_of(
        sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines_of(request))
    )
    assert run(bare)["imported"] == 1
    workflow["messageTypes"] = [{**kind, "name": "other_" + kind["name"]} for kind in workflow["messageTypes"]]
    client.call("CreateWorkflow", {"workflow": workflow})
    newer = run({**bare, "messages": [{"type": "other_question", "content": "Why?"}]})
    assert "messages[0].type" in newer["notTaken"][0]["description"], newer
    report = run({**bare, "messages": [{"type": "question", "content": "Why?"}]})
    assert report["completed"] == 1, report


def test_what_an_import_left_out_a_later_one_adds(daemon, client, namespace):
    bare = [interview(createTime="2025-05-01T08:00:00Z") for _ in range(5)]
    whole = [
        {
            **request,
            "messages": [
                {"type": "question", "content": "Why?", "createTime": "2025-05-01T08:02:00Z"},
                {"type": "answer", "content": "So", "createTime": "2025-05-01T08:03:00Z"},
            ],
        }
        for request in bare
    ]
    run = lambda requests: report_of(
        sessionctl(daemon.address, "import", "-", "-n", namespace, "-o", "json", stdin=lines_of(*requests))
    )
    assert run(bare[:3])["imported"] == 3
    # One of them goes on here, with a message of its own.
    gone_on = bare[0]["session"]["sessionId"]
    client.call("AppendMessages", {"sessionId": gone_on, "messages": [{"type": "question", "content": "New"}]})

    report = run(whole)
    assert (report["imported"], report["completed"], report["refused"]) == (2, 2, 1)
    told = report["notTaken"][0]
    assert (told["sessionId"], told["reason"]) == (gone_on, "SESSION_EXISTS")
    assert "2 messages" in told["description"] and "1 message by now" in told["description"]
    for request in whole[1:]:
        session_id = request["session"]["sessionId"]
        messages = client.call("ListMessages", {"sessionId": session_id})["messages"]
        assert [(message["sequence"], message["content"], message["createTime"]) for message in messages] == [
            (1, "Why?", "2025-05-01T08:02:00Z"),
            (2, "So", "2025-05-01T08:03:00Z"),
        ]
    again = run(whole)
    assert (again["imported"], again["completed"], again["alreadyThere"]) == (0, 0, 4)
    assert again["notTaken"] == report["notTaken"]
    # And the session it was goes on from there.
    session_id = whole[1]["session"]["sessionId"]
    client.call("AppendMessages", {"sessionId": session_id, "messages": [{"type": "question", "content": "How?"}]})
    assert client.call("ListMessages", {"sessionId": session_id})["messages"][2]["sequence"] == 3
    events = client.call("ListSessionEvents", {"sessionId": session_id})["events"]
    assert [event["type"] for event in events][:3] == ["IMPORTED", "IMPORTED", "MESSAGES_APPENDED"]


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
    assert (again["imported"], again["completed"], again["alreadyThere"]) == (0, 0, imported)
    assert again["notTaken"] == first["notTaken"]
    assert again["notAsItWas"] == first["notAsItWas"]


def test_rows_that_may_not_be_seen_stop_an_import_before_it_begins_and_it_is_completed_later(own_daemon):
    client = own_daemon.start()
    own_daemon.psql(
        f"CREATE SCHEMA old; SET search_path = old; {(LAYOUTS / 'interview.sql').read_text()}"
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA old TO reader;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA old TO reader;"
        "ALTER TABLE session_messages ENABLE ROW LEVEL SECURITY"
    )
    owner = f"{own_daemon.db_url} options=-csearch_path=old"
    words = ["import", "--layout", "interview", "-o", "json", "--from-postgres"]
    hidden = sessionctl(own_daemon.address, *words, re.sub(r"user=\S+", "user=reader", owner))
    assert hidden.returncode == 64 + 7
    assert "session_messages" in hidden.stderr and "BYPASSRLS" in hidden.stderr
    assert count(client, "-") == 0

    # As it was before anybody said so: sessions without their messages.
    bare = re.sub(r"search_path=old", "search_path=bare", owner)
    own_daemon.psql("CREATE SCHEMA bare; CREATE VIEW bare.interview_sessions AS SELECT * FROM old.interview_sessions")
    first = sessionctl(own_daemon.address, *words, bare)
    assert "There is no table session_messages (the schema old has one)" in first.stderr
    assert report_of(first)["imported"] == 3
    report = report_of(sessionctl(own_daemon.address, *words, owner))
    assert (report["imported"], report["completed"]) == (0, 1), report
    session_id = "00000000-0000-4000-8000-00000000000a"
    messages = client.call("ListMessages", {"sessionId": session_id})["messages"]
    assert [message["content"] for message in messages] == ["Why?", "Because", "How?"]
    session = client.call("GetSession", {"sessionId": session_id})
    assert session["counters"] == {"current_question_number": 2}


def test_what_is_not_as_it_was_is_told_and_the_exit_code_says_so(own_daemon, tmp_path):
    client = own_daemon.start()
    own_daemon.psql(
        f"CREATE SCHEMA old; SET search_path = old; {(LAYOUTS / 'ticket_export.sql').read_text()}"
        """DELETE FROM sessions WHERE status NOT IN ('failed', 'Completed');
        DELETE FROM session_errors WHERE session_id NOT IN (SELECT id FROM sessions);
        DELETE FROM session_tasks WHERE session_id IS NULL;
        UPDATE session_errors SET technical_details = '{"order": 9007199254740993}' WHERE error_code = 'E17'"""
    )
    url = f"{own_daemon.db_url} options=-csearch_path=old"
    report = tmp_path / "report.jsonl"
    words = ["import", "--layout", "ticket_export", "--from-postgres", url, "-o", "json", "--report", report]
    for outcome in ["imported", "alreadyThere"]:
        answer = sessionctl(own_daemon.address, *words)
        assert answer.returncode == 3
        told = json.loads(answer.stdout)
        assert (told[outcome], told["refused"]) == (2, 0), told
        assert [one["sessionId"] for one in told["notAsItWas"]] == [FIRST]
        for sentence in ["technical_details.order: 9007199254740993 cannot be kept", "content has 2 bytes of no text"]:
            assert sentence in told["notAsItWas"][0]["description"]
        assert [json.loads(line)["sessionId"] for line in report.read_text().splitlines()] == [FIRST]
    error = client.call("GetError", {"sessionId": FIRST, "errorId": "e0000000-0000-4000-8000-000000000001"})
    assert error["technicalDetails"] == {"order": "9007199254740993"}
    own_daemon.psql(
        "UPDATE old.session_errors SET technical_details = '{}'; UPDATE old.uploaded_files SET content = NULL;"
        "UPDATE old.sessions SET serial = 1"
    )
    assert sessionctl(own_daemon.address, *words).returncode == 0


def test_all_that_is_not_as_it_was_is_counted(own_daemon):
    own_daemon.start()
    own_daemon.psql(
        f"CREATE SCHEMA old; SET search_path = old; {(LAYOUTS / 'interview.sql').read_text()}"
        "DELETE FROM session_messages; DELETE FROM interview_sessions;"
        "ALTER TABLE interview_sessions ADD picture bytea DEFAULT '\\xff';"
        "INSERT INTO interview_sessions (id, user_id, status, created_at) "
        "SELECT lpad(i::text, 32, '0'), 'u1', 'paused', '2025-01-01' FROM generate_series(1, 60) i"
    )
    url = f"{own_daemon.db_url} options=-csearch_path=old"
    answer = sessionctl(own_daemon.address, "import", "--layout", "interview", "--from-postgres", url)
    assert answer.returncode == 3
    assert re.search(r"Not as it was +60\n", answer.stdout), answer.stdout
    assert "\nand 10 more: --report FILE has them all\n" in answer.stdout


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
    until(lambda: count(client, namespace) >= some, seconds=IMPORT_SECONDS)


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
