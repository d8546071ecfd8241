"""Who may do what: every method of the contract, called by everybody who could.

Whoever may not see a session gets the answers of one that never existed, word for word.
"""

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
import uuid

import bad_requests
import grpc
import pytest
from conftest import CALL_SECONDS, Daemon, Refused
from http_client import HttpClient
from tokens import Issuer, bearer, hash_of
from waits import until

NOTICED_SECONDS = 30

# The least role that may call it. A method that is in none fails.
READER = """GetSession LookupSessions ListSessions CountSessions ListRecoverableSessions
    ListSessionEvents WatchSessions GetTask ListTasks GetError ListErrors SummarizeErrors ListMessages
    ListArtifacts ListWorkflows GetWorkflow ValidateWorkflow GetServerInfo""".split()
WORKER = """StartTask ReportTaskProgress CompleteTask FailTask CancelTask RetryTask RecordError
    ResolveError AppendMessages AddArtifacts DeleteArtifact UpdateSession""".split()
WRITER = """CreateSession ActivateSession AdvanceSession PauseSession ResumeSession StopSession
    FailSession RecoverSession DeleteSession UndeleteSession""".split()
ADMIN = "EraseOwner DetachReference PurgeSessions ImportSessions CreateWorkflow".split()
ROLES = {"reader": READER, "worker": WORKER, "writer": WRITER, "admin": ADMIN}

# Nobody is let in with these.
STRANGERS = {
    "none": None,
    "empty": "",
    "bad": "sessiond_" + "x" * 43,
    "no bearer": ("Basic", "eDp5"),
    "expired": "to be signed",
    "other audience": "to be signed",
    "other issuer": "to be signed",
}
OWN = "a"
OTHER = "b"


def access_file(issuer):
    text = ""
    for role in ROLES:
        text += f"""
[[principals]]
name = "{role}"
token_hashes = ["{hash_of(role)}"]
roles = ["{role}"]
namespaces = ["{OWN}", "bad-input"]
"""
    return text + f"""
[[principals]]
name = "elsewhere"
token_hashes = ["{hash_of('elsewhere')}"]
roles = ["admin"]
namespaces = ["{OTHER}", "{OTHER}-*"]

[[principals]]
name = "somebody else"
token_hashes = ["{hash_of('somebody else')}"]
roles = ["admin"]
namespaces = ["*"]
owner = "bob"

[[principals]]
name = "monitor"
token_hashes = ["{hash_of('monitor')}"]
roles = ["reader"]
namespaces = ["*"]

[[principals]]
name = "importer"
token_hashes = ["{hash_of('importer')}"]
roles = ["admin"]
namespaces = ["{OWN}"]
limits = {{ bytes_in_flight = 2000 }}

[[principals]]
name = "slow"
token_hashes = ["{hash_of('slow')}"]
roles = ["reader"]
namespaces = ["*"]
limits = {{ calls_per_second = 2, watches = 1 }}

[[principals]]
name = "narrow"
token_hashes = ["{hash_of('narrow')}"]
roles = ["reader"]
namespaces = ["*"]
limits = {{ connections = 1 }}

[[issuers]]
issuer = "{issuer.name}"
audiences = ["sessiond"]
jwks_file = "{issuer.jwks}"

[[issuers.subjects]]
subject = "user-*"
roles = ["reader"]
namespaces = ["{OWN}"]
owner = "sub"
"""


class Guarded:
    """A daemon with an access file, and a session in the namespace of most."""

    def __init__(self, contract, directory):
        self.directory = directory
        self.issuer = Issuer(directory)
        self.file = directory / "access.toml"
        self.file.write_text(access_file(self.issuer))
        self.daemon = Daemon(contract)
        self.client = self.daemon.start(f"--access-file={self.file}")
        STRANGERS["expired"] = self.issuer.token("user-1", seconds=-120)
        STRANGERS["other audience"] = self.issuer.token("user-1", aud="others")
        STRANGERS["other issuer"] = self.issuer.token("user-1", iss="https://elsewhere.example")
        self.session = self.create("writer", namespace=OWN, ownerId="ada")

    def call(self, who, method, request=None):
        return self.client.call(method, request, metadata=bearer(who))

    def refusal(self, who, method, request):
        return self.client.refusal(method, request, metadata=bearer(who))

    def create(self, who, **fields):
        session = {"workflow": "ticket_export", "ownerId": "ada", "ownerDisplayName": "Ada", **fields}
        return self.call(who, "CreateSession", {"session": session})

    def answer(self, metadata, method, request):
        """The reply, or the refusal, of any method; of a stream its first message."""
        path, content = "/" + self.client._contract.full(method), self.client._contract.request(method, request)
        try:
            if method in bad_requests.STREAMS:
                stream = self.client._channel.stream_stream(path)(
                    iter([content]), timeout=CALL_SECONDS, metadata=metadata
                )
                try:
                    return next(stream)
                finally:
                    stream.cancel()
            return self.client.send(path, content, metadata=metadata)
        except Refused as refused:
            return refused
        except Exception as error:  # noqa: BLE001 - of a stream
            return Refused(self.client._contract, error)


