"""What a connection is made of: proxies, tokens, certificates, and arguments that are empty."""

import asyncio
import codecs
import os
import socketserver
import subprocess
import sys
import threading
import traceback

import grpc
import pytest
from conftest import ROOT
from fake import Fake, Refusal

import sessiond
import sessiond.aio
from sessiond import v1

sys.path.insert(0, str(ROOT / "tests/conformance"))

import certificates  # noqa: E402

BOM = codecs.BOM_UTF8


@pytest.fixture(params=["threads", "asyncio"])
def get_session(request):
    """Makes one call, with the one client or the other."""

    def get(*words, **named):
        if request.param == "threads":
            with sessiond.connect(*words, **named) as client:
                return client.get_session("x")

        async def main():
            async with sessiond.aio.connect(*words, **named) as client:
                return await client.get_session("x")

        return asyncio.run(main())

    return get


# Proxies of the environment.


@pytest.fixture
def sent_to_proxy(monkeypatch):
    """What the environment's proxy is sent, connection by connection. It answers nothing."""
    sent = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            sent.append(self.request.recv(65536))

    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
        yield sent
        server.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_is_sent_nothing_that_is_for_this_machine(get_session, sent_to_proxy, host):
    with Fake(GetSession=[v1.Session(session_id="x")]) as fake:
        address = fake.address.replace("127.0.0.1", host)
        assert get_session(address, token="t").session_id == "x"
    assert sent_to_proxy == [] and fake.requests[0][2]["authorization"] == "Bearer t"


def test_a_proxy_leads_to_other_machines(get_session, sent_to_proxy):
    class Enough(BaseException):
        pass

    def enough(retry):
        raise Enough

    with pytest.raises(Enough):
        get_session("h.example:7377", timeout=60, on_retry=enough)
    assert sent_to_proxy[0].startswith(b"CONNECT h.example:7377 ")


# Tokens.


