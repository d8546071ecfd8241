"""Deadlines, retries, request ids, metadata and hooks, against a server whose answers are written here."""

import asyncio
import threading

import grpc
import pytest
from fake import Fake, Refusal

import sessiond
import sessiond.aio
from sessiond import v1

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_attempts_of_a_change_have_one_request_id_and_hooks_are_told():
    calls, retries = [], []
    with Fake(PauseSession=[Refusal(UNAVAILABLE), Refusal(UNAVAILABLE, retry=0.2), v1.Session(session_id="x")]) as fake:
        with sessiond.connect(fake.address, on_call=calls.append, on_retry=retries.append) as client:
            assert client.pause_session("x").session_id == "x"
    ids = {request.request_id for _, request, _ in fake.requests}
    assert len(fake.requests) == 3 and len(ids) == 1 and ids != {""}
    assert [(each.method, each.attempts, each.error) for each in calls] == [("PauseSession", 3, None)]
    assert 0.025 <= retries[0].pause <= 0.05 and retries[1].pause >= 0.2
    assert isinstance(retries[0].error, sessiond.Unavailable)


def test_asyncio_does_the_same():
    async def main(fake):
        async def token():
            return "t"

        async with sessiond.aio.connect(fake.address, token=token, traceparent="00-a-b-01") as client:
            return await client.pause_session("x")

    with Fake(PauseSession=[Refusal(UNAVAILABLE), v1.Session(session_id="x")]) as fake:
        assert asyncio.run(main(fake)).session_id == "x"
    assert len({request.request_id for _, request, _ in fake.requests}) == 1
    metadata = fake.requests[1][2]
    assert metadata["authorization"] == "Bearer t" and metadata["traceparent"] == "00-a-b-01"
    assert metadata["user-agent"].startswith(f"sessiond-python/{sessiond.__version__} ")


@pytest.mark.parametrize("code", [each for each in grpc.StatusCode if each not in (UNAVAILABLE, grpc.StatusCode.OK)])
def test_nothing_but_unavailable_is_tried_again(code):
    with Fake(GetSession=[Refusal(code, "CONFLICT", "TEMPORARY", retry=0.01, pushback=1)]) as fake:
        with sessiond.connect(fake.address) as client, pytest.raises(sessiond.Refused) as refused:
            client.get_session("x")
    assert len(fake.requests) == 1
    assert refused.value.code is code and type(refused.value).code is code
    assert refused.value.category is sessiond.Category.TEMPORARY and refused.value.metadata == {"a": "b"}


def test_a_pause_longer_than_the_deadline_is_not_begun():
    with Fake(GetSession=[Refusal(UNAVAILABLE, "DRAINING", "TEMPORARY", retry=30)]) as fake:
        with sessiond.connect(fake.address, timeout=20) as client, pytest.raises(sessiond.Unavailable) as refused:
            client.get_session("x")
    assert len(fake.requests) == 1 and refused.value.retry_after == 30


@pytest.mark.parametrize("pushback", [-1, "soon"])
def test_a_pushback_that_is_no_time_says_not_to_try_again(pushback):
    with Fake(GetSession=[Refusal(UNAVAILABLE, pushback=pushback)]) as fake:
        with sessiond.connect(fake.address) as client, pytest.raises(sessiond.Unavailable):
            client.get_session("x")
    assert len(fake.requests) == 1


def test_closing_the_client_ends_the_pauses_of_its_calls():
    retried = threading.Event()
    with Fake(GetSession=[Refusal(UNAVAILABLE, retry=60)]) as fake:
        client = sessiond.connect(fake.address, timeout=100, on_retry=lambda retry: retried.set())
        errors = []

        def call():
            try:
                client.get_session("x")
            except (sessiond.Refused, ValueError) as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert retried.wait(30)
        client.close()
        thread.join(30)
    assert errors


def test_a_mask_names_what_is_set_and_what_is_removed():
    with Fake(UpdateSession=[v1.Session()]) as fake, sessiond.connect(fake.address) as client:
        client.update_session(
            "x",
            set_context={"a": {"b": [1, None]}},
            remove_context_keys=["c"],
            set_labels={"x.y": "1", "z": "2"},
            references={},
            hold=False,
            counter_increments={"n": 2},
        )
        with pytest.raises(ValueError, match="either labels, which replaces all"):
            client.update_session("x", labels={}, set_labels={"a": "b"})
        with pytest.raises(ValueError, match="backtick"):
            client.update_session("x", remove_label_keys=["a`b"])
    request = fake.requests[0][1]
    assert list(request.update_mask.paths) == [
        "context.a",
        "context.c",
        "labels.`x.y`",
        "labels.z",
        "references",
        "hold",
    ]
    assert dict(request.session.labels) == {"x.y": "1", "z": "2"} and request.counter_increments["n"] == 2


def test_pages_are_read_when_they_are_wanted():
    pages = [
        v1.ListSessionsResponse(sessions=[v1.Session(session_id=name) for name in "ab"], next_page_token="t"),
        v1.ListSessionsResponse(sessions=[v1.Session(session_id="c")]),
    ]
    with Fake(ListSessions=pages) as fake, sessiond.connect(fake.address) as client:
        sessions = client.list_sessions(page_size=2)
        assert not fake.requests
        assert next(sessions).session_id == "a" and next(sessions).session_id == "b"
        assert len(fake.requests) == 1 and sessions.next_page_token == "t"
        assert [each.session_id for each in sessions] == ["c"]
        assert fake.requests[1][1].page_token == "t" and sessions.next_page_token == ""
