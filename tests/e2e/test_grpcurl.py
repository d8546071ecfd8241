"""grpcurl, which knows nothing of sessiond but what reflection tells it, and reflection itself in
both of its versions. Without grpcurl its tests are skipped.
"""

import json
import os
import shutil
import subprocess
import uuid

import grpc
import pytest
import wire
from conftest import BUILD, CALL_SECONDS, ROOT, Contract

CONTRACT = Contract(BUILD / "proto/sessiond.protoset")
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "sessiond.v1.AdminService",
    "sessiond.v1.ArtifactService",
    "sessiond.v1.ErrorService",
    "sessiond.v1.MessageService",
    "sessiond.v1.SessionService",
    "sessiond.v1.TaskService",
    "sessiond.v1.WorkflowService",
]


@pytest.fixture
def grpcurl(daemon):
    """Runs grpcurl with options, then a verb or a method."""
    program = (
        os.environ.get("GRPCURL")
        or shutil.which("grpcurl")
        or shutil.which(ROOT / "build/tools/grpcurl")
    )
    if not program:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("grpcurl is neither $GRPCURL, nor on the PATH, nor build/tools/grpcurl")

    def run(*options_and_verb):
        *options, verb = options_and_verb
        command = [program, "-plaintext", *options, daemon.address, *verb.split()]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


def test_it_lists_every_service_and_method(grpcurl):
    assert grpcurl("list").stdout.split() == SERVICES
    for service in SERVICES:
        methods = CONTRACT.pool.FindServiceByName(service).methods_by_name
        listed = grpcurl(f"list {service}").stdout.split()
        assert listed == sorted(f"{service}.{name}" for name in methods)


@pytest.mark.parametrize(
    "symbol, comment",
    [
        ("sessiond.v1.SessionService", "Creates a session, at the first stage of the newest"),
        ("sessiond.v1.SessionService.DeleteSession", "STOPPED or CREATING → DELETED"),
        ("sessiond.v1.Session", "Whose session it is, compared byte for byte."),
        ("sessiond.v1.Session", "{ text: NAME }"),
        ("sessiond.v1.Session.State", "Live: accepts everything its workflow allows."),
        ("sessiond.v1.SessionEvent", "One fact about a session."),
        ("google.rpc.ErrorInfo", "reason"),
    ],
)
def test_it_describes_what_there_is_with_its_comments(grpcurl, symbol, comment):
    described = grpcurl(f"describe {symbol}")
    assert described.returncode == 0, described.stderr
    assert comment in described.stdout


def test_it_describes_every_message_that_a_method_takes_or_answers(grpcurl):
    for method in CONTRACT.pool.FindServiceByName(SERVICES[-1]).methods:
        for message in (method.input_type, method.output_type):
            described = grpcurl("-msg-template", f"describe {message.full_name}")
            assert described.returncode == 0, described.stderr
            assert described.stdout.startswith(f"{message.full_name} is a message:\n// ")


@pytest.mark.parametrize(
    "method, request_, code, details",
    [
        ("GetSession", {"sessionId": "NOBODY"}, 5, {"reason": "NEVER_EXISTED"}),
        ("GetSession", {"sessionId": "session-1"}, 3, {"reason": "INVALID_FORMAT"}),
        ("ResumeSession", {"sessionId": "SESSION"}, 9, {"reason": "INVALID_TRANSITION"}),
        ("StopSession", {"sessionId": "SESSION", "etag": "r9"}, 10, {"reason": "ETAG_MISMATCH"}),
        ("ListSessions", {"pageSize": -1}, 3, {"reason": "INVALID_FIELD", "field": "page_size"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_prints_why_a_call_was_refused(client, grpcurl, method, request_, code, details):
    ids = {"NOBODY": str(uuid.uuid4()), "SESSION": client.create()["sessionId"]}
    request_ = {name: ids.get(value, value) for name, value in request_.items()}
    answer = grpcurl("-d", json.dumps(request_), f"sessiond.v1.SessionService/{method}")
    assert answer.returncode == 64 + code
    for name, value in {**details, "category": "USER_FIXABLE", "domain": "sessiond"}.items():
        assert f'"{name}": "{value}"' in answer.stderr


def test_it_asks_how_the_daemon_is(grpcurl):
    for request in [{}, {"service": "sessiond.v1.SessionService"}]:
        answer = grpcurl("-d", json.dumps(request), "grpc.health.v1.Health/Check")
        assert json.loads(answer.stdout) == {"status": "SERVING"}
    answer = grpcurl("-d", json.dumps({"service": "nobody"}), "grpc.health.v1.Health/Check")
    assert answer.returncode == 64 + 5


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_in_both_of_its_versions(daemon, version):
    request_type, answer_type = CONTRACT.method(
        f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    )
    questions = [
        {"list_services": "*"},
        {"file_containing_symbol": "sessiond.v1.SessionService"},
        {"file_by_filename": "google/rpc/error_details.proto"},
        {"file_containing_symbol": "no.such.Symbol"},
    ]
    with grpc.insecure_channel(daemon.address) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=request_type.SerializeToString,
            response_deserializer=answer_type.FromString,
        )
        requests = iter([request_type(**question) for question in questions])
        services, by_symbol, by_name, missing = ask(requests, timeout=CALL_SECONDS)
    assert [each.name for each in services.list_services_response.service] == SERVICES
    assert by_symbol.file_descriptor_response.file_descriptor_proto
    assert by_name.file_descriptor_response.file_descriptor_proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_health_can_be_watched(daemon):
    with grpc.insecure_channel(daemon.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=CALL_SECONDS)
        assert next(watch) == wire.whole(1, 1)  # SERVING
        watch.cancel()
