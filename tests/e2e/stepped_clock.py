"""A wall clock that a test steps for programs it runs: see tests/clock_shim.c.

    clock = SteppedClock(BUILD)
    subprocess.Popen([...], env={**os.environ, **clock.environment})
    clock.step(-3600)  # An hour behind the machine's clock, from now on.
"""

import os
import struct
import tempfile


class SteppedClock:
    def __init__(self, build):
        self._file, self.path = tempfile.mkstemp(prefix="stepped-clock-")
        os.fchmod(self._file, 0o644)  # A PostgreSQL of another user reads it, too.
        self.step(0)
        self.environment = {
            "LD_PRELOAD": str(build / "tests/libclock_shim.so"),
            "CLOCK_SHIM_FILE": self.path,
        }

    def step(self, seconds):
        """By how much it is off from now on: not from where it was, but from the machine's clock."""
        os.pwrite(self._file, struct.pack("=q", round(seconds * 1_000_000_000)), 0)

    def close(self):
        os.close(self._file)
        os.unlink(self.path)
