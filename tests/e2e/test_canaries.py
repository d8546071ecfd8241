"""Canaries: what callers say, and what they prove who they are with, does not turn up where it does not
belong: in the daemon's log, in its metrics, in PostgreSQL's log, in answers to others.

Every text of every request has a word of its own that nobody else says, and says it in several ways: so
that it is taken, among what is refused, too long, cut off. A field that is new joins by itself.
"""

import base64
import json
import re
import secrets
import ssl
import string
import urllib.error
import urllib.request
import uuid

import bad_requests
import grpc
import pytest
import wire
from bad_requests import CONTRACT, METHODS, NAMESPACE, NOBODY, STREAMS
from certificates import Authority
from conftest import CALL_SECONDS, Client, Daemon, Refused
from google.protobuf.descriptor import FieldDescriptor
from tokens import Issuer, base64url, bearer, hash_of

# The one list of what the log may have of requests: names of things, so that operators and auditors find
# who did what to what, and never what was said in messages, contexts, labels, references, metadata and
# technical details. By the end of the field's path.
LOGGED = {
    # Lines about changes (server/ops/journal.cc).
    "owner_id": "Session … created for user …",
    "session.namespace": "and where",
    "session.workflow": "and of what",
    "user_message": "SessionError created …: what the user was told, its first 200 bytes",
    "related_file_id": "Error linked to … file, at level debug",
    "related_ticket_id": "Error linked to … ticket, at level debug",
    "failure_context, its keys": "SessionTask … failed: the names of what its context has",
    "actor": "who recovered, held or resolved",
    "reason": "and why",
    # Refusals, which quote the name that is wrong (docs/security.md).
    "session_id": "Session … never existed",
    "session_ids": "the same",
    "task_id": "the id of no run, or of another",
    "error_id": "the id of no error",
    "artifact_id": "the id of no artifact",
    "etag": "the etag is …, not …",
    "target_stage": "no stage of the workflow",
    "advance_to_stage": "the same",
    "name": "no workflow, or no name for one",
    "filter": "the word of it that is wrong",
    "order_by": "no order of the list",
    "update_mask.paths": "no field",
    "counters.key": "no counter",
    "counter_increments.key": "the same",
    "labels.key": "no key of a label",
    "set_labels.key": "the same",
    "references.key": "no name of a reference",
    "set_references.key": "the same",
    "session.context, its keys": "no field of the workflow",
    "set_context, its keys": "the same",
    "statuses.name": "no name of a status",
}

CHARACTERS = string.ascii_lowercase + string.digits


class Canaries:
    """Words that are said once, and where."""

    # So much of one is enough to know it by, if it was cut off.
    KNOWN_BY = 12

    def __init__(self):
        self._where = {}
        self._forms = {}

    def new(self, *where):
        """A word of letters and digits."""
        # Of so many characters that no two are alike as far as they are known by it.
        return self.add("cnry" + "".join(secrets.choice(CHARACTERS) for _ in range(16)), *where)

    def new_id(self, *where):
        return self.add(str(uuid.uuid4()), *where)

    def add(self, word, *where):
        self._where[word] = where
        content = word.encode()
        forms = [word, content.hex()]
        for shift in range(3):  # In base64, wherever it begins.
            coded = base64.b64encode(b"\0" * shift + content).decode()
            forms.append(coded[shift + (shift > 0) :])
        self._forms.update({form[: self.KNOWN_BY]: word for form in forms})
        return word

    def __len__(self):
        return len(self._where)

    def found_in(self, text):
        """Where the words come from that are in the text, as they are or encoded."""
        size = self.KNOWN_BY
        pieces = (text[i : i + size] for i in range(len(text) - size + 1))
        return {self._where[self._forms[piece]] for piece in pieces if piece in self._forms}


def test_canaries_are_found():
    canaries = Canaries()
    word, other = canaries.new("a", "field"), canaries.new("another")
    for text in [word, f"x{word[:15]}…", word.encode().hex()]:
        assert canaries.found_in(f"a line with {text} in it") == {("a", "field")}
    for before in ["", "a", "ab"]:
        coded = base64.b64encode(f"{before}{other} and more".encode()).decode()
        assert canaries.found_in(f'{{"bytes":"{coded}"}}') == {("another",)}
    assert not canaries.found_in("nothing " * 100)


ACCESS = """
[[principals]]
name = "admin"
token_hashes = ["{admin}"]
roles = ["admin"]
namespaces = ["*"]

[[principals]]
name = "other"
token_hashes = ["{other}"]
roles = ["admin"]
namespaces = ["other"]

[[issuers]]
issuer = "https://login.example"
audiences = ["sessiond"]
jwks_file = "{jwks}"

[[issuers.subjects]]
subject = "service-*"
roles = ["admin"]
namespaces = ["*"]
"""


