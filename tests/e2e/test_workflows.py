"""Workflows of one's own: listed, checked, created, kept by the sessions that began with them, known
to every daemon, and brought along in a directory."""

import copy
import itertools
import os
import pathlib
import subprocess
import uuid

import pytest
from conftest import BUILD, Refused
from google.protobuf import json_format, text_format
from threads import in_threads
from topology import THROUGH
from waits import until

SERVICE = "sessiond.v1.WorkflowService/"
ONBOARDING = pathlib.Path(__file__).parents[1] / "workflows/onboarding.textproto"
STAGES = ["welcome", "paperwork", "provisioning", "training", "onboarded"]
CONTEXT = {"department": "sales", "start_day": "2027-01-04", "remote": True}
# Until a daemon knows of what another created, it may take a second; a busy machine takes longer.
KNOWN_SECONDS = 30


@pytest.fixture(scope="module")
def onboarding(contract):
    """The definition, as JSON."""
    message = contract.message("sessiond.v1.Workflow")()
    text_format.Parse(ONBOARDING.read_text(), message, descriptor_pool=contract.pool)
    return json_format.MessageToDict(message, descriptor_pool=contract.pool)


@pytest.fixture
def fresh(onboarding):
    """The same, under a name that nobody had."""
    return {**copy.deepcopy(onboarding), "name": f"w{uuid.uuid4().hex}"}


def create(client, workflow, **fields):
    return client.call(SERVICE + "CreateWorkflow", {"workflow": workflow, **fields})


def get(client, name, revision=0):
    return client.call(SERVICE + "GetWorkflow", {"name": name, "revision": revision})


def validate(client, **definition):
    answer = client.call(SERVICE + "ValidateWorkflow", definition)
    problems = answer.get("problems", [])
    assert answer.get("valid", False) == (not problems)
    return problems


def begin(client, workflow, **fields):
    session = {"workflow": workflow, "ownerId": "newcomer", "context": CONTEXT, **fields}
    return client.call("CreateSession", {"session": session})


def advance(client, session, stage):
    return client.call("AdvanceSession", {"sessionId": session["sessionId"], "targetStage": stage})


# ------------------------------------------------------------------------------------------------
# create and get


def test_a_definition_becomes_a_workflow_that_sessions_go_through(client, fresh):
    created = create(client, fresh)
    assert created == {**fresh, "revision": 1}
    assert get(client, fresh["name"]) == created
    session = begin(client, fresh["name"])
    assert (session["workflowRevision"], session["stage"], session["status"]) == (1, "welcome", "new")
    for stage, status in zip(STAGES[1:], ["new", "new", "learning", "onboarded"]):
        assert session["nextStage"] == stage
        session = advance(client, session, stage)
        assert (session["stage"], session["status"]) == (stage, status)
    assert (session["state"], session.get("nextStage", "")) == ("STOPPED", "")


def test_the_same_definition_again_is_the_same_revision(client, fresh):
    request_id = str(uuid.uuid4())
    first = create(client, fresh, requestId=request_id)
    assert create(client, fresh, requestId=request_id) == first
    assert create(client, {**fresh, "revision": 77}) == first
    second = create(client, {**fresh, "displayName": "Changed"})
    assert second["revision"] == 2
    # Only the newest counts: back to what was is forwards.
    assert create(client, fresh) == {**first, "revision": 3}
    assert get(client, fresh["name"], 1) == first
    assert get(client, fresh["name"])["revision"] == 3


def test_a_session_keeps_the_revision_it_began_with(client, fresh):
    create(client, fresh)
    old = begin(client, fresh["name"])
    changed = copy.deepcopy(fresh)
    changed["stages"].insert(1, {"name": "interlude"})
    changed["counters"].append("coffees")
    assert create(client, changed)["revision"] == 2



    def begin_new():
        session = begin(client, fresh["name"])
        # A daemon that did not create it may not know it yet.
        return session if session["workflowRevision"] == 2 or not THROUGH else None

    new = until(begin_new, seconds=KNOWN_SECONDS)
    assert (old["workflowRevision"], new["workflowRevision"]) == (1, 2)
    assert new["nextStage"] == "interlude"
    seen = client.call("GetSession", {"sessionId": old["sessionId"]})
    assert (seen["workflowRevision"], seen["nextStage"]) == (1, "paperwork")
    assert advance(client, old, "paperwork")["stage"] == "paperwork"
    with pytest.raises(Refused) as refused:
        advance(client, new, "paperwork")
    assert refused.value.reason == "INVALID_TRANSITION"
    for session, taken in [(old, False), (new, True)]:
        request = {"session": {"sessionId": session["sessionId"]}, "counterIncrements": {"coffees": 1}}
        try:
            client.call("UpdateSession", request)
            assert taken
        except Refused:
            assert not taken


