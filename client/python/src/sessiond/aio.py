"""The client, for asyncio.

async with sessiond.aio.connect() as client:
    session = await client.get_session(session_id)
    async for each in client.list_sessions(filter='owner_id = "ada"'):
        ...
    async with client.watch(session_id) as watch:
        async for item in watch:
            ...
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from sessiond import _methods, types, v1
from sessiond._aio_calls import AioCalls
from sessiond._connection import (
    APART,
    DEFAULT_TIMEOUT,
    AioToken,
    Backoff,
    Call,
    Metadata,
    Retry,
    Settings,
    asking_for_token,
    authorization,
    log,
    make_settings,
    pause_before_retry,
)
from sessiond._method import Method
from sessiond._update import DOC, update_request
from sessiond._view import View
from sessiond._watching import WatchItem, WatchOptions, WatchState, passes_by_itself, watch_request
from sessiond.client import UPDATE_SESSION
from sessiond.errors import NotFound, Refused, Unavailable, from_rpc_error
from sessiond.tasks import (
    NOT_KNOWN,
    NOT_RECORDED,
    NOT_RUN_AGAIN,
    Start,
    TaskEnded,
    TaskOptions,
    checked_result,
    ended_by_others,
    may_be_over,
    may_have_been_sent,
    may_have_begun,
    nothing_was_started,
    request_ids,
    retry_backoff,
    task_failed,
    words,
)

__all__ = ["Client", "RunningTask", "Watch", "connect"]

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ViewT = TypeVar("ViewT", bound=View)

# How long a worker that is being ended itself has to tell the daemon.
_LAST_WORDS_SECONDS = 5.0
NOT_TOLD = "A task's end could not be told"


def connect(
    address: str | None = None,
    *,
    tls: bool = False,
    ca_file: str | os.PathLike[str] | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    token: AioToken | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    traceparent: str | Callable[[], str | None] | None = None,
    on_call: Callable[[Call], None] | None = None,
    on_retry: Callable[[Retry], None] | None = None,
    options: list[tuple[str, Any]] | None = None,
) -> Client:
    """As `sessiond.connect`; a token's callable may be a coroutine function. Call it where the event loop runs."""
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