class Aviary:
    """A daemon that says all it has to say, and its callers."""

    def __init__(self, contract, directory):
        self.canaries = Canaries()
        self.contract = contract
        self.authority = Authority(directory / "pki")
        issuer = Issuer(directory)
        self.admin, self.other = self.token("opaque"), self.token("opaque, of another")
        self.jwt = self.signed(issuer.token("service-1"))
        (directory / "access.toml").write_text(
            ACCESS.format(admin=hash_of(self.admin), other=hash_of(self.other), jwks=issuer.jwks)
        )
        head, body, signature = issuer.token("service-1", note=self.canaries.new("token", "a claim")).split(".")
        forged = base64url(json.dumps({"iss": "https://login.example", "sub": self.canaries.new("token", "a subject"),
                                       "aud": self.canaries.new("token", "an audience"), "exp": 1}).encode())
        self.strangers = [
            bearer(self.token("unknown")),
            bearer(self.signed(f"{head}.{body}.{signature[::-1]}")),
            bearer(self.signed(f"{head}.{forged}.{signature}")),
            bearer(self.signed(f"{self.canaries.new('token', 'a header')}.{body}.{signature}")),
            bearer(self.signed(issuer.token(self.canaries.new("token", "an expired subject"), seconds=-600))),
            bearer(self.signed(issuer.token("nobody-" + self.canaries.new("caller", "not granted")))),
            bearer(self.token("too long") * 500),
            [("authorization", "Basic " + self.token("basic"))],
            [("authorization", self.token("bare"))],
            bearer(self.admin) + bearer(self.token("second")),
        ]
        self.daemon = Daemon(contract)
        self.daemon.start(
            "--log-level=debug",
            f"--access-file={directory / 'access.toml'}",
            "--tls-client-auth=optional",
            *self.authority.daemon_options(),
        )
        self.address = self.daemon.address.replace("127.0.0.1", "localhost")
        self.client = Client(contract, self.address, self.authority.channel_credentials())
        self.client._channel.close()
        self.client._channel = grpc.secure_channel(
            self.address,
            self.authority.channel_credentials(),
            options=[("grpc.primary_user_agent", self.canaries.new("header", "user-agent"))],
        )
        # What was answered to those who have the canaries, and to those who have not.
        self.own_answers, self.other_answers = [], []
        # Whose words were in the database, before all was removed.
        self.stored = set()
        self.accepted = set()

    def token(self, what):
        return self.canaries.new("token", what)

    def signed(self, token):
        """A token of three parts, each of which is one too many."""
        for part, content in zip(("header", "claims", "signature"), token.split(".")):
            if part != "header" or "cnry" in content:
                self.canaries.add(content, "token", part)
        return token

    def headers(self):
        """All that we read, and some that nobody does."""
        new = self.canaries.new
        return [
            ("traceparent", f"00-{new('header', 'traceparent')}-00f067aa0ba902b7-01"),
            ("tracestate", new("header", "tracestate")),
            ("x-request-id", new("header", "x-request-id")),
            ("x-unknown", new("header", "x-unknown")),
            ("cookie", new("header", "cookie")),
            ("x-unknown-bin", new("header", "x-unknown-bin").encode()),
        ]

    def send(self, method, request, credentials, answers):
        """Says it, and notes what is answered."""
        path, metadata = "/" + CONTRACT.full(method), [*credentials, *self.headers()]
        try:
            if method in STREAMS:
                stream = self.client._channel.stream_stream(path)(
                    iter([request]), timeout=CALL_SECONDS, metadata=metadata
                )
                answer = next(stream, b"")
                stream.cancel()
            else:
                answer = self.client.send(path, request, metadata=metadata)
            self.accepted.add(method)
            answers.append(answer.decode(errors="replace"))
        except grpc.RpcError as error:
            answers.append(str(Refused(CONTRACT, error)) + json.dumps(Refused(CONTRACT, error).details))
        except Refused as refused:
            answers.append(str(refused) + json.dumps(refused.details))

    def say(self, method, request):
        """By turns with both kinds of tokens."""
        turn = bearer(self.admin if len(self.own_answers) % 2 else self.jwt)
        self.send(method, request, turn, self.own_answers)

    def call(self, method, request):
        return self.client.call(method, request, metadata=bearer(self.admin))

    def page(self, path, token):
        """What the HTTP port says."""
        request = urllib.request.Request(
            f"https://{self.daemon.admin.replace('127.0.0.1', 'localhost')}{path}",
            headers={"Authorization": f"Bearer {token}", "X-Unknown": self.canaries.new("header", "of HTTP")},
        )
        context = ssl.create_default_context(cafile=self.authority.ca)
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS, context=context) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def log(self):
        """All that the daemon has said, when nothing waits to be said any more."""
        while re.search(r"^sessiond_log_lines_waiting [^0]", self.page("/metrics", self.admin), re.MULTILINE):
            continue
        return self.daemon.log.read_text()

    def postgres_log(self):
        [log] = [each for each in self.daemon.data.rglob("log") if each.is_file()]
        return log.read_text()