def test_a_token_file_may_begin_with_a_byte_order_mark(get_session, tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_bytes(BOM + b"secrettoken\r\n")
    monkeypatch.setenv("SESSIOND_TOKEN_FILE", str(path))
    with Fake(GetSession=[v1.Session()]) as fake:
        get_session(fake.address)
    assert fake.requests[0][2]["authorization"] == "Bearer secrettoken"


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"Bearer secret", b"secret\nsecret", "secretж".encode(), BOM + BOM + b"secret", b"\xff\xfes\0"],
)
def test_a_token_file_without_a_token_is_refused_by_its_name(get_session, tmp_path, monkeypatch, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    monkeypatch.setenv("SESSIOND_TOKEN_FILE", str(path))
    with Fake(GetSession=[v1.Session()]) as fake, pytest.raises(sessiond.Unauthenticated, match=str(path)) as wrong:
        get_session(fake.address)
    assert wrong.value.method == "GetSession"
    assert fake.requests == [] and "secret" not in "".join(traceback.format_exception_only(wrong.type, wrong.value))


def test_a_token_file_that_is_missing_is_named(get_session, tmp_path, monkeypatch):
    monkeypatch.setenv("SESSIOND_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(sessiond.Unauthenticated, match=str(tmp_path / "token")):
        get_session("127.0.0.1:1")


@pytest.mark.parametrize("token", ["\ufeffsecret", "secret\n", "two secrets", "secretж"])
def test_what_is_no_token_is_refused_and_not_told(get_session, token):
    for given, error in ((token, ValueError), (lambda: token, sessiond.Unauthenticated)):
        with Fake(GetSession=[v1.Session()]) as fake, pytest.raises(error, match="visible ASCII") as wrong:
            get_session(fake.address, token=given)
        assert fake.requests == [] and "secret" not in str(wrong.value)


def test_a_token_of_another_type_is_refused():
    with pytest.raises(ValueError, match="^token is of the type bytes"):
        sessiond.connect(token=b"secret")


@pytest.mark.parametrize("answer", [KeyError, ValueError, asyncio.CancelledError, "", None, b"secret"])
def test_without_an_answer_of_its_callable_a_call_is_unauthenticated(get_session, answer):
    def token():
        if isinstance(answer, type):
            raise answer("secret")
        return answer

    calls = []
    with Fake(GetSession=[v1.Session()]) as fake, pytest.raises(sessiond.Unauthenticated) as refused:
        get_session(fake.address, token=token, on_call=calls.append)
    assert fake.requests == [] and "secret" not in str(refused.value)
    assert [(each.method, each.attempts, each.error) for each in calls] == [("GetSession", 1, refused.value)]
    if isinstance(answer, type):
        assert isinstance(refused.value.__cause__, answer) and answer.__name__ in str(refused.value)


def test_a_refusal_of_a_tokens_callable_is_treated_as_one_of_the_daemons(get_session):
    answers = [sessiond.Unavailable("The authority restarts."), "t", sessiond.PermissionDenied("no", "Sign")]

    def token():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    retries = []
    with Fake(GetSession=[v1.Session(session_id="x")]) as fake:
        assert get_session(fake.address, token=token, on_retry=retries.append).session_id == "x"
        assert [(each.method, each.error.method) for each in retries] == [("GetSession", "GetSession")]
        denied = answers[0]
        with pytest.raises(sessiond.PermissionDenied) as refused:
            get_session(fake.address, token=token)
    assert refused.value is denied and denied.__cause__ is None and denied.method == "Sign"
    assert len(fake.requests) == 1


def test_a_token_that_takes_anothers_place_within_the_same_tick_is_seen(get_session, tmp_path):
    path = tmp_path / "token"
    path.write_text("one")
    times = path.stat()
    token = sessiond._connection.TokenFile(str(path))
    with Fake(GetSession=[v1.Session()]) as fake:
        get_session(fake.address, token=token)
        with path.open("r+") as file:
            file.write("two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        get_session(fake.address, token=token)
    assert path.stat().st_mtime_ns == times.st_mtime_ns and path.stat().st_ino == times.st_ino
    assert [metadata["authorization"] for _, _, metadata in fake.requests] == ["Bearer one", "Bearer two"]


def test_the_last_token_holds_while_its_file_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("one")
    monkeypatch.setenv("SESSIOND_TOKEN_FILE", str(path))
    with Fake(GetSession=[v1.Session()]) as fake, sessiond.connect(fake.address) as client:
        client.get_session("x")
        path.unlink()
        client.get_session("x")
        path.write_text("")
        client.get_session("x")
        path.write_text("another")
        client.get_session("x")
    sent = [metadata["authorization"] for _, _, metadata in fake.requests]
    assert sent == ["Bearer one", "Bearer one", "Bearer one", "Bearer another"]


class Authority:
    """Gives tokens to coroutines: the first one is held back, until somebody is told that it is asked for."""

    def __init__(self):
        self.asked, self.left = asyncio.Event(), asyncio.Event()
        self.answer = asyncio.get_running_loop().create_future()

    async def token(self):
        self.asked.set()
        try:
            return await self.answer
        finally:
            self.left.set()


def test_a_token_coroutine_that_is_cancelled_by_others_is_one_that_failed():
    async def main(address):
        authority = Authority()
        async with sessiond.aio.connect(address, token=authority.token) as client:
            calling = asyncio.ensure_future(client.get_session("x"))
            await authority.asked.wait()
            authority.answer.cancel()
            with pytest.raises(sessiond.Unauthenticated, match="CancelledError") as refused:
                await calling
            assert isinstance(refused.value.__cause__, asyncio.CancelledError)

    with Fake(GetSession=[v1.Session()]) as fake:
        asyncio.run(main(fake.address))
    assert fake.requests == []


def test_a_caller_that_is_cancelled_asks_for_no_token_any_more():
    async def main(address):
        authority = Authority()
        async with sessiond.aio.connect(address, token=authority.token) as client:
            calling = asyncio.ensure_future(client.get_session("x"))
            await authority.asked.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert authority.left.is_set() and authority.answer.cancelled()

    with Fake(GetSession=[v1.Session()]) as fake:
        asyncio.run(main(fake.address))
    assert fake.requests == []


# Hooks.


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_a_hook_that_raises_fails_no_call(get_session, caplog, error):
    def hook(*given):
        raise error("hook")

    hooks = {"traceparent": hook, "on_call": hook, "on_retry": hook}
    with Fake(GetSession=[Refusal(grpc.StatusCode.UNAVAILABLE), v1.Session(session_id="x")]) as fake:
        assert get_session(fake.address, **hooks).session_id == "x"
    assert len(fake.requests) == 2 and all("traceparent" not in metadata for _, _, metadata in fake.requests)
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [each.args[0] for each in told] == ["traceparent", "on_retry", "traceparent", "on_call"]
    assert all(isinstance(each.exc_info[1], error) for each in told)


def test_a_hook_that_raises_takes_no_refusals_place(get_session):
    def hook(*given):
        raise KeyError("hook")

    with Fake(GetSession=[Refusal(grpc.StatusCode.NOT_FOUND)]) as fake, pytest.raises(sessiond.NotFound):
        get_session(fake.address, traceparent=hook, on_call=hook)


@pytest.mark.parametrize("given", ["00-a\n-b-01", "00-a-b-01ж", b"00-a-b-01", 7])
def test_what_no_header_takes_is_not_sent_as_a_traceparent(get_session, caplog, given):
    with Fake(GetSession=[v1.Session(session_id="x")]) as fake:
        assert get_session(fake.address, traceparent=lambda: given).session_id == "x"
    assert "traceparent" not in fake.requests[0][2]
    assert [each for each in caplog.messages if "is no traceparent, and is not sent" in each]


def test_a_traceparent_that_no_header_takes_is_refused():
    for connect in (sessiond.connect, sessiond.aio.connect):
        with pytest.raises(ValueError, match="^traceparent is '00-a.n-b-01'"):
            connect(traceparent="00-a\n-b-01")


# Certificates.


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A folder with certificates; see certificates.py."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder)
    return folder


def test_files_put_together_from_files_with_byte_order_marks_are_read(get_session, tls, tmp_path):
    pem = {name: (tls / f"{name}.pem").read_bytes() for name in certificates.FILES}
    files = {
        "ca_file": BOM + pem["client"] + BOM + b"# The one that counts:\n" + BOM + pem["ca"],
        "cert_file": BOM + pem["client"] + BOM + pem["ca"],
        "key_file": BOM + pem["client_key"],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    credentials = grpc.ssl_server_credentials([(pem["server_key"], pem["server"])], pem["ca"], True)
    with Fake(tls=credentials, GetSession=[v1.Session(session_id="x")]) as fake:
        found = get_session(fake.address, **{name: tmp_path / name for name in files})
    assert found.session_id == "x"


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda pem: b"", "holds no certificate"),
        (lambda pem: pem.decode().encode("utf-16"), "holds no certificate"),
        (lambda pem: pem + pem.replace(b"-----BEGIN", b"\xc2\xa0-----BEGIN"), "has 2 lines .*, and 1 certificates"),
        (lambda pem: pem + pem.replace(b"TE-----\n", b"TE----- ?\n", 1), "has 2 lines .*, and 1 certificates"),
        (lambda pem: pem + pem[:200], "has 2 lines .*, and 1 certificates"),
        (lambda pem: pem[:200] + b"\n" + pem, "has 2 lines .*, and 0 certificates"),
        (lambda pem: pem + pem[:100] + b"????" + pem[104:], "has 2 lines .*, and 1 certificates"),
        (lambda pem: pem.rstrip() + pem, "has 1 lines .*, and 0 certificates"),
        (lambda pem: pem.replace(b"\n", b"\r"), "has 1 lines .*, and 0 certificates"),
    ],
)
@pytest.mark.parametrize("argument", ["ca_file", "cert_file"])
def test_a_certificate_that_cannot_be_read_is_refused_by_its_file(tls, tmp_path, argument, spoil, says):
    path = tmp_path / "bundle.pem"
    path.write_bytes(spoil((tls / "ca.pem").read_bytes()))
    key = {"key_file": tls / "ca_key.pem"} if argument == "cert_file" else {}
    for connect in (sessiond.connect, sessiond.aio.connect):
        with pytest.raises(ValueError, match=f"{path} {says}"):
            connect("h.example:1", **{argument: path}, **key)


@pytest.mark.parametrize("content", [b"", b"a key\n"])
def test_a_file_without_a_key_is_refused_by_its_name(tls, tmp_path, content):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} holds no key"):
        sessiond.connect("h.example:1", cert_file=tls / "client.pem", key_file=path)


