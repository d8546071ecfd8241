"""What watches have in common, with threads or asyncio: the request, and what becomes of a response or a refusal.

open ─▶ request with the token ─▶ responses ─▶ note ─▶ an item, or nothing (heartbeat, second bookmark)
  ▲                                   └─ refusal, silence, end ─▶ passes by itself? ─▶ pause ─┐
  └──────────────────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from sessiond import _convert, types, v1
from sessiond._connection import Backoff
from sessiond.errors import Cancelled, Category, DeadlineExceeded, Internal, Refused, Unavailable, Unknown

# The daemon's own when the request says nothing.
HEARTBEAT_DEFAULT = 15.0
# One may be late, and one lost with a connection that recovers.
HEARTBEATS_MISSED = 3
# The daemon's longest read takes 30 s, and it may send nothing before that ends.
SILENCE_MAX_AT_FIRST = 40.0


@dataclasses.dataclass(frozen=True)
class WatchItem:
    """One thing that a watch tells."""

    #: `session`: one as it stands, of the initial state. `bookmark`: the initial state is complete. `change`: an event.
    #: `restart`: the connection broke before the bookmark, and the initial state is told again: forget what was told.
    kind: Literal["session", "bookmark", "change", "restart"]
    #: Of `session`; of `change` as the event left it, or as it stood a little later, and None when it is gone.
    session: types.Session | None = None
    #: Of `change`.
    event: types.SessionEvent | None = None
    #: Of `change`, when the event is MESSAGES_APPENDED: as far as they fit into 256 KiB.
    messages: tuple[types.SessionMessage, ...] = ()
    #: Whether the session matches now.
    matches: bool = False
    #: A watch with this resume_token goes on right behind this item.
    token: str = ""


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    silence_max: float | None
    on_token: Callable[[str], None] | None


def watch_request(
    session_ids: Sequence[str],
    namespace: str,
    filter: str,
    event_types: Sequence[types.SessionEventType | str],
    initial_state: bool,
    resume_token: str,
    heartbeat_interval: float | None,
) -> v1.WatchSessionsRequest:
    for each in session_ids:
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is no session id. Give each id as an argument: watch(*ids).")
    request = v1.WatchSessionsRequest(
        session_ids=session_ids,
        namespace=namespace,
        filter=filter,
        event_types=[_type(each) for each in event_types],
        initial_state=initial_state and not resume_token,
        resume_token=resume_token,
    )
    if heartbeat_interval is not None:
        _convert.to_duration(heartbeat_interval, request.heartbeat_interval)
    return request


def _type(given: types.SessionEventType | str) -> Any:
    return types.SessionEventType[given] if isinstance(given, str) else given


def passes_by_itself(refusal: Refused) -> bool:
    """Whether the same request may succeed in a moment. Without a category it was not the daemon's own code: a lost
    connection, a daemon that ended in a hurry, or a proxy that limits or resets streams."""
    if refusal.category is not Category.NONE:
        return refusal.category is Category.TEMPORARY
    return isinstance(refusal, (Unavailable, Internal, Unknown, Cancelled, DeadlineExceeded))


class WatchState:
    """Where a watch stands. Knows no connection."""

    def __init__(self, request: v1.WatchSessionsRequest, options: WatchOptions) -> None:
        self._request = request
        self._options = options
        self._heartbeat = HEARTBEAT_DEFAULT
        if request.HasField("heartbeat_interval"):
            self._heartbeat = _convert.from_duration(request.heartbeat_interval).total_seconds()
        self.backoff = Backoff()
        # Of the last response.
        self._token = request.resume_token
        # Of the last item that was handled.
        self.handled = request.resume_token
        self._told = False  # An item has been given.
        self._told_bookmark = False
        self._bookmarked = False  # The present stream has sent its bookmark.
        self._resuming = False
        self._owes_restart = False
        self._item: WatchItem | None = None  # Comes behind a `restart`.

    def request(self) -> v1.WatchSessionsRequest:
        """Of the next stream."""
        self._bookmarked = False
        if self._token:
            # The token says whether the initial state was complete. Asking for both is refused.
            self._request.initial_state = False
            self._request.resume_token = self._token
        return self._request

    @property
    def silence_max(self) -> float:
        if self._options.silence_max is not None:
            return self._options.silence_max
        silence_max = self._heartbeat * HEARTBEATS_MISSED
        return silence_max if self._bookmarked else max(silence_max, SILENCE_MAX_AT_FIRST)

    def broke(self) -> None:
        """The stream ended, and another one follows."""
        self._resuming = True

    def handle(self, token: str) -> None:
        """The caller has done with everything up to this token."""
        if token and token != self.handled:
            self.handled = token
            if self._options.on_token:
                self._options.on_token(token)

    def pending(self) -> WatchItem | None:
        item, self._item = self._item, None
        return item

    def note(self, response: v1.WatchSessionsResponse) -> WatchItem | None:
        """The item that a response is; None for those that are not for the caller."""
        self.backoff.reset()
        before = self._token
        self._token = response.resume_token
        if self._resuming and self._told and not self._told_bookmark:
            self._owes_restart = True
        self._resuming = False
        item = self._item_of(response)
        if item is None:
            if not self._owes_restart:
                self.handle(self._token)
            return None
        self._told = True
        if self._owes_restart:
            self._owes_restart = False
            self._item = item
            return WatchItem("restart", token=before)
        return item

    def _item_of(self, response: v1.WatchSessionsResponse) -> WatchItem | None:
        kind = response.WhichOneof("kind")
        token = response.resume_token
        if kind == "session":
            return WatchItem("session", types.Session(response.session), matches=response.matches, token=token)
        if kind == "change":
            change = response.change
            session = types.Session(change.session) if change.HasField("session") else None
            messages = tuple(types.SessionMessage(each) for each in change.messages)
            event = types.SessionEvent(change.event)
            return WatchItem("change", session, event, messages, response.matches, token)
        if kind == "bookmark":
            self._bookmarked = True
            if not self._told_bookmark:
                self._told_bookmark = True
                return WatchItem("bookmark", token=token)
        return None
