"""Where the daemon is and how it is spoken to: address, TLS, token, and how long calls may take."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import dataclasses
import ipaddress
import logging
import os
import pathlib
import platform
import random
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn, Union

import grpc

from sessiond._version import __version__
from sessiond.errors import Refused, Unauthenticated, Unavailable, pushback_of

log = logging.getLogger("sessiond")

DEFAULT_ADDRESS = "127.0.0.1:7377"
DEFAULT_TIMEOUT = 10.0
# The first pause behind UNAVAILABLE. Each further one is twice as long, up to the longest, and drawn between half and
# the whole of that, so that many clients do not return at the same time.
BACKOFF_INITIAL = 0.05
BACKOFF_MAX = 2.0

Token = Union[str, Callable[[], str]]
AioToken = Union[str, Callable[[], str], Callable[[], Awaitable[str]]]
Metadata = list[tuple[str, str]]

# What a callable of the caller's raises when it fails. A cancellation that comes out of one is that of something it
# waited for: whoever cancels the call itself interrupts an `await` of this package's.
FAILURES = (Exception, asyncio.CancelledError)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call that has ended, for counters and logs."""

    method: str
    seconds: float
    #: How often it was sent.
    attempts: int
    #: What it was refused with; None when it went well.
    error: Refused | None


@dataclasses.dataclass(frozen=True)
class Retry:
    """A call, or a watch, that is going to be sent again."""

    method: str
    error: Refused
    #: How long until then, in seconds.
    pause: float


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `connect` was given, checked."""

    address: str
    credentials: grpc.ChannelCredentials | None
    token: Any
    timeout: float
    traceparent: Callable[[], str | None] | None
    on_call: Callable[[Call], None] | None
    on_retry: Callable[[Retry], None] | None
    options: list[tuple[str, Any]]

    def retried(self, method: str, error: Refused, pause: float) -> None:
        log.info("%s is sent again in %.3f s: %s", method, pause, error, extra={"sessiond_method": method})
        if self.on_retry:
            with failing_nothing("on_retry"):
                self.on_retry(Retry(method, error, pause))

    def ended(self, method: str, begun: float, attempts: int, error: Refused | None) -> None:
        if self.on_call:
            with failing_nothing("on_call"):
                self.on_call(Call(method, time.monotonic() - begun, attempts, error))

    def trace(self) -> Metadata:
        traceparent: Any = None
        if self.traceparent:
            with failing_nothing("traceparent"):
                traceparent = self.traceparent()
        if traceparent and not is_traceparent(traceparent):
            log.warning("%r is no traceparent, and is not sent.", traceparent)
            return []
        return [("traceparent", traceparent)] if traceparent else []


@contextlib.contextmanager
def failing_nothing(hook: str) -> Iterator[None]:
    """While a hook is called: one that fails is no reason for the call to."""
    try:
        yield
    except FAILURES as error:
        log.warning("The hook %s raised %s.", hook, type(error).__name__, exc_info=error)


def is_traceparent(given: object) -> bool:
    """Whether a header takes it. What it says is for those who read it."""
    return isinstance(given, str) and re.fullmatch("[!-~]+", given) is not None


# A channel with this shares its connection with no other.
APART = ("grpc.use_local_subchannel_pool", 1)


class Backoff:
    """How long to wait before a call is made again, or work is run again."""

    def __init__(self, initial: float = BACKOFF_INITIAL, longest: float = BACKOFF_MAX) -> None:
        self._initial = self._next = initial
        self._longest = longest

    def pause(self, refusal: Refused | None = None) -> float:
        """Never less than the server asks for."""
        pause = random.uniform(self._next / 2, self._next)
        self._next = min(self._next * 2, self._longest)
        if refusal is None:
            return pause
        return max(pause, refusal.retry_after or 0.0, pushback_of(refusal) or 0.0)

    def reset(self) -> None:
        self._next = self._initial


def pause_before_retry(refusal: Refused, backoff: Backoff, left: float) -> float | None:
    """How long to wait before the same request is sent again; None: it is not.

    UNAVAILABLE alone is tried again: then nothing was done, or the same request_id sees to it that nothing is done
    twice. A pause that would outlast the deadline is not begun.
    """
    if not isinstance(refusal, Unavailable) or (pushback_of(refusal) or 0.0) < 0:
        return None
    pause = backoff.pause(refusal)
    return pause if pause < left else None


def checked_token(token: object, what: str) -> str:
    """Raises ValueError for what no header takes. The error tells nothing of the token."""
    if not isinstance(token, str):
        raise ValueError(f"{what} is of the type {type(token).__name__}; a token is a str.")
    if not token:
        raise ValueError(f"{what} is empty.")
    if not re.fullmatch("[!-~]+", token):
        raise ValueError(f'{what} is no token: that is one word of visible ASCII, without "Bearer" before it.')
    return token


def authorization(token: object, method: str) -> tuple[str, str]:
    """The token, as a call's metadata has it. Raises Unauthenticated when it is none."""
    try:
        return ("authorization", f"Bearer {checked_token(token, 'What its callable returned')}")
    except ValueError as error:
        raise Unauthenticated(f"There is no token: {error}", method) from error


