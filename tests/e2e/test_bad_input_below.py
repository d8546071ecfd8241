"""Bad input that only the session, or its workflow, can tell: links that lead elsewhere, batches with
one bad item, definitions that contradict themselves. Nothing of it is stored.
"""

import math
import uuid

import pytest
import wire
from bad_requests import CONTRACT
from conftest import Refused
from test_scenarios import types_of

MEBIBYTE = 1 << 20


@pytest.fixture
def interview(client):
    session = client.call("CreateSession", {"session": {"workflow": "interview", "ownerId": "u1"}})
    return session["sessionId"]


@pytest.fixture
def export(client):
    """A ticket_export in processing, with a file, a ticket and a running task."""
    session_id = client.create()["sessionId"]
    client.call("AdvanceSession", {"sessionId": session_id, "targetStage": "upload"})
    artifacts = [{"artifactId": "file", "kind": "FILE"}, {"artifactId": "ticket", "kind": "TICKET"}]
    client.call("AddArtifacts", {"sessionId": session_id, "artifacts": artifacts})
    start = {"taskType": "processing", "advanceToStage": "processing"}
    client.call("StartTask", {"sessionId": session_id, **start})
    return session_id


def assert_invalid_field(refusal, *fields, category="USER_FIXABLE"):
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD"), refusal
    assert refusal.fields == list(fields)
    assert refusal.metadata["field"] == fields[0]
    assert refusal.metadata["category"] == category


def error_of(**fields):
    return {"category": "TEMPORARY", "severity": "BLOCKING", "userMessage": "Wait.", **fields}


def everything(client, session_id):
    """What a refused call must not touch."""
    named = {"sessionId": session_id}
    session = client.call("GetSession", {**named, "view": "FULL"})
    for each in [session.get("currentTask", {}), *session.get("openErrors", [])]:
        each.pop("age", None)
        each.pop("duration", None)
    lists = ["ListErrors", "ListMessages", "ListArtifacts", "ListSessionEvents"]
    return [session, *(client.call(method, named) for method in lists)]


# ------------------------------------------------------------------------------------------------
# errors and tasks


LINKS = [
    ({"relatedFileId": "nobody"}, "nobody", "FILE"),
    ({"relatedTicketId": "nobody"}, "nobody", "TICKET"),
    ({"relatedFileId": "ticket"}, "ticket", "FILE"),
    ({"relatedTicketId": "file"}, "file", "TICKET"),
    ({"relatedFileId": "file", "relatedTicketId": "file"}, "file", "TICKET"),
    ({"relatedTicketId": "elsewhere"}, "elsewhere", "TICKET"),
]


@pytest.mark.parametrize("link, artifact, kind", LINKS, ids=lambda value: str(value))
def test_a_link_that_leads_elsewhere_is_refused(client, export, link, artifact, kind):
    other = client.create()["sessionId"]
    elsewhere = [{"artifactId": "elsewhere", "kind": "TICKET"}]
    client.call("AddArtifacts", {"sessionId": other, "artifacts": elsewhere})
    before = everything(client, export)
    task_id = before[0]["currentTask"]["taskId"]
    for method, fields in [("RecordError", {}), ("FailTask", {"taskId": task_id})]:
        request = {"sessionId": export, "error": error_of(**link), **fields}
        refusal = client.refusal(method, request)
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ARTIFACT_NOT_FOUND")
        assert refusal.metadata == {
            "category": "USER_FIXABLE",
            "session_id": export,
            "artifact_id": artifact,
            "kind": kind,
        }
    assert everything(client, export) == before


def test_a_stage_that_the_workflow_does_not_have_is_refused(client, export):
    before = everything(client, export)
    task_id = before[0]["currentTask"]["taskId"]
    error = error_of(operationStage="nowhere")
    for method, fields in [("RecordError", {}), ("FailTask", {"taskId": task_id})]:
        refusal = client.refusal(method, {"sessionId": export, "error": error, **fields})
        assert_invalid_field(refusal, "error.operation_stage")
    assert everything(client, export) == before


