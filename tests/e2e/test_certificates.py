"""deploy/make-test-ca, and a TLS server of Python's that believes its certificates as they are meant."""

import socket
import ssl
import stat
import subprocess
import threading

import pytest

from certificates import ROOT, Authority, bad_clients


def make(*arguments):
    return subprocess.run([ROOT / "deploy/make-test-ca", *arguments], capture_output=True, text=True)


def names_that_a_server_sees(authority, certificate):
    """The client's alternative names, after a handshake with mutual TLS; SSLError: it failed."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    server.load_cert_chain(authority.server.cert, authority.server.key)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=authority.ca)
    if certificate:
        client.load_cert_chain(certificate.cert, certificate.key)
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    theirs.settimeout(30)

    def connect():
        try:
            with client.wrap_socket(theirs, server_hostname="localhost") as connection:
                connection.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        with server.wrap_socket(ours, server_side=True) as connection:
            return connection.getpeercert().get("subjectAltName", ())
    finally:
        ours.close()
        thread.join()


def test_a_client_is_who_it_was_made_for(tmp_path):
    authority = Authority(tmp_path / "ca", "db.example")
    assert names_that_a_server_sees(authority, authority.client("worker")) == (("URI", "spiffe://test/worker"),)
    assert names_that_a_server_sees(authority, authority.client("ops", "ops.example")) == (("DNS", "ops.example"),)


def test_bad_clients_are_bad_in_their_ways(tmp_path):
    authority = Authority(tmp_path / "ca")
    clients = bad_clients(authority, tmp_path / "elsewhere")
    for name in ("none", "foreign", "expired"):
        with pytest.raises(ssl.SSLError):
            names_that_a_server_sees(authority, clients.pop(name))
    assert {name: len(names_that_a_server_sees(authority, client)) for name, client in clients.items()} == {
        "two SPIFFE IDs": 2,
        "two DNS names": 2,
        "common name only": 0,
    }


def test_only_the_owner_reads_a_key(tmp_path):
    authority = Authority(tmp_path / "ca")
    authority.client("worker")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in authority.directory.iterdir()}
    assert modes == {
        **dict.fromkeys(("ca.key", "server.key", "worker.key"), 0o600),
        **dict.fromkeys(("ca.pem", "server.pem", "worker.pem"), 0o644),
    }


def test_nothing_is_overwritten_unasked(tmp_path):
    authority = Authority(tmp_path / "ca")
    authority.client("worker")
    before = {file: file.read_bytes() for file in authority.directory.iterdir()}
    for arguments in ([authority.directory], [authority.directory, "client", "worker"]):
        refused = make(*arguments)
        assert refused.returncode == 2
        assert "is there already: --force writes it anew." in refused.stderr
    assert {file: file.read_bytes() for file in authority.directory.iterdir()} == before
    authority.renew()
    assert authority.ca.read_bytes() != before[authority.ca]


def test_what_it_cannot_do_it_says(tmp_path):
    for arguments, why in [
        ([], "Name a directory"),
        (["--frce", tmp_path], "knows --force"),
        ([tmp_path, "client", "worker"], f"has no authority yet. Type: deploy/make-test-ca {tmp_path}"),
        (["--days", "soon", tmp_path], "--days takes a number, not soon"),
    ]:
        refused = make(*arguments)
        assert (refused.returncode, list(tmp_path.iterdir())) == (2, [])
        assert why in refused.stderr
    authority = Authority(tmp_path / "ca")
    for arguments, why in [
        (["client"], "Name the client"),
        (["client", "../ca"], "cannot be a client's name"),
        (["client", "ca"], "cannot be a client's name"),
        (["client", "a", "spiffe://test/a,b"], "is no name"),
    ]:
        refused = make(authority.directory, *arguments)
        assert refused.returncode == 2
        assert why in refused.stderr
        assert len(list(authority.directory.iterdir())) == 4
