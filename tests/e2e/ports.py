"""Ports for servers that have to be told where to listen."""

import pathlib
import secrets
import socket

_given = set()


def free_port():
    """One that the kernel gives to no connection by itself: as a rule it stays free until its server listens,
    and while the server is away. Another test could still draw it."""
    first, last = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [*range(1024, first), *range(last + 1, 65536)] or range(1024, 65536)
    while True:
        port = secrets.choice(ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