@contextlib.contextmanager
def asking_for_token(method: str) -> Iterator[None]:
    """While a token's callable is asked: whatever it raises becomes Unauthenticated, and is not quoted, because there
    may be secrets in it. Only a refusal remains what it is: Unavailable is tried again."""
    try:
        yield
    except Refused as refusal:
        refusal.method = refusal.method or method
        raise
    except FAILURES as error:
        raise Unauthenticated(f"There is no token: its callable raised {type(error).__name__}.", method) from error


class TokenFile:
    """A token that is kept in a file, read each time: the file's times do not show every change."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)
        self._lock = threading.Lock()
        self._token = ""

    def __call__(self) -> str:
        with self._lock:
            try:
                self._token = self._read()
            except (OSError, ValueError) as error:
                # In the middle of a rotation the file may be missing, or empty. The last token will do until then.
                if not self._token:
                    raise Unauthenticated(f"There is no token: {error}") from error
            return self._token

    def _read(self) -> str:
        content = self._path.read_bytes().removeprefix(codecs.BOM_UTF8).strip()
        # Whatever is not ASCII becomes a character that no token has.
        return checked_token(content.decode("ascii", "replace"), f"The content of the token file {self._path}")


def make_settings(
    address: str | None,
    *,
    tls: bool,
    ca_file: str | os.PathLike[str] | None,
    cert_file: str | os.PathLike[str] | None,
    key_file: str | os.PathLike[str] | None,
    credentials: grpc.ChannelCredentials | None,
    token: Any,
    timeout: float,
    traceparent: str | Callable[[], str | None] | None,
    on_call: Callable[[Call], None] | None,
    on_retry: Callable[[Retry], None] | None,
    options: list[tuple[str, Any]] | None,
) -> Settings:
    given = {"address": address, "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file, "token": token}
    for name, value in given.items():
        if value == "":
            raise ValueError(f"{name} is empty; leave it out where there is none.")
    if address is None:
        address = os.environ.get("SESSIOND_SERVER") or DEFAULT_ADDRESS
    check_address(address)
    if timeout <= 0:
        raise ValueError(f"timeout is {timeout}; it is a number of seconds above 0.")
    if token is None and os.environ.get("SESSIOND_TOKEN_FILE"):
        token = TokenFile(os.environ["SESSIOND_TOKEN_FILE"])
    if (cert_file is None) != (key_file is None):
        raise ValueError("cert_file and key_file go together: give both or neither.")
    if credentials is None and (tls or ca_file is not None or cert_file is not None):
        authorities = None if ca_file is None else read_certificates("CA file", ca_file)
        key, chain = (None, None) if key_file is None or cert_file is None else read_key_pair(key_file, cert_file)
        credentials = grpc.ssl_channel_credentials(authorities, key, chain)
    if token is not None and not callable(token):
        checked_token(token, "token")
    if token is not None and credentials is None and not is_local(address):
        raise ValueError(
            f"A token would go to {address} unencrypted, for everybody on the way to read. Give tls=True or ca_file."
        )
    if isinstance(traceparent, str):
        if traceparent and not is_traceparent(traceparent):
            raise ValueError(f"traceparent is {traceparent!r}; it is one word of visible ASCII.")
        text = traceparent
        traceparent = lambda: text  # noqa: E731
    return Settings(
        address,
        credentials,
        token,
        timeout,
        traceparent,
        on_call,
        on_retry,
        [
            ("grpc.primary_user_agent", f"sessiond-python/{__version__} python/{platform.python_version()}"),
            # Retries are this package's: gRPC's know nothing of request ids and RetryInfo.
            ("grpc.enable_retries", 0),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # 30 s: finds a dead peer behind a NAT.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.max_receive_message_length", -1),
            # A proxy of the environment (http_proxy) is not to see what is for this machine.
            *([("grpc.enable_http_proxy", 0)] if is_local(address) else []),
            *(options or []),
        ],
    )


def check_address(address: str) -> None:
    """Raises ValueError, with the way out, for what gRPC would look up for ever or misread."""
    if address.startswith(("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")):
        return
    if "://" in address:
        raise ValueError(f"The address is {address!r}; it is HOST:PORT, without a scheme, or unix:/PATH.")
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):\d{1,5}", address):
        raise ValueError(f"The address is {address!r}; it is HOST:PORT, for example {DEFAULT_ADDRESS}, or unix:/PATH.")


def is_local(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(dns:/*|ipv4:|ipv6:)", "", address).rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_pem(path: str | os.PathLike[str]) -> bytes:
    """Without the byte-order marks of the files that it was put together from: gRPC passes over a block behind one."""
    return pathlib.Path(path).read_bytes().replace(codecs.BOM_UTF8 + b"-----BEGIN ", b"-----BEGIN ")


# A line that a certificate was meant to begin with: something that nobody sees may stand before it.
_BEGIN = re.compile(rb"^[^!-~\n]*-----BEGIN (?:X509 )?CERTIFICATE-", re.MULTILINE)
_CERTIFICATE = re.compile(
    rb"^-----BEGIN (X509 |)CERTIFICATE-----[ \t\r]*\n.*?^-----END \1CERTIFICATE-----[ \t\r]*$", re.MULTILINE | re.DOTALL
)


def read_certificates(what: str, path: str | os.PathLike[str]) -> bytes:
    """Raises ValueError unless every certificate of the file can be read: gRPC would trust the others alone, or tell at
    the first call, and without the file's name, that the peer cannot be trusted."""
    pem = _read_pem(path)
    begun = len(_BEGIN.findall(pem))
    if begun == 0:
        raise ValueError(f"The {what} {os.fspath(path)} holds no certificate in PEM.")
    read = sum(_is_certificate(each[0]) for each in _CERTIFICATE.finditer(pem))
    if read != begun:
        raise ValueError(
            f"The {what} {os.fspath(path)} has {begun} lines -----BEGIN CERTIFICATE-----, and {read} certificates that "
            "can be read: such a line begins at the left, with nothing before or behind it."
        )
    return pem


