"""The task runner: a task is started, kept alive while the work runs, and ended as the work ended.

def work(task):
    for n, page in enumerate(pages):
        task.report({"done": n})    # Raises TaskCancelled when nobody wants it any more.
        export(page)
    return {"pages": len(pages)}

client.run_task(session_id, "export", work, attempts=3)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import threading
import traceback
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct

from sessiond import _convert, _methods, types, v1
from sessiond._connection import FAILURES, Backoff, log
from sessiond._method import Method
from sessiond._watching import passes_by_itself
from sessiond.errors import FailedPrecondition, NotFound, Refused, SessiondError

if TYPE_CHECKING:
    from sessiond.client import Client

__all__ = ["RunningTask", "TaskCancelled", "TaskFailed", "TaskLost"]

Start = Method[Any, v1.SessionTask, types.SessionTask]

# Seconds between two runs; longer than between two calls, because work that failed takes what it takes.
RETRY_PAUSE = 0.1
RETRY_PAUSE_MAX = 10.0
# What the contract takes, in bytes. A trace is in a Struct, of 64 KiB in all.
_MESSAGE_MAX = 4096
_NAME_MAX = 256
_TRACE_MAX = 16384

NOT_KNOWN = "Whether a task was started could not be found out"
NOT_RECORDED = "that could not be recorded"
NOT_RUN_AGAIN = "it could not be run again"


class TaskEnded(SessiondError):
    """A task did not end well."""

    def __init__(self, message: str, task: types.SessionTask, attempts: int) -> None:
        super().__init__(message)
        #: As the runner last saw it.
        self.task = task
        #: How often the work was run.
        self.attempts = attempts


class TaskFailed(TaskEnded):
    """The work raised, and is not, or no more, tried again; its exception is the cause."""

    def __init__(
        self, message: str, task: types.SessionTask, attempts: int, refusal: Exception | None = None
    ) -> None:
        super().__init__(message, task, attempts)
        #: What kept the failure from being recorded, or the work from being run again where it was to be: a `Refused`,
        #: or what gRPC raises when the client was closed meanwhile.
        self.refusal = refusal


class TaskCancelled(TaskEnded):
    """Somebody cancelled the task, or its session was stopped, failed or deleted."""


class TaskLost(TaskEnded):
    """The task is not this worker's any more: it was silent for too long, or another run took over."""


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    attempts: int
    start_stage: str
    end_stage: str
    heartbeat_timeout: float
    heartbeat_interval: float | None
    describe: Callable[[BaseException], Mapping[str, Any]] | None
    actor: str
    reason: str

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; at least 1.")
        if not 1 <= self.heartbeat_timeout <= 2_592_000:
            raise ValueError(f"heartbeat_timeout is {self.heartbeat_timeout}; 1 to 2592000 seconds.")
        if self.heartbeat_interval is not None and not 0 < self.heartbeat_interval < self.heartbeat_timeout:
            raise ValueError(
                f"heartbeat_interval is {self.heartbeat_interval}; above 0 and below heartbeat_timeout, "
                f"which is {self.heartbeat_timeout}."
            )

    @property
    def interval(self) -> float:
        return self.heartbeat_interval or self.heartbeat_timeout / 3

    @property
    def heartbeat_call_timeout(self) -> float:
        """A heartbeat that takes longer than this comes too late."""
        return max(self.heartbeat_timeout - self.interval, self.interval)

    def start_request(self, session_id: str, task_type: str) -> v1.StartTaskRequest:
        request = v1.StartTaskRequest(
            session_id=session_id,
            task_type=task_type,
            advance_to_stage=self.start_stage,
            actor=self.actor,
            reason=self.reason,
        )
        _convert.to_duration(self.heartbeat_timeout, request.heartbeat_timeout)
        return request

    def retry_request(self, session_id: str) -> v1.RetryTaskRequest:
        # An id of our own, so that a run of which nothing is known can be failed.
        task_id = str(uuid.uuid4())
        return v1.RetryTaskRequest(session_id=session_id, task_id=task_id, actor=self.actor, reason=self.reason)

    def failure(self, error: BaseException, task: types.SessionTask, retried: bool) -> dict[str, Any]:
        """FailTask's arguments for what the work raised."""
        failure = self.bare_failure(error, task, retried)
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        failure["failure_context"]["trace"] = printable(trace, _TRACE_MAX, end=True)
        if self.describe:
            try:
                described = {**failure["error"], **self.describe(error)}
                described["user_message"] = printable(described["user_message"], _MESSAGE_MAX)
                _convert.to_message(described, v1.SessionError())
                failure["error"] = described
            except FAILURES as wrong:  # The daemon is told all the same.
                log.warning("What describe said of a failed task cannot be recorded: %s", wrong)
        return failure

    def bare_failure(self, error: BaseException, task: types.SessionTask, retried: bool) -> dict[str, Any]:
        """The same with the defaults only: the daemon takes these, whatever the work raised."""
        kind = printable(type(error).__name__, _NAME_MAX)
        said = printable(words(error), _MESSAGE_MAX).strip() or kind
        described = {
            "category": "TEMPORARY" if retried else "ADMIN_REQUIRED",
            "severity": "WARNING",
            "user_message": printable(f"The task {task.task_type} failed: {said}", _MESSAGE_MAX),
            "error_code": kind,
        }
        context = {"message": said, "type": kind}
        return {"failure_context": context, "error": described, "actor": self.actor, "reason": self.reason}

    def failure_of_retry(self, refusal: Exception, task: types.SessionTask) -> dict[str, Any]:
        """The same for a run of which nobody has said whether it began: its work does not take place."""
        failure = self.bare_failure(refusal, task, retried=True)
        failure["error"]["user_message"] = f"The task {task.task_type} was not run again."
        failure["request_id"] = str(uuid.uuid4())
        return failure

    def retries(self, task: types.SessionTask, attempt: int) -> bool:
        """Whether work that failed is run again."""
        return attempt < self.attempts and task.retry_count + 1 < task.max_retries


