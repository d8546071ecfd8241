"""The checker of histories finds what it is for: for each rule a small history that breaks it, and
one, with all that may happen, that breaks none."""

import copy
import random

import pytest
from history import NEW_SESSION, OK, REFUSED, UNKNOWN, Checker, Read, Request, Sent, Wanted, evolved

LABEL = {"labels.n": "x"}


def event(sequence, kind="UPDATED", request=None, old="ACTIVE", new="ACTIVE", **changes):
    return {
        "sequence": sequence, "type": kind, "time": (sequence, 0), "oldState": old, "newState": new,
        "oldStage": "", "newStage": "", "oldStatus": "", "newStatus": "",
        "requestId": request or f"r{sequence}",
        "changes": {path.replace("__", "."): value for path, value in changes.items()},
    }  # fmt: skip


class Story:
    """A session that is created, labelled, counted, paused, resumed and written to, with a task that is
    started and completed: events 1 to 8, one request each, asked for at its event's sequence and answered
    half a second later."""

    def __init__(self):
        self.events = [
            event(1, "CREATED", old="STATE_UNSPECIFIED", labels={"n": "0"}, counters={}),
            event(2, labels__n="x"),
            event(3, counters__c=1.0),
            event(4, "PAUSED", new="PAUSED"),
            event(5, "RESUMED", old="PAUSED"),
            event(6, "MESSAGES_APPENDED", message_count=2.0, first_sequence=1.0, last_sequence=2.0),
            event(7, "TASK_STARTED", current_task={"task_id": "t", "status": "RUNNING"}),
            event(8, "TASK_COMPLETED", current_task__status="COMPLETED", current_task__complete_time="now"),
        ]
        self.messages = [(1, "r6"), (2, "r6")]
        wanted = [
            Wanted("UPDATED", after=LABEL),
            Wanted("UPDATED", increments={"c": 1}),
            Wanted("PAUSED", before={"state": "ACTIVE"}),
            Wanted("RESUMED", before={"state": "PAUSED"}),
            Wanted("MESSAGES_APPENDED", before={"state": "ACTIVE"}, messages=2),
            Wanted("TASK_STARTED", before={"etag": "r5"}, after={"task.task_id": "t"}),
            Wanted("TASK_COMPLETED", before={"task.status": "RUNNING"}, after={"task.status": "COMPLETED"}),
        ]
        self.requests = [
            Request("s", f"r{n}", each, [self.sent(n)]) for n, each in enumerate(wanted, 2)
        ]
        self.requests[4].calls[0].messages = (1, 2)
        for request in self.requests[5:]:  # Tasks are answered with the task alone.
            call = request.calls[0]
            call.task, call.state = call.state["task"], None
        self.reads = [Read("s", n + 0.6, n + 0.9, self.state(n)) for n in range(1, 9)]
        self.told = [("watch 1", 2, [2, 3, 4, 5, 6, 7, 8])]

    def state(self, sequence):
        state = NEW_SESSION
        for each in self.events[:sequence]:
            state = evolved(state, each)
        return copy.deepcopy(state)

    def sent(self, sequence, outcome=OK, **fields):
        state = self.state(sequence) if outcome == OK else None
        return Sent(sequence, sequence + 0.5, outcome, **{"state": state, **fields})

    def request(self, sequence):
        return self.requests[sequence - 2]

    def found(self):
        checker = Checker("s", self.events, self.requests, self.reads, self.told, self.messages)
        return {violation.rule for violation in checker.check()}


@pytest.fixture
def story():
    return Story()


def test_a_good_history_breaks_no_rule(story):
    # Of unknown outcome, and without effect; with one; refused rightly, also between two states.
    story.requests.append(Request("s", "u1", Wanted("UPDATED"), [story.sent(3, UNKNOWN)]))
    story.request(3).calls = [story.sent(3, UNKNOWN)]
    story.reads = [read for read in story.reads if read.state["sequence"] != 3]
    refused = Wanted("PAUSED", before={"state": "ACTIVE"})
    story.requests.append(Request("s", "u2", refused, [story.sent(4.6, REFUSED)]))
    story.requests.append(Request("s", "u3", refused, [Sent(3.1, 4.2, REFUSED)]))
    # Sent again, and at once to both: answered with what is there by then.
    story.request(2).calls += [Sent(2.1, 2.9, UNKNOWN), Sent(6.6, 6.9, OK, state=story.state(6))]
    # Reads that overlap a change may see it or not.
    story.reads += [Read("s", 5.1, 5.2, story.state(5)), Read("s", 5.1, 5.2, story.state(4))][:1]
    story.reads.append(Read("s", 4.95, 5.1, story.state(4)))
    assert story.found() == set()


