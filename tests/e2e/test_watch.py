"""WatchSessions over the wire: the present state, every change once and in order, and on from
where it broke off."""

import base64
import pathlib
import re
import threading
import time
import uuid

import pytest
from conftest import Refused, newest_first
from waits import PATIENCE_SECONDS, until
from watching import Watch, key, told

ADMIN = "sessiond.v1.AdminService/"
MESSAGES = "sessiond.v1.MessageService/"


@pytest.fixture
def watch(daemon, contract):
    """Opens watches at the shared daemon, of a namespace that no other test uses."""
    opened = []

    def begin(**request):
        opened.append(Watch(contract, daemon.address, **request))
        return opened[-1]

    begin.namespace = "watch-" + uuid.uuid4().hex[:8]
    yield begin
    for each in opened:
        each.close()


@pytest.fixture
def create(client, watch):
    return lambda **fields: client.create(namespace=watch.namespace, **fields)["sessionId"]


def label(client, session_id, **labels):
    return client.call(
        "UpdateSession",
        {
            "session": {"sessionId": session_id, "labels": labels},
            "updateMask": ",".join("labels." + name for name in labels),
        },
    )


def act(client, session_id, *verbs):
    for verb in verbs:
        client.call(verb + "Session", {"sessionId": session_id})


def test_the_present_state_comes_first_then_a_bookmark_then_changes(client, watch, create):
    there = newest_first(client.create(namespace=watch.namespace) for _ in range(3))[::-1]
    gone = create()
    client.call("DeleteSession", {"sessionId": gone, "force": True})
    stream = watch(namespace=watch.namespace, initialState=True)
    shown = [next(stream) for _ in there]
    assert [response["session"]["sessionId"] for response in shown] == there
    assert shown[0]["session"] == client.call("GetSession", {"sessionId": there[0]})
    stream.bookmarked()
    act(client, there[1], "Pause")
    change = next(stream)
    assert told(change) == (2, "PAUSED", True)
    assert change["change"]["session"] == client.call("GetSession", {"sessionId": there[1]})


def test_without_the_initial_state_a_watch_begins_now(client, watch, create):
    session_id = create()
    stream = watch(namespace=watch.namespace).bookmarked()
    act(client, session_id, "Pause", "Resume")
    assert [told(response) for response in stream.changes(2)] == [
        (2, "PAUSED", True),
        (3, "RESUMED", True),
    ]


def test_every_fact_of_a_command_is_told_with_the_session_as_the_command_left_it(
    client, watch, create
):
    session_id = create()
    stream = watch(sessionIds=[session_id]).bookmarked()
    client.call("DeleteSession", {"sessionId": session_id, "force": True})
    stopped, deleted = stream.changes(2)
    assert told(stopped) == (2, "STOPPED", True)
    assert told(deleted) == (3, "DELETED", True), "a session that is named is shown, deleted or not"
    assert stopped["change"]["session"] == deleted["change"]["session"]
    events = client.call("ListSessionEvents", {"sessionId": session_id, "includeDeleted": True})
    assert [stopped["change"]["event"], deleted["change"]["event"]] == events["events"][1:]


def test_a_change_is_told_when_the_session_matched_before_or_after_it(client, watch, create):
    session_id = create()
    stream = watch(namespace=watch.namespace, filter='labels.team = "a"').bookmarked()
    for value in ("b", "a", "a", "c", "d", "a"):
        label(client, session_id, team=value)
    act(client, session_id, "Pause")
    assert [told(response) for response in stream.changes(5)] == [
        (3, "UPDATED", True),
        (4, "UPDATED", True),
        (5, "UPDATED", False),
        (7, "UPDATED", True),
        (8, "PAUSED", True),
    ]