def test_what_is_asked_for_in_vain_says_what_there_is(client, fresh):
    refusal = client.refusal(SERVICE + "GetWorkflow", {"name": fresh["name"]})
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")
    assert refusal.metadata["workflow"] == fresh["name"]
    assert {"execution", "interview", "ticket_export"} <= set(refusal.metadata["known"].split(","))
    create(client, fresh)
    for revision in [2, -1, 2**31 - 1]:
        request = {"name": fresh["name"], "revision": revision}
        refusal = client.refusal(SERVICE + "GetWorkflow", request)
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")
        assert refusal.metadata["revision"] == str(revision)
        assert refusal.metadata["known"] == "1"
    for request in [{}, {"name": "Not a name"}]:
        refusal = client.refusal(SERVICE + "GetWorkflow", request)
        assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["name"])


# ------------------------------------------------------------------------------------------------
# what is wrong with a definition


def test_an_unsound_definition_is_refused_with_every_problem(client, fresh):
    fresh["stages"][4]["name"] = "welcome"
    fresh["stages"][1]["requiredFields"] = ["nope"]
    fresh["maxRetries"] = -1
    refusal = client.refusal(SERVICE + "CreateWorkflow", {"workflow": fresh})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_WORKFLOW")
    assert refusal.metadata["position"] == "stages[1].required_fields[0]"
    assert refusal.metadata["category"] == "USER_FIXABLE"
    assert "stages[1].required_fields[0]: \"nope\" is not a field" in refusal.sentence
    assert refusal.fields == [
        "workflow.stages[1].required_fields[0]",
        "workflow.stages[4].name",
        "workflow.max_retries",
    ]
    assert "cycle" in str(refusal.details["BadRequest"])
    refusal = client.refusal(SERVICE + "GetWorkflow", {"name": fresh["name"]})
    assert refusal.reason == "WORKFLOW_NOT_FOUND"
    refusal = client.refusal(SERVICE + "CreateWorkflow", {})
    assert (refusal.reason, refusal.metadata["position"]) == ("INVALID_WORKFLOW", "name")


def test_a_definition_is_checked_without_being_created(client, fresh):
    assert validate(client, workflow=fresh) == []
    fresh["statuses"][0]["states"] = ["ACTIVE"]
    fresh["taskTypes"][0]["stages"].append("onboarded")
    assert [problem["path"] for problem in validate(client, workflow=fresh)] == [
        "task_types[0].stages[2]"
    ]
    fresh["taskTypes"][0]["stages"].pop()
    (problem,) = validate(client, workflow=fresh)
    assert problem["path"] == "statuses[0]"
    assert "can never hold" in problem["description"]
    assert "line" not in problem
    refusal = client.refusal(SERVICE + "GetWorkflow", {"name": fresh["name"]})
    assert refusal.reason == "WORKFLOW_NOT_FOUND"


TEXT = """\
name: "text"
id_format: UUID
stages { name: "one" }
stages { name: "two" required_fields: "color" }
stages { name: "three" }
statuses { name: "failed" failed: true }
statuses { name: "any" }
fields { name: "color" type: STRING }
task_types { name: "paint" stages: "two" }
"""


@pytest.mark.parametrize(
    "before, after, line, column, path, words",
    [
        ("three", "one", 5, 10, "stages[2].name", "cycle"),
        ('"color" }', '"colour" }', 4, 22, "stages[1].required_fields[0]", "colour"),
        ("type: STRING", 'type: STRING allowed_values: ""', 4, 22, "stages[1].required_fields[0]", "never be reached"),
        ('"any" }', '"any" stages: "one" }', 6, 1, "statuses", "STOPPED"),
        ('"two" }', '"three" }', 9, 28, "task_types[0].stages[0]", "last stage"),
        ("id_format: UUID", "", 0, 0, "id_format", "UUID or EXEC"),
        ("id_format: UUID", "id_format: GUID", 2, 12, "", "GUID"),
        ("id_format", "id", 2, 3, "", 'no field named "id"'),
        ('"one" }', '"one"', 4, 8, "", "stages"),
        ("name: \"text\"", "\x00", 1, 1, "", ""),
    ],
)
def test_text_is_checked_to_the_line_and_column(client, before, after, line, column, path, words):
    assert validate(client, textproto=TEXT) == []
    problem = validate(client, textproto=TEXT.replace(before, after, 1))[0]
    assert (problem.get("line", 0), problem.get("column", 0), problem.get("path", "")) == (line, column, path)
    assert words in problem["description"]


