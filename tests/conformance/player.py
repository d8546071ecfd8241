"""Plays one scenario: sends its steps to the adapter, makes its faults, and judges what comes of it."""

import functools
import pathlib
import tempfile
import time
import uuid

import certificates
from contract import camel
from daemons import NotThere
from matching import differences, substituted
from proxy import Proxy, tls_context

LISTS = {
    "list_sessions": "ListSessions",
    "list_session_events": "ListSessionEvents",
    "list_tasks": "ListTasks",
    "list_errors": "ListErrors",
    "list_messages": "ListMessages",
    "list_artifacts": "ListArtifacts",
    "list_workflows": "ListWorkflows",
    "list_recoverable_sessions": "ListRecoverableSessions",
}
# A try may come this much earlier than it was asked to: clocks are read before and behind a socket.
TOLERANCE_SECONDS = 0.03
# What a deadline may be longer by than was asked for: gRPC sends it with as few as three digits, rounded up.
ROUNDING = 1.01
# What a client waits at least when nobody tells it how long.
PAUSE_SECONDS = 0.01
KNOWN = {
    *{"op", "args", "options", "client", "other", "fault", "daemon", "seen", "awaits", "file", "content", "expect"},
    *{"refused", "save", "took_s", "until_s", "background", "repeat", "about", "access_file"},
}


class Wrong(Exception):
    """It is not as the scenario expects."""


