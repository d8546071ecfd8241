"""Messages: what was said, in order, without a gap, and without anybody's editing being disturbed."""

import uuid

import pytest
from conftest import Refused
from test_scenarios import assert_chained, at_once, events_of, types_of


@pytest.fixture
def session_id(client):
    session = {"workflow": "interview", "ownerId": "u1"}
    return client.call("CreateSession", {"session": session})["sessionId"]


def say(*contents, **fields):
    return [{"type": "answer", "content": str(content), **fields} for content in contents]


def append(client, session_id, messages, **fields):
    return client.call("AppendMessages", {"sessionId": session_id, "messages": messages, **fields})


def read(client, session_id, **query):
    return client.read_all("ListMessages", "messages", sessionId=session_id, **query)


def test_what_was_said_comes_back_in_its_order(client, session_id):
    mine = str(uuid.uuid4())
    messages = [
        {
            "messageId": mine,
            "type": "question",
            "content": "Was hei\u00dft \u201eACID\u201c?\n\U0001f914",
            "questionType": "technical",
            "author": "trainer",
            "metadata": {"difficulty": 3, "tags": ["db", None]},
        },
        {"type": "answer", "content": " "},
        {"type": "question", "content": "And?"},
    ]
    answer = append(client, session_id, messages)
    assert (answer["firstSequence"], answer["lastSequence"]) == (1, 3)
    assert answer["session"]["messageCount"] == 3
    assert answer["session"]["counters"] == {"current_question_number": 2}
    listed = read(client, session_id)
    assert [{key: each[key] for key in given} for given, each in zip(messages, listed)] == messages
    assert [message["sequence"] for message in listed] == [1, 2, 3]
    assert listed[0]["messageId"] == mine and len({m["messageId"] for m in listed}) == 3
    assert {message["sessionId"] for message in listed} == {session_id}
    assert len({message["createTime"] for message in listed}) == 1
    appended = events_of(client, session_id)[-1]
    assert appended["type"] == "MESSAGES_APPENDED"
    assert "ACID" not in str(appended)  # Contents are left out.


def test_question_types_are_the_workflow_s_and_counted(client, session_id):
    for n, subtype in enumerate(["technical", "behavioral", "situational", ""], 1):
        question = {"type": "question", "content": "?", "questionType": subtype}
        answer = append(client, session_id, [question, *say("!")])
        assert answer["session"]["counters"] == {"current_question_number": n}
    counted = {"session": {"sessionId": session_id}, "counterIncrements": {"current_question_number": 5}}
    client.call("UpdateSession", counted)
    assert append(client, session_id, [question])["session"]["counters"] == {"current_question_number": 10}


def test_messages_never_disturb_an_editor(client, session_id):
    before = client.call("GetSession", {"sessionId": session_id})
    for n in range(3):
        after = append(client, session_id, say(n), etag=before["etag"])["session"]
        assert (after["etag"], after["revision"]) == (before["etag"], before["revision"])
        assert after["sequence"] == before["sequence"] + n + 1
    paused = client.call("PauseSession", {"sessionId": session_id, "etag": before["etag"]})
    assert paused["revision"] == paused["sequence"] == 5
    request = {"sessionId": session_id, "messages": say("x"), "etag": before["etag"]}
    refusal = client.refusal("AppendMessages", request)
    assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert refusal.metadata["current_etag"] == paused["etag"]


def test_pages_go_forwards_and_backwards_from_anywhere(client, session_id):
    append(client, session_id, say(*range(1, 26)))

    def sequences(**query):
        return [message["sequence"] for message in read(client, session_id, **query)]

    everything = list(range(1, 26))
    for size in [1, 7, 25, 1000]:
        assert sequences(pageSize=size) == sequences(pageSize=size, orderBy="sequence") == everything
        assert sequences(pageSize=size, orderBy="sequence desc") == everything[::-1]
        assert sequences(pageSize=size, afterSequence=10) == everything[10:]
        assert sequences(pageSize=size, afterSequence=10, orderBy="sequence desc") == everything[8::-1]
    page = client.call("ListMessages", {"sessionId": session_id, "pageSize": 10})
    append(client, session_id, say("later"))
    rest = {"sessionId": session_id, "pageSize": 1000, "pageToken": page["nextPageToken"]}
    assert [m["sequence"] for m in client.call("ListMessages", rest)["messages"]] == list(range(11, 27))


def test_many_who_speak_at_once_leave_no_gap(client, session_id):
    def speak(n):
        return [append(client, session_id, say(*(f"{n}.{i}.{k}" for k in range(3)))) for i in range(5)]

    answers = [answer for each in at_once(16, speak) for answer in each]
    spans = sorted((answer["firstSequence"], answer["lastSequence"]) for answer in answers)
    assert spans == [(n, n + 2) for n in range(1, 241, 3)]
    messages = read(client, session_id, pageSize=100)
    assert [message["sequence"] for message in messages] == list(range(1, 241))
    for first, _ in spans:  # What was said together stands together.
        batch = [message["content"].rpartition(".") for message in messages[first - 1 : first + 2]]
        assert len({said for said, _, _ in batch}) == 1 and [k for _, _, k in batch] == ["0", "1", "2"]
    events = events_of(client, session_id)
    assert_chained(events)
    assert [(e["changes"]["first_sequence"], e["changes"]["last_sequence"]) for e in events[1:]] == spans


def test_a_batch_is_appended_once_however_often_it_is_sent(client, session_id):
    request = {"messages": say(1, 2), "requestId": str(uuid.uuid4())}
    answers = at_once(8, lambda _: append(client, session_id, **request))
    assert {(a["firstSequence"], a["lastSequence"]) for a in answers} == {(1, 2)}
    append(client, session_id, say(3))
    again = append(client, session_id, **request)
    assert (again["firstSequence"], again["lastSequence"]) == (1, 2)
    assert again["session"]["messageCount"] == 3
    with pytest.raises(Refused) as refused:
        append(client, session_id, say(1), requestId=request["requestId"])
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert types_of(client, session_id).count("MESSAGES_APPENDED") == 2


@pytest.mark.parametrize("verb", ["PauseSession", "StopSession", "DeleteSession"])
def test_only_what_is_active_is_spoken_in_and_what_was_said_stays(client, session_id, verb):
    append(client, session_id, say("heard"))
    client.call(verb, {"sessionId": session_id, **({"force": True} if verb == "DeleteSession" else {})})
    refusal = client.refusal("AppendMessages", {"sessionId": session_id, "messages": say("unheard")})
    assert refusal.reason == ("DELETED" if verb == "DeleteSession" else "SESSION_NOT_ACTIVE")
    if verb == "DeleteSession":
        assert client.refusal("ListMessages", {"sessionId": session_id}).reason == "DELETED"
    [message] = read(client, session_id, includeDeleted=True)
    assert message["content"] == "heard"


def test_a_batch_of_three_mebibytes_is_one_batch(client, session_id):
    append(client, session_id, say(*["x" * (1 << 20)] * 3))
    assert [len(message["content"]) for message in read(client, session_id)] == [1 << 20] * 3
