"""A client adapter: a process that answers JSON lines with JSON lines."""

import collections
import json
import queue
import subprocess
import sys
import threading

PATIENCE_SECONDS = 90


class Broken(Exception):
    """The adapter does not do what the protocol says."""


class Adapter:
    def __init__(self, command, trace=False):
        self._trace = trace
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
            )
        except OSError as error:
            raise Broken(f"{command[0]} does not start: {error.strerror}") from None
        self._ids = 0
        self._waiting = {}
        self._lock = threading.Lock()
        self._ended = False
        self.stderr = collections.deque(maxlen=200)
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def runs(self):
        return not self._ended and self._process.poll() is None

    def send(self, op, client=None, args=None, options=None):
        """Sends a request. Answers with where its answer will be, for `answer`."""
        answers = queue.Queue()
        with self._lock:
            if self._ended:
                raise Broken("The adapter has ended." + self.last_words())
            self._ids += 1
            request = {"id": self._ids, "op": op}
            for name, value in (("client", client), ("args", args), ("options", options)):
                if value is not None:
                    request[name] = value
            self._waiting[self._ids] = answers
            line = json.dumps(request, ensure_ascii=False)
            self._show(">", line)
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except OSError:
                raise Broken("The adapter has ended." + self.last_words()) from None
        return answers

    def answer(self, answers, patience=PATIENCE_SECONDS):
        try:
            answer = answers.get(timeout=patience)
        except queue.Empty:
            raise Broken(f"The adapter did not answer within {patience} s.") from None
        if answer is None:
            raise Broken("The adapter ended without an answer." + self.last_words())
        if "broken" in answer:
            raise Broken(f"The adapter is broken: {answer['broken']}")
        if "unsupported" in answer:
            raise Broken(f"The adapter does not support this: {answer['unsupported']}")
        if ("ok" in answer) == ("error" in answer):
            raise Broken(f"The adapter's answer is neither ok nor error: {answer}")
        return answer

    def ask(self, op, client=None, args=None, options=None):
        return self.answer(self.send(op, client, args, options))

    def close(self):
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def last_words(self):
        return "".join(f"\n    {line}" for line in list(self.stderr)[-15:])

    def _read(self):
        for line in self._process.stdout:
            self._show("<", line.rstrip())
            try:
                answer = json.loads(line)
                answers = self._waiting.pop(answer["id"])
            except (ValueError, KeyError, TypeError):
                self.stderr.append(f"This is no answer: {line.rstrip()[:300]}")
                continue
            answers.put(answer)
        with self._lock:
            self._ended = True
            for answers in self._waiting.values():
                answers.put(None)

    def _read_stderr(self):
        for line in self._process.stderr:
            self.stderr.append(line.rstrip())
            self._show("!", line.rstrip())

    def _show(self, direction, line):
        if self._trace:
            print(f"    {direction} {line}", file=sys.stderr)