def openssl(folder, *words):
    return subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True).stdout


PASSWORD = ("-aes128", "-passout", "pass:secret")


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda tls: openssl(tls, "pkey", "-in", "client_key.pem", *PASSWORD), "is locked with a password"),
        (lambda tls: openssl(tls, "ec", "-in", "client_key.pem", *PASSWORD), "is locked with a password"),
        (lambda tls: (tls / "client_key.pem").read_bytes()[:100], "cannot be read"),
        (lambda tls: (tls / "client_key.pem").read_bytes().replace(b"M", b"N", 1), "cannot be read"),
        (lambda tls: (tls / "server_key.pem").read_bytes(), "does not go with"),
        (lambda tls: openssl(tls, "genrsa", "2048"), "does not go with"),
    ],
    ids=["locked", "locked as of old", "cut", "damaged", "another's", "another kind"],
)
def test_a_key_that_cannot_be_used_is_refused_by_its_file(tls, tmp_path, make, says):
    path, certificate = tmp_path / "key.pem", tls / "client.pem"
    path.write_bytes(make(tls))
    for connect in (sessiond.connect, sessiond.aio.connect):
        with pytest.raises(ValueError, match=f"^The key file {path} .*{says}") as wrong:
            connect("h.example:1", cert_file=certificate, key_file=path)
        assert "locked" in says or f"the certificate file {certificate}" in str(wrong.value)


