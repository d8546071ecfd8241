"""The proxies of docs/proxies.md, started as the page has them: with other ports, and idle times of
seconds. What they are asked is asked by the Python client, by curl, and by hand.
"""

import http.client
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import pytest
from certificates import Authority
from conftest import ROOT, Daemon
from ports import free_port
from tokens import hash_of

PAGE = (ROOT / "docs/proxies.md").read_text()
IDLE_SECONDS = 8
# Longer than the proxy waits.
FOR_EVER = 60
PATIENCE_SECONDS = 30
TOKEN = "exporter-4711"


def block(language):
    """The one block of the page in this language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


def listens(port):
    with socket.socket() as connecting:
        return connecting.connect_ex(("127.0.0.1", port)) == 0


class Proxy:
    """One of them, in front of a daemon. `language`: of its block in the page."""

    def __init__(self, program, language, arguments, longest_seconds=0):
        self.program = program
        self._language = language
        self._arguments = arguments
        # How long it lets a call be, if nobody tells it.
        self.longest_seconds = longest_seconds
        # The code of a watch whose idle time has passed.
        self.cut_with = re.search(rf"^\| {program} \| `([A-Z]+)`", PAGE, re.MULTILINE | re.IGNORECASE)[1]
        self._process = None

    def configure(self, directory, daemon):
        self.directory = directory
        self.grpc, self.http = free_port(), free_port()
        text = block(self._language)
        for shown, real in (
            ("60s", f"{IDLE_SECONDS}s"),
            ("7443", str(self.grpc)),
            ("8443", str(self.http)),
            ("7377", daemon.address.split(":")[1]),
            ("8377", daemon.admin.split(":")[1]),
        ):
            assert shown in text, f"{self.program}'s configuration does not have {shown}."
            text = text.replace(shown, real)
        if self.program == "nginx":  # Debian's are root's.
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            paths = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in kinds)
            text = text.replace("http {", "http { " + paths, 1)
        (directory / "configuration").write_text(text)
        return self

    def start(self):
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [shutil.which(self.program), *self._arguments(self.directory)],
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (listens(self.grpc) and listens(self.http)):
            said = (self.directory / "log").read_text()
            assert self._process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.02)

    def kill(self):
        """SIGTERM: connections are cut; nginx's workers would outlive a master that is killed."""
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_SECONDS)


PROXIES = {
    "nginx": lambda: Proxy(
        "nginx",
        "nginx",
        lambda at: [
            *("-p", at, "-c", at / "configuration"),
            *("-g", f"user root; daemon off; pid {at}/pid; error_log stderr;"),
        ],
    ),
    "haproxy": lambda: Proxy("haproxy", "haproxy", lambda at: ["-db", "-f", at / "configuration"]),
    "envoy": lambda: Proxy(
        "envoy",
        "yaml",
        lambda at: [
            *("--config-yaml", (at / "configuration").read_text()),
            *("--use-dynamic-base-id", "--log-level", "warning"),
        ],
        longest_seconds=15,
    ),
}


