"""What callers did and were told, held against the audit: is there an order in which it all
happened at once?

For sessions in general that is hard to say; here each session's `sequence` is the order. So each
rule is a look-up in something sorted, and all of it takes n log n:

    audit         no gap, and each event begins where its predecessor ended
    once          a request that was acknowledged has one event, one of unknown outcome at most one,
                  one that was refused none; and no event is anybody else's
    effect        each event is what its request asks for, of the state before it
    own           who asked once was answered with the session as the request left it; of several
                  answers to one request, the first is
    unique        no two requests were answered with one sequence as theirs
    order         what began after something else was answered comes behind it; what was read is
                  never older than what was known to anybody before
    state         each answer is the session as its events say, at its sequence
    refusal       each refusal was right at some time between call and answer
    messages      each message of a request that took effect stands once, where the event says
    watch         a watch was told each event once, in order

An event is a dictionary (`event_of`), a state is what `evolved` makes of events. Times are seconds of
one clock.
"""

import bisect
import collections
import dataclasses
import itertools

from google.protobuf import json_format

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"

# What a task's answer is compared by: the rest are times, and heartbeats leave no event.
TASK_FIELDS = ("task_id", "task_type", "status", "retry_count", "progress", "result")
# What does not change an editor's etag.
LEAVE_REVISION = ("MESSAGES_APPENDED", "TASK_PROGRESSED")


@dataclasses.dataclass
class Sent:
    """One call: a request may be sent several times, and to several daemons."""

    invoked: float
    returned: float
    outcome: str
    # Of a session: its state. Of a task: its fields. Nothing, if the outcome is not OK.
    state: dict = None
    task: dict = None
    messages: tuple = None  # The first and the last sequence.
    reason: str = None  # Of a refusal.
    daemon: int = 0


@dataclasses.dataclass
class Request:
    """A change, with all its calls."""

    session_id: str
    request_id: str
    # The event that it is to leave, and what of it: `Wanted` below.
    wanted: "Wanted"
    calls: list = dataclasses.field(default_factory=list)

    @property
    def acknowledged(self):
        return [call for call in self.calls if call.outcome == OK]


@dataclasses.dataclass
class Wanted:
    """What a request asks for: the type of the event, and what the state before and after must be."""

    type: str
    # Of the state before: fields with their values. Its contrary is what a refusal says.
    before: dict = dataclasses.field(default_factory=dict)
    # Of the state after: path → value.
    after: dict = dataclasses.field(default_factory=dict)
    # counter → by how much.
    increments: dict = dataclasses.field(default_factory=dict)
    messages: int = 0


@dataclasses.dataclass
class Read:
    session_id: str
    invoked: float
    returned: float
    state: dict
    daemon: int = 0


@dataclasses.dataclass
class Violation:
    rule: str
    session_id: str
    what: str

    def __str__(self):
        return f"{self.rule}: {self.session_id}: {self.what}"


# -------------------------------------------------------------------------------------------------
# states


def state_of(session):
    """A session, as its message, by what its events say of it."""
    state = {
        "sequence": session.sequence,
        "revision": session.revision,
        "etag": session.etag,
        "state": type(session).State.Name(session.state),
        "stage": session.stage,
        "status": session.status,
        "hold": session.hold,
        "has_blocking_errors": session.has_blocking_errors,
        "message_count": session.message_count,
        "labels": dict(session.labels),
        "references": dict(session.references),
        "counters": {name: count for name, count in session.counters.items() if count},
        "context": json_format.MessageToDict(session.context),
        "owner_id": session.owner_id,
        "workflow": session.workflow,
        "update_time": (session.update_time.seconds, session.update_time.nanos),
        "task": task_of(session.current_task) if session.HasField("current_task") else None,
    }
    return state


def task_of(task):
    return {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "status": type(task).Status.Name(task.status),
        "retry_count": task.retry_count,
        "progress": json_format.MessageToDict(task.progress) if task.HasField("progress") else None,
        "result": json_format.MessageToDict(task.result) if task.HasField("result") else None,
    }


