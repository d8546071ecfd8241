"""A watch as a client holds it: read one response at a time, with the token to resume."""

import grpc
from conftest import Refused
from google.protobuf import json_format

WATCH = "sessiond.v1.SessionService/WatchSessions"
# What a response may take that is due at once.
PATIENCE_SECONDS = 60


class Watch:
    """An open stream on a channel of its own; iterate, or take `next`. A status that ends it is
    raised as Refused."""

    def __init__(self, contract, address, timeout=PATIENCE_SECONDS, **request):
        self._contract = contract
        # Of its own, for other calls on the same connection, too. Otherwise grpc shares one connection between all channels to an address, and its window;
        # and lets the window grow, so that nobody knows what waits in it.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self.channel = grpc.insecure_channel(address, options=options)
        reply = contract.method(WATCH)[1]
        stub = self.channel.unary_stream("/" + WATCH, response_deserializer=reply.FromString)
        self._call = stub(contract.request(WATCH, request), timeout=timeout)
        # Of the last response.
        self.token = request.get("resumeToken", "")

    def __iter__(self):
        return self

    def __next__(self):
        """A response, as a dictionary; without the token, which is kept."""
        try:
            response = next(self._call)
        except grpc.RpcError as error:
            raise Refused(self._contract, error) from None
        self.token = response.resume_token
        response.ClearField("resume_token")
        return json_format.MessageToDict(response, descriptor_pool=self._contract.pool)

    def bookmarked(self):
        """Reads the bookmark, which comes first where no initial state was asked for."""
        assert next(self) == {"bookmark": {}}
        return self

    def change(self):
        """The next change; heartbeats are passed over."""
        for response in self:
            if "heartbeat" not in response:
                return response

    def changes(self, count):
        return [self.change() for _ in range(count)]

    def refusal(self):
        """Reads what must end with a refusal, and answers with why."""
        try:
            for _ in self:
                pass
        except Refused as refused:
            return refused
        raise AssertionError("the stream ended well")

    def close(self):
        self._call.cancel()
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def key(response):
    """Which event it is."""
    event = response["change"]["event"]
    return event["sessionId"], event["sequence"]


def told(response):
    """Which event, of which type, and whether the session matches then."""
    return (
        response["change"]["event"]["sequence"],
        response["change"]["event"]["type"],
        response.get("matches", False),
    )
