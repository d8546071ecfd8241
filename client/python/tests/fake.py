"""A server whose answers a test writes: for what a real daemon answers seldom."""

import concurrent.futures

import grpc

from sessiond import _error_details_pb2 as details
from sessiond import _methods, v1

METHODS = {each.name: each for each in vars(_methods).values() if isinstance(each, _methods.Method)}


class Refusal(Exception):
    def __init__(self, code, reason="", category="", domain="sessiond", retry=None, pushback=None, raw=None):
        self.code = code
        self.metadata = [] if pushback is None else [("grpc-retry-pushback-ms", str(pushback))]
        status = details.Status(code=code.value[0], message="no")
        if reason:
            info = details.ErrorInfo(reason=reason, domain=domain, metadata={"category": category, "a": "b"})
            status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())
        if retry is not None:
            info = details.RetryInfo()
            info.retry_delay.FromNanoseconds(int(retry * 1e9))
            status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info.SerializeToString())
        if reason or raw or retry is not None:
            self.metadata.append(("grpc-status-details-bin", raw or status.SerializeToString()))


class Fake(grpc.GenericRpcHandler):
    """`answers`: method → what each call gets, the last one standing for all further ones: a message, a Refusal, or a
    function of request and context. `requests`: what has come, as (method, request, metadata).
    `tls`: gRPC's credentials of a server."""

    def __init__(self, tls=None, **answers):
        self.answers = {name: list(each) for name, each in answers.items()}
        self.requests = []
        self.peers = []  # By request, the connection it came on.
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[self])
        server, address = self._server, "127.0.0.1:0"
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._server.stop(None)

    def service(self, call):
        name = call.method.rpartition("/")[2]
        if name == "WatchSessions":
            return grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._answer(name, request, context),
                v1.WatchSessionsRequest.FromString,
                v1.WatchSessionsResponse.SerializeToString,
            )
        method = METHODS.get(name)
        request = method.request if method else v1.UpdateSessionRequest
        response = method.response if method else v1.Session
        return grpc.unary_unary_rpc_method_handler(
            lambda each, context: self._answer(name, each, context), request.FromString, response.SerializeToString
        )

    def _answer(self, name, request, context):
        self.requests.append((name, request, dict(context.invocation_metadata())))
        self.peers.append(context.peer())
        answers = self.answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(request, context)
        if isinstance(answer, Refusal):
            context.set_trailing_metadata(answer.metadata)
            context.abort(answer.code, "no")
        return answer
