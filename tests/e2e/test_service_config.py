"""The published service config (proto/service_config.json), in a client of another language: what it
has gRPC try again, and what not. A server that fails stands in for the daemon.
"""

import concurrent.futures
import contextlib

import grpc
import pytest
from conftest import CALL_SECONDS, ROOT

CONFIG = (ROOT / "proto/service_config.json").read_text()


@contextlib.contextmanager
def failing_server(code, failures):
    """Answers with `code` so many times, and then with nothing. Yields a channel that has the config,
    and the requests that came."""
    requests = []

    def answer(request, context):
        requests.append(request)
        if len(requests) <= failures:
            context.abort(code, "not now")
        return b""

    class Handler(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.service_config", CONFIG)]) as channel:
            yield channel, requests
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    "method", ["SessionService/GetSession", "TaskService/ListTasks", "SessionService/AdvanceSession"]
)
def test_what_is_unavailable_is_tried_again_as_it_was(method):
    with failing_server(grpc.StatusCode.UNAVAILABLE, failures=2) as (channel, requests):
        assert channel.unary_unary(f"/sessiond.v1.{method}")(b"\x0a\x01a", timeout=CALL_SECONDS) == b""
        assert requests == [b"\x0a\x01a"] * 3


@pytest.mark.parametrize(
    "method, code",
    [
        ("SessionService/GetSession", grpc.StatusCode.INTERNAL),
        ("SessionService/AdvanceSession", grpc.StatusCode.ABORTED),
        ("SessionService/AdvanceSession", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("AdminService/ImportSessions", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_nothing_else_is(method, code):
    with failing_server(code, failures=1) as (channel, requests):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/sessiond.v1.{method}")(b"", timeout=CALL_SECONDS)
        assert refused.value.code() == code
        assert len(requests) == 1