@pytest.fixture(scope="module")
def guarded(contract, tmp_path_factory):
    directory = tmp_path_factory.mktemp("access")
    guarded = Guarded(contract, directory)
    yield guarded
    guarded.daemon.remove()


def credentials(stranger):
    token = STRANGERS[stranger]
    if token is None:
        return []
    if isinstance(token, tuple):
        return [("authorization", " ".join(token))]
    return bearer(token)


def test_every_method_has_a_role():
    known = [method for methods in ROLES.values() for method in methods]
    assert sorted(known) == sorted(bad_requests.METHODS)


@pytest.mark.parametrize("method", sorted(bad_requests.METHODS))
def test_strangers_are_not_let_in_and_learn_nothing(guarded, method):
    request = bad_requests.base(method, guarded.session["sessionId"])
    answers = {}
    for stranger in STRANGERS:
        refused = guarded.answer(credentials(stranger), method, request)
        assert isinstance(refused, Refused), (stranger, refused)
        answers[stranger] = (refused.code, refused.reason, refused.sentence, str(refused.details))
    assert len(set(answers.values())) == 1, answers
    assert answers["none"][:2] == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")


@pytest.mark.parametrize("method", sorted(bad_requests.METHODS))
def test_a_role_calls_its_methods_and_no_others(guarded, method):
    least = next(rank for rank, methods in enumerate(ROLES.values()) if method in methods)
    for rank, role in enumerate(ROLES):
        # Of a session that nobody has, so that nothing changes.
        answer = guarded.answer(bearer(role), method, bad_requests.base(method, bad_requests.NOBODY))
        reason = getattr(answer, "reason", None)
        if rank >= least:
            assert reason not in ("NOT_ALLOWED", "CREDENTIALS_INVALID"), (role, answer)
        else:
            assert (answer.code, reason) == ("PERMISSION_DENIED", "NOT_ALLOWED"), (role, answer)
            assert answer.metadata["caller"] == role
            assert answer.metadata["method"].endswith("/" + method)


NAMING = sorted(
    method
    for method in bad_requests.METHODS
    if method not in ("CreateSession", "ImportSessions", "WatchSessions", "LookupSessions")
    and bad_requests.NOBODY in json.dumps(bad_requests.base(method, bad_requests.NOBODY))
    and method != "EraseOwner"
)


@pytest.mark.parametrize("who", ["elsewhere", "somebody else"])
@pytest.mark.parametrize("method", NAMING)
def test_what_is_hidden_answers_as_what_never_existed(guarded, method, who):
    hidden = guarded.session["sessionId"]
    nobody = str(uuid.uuid4())
    answers = [
        guarded.answer(bearer(who), method, bad_requests.base(method, session_id))
        for session_id in (hidden, nobody)
    ]
    told = [(a.code, a.sentence, json.dumps(a.details, sort_keys=True)) for a in answers]
    assert answers[1].reason == "NEVER_EXISTED"
    assert [part.replace(hidden, nobody) for part in told[0]] == list(told[1])


def large_values_read(daemon):
    """How often PostgreSQL has read from where it keeps large values of sessions. What a connection has read
    it counts when it ends, if not before."""
    mine = "FROM pg_stat_activity WHERE application_name LIKE 'sessiond%'"
    pids = ",".join(daemon.psql(f"SELECT pid {mine}").split())
    daemon.psql(f"SELECT pg_terminate_backend(pid) {mine}")
    until(lambda: daemon.psql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ('{{{pids}}}')") == "0\n",
          seconds=NOTICED_SECONDS)
    return int(daemon.psql("SELECT sum(toast_blks_hit + toast_blks_read) FROM pg_statio_user_tables "
                           "WHERE relname LIKE 'sessions%'"))


