"""The daemon as it is shipped, on a PostgreSQL of its own, and a client that knows it by its contract.

No code is generated: messages are made from the descriptor set that the build leaves behind, and
calls take and answer Protobuf's JSON as dictionaries. What is tested is what goes over the wire.
"""

import os
import pathlib
import signal
import socket
import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SESSIOND_BUILD", ROOT / "build/release"))
# What a start, with the making of a database, may take on a machine that has other things to do.
START_SECONDS = 60


class Contract:
    """The messages and methods of the descriptor set."""

    def __init__(self, path):
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self._factory = message_factory.MessageFactory(self.pool)

    def message(self, name):
        return self._factory.GetPrototype(self.pool.FindMessageTypeByName(name))

    def method(self, name):
        service, method = name.split("/")
        descriptor = self.pool.FindServiceByName(service).methods_by_name[method]
        return (
            self.message(descriptor.input_type.full_name),
            self.message(descriptor.output_type.full_name),
        )


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


class Client:
    """One channel to a daemon."""

    def __init__(self, contract, address):
        self._contract = contract
        self._channel = grpc.insecure_channel(address)

    def call(self, method, request=None, wait=False, timeout=10):
        """Calls `Method` of SessionService, or `package.Service/Method`. Raises Refused."""
        if "/" not in method:
            method = "sessiond.v1.SessionService/" + method
        request_type, reply_type = self._contract.method(method)
        stub = self._channel.unary_unary(
            "/" + method,
            request_serializer=request_type.SerializeToString,
            response_deserializer=reply_type.FromString,
        )
        message = json_format.ParseDict(
            request or {}, request_type(), descriptor_pool=self._contract.pool
        )
        try:
            reply = stub(message, timeout=timeout, wait_for_ready=wait)
        except grpc.RpcError as error:
            raise Refused(self._contract, error) from None
        return json_format.MessageToDict(reply, descriptor_pool=self._contract.pool)

    def create(self, **fields):
        """Creates a ticket_export session, with whatever is said otherwise."""
        session = {"workflow": "ticket_export", "ownerId": "u1", "ownerDisplayName": "Ada", **fields}
        return self.call("CreateSession", {"session": session})


class Daemon:
    """`sessiond serve` with a data directory of its own."""

    def __init__(self, contract, directory):
        self._contract = contract
        self._directory = directory
        self.log = directory / "log"
        self.address = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.process = None

    def start(self):
        """Starts it and returns a client when it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    BUILD / "server/sessiond",
                    "serve",
                    f"--grpc-listen={self.address}",
                    f"--admin-listen={self.admin}",
                    f"--data-dir={self._directory / 'data'}",
                ],
                stdout=log,
                stderr=log,
            )
        client = Client(self._contract, self.address)
        try:
            health = client.call("grpc.health.v1.Health/Check", wait=True, timeout=START_SECONDS)
        except Refused as refused:
            self.kill()
            raise AssertionError(f"no daemon: {refused}\n{self.log.read_text()}") from None
        assert health == {"status": "SERVING"}
        return client

    def stop(self):
        """SIGTERM; answers with the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=START_SECONDS)

    def kill(self):
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def contract():
    return Contract(BUILD / "proto/sessiond.protoset")


@pytest.fixture
def own_daemon(contract, tmp_path):
    """A daemon for one test alone, which starts it, and may kill it."""
    daemon = Daemon(contract, tmp_path)
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.stop()


@pytest.fixture(scope="session")
def daemon(contract, tmp_path_factory):
    """A daemon that all tests share; nobody stops it."""
    daemon = Daemon(contract, tmp_path_factory.mktemp("daemon"))
    daemon.client = daemon.start()
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(scope="session")
def client(daemon):
    return daemon.client
