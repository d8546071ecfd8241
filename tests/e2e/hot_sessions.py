"""Callers who all work at the same few sessions, through all daemons at once, and write down what
they ask and what they are told: for test_robustness.py, which makes daemons and PostgreSQL fail
meanwhile, and for history.py, which judges.

Each change has a request id, with which it is sent again until its outcome is known, to either
daemon; some are sent to both at once, some once more after they were answered, and of some nobody
asks again.
"""

import collections
import dataclasses
import itertools
import random
import threading
import time
import uuid

import grpc
from conftest import Refused
from history import OK, REFUSED, UNKNOWN, Checker, Read, Request, Sent, Wanted, event_of, state_of, task_of

SESSIONS = 10
# So many of them have tasks: while one runs, its session is not cached.
WITH_TASKS = 3
CALLERS = 16
# Its sessions have all that callers change here.
WORKFLOW = {
    "name": "hot",
    "id_format": "UUID",
    "stages": [{"name": "work"}, {"name": "over"}],
    "statuses": [
        {"name": "over", "completed": True},
        {"name": "failed", "failed": True},
        {"name": "stopped", "states": ["STOPPED", "DELETED"]},
        {"name": "paused", "states": ["PAUSED"]},
        {"name": "active"},
    ],
    "fields": [{"name": "place", "type": "STRING"}],
    "counters": ["count"],
    "message_types": [{"name": "note"}],
    "task_types": [{"name": "chore", "stages": ["work"]}],
}
# The events that a session has when the load begins: it was created.
SETUP = 1
# A frozen daemon is left for the other one.
CALL_SECONDS = 4
# What a change may take, all its repetitions together.
CHANGE_SECONDS = 120
# A connection that a kill has broken is made again at once.
CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]
# Answers that leave it open what happened; CONFLICT and OVERLOADED ask to be sent again, too.
OPEN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "RESOURCE_EXHAUSTED")
# Refusals that the state of the session is the reason of.
REASONS = (
    "ETAG_MISMATCH", "SESSION_NOT_ACTIVE", "INVALID_TRANSITION", "TASK_ALREADY_RUNNING", "TASK_NOT_RUNNING",
    "TASK_COMPLETED", "STALE_TASK",
)  # fmt: skip
# While the load is `apart`, each session has a daemon that so many of its changes go to: it decides by
# what it has cached (docs/lane-cache.md), until the other one comes in between.
AT_HOME = 0.96
# What is refused by what was cached too long shows only where nobody else changes anything meanwhile. So
# some callers have a session of their own: so many changes at its daemon, which then caches it, one at the
# other, and one at the first by the etag that this one left behind.
OWN = 4
OWN_ROUND = 12
ENDED_TASK = (None, "COMPLETED", "CANCELLED")
# No worker falls silent: that would be the daemon's own change.
HEARTBEAT = "2592000s"


class Door:
    """A daemon as callers reach it, from one start to its end."""

    def __init__(self, contract, address, number):
        self.number = number
        self._contract = contract
        self.channel = grpc.insecure_channel(address, options=CHANNEL)
        self._calls = {}

    def call(self, method):
        if method not in self._calls:
            self._calls[method] = self.channel.unary_unary("/" + self._contract.full(method))
        return self._calls[method]


@dataclasses.dataclass
class Answered:
    """An answer as it came, to be taken apart when everything is over."""

    invoked: float
    returned: float
    outcome: str
    daemon: int
    reply: bytes = None
    reason: str = None


@dataclasses.dataclass
class Change:
    method: str
    session_id: str
    request_id: str
    wanted: Wanted
    calls: list


