"""Two daemons on one database: what one leaves undone the other does, once; and what both do at once
is done once, too.
"""

import threading
import uuid

import pytest
from conftest import Daemon, Refused
from test_scenarios import assert_chained, events_of, types_of
from test_tasks import Work
from threads import in_threads
from waits import until

# What a silence of one second, and a daemon's beat, may take on a busy machine.
NOTICED_SECONDS = 60


@pytest.fixture(scope="module")
def pair(contract):
    """Two daemons, the first of which has the database. They purge when told."""
    first, second = Daemon(contract), Daemon(contract)
    first.client = first.start("--retention-period=0s")
    second.client = second.start(f"--db-url={first.db_url}", "--retention-period=0s")
    yield first, second
    second.remove()
    first.remove()


@pytest.fixture
def both(pair):
    """Their clients."""
    return tuple(daemon.client for daemon in pair)


@pytest.fixture
def psql(pair):
    return pair[0].psql


def await_failure(client, session_id):
    task = {"sessionId": session_id}
    until(lambda: client.call("GetTask", task)["status"] != "RUNNING", seconds=NOTICED_SECONDS)


def assert_failed_once(client, work):
    events = events_of(client, work.session_id)
    assert_chained(events)
    [failed] = [event for event in events if event["type"] == "TASK_FAILED"]
    assert (failed["trigger"], failed["actor"]) == ("SYSTEM_TIMEOUT", "system")
    [error] = client.call("ListErrors", {"sessionId": work.session_id})["errors"]
    assert error["category"] == "TEMPORARY"
    task = client.call("GetTask", {"sessionId": work.session_id})
    assert (task["status"], task["retryCount"]) == ("FAILED", 1)


def test_the_tasks_of_a_killed_daemon_are_failed_once_by_the_other(own_daemon, second_daemon):
    here = own_daemon.start()
    there = second_daemon.start(f"--db-url={own_daemon.db_url}")
    works = [Work(there, heartbeatTimeout="2s") for _ in range(10)]
    alive = Work(here, heartbeatTimeout="60s")
    second_daemon.kill()
    assert {work.task["status"] for work in works} == {"RUNNING"}
    for work in works:
        await_failure(here, work.session_id)
    for work in works:
        assert_failed_once(here, work)
        # The worker that was given up for dead comes back, at the daemon that is left.
        late = {"sessionId": work.session_id, "taskId": work.task["taskId"]}
        assert here.refusal("CompleteTask", late).reason == "TASK_NOT_RUNNING"
        here.call("RetryTask", {"sessionId": work.session_id})
        assert here.refusal("CompleteTask", late).reason == "STALE_TASK"
    assert alive.call("GetTask")["status"] == "RUNNING"


def test_a_silence_that_both_notice_is_one_failure(both, psql):
    here, there = both
    works = [Work([here, there][n % 2], heartbeatTimeout="60s") for n in range(30)]
    psql("UPDATE session_tasks SET heartbeat_at = heartbeat_at - interval '1 hour'")
    for work in works:
        await_failure(here, work.session_id)
    for work in works:
        assert_failed_once(there, work)


class Writer(threading.Thread):
    """Creates, fills and ends sessions through either daemon until it is stopped."""

    def __init__(self, clients, namespace):
        super().__init__()
        self._clients = clients
        self._namespace = namespace
        self.stop = threading.Event()
        self.appended = {}
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self._round()
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self.error = error

    def _round(self):
        one, other = self._clients
        session = {"workflow": "interview", "ownerId": "w", "namespace": self._namespace}
        session_id = one.call("CreateSession", {"session": session})["sessionId"]
        for n in range(4):
            said = {"type": "question", "content": str(n)}
            append = {"sessionId": session_id, "messages": [said], "requestId": f"say-{n}"}
            [one, other][n % 2].call("AppendMessages", append)
            self.appended[session_id] = n + 1
        self._clients = (other, one)


def done_in_all(client, method, counted, **fields):
    """Calls until nothing is left to do; answers with how much was."""
    count = 0
    while True:
        answer = client.call(method, fields, timeout=60)
        count += answer.get(counted, 0)
        if answer.get("done"):
            return count


def create_stopped(both, namespace):
    """Their ids; every third has an error."""
    stopped = []
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Wait.", "errorCode": "E"}
    for n in range(600):
        client = both[n % 2]
        stopped.append(client.create(namespace=namespace)["sessionId"])
        if n % 3 == 0:
            client.call("RecordError", {"sessionId": stopped[-1], "error": error})
        client.call("StopSession", {"sessionId": stopped[-1]})
    return stopped


def assert_positions_go_on(psql):
    """In every partition, and of every session its sequences."""
    dense = psql(
        "SELECT count(*) FROM (SELECT position - lag(position) OVER w AS step, sequence - lag(sequence) "
        "OVER (PARTITION BY session_id ORDER BY sequence) AS next FROM session_events "
        "WINDOW w AS (PARTITION BY partition ORDER BY position)) e WHERE next <> 1 OR step < 1"
    )
    assert dense.strip() == "0"