@pytest.mark.parametrize("what", ["a change", "a watch", "a look-up", "an import", "a creation"])
def test_what_is_hidden_is_not_loaded(guarded, what):
    """Neither time nor memory shows how large it is."""
    large = {"site_description": "".join(str(uuid.uuid4()) for _ in range(100))}
    session_id = guarded.create("writer", namespace=OWN, context=large)["sessionId"]
    by_id = {"sessionId": session_id}
    contract = guarded.client._contract

    def watch(who):
        request = contract.request("WatchSessions", {"sessionIds": [session_id], "initialState": True})
        stream = guarded.client._channel.unary_stream("/" + contract.full("WatchSessions"))(
            request, timeout=CALL_SECONDS, metadata=bearer(who)
        )
        response = contract.method("WatchSessions")[1].FromString(next(stream))
        stream.cancel()
        return response

    taken = {"session": {"workflow": "ticket_export", "namespace": OTHER, "ownerId": "ada"}, **by_id}
    way = {
        "a change": lambda who: guarded.answer(bearer(who), "PauseSession", by_id),
        "a watch": watch,
        "a look-up": lambda who: guarded.answer(bearer(who), "GetSession", by_id),
        "an import": lambda who: guarded.answer(
            bearer(who), "ImportSessions", bad_requests.base("ImportSessions", session_id)
        ),
        "a creation": lambda who: guarded.answer(bearer(who), "CreateSession", taken),
    }[what]
    before = large_values_read(guarded.daemon)
    way("elsewhere")
    assert large_values_read(guarded.daemon) == before
    if what in ("a change", "a watch", "a look-up"):
        way("writer")
        assert large_values_read(guarded.daemon) > before, "it can be seen"


@pytest.mark.parametrize("who", ["elsewhere", "somebody else"])
def test_lists_lookups_and_counts_are_without_it(guarded, who):
    hidden = guarded.session["sessionId"]
    nobody = str(uuid.uuid4())
    for namespace in (OWN, "-"):
        selection = {"namespace": namespace}
        assert guarded.call(who, "ListSessions", selection) == {}
        assert guarded.call(who, "CountSessions", selection) == {}
        assert guarded.call(who, "SummarizeErrors", selection) == {}
        assert guarded.call(who, "ListErrors", selection) == {}
        assert guarded.call(who, "ListTasks", selection) == {}
        assert guarded.call(who, "ListRecoverableSessions", {**selection, "ownerId": "ada"}) == {}
        assert guarded.call(who, "PurgeSessions", selection) == {"done": True}
        assert guarded.call(who, "EraseOwner", {**selection, "ownerId": "ada"}) == {"done": True}
        reference = {**selection, "name": "job_posting", "value": "1"}
        assert guarded.call(who, "DetachReference", reference) == {"done": True}
    found = guarded.call(who, "LookupSessions", {"sessionIds": [hidden, nobody], "includeDeleted": True})
    assert [result["reason"] for result in found["results"]] == ["NEVER_EXISTED"] * 2
    # And it is still there for those who may see it.
    assert guarded.call("reader", "GetSession", {"sessionId": hidden})["ownerId"] == "ada"
    assert guarded.call("reader", "CountSessions", {"namespace": "-"})["total"] >= 1


def test_what_was_archived_is_hidden_as_well(guarded):
    session = guarded.create("admin", namespace=OWN, ownerId="gone")
    guarded.call("admin", "EraseOwner", {"namespace": OWN, "ownerId": "gone"})
    by_id = {"sessionId": session["sessionId"]}
    assert guarded.refusal("reader", "GetSession", by_id).reason == "ARCHIVED"
    for who in ("elsewhere", "somebody else"):
        assert guarded.refusal(who, "GetSession", by_id).reason == "NEVER_EXISTED"
        assert guarded.refusal(who, "GetSession", {**by_id, "view": "FULL"}).reason == "NEVER_EXISTED"
        assert guarded.refusal(who, "StopSession", by_id).reason == "NEVER_EXISTED"
        found = guarded.call(who, "LookupSessions", {"sessionIds": [session["sessionId"]]})
        assert found == {"results": [{"sessionId": session["sessionId"], "reason": "NEVER_EXISTED"}]}