class Load:
    """The callers, what they know of each other (nothing), and what they were told."""

    def __init__(self, contract, doors, seed, callers=CALLERS):
        """`doors`: a list, one for each daemon; whoever starts a daemon anew replaces its door."""
        self.contract, self.doors = contract, doors
        self.over = threading.Event()
        # Whether daemons have sessions of their own, as behind a proxy that sees to it.
        self.apart = False
        self._sessions = self._create()
        self._last_reads, self._lengths = [], collections.Counter()
        self._callers = [
            Caller(self, f"{seed}/{number}", own)
            for number, own in itertools.zip_longest(range(callers), self._sessions[SESSIONS:])
        ]

    def _create(self):
        self._ask("CreateWorkflow", workflow=WORKFLOW)
        create = {"workflow": "hot"}
        return [self._ask("CreateSession", session=create).session_id for _ in range(SESSIONS + OWN)]

    def _ask(self, method, door=None, **fields):
        """Before and after the load, when nothing fails."""
        answer = (door or self.doors[0]).call(method)(self.contract.request(method, fields), timeout=60)
        return self.contract.method(method)[1].FromString(answer)

    @property
    def session_ids(self):
        return self._sessions

    @property
    def hot_ids(self):
        return self._sessions[:SESSIONS]

    def start(self):
        for caller in self._callers:
            caller.start()

    def stop(self):
        """Lets each caller finish what it has begun."""
        self.over.set()
        for caller in self._callers:
            caller.join()
            assert caller.error is None, caller.error

    def check_alive(self):
        for caller in self._callers:
            assert caller.error is None, caller.error

    @property
    def acknowledged(self):
        return sum(caller.acknowledged for caller in self._callers)

    @property
    def operations(self):
        return sum(caller.operations for caller in self._callers)

    # ---- what became of it

    def served_since(self, moment, daemon):
        """How long behind `moment` a daemon was first known to have made a change; None: never."""
        times = (
            call.returned
            for caller in self._callers
            for change in caller.changes
            for call in change.calls
            if call.daemon == daemon and call.outcome == OK and call.returned > moment
        )
        first = min(times, default=None)
        return None if first is None else first - moment

    def counts(self):
        changes = [change for caller in self._callers for change in caller.changes]
        calls = [call for change in changes for call in change.calls]
        outcomes = [{call.outcome for call in change.calls} for change in changes]
        return {
            "operations": self.operations,
            "request ids": len(changes),
            "acknowledged": sum(OK in outcome for outcome in outcomes),
            "refused": sum(outcome == {REFUSED} for outcome in outcomes),
            "never answered": sum(outcome == {UNKNOWN} for outcome in outcomes),
            "sent again": len(calls) - len(changes),
            "reads": sum(len(caller.reads) for caller in self._callers),
        }

    def check(self, told=None):
        """All violations. `told`: by the name of a watch, by session: the sequences behind SETUP."""
        requests, reads = collections.defaultdict(list), collections.defaultdict(list)
        for caller in self._callers:
            for change in caller.changes:
                requests[change.session_id].append(self._request(change))
        for method, answer in itertools.chain(self._last_reads, *(caller.reads for caller in self._callers)):
            for session in self._sessions_in(method, answer.reply):
                reads[session.session_id].append(
                    Read(session.session_id, answer.invoked, answer.returned, state_of(session), answer.daemon)
                )
        violations = []
        for session_id in self._sessions:
            events = [event_of(event) for event in self._all("ListSessionEvents", "events", session_id)]
            messages = [
                (message.sequence, message.content)
                for message in self._all("ListMessages", "messages", session_id)
            ]
            watched = [(name, SETUP + 1, sessions.get(session_id, [])) for name, sessions in (told or {}).items()]
            violations += Checker(
                session_id, events, requests[session_id], reads[session_id], watched, messages, SETUP
            ).check()
        return violations

    def _all(self, method, field, session_id):
        items, token = [], ""
        while True:
            page = self._ask(method, session_id=session_id, page_size=1000, page_token=token)
            items += getattr(page, field)
            token = page.next_page_token
            if not token:
                return items

    def read_all(self):
        """Once nothing changes any more: each session, at each daemon; answers how many events there
        are in all."""
        for door in self.doors:
            for session_id in self._sessions:
                invoked = time.monotonic()
                session = self._ask("GetSession", door, session_id=session_id)
                answer = Answered(invoked, time.monotonic(), OK, door.number, session.SerializeToString())
                self._last_reads.append(("GetSession", answer))
                self._lengths[session_id] = max(session.sequence, self._lengths[session_id])
        return sum(self._lengths.values())

    def _request(self, change):
        return Request(
            change.session_id, change.request_id, change.wanted,
            [self._sent(change.method, call) for call in change.calls],
        )  # fmt: skip

    def _sent(self, method, call):
        sent = Sent(call.invoked, call.returned, call.outcome, reason=call.reason, daemon=call.daemon)
        if call.outcome == OK:
            reply = self.contract.method(method)[1].FromString(call.reply)
            if method.endswith("Task") or method == "ReportTaskProgress":
                sent.task = task_of(reply)
            elif method == "AppendMessages":
                sent.state = state_of(reply.session)
                sent.messages = (reply.first_sequence, reply.last_sequence)
            else:
                sent.state = state_of(reply)
        return sent

    def _sessions_in(self, method, reply):
        reply = self.contract.method(method)[1].FromString(reply)
        if method == "GetSession":
            return [reply]
        if method == "ListSessions":
            return reply.sessions
        return [result.session for result in reply.results if result.found]


