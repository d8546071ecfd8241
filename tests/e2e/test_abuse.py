"""Abuse (abuse.py) against a daemon, with a good client beside it: a tenth of each here, the whole with
SESSIOND_SOAK=1. Only what holds is asserted; docs/robustness.md has the table of all.
"""

import os
import re

import pytest
from abuse import ABUSES, Field

pytestmark = pytest.mark.alone
WHOLE = os.environ.get("SESSIOND_SOAK") == "1"
# What a daemon may take at most, whatever peers send.
MEMORY_MIB = 256
# A tenth may cost so much; at rest it is 40 or so.
MEMORY_OF_A_TENTH_MIB = 160
# What requests and replies of a tenth may add to what the abuse before has left: unbounded, it is 240 or more.
HELD_OF_A_TENTH_MIB = 200
# What connections of peers that wait for nothing, or say what nobody needs, come to.
BOUNDED = [
    "half_open_requests_in_time",
    "gzip_bombs",
    "headers_before_settings",
    "pings",
    "settings",
    "idle_connections",
    "idle_connections_of_one_address",
    "silent_connections",
    "connects",
    "descriptors",
    "http_idle",
    "http_slow",
    "http_huge",
]
# What requests and replies hold. Whoever sends so much takes time from others, on few cores, so that
# only the memory is asserted.
HELD = [
    "half_bodies_of_one_connection",
    "lookups_of_50_unread",
    "lookups_of_1000_unread",
    "lookups_32_at_once",
    "gets_at_window_0",
    "lists_unread",
    "watches_200_unread",
    "watches_200_read",
    "watches_2000_unread",
    # Of these some connections are closed.
    "half_bodies_of_20_connections",
    "empty_values",
    "rapid_reset",
    "metadata",
]
assert {*BOUNDED, *HELD} == {*ABUSES}


@pytest.fixture(scope="module")
def field(contract):
    field = Field(contract)
    yield field
    field.close()


@pytest.mark.parametrize("name", BOUNDED)
def test_memory_is_bounded_and_a_good_client_loses_no_call(field, name):
    row = field.measure(name, 1 if WHOLE else 0.1)
    print(row)
    assert row.peak_mib < (MEMORY_MIB if WHOLE else MEMORY_OF_A_TENTH_MIB)
    assert row.good["calls"] > 0 and row.good["errors"] == {}
    if name == "descriptors":
        assert float(re.match(r"accepted (.+) s after", row.note)[1]) < 20
    if name == "silent_connections":
        assert row.note.startswith("0 of ")
    if name == "half_open_requests_in_time":
        ended, streams, seconds = re.match(r"(\d+) of (\d+) streams ended within (\d+) s", row.note).groups()
        assert ended == streams and 9 <= int(seconds) <= 25
    if name == "gzip_bombs":
        refused, calls = re.match(r"(\d+) of (\d+) refused", row.note).groups()
        assert refused == calls
    if name.startswith("http"):
        assert "/livez 200" in row.note
    if name == "idle_connections_of_one_address" and WHOLE:
        assert row.note.startswith("1000 of 5000")


@pytest.mark.parametrize("name", HELD)
def test_memory_is_bounded_whatever_requests_and_replies_hold(field, name):
    row = field.measure(name, 1 if WHOLE else 0.1)
    print(row)
    if WHOLE:
        assert row.peak_mib < MEMORY_MIB
    else:
        assert row.peak_mib - row.rest_mib < HELD_OF_A_TENTH_MIB
    assert row.good["calls"] > 0
