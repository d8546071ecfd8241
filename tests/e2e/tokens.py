"""Tokens for tests: those of the access file, and those that an issuer signs (JWT, EdDSA)."""

import base64
import hashlib
import json
import pathlib
import subprocess
import time


def hash_of(token):
    """As the access file has it."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def bearer(token):
    """As a call brings it."""
    return [("authorization", f"Bearer {token}")]


def base64url(content):
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class Issuer:
    """An issuer of tokens with one Ed25519 key, whose public half is in a file."""

    def __init__(self, directory, name="https://login.example"):
        self.name = name
        self._directory = pathlib.Path(directory)
        self._key = self._directory / "issuer.key"
        self._openssl("genpkey", "-algorithm", "ed25519", "-out", self._key)
        public = self._openssl("pkey", "-in", self._key, "-pubout", "-outform", "DER")
        key = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": base64url(public[-32:])}
        self.jwks = self._directory / "keys.json"
        self.jwks.write_text(json.dumps({"keys": [key]}))

    @staticmethod
    def _openssl(*words):
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

    def token(self, subject, seconds=600, **claims):
        """Signed, for the audience `sessiond`, unless the claims say otherwise."""
        header = {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
        body = {"iss": self.name, "aud": "sessiond", "sub": subject, "exp": int(time.time()) + seconds}
        body.update(claims)
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, body))
        unsigned = self._directory / "unsigned"
        unsigned.write_text(text)
        signature = self._openssl("pkeyutl", "-sign", "-inkey", self._key, "-rawin", "-in", unsigned)
        return f"{text}.{base64url(signature)}"