@pytest.mark.parametrize("from_memory", [True, False])
def test_each_fact_is_judged_by_itself(client, watch, create, from_memory):
    session_id = create()
    stream = watch(namespace=watch.namespace, filter="state = STOPPED").bookmarked()
    if not from_memory:
        stream.close()
    client.call("DeleteSession", {"sessionId": session_id, "force": True})
    act(client, session_id, "Undelete")
    if not from_memory:
        request = {"namespace": watch.namespace, "filter": "state = STOPPED"}
        stream = watch(resumeToken=stream.token, **request).bookmarked()
    assert [told(response) for response in stream.changes(3)] == [
        (2, "STOPPED", True),
        (3, "DELETED", False),
        (4, "UNDELETED", True),
    ]


def test_what_is_deleted_is_told_of_but_matches_no_more(client, watch, create):
    session_id = create()
    stream = watch(namespace=watch.namespace).bookmarked()
    client.call("DeleteSession", {"sessionId": session_id, "force": True})
    act(client, session_id, "Undelete")
    assert [told(response) for response in stream.changes(3)] == [
        (2, "STOPPED", True),
        (3, "DELETED", False),
        (4, "UNDELETED", True),
    ]


def test_a_resumed_watch_judges_sessions_as_they_were(client, watch, create):
    """What is read from the database is newer than the events, and is taken back behind them."""
    request = {
        "namespace": watch.namespace,
        "filter": 'labels.team = "a" AND NOT hold = true AND context.site_name = "x"',
    }
    session_id = create(context={"site_name": "x"}, labels={"team": "b"})
    token = watch(**request).bookmarked().token
    live = watch(**request).bookmarked()

    def update(mask, **fields):
        client.call(
            "UpdateSession",
            {"session": {"sessionId": session_id, **fields}, "updateMask": mask},
        )

    update("labels", labels={"team": "a"})
    update("hold", hold=True)
    update("labels.other", labels={"other": "1"})
    update("hold", hold=False)
    for site_name in ("y", "z", "x"):
        update("context.siteName", context={"site_name": site_name})
    update("labels.team", labels={})
    expected = [
        (2, "UPDATED", True),
        (3, "UPDATED", False),
        (5, "UPDATED", True),
        (6, "UPDATED", False),
        (8, "UPDATED", True),
        (9, "UPDATED", False),
    ]
    assert [told(response) for response in live.changes(6)] == expected
    resumed = watch(resumeToken=token, **request).bookmarked()
    assert [told(response) for response in resumed.changes(6)] == expected
    # Both tokens lead to the same place: what comes next is the next change.
    update("labels", labels={"team": "a"})
    going_on = [watch(resumeToken=each.token, **request).bookmarked() for each in (live, resumed)]
    assert [told(each.change()) for each in going_on] == [(10, "UPDATED", True)] * 2


def test_named_sessions_of_some_types_of_events(client, watch, create):
    ids = [create() for _ in range(3)]
    stream = watch(sessionIds=ids[:2], eventTypes=["PAUSED"], initialState=True)
    shown = [next(stream)["session"]["sessionId"] for _ in range(2)]
    assert sorted(shown) == sorted(ids[:2])
    stream.bookmarked()
    for session_id in reversed(ids):
        act(client, session_id, "Pause", "Resume")
    assert [key(response) for response in stream.changes(2)] == [(ids[1], 2), (ids[0], 2)]


def test_what_was_appended_comes_with_its_event(client, watch):
    session = client.create(workflow="interview", namespace=watch.namespace)["sessionId"]
    stream = watch(sessionIds=[session]).bookmarked()
    token = stream.token

    def append(*contents):
        messages = [{"type": "question", "content": content} for content in contents]
        client.call(MESSAGES + "AppendMessages", {"sessionId": session, "messages": messages})

    append("What is a heap?", "And a stack?")
    append("x" * 200_000, "y" * 50_000, "z" * 200_000)
    seen = stream.changes(2)
    contents = [[each["content"] for each in c["change"]["messages"]] for c in seen]
    assert contents == [
        ["What is a heap?", "And a stack?"],
        ["x" * 200_000, "y" * 50_000],  # The third does not fit into 256 KiB.
    ]
    # From the database, the same.
    stream.close()
    resumed = watch(sessionIds=[session], resumeToken=token).bookmarked().changes(2)
    messages = [each["change"]["messages"] for each in resumed]
    assert messages == [each["change"]["messages"] for each in seen]