def test_a_text_may_have_a_mebibyte_and_something_must_be_given(client):
    assert validate(client, textproto=TEXT + "#" * (2**20 - len(TEXT))) == []
    refusal = client.refusal(SERVICE + "ValidateWorkflow", {"textproto": "#" * (2**20 + 1)})
    assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["textproto"])
    refusal = client.refusal(SERVICE + "ValidateWorkflow", {})
    assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["workflow"])
    assert validate(client, textproto="")[0]["path"] == "name"


# ------------------------------------------------------------------------------------------------
# lists


def read_all(client, **query):
    return client.read_all(SERVICE + "ListWorkflows", "workflows", **query)


def test_lists_are_read_page_by_page_with_the_newest_revision_first(client, fresh):
    for title in "abc":
        create(client, {**fresh, "displayName": title})
    for size in [1, 2, 50, 0, 10_000]:
        newest = read_all(client, pageSize=size)
        names = [workflow["name"] for workflow in newest]
        assert names == sorted(set(names))
        assert {"execution", "interview", "ticket_export", fresh["name"]} <= set(names)
        every = read_all(client, pageSize=size, allRevisions=True)
        keys = [(workflow["name"], -workflow["revision"]) for workflow in every]
        assert keys == sorted(set(keys))
        mine = [workflow for workflow in every if workflow["name"] == fresh["name"]]
        assert [(w["revision"], w["displayName"]) for w in mine] == [(3, "c"), (2, "b"), (1, "a")]
        assert [w["revision"] for w in newest if w["name"] == fresh["name"]] == [3]


def test_a_page_token_is_for_its_own_list(client):
    token = client.call(SERVICE + "ListWorkflows", {"pageSize": 1})["nextPageToken"]
    for request in [{"pageToken": token, "allRevisions": True}, {"pageToken": token + "A"}, {"pageToken": "x"}]:
        assert client.refusal(SERVICE + "ListWorkflows", request).reason == "INVALID_PAGE_TOKEN"
    refusal = client.refusal(SERVICE + "ListWorkflows", {"pageSize": -1})
    assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["page_size"])


def test_an_unknown_workflow_is_refused_with_those_there_are(client):
    refusal = client.refusal("CreateSession", {"session": {"workflow": "nope"}})
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "UNKNOWN_WORKFLOW")
    assert "interview" in refusal.metadata["known"].split(",")


# ------------------------------------------------------------------------------------------------
# two daemons


def test_what_one_daemon_creates_the_other_knows(own_daemon, second_daemon, fresh):
    one = own_daemon.start()
    two = second_daemon.start(f"--db-url={own_daemon.db_url}")
    create(one, fresh)
    # Found at once by whoever asks for it, for a session too.
    assert begin(two, fresh["name"])["workflowRevision"] == 1
    create(one, {**fresh, "displayName": "Second"})
    assert get(two, fresh["name"])["revision"] == 2
    create(two, {**fresh, "displayName": "Third"})
    assert [w["revision"] for w in read_all(one, allRevisions=True) if w["name"] == fresh["name"]] == [3, 2, 1]
    # A session of the one is served by the other, whatever its revision.
    create(one, {**fresh, "displayName": "Fourth"})
    session = begin(one, fresh["name"])
    assert session["workflowRevision"] == 4
    assert advance(two, session, "paperwork")["stage"] == "paperwork"
    # New sessions follow the newest one soon, without anybody asking.
    create(one, {**fresh, "displayName": "Fifth"})
    until(lambda: begin(two, fresh["name"])["workflowRevision"] == 5, seconds=KNOWN_SECONDS)
    two.close()
    second_daemon.stop()