class Caller(threading.Thread):
    """Changes and reads one of the sessions after the other."""

    def __init__(self, load, seed, own):
        """`own`: a session that nobody else changes; None: there is none."""
        super().__init__(daemon=True)
        self._load = load
        self._chance = random.Random(seed)
        # What this caller was told last, by session.
        self._seen = {}
        self._own, self._own_changes = own, 0
        self.changes, self.reads = [], []
        self.acknowledged = self.operations = 0
        self.error = None

    def run(self):
        try:
            while not self._load.over.is_set():
                if self._chance.random() < 0.4:
                    self._read()
                elif self._own and self._load.apart and self._chance.random() < 0.5:
                    self._change_own()
                else:
                    self._change()
                self.operations += 1
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self.error = error

    def _home(self, session_id):
        """The number of the session's daemon, if it has one."""
        return self._load.session_ids.index(session_id) % 2 if self._load.apart else None

    def _door(self, session_id=None):
        home = self._home(session_id) if session_id else None
        if home is not None and self._chance.random() < AT_HOME:
            return self._load.doors[home]
        return self._chance.choice(self._load.doors)

    # ---- reads

    def _read(self):
        session_id = self._chance.choice([*self._load.hot_ids, self._own or self._load.hot_ids[0]])
        drawn = self._chance.random()
        if drawn < 0.85:
            method, fields = "GetSession", {"session_id": session_id}
        elif drawn < 0.95:
            method, fields = "LookupSessions", {"session_ids": self._load.session_ids}
        else:
            method, fields = "ListSessions", {"filter": f'session_id = "{session_id}"'}
        doors = self._load.doors if self._chance.random() < 0.2 else [self._door()]
        reply = self._load.contract.method(method)[1]
        for door in list(doors):
            answer = self._send(door, method, self._load.contract.request(method, fields))
            if answer.outcome == UNKNOWN:
                continue
            assert answer.outcome == OK, f"{method} was refused: {answer.reason}"
            self.reads.append((method, answer))
            if method == "GetSession":
                self._seen[session_id] = reply.FromString(answer.reply)
            elif method == "ListSessions":
                assert len(reply.FromString(answer.reply).sessions) == 1, "a session is not listed"
            else:
                assert all(each.found for each in reply.FromString(answer.reply).results)

    # ---- changes

    def _change(self):
        session_id = self._chance.choice(self._load.hot_ids)
        self._make(session_id, self._draw)

    def _change_own(self):
        step = self._own_changes % OWN_ROUND
        home = self._load.session_ids.index(self._own) % 2
        number = 1 - home if step == OWN_ROUND - 2 else home
        by_etag = step == OWN_ROUND - 1
        self._own_changes += 1
        self._make(
            self._own,
            lambda session_id, request_id: self._draw_label(session_id, request_id, by_etag),
            self._load.doors[number],
        )

    def _make(self, session_id, draw, door=None):
        """A change, drawn by `draw`; first at `door`, if one is said."""
        request_id = str(uuid.UUID(int=self._chance.getrandbits(128)))
        method, fields, wanted = draw(session_id, request_id)
        fields["request_id"] = request_id
        change = Change(method, session_id, request_id, wanted, [])
        self.changes.append(change)
        self._persist(change, self._load.contract.request(method, fields), door)
        answers = [call for call in change.calls if call.outcome == OK]
        if answers:
            self.acknowledged += 1
            self._learn(session_id, self._load.contract.method(method)[1].FromString(answers[-1].reply))

    def _persist(self, change, request, door):
        """Until it is known what became of it; some callers lose interest."""
        home = self._home(change.session_id)
        twins = door is None and self._chance.random() < (0.1 if home is None else 1 - AT_HOME)
        patient = self._chance.random() < 0.9
        give_up = time.monotonic() + CHANGE_SECONDS
        while True:
            if twins:
                change.calls += self._send_to_all(list(self._load.doors), change.method, request)
            else:
                # Who got no answer asks anybody: its daemon may stand still.
                door = door or (
                    self._chance.choice(self._load.doors) if change.calls else self._door(change.session_id)
                )
                change.calls.append(self._send(door, change.method, request))
            if any(call.outcome != UNKNOWN for call in change.calls):
                break
            if not patient:
                return
            twins, door = False, None
            assert time.monotonic() < give_up, "a change got no answer"
            time.sleep(self._chance.uniform(0.01, 0.05))
        if self._chance.random() < 0.03:
            change.calls.append(self._send(self._door(), change.method, request))

    def _learn(self, session_id, reply):
        if hasattr(reply, "first_sequence"):
            self._seen[session_id] = reply.session
        elif hasattr(reply, "etag"):
            self._seen[session_id] = reply

    def _draw(self, session_id, request_id):
        """Method, fields, and what has to come of it."""
        about = {"session_id": session_id}
        seen = self._seen.get(session_id)
        paused = seen is not None and seen.state == type(seen).State.Value("PAUSED")
        drawn = self._chance.random()
        if paused and drawn < 0.5:
            return "ResumeSession", about, Wanted("RESUMED", before={"state": "PAUSED"})
        if drawn < 0.03:
            return "PauseSession", about, Wanted("PAUSED", before={"state": "ACTIVE"})
        if drawn < 0.25:
            return "UpdateSession", {
                "session": {**about}, "counter_increments": {"count": 1},
            }, Wanted("UPDATED", increments={"count": 1})  # fmt: skip
        if drawn < 0.35:
            return "UpdateSession", {
                "session": {**about, "context": {"place": request_id}},
                "update_mask": "context.place",
            }, Wanted("UPDATED", after={"context.place": request_id})  # fmt: skip
        if drawn < 0.5:
            content = {"type": "note", "content": request_id}
            count = self._chance.choice([1, 1, 2])
            return "AppendMessages", {**about, "messages": [content] * count}, Wanted(
                "MESSAGES_APPENDED", before={"state": "ACTIVE"}, messages=count
            )
        if drawn < 0.65 and session_id in self._load.session_ids[:WITH_TASKS]:
            return self._draw_task(about, session_id)
        return self._draw_label(session_id, request_id, by_etag=drawn < 0.8)

    def _draw_label(self, session_id, request_id, by_etag=True):
        key = self._chance.choice("abc")
        fields = {
            "session": {"session_id": session_id, "labels": {key: request_id}},
            "update_mask": f"labels.{key}",
        }
        wanted = Wanted("UPDATED", after={f"labels.{key}": request_id})
        seen = self._seen.get(session_id)
        if seen is not None and by_etag:
            fields["etag"] = seen.etag
            wanted.before = {"etag": seen.etag}
        return "UpdateSession", fields, wanted

    def _draw_task(self, about, session_id):
        seen = self._seen.get(session_id)
        running = seen is not None and seen.current_task.status == 1
        if not running or self._chance.random() < 0.1:
            task_id = str(uuid.UUID(int=self._chance.getrandbits(128)))
            wanted = Wanted(
                "TASK_STARTED",
                before={"state": "ACTIVE", "task.status": ENDED_TASK},
                after={"task.task_id": task_id, "task.status": "RUNNING"},
            )
            fields = {"task_type": "chore", "task_id": task_id, "heartbeat_timeout": HEARTBEAT}
            return "StartTask", {**about, **fields}, wanted
        task_id = seen.current_task.task_id
        before = {"task.task_id": task_id, "task.status": "RUNNING"}
        fields = {**about, "task_id": task_id}
        drawn = self._chance.random()
        if drawn < 0.7:
            share = self._chance.random()
            return "ReportTaskProgress", {**fields, "progress": {"share": share}}, Wanted(
                "TASK_PROGRESSED", before, {"task.progress.share": share}
            )
        method, kind, status = self._chance.choice(
            [("CompleteTask", "TASK_COMPLETED", "COMPLETED"), ("CancelTask", "TASK_CANCELLED", "CANCELLED")]
        )
        return method, fields, Wanted(kind, before, {"task.status": status})

    # ---- calls

    def _send(self, door, method, request):
        invoked = time.monotonic()
        try:
            reply = door.call(method)(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            return self._refused(error, invoked, door)
        return Answered(invoked, time.monotonic(), OK, door.number, reply)

    def _send_to_all(self, doors, method, request):
        invoked = time.monotonic()
        futures = [door.call(method).future(request, timeout=CALL_SECONDS) for door in doors]
        answers = []
        for door, future in zip(doors, futures):
            try:
                reply = future.result()
                answers.append(Answered(invoked, time.monotonic(), OK, door.number, reply))
            except grpc.RpcError as error:
                answers.append(self._refused(error, invoked, door))
        return answers

    def _refused(self, error, invoked, door):
        returned = time.monotonic()
        refused = Refused(self._load.contract, error)
        if refused.code in OPEN or refused.reason == "CONFLICT":
            return Answered(invoked, returned, UNKNOWN, door.number, reason=refused.code)
        assert refused.reason in REASONS, f"{refused} ({refused.reason})"
        return Answered(invoked, returned, REFUSED, door.number, reason=refused.reason)