def test_a_silent_watch_sends_heartbeats_whose_tokens_move_on(client, watch, create):
    owner = f"owner-{uuid.uuid4()}"
    session_id = create(ownerId=owner)
    request = {"namespace": watch.namespace, "filter": 'labels.team = "nobody"'}
    begin = time.monotonic()
    stream = watch(heartbeatInterval="1s", **request).bookmarked()
    token = stream.token
    act(client, session_id, "Pause")
    assert next(stream) == {"heartbeat": {}}
    # And not after fifteen seconds, as without a wish.
    assert 0.5 < time.monotonic() - begin < 12
    # What is not wanted is behind the watch, too: nobody has to read it who goes on from here, and it may be gone.
    erase = {"namespace": watch.namespace, "ownerId": owner}
    until(lambda: client.call("EraseOwner", erase).get("done"), "the owner is not erased")

    def resumes(token):
        try:
            watch(resumeToken=token, **request).bookmarked()
        except Refused as refused:
            assert refused.reason == "RESUME_TOKEN_EXPIRED"
            return False
        return True

    give_up = time.monotonic() + PATIENCE_SECONDS
    while not resumes(stream.token):
        assert time.monotonic() < give_up, "what is not wanted stays before the watch"
        assert next(stream) == {"heartbeat": {}}
    assert not resumes(token)


@pytest.mark.parametrize(
    "request_, reason, where",
    [
        ({"filter": "recoverable = true"}, "INVALID_FILTER", "0"),
        ({"filter": 'labels.a = "recoverable" AND recoverable = true'}, "INVALID_FILTER", "29"),
        ({"filter": "owner_id ="}, "INVALID_FILTER", None),
        ({"sessionIds": ["nonsense"]}, "INVALID_FORMAT", None),
        ({"sessionIds": [str(uuid.UUID(int=2**127 + n)) for n in range(1001)]}, "INVALID_FIELD", None),
        ({"eventTypes": ["TYPE_UNSPECIFIED"]}, "INVALID_FIELD", None),
        ({"heartbeatInterval": "0.5s"}, "INVALID_FIELD", None),
        ({"heartbeatInterval": "601s"}, "INVALID_FIELD", None),
        ({"namespace": "NOT ONE"}, "INVALID_FIELD", None),
        ({"initialState": True, "resumeToken": "x"}, "INVALID_FIELD", None),
        ({"resumeToken": "x"}, "INVALID_RESUME_TOKEN", None),
    ],
)
def test_what_cannot_be_watched_is_refused(watch, request_, reason, where):
    refused = watch(**request_).refusal()
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.reason == reason
    if where:
        assert refused.metadata["position"] == where


def test_a_token_is_taken_for_the_very_watch_it_was_made_for(client, watch, create):
    session_id = create()
    request = {"namespace": watch.namespace, "filter": "hold = false"}
    token = watch(**request).bookmarked().token
    for other in (
        {},
        {"namespace": "default"},
        {"filter": "hold = true"},
        {"eventTypes": ["PAUSED"]},
        {"sessionIds": [session_id]},
    ):
        if other:
            refused = watch(resumeToken=token, **{**request, **other}).refusal()
            assert refused.reason == "INVALID_RESUME_TOKEN", other
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for index in (0, 1, 2, len(raw) - 1):
        forged = bytes(raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :])
        text = base64.urlsafe_b64encode(forged).decode().rstrip("=")
        assert watch(resumeToken=text, **request).refusal().reason == "INVALID_RESUME_TOKEN"
    watch(resumeToken=token, heartbeatInterval="20s", **request).bookmarked()


def test_an_interrupted_initial_state_is_sent_anew(client, watch, create):
    ids = [create() for _ in range(3)]
    request = {"namespace": watch.namespace}
    stream = watch(initialState=True, **request)
    next(stream)
    stream.close()
    act(client, ids[0], "Pause")
    stream = watch(resumeToken=stream.token, **request)
    shown = [next(stream)["session"] for _ in ids]
    assert [each["sessionId"] for each in shown] == ids
    assert shown[0]["state"] == "PAUSED"
    stream.bookmarked()
    act(client, ids[0], "Resume")
    assert told(stream.change()) == (3, "RESUMED", True)


