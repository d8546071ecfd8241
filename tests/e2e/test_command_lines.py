"""What people type: grpcurl, which knows nothing of sessiond, and sessionctl."""

import json
import shutil
import subprocess
import urllib.request
import uuid

import pytest
from conftest import BUILD


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)


@pytest.fixture
def grpcurl(daemon):
    program = shutil.which("grpcurl")
    if not program:
        pytest.skip("grpcurl is not on the PATH")
    return lambda *words: run(program, "-plaintext", *words[:-1], daemon.address, *words[-1].split())


@pytest.fixture
def sessionctl(daemon):
    return lambda *words: run(BUILD / "client/sessionctl", "--server", daemon.address, *words)


def test_grpcurl_finds_the_services_by_reflection(grpcurl):
    assert grpcurl("list").stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "sessiond.v1.SessionService",
    ]
    described = grpcurl("describe sessiond.v1.Session").stdout
    assert "Where the session stands in its life." in described


def test_grpcurl_prints_why_a_session_is_not_there(grpcurl):
    session_id = str(uuid.uuid4())
    answer = grpcurl(
        "-d", json.dumps({"sessionId": session_id}), "sessiond.v1.SessionService/GetSession"
    )
    assert answer.returncode == 64 + 5
    assert '"reason": "NEVER_EXISTED"' in answer.stderr
    assert session_id in answer.stderr


def test_grpcurl_reads_back_what_it_created(grpcurl):
    session = {"workflow": "interview", "ownerId": "u1"}
    created = grpcurl(
        "-d", json.dumps({"session": session}), "sessiond.v1.SessionService/CreateSession"
    )
    assert created.returncode == 0, created.stderr
    session_id = json.loads(created.stdout)["sessionId"]
    read = grpcurl(
        "-d", json.dumps({"sessionId": session_id}), "sessiond.v1.SessionService/GetSession"
    )
    assert json.loads(read.stdout) == json.loads(created.stdout)


def test_sessionctl_creates_and_lists(sessionctl):
    created = sessionctl("session", "create", "--workflow", "execution", "-o", "name")
    assert created.returncode == 0, created.stderr
    session_id = created.stdout.strip()
    read = sessionctl("session", "get", session_id, "-o", "json")
    assert json.loads(read.stdout)["state"] == "ACTIVE"
    nothing = sessionctl("session", "list", "--filter", 'owner_id = "nobody"', "-o", "json")
    assert json.loads(nothing.stdout) == []


def test_sessionctl_says_on_stderr_why_not_and_exits_with_the_code(sessionctl):
    answer = sessionctl("session", "get", str(uuid.uuid4()))
    assert answer.returncode == 64 + 5
    assert answer.stdout == ""
    assert "NEVER_EXISTED" in answer.stderr


def test_the_admin_port_says_that_it_is_alive_and_ready(daemon):
    for path in ["livez", "readyz"]:
        with urllib.request.urlopen(f"http://{daemon.admin}/{path}", timeout=10) as answer:
            assert answer.status == 200
    with urllib.request.urlopen(f"http://{daemon.admin}/metrics", timeout=10) as answer:
        assert b"grpc_server_handled_total" in answer.read()
