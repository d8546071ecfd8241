"""The client, for threads."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message

from sessiond import types, v1
from sessiond._calls import Calls
from sessiond._connection import (
    Backoff,
    Metadata,
    Settings,
    asking_for_token,
    authorization,
    pause_before_retry,
)
from sessiond._method import Method
from sessiond._update import DOC, update_request
from sessiond._view import View
from sessiond._watching import WatchOptions, watch_request
from sessiond.errors import Refused, from_rpc_error
from sessiond.tasks import RunningTask, TaskOptions, run_task
from sessiond.watch import Watch

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ViewT = TypeVar("ViewT", bound=View)


class Client(Calls):
    """A connection to sessiond; `sessiond.connect` makes one. Any thread may call any method.

    A method has its RPC's name. It answers with a view of the response, or raises `sessiond.Refused`. UNAVAILABLE is
    tried again until the deadline, with the same request_id, so that a change takes effect once.
    """

    def __init__(self, settings: Settings, channel: grpc.Channel | None = None) -> None:
        self._settings = settings
        self._channel = channel or self._dial()
        self._callables: dict[str, Any] = {}
        self._closed = threading.Event()
        self._watches: set[Watch] = set()

    def close(self) -> None:
        """Ends what still waits, and closes the connection."""
        self._closed.set()
        for watch in list(self._watches):
            watch.close()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """HOST:PORT, or unix:/PATH."""
        return self._settings.address

    @property
    def channel(self) -> grpc.Channel:
        """gRPC's, for stubs of one's own. It carries neither deadlines nor tokens."""
        return self._channel

    def update_session(
        self,
        session_id: str,
        *,
        set_context: Mapping[str, Any] = {},
        remove_context_keys: Iterable[str] = (),
        set_labels: Mapping[str, str] = {},
        remove_label_keys: Iterable[str] = (),
        set_references: Mapping[str, str] = {},
        remove_reference_keys: Iterable[str] = (),
        context: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        references: Mapping[str, str] | None = None,
        owner_display_name: str | None = None,
        owner_id: str | None = None,
        hold: bool | None = None,
        counter_increments: Mapping[str, int] = {},
        request_id: str = "",
        etag: str = "",
        actor: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> types.Session:
        request = update_request(
            *(
                session_id,
                set_context,
                remove_context_keys,
                set_labels,
                remove_label_keys,
                set_references,
                remove_reference_keys,
            ),
            *(context, labels, references, owner_display_name, owner_id, hold, counter_increments),
            *(request_id, etag, actor, reason),
        )
        return self._call(UPDATE_SESSION, request, timeout)

    update_session.__doc__ = DOC

    def watch(
        self,
        *session_ids: str,
        namespace: str = "",
        filter: str = "",
        event_types: Sequence[types.SessionEventType | str] = (),
        initial_state: bool = False,
        resume_token: str = "",
        heartbeat_interval: float | None = None,
        silence_max: float | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> Watch:
        """Watches these sessions, or all that match: see `sessiond.watch.Watch`.

        Args:
            session_ids: These sessions, at most 1,000; none for all that match.
            namespace: Without session_ids: empty for `default`, `-` for all that the caller may see.
            filter: As of list_sessions.
            event_types: Only events of these types; none for all.
            initial_state: Begin with the sessions that match, as they stand.
            resume_token: Go on behind the item that this token came with. Then initial_state is not asked for.
            heartbeat_interval: After how many seconds without news the daemon gives a sign of life; 15 if not given.
            silence_max: After how many seconds without a sign of life another connection is tried. If not given: three
                heartbeat intervals, and 40 s at least before the bookmark.
            on_token: Is told where the watch stands, whenever an item was handled and at heartbeats: to be saved.
        """
        request = watch_request(
            session_ids, namespace, filter, event_types, initial_state, resume_token, heartbeat_interval
        )
        watch = Watch(self, request, WatchOptions(silence_max, on_token))
        self._watches.add(watch)
        return watch

    def run_task(
        self,
        session_id: str,
        task_type: str,
        work: Callable[[RunningTask], Mapping[str, Any] | None],
        *,
        attempts: int = 1,
        start_stage: str = "",
        end_stage: str = "",
        heartbeat_timeout: float = 30.0,
        heartbeat_interval: float | None = None,
        describe: Callable[[BaseException], Mapping[str, Any]] | None = None,
        actor: str = "",
        reason: str = "",
    ) -> types.SessionTask:
        """Starts a task, runs `work` on this thread, and tells the daemon how it ended.

        While the work runs, another thread tells the daemon that it does, and learns that the task was cancelled.
        What `work` returns becomes the task's result. When it raises, the task fails with the error recorded, and is
        tried again, behind pauses that grow, while the workflow allows it and attempts are left. When the daemon refuses
        the completion, the task fails with that.

        Args:
            session_id: The session.
            task_type: One of its workflow's task types.
            work: Is given the running task (`sessiond.RunningTask`): `report` progress, `check` for cancellation.
            attempts: How often to run the work at most.
            start_stage: The stage to enter with the start.
            end_stage: The stage to enter with the end.
            heartbeat_timeout: After how many seconds of silence the daemon gives the worker up.
            heartbeat_interval: How often to give a sign of life; a third of heartbeat_timeout if not given.
            describe: Fields of the error to record for an exception (`user_message`, `category`, …),
                in place of the defaults. What cannot be recorded gives way to the defaults, and is logged.

        Returns the completed task. Raises `sessiond.TaskFailed` with the exception of `work` as its cause,
        `sessiond.TaskCancelled`, `sessiond.TaskLost` when the task is another worker's now, and `sessiond.Refused`.
        """
        options = TaskOptions(
            attempts, start_stage, end_stage, heartbeat_timeout, heartbeat_interval, describe, actor, reason
        )
        return run_task(self, session_id, task_type, work, options)

    def _call(self, method: Method[RequestT, ResponseT, ViewT], request: RequestT, timeout: float | None) -> ViewT:
        settings = self._settings
        begun = time.monotonic()
        deadline = begun + (settings.timeout if timeout is None else timeout)
        call = self._callables.get(method.path) or self._callable(method)
        backoff = None
        attempts = 0
        while True:
            attempts += 1
            try:
                metadata = self._metadata(method.name)
                if method.changes and not request.request_id:  # type: ignore[attr-defined]
                    # Not earlier: who is interrupted sees by it whether the request may have been sent.
                    request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
                response = call(request, max(deadline - time.monotonic(), 0.001), metadata)
            except (grpc.RpcError, Refused) as error:
                refusal = from_rpc_error(error, method.name)
                backoff = backoff or Backoff()
                pause = pause_before_retry(refusal, backoff, deadline - time.monotonic())
                if pause is None or self._closed.is_set():
                    settings.ended(method.name, begun, attempts, refusal)
                    if refusal is error:
                        raise
                    raise refusal from error
                settings.retried(method.name, refusal, pause)
                self._closed.wait(pause)
            else:
                if settings.on_call:
                    settings.ended(method.name, begun, attempts, None)
                return method.view(response)

    def _callable(self, method: Method[Any, Any, Any]) -> Any:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        self._callables[method.path] = call
        return call

    def _dial(self, *options: tuple[str, Any]) -> grpc.Channel:
        settings = self._settings
        arguments = [*settings.options, *options]
        if settings.credentials is not None:
            return grpc.secure_channel(settings.address, settings.credentials, arguments)
        return grpc.insecure_channel(settings.address, arguments)

    def _stream(self, request: v1.WatchSessionsRequest, channel: grpc.Channel | None) -> Any:
        call = (channel or self._channel).unary_stream(
            "/sessiond.v1.SessionService/WatchSessions",
            request_serializer=v1.WatchSessionsRequest.SerializeToString,
            response_deserializer=v1.WatchSessionsResponse.FromString,
        )
        return call(request, metadata=cast(Any, self._metadata("WatchSessions")))

    def _metadata(self, method: str) -> Metadata | None:
        settings = self._settings
        if settings.token is None and settings.traceparent is None:
            return None
        metadata = settings.trace()
        if settings.token is not None:
            token = settings.token
            if not isinstance(token, str):
                with asking_for_token(method):
                    token = token()
            metadata.append(authorization(token, method))
        return metadata


UPDATE_SESSION = Method("SessionService", "UpdateSession", v1.UpdateSessionRequest, v1.Session, types.Session, True)
