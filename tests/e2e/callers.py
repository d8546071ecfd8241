"""Calls that go on while what they go to is restarted, each until it succeeds: as back ends make them."""

import collections
import threading
import time
import uuid

PATIENCE_SECONDS = 60
# As whoever is told UNAVAILABLE waits before trying again.
PAUSE_SECONDS = 0.05


class Callers:
    """Threads that create a session, read it, create the next, until they are told to stop."""

    def __init__(self, connection, count):
        """`connection`: a context for each thread, of a function that makes one attempt at a call and answers with
        what came of it, if it succeeded, and with how it ended: `OK`, or anything else."""
        self._connection = connection
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._errors = []
        self.namespace = "callers-" + uuid.uuid4().hex[:8]
        # Of all attempts, how they ended.
        self.ends = collections.Counter()
        self.created = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """What has begun is tried until it succeeds."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors

    def await_answers(self, count):
        """Until so many calls more have succeeded."""
        with self._changed:
            wanted = self.ends["OK"] + count
            assert self._changed.wait_for(lambda: self.ends["OK"] >= wanted, PATIENCE_SECONDS)

    def _run(self):
        try:
            with self._connection() as attempt:
                while not self._stop.is_set():
                    self._create_and_read(attempt)
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self._errors.append(error)

    def _create_and_read(self, attempt):
        session = {"workflow": "interview", "ownerId": "o", "namespace": self.namespace}
        request = {"session": session, "requestId": str(uuid.uuid4())}
        created = self._until_done(attempt, "CreateSession", request)
        with self._changed:
            self.created += 1
        self._until_done(attempt, "GetSession", {"sessionId": created["sessionId"]})

    def _until_done(self, attempt, method, request):
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer, end = attempt(method, request)
            with self._changed:
                self.ends[end] += 1
                self._changed.notify_all()
            if end == "OK":
                return answer
            assert time.monotonic() < give_up, f"{method} succeeds at no attempt: {end}"
            time.sleep(PAUSE_SECONDS)