def words(error: BaseException) -> str:
    """What an error says, or its name when it says nothing. It is the work's, and may be unable to."""
    with contextlib.suppress(*FAILURES):
        said = str(error)
        if said.strip():
            return said
    return type(error).__name__


def task_failed(
    error: BaseException,
    task: types.SessionTask,
    attempts: int,
    but: str = "",
    refusal: Exception | None = None,
) -> TaskFailed:
    """What is raised, from this error of the work's. What was refused beside it is told, and does not hide it."""
    beside = "" if refusal is None else f" (and {but}: {words(refusal)})"
    return TaskFailed(f"The task {task.task_type} failed: {words(error)}{beside}", task, attempts, refusal)


def retry_backoff() -> Backoff:
    return Backoff(RETRY_PAUSE, RETRY_PAUSE_MAX)


def request_ids() -> defaultdict[str, str]:
    """An id for each thing that is told of a run, the same whenever it is told again."""
    return defaultdict(lambda: str(uuid.uuid4()))


def ended_by_others(task: types.SessionTask, now: types.SessionTask | None, attempt: int) -> TaskEnded | None:
    """What became of a run, by the session's task as it is now (None: the session is gone); None when it still runs."""
    if now is None:
        return TaskCancelled("The session is gone, and its task with it.", task, attempt)
    if now.task_id != task.task_id:
        return TaskLost(f"Another run, {now.task_id}, took over from {task.task_id}.", task, attempt)
    if now.status == types.SessionTaskStatus.CANCELLED:
        return TaskCancelled("The task was cancelled.", now, attempt)
    if now.status == types.SessionTaskStatus.FAILED:
        return TaskLost("The daemon gave the worker up, or somebody failed the task.", now, attempt)
    if now.status == types.SessionTaskStatus.COMPLETED:
        return TaskLost("Somebody else completed the task.", now, attempt)
    return None


