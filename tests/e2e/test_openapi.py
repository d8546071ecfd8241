"""The OpenAPI document against the daemon that serves it: calls are made as it says, over HTTP, what is
answered is what its schemas say, and what the daemon takes, however odd, they take.
"""

import base64
import http.client
import json
import struct
import urllib.parse
import uuid

import pytest
from bad_requests import CONTRACT, METHODS, NOBODY, base_bytes, odd
from conftest import CALL_SECONDS, ROOT
from google.protobuf import json_format

jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")

DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
END_OF_STREAM = 2


def check(schema, content):
    """Raises what of this does not fit the schema. It has no fields that its schema does not know."""
    schemas = {
        each: {"additionalProperties": False, **known} if "properties" in known else known
        for each, known in DOCUMENT["components"]["schemas"].items()
    }
    validator = jsonschema.Draft202012Validator(
        {"components": {"schemas": schemas}, **schema},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    validator.validate(content)


def named(name):
    return {"$ref": f"#/components/schemas/{name}"}


def in_json(message):
    return json_format.MessageToDict(message, descriptor_pool=CONTRACT.pool)


class Refused(Exception):
    """What connect.Error says."""

    def __init__(self, error):
        super().__init__(error["code"])
        self.error = error


class Caller:
    """Knows of the daemon what the document says. Checks every request that is taken, and every answer."""

    def __init__(self, address):
        self._address = address
        self.called = set()

    def send(self, verb, target, body=None, headers=None):
        connection = http.client.HTTPConnection(self._address, timeout=CALL_SECONDS)
        connection.request(verb, target, body, headers or {})
        return connection.getresponse()

    def _answer(self, operation, response):
        content = json.load(response)
        assert response.headers.get_content_type() == "application/json"
        described = operation["responses"]["200" if response.status == 200 else "default"]
        if "$ref" in described:
            described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
        check(described["content"]["application/json"]["schema"], content)
        if response.status == 200:
            return content
        for detail in content["details"]:
            check(named(detail["type"]), detail["debug"])
            assert CONTRACT.message(detail["type"]).FromString(base64.b64decode(detail["value"] + "=="))
        raise Refused(content)

    def _stream(self, operation, response):
        """The first message; after one that is the last, the stream has to end well."""
        [content] = operation["responses"]["200"]["content"].values()
        assert response.headers.get_content_type() in operation["responses"]["200"]["content"]
        flags, length = struct.unpack(">BI", response.read(5))
        assert flags == 0
        answer = json.loads(response.read(length))
        check(content["schema"]["contentSchema"], answer)
        if operation["operationId"] == "AdminService_ImportSessions":
            flags, length = struct.unpack(">BI", response.read(5))
            assert flags == END_OF_STREAM
            end = json.loads(response.read(length))
            check(named("connect.EndOfStream"), end)
            assert "error" not in end
        response.close()
        return answer

    def call(self, method, request=None):
        self.called.add(method)
        path = f"/{CONTRACT.full(method)}"
        operations = DOCUMENT["paths"][path]
        post = operations["post"]
        body = json.dumps(request or {}).encode()
        [(content_type, content)] = post["requestBody"]["content"].items()
        if content_type == "application/connect+json":
            body = struct.pack(">BI", 0, len(body)) + body
        headers = {"Content-Type": content_type, "Connect-Protocol-Version": "1", "Connect-Timeout-Ms": "9000"}
        response = self.send("POST", path, body, headers)
        if content_type == "application/connect+json":
            answer = self._stream(post, response)
            check(content["schema"]["contentSchema"], request or {})
            return answer
        answer = self._answer(post, response)
        check(content["schema"], request or {})
        if "get" in operations:
            self._get(path, operations["get"], body)
        return answer

    def _get(self, path, operation, body):
        for query in [
            {"message": body, "encoding": "json"},
            {"message": base64.urlsafe_b64encode(body), "encoding": "json", "base64": 1, "connect": "v1"},
        ]:
            target = f"{path}?{urllib.parse.urlencode(query)}"
            self._answer(operation, self.send("GET", target))

    def refusal(self, method, request):
        with pytest.raises(Refused) as refused:
            self.call(method, request)
        return refused.value.error


@pytest.fixture
def checked(daemon):
    return Caller(daemon.admin)


def test_what_is_served_is_the_document_in_the_tree(checked):
    response = checked.send("GET", "/openapi.json")
    assert (response.status, response.headers.get_content_type()) == (200, "application/json")
    assert response.read() == (ROOT / "docs/openapi.json").read_bytes()


ERROR = {
    "category": "USER_FIXABLE",
    "severity": "BLOCKING",
    "userMessage": "Try another file.",
    "recoveryActions": ["Upload it again."],
    "technicalDetails": {"line": 7},
    "errorCode": "E1",
}


class EveryCall:
    """Sessions in a namespace of their own, to which everything is done that there is: with an id, a text in every
    script, what has a form of its own, and every table."""

    def __init__(self, checked):
        self.checked = checked
        self.namespace = f"n{uuid.uuid4().hex}"

    def create(self, workflow, **fields):
        session = {"workflow": workflow, "namespace": self.namespace, "ownerId": "ä", "ownerDisplayName": "Ada"}
        return self.checked.call("CreateSession", {"session": {**session, **fields}})["sessionId"]

    def on(self, session_id, method, **fields):
        return self.checked.call(method, {"sessionId": session_id, **fields})

    def change_a_ticket(self):
        """Answers with its id, and that of its file."""
        ticket = self.create("ticket_export", context={"site_name": "Köln"}, labels={"team": "a"})
        self.checked.call(
            "UpdateSession",
            {
                "session": {"sessionId": ticket, "ownerDisplayName": "Ada L."},
                "updateMask": "ownerDisplayName",
                "setContext": {"jira_project_key": "SITE"},
                "removeLabelKeys": ["team"],
                "setLabels": {"x.y": ""},
                "counterIncrements": {"total_tickets_generated": 2},
            },
        )
        self.on(ticket, "AdvanceSession", targetStage="upload")
        file = {"kind": "FILE", "uri": "s3://a", "metadata": {"a": 1.5}}
        [added] = self.on(ticket, "AddArtifacts", artifacts=[file])["artifacts"]
        self.on(ticket, "ListArtifacts", kind="FILE")
        return ticket, added["artifactId"]

    def run_tasks(self, ticket, error):
        task = self.on(
            ticket, "StartTask", taskType="processing", advanceToStage="processing", heartbeatTimeout="60.500s"
        )
        progress = {"percent": 50, "more": [1, None, {"ä": True}]}
        self.on(ticket, "ReportTaskProgress", taskId=task["taskId"], progress=progress)
        self.on(ticket, "FailTask", taskId=task["taskId"], failureContext={"why": "ä"}, error=error)
        retried = self.on(ticket, "RetryTask")
        self.on(ticket, "CancelTask", taskId=retried["taskId"])
        again = self.on(ticket, "StartTask", taskType="processing")
        self.on(ticket, "CompleteTask", taskId=again["taskId"], result={"tickets": 3})
        self.on(ticket, "GetTask")
        self.checked.call("ListTasks", {"namespace": self.namespace, "filter": 'status = "COMPLETED"'})

    def have_errors(self, ticket, error):
        recorded = self.on(ticket, "RecordError", error=error, actor="Zoë")
        self.on(ticket, "GetError", errorId=recorded["errorId"])
        self.on(ticket, "ListErrors", pageSize=1)
        self.checked.call("SummarizeErrors", {"namespace": self.namespace})
        self.on(ticket, "ResolveError", errorId=recorded["errorId"], resolution="It was.")

    def live(self, ticket, file):
        """From a pause to the last of its events."""
        self.on(ticket, "GetSession", view="FULL")
        self.on(ticket, "DeleteArtifact", artifactId=file)
        self.on(ticket, "PauseSession", reason="lunch")
        self.on(ticket, "ResumeSession")
        self.on(ticket, "FailSession", reason="no more")
        self.checked.call("ListRecoverableSessions", {"namespace": self.namespace, "ownerId": "ä"})
        self.on(ticket, "RecoverSession")
        self.on(ticket, "StopSession")
        self.on(ticket, "DeleteSession")
        self.checked.call("LookupSessions", {"sessionIds": [ticket, NOBODY, "no id"], "includeDeleted": False})
        self.on(ticket, "UndeleteSession")
        self.on(ticket, "ListSessionEvents", pageSize=1000)

    def talk(self):
        """Answers with its id."""
        talk = self.checked.call(
            "CreateSession",
            {
                "session": {
                    "workflow": "interview",
                    "namespace": self.namespace,
                    "ownerId": "b",
                    "references": {"job_posting": "j1"},
                },
                "creating": True,
            },
        )["sessionId"]
        self.on(talk, "ActivateSession")
        message = {"type": "question", "content": "Why?", "questionType": "technical"}
        self.on(talk, "AppendMessages", messages=[message])
        self.on(talk, "ListMessages", orderBy="sequence desc")
        return talk

    def list_and_watch(self):
        self.checked.call("ListSessions", {"namespace": self.namespace})
        self.checked.call("CountSessions", {"namespace": self.namespace, "groupBy": "STATE"})
        watch = {"namespace": self.namespace, "initialState": True, "heartbeatInterval": "5s"}
        self.checked.call("WatchSessions", watch)

    def define_a_workflow(self):
        self.checked.call("ListWorkflows", {"allRevisions": True})
        self.checked.call("GetWorkflow", {"name": "execution"})
        definition = {
            "name": f"w{uuid.uuid4().hex}",
            "idFormat": "EXEC",
            "stages": [{"name": "first"}, {"name": "last"}],
            "statuses": [{"name": "any"}],
            "fields": [{"name": "f", "type": "STRING", "allowedValues": ["a"]}],
            "recoveryWindow": "3600s",
        }
        self.checked.call("CreateWorkflow", {"workflow": definition})
        self.checked.call("ValidateWorkflow", {"textproto": "name: 1"})
        self.create(definition["name"], context={"f": "a"})

    def bring_in(self):
        imported = {
            "line": 1,
            "session": {
                "sessionId": str(uuid.uuid4()),
                "workflow": "ticket_export",
                "namespace": self.namespace,
                "ownerId": "c",
                "ownerDisplayName": "C",
                "createTime": "2026-01-01T00:00:00.5Z",
            },
            "errors": [ERROR | {"relatedFileId": ""}],
            "events": [{"what": "came"}],
        }
        assert self.checked.call("ImportSessions", imported)["result"] == "IMPORTED"

    def take_out(self):
        self.checked.call("DetachReference", {"namespace": self.namespace, "name": "job_posting", "value": "j1"})
        self.checked.call("PurgeSessions", {"namespace": self.namespace})
        self.checked.call("EraseOwner", {"namespace": self.namespace, "ownerId": "ä"})

    def be_refused(self, ticket, talk):
        assert self.checked.refusal("GetSession", {"sessionId": "no id"})["code"] == "invalid_argument"
        assert self.checked.refusal("GetSession", {"sessionId": ticket})["code"] == "not_found"
        self.checked.refusal("AdvanceSession", {"sessionId": talk, "targetStage": "Nowhere", "actor": "a\n"})
        self.checked.refusal("AdvanceSession", {"sessionId": talk, "targetStage": "interviewing"})
        self.checked.refusal("GetWorkflow", {"name": "nowhere"})


def test_what_the_daemon_takes_and_answers_is_what_the_schemas_say(checked):
    calls = EveryCall(checked)
    ticket, file = calls.change_a_ticket()
    error = {**ERROR, "relatedFileId": file}
    calls.run_tasks(ticket, error)
    calls.have_errors(ticket, error)
    calls.live(ticket, file)
    talk = calls.talk()
    calls.list_and_watch()
    calls.define_a_workflow()
    calls.bring_in()
    calls.take_out()
    checked.call("GetServerInfo")
    calls.be_refused(ticket, talk)
    assert checked.called == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_odd_but_sound_is_what_the_schemas_take(method):
    """test_bad_input.py sees to it that the daemon takes all of this."""
    request = CONTRACT.method(method)[0]
    checked = 0
    for what, sound in [("nothing odd", base_bytes(method, NOBODY)), *odd(method)]:
        try:
            content = in_json(request.FromString(sound))
        except (json_format.SerializeToJsonError, ValueError):
            continue  # JSON cannot have it.
        try:
            check(named(request.DESCRIPTOR.full_name), content)
        except jsonschema.ValidationError as error:
            raise AssertionError(what) from error
        checked += 1
    assert checked