# What of an error, a task or an artifact the requests are about.
ERROR = {"category": "TEMPORARY", "severity": "INFO", "userMessage": "Try again."}
REMOVING = ("EraseOwner", "PurgeSessions")
READS = ("Get", "List", "Count", "Lookup", "Summarize", "Watch", "Validate")
TASKS = ("ReportTaskProgress", "CompleteTask", "FailTask", "CancelTask", "RetryTask")


def subject(aviary, method):
    """A session of which the method's request can be carried out; and the id of what is below it."""
    workflow = "interview" if method == "AppendMessages" else "ticket_export"
    session = {"workflow": workflow, "namespace": NAMESPACE, "ownerId": "u", "ownerDisplayName": "U"}
    creation = {"session": session, "creating": method == "ActivateSession"}
    session_id = aviary.call("CreateSession", creation)["sessionId"]
    about = {"sessionId": session_id}
    if method in ("GetError", "ResolveError"):
        return session_id, aviary.call("RecordError", {**about, "error": ERROR})["errorId"]
    if method == "DeleteArtifact":
        aviary.call("AddArtifacts", {**about, "artifacts": [{"artifactId": "a", "kind": "FILE"}]})
    if method == "ResumeSession":
        aviary.call("PauseSession", about)
    if method == "RecoverSession":
        aviary.call("FailSession", {**about, "reason": "x"})
    if method == "DeleteSession":
        aviary.call("StopSession", about)
    if method == "UndeleteSession":
        aviary.call("DeleteSession", {**about, "force": True})
    below = NOBODY
    if method in TASKS + ("StartTask", "GetTask"):
        for stage in ("upload", "processing"):
            aviary.call("AdvanceSession", {**about, "targetStage": stage})
    if method in TASKS + ("GetTask",):
        below = aviary.call("StartTask", {**about, "taskType": "processing"})["taskId"]
    if method == "RetryTask":
        aviary.call("FailTask", {**about, "taskId": below, "error": ERROR})
        below = NOBODY  # The run that is to come.
    return session_id, below


def is_text(path):
    return path[-1].type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def is_struct(path):
    return path[-1].message_type is not None and path[-1].message_type.name == "Struct"


def sayings(canaries, method, path, session_id):
    """Requests with words of their own in this field."""
    dotted = wire.dotted(path)

    def word(how):
        return canaries.new("field", method, dotted, how)

    if is_struct(path):
        key = canaries.new("field", method, f"{dotted}, its keys", "key")
        odd = wire.entry(key, wire.list_value(wire.string_value(word("in a list"))))
        yield bad_requests.put_message(method, path, odd, session_id)
        for key in ("a_key", "site_description", "candidate_name"):
            value = wire.entry(key, wire.string_value(word("value")))
            yield bad_requests.put_message(method, path, value, session_id)
        return
    if path[-1].name == "filter":
        for text in ("owner_id = '{}'", 'owner_id = "{}"', 'nobody = "{}"', 'owner_id = "{}" AND'):
            content = text.format(word("a value: " + text))
            yield bad_requests.put_text(method, path, content.encode(), session_id)
    for content in [
        word("a word").encode(),
        canaries.new_id("field", method, dotted, "an id").encode(),
        f"{word('two words')} and \x01 more\n".encode(),
        word("cut off").encode() + b"\xff",
        word("too long").encode() * 4_000,
        f"\u0440{word('odd')}'\"\\{{}}%n".encode(),
    ]:
        yield bad_requests.put_text(method, path, content, session_id)


@pytest.fixture(scope="module")
def aviary(contract, tmp_path_factory):
    aviary = Aviary(contract, tmp_path_factory.mktemp("canaries"))
    yield aviary
    aviary.client.close()
    aviary.daemon.remove()


def texts(method):
    """The paths of all that is text, with what is in maps, and of what may hold any."""
    return [path for path in wire.leaves(METHODS[method]) if is_text(path) or is_struct(path)]


