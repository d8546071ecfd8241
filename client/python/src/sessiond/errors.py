"""What a call raises when it is refused, or not answered.

try:
    client.advance_session(session_id, "review")
except sessiond.NotFound as refusal:
    ...                      # refusal.reason: NEVER_EXISTED, DELETED (refusal.since), ARCHIVED
except sessiond.Refused as refusal:
    if refusal.reason is ErrorReason.INVALID_TRANSITION:
        print(refusal, refusal.metadata["allowed"])
"""

from __future__ import annotations

import datetime
import enum
from typing import Any, NamedTuple

import grpc

from sessiond import _error_details_pb2 as details
from sessiond.types import ErrorReason

DOMAIN = "sessiond"


class Category(str, enum.Enum):
    """Who can fix it."""

    #: It was not the daemon that refused.
    NONE = ""
    #: Whoever sent the request: change what is asked for.
    USER_FIXABLE = "USER_FIXABLE"
    #: Whoever runs the service, or owns the calling program.
    ADMIN_REQUIRED = "ADMIN_REQUIRED"
    #: Nobody: try again.
    TEMPORARY = "TEMPORARY"


class FieldViolation(NamedTuple):
    """A field that cannot be taken, and why."""

    field: str
    description: str


class SessiondError(Exception):
    """Everything that this package raises, but for wrong arguments (TypeError, ValueError)."""


class Refused(SessiondError):
    """A call was refused, or not answered. There is a class for each of gRPC's codes."""

    #: gRPC's.
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, method: str = "", status: details.Status | None = None) -> None:
        super().__init__(message)
        #: The sentence of the daemon's, for people.
        self.message = message
        #: The RPC's name, for example `GetSession`.
        self.method = method
        #: Why; UNSPECIFIED when it was not the daemon that refused, and for reasons that this package does not know.
        self.reason = ErrorReason.UNSPECIFIED
        #: The reason's name, also of one that this package does not know yet.
        self.reason_name = ""
        #: Who can fix it.
        self.category = Category.NONE
        #: What the reason is about; `ErrorReason` says what each has.
        self.metadata: dict[str, str] = {}
        #: The fields that cannot be taken, in the request's order.
        self.fields: list[FieldViolation] = []
        #: How long the daemon asks to wait before the call is made again, in seconds.
        self.retry_after: float | None = None
        #: Whether it was the daemon that refused, and not a proxy or this package.
        self.from_daemon = False
        self._pushback: float | None = None
        if status is not None:
            self._read(status)

    def _read(self, status: details.Status) -> None:
        for detail in status.details:
            kind = detail.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = details.ErrorInfo.FromString(detail.value)
                if info.domain != DOMAIN:
                    continue
                self.from_daemon = True
                self.reason_name = info.reason
                self.reason = ErrorReason.__members__.get(info.reason, ErrorReason.UNSPECIFIED)
                self.metadata = dict(info.metadata)
                category = self.metadata.pop("category", "")
                self.category = Category(category) if category in Category._value2member_map_ else Category.NONE
            elif kind == "google.rpc.BadRequest":
                bad = details.BadRequest.FromString(detail.value)
                self.fields = [FieldViolation(each.field, each.description) for each in bad.field_violations]
            elif kind == "google.rpc.RetryInfo":
                delay = details.RetryInfo.FromString(detail.value).retry_delay
                self.retry_after = delay.seconds + delay.nanos / 1e9

    def __str__(self) -> str:
        return f"{self.message} [{self.reason_name or self.code.name}]"

    def __reduce__(self) -> Any:
        return (_rebuilt, (type(self), self.__dict__))


class Cancelled(Refused):
    """CANCELLED: the caller gave up, or the connection was ended in a hurry."""

    code = grpc.StatusCode.CANCELLED


class Unknown(Refused):
    """UNKNOWN: somebody in between failed."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgument(Refused):
    """INVALID_ARGUMENT: the request cannot be taken as it is; `fields` and `metadata` say where."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(Refused):
    """DEADLINE_EXCEEDED: there was no answer in time. A change may have taken effect; made again with the same
    request_id, it takes effect once, and the answer tells."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(Refused):
    """NOT_FOUND. `reason` says why: NEVER_EXISTED, DELETED or ARCHIVED of a session."""

    code = grpc.StatusCode.NOT_FOUND

    @property
    def since(self) -> datetime.datetime | None:
        """Since when the session is DELETED or ARCHIVED."""
        text = self.metadata.get("delete_time") or self.metadata.get("archive_time")
        return _time(text) if text else None


class AlreadyExists(Refused):
    """ALREADY_EXISTS."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(Refused):
    """PERMISSION_DENIED."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(Refused):
    """UNAUTHENTICATED."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(Refused):
    """RESOURCE_EXHAUSTED: too large, or too much at a time; then `retry_after` says how long to wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(Refused):
    """FAILED_PRECONDITION: the session is not in a state for this; `metadata` says what it accepts."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(Refused):
    """ABORTED: somebody else changed the session. Read it again, and decide anew."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(Refused):
    """OUT_OF_RANGE: a resume token points at changes that were removed since."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(Refused):
    """UNIMPLEMENTED: the daemon is older than this package, or it is not the daemon."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(Refused):
    """INTERNAL: a defect, or a proxy that reset the stream."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(Refused):
    """UNAVAILABLE, until the deadline passed: nobody answers, or the daemon cannot now."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(Refused):
    """DATA_LOSS."""

    code = grpc.StatusCode.DATA_LOSS


_CLASSES = {each.code: each for each in Refused.__subclasses__()}


def from_rpc_error(error: Any, method: str) -> Refused:
    """The refusal that a grpc.RpcError, or a grpc.aio.AioRpcError, tells of; a refusal is its own."""
    if isinstance(error, Refused):
        return error
    code = error.code() or grpc.StatusCode.UNKNOWN
    status = None
    pushback: float | None = None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                status = details.Status.FromString(value)
            except Exception:  # Somebody's own idea of details: there are none then.
                status = None
        elif key == "grpc-retry-pushback-ms":
            # What is not a number asks not to be tried again (gRFC A6).
            pushback = int(value) / 1000 if value.lstrip("-").isdigit() else -1.0
    refusal = _CLASSES.get(code, Unknown)(error.details() or code.name, method, status)
    refusal._pushback = pushback
    return refusal


def pushback_of(refusal: Refused) -> float | None:
    """Seconds that the server asks to wait; negative: not to be tried again."""
    return refusal._pushback


def _rebuilt(kind: type[Refused], state: dict[str, Any]) -> Refused:
    refusal = kind(state["message"])
    refusal.__dict__.update(state)
    return refusal


def _time(text: str) -> datetime.datetime | None:
    head, _, fraction = text.rstrip("Z").partition(".")
    try:
        return datetime.datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}+00:00")
    except ValueError:
        return None