@pytest.mark.parametrize("named", [False, True])
def test_what_changes_while_the_initial_state_is_read_is_told_once(client, watch, create, named):
    padding = {"site_description": "x" * 4000}
    # Several pages, and more than waits in the streams' buffers: the last is read when we have read.
    ids = [create(context=padding) for _ in range(250)]
    if named:
        ids.sort()
    request = {"sessionIds": ids} if named else {"namespace": watch.namespace}
    stream = watch(initialState=True, **request)
    shown, changes = [next(stream)], []
    act(client, ids[0], "Pause", "Resume")
    for response in stream:
        if "bookmark" in response:
            break
        (changes if "change" in response else shown).append(response)
    assert [each["session"]["sessionId"] for each in shown] == ids
    assert [told(each) for each in changes] == [(2, "PAUSED", True), (3, "RESUMED", True)]
    token = stream.token
    act(client, ids[0], "Pause")
    assert told(stream.change()) == (4, "PAUSED", True)
    resumed = watch(resumeToken=token, **request).bookmarked()
    assert told(resumed.change()) == (4, "PAUSED", True)


def test_watches_see_the_end_and_older_tokens_expire(client, watch, create):
    owner = "gone-" + uuid.uuid4().hex
    session_id = create(ownerId=owner)
    request = {"namespace": watch.namespace, "filter": f'owner_id = "{owner}"'}
    stream = watch(**request).bookmarked()
    token = stream.token
    act(client, session_id, "Pause")
    assert told(stream.change()) == (2, "PAUSED", True)
    erase = {"namespace": watch.namespace, "ownerId": owner}
    while not client.call(ADMIN + "EraseOwner", erase).get("done"):
        pass
    erased = stream.change()
    assert told(erased) == (3, "ERASED", False)
    assert "session" not in erased["change"]
    refused = watch(resumeToken=token, **request).refusal()
    assert refused.code == "OUT_OF_RANGE"
    assert refused.reason == "RESUME_TOKEN_EXPIRED"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", refused.metadata["oldest"])
    watch(resumeToken=stream.token, **request).bookmarked()


