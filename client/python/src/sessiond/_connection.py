"""Where the daemon is and how it is spoken to: address, TLS, token, and how long calls may take."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import pathlib
import platform
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Union

import grpc

from sessiond._version import __version__
from sessiond.errors import Refused, Unavailable, pushback_of

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
            self.on_retry(Retry(method, error, pause))

    def ended(self, method: str, begun: float, attempts: int, error: Refused | None) -> None:
        if self.on_call:
            self.on_call(Call(method, time.monotonic() - begun, attempts, error))

    def trace(self) -> Metadata:
        traceparent = self.traceparent() if self.traceparent else None
        return [("traceparent", traceparent)] if traceparent else []


# A channel with this shares its connection with no other.
APART = ("grpc.use_local_subchannel_pool", 1)


class Backoff:
    """How long to wait before a call is made again."""

    def __init__(self) -> None:
        self._next = BACKOFF_INITIAL

    def pause(self, refusal: Refused) -> float:
        """Never less than the server asks for."""
        pause = random.uniform(self._next / 2, self._next)
        self._next = min(self._next * 2, BACKOFF_MAX)
        return max(pause, refusal.retry_after or 0.0, pushback_of(refusal) or 0.0)

    def reset(self) -> None:
        self._next = BACKOFF_INITIAL


def pause_before_retry(refusal: Refused, backoff: Backoff, left: float) -> float | None:
    """How long to wait before the same request is sent again; None: it is not.

    UNAVAILABLE alone is tried again: then nothing was done, or the same request_id sees to it that nothing is done
    twice. A pause that would outlast the deadline is not begun.
    """
    if not isinstance(refusal, Unavailable) or (pushback_of(refusal) or 0.0) < 0:
        return None
    pause = backoff.pause(refusal)
    return pause if pause < left else None


class TokenFile:
    """A token that is kept in a file, and read again when the file has changed, as mounted secrets do."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        with self._lock:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._token = self._path.read_text().strip()
                self._seen = seen
            return self._token


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
    address = address or os.environ.get("SESSIOND_SERVER") or DEFAULT_ADDRESS
    check_address(address)
    if timeout <= 0:
        raise ValueError(f"timeout is {timeout}; it is a number of seconds above 0.")
    if token is None and os.environ.get("SESSIOND_TOKEN_FILE"):
        token = TokenFile(os.environ["SESSIOND_TOKEN_FILE"])
    if (cert_file is None) != (key_file is None):
        raise ValueError("cert_file and key_file go together: give both or neither.")
    if credentials is None and (tls or ca_file or cert_file):
        credentials = grpc.ssl_channel_credentials(_read(ca_file), _read(key_file), _read(cert_file))
    if token is not None and credentials is None and not is_local(address):
        raise ValueError(
            f"A token would go to {address} unencrypted, for everybody on the way to read. Give tls=True or ca_file."
        )
    if isinstance(traceparent, str):
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


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else pathlib.Path(path).read_bytes()
