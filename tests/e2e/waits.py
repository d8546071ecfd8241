"""Waiting for what nobody tells of: by looking again and again."""

import time

# More than most things may take, on a machine that has others to do.
PATIENCE_SECONDS = 30


def until(condition, otherwise="it never is so", seconds=PATIENCE_SECONDS):
    """Waits until it holds, and answers with what it then gave. `otherwise`: what there is to say if it never does;
    or a function that knows it by then."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.01)
    return found
