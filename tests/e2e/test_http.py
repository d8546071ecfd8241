"""Every call by HTTP gives what it gives by gRPC: answers, refusals, events, numbers; and what HTTP
has of its own.
"""

import collections
import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid

import bad_requests
import pytest
import test_access
from bad_requests import CONTRACT, METHODS, NOBODY, STREAMS
from callers import Callers
from certificates import Authority
from conftest import CALL_SECONDS, ROOT, Refused
from google.protobuf import json_format
from http_client import JSON, HttpClient, HttpRefused
from test_drain import LONG_WAITS, SOMEBODY_WAITS
from tokens import bearer, hash_of
from waits import until

READS = [
    name
    for name, method in CONTRACT.methods.items()
    if method.GetOptions().idempotency_level == method.GetOptions().NO_SIDE_EFFECTS and name not in STREAMS
]


@pytest.fixture
def web(contract, daemon):
    client = HttpClient(contract, daemon.admin)
    yield client
    client.close()


def metrics_of(daemon, method):
    """How often a method has ended how."""
    counts = collections.Counter()
    for line in daemon.metrics().splitlines():
        if line.startswith("grpc_server_handled_total{") and f'grpc_method="{method}"' in line:
            counts[re.search(r'grpc_code="(\w+)"', line)[1]] += int(float(line.rpartition(" ")[2]))
    return counts


# ------------------------------------------------------------------------------------------------
# the same as by gRPC


def lasting(answer):
    """Without what is of the moment, such as an error's age."""
    if isinstance(answer, dict):
        of_the_moment = ("age", "duration", "readTime", "serverTime", "uptime", "countTime")
        return {key: lasting(value) for key, value in answer.items() if key not in of_the_moment}
    return [lasting(each) for each in answer] if isinstance(answer, list) else answer


def test_reads_answer_as_by_grpc(client, web):
    session_id = client.create(context={"site_name": "Köln \u2028"}, labels={"a": "1"}, namespace="http-reads")["sessionId"]
    client.call("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    task = {"sessionId": session_id, "taskType": "processing", "advanceToStage": "processing"}
    client.call("StartTask", task)
    error = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Try again."}
    error_id = client.call("RecordError", {"sessionId": session_id, "error": error})["errorId"]
    known = {
        "GetError": {"errorId": error_id},
        "LookupSessions": {"sessionIds": [session_id, NOBODY, "no id"]},
        "GetWorkflow": {"name": "ticket_export"},
        "ListRecoverableSessions": {"namespace": "http-reads", "ownerId": "u1"},
        "ValidateWorkflow": {"workflow": {"name": "w", "idFormat": "UUID"}},
    }
    for method in READS:
        fields = METHODS[method].fields_by_name
        request = dict(known.get(method, {}))
        if "session_id" in fields:
            request["sessionId"] = session_id
        if "namespace" in fields:
            request["namespace"] = "http-reads"
        by_grpc, by_post = client.call(method, request), web.call(method, request)
        path = "/" + CONTRACT.full(method)
        encoded = "".join(f"%{byte:02x}" for byte in json.dumps(request).encode())
        status, _, by_get = web.ask(f"{path}?encoding=json&message={encoded}", verb="GET")
        assert status == 200, by_get
        content = CONTRACT.request(method, request)
        status, headers, by_proto = web.ask(path, content, {"Content-Type": "application/proto"})
        assert (status, headers["Content-Type"]) == (200, "application/proto")
        message = CONTRACT.method(method)[1].FromString(by_proto)
        answers = [by_grpc, by_post, json.loads(by_get)]
        answers.append(json_format.MessageToDict(message, descriptor_pool=CONTRACT.pool))
        if method == "GetServerInfo":
            for answer in answers:
                del answer["startTime"]  # Others may answer than the one before.
        for answer in answers:
            assert lasting(answer) == lasting(by_grpc), method


def in_json(method, content):
    """None: it has no form in JSON."""
    try:
        return json_format.MessageToDict(CONTRACT.method(method)[0].FromString(content), descriptor_pool=CONTRACT.pool)
    except Exception:  # noqa: BLE001 - of many kinds
        return None


def test_what_is_bad_is_refused_as_by_grpc(client, web):
    """All that bad_requests.py has that JSON can say, with the same details in the same words."""
    compared = 0
    for bad in bad_requests.BADS:
        method = bad.method
        if method == "ImportSessions" or bad.padding or len(bad.request) > 1 << 20:
            continue
        request = in_json(method, bad.request)
        # Some content is gone, such as an unknown enum's or a number that is none, or another.
        if request is None or CONTRACT.request(method, request) != bad.request:
            continue
        with pytest.raises(Refused) as by_grpc:
            bad.send(client)
        with pytest.raises(HttpRefused) as by_http:
            web.call(method, request)
        expected = by_grpc.value
        assert (by_http.value.code, by_http.value.sentence, by_http.value.details) == (
            expected.code,
            expected.sentence,
            expected.details,
        ), bad.what
        compared += 1
    assert compared > 400


def test_refusals_that_no_request_is_bad_for(client, web):
    session_id = client.create()["sessionId"]
    for method, request in [
        ("GetSession", {"sessionId": NOBODY}),
        ("ResumeSession", {"sessionId": session_id}),
        ("AdvanceSession", {"sessionId": session_id, "targetStage": "nowhere"}),
        ("PauseSession", {"sessionId": session_id, "etag": "AAAA"}),
        ("GetWorkflow", {"name": "nowhere"}),
        ("WatchSessions", {"resumeToken": "AAAA"}),
    ]:
        with pytest.raises(HttpRefused) as by_http:
            web.call(method, request)
        if method in STREAMS:
            assert by_http.value.reason == "INVALID_RESUME_TOKEN"
            continue
        by_grpc = client.refusal(method, request)
        assert (by_http.value.code, by_http.value.details) == (by_grpc.code, by_grpc.details)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetSession", {"sessionId": {}}, "session_id"),
        ("GetSession", {"sessionId": ["a"]}, "session_id"),
        ("LookupSessions", {"sessionIds": ["a", {"b": 1}]}, "session_ids[1]"),
        ("CreateSession", {"session": {"labels": {"team": {}}}}, "session.labels.team"),
    ],
)
def test_a_value_of_another_shape_is_named_by_its_field(web, method, request_, field):
    with pytest.raises(HttpRefused) as refused:
        web.call(method, request_)
    assert refused.value.reason == "INVALID_FIELD"
    assert [each["field"] for each in refused.value.details["BadRequest"]["fieldViolations"]] == [field]