class Player:
    def __init__(self, scenario, adapter, daemon, contract, hello, sabotage=None, trace=False):
        self._scenario = scenario
        self._adapter = adapter
        self._daemon = daemon
        self._contract = contract
        self._hello = hello
        self._trace = trace
        self._clients = []
        self._background = {}
        self._directory = tempfile.TemporaryDirectory(prefix="sessiond-conformance-")
        tls = self._tls(scenario.get("tls"))
        self._proxy = Proxy(contract, lambda: daemon.address, sabotage, tls)
        namespace = "c-" + uuid.uuid4().hex[:12]
        # Of the names of those clients and watches that other scenarios, played at the same time, may use too.
        self._prefix = namespace + "." if scenario.get("waits") else ""
        self._names = {
            "namespace": namespace,
            "uuid": str(uuid.uuid4()),
            "language": hello["language"],
            "version": hello["version"],
            "address": self._proxy.address,
            "file": {},
            "tls": {name: str(pathlib.Path(self._directory.name, f"{name}.pem")) for name in certificates.FILES},
        }

    def play(self):
        """Raises Wrong, adapters.Broken, or NotThere."""
        where = "connect"
        try:
            connect = self._scenario.get("connect", {})
            if connect is not False:
                connect = substituted({"address": self._proxy.address, **connect}, self._names)
                self._connect(self._prefix + "main", connect)
            for number, step in enumerate(self._scenario["steps"], 1):
                for turn in range(1, step.get("repeat", 1) + 1):
                    self._names["n"] = turn
                    where = f"step {number}, {_title(step)}" + (f", time {turn}" if turn > 1 else "")
                    self._step(step)
            where = "at the end"
            self._check_all()
        except Wrong as wrong:
            raise Wrong(f"{where}: {wrong}{self._seen_so_far()}") from None
        except (KeyError, ValueError) as error:
            raise Wrong(f"{where}: {error}") from None

    def close(self):
        """Closes what was opened; the daemon runs again behind it."""
        try:
            for client in self._clients:
                if self._adapter.runs:
                    self._adapter.ask("disconnect", client)
        finally:
            self._proxy.close()
            self._directory.cleanup()
            self._daemon.start()

    def _step(self, step):
        unknown = set(step) - KNOWN
        if unknown:
            raise Wrong(f"the scenario is wrong: there is no {', '.join(sorted(unknown))}")
        step = substituted(step, self._names)
        if "op" in step:
            self._op(step)
        elif "awaits" in step:
            begun, answers = self._background.pop(step["awaits"])
            self._judge(step, self._adapter.answer(answers), time.monotonic() - begun)
        elif "other" in step:
            self._until(step, lambda: {"ok": self._daemon.call(step["other"], step.get("args", {}))})
        elif "seen" in step:
            self._until(step, lambda: {"ok": self._proxy.seen(step["seen"])})
        elif "fault" in step:
            self._proxy.fault(step["fault"])
        elif "daemon" in step:
            start = functools.partial(self._daemon.start, step.get("access_file"))
            {"kill": self._daemon.kill, "terminate": self._daemon.terminate, "start": start}[step["daemon"]]()
        elif "file" in step:
            path = pathlib.Path(self._directory.name, step["file"])
            path.write_text(step["content"])
            self._names["file"][step["file"]] = str(path)
        else:
            raise Wrong("the scenario is wrong: the step says nothing to do")

    def _op(self, step):
        client = self._prefix + step.get("client", "main")
        if step["op"] == "connect":
            self._connect(client, step.get("args", {}))
            return
        if step["op"] == "disconnect":
            self._clients.remove(client)
        if step["op"].startswith("watch_"):
            step["args"]["watch"] = self._prefix + step["args"]["watch"]
        if "background" in step:
            begun = time.monotonic()
            answers = self._adapter.send(step["op"], client, step.get("args"), step.get("options"))
            self._background[step["background"]] = (begun, answers)
            return

        def ask():
            before = len(self._proxy.requests)
            answer = self._adapter.ask(step["op"], client, step.get("args"), step.get("options"))
            if not self._background:
                self._check_attempts(step, self._proxy.requests[:before], self._proxy.requests[before:])
            return answer

        self._until(step, ask)

    def _connect(self, client, args):
        self._clients.append(client)
        answer = self._adapter.ask("connect", client, args)
        if "error" in answer:
            raise Wrong(f"connect is refused: {answer['error']}")

    def _until(self, step, ask):
        """Judges an answer; where the step says so, again and again until it is as expected."""
        begun = time.monotonic()
        while True:
            asked = time.monotonic()
            answer = ask()
            try:
                self._judge(step, answer, time.monotonic() - asked)
                return
            except Wrong:
                if time.monotonic() - begun >= step.get("until_s", 0):
                    raise
            time.sleep(0.02)

    def _judge(self, step, answer, took):
        if "refused" in step:
            if "error" not in answer:
                raise Wrong(f"it is not refused; the answer is {_short(answer['ok'])}")
            wrong = differences(step["refused"], answer["error"])
        else:
            if "error" in answer:
                raise Wrong(f"it is refused: {_short(answer['error'])}")
            wrong = differences(step["expect"], answer["ok"]) if "expect" in step else []
        least, most = step.get("took_s", (0, float("inf")))
        if not least <= took <= most:
            wrong.append(f"it took {took:.2f} s, not {least} to {most} s")
        if wrong:
            raise Wrong("; ".join(wrong))
        if "save" in step:
            self._names[step["save"]] = answer.get("ok", answer.get("error"))

    def _check_attempts(self, step, earlier, during):
        """What holds of the attempts of one call."""
        method = LISTS.get(step["op"], camel(step["op"]))
        if method not in self._contract.methods or step["op"] == "run_task":
            return
        attempts = [each for each in during if each.method == method]
        asked = step.get("options", {}).get("timeout_s") or (self._scenario.get("connect") or {}).get("timeout_s")
        for attempt in attempts:
            if asked and attempt.timeout_s and attempt.timeout_s > asked * ROUNDING + TOLERANCE_SECONDS:
                raise Wrong(f"{method} has a deadline of {attempt.timeout_s} s, where {asked} s were asked for")
        for attempt, following in zip(attempts, attempts[1:]):
            if attempt.outcome == "OK" and step["op"] in LISTS:
                continue  # The next page.
            if attempt.outcome not in ("UNAVAILABLE", "CUT", "RESET", None):
                raise Wrong(f"{method} is tried again after {attempt.outcome}")
            if attempt.not_before and following.time < attempt.not_before - TOLERANCE_SECONDS:
                early = attempt.not_before - following.time
                raise Wrong(f"{method} is tried again {early:.3f} s before it was asked to")
            if attempt.outcome == "UNAVAILABLE" and following.time < attempt.time + PAUSE_SECONDS:
                raise Wrong(f"{method} is tried again without a pause")
        if self._contract.changes(method):
            ids = {each.request_id for each in attempts}
            if len(ids) > 1:
                raise Wrong(f"the attempts of one {method} have different request_ids: {sorted(ids)}")
            own = step.get("args", {}).get("request_id")
            if own and ids - {own}:
                raise Wrong(f"{method} has the request_id {ids}, where {own} was given")
            if not own and ids & {each.request_id for each in earlier}:
                raise Wrong(f"{method} has a request_id that was used before: {ids}")

    def _check_all(self):
        """What holds of every request that the proxy saw."""
        for request in self._proxy.requests:
            if request.method not in self._contract.methods:
                continue
            if not self._contract.streams(request.method) and request.timeout_s is None:
                raise Wrong(f"{request.method} has no deadline")
            if self._contract.changes(request.method) and not request.request_id:
                raise Wrong(f"{request.method} has no request_id")
            agent = request.metadata.get("user-agent", "")
            wanted = "sessiond-{language}/{version}".format(**self._hello)
            if not agent.startswith(wanted):
                raise Wrong(f"{request.method} has the user-agent {agent!r}, which does not begin with {wanted!r}")

    def _tls(self, kind):
        if not kind:
            return None
        folder = pathlib.Path(self._directory.name)
        certificates.make(folder)
        client_ca = folder / "ca.pem" if kind == "mutual" else None
        return tls_context(folder / "server.pem", folder / "server_key.pem", client_ca)

    def _seen_so_far(self):
        if not self._trace:
            return ""
        return "".join(f"\n    proxy: {request}" for request in self._proxy.requests)


def _title(step):
    for kind in ("op", "other", "seen", "awaits", "daemon", "file"):
        if kind in step:
            return step[kind] if kind == "op" else f"{kind} {step[kind]}"
    return f"fault {step['fault']['kind']}" if "fault" in step else "?"


def _short(value):
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + " …"


__all__ = ["NotThere", "Player", "Wrong"]