def test_a_watch_hears_only_of_what_its_caller_may_see(guarded):
    contract = guarded.client._contract
    path = "/" + contract.full("WatchSessions")
    own = guarded.create("elsewhere", namespace=OTHER, ownerId="ada")
    request = contract.request("WatchSessions", {"namespace": "-", "initialState": True})
    named = contract.request("WatchSessions", {"sessionIds": [guarded.session["sessionId"]], "initialState": True})
    streams = {
        what: guarded.client._channel.unary_stream(path)(
            content, timeout=CALL_SECONDS, metadata=bearer("elsewhere")
        )
        for what, content in (("all", request), ("named", named))
    }
    response = contract.method("WatchSessions")[1]
    heard = {what: [] for what in streams}
    for what, stream in streams.items():
        for content in stream:
            message = response.FromString(content)
            heard[what].append(message)
            if message.HasField("bookmark"):
                break
    assert [m.session.session_id for m in heard["all"] if m.HasField("session")] == [own["sessionId"]]
    assert [m for m in heard["named"] if not m.HasField("bookmark")] == []
    # A change of theirs, which is not heard of, and then one of ours, which is.
    guarded.call("writer", "PauseSession", {"sessionId": guarded.session["sessionId"]})
    guarded.call("writer", "ResumeSession", {"sessionId": guarded.session["sessionId"]})
    guarded.call("elsewhere", "PauseSession", {"sessionId": own["sessionId"]})
    message = response.FromString(next(iter(streams["all"])))
    assert message.change.event.session_id == own["sessionId"]
    for stream in streams.values():
        stream.cancel()


def test_tokens_of_pages_and_watches_are_of_those_who_got_them(guarded):
    for _ in range(2):
        guarded.create("elsewhere", namespace=OTHER, ownerId="bob")
    query = {"namespace": "-", "pageSize": 1}
    page = guarded.call("elsewhere", "ListSessions", query)
    next_page = {**query, "pageToken": page["nextPageToken"]}
    assert guarded.refusal("somebody else", "ListSessions", next_page).reason == "INVALID_PAGE_TOKEN"
    assert guarded.refusal("reader", "ListSessions", next_page).reason == "INVALID_PAGE_TOKEN"
    assert guarded.call("elsewhere", "ListSessions", next_page)["sessions"]