def assert_appended(both, appended):
    """By session, how many messages."""
    assert appended
    for session_id, count in appended.items():
        messages = both[0].call("ListMessages", {"sessionId": session_id}).get("messages", [])
        assert [message["content"] for message in messages] == [str(n) for n in range(count)]
        assert types_of(both[1], session_id) == ["CREATED"] + ["MESSAGES_APPENDED"] * count


def test_a_purge_by_both_while_others_write_loses_and_doubles_nothing(both, psql):
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    due = create_stopped(both, namespace)
    held, kept = due[:20], due[20:40]
    for session_id in held:
        hold = {"session": {"sessionId": session_id, "hold": True}, "updateMask": "hold"}
        both[0].call("UpdateSession", hold)
    psql(
        "UPDATE sessions SET purge_at = now() - interval '1 s' "
        f"WHERE namespace = '{namespace}' AND id <> ALL ('{{{','.join(kept)}}}')"
    )
    writers = [Writer(both, namespace), Writer(both[::-1], namespace)]
    for writer in writers:
        writer.start()

    start = threading.Barrier(4)

    def purge(client):
        start.wait()
        return done_in_all(client, "PurgeSessions", "purgedCount", namespace=namespace, execute=True)

    try:
        purged = in_threads(purge, both * 2)
    finally:
        for writer in writers:
            writer.stop.set()
            writer.join()
    assert [writer.error for writer in writers] == [None, None]

    assert sum(purged) == 560  # Each by one of them.
    gone = [session_id for session_id in due if session_id not in {*held, *kept}]
    results = both[1].call("LookupSessions", {"sessionIds": gone})["results"]
    assert {result["reason"] for result in results} == {"ARCHIVED"}
    for session_id in (*held, *kept):
        assert_chained(events_of(both[0], session_id))
    counts = psql(
        f"WITH gone AS (SELECT id FROM tombstones WHERE namespace = '{namespace}'), "
        "last AS (SELECT e.session_id FROM session_events e JOIN gone ON id = session_id WHERE type = 25), "
        f"here AS (SELECT id FROM sessions WHERE namespace = '{namespace}') "
        "SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM last), "
        "(SELECT count(*) FROM session_errors JOIN here ON id = session_id), "
        f"(SELECT sum(errors) FROM error_patterns WHERE namespace = '{namespace}'), "
        "(SELECT count(DISTINCT session_id) FROM last)"
    )
    errors = len([n for n in range(600) if n % 3 == 0])
    left = len([n for n in range(40) if n % 3 == 0])
    assert counts.strip() == f"560|560|{left}|{errors - left}|560"
    assert_positions_go_on(psql)
    assert_appended(both, {key: value for writer in writers for key, value in writer.appended.items()})


def test_of_two_daemons_asked_for_one_change_one_makes_it(both):
    here, there = both
    work = Work(here)

    def fail(client):
        try:
            return client.call("FailTask", {"sessionId": work.session_id, "taskId": work.task["taskId"]})
        except Refused as refused:
            return refused.reason

    answers = in_threads(fail, (here, there) * 4)
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert {answer for answer in answers if isinstance(answer, str)} == {"TASK_NOT_RUNNING"}
    assert types_of(there, work.session_id)[-1] == "TASK_FAILED"


def test_a_request_is_known_to_both(both):
    here, there = both
    session = {"workflow": "interview", "ownerId": "u1"}
    session_id = here.call("CreateSession", {"session": session})["sessionId"]
    request = {"sessionId": session_id, "messages": [{"type": "answer", "content": "!"}], "requestId": "r"}
    assert there.call("AppendMessages", request) == here.call("AppendMessages", request)
    assert here.call("GetSession", {"sessionId": session_id})["messageCount"] == 1
    for method in ("GetSession", "ListMessages", "ListSessionEvents"):
        assert here.call(method, {"sessionId": session_id}) == there.call(method, {"sessionId": session_id})
    # So are the pages of a list.
    here.call("AppendMessages", {**request, "requestId": "s"})
    page = here.call("ListMessages", {"sessionId": session_id, "pageSize": 1})
    rest = {"sessionId": session_id, "pageSize": 1, "pageToken": page["nextPageToken"]}
    assert there.call("ListMessages", rest)["messages"][0]["sequence"] == 2


def test_an_owner_is_erased_by_both_at_once(both, pair):
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    for n in range(300):
        both[n % 2].create(ownerId=owner, namespace=namespace)
    who = {"ownerId": owner, "namespace": namespace}
    erased = in_threads(lambda client: done_in_all(client, "EraseOwner", "affectedCount", **who), both)
    assert sum(erased) == 300
    last = pair[0].psql(
        "SELECT count(*), count(DISTINCT session_id) FROM session_events JOIN tombstones ON id = session_id "
        f"WHERE namespace = '{namespace}' AND type = 26"
    )
    assert last.strip() == "300|300"
    assert owner not in pair[0].dump()
