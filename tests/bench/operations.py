"""What is measured: the operations, and at which loads."""

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Operation:
    """Something that sessiond does over gRPC, and others in their way."""

    name: str
    in_flight: tuple = (256,)  # calls at any time, of the closed loop
    connections: tuple = (32, 64)  # of pgbench
    beside: tuple = ()  # who else does it: echo, naive, raw
    prepare: str | None = None  # the operation of the load generator whose sessions it works on
    script: str | None = None  # of pgbench, where its name is another
    variables: dict = dataclasses.field(default_factory=dict)  # for pgbench
    payload: int = 0  # bytes a call, where it is worth telling how many are stored in a second


def letters(count):
    """A text that PostgreSQL cannot compress, as the load generator's are."""
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=count))


IN_FLIGHT = (1, 16, 128, 256, 512)
CONNECTIONS = (1, 8, 32, 64)
ALL = ("echo", "naive", "raw")
OPERATIONS = {
    "advance": Operation("AdvanceSession", IN_FLIGHT, CONNECTIONS, ALL),
    "cold": Operation("AdvanceSession, not in use", (1,), (), prepare="cold"),
    "create": Operation("CreateSession", IN_FLIGHT, CONNECTIONS, ALL),
    "messages256": Operation("AppendMessages, 256 B", IN_FLIGHT, CONNECTIONS, ALL, prepare="messages256",
                             script="messages", variables={"content": letters(256)}),
    "get": Operation("GetSession", IN_FLIGHT, (1, 32), ("echo", "naive"), prepare="update"),
    "update": Operation("UpdateSession", (1, 256), (1, 32, 64), prepare="update"),
    "messages16k": Operation("AppendMessages, 16 KiB", prepare="messages256", script="messages",
                             variables={"content": letters(16384)}, payload=16384),
    "tasks": Operation("StartTask, CompleteTask", prepare="tasks", variables={"running": "0"}),
    "errors": Operation("RecordError", prepare="tasks"),
    "list": Operation("ListSessions by owner", (1, 256), (), prepare="update"),
}

# Those that the promises are about.
DURABLE = ("advance", "create", "messages256")
# By sessions as people want them, or all on one session.
ZIPF = ("update", "get")
HOT = ("update", "messages256")
# At shares of what the closed loop reached at 256 in flight or any other level, in earlier rounds: its knee.
OPEN_LOOP = ("update", "get")
SHARES = (25, 50, 80)
OPEN_IN_FLIGHT = 1024
# With many sessions loaded, against empty tables.
SIZED = ("advance", "create", "messages256", "get", "update")

ROWS = 16384  # sessions of each kind that calls are spread over; as in the load generator and in prepare.sql
WARM_UP = 0.3  # seconds at the beginning of each measurement that count for nothing; as in the load generator