def checked_result(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What the work returned. Raises when JSON cannot carry it."""
    result = {} if result is None else result
    if not isinstance(result, Mapping):
        raise TypeError(f"The work returned a {type(result).__name__}; a result is a dict, or None.")
    _convert.to_struct(result, Struct())
    return result


def may_have_been_sent(request: Any) -> bool:
    """Whether the daemon may know of a change: a request has no id of the client's until it is sent."""
    return bool(request.request_id)


def may_have_begun(retry: v1.RetryTaskRequest, refusal: Exception) -> bool:
    """Whether there may be a run, though this was raised in place of an answer."""
    return may_have_been_sent(retry) and not nothing_was_started(refusal)


def nothing_was_started(error: BaseException) -> bool:
    """Whether what a start raised, made again until it was answered, says that there is no run."""
    return isinstance(error, Refused) and not passes_by_itself(error)


def may_be_over(error: Exception) -> bool:
    """Whether what a report raised may mean that the task is over."""
    return isinstance(error, (FailedPrecondition, NotFound))


class RunningTask:
    """What the work is given. Any thread may use it."""

    def __init__(self, client: Client, task: types.SessionTask, attempt: int, options: TaskOptions) -> None:
        self._client = client
        self._options = options
        self._lock = threading.Lock()
        self._ended: TaskEnded | None = None
        self._over = threading.Event()
        self._done = threading.Event()
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

    def check(self) -> None:
        """Raises TaskCancelled or TaskLost when the result is wanted no more."""
        if self._ended is not None:
            raise self._ended

    def sleep(self, seconds: float) -> None:
        """Waits, and raises at once when the result is wanted no more."""
        self._over.wait(seconds)
        self.check()

    def report(self, progress: Mapping[str, Any]) -> None:
        """Tells how far the work has come, in place of what was told before. It is a sign of life, too."""
        self.check()
        try:
            self._last = self._client.report_task_progress(self.session_id, self.task_id, progress=progress)
        except Refused as refusal:
            self._look(refusal)
            self.check()
            raise

    def _look(self, error: Exception) -> None:
        """Finds out whether what a call raised means that the task is over."""
        if not may_be_over(error):
            return
        try:
            now: types.SessionTask | None = self._client.get_task(self.session_id, include_deleted=True)
        except NotFound:
            now = None
        except Exception:  # Where it cannot be asked, what the call raised has to do.
            return
        self._end(ended_by_others(self._last, now, self.attempt))

    def _end(self, ended: TaskEnded | None) -> None:
        with self._lock:
            if ended is not None and self._ended is None:
                self._ended = ended
                self._over.set()

    def _keep_alive(self) -> None:
        """Gives signs of life until the work is done. One that fails is made good by the next."""
        while not self._done.wait(self._options.interval):
            try:
                self._last = self._client.report_task_progress(
                    self.session_id, self.task_id, timeout=self._options.heartbeat_call_timeout
                )
            except Exception as error:  # A hook of the caller's may raise anything.
                if self._client._closed.is_set():
                    return
                self._look(error)
                if self.cancelled:
                    return
                log.warning("A heartbeat of the task %s of %s failed: %s", self.task_id, self.session_id, error)


def run_task(
    client: Client,
    session_id: str,
    task_type: str,
    work: Callable[[RunningTask], Mapping[str, Any] | None],
    options: TaskOptions,
) -> types.SessionTask:
    attempt = 1
    backoff = retry_backoff()
    running = _started(client, _methods.START_TASK, options.start_request(session_id, task_type), attempt, options)
    while True:
        error, result = _run(running, work)
        if error is not None and not isinstance(error, Exception):
            # The program is being ended, and that goes on whatever becomes of the task.
            _try_to_fail(running, error)
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
                return _said(functools.partial(_complete, running, result))
        try:
            failed = _said(functools.partial(_fail, running, error, retried))
        except TaskEnded:
            raise
        except Exception as refusal:
            raise task_failed(error, running.task, attempt, NOT_RECORDED, refusal) from error
        if not (retried and failed.retryable):
            raise task_failed(error, failed, attempt) from error
        pause = backoff.pause()
        log.info("The task %s of %s is tried again in %.3f s: %s", task_type, session_id, pause, words(error))
        if client._closed.wait(pause):
            raise task_failed(error, failed, attempt) from error
        retry = options.retry_request(session_id)
        try:
            running = _started(client, _methods.RETRY_TASK, retry, attempt + 1, options)
        except Exception as refusal:
            seen = _fail_unless_refused(client, retry, refusal, failed, options)
            raise task_failed(error, seen, attempt, NOT_RUN_AGAIN, refusal) from error
        attempt += 1


def _started(client: Client, method: Start, request: Any, attempt: int, options: TaskOptions) -> RunningTask:
    """Starts a task, or another run of it. When the program is ended meanwhile, the run is failed: nobody else knows of
    it."""
    try:
        return RunningTask(client, client._call(method, request, None), attempt, options)
    except Exception:
        raise
    except BaseException as error:
        if may_have_been_sent(request):
            try:
                task = client._call(method, request, None)
            except Exception as again:
                if not nothing_was_started(again):
                    log.warning("%s: %s", NOT_KNOWN, again)
            else:
                _try_to_fail(RunningTask(client, task, attempt, options), error)
        raise


def _fail_unless_refused(
    client: Client, retry: v1.RetryTaskRequest, refusal: Exception, failed: types.SessionTask, options: TaskOptions
) -> types.SessionTask:
    """Fails a run that may have begun, though nobody has said so: the daemon would wait for its worker. Returns the task
    as it is then, or as it was if the run has not begun."""
    if not may_have_begun(retry, refusal):
        return failed
    failure = options.failure_of_retry(refusal, failed)
    try:
        return _said(lambda: client.fail_task(retry.session_id, retry.task_id, **failure))
    except Exception as again:
        if not nothing_was_started(again):
            log.warning("%s: %s", NOT_KNOWN, again)
        return failed


def _run(
    running: RunningTask, work: Callable[[RunningTask], Mapping[str, Any] | None]
) -> tuple[BaseException | None, Mapping[str, Any] | None]:
    keeper = threading.Thread(target=running._keep_alive, name=f"sessiond-task-{running.task_id[:8]}", daemon=True)
    error: BaseException | None = None
    result: Mapping[str, Any] | None = None
    try:
        keeper.start()
        result = work(running)
    except BaseException as raised:  # Whatever it is, the daemon is told.
        error = raised
    try:
        running._done.set()
        if keeper.is_alive():  # There may have been no thread left for it.
            keeper.join()
    except BaseException as interrupted:
        error = interrupted
    return error, result


def _complete(running: RunningTask, result: Mapping[str, Any]) -> types.SessionTask:
    client, options = running._client, running._options
    ended: dict[str, Any] = {"advance_to_stage": options.end_stage, "actor": options.actor, "reason": options.reason}
    ended["request_id"] = running._request_ids["completion"]
    try:
        return _tell(running, lambda: client.complete_task(running.session_id, running.task_id, result=result, **ended))
    except Refused as refusal:
        if not passes_by_itself(refusal):
            # Otherwise the daemon would wait for this worker until its heartbeat_timeout.
            _try_to_fail(running, refusal)
        raise


def _try_to_fail(running: RunningTask, error: BaseException) -> None:
    """Fails the task, if it is still this worker's, beside another error that is raised in any case."""
    if running._ended is not None:
        return
    try:
        _fail(running, error, retried=False)
    except Exception as again:
        log.warning("The task %s of %s could not be failed: %s", running.task_id, running.session_id, again)


def _fail(running: RunningTask, error: BaseException, retried: bool) -> types.SessionTask:
    """Tells that the work failed. What the daemon refuses is said again with the defaults only."""
    options = running._options

    def tell(what: str, failure: dict[str, Any]) -> types.SessionTask:
        failure["request_id"] = running._request_ids[what]
        return _tell(running, lambda: running._client.fail_task(running.session_id, running.task_id, **failure))

    try:
        try:
            return tell("failure", options.failure(error, running.task, retried))
        except Refused as refusal:
            if passes_by_itself(refusal):
                raise
            log.warning("What a failed task is recorded with was refused: %s", refusal)
            return tell("bare failure", options.bare_failure(error, running.task, retried))
    except TaskEnded as ended:
        raise ended from error


def _tell(running: RunningTask, call: Callable[[], types.SessionTask]) -> types.SessionTask:
    """Tells how the work ended; it may have been wanted no more."""
    try:
        return call()
    except Refused as refusal:
        running._look(refusal)
        if running._ended is not None:
            raise running._ended from refusal
        raise


def _said(tell: Callable[[], types.SessionTask]) -> types.SessionTask:
    """Tells how the work ended, even if the program is interrupted meanwhile: then it is told again, with the same
    request_id, because nobody knows what the daemon has heard."""
    try:
        return tell()
    except Exception:
        raise
    except BaseException:
        try:
            tell()
        except Exception as again:
            log.warning("A task's end could not be told: %s", again)
        raise


def printable(text: str, bytes_max: int, end: bool = False) -> str:
    """The text's beginning, or its end, as the contract takes it: in UTF-8, without control characters."""
    text = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text)
    encoded = text.encode()
    return (encoded[-bytes_max:] if end else encoded[:bytes_max]).decode(errors="ignore")