def test_events_and_numbers_are_the_same(daemon, client, web):
    before = metrics_of(daemon, "PauseSession")
    events = []
    for who in (client, web):
        session_id = client.create()["sessionId"]
        who.call("PauseSession", {"sessionId": session_id, "reason": "lunch", "actor": "Zoë"})
        with pytest.raises(Refused):
            who.call("PauseSession", {"sessionId": session_id})
        listed = client.call("ListSessionEvents", {"sessionId": session_id})["events"]
        assert len(listed) == 2
        said = json.dumps(listed[-1])
        said = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", said)
        events.append(re.sub(r"\d{4}-\d\d-\d\dT[^\"]+Z", "TIME", said))
    assert events[0] == events[1]
    after = metrics_of(daemon, "PauseSession")
    assert {code: after[code] - before[code] for code in after if after[code] != before[code]} == {
        "OK": 2,
        "FailedPrecondition": 2,
    }


def test_a_repeated_change_has_one_effect_whichever_way_it_comes(client, web):
    session_id = client.create()["sessionId"]
    request = {"sessionId": session_id, "requestId": str(uuid.uuid4())}
    first = web.call("PauseSession", request)
    assert client.call("PauseSession", request) == first == web.call("PauseSession", request)
    assert len(client.call("ListSessionEvents", {"sessionId": session_id})["events"]) == 2


def test_a_caller_that_is_cut_off_and_asks_again_has_one_effect(contract, daemon, client):
    """The connection is cut while the change hangs in the database, or at any other moment."""
    host, port = daemon.admin.rsplit(":", 1)
    session_id = client.create()["sessionId"]
    total = 40
    for i in range(total):
        request = {"sessionId": session_id, "requestId": str(uuid.uuid4()), "counterIncrements": {"total_tickets_generated": 1}}
        request["session"] = {"sessionId": request.pop("sessionId")}
        content = json.dumps(request)
        connection = http.client.HTTPConnection(host, int(port), timeout=CALL_SECONDS)
        connection.request("POST", "/" + contract.full("UpdateSession"), content, JSON)
        time.sleep(i * 0.0005)
        connection.sock.close()
        connection.close()
        again = HttpClient(contract, daemon.admin)
        again.call("UpdateSession", request)
        again.close()
    assert int(client.call("GetSession", {"sessionId": session_id})["counters"]["total_tickets_generated"]) == total