def rss_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def test_a_reader_that_stops_costs_little_and_misses_nothing(own_daemon, contract):
    client = own_daemon.start()
    changes, writers = 2000, 8
    padding = "x" * 4000  # Twice in every change that is sent: 16 MB in all.
    ids = [client.create()["sessionId"] for _ in range(writers)]
    with Watch(contract, own_daemon.address, timeout=300).bookmarked() as stopped:
        with Watch(contract, own_daemon.address, timeout=300).bookmarked() as quick:
            before = rss_mib(own_daemon.pid)

            def write(session_id):
                for n in range(changes // writers):
                    client.call(
                        "UpdateSession",
                        {
                            "session": {
                                "sessionId": session_id,
                                "context": {"site_description": f"{n} {padding}"},
                            },
                            "updateMask": "context.siteDescription",
                        },
                    )

            threads = [threading.Thread(target=write, args=[each]) for each in ids]
            for thread in threads:
                thread.start()
            expected = {(each, n) for each in ids for n in range(2, 2 + changes // writers)}
            seen = [key(change) for change in quick.changes(changes)]
            for thread in threads:
                thread.join()
            assert set(seen) == expected
            assert rss_mib(own_daemon.pid) - before < 150
        late = [key(change) for change in stopped.changes(changes)]
    assert len(late) == changes and set(late) == expected
    for session_id in ids:
        mine = [sequence for each, sequence in late if each == session_id]
        assert mine == sorted(mine)


def test_a_drain_ends_watches_and_they_go_on_behind_their_last_word(own_daemon, contract):
    client = own_daemon.start()
    session_id = client.create()["sessionId"]
    stream = Watch(contract, own_daemon.address).bookmarked()
    act(client, session_id, "Pause", "Resume")
    client.close()
    assert own_daemon.stop() == 0
    seen = []
    with pytest.raises(Refused) as ended:
        while True:
            seen.append(told(stream.change()))
    assert (ended.value.code, ended.value.reason) == ("UNAVAILABLE", "DRAINING")
    assert "RetryInfo" in ended.value.details
    client = own_daemon.start()
    act(client, session_id, "Pause")
    # A machine that is busy may not have told of everything; nothing is missed, and nothing repeated.
    with Watch(contract, own_daemon.address, resumeToken=stream.token) as resumed:
        seen += [told(change) for change in resumed.bookmarked().changes(3 - len(seen))]
    assert seen == [(2, "PAUSED", True), (3, "RESUMED", True), (4, "PAUSED", True)]


def test_a_watch_goes_on_behind_its_token_after_kill_9(own_daemon, contract):
    client = own_daemon.start()
    session_id = client.create()["sessionId"]
    stream = Watch(contract, own_daemon.address).bookmarked()
    act(client, session_id, "Pause", "Resume", "Pause")
    assert told(stream.change()) == (2, "PAUSED", True)
    token = stream.token
    own_daemon.kill()
    assert stream.refusal().code == "UNAVAILABLE"
    client.close()
    client = own_daemon.start()
    with Watch(contract, own_daemon.address, resumeToken=token) as resumed:
        assert [told(each) for each in resumed.bookmarked().changes(2)] == [
            (3, "RESUMED", True),
            (4, "PAUSED", True),
        ]
        act(client, session_id, "Resume")
        assert told(resumed.change()) == (5, "RESUMED", True)


def test_changes_of_every_daemon_reach_the_watches_of_every_daemon(
    own_daemon, second_daemon, contract
):
    clients = [own_daemon.start(), second_daemon.start(f"--db-url={own_daemon.db_url}")]
    addresses = [own_daemon.address, second_daemon.address]
    streams = [Watch(contract, address).bookmarked() for address in addresses]
    session_id = clients[0].create(labels={"team": "a"})["sessionId"]
    # Turn by turn, so that each daemon meets gaps in what it knows itself.
    for n in range(20):
        act(clients[n // 2 % 2], session_id, ["Pause", "Resume"][n % 2])
    expected = [(1, "CREATED", True)] + [
        (n + 2, ["PAUSED", "RESUMED"][n % 2], True) for n in range(20)
    ]
    for stream in streams:
        assert [told(change) for change in stream.changes(21)] == expected
    # On at the other one.
    tokens = [stream.token for stream in streams]
    act(clients[1], session_id, "Pause")
    for token, address in zip(tokens, reversed(addresses)):
        with Watch(contract, address, resumeToken=token) as resumed:
            assert told(resumed.bookmarked().change()) == (22, "PAUSED", True)
    for stream in streams:
        stream.close()
    clients[1].close()


def test_the_end_of_a_session_is_seen_at_the_other_daemon(own_daemon, second_daemon, contract):
    client = own_daemon.start()
    other = second_daemon.start(f"--db-url={own_daemon.db_url}")
    session_id = client.create(ownerId="u9", labels={"team": "a"})["sessionId"]
    requests = [
        {},
        {"filter": 'labels.team = "a"'},  # A tombstone has no labels: nobody can tell any more.
        {"sessionIds": [session_id]},
    ]
    streams = [Watch(contract, second_daemon.address, **each).bookmarked() for each in requests]
    unconcerned = Watch(contract, second_daemon.address, namespace="elsewhere").bookmarked()
    assert client.call(ADMIN + "EraseOwner", {"ownerId": "u9"}).get("affectedCount") == 1
    for stream in streams:
        ended = stream.change()
        assert told(ended) == (2, "ERASED", False)
        assert "session" not in ended["change"]
        stream.close()
    act(client, client.create(namespace="elsewhere")["sessionId"], "Pause")
    assert told(unconcerned.change()) == (1, "CREATED", True), "it heard of nothing before"
    unconcerned.close()
    other.close()