def event_of(event):
    """An event, as its message."""
    names = type(event).DESCRIPTOR.fields_by_name
    state = names["new_state"].enum_type.values_by_number
    return {
        "sequence": event.sequence,
        "type": names["type"].enum_type.values_by_number[event.type].name,
        "time": (event.event_time.seconds, event.event_time.nanos),
        "oldState": state[event.old_state].name,
        "newState": state[event.new_state].name,
        "oldStage": event.old_stage,
        "newStage": event.new_stage,
        "oldStatus": event.old_status,
        "newStatus": event.new_status,
        "requestId": event.request_id,
        "changes": json_format.MessageToDict(event.changes),
    }


NEW_TASK = {"task_id": "", "task_type": "", "status": "", "retry_count": 0, "progress": None, "result": None}
NEW_SESSION = {
    "sequence": 0, "revision": 0, "etag": "", "state": None, "stage": "", "status": "", "hold": False,
    "has_blocking_errors": False, "message_count": 0, "labels": {}, "references": {}, "counters": {},
    "context": {}, "owner_id": "", "workflow": "", "update_time": (0, 0), "task": None,
}  # fmt: skip
MAPS = ("labels", "references", "counters", "context")
NUMBERS = ("message_count",)


def evolved(state, event):
    """The state behind an event; `state` stays as it is."""
    after = dict(state)
    after["sequence"] = event["sequence"]
    if event["type"] not in LEAVE_REVISION:
        after["revision"] = event["sequence"]
        after["etag"] = f"r{event['sequence']}"
    after.update(state=event["newState"], stage=event.get("newStage", ""), status=event["newStatus"])
    after["update_time"] = event["time"]
    for path, value in event.get("changes", {}).items():
        field, _, key = path.partition(".")
        key = key.strip("`")
        if field == "current_task":
            after["task"] = with_task(after["task"], key, value)
        elif field in MAPS:
            after[field] = with_item(after[field], key, value, whole=field == "counters")
        elif field in NUMBERS:
            after[field] = int(value)
        elif field in after:
            after[field] = value
    return after


def with_task(task, key, value):
    fields = {key: value} if key else value
    if fields is None:
        return None
    task = dict((task if key else None) or NEW_TASK)
    for name, each in fields.items():
        if name in TASK_FIELDS:
            task[name] = int(each) if name == "retry_count" else each
    return task


def with_item(items, key, value, whole):
    if not key:
        items = value or {}
    else:
        items = {**items, key: value}
    return {k: int(v) if whole else v for k, v in items.items() if v is not None and not (whole and not v)}


# -------------------------------------------------------------------------------------------------
# the order of time


class Known:
    """What was known when: the highest sequence among all that was answered before a time."""

    def __init__(self, answered):
        """`answered`: (time, sequence) of each answer."""
        answered = sorted(answered)
        self._times = [time for time, _ in answered]
        self._highest = list(itertools.accumulate((n for _, n in answered), max))

    def before(self, time):
        at = bisect.bisect_left(self._times, time)
        return self._highest[at - 1] if at else 0


class Begun:
    """What had not begun: the lowest sequence among all changes that began at a time or later."""

    def __init__(self, begun, last):
        begun = sorted(begun)
        self._times = [time for time, _ in begun]
        self._lowest = list(itertools.accumulate((n for _, n in reversed(begun)), min))[::-1]
        self._last = last

    def since(self, time):
        """The last sequence that there can have been before."""
        at = bisect.bisect_left(self._times, time)
        return self._lowest[at] - 1 if at < len(self._lowest) else self._last


class Runs:
    """Whether something was otherwise at some time between two sequences."""

    def __init__(self, states):
        self._states = states
        self._runs = {}

    def unlike(self, fields, low, high):
        """Whether, of the states of these sequences, one differs from `fields`."""
        low, high = max(low, 1), min(high, len(self._states) - 1)
        return any(self._unlike(path, value, low, high) for path, value in fields.items())

    def _unlike(self, path, value, low, high):
        key = path, value if isinstance(value, tuple) else None
        if key not in self._runs:
            if isinstance(value, tuple):
                values = [value_at(state, path) in value for state in self._states]
            else:
                values = [value_at(state, path) for state in self._states]
            self._runs[key] = values, begins_of(values)
        values, begins = self._runs[key]
        # If all are alike, the last one is as all are; if not, one of them is another.
        return begins[high] > low or values[high] != (isinstance(value, tuple) or value)


def begins_of(values):
    """For each place, where the run of equal values begins that it is in."""
    begins = []
    for place, value in enumerate(values):
        begins.append(begins[-1] if place and values[place - 1] == value else place)
    return begins


