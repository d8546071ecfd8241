"""Encryption and identity: TLS, mutual TLS, tokens over it, unix sockets; and certificates that change
while the daemon serves.
"""

import contextlib
import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from certificates import Authority, bad_clients
from conftest import BUILD, CALL_SECONDS, Client, Refused
from tokens import bearer, hash_of
from waits import until

ACCESS = f"""
[[principals]]
name = "shop"
certificates = ["spiffe://test/shop", "dns:shop.example"]
roles = ["writer"]
namespaces = ["shop"]

[[principals]]
name = "script"
token_hashes = ["{hash_of('a token')}"]
roles = ["reader"]
namespaces = ["shop"]

[[principals]]
name = "monitor"
certificates = ["spiffe://test/monitor"]
token_hashes = ["{hash_of('monitor')}"]
roles = ["reader"]
namespaces = ["*"]
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def access(tmp_path):
    file = tmp_path / "access.toml"
    file.write_text(ACCESS)
    return file


def local(daemon):
    """By the name that is in the server's certificate."""
    return daemon.address.replace("127.0.0.1", "localhost")


@contextlib.contextmanager
def client_of(contract, daemon, authority, certificate=None):
    client = Client(contract, local(daemon), authority.channel_credentials(certificate))
    yield client
    client.close()


def who_am_i(client, *words):
    return client.call("GetServerInfo", *words)["caller"]


def test_certificates_say_who_calls(contract, own_daemon, authority, access):
    own_daemon.start(*authority.daemon_options(), f"--access-file={access}")
    for name, who in (("shop", ()), ("shop-by-name", ("shop.example",))):
        with client_of(contract, own_daemon, authority, authority.client(name, *who)) as client:
            assert who_am_i(client) == "shop"
            session = client.create(namespace="shop", ownerId="ada")
            events = client.call("ListSessionEvents", {"sessionId": session["sessionId"]})["events"]
            assert events[0]["caller"] == "shop"
    # A token names the caller, and the certificate has to be somebody's all the same.
    with client_of(contract, own_daemon, authority, authority.client("shop", "spiffe://test/shop")) as client:
        assert client.call("GetServerInfo", metadata=bearer("a token"))["caller"] == "script"
        wrong = client.refusal("GetServerInfo", {}, metadata=bearer("another"))
        assert wrong.reason == "CREDENTIALS_INVALID"
    with client_of(contract, own_daemon, authority, authority.client("nobody")) as client:
        assert client.refusal("GetServerInfo", {}, metadata=bearer("a token")).reason == "CREDENTIALS_INVALID"
        assert client.refusal("GetServerInfo", {}).reason == "CREDENTIALS_INVALID"


def test_whoever_has_no_certificate_of_ours_is_not_let_in(contract, own_daemon, authority, access, tmp_path):
    own_daemon.start(*authority.daemon_options(), f"--access-file={access}")
    elsewhere = tmp_path / "elsewhere"
    for what, certificate in bad_clients(authority, elsewhere).items():
        with client_of(contract, own_daemon, authority, certificate) as client:
            with pytest.raises(Refused) as refused:
                who_am_i(client)
            # The handshake fails, or nobody is known by the certificate.
            assert refused.value.code in ("UNAVAILABLE", "UNAUTHENTICATED"), what
    plain = Client(contract, own_daemon.address)
    with pytest.raises(Refused) as refused:
        who_am_i(plain)
    assert refused.value.code == "UNAVAILABLE"
    plain.close()


def test_with_an_optional_certificate_a_token_is_enough(contract, own_daemon, authority, access):
    own_daemon.start(*authority.daemon_options(), "--tls-client-auth=optional", f"--access-file={access}")
    with client_of(contract, own_daemon, authority) as client:
        assert client.call("GetServerInfo", metadata=bearer("a token"))["caller"] == "script"
        assert client.refusal("GetServerInfo", {}).reason == "CREDENTIALS_INVALID"
    with client_of(contract, own_daemon, authority, authority.client("shop", "spiffe://test/shop")) as client:
        assert who_am_i(client) == "shop"


def test_without_an_access_file_every_certificate_is_admin(contract, own_daemon, authority):
    own_daemon.start(*authority.daemon_options())
    with client_of(contract, own_daemon, authority, authority.client("any")) as client:
        assert client.call("GetServerInfo")["caller"] == "spiffe://test/any"
        assert client.call("GetServerInfo")["roles"] == ["admin"]