def test_how_strong_a_key_has_to_be_is_for_grpc_to_say(tmp_path):
    words = "req -x509 -newkey rsa:1024 -sha1 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=x"
    openssl(tmp_path, *words.split())
    sessiond.connect("h.example:1", cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem").close()


def test_a_bundle_is_taken_as_it_is_found(tls, tmp_path):
    pem = (tls / "ca.pem").read_bytes()
    old = pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE")
    path = tmp_path / "bundle.pem"
    windows = pem.replace(b"\n", b"\r\n")
    path.write_bytes(b"Issuer: me\n\n" + pem + windows + b"\n\n" + old + pem.replace(b"--\n", b"-- \n"))
    sessiond.connect("h.example:1", ca_file=str(path)).close()


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_a_file_that_is_missing_is_named(tls, tmp_path, name):
    files = {"ca_file": tls / "ca.pem", "cert_file": tls / "client.pem", "key_file": tls / "client_key.pem"}
    files[name] = tmp_path / "missing.pem"
    with pytest.raises(FileNotFoundError, match="missing.pem"):
        sessiond.connect("h.example:1", **files)


# Empty arguments.


@pytest.mark.parametrize(
    "given, name",
    [
        ({"address": ""}, "address"),
        ({"ca_file": ""}, "ca_file"),
        ({"cert_file": "", "key_file": ""}, "cert_file"),
        ({"cert_file": "client.pem", "key_file": ""}, "key_file"),
        ({"token": ""}, "token"),
    ],
)
def test_an_argument_that_is_empty_is_not_one_that_is_missing(given, name):
    for connect in (sessiond.connect, sessiond.aio.connect):
        with pytest.raises(ValueError, match=f"^{name} is empty"):
            connect(**given)


def test_variables_that_are_empty_count_as_unset(monkeypatch):
    monkeypatch.setenv("SESSIOND_SERVER", "")
    monkeypatch.setenv("SESSIOND_TOKEN_FILE", "")
    with sessiond.connect() as client:
        assert client.address == "127.0.0.1:7377"