def test_what_only_programs_write_is_blamed_on_no_user(client, export):
    blank = error_of(userMessage=" \u200b\u200d", recoveryActions=["Wait.", "\u2060"])
    blank["category"] = "CATEGORY_UNSPECIFIED"
    before = everything(client, export)
    refusal = client.refusal("RecordError", {"sessionId": export, "error": blank, "reason": "x" * 4097})
    first = refusal.fields[0]
    assert first in ("error.user_message", "error.recovery_actions[1]")
    assert refusal.metadata["category"] == "ADMIN_REQUIRED"
    assert sorted(refusal.fields) == [
        "error.category",
        "error.recovery_actions[1]",
        "error.user_message",
        "reason",
    ]
    # The same words in somebody's own details are not those fields.
    for word in ["user_message", "recovery_actions"]:
        details = {"technicalDetails": {word: "\0"}}
        refusal = client.refusal("RecordError", {"sessionId": export, "error": error_of(**details)})
        assert_invalid_field(refusal, f"error.technical_details.{word}")
        assert refusal.sentence.startswith("error.technical_details")
    assert everything(client, export) == before


@pytest.mark.parametrize("method", ["GetError", "ResolveError"])
def test_an_error_of_another_session_is_not_found(client, export, method):
    other = client.create()["sessionId"]
    error_id = client.call("RecordError", {"sessionId": other, "error": error_of()})["errorId"]
    for wrong in [error_id, str(uuid.uuid4())]:
        refusal = client.refusal(method, {"sessionId": export, "errorId": wrong})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ERROR_NOT_FOUND")
        assert refusal.metadata["error_id"] == wrong
    assert client.call("GetSession", {"sessionId": other})["hasBlockingErrors"]


@pytest.mark.parametrize("workflow", ["ticket_export", "interview", "execution"])
def test_a_task_that_the_workflow_does_not_have_is_refused(client, workflow):
    session_id = client.create(workflow=workflow)["sessionId"]
    refusal = client.refusal("StartTask", {"sessionId": session_id, "taskType": "no_such_type"})
    assert_invalid_field(refusal, "task_type")
    for method in ["GetTask", "RetryTask"]:
        refusal = client.refusal(method, {"sessionId": session_id})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TASK_NOT_FOUND")
    for method in ["CompleteTask", "FailTask", "CancelTask", "ReportTaskProgress"]:
        refusal = client.refusal(method, {"sessionId": session_id, "taskId": str(uuid.uuid4())})
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TASK_NOT_FOUND")
    assert types_of(client, session_id) == ["CREATED"]


def test_a_task_id_is_a_run_s_own(client, export):
    first = client.call("GetTask", {"sessionId": export})["taskId"]
    client.call("FailTask", {"sessionId": export, "taskId": first})
    refusal = client.refusal("RetryTask", {"sessionId": export, "taskId": first})
    assert_invalid_field(refusal, "task_id")
    second = client.call("RetryTask", {"sessionId": export, "taskId": str(uuid.uuid4())})["taskId"]
    client.call("CancelTask", {"sessionId": export, "taskId": second})
    for used in [first, second]:
        start = {"sessionId": export, "taskType": "processing", "taskId": used}
        assert_invalid_field(client.refusal("StartTask", start), "task_id")
    # Of another session it may be: nobody can mistake them.
    assert client.call("StartTask", {"sessionId": export, "taskType": "processing"})["taskId"]


# ------------------------------------------------------------------------------------------------
# messages


def question(**fields):
    return {"type": "question", "content": "Why?", **fields}


def nested(levels):
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


ID = "5a4b3c2d-1e0f-4a9b-8c7d-6e5f4a3b2c1d"
BATCHES = {
    "a type it does not have": (question(type="rumour"), "type"),
    "a subtype it does not have": (question(questionType="trick"), "question_type"),
    "a subtype of another type": ({"type": "answer", "content": "!", "questionType": "technical"}, "question_type"),
    "nothing said": (question(content=""), "content"),
    "no type": ({"content": "?"}, "type"),
    "an id that is none": (question(messageId="1"), "message_id"),
    "an id twice": (question(messageId=ID), "message_id"),
    "a deep metadata": (question(metadata=nested(17)), "metadata"),
    "a NUL": (question(content="a\0b"), "content"),
    "a mebibyte and a byte": (question(content="x" * (MEBIBYTE + 1)), "content"),
}