# ------------------------------------------------------------------------------------------------
# streams


def test_a_watch_sees_what_happens_and_goes_on_where_it_ended(contract, daemon, client):
    namespace = f"n{uuid.uuid4().hex}"
    watcher = HttpClient(contract, daemon.admin)
    watch = watcher.stream("WatchSessions", [{"namespace": namespace}])
    assert "bookmark" in next(watch)
    session_id = client.create(namespace=namespace)["sessionId"]
    seen = next(watch)
    while "heartbeat" in seen or "bookmark" in seen:
        seen = next(watch)
    assert session_id in json.dumps(seen)
    token = seen["resumeToken"]
    watch.close()
    watcher.close()
    client.call("PauseSession", {"sessionId": session_id})
    again = HttpClient(contract, daemon.admin)
    for said in again.stream("WatchSessions", [{"namespace": namespace, "resumeToken": token}]):
        if "PAUSED" in json.dumps(said):
            break
    again.close()


def test_an_import_is_a_stream_of_requests(contract, daemon, client):
    namespace = f"n{uuid.uuid4().hex}"
    session = {"workflow": "interview", "namespace": namespace, "ownerId": "o", "ownerDisplayName": "O"}
    lines = [
        {"line": line, "session": {**session, "sessionId": str(uuid.uuid4()), "createTime": "2026-01-01T00:00:00Z"}}
        for line in range(1, 201)
    ]
    lines[99]["session"]["workflow"] = "nobody_has_it"
    importer = HttpClient(contract, daemon.admin)
    answers = list(importer.stream("ImportSessions", lines))
    importer.close()
    results = {int(answer["line"]): answer["result"] for answer in answers}
    assert results == {line: "REFUSED" if line == 100 else "IMPORTED" for line in range(1, 201)}
    assert int(client.call("CountSessions", {"namespace": namespace})["total"]) == 199


# ------------------------------------------------------------------------------------------------
# who may


@pytest.fixture(scope="module")
def guarded(contract, tmp_path_factory):
    guarded = test_access.Guarded(contract, tmp_path_factory.mktemp("http-access"))
    yield guarded
    guarded.daemon.remove()


def by_http(guarded, metadata, method, request):
    """The answer, or the refusal."""
    client = HttpClient(guarded.client._contract, guarded.daemon.admin, headers=dict(metadata))
    try:
        return client.call(method, request)
    except HttpRefused as refused:
        return refused
    finally:
        client.close()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_callers_are_let_in_as_by_grpc(guarded, method):
    """Strangers, roles, those of another namespace and of another owner."""
    callers = {stranger: test_access.credentials(stranger) for stranger in ("none", "bad", "no bearer", "expired")}
    callers |= {role: bearer(role) for role in ("reader", "worker", "elsewhere", "somebody else")}
    callers["jwt"] = bearer(guarded.issuer.token("user-1"))
    for session_id in (guarded.session["sessionId"], NOBODY):
        request = bad_requests.base(method, session_id)
        for who, credentials in callers.items():
            if session_id != NOBODY and who in ("reader", "worker", "jwt"):
                continue  # They could change it.
            grpc_said = guarded.answer(credentials, method, request)
            http_said = by_http(guarded, credentials, method, request)
            assert isinstance(http_said, Refused) == isinstance(grpc_said, Refused), (who, grpc_said, http_said)
            if isinstance(grpc_said, Refused):
                assert (http_said.code, http_said.reason) == (grpc_said.code, grpc_said.reason), who
                if method not in STREAMS:
                    assert (http_said.sentence, http_said.details) == (grpc_said.sentence, grpc_said.details), who


def test_of_strangers_no_byte_of_a_body_is_waited_for(guarded):
    """Whether they say how long it is or not; and who they are is not said behind it."""
    host, port = guarded.daemon.admin.rsplit(":", 1)
    path = "/" + CONTRACT.full("GetServerInfo")
    token = dict(bearer("reader"))["authorization"]
    for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        with socket.create_connection((host, int(port)), timeout=CALL_SECONDS) as peer:
            peer.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
            assert peer.recv(12) == b"HTTP/1.1 401", length
    with socket.create_connection((host, int(port)), timeout=CALL_SECONDS) as peer:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTrailer: Authorization\r\nTransfer-Encoding: chunked\r\n\r\n"
        peer.sendall(f"{head}2\r\n{{}}\r\n0\r\nAuthorization: {token}\r\n\r\n".encode())
        assert peer.recv(12) == b"HTTP/1.1 401"