def test_sessions_are_created_where_one_may_see_them(guarded):
    def refused(who, **fields):
        session = {"workflow": "ticket_export", "ownerId": "ada", "ownerDisplayName": "Ada", **fields}
        return guarded.refusal(who, "CreateSession", {"session": session})

    outside = refused("writer", namespace=OTHER)
    assert (outside.code, outside.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert outside.metadata["namespace"] == OTHER
    assert refused("writer").metadata["namespace"] == "default"
    assert refused("somebody else", ownerId="ada").metadata["owner_id"] == "ada"
    created = guarded.create("somebody else", ownerId="", namespace=OWN)
    assert created["ownerId"] == "bob"
    # And they stay there.
    creating = guarded.call(
        "somebody else",
        "CreateSession",
        {"session": {"workflow": "ticket_export", "ownerDisplayName": "Bob"}, "creating": True},
    )
    change = {"session": {"sessionId": creating["sessionId"], "ownerId": "ada"}, "updateMask": "ownerId"}
    assert guarded.refusal("somebody else", "UpdateSession", change).reason == "NOT_ALLOWED"


def test_a_worker_counts_and_changes_nothing_else(guarded):
    by_id = {"session": {"sessionId": guarded.session["sessionId"]}}
    counted = guarded.call("worker", "UpdateSession", {**by_id, "counterIncrements": {"total_tickets_generated": 1}})
    assert counted["counters"]["total_tickets_generated"] == 1
    for field in ({"updateMask": "labels.a"}, {"setLabels": {"a": "b"}}, {"removeLabelKeys": ["a"]}):
        refused = guarded.refusal("worker", "UpdateSession", {**by_id, **field})
        assert refused.reason == "NOT_ALLOWED"
        assert re.search(r"set \w+ in SessionService/UpdateSession", refused.sentence)


def test_what_an_import_sends_counts_for_its_caller(guarded):
    """It waits for what it has sent before, and refuses what would never fit."""
    contract = guarded.client._contract

    def request(line, site="x"):
        session = {"workflow": "ticket_export", "namespace": OWN, "ownerId": "ada", "ownerDisplayName": "Ada"}
        session |= {"sessionId": str(uuid.uuid4()), "context": {"site_description": site}}
        return contract.request("ImportSessions", {"line": line, "session": session})

    requests = [request(line) for line in range(1, 100)]
    assert sum(map(len, requests)) > 4 * 2000
    requests[50] = request(51, "x" * 3000)
    stream = guarded.client._channel.stream_stream("/" + contract.full("ImportSessions"))(
        iter(requests), timeout=CALL_SECONDS, metadata=bearer("importer")
    )
    responses = [contract.method("ImportSessions")[1].FromString(content) for content in stream]
    results = {response.line: response for response in responses}
    refused = results.pop(51)
    assert refused.reason == "RATE_LIMITED" and "2000 bytes" in refused.description
    imported = contract.method("ImportSessions")[1].Result.Value("IMPORTED")
    assert len(results) == 98 and {response.result for response in results.values()} == {imported}
    # And one that fits comes after.
    assert guarded.call("reader", "CountSessions", {"namespace": OWN, "filter": 'owner_id = "ada"'})["total"] >= 98


def test_events_and_logs_name_the_caller_and_no_token(guarded):
    session = guarded.create("writer", namespace=OWN)
    events = guarded.call("reader", "ListSessionEvents", {"sessionId": session["sessionId"]})["events"]
    assert [event["caller"] for event in events] == ["writer"]
    assert [event["actor"] for event in events] == ["writer"]
    guarded.refusal("reader", "StopSession", {"sessionId": session["sessionId"]})
    log = guarded.daemon.log.read_text()
    assert any(
        json.loads(line).get("caller") == "reader" for line in log.splitlines() if "NOT_ALLOWED" in line
    ) or "reader" in log
    for token in STRANGERS.values():
        if isinstance(token, str) and len(token) > 10:
            assert token not in log
            assert token.split(".")[-1] not in log


def test_an_issuers_token_shows_its_user_that_users_sessions(guarded):
    mine = guarded.create("writer", namespace=OWN, ownerId="user-1")
    token = guarded.issuer.token("user-1")
    assert guarded.call(token, "GetSession", {"sessionId": mine["sessionId"]})["ownerId"] == "user-1"
    listed = guarded.call(token, "ListSessions", {"namespace": "-"})["sessions"]
    assert [session["sessionId"] for session in listed] == [mine["sessionId"]]
    assert guarded.refusal(token, "GetSession", {"sessionId": guarded.session["sessionId"]}).reason == "NEVER_EXISTED"
    assert guarded.refusal(token, "StopSession", {"sessionId": mine["sessionId"]}).reason == "NOT_ALLOWED"
    info = guarded.call(token, "GetServerInfo")
    assert info["caller"] == "https://login.example#user-1"
    assert info["ownerId"] == "user-1"
    assert guarded.refusal(guarded.issuer.token("robot"), "GetServerInfo", {}).reason == "CREDENTIALS_INVALID"


def test_server_info_says_who_one_is(guarded):
    info = guarded.call("worker", "GetServerInfo")
    assert (info["caller"], info["roles"]) == ("worker", ["worker"])
    assert info["namespaces"] == ["a", "bad-input"]
    assert "sessiond.v1.TaskService/StartTask" in info["methods"]
    assert "sessiond.v1.SessionService/CreateSession" not in info["methods"]


def test_whoever_asks_too_often_is_told_how_long_to_wait(guarded):
    refused = None
    for _ in range(20):
        try:
            guarded.call("slow", "GetServerInfo")
        except Refused as error:
            refused = error
            break
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert refused.metadata == {"category": "TEMPORARY", "limit": "calls_per_second", "value": "2"}
    assert "RetryInfo" in refused.details
    # Others are served meanwhile.
    guarded.call("reader", "GetServerInfo")


def test_a_caller_may_have_so_many_connections(guarded):
    contract, channel = guarded.client._contract, guarded.client._channel
    watch = channel.unary_stream("/" + contract.full("WatchSessions"))(
        contract.request("WatchSessions", {}), timeout=CALL_SECONDS, metadata=bearer("narrow")
    )
    next(watch)
    guarded.call("narrow", "GetServerInfo")  # By the same connection.
    path, content = "/" + contract.full("GetServerInfo"), contract.request("GetServerInfo", {})
    with grpc.insecure_channel(guarded.daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as another:
        call = another.unary_unary(path)
        with pytest.raises(grpc.RpcError) as refused:
            call(content, timeout=CALL_SECONDS, metadata=bearer("narrow"))
        refused = Refused(contract, refused.value)
        assert refused.reason == "RATE_LIMITED" and refused.metadata["limit"] == "connections"
        web = HttpClient(contract, guarded.daemon.admin)
        status, answer = web.ask(path, content, {"Content-Type": "application/proto", **dict(bearer("narrow"))})[:2]
        web.close()
        assert status == 429, answer
        watch.cancel()
        give_up = time.monotonic() + CALL_SECONDS
        let_in = False
        while not let_in:  # As soon as the daemon knows.
            assert time.monotonic() < give_up
            with contextlib.suppress(grpc.RpcError):
                let_in = call(content, timeout=CALL_SECONDS, metadata=bearer("narrow"))


def test_the_http_port_is_for_callers_too(guarded):
    def get(path, *headers):
        request = urllib.request.Request(f"http://{guarded.daemon.admin}{path}", headers=dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    token = ("Authorization", "Bearer monitor")
    assert get("/livez")[0] == 200
    assert get("/readyz") == (200, "ready\n")
    assert get("/readyz?verbose")[0] == 401
    assert get("/metrics")[0] == 401
    for path in ("/metrics", "/readyz?verbose"):
        assert get(path, ("Authorization", "Bearer wrong"))[0] == 401
        # Totals are of all namespaces, and of all owners.
        for other in ("reader", "somebody else"):
            assert get(path, ("Authorization", f"Bearer {other}"))[0] == 403
    assert get("/openapi.json", ("Authorization", "Bearer reader"))[0] == 200
    assert "database" in get("/readyz?verbose", token)[1]
    assert "sessiond_refusals_total" in get("/metrics", token)[1]


def test_a_changed_file_counts_and_a_bad_one_does_not(contract, tmp_path):
    guarded = Guarded(contract, tmp_path)
    try:
        path = "/" + contract.full("WatchSessions")
        request = contract.request("WatchSessions", {"namespace": OWN})
        watch = guarded.client._channel.unary_stream(path)(request, timeout=6 * NOTICED_SECONDS, metadata=bearer("reader"))
        assert contract.method("WatchSessions")[1].FromString(next(iter(watch))).HasField("bookmark")

        def last_log():
            return guarded.daemon.log.read_text()

        whole = guarded.file.read_text()
        guarded.file.write_text(whole + "\nnonsense = 1\n")
        until(lambda: "cannot be loaded" in last_log(), seconds=NOTICED_SECONDS)
        assert "nonsense" in last_log()
        guarded.call("reader", "GetServerInfo")  # The last good one serves on.

        guarded.file.write_text(whole.replace("calls_per_second = 2", "calls_per_second = 1000"))
        guarded.file.chmod(0o646)
        until(lambda: "everybody on this machine may write" in last_log(), seconds=NOTICED_SECONDS)
        loaded = last_log().count("were loaded again")
        guarded.file.chmod(0o644)  # That alone mends it.
        until(lambda: last_log().count("were loaded again") > loaded, seconds=NOTICED_SECONDS)

        without_reader = whole.replace(hash_of("reader"), hash_of("reader's next"))
        guarded.file.write_text(without_reader)
        until(lambda: refused(guarded, "reader"), seconds=NOTICED_SECONDS)
        guarded.call("reader's next", "GetServerInfo")
        with pytest.raises(Exception) as ended:  # noqa: PT011 - gRPC's own
            for _ in watch:
                pass
        assert ended.value.code().name == "UNAUTHENTICATED"
    finally:
        guarded.daemon.remove()


def refused(guarded, who):
    try:
        guarded.call(who, "GetServerInfo")
    except Refused as error:
        return error.reason == "CREDENTIALS_INVALID"
    return False
