"""Clients that ping often, as those do who want to know soon that a peer is gone."""

import threading

import grpc
import pytest

# What a client may choose, and the default of some frameworks.
KEEPALIVE_MS = 1_000
# gRPC sends a client away after the third ping that came too early.
PINGS = 5


@pytest.mark.parametrize("keepalive_ms", [KEEPALIVE_MS])
def test_a_client_may_ping_every_second_while_nothing_is_said(daemon, contract, keepalive_ms):
    """A watch without changes: the daemon says nothing that would forgive pings."""
    options = [
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_time_between_pings_ms", keepalive_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", keepalive_ms),
    ]
    with grpc.insecure_channel(daemon.address, options=options) as channel:
        path = "/" + contract.full("WatchSessions")
        request = contract.request(
            "WatchSessions", {"namespace": "nobody-is-here", "heartbeatInterval": "600s"}
        )
        watch = channel.unary_stream(path)(request)
        next(watch)  # The bookmark, the only thing that is said.
        ended = threading.Event()
        watch.add_callback(ended.set)
        assert not ended.wait((PINGS + 1) * keepalive_ms / 1_000), watch.details()
        watch.cancel()