def matches(state, fields):
    """A tuple is one of several values."""
    return all(
        value_at(state, path) in (value if isinstance(value, tuple) else (value,))
        for path, value in fields.items()
    )


def value_at(state, path):
    for part in path.split("."):
        state = state.get(part) if state is not None else None
    return state


# -------------------------------------------------------------------------------------------------
# the rules


class Checker:
    """One session: its events, the requests and the reads about it; what watches were told, as (name,
    first event that is due, sequences); and its messages, as (sequence, request id). Its first `setup`
    events are from before all that."""

    def __init__(self, session_id, events, requests, reads, told=(), messages=(), setup=1):
        self.session_id, self.events, self._setup = session_id, events, setup
        self.requests, self.reads, self.told, self.messages = requests, reads, told, messages
        self.violations = []
        # By sequence; the first is before there was a session.
        self.states = [NEW_SESSION]
        self.by_request = collections.defaultdict(list)
        for event in events:
            self.by_request[event.get("requestId", "")].append(event)

    def say(self, rule, what):
        self.violations.append(Violation(rule, self.session_id, what))

    def check(self):
        self.check_audit()
        if self.violations:
            return self.violations  # Nothing can be said by an audit that is none.
        for event in self.events:
            self.states.append(evolved(self.states[-1], event))
        self.check_once()
        self.check_effects()
        self.check_own()
        self.check_unique()
        self.check_order()
        self.check_states()
        self.check_refusals()
        self.check_messages()
        self.check_watches()
        return self.violations

    def check_audit(self):
        for number, event in enumerate(self.events, 1):
            if event["sequence"] != number:
                return self.say("audit", f"event {event['sequence']} stands where {number} should")
        for before, after in itertools.pairwise(self.events):
            for what in ("State", "Stage", "Status"):
                if after.get("old" + what) != before.get("new" + what):
                    self.say("audit", f"event {after['sequence']} begins elsewhere than {before['sequence']} ended")
            if after["time"] < before["time"]:
                self.say("audit", f"event {after['sequence']} is dated before its predecessor")
        return None

    def check_once(self):
        known = {request.request_id for request in self.requests}
        for request_id, events in self.by_request.items():
            if request_id not in known and events[0]["sequence"] > self._setup:
                self.say("once", f"nobody sent {request_id}, of event {events[0]['sequence']}")
        for request in self.requests:
            effects = len(self.by_request.get(request.request_id, ()))
            if effects > 1:
                self.say("once", f"{request.request_id} took effect {effects} times")
            if request.acknowledged and effects == 0:
                self.say("once", f"{request.request_id} was acknowledged, and is lost")
            if [call.outcome for call in request.calls] == [REFUSED] and effects:
                self.say("once", f"{request.request_id} was refused, and took effect")

    def event_of(self, request):
        events = self.by_request.get(request.request_id)
        return events[0] if events else None

    def check_effects(self):
        for request in self.requests:
            event = self.event_of(request)
            if event is None:
                continue
            wanted, n = request.wanted, event["sequence"]
            before, after = self.states[n - 1], self.states[n]
            if event["type"] != wanted.type:
                self.say("effect", f"{request.request_id} asks for {wanted.type}, event {n} is {event['type']}")
            if not matches(before, wanted.before):
                self.say("effect", f"event {n} asks for {wanted.before} before it")
            if not matches(after, wanted.after):
                self.say("effect", f"event {n} was to lead to {wanted.after}")
            for counter, increment in wanted.increments.items():
                if after["counters"].get(counter, 0) != before["counters"].get(counter, 0) + increment:
                    self.say("effect", f"event {n} was to add {increment} to {counter}")
            if after["message_count"] != before["message_count"] + wanted.messages:
                self.say("effect", f"event {n} was to append {wanted.messages} messages")

    def check_own(self):
        for request in self.requests:
            event = self.event_of(request)
            if event is None:
                continue
            n = event["sequence"]
            answers = [call.state["sequence"] for call in request.acknowledged if call.state]
            if any(answer < n for answer in answers):
                self.say("own", f"{request.request_id} was answered with {min(answers)}, its event is {n}")
            if not answers or len(answers) < len(request.calls):
                continue
            # All that was sent was answered; so whoever did it was heard.
            if n not in answers:
                self.say("own", f"{request.request_id} was answered with {min(answers)}, its event is {n}")
            first = self.states[n]["message_count"] - request.wanted.messages + 1
            for call in request.acknowledged:
                if call.messages and call.messages != (first, self.states[n]["message_count"]):
                    self.say("own", f"{request.request_id} was answered with messages {call.messages}")

    def check_unique(self):
        seen = {}
        for request in self.requests:
            if len(request.calls) != 1 or not request.calls[0].state:
                continue
            n = request.calls[0].state["sequence"]
            if n in seen:
                self.say("unique", f"{seen[n]} and {request.request_id} were both answered with {n}")
            seen[n] = request.request_id

    def check_order(self):
        answered = [(read.returned, read.state["sequence"]) for read in self.reads]
        for request in self.requests:
            event = self.event_of(request)
            for call in request.acknowledged:
                answered.append((call.returned, max(
                    event["sequence"] if event else 0, call.state["sequence"] if call.state else 0)))  # fmt: skip
        known = Known(answered)
        for request in self.requests:
            event = self.event_of(request)
            if event and event["sequence"] <= known.before(request.calls[0].invoked):
                self.say("order", f"event {event['sequence']} of {request.request_id} was asked for when "
                         f"{known.before(request.calls[0].invoked)} was known")  # fmt: skip
            for call in request.acknowledged:
                if call.state and call.state["sequence"] < known.before(call.invoked):
                    self.say("order", f"{request.request_id} was answered with {call.state['sequence']} when "
                             f"{known.before(call.invoked)} was known")  # fmt: skip
        for read in self.reads:
            if read.state["sequence"] < known.before(read.invoked):
                self.say("order", f"daemon {read.daemon} read {read.state['sequence']} when "
                         f"{known.before(read.invoked)} was known")  # fmt: skip

    def check_states(self):
        for read in self.reads:
            self.compare(read.state, "a read")
        for request in self.requests:
            event = self.event_of(request)
            for call in request.acknowledged:
                if call.state:
                    self.compare(call.state, request.request_id)
                if call.task and event and len(request.calls) == 1:
                    wanted = self.states[event["sequence"]]["task"]
                    if call.task != wanted:
                        self.say("state", f"{request.request_id}: {differences(call.task, wanted)}")

    def compare(self, state, whose):
        n = state["sequence"]
        if not 1 <= n < len(self.states):
            self.say("state", f"{whose} was answered with {n}, of {len(self.states) - 1}")
        elif state != self.states[n]:
            self.say("state", f"{whose} at {n}: {differences(state, self.states[n])}")

    def check_refusals(self):
        answered = [(read.returned, read.state["sequence"]) for read in self.reads]
        begun = []
        for request in self.requests:
            event = self.event_of(request)
            if event:
                begun.append((request.calls[0].invoked, event["sequence"]))
                answered += [(call.returned, event["sequence"]) for call in request.acknowledged]
        known, future = Known(answered), Begun(begun, len(self.states) - 1)
        runs = Runs(self.states)
        for request in self.requests:
            for call in request.calls:
                if call.outcome != REFUSED:
                    continue
                low, high = known.before(call.invoked), future.since(call.returned)
                if not runs.unlike(request.wanted.before, low, high):
                    self.say("refusal", f"{request.request_id} was refused ({call.reason}), though from {low} to "
                             f"{high} all was as it asks: {request.wanted.before}")  # fmt: skip

    def check_messages(self):
        wanted = []
        for before, event, after in zip(self.states, self.events, self.states[1:]):
            first, last = before["message_count"] + 1, after["message_count"]
            wanted += [(n, event.get("requestId")) for n in range(first, last + 1)]
        if list(self.messages) != wanted:
            self.say("messages", self.first_odd(self.messages, wanted))

    def check_watches(self):
        for name, first, sequences in self.told:
            wanted = list(range(first, len(self.events) + 1))
            if sequences != wanted:
                self.say("watch", f"{name}: {self.first_odd(sequences, wanted)}")

    @staticmethod
    def first_odd(got, wanted):
        return next(f"{a} where {b} is due" for a, b in itertools.zip_longest(got, wanted) if a != b)


def differences(got, wanted):
    wanted = wanted or {}
    got = got or {}
    return {name: (got.get(name), wanted.get(name)) for name in {*got, *wanted} if got.get(name) != wanted.get(name)}
