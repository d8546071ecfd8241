"""The daemon that tests share, as those run it who need more than one. E2E_THROUGH says what its
tests go through, with commas between:

    pooler         its database is somebody else's, behind PgBouncer in session mode
    tls            it listens with TLS only
    two-daemons    it is two daemons on one database, and calls go to them by turns

    the client ─────────────────▶ daemon ──▶ PgBouncer ─┐
    a test's own ──▶ tunnel ──▶ ╲                       ├──▶ PostgreSQL
    connection                  ╱ daemon ──▶ PgBouncer ─┘

The client speaks TLS itself. For whoever connects to `address` or `admin` by other means, a tunnel does.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
import ssl
import threading

from certificates import Authority
from conftest import Client, Daemon
from databases import Database, PgBouncer, removed

PARTS = {"pooler", "tls", "two-daemons"}
THROUGH = set(filter(None, os.environ.get("E2E_THROUGH", "").split(",")))
assert THROUGH <= PARTS, f"E2E_THROUGH knows {PARTS}, not {THROUGH - PARTS}"


class Tunnel:
    """A port without TLS. What connects there is led to the next of `addresses`, by TLS where a context
    is given."""

    def __init__(self, addresses, tls):
        self._addresses = itertools.cycle(addresses)
        self._tls = tls
        address = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(address)))
        self._thread.start()
        self.address = address.result()

    async def _serve(self, address):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        address.set_result("127.0.0.1:{}".format(listener.sockets[0].getsockname()[1]))
        await self._over.wait()

    async def _lead(self, reader, writer):
        host, port = next(self._addresses).rsplit(":", 1)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there, to_there = await asyncio.open_connection(host, int(port), ssl=self._tls)
            with contextlib.closing(to_there):
                ways = [asyncio.ensure_future(way) for way in (pump(reader, to_there), pump(there, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()

    def remove(self):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


async def pump(reader, writer):
    with contextlib.suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()


class ByTurns(Client):
    """Calls go to the next of several clients."""

    def __init__(self, contract, clients):
        self._contract = contract
        self._clients = clients
        self._turns = itertools.cycle(clients)

    def close(self):
        for client in self._clients:
            client.close()

    @property
    def of_each_daemon(self):
        return self._clients

    @property
    def _channel(self):
        return next(self._turns)._channel


class Topology(Daemon):
    """Looks like one daemon. It is itself the one whose PostgreSQL the others use, and which is called
    by nobody."""

    def __init__(self, contract):
        super().__init__(contract)
        self._daemons = []
        self._others = contextlib.ExitStack()

    def start(self, *options):
        super().start("--pg-settings=max_connections=200")
        database = Database(self).migrate()
        self._psql[-1] = database.name
        credentials = None
        contexts = {"h2": None, "http/1.1": None}
        if "tls" in THROUGH:
            authority = Authority(self._directory / "pki")
            options += (f"--tls-cert={authority.server.cert}", f"--tls-key={authority.server.key}")
            credentials = authority.channel_credentials()
            for protocol in contexts:
                contexts[protocol] = ssl.create_default_context(cafile=authority.ca)
                contexts[protocol].set_alpn_protocols([protocol])
        clients = []
        for _ in range(2 if "two-daemons" in THROUGH else 1):
            url = database.url(database.owner)
            if "pooler" in THROUGH:
                url = self._keep(PgBouncer(database, "session")).url(database.owner)
            daemon = self._keep(Daemon(self._contract, credentials))
            with self.log.open("ab") as log:
                clients.append(daemon.start(f"--db-url={url}", *options, stderr=log))
            self._daemons.append(daemon)
        self.address = self._tunnel([daemon.address for daemon in self._daemons], contexts["h2"])
        self.admin = self._tunnel([daemon.admin for daemon in self._daemons], contexts["http/1.1"])
        for daemon in self._daemons:
            daemon.admin = self._tunnel([daemon.admin], contexts["http/1.1"])
        return ByTurns(self._contract, clients)

    def _keep(self, thing):
        return self._others.enter_context(removed(thing))

    def _tunnel(self, addresses, tls):
        return self._keep(Tunnel(addresses, tls)).address

    def metrics(self):
        return "".join(daemon.metrics() for daemon in self._daemons)

    def log_lines(self):
        """In order of time, with which each line begins: several daemons write them to one file."""
        return sorted(super().log_lines(), key=lambda line: line.partition(",")[0])

    def remove(self):
        self._others.close()
        super().remove()
