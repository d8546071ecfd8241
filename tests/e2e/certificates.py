"""Certificates for tests, made as a person would make them: by deploy/make-test-ca.

    authority = Authority(directory)
    authority.server                        # its certificate and key, for localhost
    authority.client("worker")              # spiffe://test/worker
    authority.client("ops", "ops.example")  # a DNS name
    bad_clients(authority, elsewhere)       # by what is wrong with them
"""

import dataclasses
import pathlib
import subprocess

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Files in PEM form."""

    cert: pathlib.Path
    key: pathlib.Path


class Authority:
    """An authority of a test's own, and the certificates it has signed, in one directory."""

    def __init__(self, directory, *server_names):
        self.directory = pathlib.Path(directory)
        self._make(self.directory, *server_names)

    def _make(self, *arguments):
        made = subprocess.run([ROOT / "deploy/make-test-ca", *arguments], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr

    def _certificate(self, name):
        return Certificate(self.directory / f"{name}.pem", self.directory / f"{name}.key")

    @property
    def ca(self):
        return self.directory / "ca.pem"

    @property
    def server(self):
        return self._certificate("server")

    def client(self, name, *who, days=None, named=True):
        """A client that is `who`, else spiffe://test/NAME; negative days: it has expired; not named:
        it has a common name only."""
        options = ["--force"] + (["--days", str(days)] if days is not None else [])
        self._make(*options, *([] if named else ["--unnamed"]), self.directory, "client", name, *who)
        return self._certificate(name)

    def renew(self, *server_names):
        """A new authority and a new server's certificate, in the same files."""
        self._make("--force", self.directory, *server_names)

    def daemon_options(self):
        """What `sessiond serve` is given for mutual TLS."""
        return [f"--tls-cert={self.server.cert}", f"--tls-key={self.server.key}", f"--tls-client-ca={self.ca}"]

    def channel_credentials(self, certificate=None):
        """For grpc.secure_channel to `localhost:PORT`: believes this authority, and shows the certificate."""
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            certificate and certificate.key.read_bytes(),
            certificate and certificate.cert.read_bytes(),
        )


def bad_clients(authority, elsewhere):
    """By what is wrong: certificates with which nobody is let in, or is anybody. None: there is none.
    `elsewhere` is an empty directory, for an authority that the server does not know."""
    return {
        "none": None,
        "foreign": Authority(elsewhere).client("worker"),
        "expired": authority.client("expired", days=-1),
        "two SPIFFE IDs": authority.client("two-ids", "spiffe://test/a", "spiffe://test/b"),
        "two DNS names": authority.client("two-names", "a.example", "b.example"),
        "common name only": authority.client("common-name", named=False),
    }
