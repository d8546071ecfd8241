"""A client as it should be, beside whatever else goes on: so many calls a second, of three one writes.
Ends with its input, and says then how it fared, as JSON: {calls, errors: {code: count}, p50_ms, p99_ms}.

    good_client.py ADDRESS SESSION_ID
"""

import collections
import json
import pathlib
import select
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from conftest import BUILD, Contract  # noqa: E402

CALLS_A_SECOND = 30
CALL_SECONDS = 20


def main(address, session_id):
    contract = Contract(BUILD / "proto/sessiond.protoset")
    changed = threading.Condition()
    seconds, errors = [], collections.Counter()
    calls = 0
    with grpc.insecure_channel(address) as channel:
        kinds = [
            (
                channel.unary_unary("/" + contract.full(method)),
                contract.request(method, request),
            )
            for method, request in (
                ("GetSession", {"sessionId": session_id}),
                ("GetSession", {"sessionId": session_id}),
                ("UpdateSession", {"session": {"sessionId": session_id}, "setLabels": {"team": "good"}}),
            )
        ]

        def done(future, begin):
            with changed:
                seconds.append(time.monotonic() - begin)
                if future.code() != grpc.StatusCode.OK:
                    errors[future.code().name] += 1
                changed.notify_all()

        kinds[0][0](kinds[0][1], timeout=CALL_SECONDS)  # It is connected.
        print("ready", flush=True)
        due = time.monotonic()
        while True:
            due += 1 / CALLS_A_SECOND
            if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
                break
            stub, request = kinds[calls % len(kinds)]
            calls += 1
            begin = time.monotonic()
            stub.future(request, timeout=CALL_SECONDS).add_done_callback(
                lambda future, begin=begin: done(future, begin)
            )
        with changed:
            changed.wait_for(lambda: len(seconds) == calls, CALL_SECONDS + 5)
            seconds.sort()
    print(
        json.dumps(
            {
                "calls": calls,
                "errors": errors,
                "p50_ms": round(seconds[len(seconds) // 2] * 1e3, 1),
                "p99_ms": round(seconds[len(seconds) * 99 // 100] * 1e3, 1),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