class Client(AioCalls):
    """A connection to sessiond, for one event loop. As `sessiond.Client`, with coroutines."""

    def __init__(self, settings: Settings, channel: grpc.aio.Channel | None = None) -> None:
        self._settings = settings
        self._channel = channel or self._dial()
        self._callables: dict[str, Any] = {}
        self._watches: set[Watch] = set()
        self._closed = asyncio.Event()

    async def close(self) -> None:
        """Ends what still waits, and closes the connection."""
        self._closed.set()
        for watch in list(self._watches):
            await watch.close()
        await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str:
        """HOST:PORT, or unix:/PATH."""
        return self._settings.address

    @property
    def channel(self) -> grpc.aio.Channel:
        """gRPC's, for stubs of one's own. It carries neither deadlines nor tokens."""
        return self._channel

    async def update_session(
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
        return await self._call(UPDATE_SESSION, request, timeout)

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
        """Watches these sessions, or all that match; the arguments are as of `sessiond.Client.watch`."""
        request = watch_request(
            session_ids, namespace, filter, event_types, initial_state, resume_token, heartbeat_interval
        )
        watch = Watch(self, request, WatchOptions(silence_max, on_token))
        self._watches.add(watch)
        return watch

    async def run_task(
        self,
        session_id: str,
        task_type: str,
        work: Callable[[RunningTask], Awaitable[Mapping[str, Any] | None]],
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
        """Starts a task, runs the coroutine `work(task)`, and tells the daemon how it ended.

        As of `sessiond.Client.run_task`; but when the task is cancelled, or given to another worker, the coroutine is
        cancelled where it awaits. When this call is cancelled itself, the task fails with that, also one that is just
        being started: telling takes up to 5 s, and CancelledError is raised in any case.
        """
        options = TaskOptions(
            attempts, start_stage, end_stage, heartbeat_timeout, heartbeat_interval, describe, actor, reason
        )
        return await _run_task(self, session_id, task_type, work, options)

    async def _call(
        self, method: Method[RequestT, ResponseT, ViewT], request: RequestT, timeout: float | None
    ) -> ViewT:
        settings = self._settings
        begun = time.monotonic()
        deadline = begun + (settings.timeout if timeout is None else timeout)
        call = self._callables.get(method.path) or self._callable(method)
        backoff = None
        attempts = 0
        while True:
            attempts += 1
            try:
                metadata = await self._metadata(method.name)
                if method.changes and not request.request_id:  # type: ignore[attr-defined]
                    # Not earlier: who is cancelled sees by it whether the request may have been sent.
                    request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
                left = max(deadline - time.monotonic(), 0.001)
                response = await call(request, timeout=left, metadata=metadata)
            except (grpc.aio.AioRpcError, Refused) as error:
                refusal = from_rpc_error(error, method.name)
                backoff = backoff or Backoff()
                pause = pause_before_retry(refusal, backoff, deadline - time.monotonic())
                if pause is None:
                    settings.ended(method.name, begun, attempts, refusal)
                    if refusal is error:
                        raise
                    raise refusal from error
                settings.retried(method.name, refusal, pause)
                await asyncio.sleep(pause)
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

    def _dial(self, *options: tuple[str, Any]) -> grpc.aio.Channel:
        settings = self._settings
        arguments = [*settings.options, *options]
        if settings.credentials is not None:
            return grpc.aio.secure_channel(settings.address, settings.credentials, arguments)
        return grpc.aio.insecure_channel(settings.address, arguments)

    async def _stream(self, request: v1.WatchSessionsRequest, channel: grpc.aio.Channel | None) -> Any:
        call = (channel or self._channel).unary_stream(
            "/sessiond.v1.SessionService/WatchSessions",
            request_serializer=v1.WatchSessionsRequest.SerializeToString,
            response_deserializer=v1.WatchSessionsResponse.FromString,
        )
        return call(request, metadata=await self._metadata("WatchSessions"))

    async def _metadata(self, method: str) -> Metadata | None:
        settings = self._settings
        if settings.token is None and settings.traceparent is None:
            return None
        metadata = settings.trace()
        if settings.token is not None:
            token = settings.token
            if not isinstance(token, str):
                token = await _asked(token, method)
            metadata.append(authorization(token, method))
        return metadata


async def _asked(token: Callable[[], Any], method: str) -> Any:
    """What a token's callable answers. A coroutine runs as a task of its own: a cancellation out of it is a failure, and
    not that of this caller."""
    with asking_for_token(method):
        answer = token()
        if not inspect.isawaitable(answer):
            return answer
        asking: asyncio.Future[Any] = asyncio.ensure_future(answer)
    try:
        await asyncio.wait({asking})
    except asyncio.CancelledError:
        await _cancel(asking)
        raise
    with asking_for_token(method):
        return asking.result()


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Ends it, and waits until that has come about. What it says then, nobody wants to know."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


class Watch:
    """As `sessiond.Watch`, for `async for`. One coroutine at a time reads."""

    def __init__(self, client: Client, request: v1.WatchSessionsRequest, options: WatchOptions) -> None:
        self._client = client
        self._state = WatchState(request, options)
        self._closing = asyncio.Event()
        self._call: Any = None
        self._reading: asyncio.Future[Any] | None = None
        self._apart: grpc.aio.Channel | None = None  # In place of the client's channel, which fell silent.
        self._given: WatchItem | None = None
        self._heard = 0.0
        self._resume_at = 0.0

    @property
    def token(self) -> str:
        """Where the watch stands, as a resume_token; see `sessiond.Watch.token`."""
        return self._state.handled

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    async def close(self) -> None:
        """Ends it at once."""
        self._closing.set()
        self._client._watches.discard(self)
        await self._drop()
        if self._apart is not None:
            apart, self._apart = self._apart, None
            await apart.close()

    async def next(self, timeout: float | None = None) -> WatchItem | None:
        """The next item; None when there is none in that many seconds, or the watch is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        self._done_with_given()
        while not self.closed:
            item = self._state.pending() or await self._take(until)
            if item is not None:
                self._given = item
                return item
            if until is not None and time.monotonic() >= until:
                break
        return None

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchItem:
        item = await self.next()
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._done_with_given()
        await self.close()

    def _done_with_given(self) -> None:
        if self._given is not None:
            self._state.handle(self._given.token)
            self._given = None

    async def _take(self, until: float | None) -> WatchItem | None:
        """One step: a response, a broken stream, or a wait. None when the caller is to ask again."""
        if time.monotonic() < self._resume_at:
            await self._wait(set(), min(self._resume_at, until or self._resume_at))
            if time.monotonic() < self._resume_at:
                return None
        if self.closed:
            return None
        try:
            await self._open()
        except Refused as error:  # Of the token's callable.
            await self._broke(error)
            return None
        refusal: Refused | None = None
        try:
            if self._reading is None:
                # Nobody has listened since the last response: the caller was at work.
                self._heard = time.monotonic()
                self._reading = asyncio.ensure_future(self._call.read())
            silent_at = self._heard + self._state.silence_max
            response = await self._read(silent_at if until is None else min(silent_at, until))
            if isinstance(response, v1.WatchSessionsResponse):
                return self._state.note(response)
            if response is grpc.aio.EOF:
                # The status tells how it ended; raises what it was refused with.
                code = await self._call.code()
                if code is not grpc.StatusCode.OK:
                    raise grpc.aio.AioRpcError(
                        code,
                        await self._call.initial_metadata(),
                        await self._call.trailing_metadata(),
                        await self._call.details(),
                    )
                refusal = Unavailable("The stream was ended.", "WatchSessions")
            elif time.monotonic() < silent_at:
                return None
            else:
                await self._leave_connection()
                refusal = Unavailable(f"Nothing was heard for {self._state.silence_max:.1f} s.", "WatchSessions")
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error, "WatchSessions")
        await self._drop()
        await self._broke(refusal)
        return None

    async def _broke(self, refusal: Refused) -> None:
        """There is no stream any more: raises what it ended with, or sees to another one."""
        if self.closed:
            return
        if not passes_by_itself(refusal):
            await self.close()
            raise refusal
        self._state.broke()
        pause = self._state.backoff.pause(refusal)
        self._client._settings.retried("WatchSessions", refusal, pause)
        self._resume_at = time.monotonic() + pause

    async def _open(self) -> None:
        if self._call is None:
            request = v1.WatchSessionsRequest()
            request.CopyFrom(self._state.request())
            self._call = await self._client._stream(request, self._apart)

    async def _read(self, until: float) -> Any:
        """A response, EOF, or None when neither comes in time. A read goes on behind a wait that was given up: gRPC
        would end the stream with it."""
        reading = self._reading
        assert reading is not None
        await self._wait({reading}, until)
        if self._reading is not reading or not reading.done():
            return None
        self._reading = None
        if reading.cancelled():
            return grpc.aio.EOF
        return reading.result()

    async def _wait(self, for_what: set[asyncio.Future[Any]], until: float) -> None:
        """Until one of these is done, the watch is closed, or the time has come."""
        closing: asyncio.Future[Any] = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                {closing, *for_what},
                timeout=max(until - time.monotonic(), 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            closing.cancel()

    async def _leave_connection(self) -> None:
        """The one there is may be dead without knowing it."""
        await self._drop()
        apart, self._apart = self._apart, None if self.closed else self._client._dial(APART)
        if apart is not None:
            await apart.close()

    async def _drop(self) -> None:
        call, self._call = self._call, None
        reading, self._reading = self._reading, None
        if call is not None:
            call.cancel()
        if reading is not None:
            await _cancel(reading)


class RunningTask:
    """What the work is given."""

    def __init__(self, client: Client, task: types.SessionTask, attempt: int, options: TaskOptions) -> None:
        self._client = client
        self._options = options
        self._ended: TaskEnded | None = None
        self._over = asyncio.Event()
        self._last = task
        self._request_ids = request_ids()
        #: 1, 2, … of this call of run_task.
        self.attempt = attempt
        self.session_id = task.session_id
        self.task_type = task.task_type
        #: This run's; another attempt has another.
        self.task_id = task.task_id

    @property
    def task(self) -> types.SessionTask:
        """As the daemon last told it."""
        return self._last

    @property
    def cancelled(self) -> bool:
        """Whether the result is wanted no more: the task was cancelled, or is another worker's."""
        return self._over.is_set()

    async def report(self, progress: Mapping[str, Any]) -> None:
        """Tells how far the work has come, in place of what was told before. It is a sign of life, too."""
        if self._ended is not None:
            raise self._ended
        try:
            self._last = await self._client.report_task_progress(self.session_id, self.task_id, progress=progress)
        except Refused as refusal:
            await self._look(refusal)
            if self._ended is not None:
                raise self._ended from refusal
            raise

    async def _look(self, error: Exception) -> None:
        """Finds out whether what a call raised means that the task is over."""
        if not may_be_over(error):
            return
        try:
            now: types.SessionTask | None = await self._client.get_task(self.session_id, include_deleted=True)
        except NotFound:
            now = None
        except Exception:  # Where it cannot be asked, what the call raised has to do.
            return
        ended = ended_by_others(self._last, now, self.attempt)
        if ended is not None and self._ended is None:
            self._ended = ended
            self._over.set()

    async def _keep_alive(self) -> None:
        """Gives signs of life. One that fails is made good by the next."""
        while not self.cancelled:
            await asyncio.sleep(self._options.interval)
            try:
                self._last = await self._client.report_task_progress(
                    self.session_id, self.task_id, timeout=self._options.heartbeat_call_timeout
                )
            except Exception as error:  # A hook of the caller's may raise anything.
                if self._client._closed.is_set():
                    return
                await self._look(error)
                if not self.cancelled:
                    log.warning("A heartbeat of the task %s of %s failed: %s", self.task_id, self.session_id, error)


async def _run_task(
    client: Client,
    session_id: str,
    task_type: str,
    work: Callable[[RunningTask], Awaitable[Mapping[str, Any] | None]],
    options: TaskOptions,
) -> types.SessionTask:
    attempt = 1
    backoff = retry_backoff()
    start = options.start_request(session_id, task_type)
    running = await _started(client, _methods.START_TASK, start, attempt, options)
    while True:
        error, result = await _run(running, work)
        if error is not None and not isinstance(error, Exception):
            # The program is being ended, and that goes on whatever becomes of the task.
            await _before_the_end(_try_to_fail(running, error), NOT_TOLD)
            raise error
        if running._ended is not None:
            raise running._ended from (None if error is running._ended else error)
        retried = error is not None and options.retries(running.task, attempt)
        if error is None:
            try:
                result = checked_result(result)
            except Exception as wrong:  # Work that is done is not done again.
                error = wrong
            else:
                return await _said(functools.partial(_complete, running, result))
        try:
            failed = await _said(functools.partial(_fail, running, error, retried))
        except TaskEnded:
            raise
        except Exception as refusal:
            raise task_failed(error, running.task, attempt, NOT_RECORDED, refusal) from error
        if not (retried and failed.retryable):
            raise task_failed(error, failed, attempt) from error
        pause = backoff.pause()
        log.info("The task %s of %s is tried again in %.3f s: %s", task_type, session_id, pause, words(error))
        if await _closed_within(client, pause):
            raise task_failed(error, failed, attempt) from error
        retry = options.retry_request(session_id)
        try:
            running = await _started(client, _methods.RETRY_TASK, retry, attempt + 1, options)
        except Exception as refusal:
            seen = await _fail_unless_refused(client, retry, refusal, failed, options)
            raise task_failed(error, seen, attempt, NOT_RUN_AGAIN, refusal) from error
        attempt += 1


async def _closed_within(client: Client, seconds: float) -> bool:
    """Waits that long, or until the client is closed; and whether it was."""
    closing = asyncio.ensure_future(client._closed.wait())
    try:
        await asyncio.wait({closing}, timeout=seconds)
    finally:
        closing.cancel()
    return client._closed.is_set()


async def _started(client: Client, method: Start, request: Any, attempt: int, options: TaskOptions) -> RunningTask:
    """Starts a task, or another run of it. When this worker is cancelled meanwhile, the run is failed: nobody else knows
    of it."""

    def start() -> Coroutine[Any, Any, types.SessionTask]:
        return client._call(method, request, None)

    async def fail_if_started(why: BaseException) -> None:
        try:
            task = await _outcome(starting, start)
        except Refused as refusal:
            if nothing_was_started(refusal):
                return
            raise
        await _try_to_fail(RunningTask(client, task, attempt, options), why)

    starting = asyncio.ensure_future(start())
    try:
        await asyncio.wait({starting})
    except asyncio.CancelledError as cancelled:
        if may_have_been_sent(request):
            try:
                await _before_the_end(fail_if_started(cancelled), NOT_KNOWN)
            finally:
                starting.cancel()
        else:
            await _cancel(starting)
        raise
    return RunningTask(client, starting.result(), attempt, options)


async def _fail_unless_refused(
    client: Client, retry: v1.RetryTaskRequest, refusal: Exception, failed: types.SessionTask, options: TaskOptions
) -> types.SessionTask:
    """Fails a run that may have begun, though nobody has said so: the daemon would wait for its worker. Returns the task
    as it is then, or as it was if the run has not begun."""
    if not may_have_begun(retry, refusal):
        return failed
    failure = options.failure_of_retry(refusal, failed)
    try:
        return await _said(lambda: client.fail_task(retry.session_id, retry.task_id, **failure))
    except Exception as again:
        if not nothing_was_started(again):
            log.warning("%s: %s", NOT_KNOWN, again)
        return failed


async def _run(
    running: RunningTask, work: Callable[[RunningTask], Awaitable[Mapping[str, Any] | None]]
) -> tuple[BaseException | None, Mapping[str, Any] | None]:
    working = asyncio.ensure_future(_awaited(work, running))
    keeper = asyncio.ensure_future(running._keep_alive())
    over = asyncio.ensure_future(running._over.wait())
    cancelled: BaseException | None = None  # From outside.
    try:
        await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    except asyncio.CancelledError as outer:
        cancelled = outer
    for each in (working, keeper, over):
        each.cancel()
    try:
        await asyncio.wait({working, keeper, over})
    except asyncio.CancelledError as outer:
        cancelled = outer
    if cancelled is not None:
        return cancelled, None
    try:
        return None, working.result()
    except asyncio.CancelledError as error:
        return running._ended or error, None
    except BaseException as error:  # Whatever it is, the daemon is told.
        return error, None


async def _awaited(
    work: Callable[[RunningTask], Awaitable[Mapping[str, Any] | None]], running: RunningTask
) -> Mapping[str, Any] | None:
    return await work(running)


async def _complete(running: RunningTask, result: Mapping[str, Any]) -> types.SessionTask:
    client, options = running._client, running._options
    ended: dict[str, Any] = {"advance_to_stage": options.end_stage, "actor": options.actor, "reason": options.reason}
    ended["request_id"] = running._request_ids["completion"]
    try:
        complete = client.complete_task(running.session_id, running.task_id, result=result, **ended)
        return await _tell(running, complete)
    except Refused as refusal:
        if not passes_by_itself(refusal):
            # Otherwise the daemon would wait for this worker until its heartbeat_timeout.
            await _try_to_fail(running, refusal)
        raise


async def _try_to_fail(running: RunningTask, error: BaseException) -> None:
    """Fails the task, if it is still this worker's, beside another error that is raised in any case."""
    if running._ended is not None:
        return
    try:
        await _fail(running, error, retried=False)
    except Exception as again:
        log.warning("The task %s of %s could not be failed: %s", running.task_id, running.session_id, again)


async def _fail(running: RunningTask, error: BaseException, retried: bool) -> types.SessionTask:
    """Tells that the work failed. What the daemon refuses is said again with the defaults only."""
    options = running._options

    def tell(what: str, failure: dict[str, Any]) -> Awaitable[types.SessionTask]:
        failure["request_id"] = running._request_ids[what]
        return _tell(running, running._client.fail_task(running.session_id, running.task_id, **failure))

    try:
        try:
            return await tell("failure", options.failure(error, running.task, retried))
        except Refused as refusal:
            if passes_by_itself(refusal):
                raise
            log.warning("What a failed task is recorded with was refused: %s", refusal)
            return await tell("bare failure", options.bare_failure(error, running.task, retried))
    except TaskEnded as ended:
        raise ended from error


async def _tell(running: RunningTask, call: Awaitable[types.SessionTask]) -> types.SessionTask:
    """Tells how the work ended; it may have been wanted no more."""
    try:
        return await call
    except Refused as refusal:
        await running._look(refusal)
        if running._ended is not None:
            raise running._ended from refusal
        raise


async def _said(tell: Callable[[], Coroutine[Any, Any, types.SessionTask]]) -> types.SessionTask:
    """Tells how the work ended, even if this worker is cancelled meanwhile."""
    telling = asyncio.ensure_future(tell())
    try:
        await asyncio.wait({telling})
    except asyncio.CancelledError:
        try:
            await _before_the_end(_outcome(telling, tell), NOT_TOLD)
        finally:
            telling.cancel()
        raise
    return telling.result()


async def _outcome(
    calling: asyncio.Future[types.SessionTask], again: Callable[[], Coroutine[Any, Any, types.SessionTask]]
) -> types.SessionTask:
    """What came of a call, which is made again with the same request_id when that is not known. It may have been
    cancelled beside the worker: asyncio.run, when it ends, cancels all tasks that are left."""
    await asyncio.wait({calling})
    if not calling.cancelled():
        error = calling.exception()
        if not (isinstance(error, Refused) and passes_by_itself(error)):
            return calling.result()
    return await again()


async def _before_the_end(saying: Coroutine[Any, Any, Any], otherwise: str) -> None:
    """The last words of a worker that is being ended itself: they are waited for, and not for long."""
    said = asyncio.ensure_future(saying)
    try:
        await asyncio.wait({said}, timeout=_LAST_WORDS_SECONDS)
    finally:
        said.cancel()
    if not said.done() or said.cancelled():
        log.warning("%s in the %.0f s that its worker had left.", otherwise, _LAST_WORDS_SECONDS)
    elif said.exception() is not None:
        log.warning("%s: %s", otherwise, said.exception())
