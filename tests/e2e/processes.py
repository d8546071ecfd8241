"""Processes that a test starts as another user, kills, and awaits the end of."""

import os
import pathlib
import pwd


def as_user(uid, *command):
    """`command`, to be run by the user with that id.

    Not by subprocess's `user=`: with it Python forks, where it otherwise makes do with vfork(). At a fork
    gRPC's handlers run, and while calls are under way they can wait for ever, or abort.
    """
    if uid == os.getuid():
        return command
    gid = pwd.getpwuid(uid).pw_gid
    return ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--", *command)


def descendants(pid):
    """The processes that a process has started, and those these have: pid by pid."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def command_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