def read_key_pair(key_file: str | os.PathLike[str], cert_file: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """The key and its certificates. Raises ValueError when there is no key in the file: of an empty one gRPC would end
    the whole program. And unless they can be used: gRPC would tell at the first call, and without the file's name."""
    key, chain = _read_pem(key_file), read_certificates("certificate file", cert_file)
    what = f"The key file {os.fspath(key_file)}"
    if not re.search(b"^-----BEGIN [A-Z ]*PRIVATE KEY-----", key, re.MULTILINE):
        raise ValueError(f"{what} holds no key in PEM.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLError):
        # How long a key has to be is for gRPC's own TLS to say, and not for this machine's OpenSSL.
        context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        context.load_cert_chain(cert_file, key_file, password=_refuse_password)
    except _Locked as error:
        raise ValueError(f"{what} is locked with a password: gRPC takes one without.") from error
    except ssl.SSLError as error:
        # OpenSSL reads files alone, and passes over a block behind a byte-order mark.
        if not any(codecs.BOM_UTF8 in pathlib.Path(each).read_bytes() for each in (key_file, cert_file)):
            with_what = f"the certificate file {os.fspath(cert_file)}"
            raise ValueError(f"{what} cannot be read, or does not go with {with_what}: {error}") from error
    return key, chain


class _Locked(Exception):
    pass


def _refuse_password() -> NoReturn:
    # Without this, OpenSSL would ask for it at the terminal.
    raise _Locked


def _is_certificate(pem: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return False
    return True
