"""A process of watches that disconnect, are slow, and resume, for test_watch_random.py, which stops
and continues it. What they are told goes to its output, a JSON array a line:

    [watch, "began"]                    connected, the bookmark not seen yet: what was shown is void
    [watch, "session", id, sequence]    of the initial state
    [watch, "bookmark", time]           in seconds since 1970
    [watch, "change", id, sequence, matches]
    [watch, "failed", why]              it goes on no more
"""

import faulthandler
import json
import pathlib
import random
import sys
import threading
import time

from conftest import Contract, Refused
from watching import Watch

# Heartbeats come every second: who hears nothing for so long says where it stands.
SILENT_SECONDS = 30

# A watch that a daemon which is going away, or is away, ends so is begun again.
PASSING = ("UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED")


class Reader(threading.Thread):
    def __init__(self, contract, addresses, number, request, seed):
        super().__init__(daemon=True)
        self._contract = contract
        self._addresses = addresses
        self.number = number
        self._request = request
        self._chance = random.Random(seed)
        self._bookmarked = False
        self._token = ""
        self.heard = time.monotonic()
        self.at = None

    def _say(self, *words):
        sys.stdout.write(json.dumps([self.number, *words]) + "\n")

    def run(self):
        try:
            while True:
                try:
                    self._read()
                except Refused as refused:
                    if refused.code not in PASSING:
                        raise
                time.sleep(self._chance.uniform(0.02, 0.3))
        except Exception as error:  # The test wants to know; a thread has nobody to tell.
            self._say("failed", repr(error))

    def _read(self):
        request = dict(self._request)
        if self._token:
            request.pop("initialState", None)
            request["resumeToken"] = self._token
        if not self._bookmarked:
            self._say("began")
        address = self._chance.choice(json.loads(self._addresses.read_text()))
        left = self._chance.choice([3, 30, 300, 10**9])
        self.at = address
        with Watch(self._contract, address, timeout=600, **request) as stream:
            for response in stream:
                self.heard = time.monotonic()
                self._take(response)
                self._token = stream.token
                left -= 1
                if left == 0:
                    return
                if self._chance.random() < 0.005:
                    time.sleep(self._chance.uniform(0, 0.5))

    def _take(self, response):
        if "session" in response:
            assert not self._bookmarked, "a session behind the bookmark"
            session = response["session"]
            self._say("session", session["sessionId"], session["sequence"])
        elif "bookmark" in response:
            self._bookmarked = True
            self._say("bookmark", time.time())
        elif "change" in response:
            event = response["change"]["event"]
            self._say("change", event["sessionId"], event["sequence"], response.get("matches", False))


def main(contract, addresses, seed, *watches):
    sys.stdout.reconfigure(line_buffering=True)
    contract = Contract(pathlib.Path(contract))
    readers = []
    for watch in watches:
        number, request = json.loads(watch)
        readers.append(Reader(contract, pathlib.Path(addresses), number, request, f"{seed}/{number}"))
        readers[-1].start()
    threading.Thread(target=look_after, args=[readers], daemon=True).start()
    sys.stdin.read()  # Until the test is over, or gone.


def look_after(readers):
    while True:
        time.sleep(SILENT_SECONDS / 3)
        silent = [each for each in readers if time.monotonic() - each.heard > SILENT_SECONDS]
        for each in silent:
            print(f"watch {each.number} hears nothing from {each.at}", file=sys.stderr, flush=True)
        if silent:
            faulthandler.dump_traceback()


if __name__ == "__main__":
    main(*sys.argv[1:])