@pytest.mark.parametrize("bad", BATCHES)
def test_nothing_of_a_batch_with_one_bad_message_is_stored(client, interview, bad):
    client.call("AppendMessages", {"sessionId": interview, "messages": [question()]})
    before = everything(client, interview)
    message, field = BATCHES[bad]
    batch = [question(messageId=ID), question(), message]
    refusal = client.refusal("AppendMessages", {"sessionId": interview, "messages": batch})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refusal.fields[0].startswith(f"messages[2].{field}") and len(refusal.fields) == 1
    assert everything(client, interview) == before
    # Neither did it use up what it brought.
    batch = [question(messageId=ID), question()]
    answer = client.call("AppendMessages", {"sessionId": interview, "messages": batch})
    assert (answer["firstSequence"], answer["lastSequence"]) == (2, 3)
    assert answer["session"]["counters"] == {"current_question_number": 3}


def test_a_message_id_is_taken_once(client, interview):
    client.call("AppendMessages", {"sessionId": interview, "messages": [question(messageId=ID)]})
    before = everything(client, interview)
    batch = [question(), question(messageId=ID)]
    refusal = client.refusal("AppendMessages", {"sessionId": interview, "messages": batch})
    assert_invalid_field(refusal, "messages[1].message_id")
    drawn = client.call("AppendMessages", {"sessionId": interview, "messages": [question()]})
    assert drawn["lastSequence"] == 2
    assert everything(client, interview) != before