@pytest.fixture(scope="module")
def sessiond(tmp_path_factory):
    """The Python client, generated as its package is."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "client").mkdir()
    shutil.copytree(ROOT / "client/python", tree / "client/python")
    for name in ("proto", "third_party", "CMakeLists.txt"):
        (tree / name).symlink_to(ROOT / name)
    subprocess.run([tree / "client/python/generate"], check=True)
    sys.path.insert(0, str(tree / "client/python/src"))
    try:
        import sessiond

        yield sessiond
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("certificates") / "pki")
    haproxy = made.directory / "haproxy.pem"
    haproxy.write_text(made.server.cert.read_text() + made.server.key.read_text())
    return made


@pytest.fixture(scope="module")
def guarded(contract, tmp_path_factory):
    """A daemon that knows its callers by their tokens."""
    access = tmp_path_factory.mktemp("access") / "access.toml"
    access.write_text(
        f'[[principals]]\nname = "exporter"\ntoken_hashes = ["{hash_of(TOKEN)}"]\n'
        'roles = ["writer"]\nnamespaces = ["*"]\n'
    )
    (options,) = re.findall(r"^```sh\nsessiond serve (.*)\n```$", PAGE, re.MULTILINE)
    daemon = Daemon(contract)
    origins = ["--http-allow-origins", "https://app.example"]
    daemon.start(*options.replace("access.toml", str(access)).split(), *origins)
    yield daemon
    daemon.remove()


@pytest.fixture(params=list(PROXIES))
def proxy(request, tmp_path, guarded, authority):
    made = PROXIES[request.param]()
    if not shutil.which(made.program):
        pytest.skip(f"{made.program} is not on the PATH")
    (tmp_path / "pki").symlink_to(authority.directory)
    made.configure(tmp_path, guarded)
    made.start()
    yield made
    made.kill()


class Retries(list):
    """What the client was about to send again. `then` is called once, at the first one."""

    then = None

    def note(self, retry):
        self.append(retry)
        then, self.then = self.then, None
        if then:
            then()

    @property
    def codes(self):
        return [retry.error.code.name for retry in self]


@pytest.fixture
def retries():
    return Retries()


@pytest.fixture
def client(sessiond, proxy, authority, retries):
    with sessiond.connect(f"localhost:{proxy.grpc}", ca_file=authority.ca, token=TOKEN, on_retry=retries.note) as made:
        yield made


@pytest.fixture
def direct(sessiond, guarded):
    """Past the proxy."""
    with sessiond.connect(guarded.address, token=TOKEN) as made:
        yield made


def create(client):
    return client.create_session(workflow="interview", owner_id="ada").session_id


class Web:
    """HTTP through the proxy, by hand."""

    def __init__(self, proxy, authority):
        context = ssl.create_default_context(cafile=authority.ca)
        self._connection = http.client.HTTPSConnection(
            "localhost", proxy.http, context=context, timeout=PATIENCE_SECONDS
        )

    def ask(self, method, body, **headers):
        head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
        self._connection.request("POST", f"/sessiond.v1.SessionService/{method}", body, head)
        return self._connection.getresponse()

    def call(self, method, request, **headers):
        answer = self.ask(method, json.dumps(request), **headers)
        return answer.status, json.loads(answer.read())

    def close(self):
        """The next request takes another connection."""
        self._connection.close()

    def watch(self, request):
        """Messages as they come: their flags, and what they say. It ends where the stream does."""
        body = json.dumps(request).encode()
        answer = self.ask(
            "WatchSessions", struct.pack(">BI", 0, len(body)) + body, **{"Content-Type": "application/connect+json"}
        )
        assert answer.status == 200
        try:
            while head := answer.read(5):
                flags, length = struct.unpack(">BI", head)
                yield flags, json.loads(answer.read(length))
        except (http.client.IncompleteRead, ConnectionError, ssl.SSLError):
            pass  # Cut.


@pytest.fixture
def web(proxy, authority):
    return Web(proxy, authority)


def test_calls_refusals_and_tokens_come_through_by_grpc(sessiond, proxy, authority, client):
    session_id = create(client)
    assert client.get_session(session_id).owner_id == "ada"
    with pytest.raises(sessiond.FailedPrecondition) as refused:
        client.advance_session(session_id, "interviewing")
    assert refused.value.metadata["allowed"] == "completed"
    # A long one: refusals are headers.
    labels = {f"{'ä' * 60}{n}": "" for n in range(60)}
    with pytest.raises(sessiond.InvalidArgument) as refused:
        client.create_session(workflow="interview", owner_id="ada", labels=labels)
    assert len(refused.value.fields) > 5
    # More than proxies let through if nobody tells them: what refuses it is the daemon.
    with pytest.raises(sessiond.Refused) as refused:
        client.create_session(workflow="interview", owner_id="ada", context={"text": "x" * 3_000_000})
    assert refused.value.from_daemon
    with sessiond.connect(f"localhost:{proxy.grpc}", ca_file=authority.ca, token="nobody's") as stranger:
        with pytest.raises(sessiond.Unauthenticated):
            stranger.get_session(session_id)


def test_calls_refusals_and_pages_come_through_by_http(web):
    status, session = web.call("CreateSession", {"session": {"workflow": "interview", "ownerId": "ada"}})
    assert status == 200
    status, refusal = web.call("AdvanceSession", {"sessionId": session["sessionId"], "targetStage": "interviewing"})
    assert (status, refusal["details"][0]["debug"]["reason"]) == (400, "INVALID_TRANSITION")
    large = {"session": {"workflow": "interview", "ownerId": "ada", "context": {"text": "x" * 6_000_000}}}
    status, refusal = web.call("CreateSession", large)
    assert (status, refusal["details"][0]["debug"]["reason"]) == (429, "PAYLOAD_TOO_LARGE")
    assert web.call("CountSessions", {}, Authorization="Bearer nobody's")[0] == 401
    allowed = web.ask("CountSessions", "{}", Origin="https://app.example")
    assert (allowed.status, allowed.getheader("Access-Control-Allow-Origin")) == (200, "https://app.example")
    assert allowed.read()
    refused = web.ask("CountSessions", "{}", Origin="https://other.example")
    assert refused.status == 403


def test_browsers_get_http2(proxy, authority):
    curl = ["curl", "-s", "--http2", "--cacert", authority.ca, "-w", " %{http_version}", "-d", "{}"]
    token = ["-H", f"Authorization: Bearer {TOKEN}"]
    url = f"https://localhost:{proxy.http}/sessiond.v1.SessionService/CountSessions"
    said = subprocess.run([*curl, *token, url], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert re.fullmatch(r'\{("total":\d+)?\} 2', said)


def long_enough(proxy):
    """To have been cut, but for the heartbeats."""
    return max(1.5 * IDLE_SECONDS, proxy.longest_seconds + 1)


def test_heartbeats_keep_a_watch_by_grpc_alive(proxy, client, direct, retries):
    session_id = create(direct)
    with client.watch(session_id, heartbeat_interval=1) as watch:
        items = iter(watch)
        assert next(items).kind == "bookmark"
        time.sleep(long_enough(proxy))  # Nothing but time can pass here.
        direct.advance_session(session_id, "completed")
        assert next(items).event.new_stage == "completed"
    assert retries == []


def test_a_watch_by_grpc_that_is_cut_resumes(proxy, client, direct, retries):
    session_id = create(direct)
    begun = time.monotonic()
    with client.watch(session_id, heartbeat_interval=FOR_EVER) as watch:
        items = iter(watch)
        assert next(items).kind == "bookmark"
        retries.then = lambda: direct.pause_session(session_id)  # While the watch is not connected.
        assert next(items).event.type.name == "PAUSED"
        assert IDLE_SECONDS - 1 < time.monotonic() - begun < PATIENCE_SECONDS
        assert retries.codes == [proxy.cut_with]

        killed = threading.Event()

        def start_again():
            killed.wait(PATIENCE_SECONDS)
            direct.resume_session(session_id)
            proxy.start()

        retries.clear()
        retries.then = start_again
        proxy.kill()
        killed.set()
        assert next(items).event.type.name == "RESUMED"
        assert set(retries.codes) == {"UNAVAILABLE"}


def test_heartbeats_keep_a_watch_by_http_alive_and_come_at_once(proxy, web):
    _, session = web.call("CreateSession", {"session": {"workflow": "interview", "ownerId": "ada"}})
    begun = time.monotonic()
    came = []
    for flags, message in web.watch({"sessionIds": [session["sessionId"]], "heartbeatInterval": "1s"}):
        assert flags == 0
        came.append((time.monotonic() - begun, next(kind for kind in ("bookmark", "heartbeat") if kind in message)))
        if came[-1][0] > long_enough(proxy):
            break
    times, kinds = zip(*came)
    assert kinds == ("bookmark",) + ("heartbeat",) * (len(kinds) - 1)
    # A proxy that kept some back would bring them together, or at the end.
    assert times[0] < PATIENCE_SECONDS
    assert max(later - earlier for earlier, later in zip(times, times[1:])) < IDLE_SECONDS


def test_a_watch_by_http_that_is_cut_has_no_end_and_can_be_resumed(web):
    _, session = web.call("CreateSession", {"session": {"workflow": "interview", "ownerId": "ada"}})
    request = {"sessionIds": [session["sessionId"]], "heartbeatInterval": f"{FOR_EVER}s"}
    begun = time.monotonic()
    messages = list(web.watch(request))
    assert IDLE_SECONDS - 1 < time.monotonic() - begun < PATIENCE_SECONDS
    assert [flags for flags, _ in messages] == [0]  # The bookmark; no message says that it has ended.
    web.close()
    web.call("PauseSession", {"sessionId": session["sessionId"]})
    token = messages[-1][1]["resumeToken"]
    changes = (message["change"] for _, message in web.watch({**request, "resumeToken": token}) if "change" in message)
    assert next(changes)["event"]["type"] == "PAUSED"
