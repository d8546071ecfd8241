"""What goes in and comes out: contexts, times, enums, refusals, settings."""

import datetime
import pickle
import subprocess
import sys

import grpc
import pytest
from fake import Refusal
from google.protobuf.struct_pb2 import Struct

import sessiond
from sessiond import _connection, _convert, errors, types, v1


def round_trip(values):
    struct = Struct()
    _convert.to_struct(values, struct)
    return _convert.from_struct(Struct.FromString(struct.SerializeToString()))


def test_a_context_is_the_same_behind_the_wire():
    values = {"s": "ü", "i": 3, "f": 2.5, "t": True, "n": None, "l": [1, [], {}, None], "d": {"e": {}}, "z": 0, "": ""}
    found = round_trip(values)
    assert found == values
    assert type(found["i"]) is int and type(found["t"]) is bool and type(found["f"]) is float


@pytest.mark.parametrize("given", [0, -7, 2**53, -(2**53), 2.5, -0.0, 1e20, -1e20, 2.0**53 + 2, 1e308])
def test_a_number_comes_back_as_what_it_was(given):
    found = round_trip({"a": given})
    assert repr(found) == repr({"a": given})
    assert repr(round_trip(found)) == repr(found)


@pytest.mark.parametrize("given", [2**53 + 2, 2**60, -(10**20)])
def test_an_integer_that_a_double_holds_is_taken(given):
    assert round_trip({"a": given}) == {"a": given}


@pytest.mark.parametrize(
    "values, error, says",
    [
        ({"a": 10**20 + 1}, ValueError, "a is 100000000000000000001, which a double does not hold"),
        ({"a": 10**400}, ValueError, "which a double does not hold"),
        ({"a": {"b": [2**53 + 1]}}, ValueError, r"a\.b\[0\] is 9007199254740993"),
        ({"a": float("nan")}, ValueError, "a is nan"),
        ({"a": {"at": datetime.datetime.now()}}, TypeError, r"a\.at is a datetime"),
        ({"a": {1: 2}}, TypeError, "a has the key 1"),
    ],
)
def test_what_json_cannot_carry_is_refused_by_its_path(values, error, says):
    with pytest.raises(error, match=says):
        round_trip(values)


def test_messages_are_made_of_dicts_views_and_messages():
    message = v1.SessionError()
    _convert.to_message({"category": "TEMPORARY", "recovery_actions": ["x"], "technical_details": {"a": 1}}, message)
    assert message.category == v1.SessionError.TEMPORARY and message.technical_details["a"] == 1
    other = v1.SessionError()
    _convert.to_message(types.SessionError(message), other)
    assert other == message
    with pytest.raises(TypeError, match="no field 'categry'; it has error_id"):
        _convert.to_message({"categry": 1}, other)
    with pytest.raises(ValueError, match="category is 'X'; it can be CATEGORY_UNSPECIFIED"):
        _convert.to_message({"category": "X"}, other)


def test_views_have_times_and_enums_of_python():
    session = types.Session(v1.Session(session_id="x", state=99))
    session.message.create_time.FromJsonString("2026-01-02T03:04:05.678901Z")
    assert session.create_time == datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.timezone.utc)
    assert session.complete_time is None and session.current_task is None and session.context == {}
    assert session.state == 99 and session.state.name == "UNKNOWN_99" and session.state is types.SessionState(99)
    assert types.SessionTaskStatus.RUNNING is types.SessionTask.Status.RUNNING
    assert "session_id='x'" in repr(session) and pickle.loads(pickle.dumps(session)) == session


class Answer:
    """As much of a grpc.RpcError as is looked at."""

    def __init__(self, refusal):
        self._refusal = refusal

    def code(self):
        return self._refusal.code

    def details(self):
        return "no"

    def trailing_metadata(self):
        return self._refusal.metadata


def refused(*words, **named):
    return errors.from_rpc_error(Answer(Refusal(*words, **named)), "GetSession")


def test_a_reason_of_the_future_is_told_by_its_name():
    error = refused(grpc.StatusCode.NOT_FOUND, "MELTED", "USER_FIXABLE")
    assert isinstance(error, sessiond.NotFound) and error.from_daemon
    assert error.reason is sessiond.ErrorReason.UNSPECIFIED and error.reason_name == "MELTED"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is sessiond.NotFound and copy.metadata == {"a": "b"} and str(copy) == "no [MELTED]"


def test_what_others_refuse_has_no_reason():
    error = refused(grpc.StatusCode.NOT_FOUND, "DELETED", "TEMPORARY", domain="proxy")
    assert not error.from_daemon and error.reason_name == "" and error.category is sessiond.Category.NONE
    error = refused(grpc.StatusCode.INTERNAL, raw=b"\xff\xff garbage")
    assert isinstance(error, sessiond.Internal) and not error.from_daemon


def test_a_deleted_session_says_since_when():
    error = sessiond.NotFound("gone")
    error.metadata = {"delete_time": "2026-01-02T03:04:05.5Z"}
    assert error.since == datetime.datetime(2026, 1, 2, 3, 4, 5, 500000, datetime.timezone.utc)
    assert sessiond.NotFound("never").since is None


@pytest.mark.parametrize("address", ["http://a:1", "localhost", "a b:1", ":7377", "h:port"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="HOST:PORT"):
        sessiond.connect(address)


@pytest.mark.parametrize("address", ["h.example:1", "[::1]:7377", "10.0.0.1:1", "unix:/run/s", "dns:///h:1"])
def test_addresses_are_taken(address):
    _connection.check_address(address)


def test_a_token_is_not_sent_in_the_clear_to_another_machine(monkeypatch):
    with pytest.raises(ValueError, match="unencrypted"):
        sessiond.connect("h.example:7377", token="t")
    with pytest.raises(ValueError, match="unencrypted"):
        sessiond.connect("10.1.2.3:7377", token="t")
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/s"):
        sessiond.connect(address, token="t").close()
    sessiond.connect("h.example:7377", token="t", tls=True).close()
    with pytest.raises(ValueError, match="cert_file and key_file"):
        sessiond.connect(cert_file="x")
    with pytest.raises(ValueError, match="timeout is 0"):
        sessiond.connect(timeout=0)


def test_a_token_file_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "token"
    path.write_text("one\n")
    token = _connection.TokenFile(str(path))
    assert token() == "one"
    replaced = tmp_path / "new"
    replaced.write_text("two")
    replaced.rename(path)
    assert token() == "two"


def test_importing_it_takes_no_name_of_googles():
    """Another package that brings google.rpc's messages must be able to live beside this one."""
    source = """
import sys
import sessiond, sessiond.aio
from google.protobuf import descriptor_pool
pool = descriptor_pool.Default()
for name in ("google/rpc/error_details.proto", "google/rpc/status.proto", "grpc/health/v1/health.proto"):
    try:
        pool.FindFileByName(name)
    except KeyError:
        continue
    sys.exit(name)
assert not [name for name in sys.modules if name.startswith("google.rpc")]
"""
    subprocess.run([sys.executable, "-c", source], check=True)
