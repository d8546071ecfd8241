"""A client of sessiond, which tracks long-lived user sessions.

    import sessiond

    with sessiond.connect("127.0.0.1:7377") as client:
        session = client.create_session(workflow="interview", owner_id="ada")
        try:
            client.advance_session(session.session_id, "completed")
        except sessiond.Refused as refusal:
            print(refusal.reason.name, refusal.category.value, refusal.metadata)

`sessiond.aio.connect` gives the same for asyncio.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import grpc

from sessiond import types as types
from sessiond._connection import DEFAULT_TIMEOUT, Call, Retry, Token, make_settings
from sessiond._version import __version__ as __version__
from sessiond._watching import WatchItem
from sessiond.client import Client
from sessiond.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    Category,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Refused,
    ResourceExhausted,
    SessiondError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from sessiond.tasks import RunningTask, TaskCancelled, TaskFailed, TaskLost
from sessiond.types import ErrorReason
from sessiond.watch import Watch

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Call",
    "Cancelled",
    "Category",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "ErrorReason",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "Refused",
    "ResourceExhausted",
    "Retry",
    "RunningTask",
    "SessiondError",
    "TaskCancelled",
    "TaskFailed",
    "TaskLost",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Watch",
    "WatchItem",
    "__version__",
    "connect",
    "types",
]


def connect(
    address: str | None = None,
    *,
    tls: bool = False,
    ca_file: str | os.PathLike[str] | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    token: Token | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    traceparent: str | Callable[[], str | None] | None = None,
    on_call: Callable[[Call], None] | None = None,
    on_retry: Callable[[Retry], None] | None = None,
    options: list[tuple[str, Any]] | None = None,
) -> Client:
    """A client. It connects when the first call is made, and again whenever that is needed.

    Args:
        address: HOST:PORT, or unix:/PATH; if it is missing, SESSIOND_SERVER's, else 127.0.0.1:7377.
        tls: Encrypt, and trust the authorities that the machine trusts.
        ca_file: Encrypt, and trust these (PEM).
        cert_file, key_file: Show this certificate (mutual TLS).
        credentials: gRPC's own, in place of the files.
        token: Sent with each call as `authorization: Bearer TOKEN`; or a callable that is asked each time. What it
            raises ends the call as Unauthenticated, but a `Refused` remains what it is: Unavailable is tried again. If
            token is missing, the content of the file that SESSIOND_TOKEN_FILE names, read each time; while there is no
            token in it, the last one is sent.
        timeout: How many seconds a call may take that says nothing itself, its retries included.
        traceparent: A W3C trace context to send along, or a callable that is asked each time a call is sent. When it
            raises, or returns what no header takes, the call goes on without, and that is logged.
        on_call: Is told of each call that has ended: for counters and logs. What it raises is logged, and changes
            nothing for the call.
        on_retry: Is told before each pause: for counters and logs. The logger `sessiond` is told in any case. What it
            raises is logged, too.
        options: Further channel arguments of gRPC's.
    """
    settings = make_settings(
        address,
        tls=tls,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        credentials=credentials,
        token=token,
        timeout=timeout,
        traceparent=traceparent,
        on_call=on_call,
        on_retry=on_retry,
        options=options,
    )
    return Client(settings)
