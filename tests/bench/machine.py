"""The machine: what processes cost, what its disk does, and how a person at its terminal is told where we are."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import time


class Trouble(Exception):
    """A sentence for the person at the terminal."""


def say(sentence):
    """Tells a person at a terminal where we are; in the way of nobody else."""
    if sys.stderr.isatty():
        print(f"\r\033[K{sentence[:118]}", end="", file=sys.stderr, flush=True)


def duration(seconds):
    """As people say it: `40 s`, `3 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def end_with_parent():
    """Has the kernel end a child with us, even if we are killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


# What processes cost -----------------------------------------------------------------------------------------------


def proc_stat(pid):
    """The fields of /proc/PID/stat behind the name, from the state on."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_seconds(pid, with_children=False):
    """User and system time of a process; with those of its children that have ended and been waited for."""
    fields = proc_stat(pid)
    return sum(map(int, fields[11:15] if with_children else fields[11:13])) / os.sysconf("SC_CLK_TCK")


def machine_seconds():
    """Time that all cores together have spent on something, and on steal; not idle, not waiting for the disk."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def stolen_seconds():
    """Time that cores had work for and the machine's host gave to others. Processes are charged with theirs of it, too."""
    return int(pathlib.Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def children_of(parent):
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if int(proc_stat(entry)[1]) == parent:
                    yield int(entry)
            except (FileNotFoundError, ProcessLookupError):
                pass  # It ended while we looked.


def memory_mib(pid, field="VmRSS"):
    """Resident memory of one process, its own code and libraries included; `VmHWM`: the most since `forget_peak`."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def forget_peak(pid):
    """Has the kernel count the most resident memory of a process from now on."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


# What the machine is -----------------------------------------------------------------------------------------------


def processor():
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def file_system(directory):
    command = ["findmnt", "-n", "-o", "FSTYPE", "-T", directory]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()


def fdatasync_us(directory, seconds=0.5):
    """Microseconds of writing 8 kB and fdatasync, as a commit does at least once: median and 99th percentile."""
    times = []
    path = directory / "fdatasync"
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            begin = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8192), len(times) % 128 * 8192)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begin) * 1e6)
    path.unlink()
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def sequential_mb(directory, seconds=0.5, at_once=1 << 20):
    """Megabytes a second of writing one after the other, with fdatasync after each MiB: as groups of large messages do.

    The file is written once before, as PostgreSQL uses the files of its log again.
    """
    path = directory / "sequential"
    block, blocks = os.urandom(at_once), 64
    with open(path, "wb", buffering=0) as file:
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())
        written, begin = 0, time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            os.pwrite(file.fileno(), block, written // at_once % blocks * at_once)
            os.fdatasync(file.fileno())
            written += at_once
    path.unlink()
    return written / elapsed / 1e6