def test_the_caller_is_in_the_event(guarded):
    session_id = guarded.create("writer", namespace="a", ownerId="ada")["sessionId"]
    by_http(guarded, bearer("writer"), "PauseSession", {"sessionId": session_id})
    events = guarded.call("reader", "ListSessionEvents", {"sessionId": session_id})["events"]
    assert [event["caller"] for event in events] == ["writer", "writer"]


def test_whoever_asks_too_often_is_told_when_to_come_back(guarded):
    answers = [by_http(guarded, bearer("slow"), "GetServerInfo", {}) for _ in range(10)]
    refused = next(answer for answer in answers if isinstance(answer, Refused))
    assert (refused.status, refused.code, refused.reason) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert int(refused.headers["Retry-After"]) >= 1
    assert int(refused.headers["Trailer-Grpc-Retry-Pushback-Ms"]) > 0
    assert "RetryInfo" in refused.details


def test_the_document_is_the_one_in_docs_and_for_callers(guarded, web):
    status, headers, content = web.ask("/openapi.json", verb="GET")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(content) == json.loads((ROOT / "docs/openapi.json").read_text())
    stranger = HttpClient(CONTRACT, guarded.daemon.admin)
    assert stranger.ask("/openapi.json", verb="GET")[0] == 401
    stranger.close()
    known = HttpClient(CONTRACT, guarded.daemon.admin, headers=dict(bearer("slow")))
    assert known.ask("/openapi.json", verb="GET")[0] == 200
    known.close()


def test_certificates_and_tokens_say_who_calls(contract, own_daemon, tmp_path):
    authority = Authority(tmp_path)
    access = tmp_path / "access.toml"
    access.write_text(
        f"""
[[principals]]
name = "shop"
certificates = ["spiffe://test/shop"]
roles = ["writer"]
namespaces = ["shop"]

[[principals]]
name = "script"
token_hashes = ["{hash_of('a token')}"]
roles = ["reader"]
namespaces = ["shop"]
"""
    )
    own_daemon.start(*authority.daemon_options(), f"--access-file={access}")

    def who(certificate=None, token=None):
        tls = ssl.create_default_context(cafile=authority.ca)
        if certificate:
            tls.load_cert_chain(certificate.cert, certificate.key)
        caller = HttpClient(contract, own_daemon.admin, tls, dict(bearer(token)) if token else None)
        try:
            return caller.call("GetServerInfo")["caller"]
        except HttpRefused as refused:
            assert refused.status == 401
            return refused.reason
        except (ssl.SSLError, ConnectionError):
            return "no handshake"
        finally:
            caller.close()

    shop = authority.client("shop")
    assert who(shop) == "shop"
    assert who(None, "a token") == "script"
    assert who(shop, "a token") == "script"
    for wrong in (None, "another"):
        assert who(None, wrong) == "CREDENTIALS_INVALID"
    assert who(shop, "another") == "CREDENTIALS_INVALID"
    assert who(authority.client("nobody")) == "CREDENTIALS_INVALID"
    assert who(authority.client("nobody"), "a token") == "CREDENTIALS_INVALID"
    (tmp_path / "elsewhere").mkdir()
    assert who(Authority(tmp_path / "elsewhere").client("shop")) in ("no handshake", "CREDENTIALS_INVALID")
    # Plain text at a port of TLS.
    plain = HttpClient(contract, own_daemon.admin)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.call("GetServerInfo")
    plain.close()


# ------------------------------------------------------------------------------------------------
# others' tools


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **options)


def test_curl_needs_no_content_type(daemon, client):
    session_id = client.create()["sessionId"]
    url = f"http://{daemon.admin}/{CONTRACT.full('GetSession')}"
    done = run("curl", "-sS", "-d", json.dumps({"sessionId": session_id}), url)
    assert json.loads(done.stdout)["sessionId"] == session_id, done
    done = run("curl", "-sS", "-w", "%{http_code}", "-d", "{", url)
    assert done.stdout.endswith("400") and "line 1, column 2" in done.stdout
    large = json.dumps({"sessionId": session_id}) + " " * 100_000  # So that it asks first.
    done = run("curl", "-sS", "-d", "@-", "-H", "Expect: 100-continue", url, input=large)
    assert json.loads(done.stdout)["sessionId"] == session_id, done