def test_an_optional_certificate_is_not_one_that_does_not_matter(contract, own_daemon, authority):
    own_daemon.start(*authority.daemon_options(), "--tls-client-auth=optional")
    with client_of(contract, own_daemon, authority) as client:
        assert client.refusal("GetServerInfo", {}).reason == "CREDENTIALS_INVALID"
        assert client.refusal("GetServerInfo", {}, metadata=bearer("any")).reason == "CREDENTIALS_INVALID"
    with client_of(contract, own_daemon, authority, authority.client("any")) as client:
        assert client.call("GetServerInfo")["caller"] == "spiffe://test/any"


def test_hanging_up_ends_a_daemon_that_has_no_files_to_read(own_daemon):
    own_daemon.start()
    own_daemon.process.send_signal(1)  # SIGHUP, as when a terminal is closed
    assert own_daemon.process.wait(timeout=60) == 0


def test_a_unix_socket_is_for_those_who_may_open_it(contract, own_daemon, authority, access, tmp_path):
    socket = tmp_path / "sessiond.sock"
    own_daemon.start(
        *authority.daemon_options(), f"--access-file={access}", listen=f"unix:{socket},127.0.0.1:0"
    )
    assert socket.stat().st_mode & 0o777 == 0o660
    client = Client(contract, f"unix:{socket}")
    assert who_am_i(client) == "local"
    session = client.create()
    assert client.call("GetSession", {"sessionId": session["sessionId"]}) == session
    assert client.call("GetServerInfo", metadata=bearer("a token"))["caller"] == "script"
    second = subprocess.run(
        [BUILD / "server/sessiond", "serve", "--ephemeral", f"--grpc-listen=unix:{socket}", "--http-listen=off"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"another process listens at {socket}" in second.stderr
    client.close()
    assert own_daemon.stop() == 0


def test_health_is_open_and_reflection_is_not(contract, own_daemon, authority, access):
    own_daemon.start(*authority.daemon_options(), "--tls-client-auth=optional", f"--access-file={access}")
    with client_of(contract, own_daemon, authority) as client:
        assert client.call("grpc.health.v1.Health/Check") == {"status": "SERVING"}
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        request = contract.message("grpc.reflection.v1.ServerReflectionRequest")(list_services="").SerializeToString()
        with pytest.raises(Refused) as refused:
            client.first_of_stream(path, request)
        assert refused.value.reason == "CREDENTIALS_INVALID"
        stream = client._channel.stream_stream(path)(iter([request]), metadata=bearer("a token"))
        assert next(stream)
        stream.cancel()


def test_the_http_port_speaks_tls(own_daemon, authority, access):
    own_daemon.start(*authority.daemon_options(), f"--access-file={access}")
    context = ssl.create_default_context(cafile=authority.ca)
    base = f"https://{own_daemon.admin.replace('127.0.0.1', 'localhost')}"

    def get(path, context, **headers):
        try:
            request = urllib.request.Request(base + path, headers=headers)
            with urllib.request.urlopen(request, timeout=CALL_SECONDS, context=context) as page:
                return page.status
        except urllib.error.HTTPError as error:
            return error.code

    assert get("/livez", context) == 200
    assert get("/readyz", context) == 200
    assert get("/metrics", context) == 401
    assert get("/metrics", context, Authorization="Bearer a token") == 403
    assert get("/metrics", context, Authorization="Bearer monitor") == 200
    monitor = authority.client("monitor")
    context.load_cert_chain(monitor.cert, monitor.key)
    assert get("/readyz?verbose", context) == 200


def test_certificates_rotate_under_load(contract, own_daemon, access, tmp_path):
    pki = Authority(tmp_path / "pki")
    own_daemon.start(*pki.daemon_options(), "--tls-client-auth=optional", f"--access-file={access}")
    calls = 0
    for _ in range(3):
        old = pki.channel_credentials()
        pki.renew()
        own_daemon.process.send_signal(1)  # SIGHUP
        new = pki.channel_credentials()
        end = time.monotonic() + CALL_SECONDS
        served = False
        while not served:
            assert time.monotonic() < end, "the new certificate is not served"
            # At any moment one of the two is, and none of the calls with it fails.
            outcomes = []
            for credentials in (new, old, new):
                client = Client(contract, local(own_daemon), credentials)
                try:
                    outcomes.append(client.call("GetServerInfo", metadata=bearer("a token"))["caller"])
                    calls += 1
                except Refused:
                    outcomes.append(None)
                client.close()
            assert "script" in outcomes
            served = outcomes[0] is not None
    assert calls


def test_a_bad_certificate_never_takes_the_place_of_a_good_one(contract, own_daemon, access, tmp_path):
    pki = Authority(tmp_path / "pki")
    own_daemon.start(*pki.daemon_options(), "--tls-client-auth=optional", f"--access-file={access}")
    credentials = pki.channel_credentials()
    good = pki.server.cert.read_bytes()
    other = Authority(tmp_path / "other").server.cert.read_bytes()
    for what, content in (("empty", b""), ("half", good[: len(good) // 2]), ("of another key", other)):
        before = own_daemon.log.read_text().count("cannot be loaded")
        pki.server.cert.write_bytes(content)
        until(lambda: own_daemon.log.read_text().count("cannot be loaded") > before)
        client = Client(contract, local(own_daemon), credentials)
        assert client.call("GetServerInfo", metadata=bearer("a token"))["caller"] == "script", what
        client.close()
    pki.server.cert.unlink()
    pki.server.cert.write_bytes(good)
    until(lambda: "were loaded again" in own_daemon.log.read_text())


@pytest.mark.parametrize(
    "options, said",
    [
        (["--grpc-listen=0.0.0.0:0"], "calls are not encrypted (--tls-cert)"),
        (["--grpc-listen=0.0.0.0:0", "TLS"], "callers are not known (--tls-client-ca, --access-file)"),
        (["--tls-cert=cert.pem"], "--tls-cert without --tls-key"),
        (["--tls-key=key.pem"], "--tls-key without --tls-cert"),
        (["--tls-client-ca=ca.pem"], "--tls-client-ca without --tls-cert"),
        (["TLS", "CA", "--tls-client-auth=none"], "--tls-client-auth none with --tls-client-ca"),
        (["TLS", "--tls-client-auth=required"], "--tls-client-auth required without --tls-client-ca"),
        (["--tls-cert=/nowhere.pem", "--tls-key=/nowhere.key"], "/nowhere.pem"),
        (["--access-file=/nowhere.toml"], "/nowhere.toml"),
        (["--grpc-listen=127.0.0.1:0,unix:/nowhere/s.sock"], "cannot make a socket in /nowhere"),
    ],
)
def test_doors_that_do_not_close_are_not_opened(authority, options, said):
    tls = [f"--tls-cert={authority.server.cert}", f"--tls-key={authority.server.key}"]
    known = {"TLS": tls, "CA": [f"--tls-client-ca={authority.ca}"]}
    words = [word for option in options for word in known.get(option, [option])]
    start = subprocess.run(
        [BUILD / "server/sessiond", "serve", "--ephemeral", "--http-listen=off", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert start.returncode == 1
    assert said in start.stderr


def test_grpcurl_over_tls(own_daemon, authority, access):
    if not shutil.which("grpcurl"):
        pytest.skip("grpcurl is not on the PATH")
    own_daemon.start(*authority.daemon_options(), f"--access-file={access}")
    shop = authority.client("shop", "spiffe://test/shop")

    def grpcurl(*words):
        return subprocess.run(
            ["grpcurl", "-cacert", authority.ca, "-cert", shop.cert, "-key", shop.key, *words],
            capture_output=True,
            text=True,
            timeout=60,
        )

    info = grpcurl(local(own_daemon), "sessiond.v1.AdminService/GetServerInfo")
    assert json.loads(info.stdout)["caller"] == "shop"
    token = grpcurl("-H", "authorization: Bearer a token", local(own_daemon), "sessiond.v1.AdminService/GetServerInfo")
    assert json.loads(token.stdout)["caller"] == "script"
    refused = grpcurl("-H", "authorization: Bearer wrong", local(own_daemon), "sessiond.v1.AdminService/GetServerInfo")
    assert "Unauthenticated" in refused.stderr + refused.stdout