BROKEN = {
    "an event is missing": (
        "audit", lambda s: s.events.pop(3)),
    "two events have one sequence": (
        "audit", lambda s: s.events.insert(3, s.events[3])),
    "an event begins elsewhere": (
        "audit", lambda s: s.events[4].update(oldState="STOPPED")),
    "an event is dated before its predecessor": (
        "audit", lambda s: s.events[4].update(time=(1, 0))),
    "what was acknowledged is lost": (
        "once", lambda s: s.requests.append(Request("s", "lost", Wanted("UPDATED"), [Sent(1, 9, OK, s.state(7))]))),
    "it happened twice": (
        "once", lambda s: s.events[2].update(requestId="r2")),
    "what is unknown happened twice": (
        "once", lambda s: (s.events.append(event(9, request="r7")), s.events.append(event(10, request="r7")),
                           s.request(7).calls.__setitem__(0, s.sent(7, UNKNOWN)))),
    "what was refused happened": (
        "once", lambda s: s.request(3).calls.__setitem__(0, s.sent(3, REFUSED))),
    "nobody asked for it": (
        "once", lambda s: s.requests.pop(1)),
    "it is of another kind": (
        "effect", lambda s: s.events[1].update(type="ADVANCED")),
    "it was done to a state that does not allow it": (
        "effect", lambda s: s.request(7).wanted.before.update(etag="r4")),
    "it did something else": (
        "effect", lambda s: s.request(2).wanted.after.update({"labels.n": "y"})),
    "an increment is lost": (
        "effect", lambda s: s.request(3).wanted.increments.update(c=2)),
    "a message is lost on the way in": (
        "effect", lambda s: s.events[5]["changes"].update(message_count=1.0)),
    "the answer is of somebody else's change": (
        "own", lambda s: setattr(s.request(2).calls[0], "state", s.state(3))),
    "the answer is older than the change": (
        "own", lambda s: setattr(s.request(4).calls[0], "state", s.state(3))),
    "nobody heard the first answer": (
        "own", lambda s: s.request(4).calls.__setitem__(slice(None), [Sent(4, 9, OK, s.state(6))] * 2)),
    "the numbers of messages are others": (
        "own", lambda s: setattr(s.request(6).calls[0], "messages", (2, 3))),
    "two were answered with one sequence": (
        "unique", lambda s: setattr(s.request(3).calls[0], "state", s.state(2))),
    "a change is behind what began after it": (
        "order", lambda s: (setattr(s.request(5).calls[0], "invoked", 6.7),
                            setattr(s.request(5).calls[0], "returned", 6.8))),
    "what is unknown happened before it was asked for": (
        "order", lambda s: s.request(5).calls.__setitem__(0, Sent(7.7, 7.8, UNKNOWN))),
    "a read is older than what was acknowledged": (
        "order", lambda s: s.reads.append(Read("s", 4.55, 4.6, s.state(3)))),
    "a read is older than another read": (
        "order", lambda s: (setattr(s.request(7).calls[0], "returned", 99), s.reads.append(
            Read("s", 7.1, 7.2, s.state(7))), s.reads.append(Read("s", 7.3, 7.4, s.state(6))))),
    "a repetition is answered with what is outdated": (
        "order", lambda s: s.request(2).calls.append(Sent(6.7, 6.8, OK, s.state(2)))),
    "a read is of another state": (
        "state", lambda s: s.reads[3].state.update(state="ACTIVE")),
    "a read is of no state": (
        "state", lambda s: s.reads[7].state.update(sequence=9)),
    "an answer is of another state": (
        "state", lambda s: s.request(3).calls[0].state["counters"].update(c=2)),
    "an answer tells of another task": (
        "state", lambda s: s.request(7).calls[0].task.update(status="COMPLETED")),
    "an etag is not its revision's": (
        "state", lambda s: s.reads[5].state.update(etag="r6")),
    "it was refused by an outdated state": (
        "refusal", lambda s: s.requests.append(Request("s", "u", Wanted("PAUSED", before={"state": "ACTIVE"}),
                                                       [Sent(5.6, 5.7, REFUSED)]))),
    "its etag was right": (
        "refusal", lambda s: s.requests.append(Request("s", "u", Wanted("UPDATED", before={"etag": "r5"}),
                                                       [Sent(6.6, 6.7, REFUSED)]))),
    "it was refused, and asks for nothing": (
        "refusal", lambda s: s.requests.append(Request("s", "u", Wanted("UPDATED"), [Sent(6.6, 6.7, REFUSED)]))),
    "a message stands twice": (
        "messages", lambda s: s.messages.append((3, "r6"))),
    "a message is lost": (
        "messages", lambda s: s.messages.pop()),
    "a message is somebody else's": (
        "messages", lambda s: s.messages.__setitem__(0, (1, "r5"))),
    "a watch misses one": ("watch", lambda s: s.told[0][2].remove(4)),
    "a watch misses the first": ("watch", lambda s: s.told[0][2].remove(2)),
    "a watch misses the last": ("watch", lambda s: s.told[0][2].remove(8)),
    "a watch repeats one": ("watch", lambda s: s.told[0][2].insert(3, 4)),
    "a watch turns two round": ("watch", lambda s: s.told[0][2].__setitem__(slice(2, 4), [5, 4])),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_a_rule_is_found(story, what):
    rule, break_it = BROKEN[what]
    break_it(story)
    assert rule in story.found()


def long_history(events):
    """One session that a hundred overlapping requests and reads at a time work at."""
    chance = random.Random(3)
    audit, requests, reads, state = [], [], [], NEW_SESSION
    for n in range(1, events + 1):
        audit.append(event(n, "CREATED" if n == 1 else "UPDATED", old="STATE_UNSPECIFIED" if n == 1 else "ACTIVE",
                           labels__n=str(n)))
        state = evolved(state, audit[-1])
        begin, end = n - chance.random() * 50, n + chance.random() * 50
        if n > 1:
            wanted = Wanted("UPDATED", before={"state": "ACTIVE"} if n > 2 else {}, after={"labels.n": str(n)})
            requests.append(Request("s", f"r{n}", wanted, [Sent(begin, end, OK, state)]))
        reads.append(Read("s", n, n + 0.9, state))
    return Checker("s", audit, requests, reads)


def test_of_thousands_one_is_found():
    checker = long_history(2_000)
    assert checker.check() == []
    checker = long_history(2_000)
    read = checker.reads[1_500]
    checker.reads[1_500] = Read("s", read.invoked, read.returned, checker.reads[1_400].state)
    assert [violation.rule for violation in checker.check()] == ["order"]