def test_buf_curl(daemon, client):
    if shutil.which("npx") is None or run("npx", "-y", "@bufbuild/buf@1.75.0", "--version").returncode != 0:
        pytest.skip("buf is not here and cannot be fetched")
    namespace = f"n{uuid.uuid4().hex}"
    session_id = client.create(namespace=namespace)["sessionId"]

    def buf(method, request):
        return (
            *("npx", "-y", "@bufbuild/buf@1.75.0", "curl", "--protocol", "connect", "--schema", ROOT / "proto"),
            *("-d", json.dumps(request), f"http://{daemon.admin}/{CONTRACT.full(method)}"),
        )

    def curl(method, request):
        return run(*buf(method, request))

    done = curl("GetSession", {"sessionId": session_id})
    assert json.loads(done.stdout)["sessionId"] == session_id, done
    refused = curl("GetSession", {"sessionId": NOBODY})
    assert refused.returncode != 0 and json.loads(refused.stderr)["code"] == "not_found", refused
    with subprocess.Popen(
        buf("WatchSessions", {"namespace": namespace, "initialState": True}), stdout=subprocess.PIPE, text=True
    ) as watching:
        assert any(session_id in line for line in watching.stdout)
        watching.terminate()


# ------------------------------------------------------------------------------------------------
# the end


@contextlib.contextmanager
def connection_to(contract, address):
    """As Callers want it."""
    with contextlib.closing(HttpClient(contract, address)) as client:

        def attempt(method, request):
            reused = client.connection.sock is not None
            try:
                return client.call(method, request), "OK"
            except HttpRefused as refused:
                return None, refused.reason
            except ConnectionRefusedError:
                end = "nobody there"
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # A connection that was idle may end; one that was just made may not.
                end = "idle connection ended" if reused else "cut"
            except (http.client.HTTPException, OSError) as error:
                end = repr(error)
            client.close()
            return None, end

        yield attempt


def test_restarts_under_load_lose_no_call(own_daemon, second_daemon, contract):
    keeper = own_daemon.start()
    database = f"--db-url={own_daemon.db_url}"
    second_daemon.start(database)
    grpc_port, http_port = second_daemon.address, second_daemon.admin
    callers = Callers(lambda: connection_to(contract, http_port), 8)
    try:
        for _ in range(3):
            callers.await_answers(100)
            assert second_daemon.stop() == 0
            second_daemon.start(database, listen=grpc_port, http_listen=http_port)
        callers.await_answers(100)
    finally:
        callers.stop()
    print(dict(callers.ends))
    assert set(callers.ends) <= {"OK", "DRAINING", "nobody there", "idle connection ended"}
    # What was tried again was done once.
    counted = keeper.call("CountSessions", {"namespace": callers.namespace})
    assert int(counted["total"]) == callers.created


def test_a_drain_answers_what_runs_and_tells_watches_where_to_go_on(own_daemon, contract):
    client = own_daemon.start("--shutdown-grace=20s", *LONG_WAITS)
    session_id = client.create()["sessionId"]
    watcher = HttpClient(contract, own_daemon.admin)
    watch = watcher.stream("WatchSessions", [{"heartbeatInterval": "5s"}])
    assert "bookmark" in next(watch)
    answers = []

    def pause():
        caller = HttpClient(contract, own_daemon.admin)
        with contextlib.suppress(HttpRefused):
            answers.append(caller.call("PauseSession", {"sessionId": session_id}))
        caller.close()

    thread = threading.Thread(target=pause)
    with own_daemon.locked("LOCK TABLE partitions IN ACCESS EXCLUSIVE MODE"):
        thread.start()
        until(lambda: own_daemon.psql(SOMEBODY_WAITS) == "t\n", "the lane does not wait")
        own_daemon.process.send_signal(signal.SIGTERM)
        last = None
        with pytest.raises(HttpRefused) as ended:
            for last in watch:
                pass
        assert (ended.value.code, ended.value.reason) == ("UNAVAILABLE", "DRAINING")
        assert last is None or last.get("resumeToken") or "heartbeat" in last
        late = HttpClient(contract, own_daemon.admin)
        with pytest.raises(HttpRefused) as refused:
            late.call("GetSession", {"sessionId": session_id})
        assert (refused.value.status, refused.value.reason) == (503, "DRAINING")
        late.close()
    thread.join()
    assert [answer["state"] for answer in answers] == ["PAUSED"]
    assert own_daemon.process.wait(30) == 0
    watcher.close()
