"""The daemon as it is shipped, on a PostgreSQL of its own, and a client that knows it by its contract.

No code is generated: messages are made from the descriptor set that the build leaves behind, and
calls take and answer Protobuf's JSON as dictionaries. What is tested is what goes over the wire.
"""

import contextlib
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# They are another database's: psql and pg_dump are to go to the daemon's.
for name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[name]

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SESSIOND_BUILD", ROOT / "build/release"))
# What the calls in flight and then PostgreSQL may take to end.
STOP_SECONDS = 60
# What a call may take that nobody measures, on a machine that has others to do.
CALL_SECONDS = 30


class Contract:
    """The messages and methods of the descriptor set."""

    def __init__(self, path):
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self._factory = message_factory.MessageFactory(self.pool)
        # Method by its bare name, which no two services share.
        self.methods = {
            method.name: method
            for file in files.file
            if file.package == "sessiond.v1"
            for service in file.service
            for method in self.pool.FindServiceByName(f"sessiond.v1.{service.name}").methods
        }

    def full(self, method):
        """`sessiond.v1.Service/Method` of a bare name; what is in full already stays."""
        if "/" in method:
            return method
        return f"{self.methods[method].containing_service.full_name}/{method}"

    def message(self, name):
        return self._factory.GetPrototype(self.pool.FindMessageTypeByName(name))

    def method(self, name):
        service, method = self.full(name).split("/")
        descriptor = self.pool.FindServiceByName(service).methods_by_name[method]
        return (
            self.message(descriptor.input_type.full_name),
            self.message(descriptor.output_type.full_name),
        )

    def request(self, method, fields):
        """The bytes of a method's request."""
        message = self.method(method)[0]()
        return json_format.ParseDict(fields, message, descriptor_pool=self.pool).SerializeToString()


def moment(text):
    """A time to compare by: as texts .893Z, which is how JSON says .893000, stands behind .893768Z."""
    return datetime.datetime.fromisoformat(text)


def newest_first(sessions):
    """Their ids as lists have them: by when they were created, of which several daemons have clocks of their own."""
    ordered = sorted(sessions, key=lambda each: (moment(each["createTime"]), each["sessionId"]), reverse=True)
    return [each["sessionId"] for each in ordered]