@pytest.fixture(scope="module")
def heard(aviary):
    """All has been said."""
    fail_in_postgres(aviary)
    for method in sorted(METHODS, key=lambda method: (method in REMOVING, method)):
        if method == REMOVING[0]:
            aviary.stored = aviary.canaries.found_in(aviary.daemon.dump())
        of_all = None
        for path in [None, *texts(method)]:
            session_id, below = of_all or subject(aviary, method)
            if method.startswith(READS):
                of_all = session_id, below
            requests = [bad_requests.base_bytes(method, session_id)]
            if path:
                requests = sayings(aviary.canaries, method, path, session_id)
            for request in requests:
                aviary.say(method, request.replace(NOBODY.encode(), below.encode()))
        for stranger in aviary.strangers:
            aviary.send(method, bad_requests.base_bytes(method), stranger, aviary.own_answers)
    for token in (aviary.token("of HTTP"), aviary.admin, aviary.other, aviary.jwt):
        for page in ("/livez", "/readyz?verbose", "/metrics", "/" + aviary.canaries.new("header", "a path")):
            aviary.page(page, token)
    return aviary


def fail_in_postgres(aviary):
    """Changes that PostgreSQL refuses, and those that it does not get to."""
    def say(method, **fields):
        session_id, _ = subject(aviary, method)
        aviary.say(method, CONTRACT.request(method, {"sessionId": session_id, **fields}))

    def word(*where):
        return aviary.canaries.new("refused by PostgreSQL", *where)

    def each():
        say("AppendMessages", messages=[{"type": "question", "content": word("message")}])
        say("RecordError", error={**ERROR, "technicalDetails": {"trace": word("error")}})
        say("AddArtifacts", artifacts=[{"kind": "FILE", "uri": f"s3://{word('artifact')}"}])
        session_id, _ = subject(aviary, "GetSession")
        labels = {"session": {"sessionId": session_id}, "setLabels": {"a": word("session")}}
        aviary.say("UpdateSession", CONTRACT.request("UpdateSession", labels))

    tables = ("session_messages", "session_errors", "session_artifacts", "sessions")
    for table in tables:
        condition = "labels = '{}'" if table == "sessions" else "false"
        aviary.daemon.psql(f"ALTER TABLE {table} ADD CONSTRAINT canaries CHECK ({condition}) NOT VALID")
    each()
    for table in tables:
        aviary.daemon.psql(f"ALTER TABLE {table} DROP CONSTRAINT canaries")
    refused = [answer for answer in aviary.own_answers if "CONSTRAINT_VIOLATION" in answer]
    assert len(refused) == len(tables), refused


def unexpected(found):
    """Without what the list has."""
    def listed(where):
        kind, *rest = where
        if kind == "caller":  # Whose token is sound: nothing is granted to ….
            return True
        return kind == "field" and any(("." + rest[1]).endswith("." + end) for end in LOGGED)

    return sorted(where for where in found if not listed(where))


def test_everything_was_said(heard):
    """Else the silence would mean nothing."""
    assert heard.accepted == set(METHODS)
    names = {where[2].rpartition(".")[2] for where in heard.stored if where[0] == "field"}
    missing = {"content", "metadata", "failure_context", "technical_details", "resolution", "result"} - names
    assert not missing, missing


def test_the_log_has_names_and_nothing_that_was_said(heard):
    log = heard.log()
    levels = [json.loads(line)["level"] for line in log.splitlines()]
    assert "debug" in levels
    print(f"\n{len(heard.canaries):,} canaries, and {len(levels):,} lines of the log, which parse")
    found = heard.canaries.found_in(log)
    assert not unexpected(found), unexpected(found)
    # And nothing is on the list that is not there: what is mended leaves it.
    ends = ["." + where[2] for where in found if where[0] == "field"]
    gone = [end for end in LOGGED if not any(each.endswith("." + end) for each in ends)]
    assert not gone, gone


def test_postgresql_s_log_has_nothing_of_it(heard):
    log = heard.postgres_log()
    assert 'violates check constraint "canaries"' in log
    assert sorted(heard.canaries.found_in(log)) == []


def test_metrics_and_pages_have_nothing_of_it(heard):
    for page in ("/metrics", "/readyz?verbose"):
        text = heard.page(page, heard.admin)
        assert len(text) > 100
        assert sorted(heard.canaries.found_in(text)) == []


def test_nobody_is_told_tokens_and_headers(heard):
    """Not even who sent them."""
    found = heard.canaries.found_in("\n".join(heard.own_answers))
    assert sorted(where for where in found if where[0] in ("token", "header")) == []


def test_others_are_told_nothing(heard):
    for method in sorted(METHODS):
        for session_id in (NOBODY, subject(heard, method)[0]):
            request = bad_requests.base_bytes(method, session_id)
            for namespace in ("-", "other", NAMESPACE):
                in_it = CONTRACT.method(method)[0].FromString(request)
                if "namespace" in in_it.DESCRIPTOR.fields_by_name:
                    in_it.namespace = namespace
                heard.send(method, in_it.SerializeToString(), bearer(heard.other), heard.other_answers)
    found = heard.canaries.found_in("\n".join(heard.other_answers))
    # Workflows are everybody's.
    assert sorted(where for where in found if where[1] != "CreateWorkflow") == []
