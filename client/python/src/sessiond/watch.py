"""A watch that resumes by itself, after lost connections and restarts of the daemon.

with client.watch(filter='owner_id = "ada"', initial_state=True) as watch:
    for item in watch:
        if item.kind == "change":
            print(item.event.type.name, item.session)
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from sessiond import v1
from sessiond._connection import APART
from sessiond._watching import WatchItem, WatchOptions, WatchState, passes_by_itself
from sessiond.errors import Refused, Unavailable, from_rpc_error

if TYPE_CHECKING:
    from sessiond.client import Client

__all__ = ["Watch", "WatchItem"]


class _Stream:
    """One stream. A thread reads it, one response ahead: a slow reader slows the daemon's sending down."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._changed = threading.Condition()
        self._response: v1.WatchSessionsResponse | None = None
        self._ended: Refused | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._read, name="sessiond-watch", daemon=True)
        self._thread.start()

    def take(self, timeout: float) -> v1.WatchSessionsResponse | Refused | None:
        """The next response, or what the stream ended with; None when neither comes in that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._response is not None or self._ended is not None, timeout):
                return None
            if self._response is not None:
                response, self._response = self._response, None
                self._changed.notify_all()
                return response
            return self._ended

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
        self._call.cancel()

    def _read(self) -> None:
        try:
            for response in self._call:
                with self._changed:
                    self._changed.wait_for(lambda: self._response is None or self._cancelled)
                    if self._cancelled:
                        break
                    self._response = response
                    self._changed.notify_all()
            ended: Refused = Unavailable("The stream was ended.", "WatchSessions")
        except grpc.RpcError as error:
            ended = from_rpc_error(error, "WatchSessions")
        except Exception as error:  # gRPC raises others when its channel is closed meanwhile.
            ended = Unavailable(f"The stream broke: {error}", "WatchSessions")
        with self._changed:
            # The last response goes first.
            self._changed.wait_for(lambda: self._response is None or self._cancelled)
            self._ended = ended
            self._changed.notify_all()


class Watch:
    """The present state, if it was asked for; one bookmark; then every change once and in order, however often the
    connection breaks. Heartbeats are not told.

    One thread at a time reads. Reading waits for as long as it takes. It ends when the watch is closed, or raises what
    trying again cannot cure: InvalidArgument (INVALID_FILTER, INVALID_RESUME_TOKEN, …), OutOfRange
    (RESUME_TOKEN_EXPIRED), after which a new watch with initial_state, and without a token, is needed.
    """

    def __init__(self, client: Client, request: v1.WatchSessionsRequest, options: WatchOptions) -> None:
        self._client = client
        self._state = WatchState(request, options)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._stream: _Stream | None = None
        self._apart: grpc.Channel | None = None  # In place of the client's channel, which fell silent.
        self._given: WatchItem | None = None
        self._heard = 0.0
        self._resume_at = 0.0

    @property
    def token(self) -> str:
        """Where the watch stands, as a resume_token: behind every item but the last one given, and behind that one
        as soon as the next is asked for. It may be saved at any time. A token of before the bookmark begins the initial
        state again."""
        return self._state.handled

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def close(self) -> None:
        """Ends it at once. Any thread."""
        self._closing.set()
        with self._lock:
            if self._stream is not None:
                self._stream.cancel()
            if self._apart is not None:
                self._apart.close()
        self._client._watches.discard(self)

    def next(self, timeout: float | None = None) -> WatchItem | None:
        """The next item; None when there is none in that many seconds, or the watch is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        self._done_with_given()
        while not self.closed:
            item = self._state.pending() or self._take(until)
            if item is not None:
                self._given = item
                return item
            if until is not None and time.monotonic() >= until:
                break
        return None

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> WatchItem:
        item = self.next()
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._done_with_given()
        self.close()

    def _done_with_given(self) -> None:
        if self._given is not None:
            self._state.handle(self._given.token)
            self._given = None

    def _take(self, until: float | None) -> WatchItem | None:
        """One step: a response, a broken stream, or a wait. None when the caller is to ask again."""
        now = time.monotonic()
        if now < self._resume_at:
            self._closing.wait(min(self._resume_at, until or self._resume_at) - now)
            if time.monotonic() < self._resume_at:
                return None
        try:
            stream = self._open()
        except Refused as refusal:  # Of the token's callable.
            self._broke(refusal)
            return None
        if stream is None:
            return None
        silent_at = self._heard + self._state.silence_max
        wait_until = silent_at if until is None else min(silent_at, until)
        taken = stream.take(max(wait_until - time.monotonic(), 0.0))
        if isinstance(taken, v1.WatchSessionsResponse):
            self._heard = time.monotonic()
            return self._state.note(taken)
        if taken is None:
            if time.monotonic() < silent_at:
                return None
            self._leave_connection()
            taken = Unavailable(f"Nothing was heard for {self._state.silence_max:.1f} s.", "WatchSessions")
        self._drop(stream)
        self._broke(taken)
        return None

    def _broke(self, refusal: Refused) -> None:
        """There is no stream any more: raises what it ended with, or sees to another one."""
        if self.closed:
            return
        if not passes_by_itself(refusal):
            self.close()
            raise refusal
        self._state.broke()
        pause = self._state.backoff.pause(refusal)
        self._client._settings.retried("WatchSessions", refusal, pause)
        self._resume_at = time.monotonic() + pause

    def _open(self) -> _Stream | None:
        with self._lock:
            if self.closed:
                return None
            if self._stream is None:
                request = v1.WatchSessionsRequest()
                request.CopyFrom(self._state.request())
                self._stream = _Stream(self._client._stream(request, self._apart))
                self._heard = time.monotonic()
            return self._stream

    def _leave_connection(self) -> None:
        """The one there is may be dead without knowing it."""
        with self._lock:
            if self._apart is not None:
                self._apart.close()
            self._apart = None if self.closed else self._client._dial(APART)

    def _drop(self, stream: _Stream) -> None:
        stream.cancel()
        with self._lock:
            self._stream = None