class Refused(Exception):
    """An answer other than OK: its code, its sentence, and its google.rpc details by their name."""

    def __init__(self, contract, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code = error.code().name
        self.sentence = error.details()
        self.details = {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = contract.message("google.rpc.Status").FromString(value)
                for detail in status.details:
                    name = detail.type_url.rpartition("/")[2]
                    content = contract.message(name).FromString(detail.value)
                    self.details[name.rpartition(".")[2]] = json_format.MessageToDict(
                        content, descriptor_pool=contract.pool
                    )

    @property
    def reason(self):
        return self.details.get("ErrorInfo", {}).get("reason")

    @property
    def metadata(self):
        return self.details.get("ErrorInfo", {}).get("metadata", {})

    @property
    def fields(self):
        """The paths of the fields that BadRequest complains about, in its order."""
        violations = self.details.get("BadRequest", {}).get("fieldViolations", [])
        return [violation.get("field", "") for violation in violations]


class Client:
    """One channel to a daemon; with credentials it speaks TLS."""

    def __init__(self, contract, address, credentials=None, options=None):
        self._contract = contract
        self._channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )

    def close(self):
        self._channel.close()

    @property
    def of_each_daemon(self):
        """A client of each daemon that its calls go to."""
        return [self]

    def send(self, path, request, **options):
        """Sends bytes to a path, and answers with bytes. Raises Refused."""
        stub = self._channel.unary_unary(path)
        try:
            return stub(request, **{"timeout": CALL_SECONDS, **options})
        except grpc.RpcError as error:
            raise Refused(self._contract, error) from None

    def first_of_stream(self, path, request):
        """Sends bytes as the one request of a stream, and answers with the first response. Raises
        Refused."""
        stream = self._channel.stream_stream(path)(iter([request]), timeout=CALL_SECONDS)
        try:
            return next(stream)
        except grpc.RpcError as error:
            raise Refused(self._contract, error) from None
        finally:
            stream.cancel()

    def call(self, method, request=None, **options):
        """Calls `Method`, or `package.Service/Method`. Raises Refused."""
        method = self._contract.full(method)
        reply = self._contract.method(method)[1]()
        reply.MergeFromString(
            self.send("/" + method, self._contract.request(method, request or {}), **options)
        )
        return json_format.MessageToDict(reply, descriptor_pool=self._contract.pool)

    def read_all(self, method, items, **query):
        """All that a list has, page after page; `items` is what its answers call it."""
        found = []
        while True:
            page = self.call(method, query)
            found += page.get(items, [])
            if "nextPageToken" not in page:
                return found
            query["pageToken"] = page["nextPageToken"]

    def begin(self, method, request, **options):
        """Calls without waiting for the answer: a future, which can be cancelled."""
        method = self._contract.full(method)
        stub = self._channel.unary_unary("/" + method)
        return stub.future(
            self._contract.request(method, request), **{"timeout": CALL_SECONDS, **options}
        )

    def refusal(self, method, request, **options):
        """Calls what must not be accepted, and answers with why."""
        with pytest.raises(Refused) as refused:
            self.call(method, request, **options)
        return refused.value

    def create(self, **fields):
        """Creates a ticket_export session, with whatever is said otherwise."""
        session = {"workflow": "ticket_export", "ownerId": "u1", "ownerDisplayName": "Ada"}
        session.update(fields)
        return self.call("CreateSession", {"session": session})


@contextlib.contextmanager
def locked(psql, statement):
    """Somebody holds, by hand, the locks that `statement` takes."""
    with subprocess.Popen(
        [*psql, "-qAtXv", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        print(f"BEGIN; {statement};\n\\echo locked", file=session.stdin, flush=True)
        for line in session.stdout:
            if line == "locked\n":
                break
        else:
            raise AssertionError(statement)
        yield
        session.stdin.close()  # psql ends, and with it the transaction.


class Daemon:
    """`sessiond serve` with a data directory of its own, which a PostgreSQL that root may not be
    can enter too. With credentials its client speaks TLS."""

    def __init__(self, contract, credentials=None):
        self._contract = contract
        self._credentials = credentials
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="sessiond-e2e-"))
        self._directory.chmod(0o755)
        # What it says on stderr: a JSON object a line.
        self.log = self._directory / "log"
        self.data = self._directory / "data"
        self._process = self._client = None
        # Where it listens, once it has started.
        self.address = self.admin = None
        self._psql = []

    def spawn(self, *options, listen="127.0.0.1:0", http_listen="127.0.0.1:0", before=(), stderr=None,
              program=BUILD / "server/sessiond"):
        """Starts it, on free ports unless told otherwise, and waits for nothing. `before`: the words
        in front of it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *before,
                    program,
                    "serve",
                    f"--grpc-listen={listen}",
                    f"--http-listen={http_listen}",
                    f"--data-dir={self.data}",
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=stderr or log,
                text=True,
            )
        return self._process

    def start(self, *options, **how):
        """Starts it, on free ports, and returns a client when it says that it is ready. `options`
        are for this start."""
        self.spawn(*options, **how)
        return self.await_ready()

    def await_ready(self):
        """A client of the daemon that was spawned, once it says that it is ready."""
        banner = ""
        for line in self._process.stdout:
            banner += line
            if line.startswith("Ready in "):
                break
        else:
            raise AssertionError(f"The daemon did not start: {self.log.read_text()}")
        self.address = re.search(r"gRPC +([^\s,]+)", banner)[1]
        self.admin = re.search(r"HTTP +https?://([^/]+)/", banner)[1]
        psql = re.search(r"look inside: (psql .+)", banner)  # Not with --db-url.
        self._psql = psql[1].split() if psql else []
        self._client = Client(self._contract, self.address, self._credentials)
        return self._client

    @property
    def process(self):
        return self._process

    def psql(self, statement):
        """Does in its database what no caller can, and answers with what it says: a line a row."""
        command = [*self._psql, "-qAtXv", "ON_ERROR_STOP=1", "-c", statement]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def locked(self, statement):
        return locked(self._psql, statement)

    def change_rows(self, statement):
        """Does so behind the daemon's back: its lanes keep no session longer than their connections."""
        self.psql(statement)
        self.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name IN ('sessiond lane', 'sessiond reads')"
        )

    def dump(self):
        """All that is in its database, as text."""
        command = [self._psql[0].replace("psql", "pg_dump"), *self._psql[1:], "--inserts"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    @property
    def db_url(self):
        """For a second daemon beside it, with --db-url. REQUIRES: a database of its own."""
        _, _, host, _, _, _, user, database = self._psql
        return f"host={host} user={user} dbname={database}"

    @property
    def socket_directory(self):
        """Where its own PostgreSQL listens."""
        return self._psql[2]

    @property
    def pid(self):
        return self._process.pid

    def page(self, path):
        """Status and text of what it shows to browsers and to monitoring."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=CALL_SECONDS) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def readiness(self):
        """Whether it is ready, and what it says."""
        status, checks = self.page("/readyz?verbose")
        assert status in (200, 503), checks
        return status == 200, checks

    def metrics(self):
        status, metrics = self.page("/metrics")
        assert status == 200, metrics
        return metrics

    def metric(self, name):
        """The value of one that has no labels; the sum, where there are several daemons."""
        values = re.findall(rf"^{name} (.+)$", self.metrics(), re.MULTILINE)
        assert values, name
        return sum(map(float, values))

    def log_lines(self):
        """What it has said until now."""
        while self.metric("sessiond_log_lines_waiting"):
            continue
        return self.log.read_text().splitlines()

    def stop(self):
        """SIGTERM; answers with the exit code."""
        self._process.terminate()
        self._process.stdout.close()
        return self._process.wait(timeout=STOP_SECONDS)

    def kill(self):
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def remove(self):
        """Stops it if it runs, and throws its data away."""
        if self._process and self._process.poll() is None:
            if self._client:
                self._client.close()  # gRPC waits for seconds until an idle one has said goodbye.
            self.stop()
        shutil.rmtree(self._directory)


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: judges by how much the daemon gets done; nothing else runs beside it")


def pytest_collection_modifyitems(config, items):
    """E2E_THROUGH is for what shares a daemon; what has its own is tested without it."""
    if os.environ.get("E2E_THROUGH"):
        through, others = [], []
        for item in items:
            # A test with a database of its own only borrows the server.
            goes = "shared_daemon" in item.fixturenames and "database" not in item.fixturenames
            (through if goes else others).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = through


@pytest.fixture(scope="session")
def contract():
    return Contract(BUILD / "proto/sessiond.protoset")


@pytest.fixture
def own_daemon(contract):
    """A daemon for one test alone, which starts it, and may kill it."""
    daemon = Daemon(contract)
    yield daemon
    daemon.remove()


@pytest.fixture
def second_daemon(contract):
    """Another one for the same test, for example beside the first, on its database."""
    daemon = Daemon(contract)
    yield daemon
    daemon.remove()


@pytest.fixture(scope="session")
def shared_daemon(contract):
    """Starts one that tests share, and which nobody stops: by itself, or as E2E_THROUGH says (topology.py)."""

    @contextlib.contextmanager
    def started(*options):
        if os.environ.get("E2E_THROUGH"):
            from topology import Topology  # Which needs what is here.

            daemon = Topology(contract)
        else:
            daemon = Daemon(contract)
        try:
            daemon.client = daemon.start(*options)
            yield daemon
        finally:
            daemon.remove()

    return started


@pytest.fixture(scope="session")
def daemon(shared_daemon):
    with shared_daemon() as daemon:
        yield daemon
        # What is unfit for a column is refused before it: of all that was sent to this daemon, PostgreSQL
        # met no such value (SQLSTATE class 22).
        assert not [line for line in daemon.log_lines() if "sqlstate 22" in line]


@pytest.fixture(scope="session")
def client(daemon):
    return daemon.client


@pytest.fixture
def namespace():
    """Where nobody else has sessions."""
    return f"ns-{uuid.uuid4().hex[:12]}"