def test_daemons_that_create_at_once_agree(own_daemon, second_daemon, fresh):
    clients = [own_daemon.start(), second_daemon.start(f"--db-url={own_daemon.db_url}")]

    def create_some(number, titles):
        client = clients[number % 2]
        return [create(client, {**fresh, "displayName": title})["revision"] for title in titles]

    assert in_threads(lambda number: create_some(number, ["the same"]), range(4)) == [[1]] * 4
    revisions = in_threads(lambda number: create_some(number, [f"{number} {i}" for i in range(5)]), range(4))
    assert sorted(itertools.chain(*revisions)) == list(range(2, 22))
    clients[1].close()
    second_daemon.stop()


# ------------------------------------------------------------------------------------------------
# the directory


def serve_in_vain(*options):
    """Starts a daemon that must not start, and answers with what it says."""
    ended = subprocess.run(
        [
            BUILD / "server/sessiond",
            "serve",
            "--ephemeral",
            "--grpc-listen=127.0.0.1:0",
            "--http-listen=off",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    return ended.stderr


def start_again(daemon, client, *options):
    client.close()  # gRPC waits for seconds until an idle one has said goodbye.
    daemon.stop()
    return daemon.start(*options)


def test_a_directory_of_definitions_is_created_at_start(own_daemon, tmp_path):
    text = ONBOARDING.read_text()
    file = tmp_path / "onboarding.textproto"
    file.write_text(text)
    (tmp_path / "README.md").write_text("of no consequence")
    option = f"--workflows-dir={tmp_path}"
    client = own_daemon.start(option)
    assert get(client, "onboarding")["revision"] == 1
    assert begin(client, "onboarding")["stage"] == "welcome"
    # Again: nothing. Changed: the next revision.
    client = start_again(own_daemon, client, option)
    assert get(client, "onboarding")["revision"] == 1
    file.write_text(text.replace("max_retries: 2", "max_retries: 4"))
    client = start_again(own_daemon, client, option)
    assert (get(client, "onboarding")["revision"], get(client, "onboarding")["maxRetries"]) == (2, 4)
    # What was created since stays: the database is the truth.
    create(client, {**get(client, "onboarding"), "maxRetries": 7})
    client = start_again(own_daemon, client, option)
    assert (get(client, "onboarding")["revision"], get(client, "onboarding")["maxRetries"]) == (3, 7)
    assert "revision 3 is the newest" in "\n".join(own_daemon.log_lines())


def test_a_definition_of_the_directory_may_take_a_built_in_ones_place(own_daemon, tmp_path):
    (tmp_path / "interview.textproto").write_text(
        'name: "interview" display_name: "Ours" id_format: UUID statuses { name: "any" }'
    )
    option = f"--workflows-dir={tmp_path}"
    client = own_daemon.start(option)
    for _ in range(2):
        mine = [w for w in read_all(client, allRevisions=True) if w["name"] == "interview"]
        assert [(w["revision"], w["displayName"]) for w in mine] == [(1, "Ours")]
        client = start_again(own_daemon, client, option)


def test_an_unsound_file_stops_the_start_with_its_place(tmp_path):
    file = tmp_path / "b.textproto"
    option = f"--workflows-dir={tmp_path}"
    file.write_text(TEXT.replace('"color" }', '"colour" }').replace("three", "one"))
    said = serve_in_vain(option)
    assert f"sessiond: {file}:4:22: stages[1].required_fields[0]: " in said
    assert "(and 1 problem more); mend the definition" in said
    file.write_text("name 1")
    assert f"{file}:1:6: Expected" in serve_in_vain(option)
    file.write_text(TEXT)
    (tmp_path / "a.textproto").write_text(TEXT)
    assert f"{tmp_path}/a.textproto and {file} both define the workflow \"text\"" in serve_in_vain(option)
    said = serve_in_vain(f"--workflows-dir={tmp_path}/nowhere")
    assert "nowhere cannot be read (No such file or directory)" in said


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "text.textproto")
    option = f"--workflows-dir={tmp_path}"
    assert f"{tmp_path}/text.textproto is not a regular file" in serve_in_vain(option)
    (tmp_path / "text.textproto").unlink()
    (tmp_path / "text.textproto").symlink_to("/dev/zero")
    assert f"{tmp_path}/text.textproto is not a regular file" in serve_in_vain(option)


def test_a_directory_of_other_files_stops_the_start(tmp_path):
    (tmp_path / "text.txtpb").write_text(TEXT)
    assert f"there is {tmp_path}/text.txtpb: rename it" in serve_in_vain(f"--workflows-dir={tmp_path}")