def test_a_message_of_a_mebibyte_is_taken_and_comes_back(client, interview):
    for content in ["x" * MEBIBYTE, "\u00e4" * (MEBIBYTE // 2), "\U0001f600" * (MEBIBYTE // 4)]:
        client.call("AppendMessages", {"sessionId": interview, "messages": [question(content=content)]})
        last = {"sessionId": interview, "orderBy": "sequence desc", "pageSize": 1}
        [message] = client.call("ListMessages", last)["messages"]
        assert message["content"] == content
    page = client.call("ListMessages", {"sessionId": interview})
    assert 0 < len(page["messages"]) < 3 and page["nextPageToken"]  # It ends at 3 MiB.


def test_five_hundred_are_taken_and_one_more_is_not(client, interview, export):
    messages = [question(content=str(n)) for n in range(501)]
    request = {"sessionId": interview, "messages": messages}
    assert_invalid_field(client.refusal("AppendMessages", request), "messages")
    answer = client.call("AppendMessages", {**request, "messages": messages[:500]})
    assert (answer["firstSequence"], answer["lastSequence"]) == (1, 500)
    artifacts = [{"artifactId": f"a{n}", "kind": "TICKET"} for n in range(501)]
    request = {"sessionId": export, "artifacts": artifacts}
    assert_invalid_field(client.refusal("AddArtifacts", request), "artifacts")
    assert len(client.call("AddArtifacts", {**request, "artifacts": artifacts[:500]})["artifacts"]) == 500


@pytest.mark.parametrize(
    "order", ["sequence sideways", "create_time", "sequence; DROP TABLE", "DESC", "sequence desc desc"]
)
def test_messages_have_two_orders(client, interview, order):
    refusal = client.refusal("ListMessages", {"sessionId": interview, "orderBy": order})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
    assert refusal.metadata["position"].isdecimal()


def test_a_sequence_beyond_the_last_is_the_end_of_the_list(client, interview):
    client.call("AppendMessages", {"sessionId": interview, "messages": [question(), question()]})

    def sequences(**query):
        page = client.call("ListMessages", {"sessionId": interview, **query})
        return [message["sequence"] for message in page.get("messages", [])]

    for after in [2, 3, 1000, (1 << 31) - 1]:
        assert sequences(afterSequence=after) == []
        assert sequences(afterSequence=after, orderBy="sequence desc") == [2, 1][after == 2 :]
    assert sequences(afterSequence=1, orderBy="sequence desc") == []
    refusal = client.refusal("ListMessages", {"sessionId": interview, "afterSequence": -1})
    assert_invalid_field(refusal, "after_sequence")


def test_messages_of_a_workflow_without_any_are_refused(client, export):
    request = {"sessionId": export, "messages": [{"type": "question", "content": "?"}]}
    assert_invalid_field(client.refusal("AppendMessages", request), "messages[0].type")


# ------------------------------------------------------------------------------------------------
# artifacts


def test_nothing_of_a_batch_with_one_bad_artifact_is_stored(client, export):
    before = everything(client, export)
    for bad, field in [
        ({"artifactId": "file", "kind": "FILE"}, "artifact_id"),
        ({"artifactId": "new", "kind": "TICKET"}, "artifact_id"),
        ({"artifactId": "other"}, "kind"),
        ({"artifactId": "a\tb", "kind": "FILE"}, "artifact_id"),
    ]:
        batch = [{"artifactId": "new", "kind": "FILE"}, bad]
        refusal = client.refusal("AddArtifacts", {"sessionId": export, "artifacts": batch})
        assert_invalid_field(refusal, f"artifacts[1].{field}")
    large = [{"kind": "FILE", "metadata": {"a": "x" * 65_000}} for _ in range(49)]
    refusal = client.refusal("AddArtifacts", {"sessionId": export, "artifacts": large})
    assert_invalid_field(refusal, "artifacts")
    refusal = client.refusal("DeleteArtifact", {"sessionId": export, "artifactId": "new"})
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "ARTIFACT_NOT_FOUND")
    assert everything(client, export) == before


# ------------------------------------------------------------------------------------------------
# lists


TASK_FILTERS = [("status = \"BROKEN\"", 9), ("owner_id = \"u\"", 0), ("retry_count = \"x\"", 14), ("status =", 8)]
ERROR_FILTERS = [("severity = FATAL", 11), ("user_message = \"x\"", 0), ("resolved = maybe", 11), ("state = ACTIVE", 0)]


@pytest.mark.parametrize(
    "method, text, position",
    [("ListTasks", *each) for each in TASK_FILTERS]
    + [(method, *each) for method in ("ListErrors", "SummarizeErrors") for each in ERROR_FILTERS],
)
def test_a_filter_that_cannot_be_understood_names_the_position(client, method, text, position):
    refusal = client.refusal(method, {"filter": text})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
    assert refusal.metadata["position"] == str(position)


def test_a_page_token_is_good_for_its_own_query_only(client, export, interview):
    for _ in range(2):
        client.call("RecordError", {"sessionId": export, "error": error_of()})
        client.call("AppendMessages", {"sessionId": interview, "messages": [question()]})
    queries = {
        "ListErrors": [{"sessionId": export}, {"filter": "resolved = false"}, {"includeDeleted": True}],
        "ListMessages": [{"sessionId": interview}, {"orderBy": "sequence desc"}, {"afterSequence": 1}],
        "ListArtifacts": [{"sessionId": export}, {"kind": "FILE"}, {"includeDeleted": True}],
        "ListTasks": [{"namespace": "-"}, {"filter": "retryable = true"}, {"namespace": ""}],
    }
    tokens = {}
    for method, [query, *_] in queries.items():
        if method != "ListTasks":
            tokens[method] = client.call(method, {**query, "pageSize": 1})["nextPageToken"]
    for method, token in tokens.items():
        for other, [query, *changes] in queries.items():
            for change in changes if other == method else [{}]:
                refusal = client.refusal(other, {**query, **change, "pageToken": token})
                assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"), (other, change)


# ------------------------------------------------------------------------------------------------
# definitions


DEFINITION = {
    "name": "bad_definition",
    "idFormat": "UUID",
    "stages": [{"name": "one"}, {"name": "two"}, {"name": "three"}],
    "statuses": [{"name": "failed", "failed": True}, {"name": "open"}],
    "fields": [{"name": "a", "type": "STRING"}],
    "counters": ["asked"],
    "taskTypes": [{"name": "work", "stages": ["one"]}],
    "messageTypes": [{"name": "said", "incrementsCounter": "asked"}],
}
DEFINITIONS = {
    "a cycle": ({"stages": [{"name": "one"}, {"name": "two"}, {"name": "one"}]}, "stages[2]"),
    "a field that nobody declared": (
        {"stages": [{"name": "one"}, {"name": "two", "requiredFields": ["b"]}]},
        "stages[1].required_fields[0]",
    ),
    "a task in no stage of it": ({"taskTypes": [{"name": "work", "stages": ["four"]}]}, "task_types[0].stages[0]"),
    "a task in its last stage": ({"taskTypes": [{"name": "work", "stages": ["three"]}]}, "task_types[0].stages[0]"),
    "no status that always holds": ({"statuses": [{"name": "failed", "failed": True}]}, "statuses"),
    "a status that nothing reaches": (
        {"statuses": [{"name": "open"}, {"name": "failed", "failed": True}]},
        "statuses[1]",
    ),
    "a counter that nobody declared": (
        {"messageTypes": [{"name": "said", "incrementsCounter": "heard"}]},
        "message_types[0].increments_counter",
    ),
    "no name": ({"name": ""}, "name"),
    "no id format": ({"idFormat": "ID_FORMAT_UNSPECIFIED"}, "id_format"),
    "a name that is none": ({"name": "Not A Name"}, "name"),
    "a negative number of tries": ({"maxRetries": -1}, "max_retries"),
    "a field without a type": ({"fields": [{"name": "a"}]}, "fields[0].type"),
}


@pytest.mark.parametrize("bad", DEFINITIONS)
def test_a_definition_that_contradicts_itself_is_refused_with_its_position(client, bad):
    change, position = DEFINITIONS[bad]
    definition = {**DEFINITION, **change}
    refusal = client.refusal("CreateWorkflow", {"workflow": definition})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_WORKFLOW")
    assert refusal.metadata["position"].startswith(position), refusal.fields
    problems = client.call("ValidateWorkflow", {"workflow": definition})["problems"]
    assert [f"workflow.{problem['path']}" for problem in problems] == refusal.fields
    assert all(problem["description"] for problem in problems)
    names = [each["name"] for each in client.call("ListWorkflows", {})["workflows"]]
    assert "bad_definition" not in names


# With the line and the column where reading ended: behind the word that is wrong.
TEXTS = {
    "an unknown field": ('name: "x"\nid_format: UUID\nstagez { name: "a" }\n', 3, 8),
    "an unknown field inside": ('name: "x"\nid_format: UUID\nstages { name: "a" colour: "red" }\n', 3, 26),
    "an unknown value": ('name: "x"\n  id_format: ROMAN\n', 2, 14),
    "a string without an end": ('name: "x\n', 1, 9),
    "no definition": ("hello", 1, 6),
}


@pytest.mark.parametrize("bad", TEXTS)
def test_a_text_that_is_no_definition_says_where(client, bad):
    text, line, column = TEXTS[bad]
    answer = client.call("ValidateWorkflow", {"textproto": text})
    assert not answer.get("valid", False)
    first = answer["problems"][0]
    assert (first["line"], first["column"]) == (line, column), first
    assert first["description"]


@pytest.mark.parametrize(
    "text",
    ["", "\0", "x" * MEBIBYTE, "stages {" * 10_000, "\x1b[2J", "a: " * 1000],
    ids=lambda text: repr(text)[:20],
)
def test_no_text_harms_it(client, text):
    answer = client.call("ValidateWorkflow", {"textproto": text})
    assert not answer.get("valid", False) and answer["problems"]


def test_a_definition_with_numbers_beyond_all_bounds_is_refused(client):
    for change in [
        {"recoveryWindow": "-1s"},
        {"retention": {"afterEnd": "-1s"}},
        {"recoveryWindow": "315576000000s"},
        {"fields": [{"name": "a", "type": "STRING", "maxLength": -1}]},
        {"fields": [{"name": "a", "type": 99}]},
        {"stages": [{"name": f"s{n}"} for n in range(100_000)], "taskTypes": []},
        {"displayName": "x" * 100_000},
        {"counters": [f"c{n}" for n in range(10_000)]},
    ]:
        refusal = client.refusal("CreateWorkflow", {"workflow": {**DEFINITION, **change}})
        assert refusal.code == "INVALID_ARGUMENT", change
        assert refusal.reason == "INVALID_WORKFLOW"
        assert len(refusal.sentence) < 1024


def test_details_that_json_does_not_have_are_refused_in_every_struct(client, export):
    nan = wire.entry("a", wire.number_value(math.nan))
    before = everything(client, export)
    task_id = before[0]["currentTask"]["taskId"]
    for method, field in [
        ("ReportTaskProgress", "progress"),
        ("CompleteTask", "result"),
        ("FailTask", "failure_context"),
    ]:
        number = CONTRACT.methods[method].input_type.fields_by_name[field].number
        request = CONTRACT.request(method, {"sessionId": export, "taskId": task_id})
        with pytest.raises(Refused) as refused:
            client.send("/" + CONTRACT.full(method), request + wire.blob(number, nan))
        assert_invalid_field(refused.value, f"{field}.a")
    assert everything(client, export) == before
